/* host.c -- is this an authority, and where is its port?
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/host.h"

#include "proto/tokens.h"

#define MAX_PORT 65535
#define MAX_PORT_DIGITS 5

/* *DIGIT: an empty port is legal and means the scheme's own. */
static bool
read_port(fl_span s, int *port)
{
    int v = 0;
    if (s.n > MAX_PORT_DIGITS || !fl_span_all(s, FL_C_DIGIT)) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        v = v * 10 + (s.p[i] - '0');
    }
    *port = s.n == 0 ? -1 : v;
    return v <= MAX_PORT;
}

/* Up to s.n of 1-3 digits, 0-255, four of them with dots between. */
static bool
is_ipv4(fl_span s)
{
    int parts = 0;
    size_t i = 0;
    while (parts < 4) {
        int v = 0;
        size_t digits = 0;
        while (i < s.n && digits < 3 && fl_is(s.p[i], FL_C_DIGIT)) {
            v = v * 10 + (s.p[i++] - '0');
            digits++;
        }
        if (digits == 0 || v > 255) {
            return false;
        }
        if (++parts < 4 && (i == s.n || s.p[i++] != '.')) {
            return false;
        }
    }
    return i == s.n;
}

/* RFC 3986 section 3.2.2: eight groups of 1-4 hexadecimal digits, the last two perhaps
 * as IPv4, and one "::" for one or more groups of zero. */
static bool
is_ipv6(fl_span s)
{
    int groups = 0;
    bool gap = false;
    size_t i = 0;
    if (s.n >= 2 && s.p[0] == ':' && s.p[1] == ':') {
        gap = true;
        i = 2;
    }
    while (i < s.n) {
        size_t digits = 0;
        while (i + digits < s.n && digits < 4 && fl_is(s.p[i + digits], FL_C_HEX)) {
            digits++;
        }
        if (digits == 0) {
            return false;
        }
        if (i + digits < s.n && s.p[i + digits] == '.') {
            groups += 2;
            return is_ipv4(fl_span_make(s.p + i, s.n - i)) &&
                   (gap ? groups <= 7 : groups == 8);
        }
        i += digits;
        groups++;
        if (i == s.n) {
            break;
        }
        if (s.p[i++] != ':' || i == s.n) {
            return false;
        }
        if (s.p[i] == ':') {
            if (gap) {
                return false;
            }
            gap = true;
            i++;
        }
    }
    return gap ? groups <= 7 : groups == 8;
}

/* Where the reg-name at the start of s ends: at the first byte that may not be in it,
 * which is also a '%' without two hexadecimal digits. */
static size_t
name_end(fl_span s)
{
    size_t i = 0;
    for (;;) {
        while (i < s.n && fl_is(s.p[i], FL_C_HOST)) {
            i++;
        }
        if (s.n - i < 3 || s.p[i] != '%' || !fl_is(s.p[i + 1], FL_C_HEX) ||
            !fl_is(s.p[i + 2], FL_C_HEX)) {
            return i;
        }
        i += 3;
    }
}

bool
fl_host_split(fl_span s, fl_span *host, int *port)
{
    size_t end = 0;
    int number = -1;
    if (s.n > 0 && s.p[0] == '[') {
        while (end < s.n && s.p[end] != ']') {
            end++;
        }
        if (end == s.n || !is_ipv6(fl_span_make(s.p + 1, end - 1))) {
            return false;
        }
        end++;
    } else {
        end = name_end(s);
    }
    if (end < s.n) {
        if (s.p[end] != ':' ||
            !read_port(fl_span_make(s.p + end + 1, s.n - end - 1), &number)) {
            return false;
        }
    }
    if (host != NULL) {
        *host = fl_span_make(s.p, end);
    }
    if (port != NULL) {
        *port = number;
    }
    return true;
}
