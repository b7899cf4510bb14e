/* fuzz_cookie.c -- Cookie headers and parameter lists.
 *
 * Pairs and parameters are pieces of the input in order; unquoting never grows, and
 * gives the same in place.
 */
#include "fuzz.h"

#include "proto/cookie.h"
#include "proto/params.h"

static void
check_piece(fl_span all, fl_span piece)
{
    MUST(piece.p >= all.p && piece.p + piece.n <= all.p + all.n);
}

static void
check_unquote(fl_span value, size_t (*unquote)(char *, fl_span))
{
    char *out = copy_of(value.p, value.n), *in_place = copy_of(value.p, value.n);
    size_t n = unquote(out, value);
    MUST(n <= value.n);
    MUST(unquote(in_place, fl_span_make(in_place, value.n)) == n);
    MUST(memcmp(out, in_place, n) == 0);
    free(out);
    free(in_place);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    fl_span s = fl_span_make((const char *)bytes, n), name, value;
    fl_cookies cookies;
    bool quoted;
    size_t count = 0;
    fl_cookies_init(&cookies, s);
    while (fl_cookies_next(&cookies, &name, &value, &quoted)) {
        check_piece(s, name);
        check_piece(s, value);
        MUST(name.n > 0 || value.n > 0);
        MUST(fl_scan_byte(name.p, name.n, '=') == name.n);
        MUST(fl_scan_byte(value.p, value.n, ';') == value.n);
        MUST(fl_span_trim(name).n == name.n && fl_span_trim(value).n == value.n);
        MUST(!fl_cookie_value_plain(value) || !quoted);
        check_unquote(value, fl_cookie_unquote);
        count++;
    }
    MUST(count <= n);
    check_unquote(s, fl_cookie_unquote);

    fl_params params;
    fl_param p;
    fl_span first = fl_params_init(&params, s);
    check_piece(s, first);
    for (count = 0; fl_params_next(&params, &p); count++) {
        check_piece(s, p.name);
        check_piece(s, p.value);
        MUST(p.quoted || fl_scan_byte(p.value.p, p.value.n, ';') == p.value.n);
        MUST(p.escaped || fl_scan_byte(p.value.p, p.value.n, '"') == p.value.n ||
             !p.quoted);
        check_unquote(p.value, fl_param_unescape);
    }
    MUST(count <= n);
    return 0;
}
