/* query.c -- fields of a query string, one after the other.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/query.h"

#include "base/scan.h"

size_t
fl_query_count(fl_span s)
{
    if (s.n == 0) {
        return 0;
    }
    size_t count = 1;
    for (size_t i = 0; i < s.n; i++) {
        count += s.p[i] == '&';
    }
    return count;
}

static bool
is_encoded(fl_span s)
{
    return fl_scan_byte(s.p, s.n, '%') < s.n || fl_scan_byte(s.p, s.n, '+') < s.n;
}

bool
fl_query_next(fl_query *q, fl_query_field *out)
{
    while (q->rest.n > 0) {
        fl_span rest = q->rest;
        size_t end = fl_scan_byte(rest.p, rest.n, '&');
        size_t used = end < rest.n ? end + 1 : end;
        q->rest = fl_span_make(rest.p + used, rest.n - used);
        if (end == 0) {
            continue;
        }
        size_t equals = fl_scan_byte(rest.p, end, '=');
        out->has_equals = equals < end;
        out->name = fl_span_make(rest.p, equals);
        out->value = fl_span_make(rest.p + end, 0);
        if (out->has_equals) {
            out->value = fl_span_make(rest.p + equals + 1, end - equals - 1);
        }
        out->name_encoded = is_encoded(out->name);
        out->value_encoded = is_encoded(out->value);
        return true;
    }
    return false;
}
