/* uri.c -- targets in absolute form, and percent-encoding.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/uri.h"

#include "base/scan.h"
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

bool
fl_percent_any(fl_span s, bool plus)
{
    if (plus && fl_scan_byte(s.p, s.n, '+') < s.n) {
        return true;
    }
    for (size_t i = fl_scan_byte(s.p, s.n, '%'); i < s.n;) {
        if (encoded_byte(s, i) >= 0) {
            return true;
        }
        i++;
        i += fl_scan_byte(s.p + i, s.n - i, '%');
    }
    return false;
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

/* Which bytes stand for themselves: the unreserved and those of `safe`. */
typedef struct {
    bool plain[256];
} plain_set;

static void
plain_set_init(plain_set *set, fl_span safe)
{
    for (int c = 0; c < 256; c++) {
        set->plain[c] = fl_is((char)c, FL_C_URI);
    }
    for (size_t i = 0; i < safe.n; i++) {
        set->plain[(uint8_t)safe.p[i]] = true;
    }
}

size_t
fl_percent_size(fl_span s, fl_span safe, bool plus)
{
    plain_set set;
    plain_set_init(&set, safe);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool one = set.plain[(uint8_t)s.p[i]] || (plus && s.p[i] == ' ');
        n += one ? 1 : 3;
    }
    return n;
}

size_t
fl_percent_encode(char *dst, fl_span s, fl_span safe, bool plus)
{
    static const char digits[] = "0123456789ABCDEF";
    plain_set set;
    plain_set_init(&set, safe);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (set.plain[c]) {
            dst[n++] = (char)c;
        } else if (plus && c == ' ') {
            dst[n++] = '+';
        } else {
            dst[n++] = '%';
            dst[n++] = digits[c >> 4];
            dst[n++] = digits[c & 15];
        }
    }
    return n;
}
