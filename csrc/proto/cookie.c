/* cookie.c -- pairs of a Cookie header, and their quoting.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/cookie.h"

#include "base/scan.h"
#include "proto/tokens.h"

bool
fl_cookies_next(fl_cookies *c, fl_span *name, fl_span *value, bool *quoted)
{
    while (c->rest.n > 0) {
        fl_span rest = c->rest;
        size_t end = fl_scan_byte(rest.p, rest.n, ';');
        size_t used = end < rest.n ? end + 1 : end;
        c->rest = fl_span_make(rest.p + used, rest.n - used);

        size_t equals = fl_scan_byte(rest.p, end, '=');
        if (equals == end) {
            *name = fl_span_make(rest.p, 0);
            *value = fl_span_trim(fl_span_make(rest.p, end));
        } else {
            *name = fl_span_trim(fl_span_make(rest.p, equals));
            *value = fl_span_trim(fl_span_make(rest.p + equals + 1, end - equals - 1));
        }
        if (name->n == 0 && value->n == 0) {
            continue;
        }
        *quoted = value->n >= 2 && value->p[0] == '"' && value->p[value->n - 1] == '"';
        return true;
    }
    return false;
}

/* The octet of "\ooo" at p[i], where p[i] is the backslash, or -1. */
static int
octal_byte(fl_span s, size_t i)
{
    if (s.n - i < 4) {
        return -1;
    }
    int v = 0;
    for (size_t k = 1; k <= 3; k++) {
        char c = s.p[i + k];
        if (c < '0' || c > '7') {
            return -1;
        }
        v = v << 3 | (c - '0');
    }
    return v <= 0xFF ? v : -1;
}

size_t
fl_cookie_unquote(char *dst, fl_span value)
{
    if (value.n < 2 || value.p[0] != '"' || value.p[value.n - 1] != '"') {
        if (value.n > 0) {
            memmove(dst, value.p, value.n);
        }
        return value.n;
    }
    fl_span inner = fl_span_make(value.p + 1, value.n - 2);
    size_t n = 0;
    for (size_t i = 0; i < inner.n; i++) {
        if (inner.p[i] == '\\') {
            int octet = octal_byte(inner, i);
            if (octet >= 0) {
                dst[n++] = (char)octet;
                i += 3;
                continue;
            }
            if (i + 1 < inner.n) {
                i++;
            }
        }
        dst[n++] = inner.p[i];
    }
    return n;
}

bool
fl_cookie_value_plain(fl_span value)
{
    return fl_span_all(value, FL_C_COOKIE);
}
