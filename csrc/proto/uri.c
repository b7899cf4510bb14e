/* uri.c -- targets in absolute form, and percent-encoding.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/uri.h"

#include "proto/tokens.h"

size_t
fl_uri_authority(fl_span target, fl_span *authority)
{
    size_t from = 0;
    if (target.n >= 7 && fl_span_ieq(fl_span_make(target.p, 7), FL_SPAN("http://"))) {
        from = 7;
    } else if (target.n >= 8 &&
               fl_span_ieq(fl_span_make(target.p, 8), FL_SPAN("https://"))) {
        from = 8;
    } else {
        return 0;
    }
    size_t stop = from;
    while (stop < target.n && target.p[stop] != '/' && target.p[stop] != '?') {
        stop++;
    }
    *authority = fl_span_make(target.p + from, stop - from);
    return stop;
}

/* The byte that "%XX" at p[i] stands for, or -1. */
static inline int
encoded_byte(fl_span s, size_t i)
{
    if (s.p[i] != '%' || s.n - i < 3) {
        return -1;
    }
    int high = fl_hex_value(s.p[i + 1]);
    int low = fl_hex_value(s.p[i + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

size_t
fl_percent_decode(char *dst, fl_span s, bool plus)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int byte = encoded_byte(s, i);
        if (byte >= 0) {
            dst[n++] = (char)byte;
            i += 2;
        } else {
            dst[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    return n;
}
