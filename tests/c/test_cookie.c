/* test_cookie.c -- proto/cookie.h and proto/params.h. */
#include "proto/cookie.h"

#include "check.h"
#include "proto/params.h"

/* Renders all pairs as name=value| with a '!' before quoted values. */
static const char *
pairs_of(const char *text)
{
    static char out[500];
    size_t n = 0, len = strlen(text);
    char *copy = copy_of(text, len);
    fl_cookies c;
    fl_span name, value;
    bool quoted;
    fl_cookies_init(&c, fl_span_make(copy, len));
    while (fl_cookies_next(&c, &name, &value, &quoted)) {
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s=%s%.*s|", (int)name.n,
                              name.p, quoted ? "!" : "", (int)value.n, value.p);
    }
    out[n] = '\0';
    free(copy);
    return out;
}

#define CHECK_PAIRS(text, want) \
    CHECK_SPAN(fl_span_make(pairs_of(text), strlen(pairs_of(text))), want)

static void
pairs_are_split_at_semicolons(void)
{
    CHECK_PAIRS("", "");
    CHECK_PAIRS("a=b", "a=b|");
    CHECK_PAIRS("a=b; c=d", "a=b|c=d|");
    CHECK_PAIRS("a=b;c=d;", "a=b|c=d|");
    CHECK_PAIRS(" a = b ;\tc=d ", "a=b|c=d|");
    CHECK_PAIRS("a=b=c; d==", "a=b=c|d==|");
    CHECK_PAIRS("alone; a=b", "=alone|a=b|");
    CHECK_PAIRS("=b; a=; =", "=b|a=|");
    CHECK_PAIRS(";; ; ", "");
    CHECK_PAIRS("a=\"b c\"; d=\"", "a=!\"b c\"|d=\"|");
    CHECK_PAIRS("a=\"\"", "a=!\"\"|");
    CHECK_PAIRS("a=\"b; c=d\"; e=\"", "a=\"b|c=d\"|e=\"|");
    CHECK_PAIRS("a=\xC3\xA9,b", "a=\xC3\xA9,b|");
    CHECK_PAIRS("__proto__=1; a=1; a=2", "__proto__=1|a=1|a=2|");
}

static void
check_unquote(const char *text, const char *want)
{
    size_t n = strlen(text);
    char *in = copy_of(text, n), *out = malloc(n);
    size_t len = fl_cookie_unquote(out, fl_span_make(in, n));
    CHECK_SPAN(fl_span_make(out, len), want);
    len = fl_cookie_unquote(in, fl_span_make(in, n));
    CHECK_SPAN(fl_span_make(in, len), want); /* in place */
    free(in);
    free(out);
}

static void
quoted_values_are_unquoted_in_one_pass(void)
{
    check_unquote("", "");
    check_unquote("a", "a");
    check_unquote("\"", "\"");
    check_unquote("\"\"", "");
    check_unquote("\"a b\"", "a b");
    check_unquote("\"a", "\"a");
    check_unquote("\"\\1 7\\/77\"", "1 7/77");
    check_unquote("a\\\"b", "a\\\"b");
    check_unquote("\"a\\\"b\"", "a\"b");
    check_unquote("\"a\\\\b\"", "a\\b");
    check_unquote("\"\\073\\054\\040\"", ";, ");
    check_unquote("\"\\303\\251\"", "\xC3\xA9");
    check_unquote("\"\\400\"", "400");
    check_unquote("\"\\07\"", "07");
    check_unquote("\"\\0\"", "0");
    check_unquote("\"\\89\"", "89");
    check_unquote("\"a\\\"", "a\\");
    check_unquote("\"\\012\\\\n\\x\"", "\n\\nx");
}

static void
plain_values_need_no_quotes(void)
{
    CHECK(fl_cookie_value_plain(FL_SPAN("")));
    CHECK(fl_cookie_value_plain(FL_SPAN("2|1:0|abc=/+-_.~!#$%&'()*<>?@[]^`{}")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("a b")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("a;b")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("a,b")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("a\"b")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("a\\b")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("a\r")));
    CHECK(!fl_cookie_value_plain(FL_SPAN("\xC3\xA9")));
}

/* Renders value, then name=value pairs; quoted values in quotes, '~' marks escapes. */
static const char *
params_of(const char *text)
{
    static char out[500];
    size_t len = strlen(text);
    char *copy = copy_of(text, len);
    fl_params ps;
    fl_param p;
    fl_span value = fl_params_init(&ps, fl_span_make(copy, len));
    size_t n = (size_t)snprintf(out, sizeof(out), "%.*s", (int)value.n, value.p);
    while (fl_params_next(&ps, &p)) {
        const char *quote = p.quoted ? "\"" : "";
        n += (size_t)snprintf(out + n, sizeof(out) - n, "|%.*s%s%s%s%.*s%s",
                              (int)p.name.n, p.name.p, p.has_equals ? "=" : "",
                              p.escaped ? "~" : "", quote, (int)p.value.n, p.value.p,
                              quote);
    }
    free(copy);
    return out;
}

#define CHECK_PARAMS(text, want) \
    CHECK_SPAN(fl_span_make(params_of(text), strlen(params_of(text))), want)

static void
parameters_are_split_outside_of_quotes(void)
{
    CHECK_PARAMS("", "");
    CHECK_PARAMS(" form-data ", "form-data");
    CHECK_PARAMS("form-data; name=a", "form-data|name=a");
    CHECK_PARAMS("form-data;name=\"a\"; filename=\"b;c\"",
                 "form-data|name=\"a\"|filename=\"b;c\"");
    CHECK_PARAMS("x; a = b ;c", "x|a=b|c");
    CHECK_PARAMS("x; a=\"q\\\"; b=1\"; c=d", "x|a=~\"q\\\"; b=1\"|c=d");
    CHECK_PARAMS("x; a=\"C:\\file\"", "x|a=~\"C:\\file\"");
    CHECK_PARAMS("x; a=\"open; b=c", "x|a=\"open; b=c\"");
    CHECK_PARAMS("x; a=\"b\\", "x|a=\"b\\\"");
    CHECK_PARAMS("x; a=\"b\" junk; c=d", "x|a=\"b\"|c=d");
    CHECK_PARAMS("x;;; ;a=1;", "x|a=1");
    CHECK_PARAMS("; a=1", "|a=1");
    CHECK_PARAMS("x; =v", "x|=v");
    CHECK_PARAMS("x; a=", "x|a=");
    CHECK_PARAMS("x; a=b=c", "x|a=b=c");
    CHECK_PARAMS("x; filename*=UTF-8''%e2%82%ac", "x|filename*=UTF-8''%e2%82%ac");
}

static void
escapes_are_removed_but_paths_kept(void)
{
    char out[40];
    fl_span s = FL_SPAN("a\\\"b\\\\c");
    CHECK_SPAN(fl_span_make(out, fl_param_unescape(out, s)), "a\"b\\c");
    s = FL_SPAN("C:\\temp\\a.txt\\");
    CHECK_SPAN(fl_span_make(out, fl_param_unescape(out, s)), "C:\\temp\\a.txt\\");
}

int
main(void)
{
    pairs_are_split_at_semicolons();
    quoted_values_are_unquoted_in_one_pass();
    plain_values_need_no_quotes();
    parameters_are_split_outside_of_quotes();
    escapes_are_removed_but_paths_kept();
    return check_done();
}
