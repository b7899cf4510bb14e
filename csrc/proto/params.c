/* params.c -- values with parameters, one parameter after the other.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/params.h"

#include "base/scan.h"

fl_span
fl_params_init(fl_params *ps, fl_span header)
{
    size_t end = fl_scan_byte(header.p, header.n, ';');
    ps->rest = fl_span_make(header.p + end, header.n - end);
    return fl_span_trim(fl_span_make(header.p, end));
}

/* Index of the quote that closes the string beginning after `at`, or s.n; *escaped
 * tells of backslashes inside. */
static size_t
closing_quote(fl_span s, size_t at, bool *escaped)
{
    while (at < s.n && s.p[at] != '"') {
        if (s.p[at] == '\\' && at + 1 < s.n) {
            *escaped = true;
            at++;
        }
        at++;
    }
    return at;
}

/* Reads the parameter at the start of s; returns how much of s it takes, without the
 * next
 * ';'. */
static size_t
read_param(fl_span s, fl_param *out)
{
    size_t at = 0;
    while (at < s.n && s.p[at] != '=' && s.p[at] != ';') {
        at++;
    }
    *out = (fl_param){.name = fl_span_trim(fl_span_make(s.p, at)),
                      .value = fl_span_make(s.p + at, 0)};
    if (at == s.n || s.p[at] == ';') {
        return at;
    }
    out->has_equals = true;
    at++;
    while (at < s.n && (s.p[at] == ' ' || s.p[at] == '\t')) {
        at++;
    }
    if (at < s.n && s.p[at] == '"') {
        size_t first = at + 1;
        at = closing_quote(s, first, &out->escaped);
        out->quoted = true;
        out->value = fl_span_make(s.p + first, at - first);
        return at + fl_scan_byte(s.p + at, s.n - at, ';');
    }
    size_t end = at + fl_scan_byte(s.p + at, s.n - at, ';');
    out->value = fl_span_trim(fl_span_make(s.p + at, end - at));
    return end;
}

bool
fl_params_next(fl_params *ps, fl_param *out)
{
    while (ps->rest.n > 0) {
        /* rest begins with the ';' that ended what came before. */
        fl_span s = fl_span_make(ps->rest.p + 1, ps->rest.n - 1);
        size_t used = read_param(s, out);
        ps->rest = fl_span_make(s.p + used, s.n - used);
        if (out->name.n > 0 || out->has_equals) {
            return true;
        }
    }
    return false;
}

size_t
fl_param_unescape(char *dst, fl_span value)
{
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '\\' && i + 1 < value.n &&
            (value.p[i + 1] == '"' || value.p[i + 1] == '\\')) {
            i++;
        }
        dst[n++] = value.p[i];
    }
    return n;
}
