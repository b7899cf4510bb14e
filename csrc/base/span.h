/* span.h -- a piece of somebody else's bytes.
 *
 * A span borrows: it never owns, and it is valid as long as the bytes are. Parsers that
 * may see their block moved hand out offsets instead (fl_slice in proto/). Comparing
 * without case folds A-Z only; bytes above 0x7F are compared as they are, because no
 * protocol that is spoken here folds them.
 *
 * Layer: base. Threads: any; pure functions.
 */
#ifndef FL_BASE_SPAN_H
#define FL_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct {
    const char *p; /* borrowed; may be NULL when n is 0 */
    size_t n;
} fl_span;

/* A span over a string literal, without its terminating NUL. */
#define FL_SPAN(literal) ((fl_span){"" literal, sizeof(literal) - 1})

static inline fl_span
fl_span_make(const char *p, size_t n)
{
    return (fl_span){p, n};
}

static inline char
fl_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline bool
fl_span_eq(fl_span a, fl_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Equal but for the case of ASCII letters. */
static inline bool
fl_span_ieq(fl_span a, fl_span b)
{
    if (a.n != b.n) {
        return false;
    }
    if (b.n == 0 || memcmp(a.p, b.p, b.n) == 0) { /* words, where b is a literal */
        return true;
    }
    for (size_t i = 0; i < a.n; i++) {
        if (a.p[i] != b.p[i] && fl_ascii_lower(a.p[i]) != fl_ascii_lower(b.p[i])) {
            return false;
        }
    }
    return true;
}

/* The span without SP and HTAB at both ends (RFC 9110 section 5.6.3, OWS). */
static inline fl_span
fl_span_trim(fl_span s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) {
        s.n--;
    }
    return s;
}

#endif
