/* http1_head.c -- one pass over a head that is whole, a careful one over any other.
 *
 * Most heads arrive in one piece. So the first call walks the lines at once; SIMD has
 * marked which bytes end a token and which end a value (fl_marks); the walk jumps from
 * line end to line end and finds in each line the colon. Where a line ends does not
 * depend on what is in it, so the processor works at several lines at once. When it
 * reaches the empty line, it is done.
 *
 *      fl_http1_request -> walk                      whole and good: the result
 *                       -> survey -> walk            anything else
 *
 * The survey is what makes the outcome independent of how the bytes were cut. It goes
 * through them once, remembers in *scanned where it stands, refuses bytes and line ends
 * that no head may contain as they come, and judges the first line when it is whole;
 * the lines after it are judged when the head is whole. A walk that fails is only
 * believed when the survey has come to the same place.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/http1_head.h"

#include "base/scan.h"
#include "proto/http1_parts.h"

#define MAX_EMPTY_LINES 2 /* skipped before a request line, RFC 9112 section 2.2 */

/* Top bit of *scanned: the first line was judged. The others: bytes surveyed. */
#define FIRST_LINE_DONE (~(SIZE_MAX >> 1))

#define PARTIAL 0

/* The cursor stays in registers only where all that touches it is inlined: a third of
 * the time of a head (benchmarks/c/head.c). */
#define ALWAYS_INLINE __attribute__((always_inline))

/* ---------------------------------------------------------------- lines */

/* The lines of p[0..n), one after the other. Marks lie over a window [base, top) that
 * begins with a line; `stops` are those of the word *row that were not met yet, and its
 * first bit stands for p[row_at]. A plain value, so that it lives in registers. */
typedef struct {
    const uint64_t *row;
    uint64_t stops;
    size_t row_at;
    size_t base, top;
} line_cursor;

typedef struct {
    line_cursor cursor;
    size_t stop;
} far_stop;

/* A small head; pipelined ones do not pay for their followers. */
#define FIRST_WINDOW 128

static inline line_cursor
look_at(const char *p, size_t n, size_t at, size_t window, fl_marks *marks)
{
    size_t top = n - at < window ? n : at + window;
    fl_scan_marks(p + at, top - at, marks);
    return (line_cursor){marks->not_value, marks->not_value[0], at, at, top};
}

ALWAYS_INLINE static inline size_t
next_stop(line_cursor *c)
{
    while (c->stops == 0) { /* the word after the last is all ones */
        c->stops = *++c->row;
        c->row_at += 64;
    }
    return c->row_at + (size_t)__builtin_ctzll(c->stops);
}

/* The line at `at` goes on after what is marked: marks from there on. For one that no
 * window holds finds the end alone; then `top` makes sure that the next line comes here
 * again. */
static far_stop
look_far(const char *p, size_t n, size_t at, fl_marks *marks)
{
    line_cursor c = look_at(p, n, at, FL_MARKS_BYTES, marks);
    size_t stop = next_stop(&c);
    if (stop + 2 > c.top) {
        stop = at + fl_scan_value_end(p + at, n - at);
        c.top = 0;
    }
    return (far_stop){c, stop};
}

static inline bool
is_line_end(const char *p, size_t n, size_t stop)
{
    return stop + 1 < n && memcmp(p + stop, "\r\n", 2) == 0;
}

/* Finds where the line at `at` stops: at its CR LF, then true; at a byte that no line
 * may hold, or at n. */
ALWAYS_INLINE static inline bool
find_line_end(line_cursor *c, const char *p, size_t n, size_t at, fl_marks *marks,
              size_t *stop)
{
    *stop = next_stop(c);
    if (*stop + 2 <= c->top) {
        return memcmp(p + *stop, "\r\n", 2) == 0;
    }
    far_stop far = look_far(p, n, at, marks);
    *c = far.cursor;
    *stop = far.stop;
    return is_line_end(p, n, *stop);
}

/* The line was read: its CR and LF are stops that were met. */
ALWAYS_INLINE static inline void
pass_line_end(line_cursor *c)
{
    c->stops &= c->stops - 1;
    if (c->stops == 0) {
        c->stops = *++c->row;
        c->row_at += 64;
    }
    c->stops &= c->stops - 1;
}

/* The first byte of the line at `at` that is no tchar; `stop` ends the line. */
ALWAYS_INLINE static inline size_t
token_end(const line_cursor *c, const char *p, size_t at, size_t stop,
          const fl_marks *marks)
{
    size_t rel = at - c->base;
    const uint64_t *row = marks->not_token + rel / 64;
    uint64_t bits = row[0] >> rel % 64;
    if (bits != 0) {
        return at + (size_t)__builtin_ctzll(bits);
    }
    size_t on = 64 - rel % 64;
    if (row[1] != 0) {
        return at + on + (size_t)__builtin_ctzll(row[1]);
    }
    return at + fl_scan_token_end(p + at, stop - at);
}

/* ---------------------------------------------------------------- field lines */

/* What a line is, besides the id of its field. */
enum { EMPTY_LINE = FL_H_COUNT, NO_LINE };

/* The first byte from `at` on that is neither SP nor HTAB; there is one. */
static size_t
skip_blanks(const char *p, size_t at)
{
    while (p[at] == ' ' || p[at] == '\t') {
        at++;
    }
    return at;
}

/* Why no name and colon begin the line at `at`, where the first byte that is no tchar
 * is p[end], at or before the line's CR. */
static int
name_error(const char *p, size_t at, size_t end)
{
    if (p[end] == '\r') {
        return -FL_BAD_FIELD_LINE;
    }
    if (p[end] != ' ' && p[end] != '\t') {
        return -FL_BAD_FIELD_NAME;
    }
    if (end == at) {
        return -FL_BAD_FIELD_FOLD;
    }
    return p[skip_blanks(p, end)] == ':' ? -FL_BAD_FIELD_SPACE : -FL_BAD_FIELD_NAME;
}

/* What to make of a line that stops at p[stop] without CR LF: not all there, or why
 * not. */
static int
stop_error(const char *p, size_t n, size_t stop)
{
    if (stop == n || (stop + 1 == n && p[stop] == '\r')) {
        return NO_LINE;
    }
    return p[stop] == '\r' || p[stop] == '\n' ? -FL_BAD_LINE_END : -FL_BAD_BYTE;
}

/* Where p[from..end) ends without SP and HTAB. */
static size_t
skip_blanks_back(const char *p, size_t end, size_t from)
{
    while (end > from && (p[end - 1] == ' ' || p[end - 1] == '\t')) {
        end--;
    }
    return end;
}

/* Reads the line at *at: the id of its field (FL_H_OTHER too) with *f and *at moved
 * past it, EMPTY_LINE with *at past it, NO_LINE when it is not all there, or -reason.
 */
ALWAYS_INLINE static inline int
read_line(line_cursor *c, const char *p, size_t n, size_t *at, fl_field *f,
          fl_marks *marks)
{
    size_t name = *at;
    size_t stop;
    if (!find_line_end(c, p, n, name, marks, &stop)) {
        return stop_error(p, n, stop);
    }
    *at = stop + 2;
    size_t colon = token_end(c, p, name, stop, marks);
    if (p[colon] != ':' || colon == name) {
        return stop == name ? EMPTY_LINE : name_error(p, name, colon);
    }
    pass_line_end(c);
    f->name = fl_slice_between(name, colon);
    size_t value = colon + 1;
    value += p[value] == ' ';
    if ((uint8_t)p[value] <= ' ') { /* more of them, or the CR */
        value = skip_blanks(p, value);
    }
    if ((uint8_t)p[stop - 1] <= ' ') {
        stop = skip_blanks_back(p, stop, value);
    }
    f->value = fl_slice_between(value, stop);
    f->id = fl_header_lookup_token(fl_span_make(p + name, colon - name));
    return f->id;
}

int
fl_http1_fields(const char *p, size_t n, fl_field *fields, uint32_t cap)
{
    if (n == 0) {
        return 0;
    }
    if (n > FL_HEAD_MAX) {
        return -FL_BAD_HEAD_LONG;
    }
    fl_marks marks;
    line_cursor c = look_at(p, n, 0, FIRST_WINDOW, &marks);
    size_t at = 0;
    uint32_t count = 0;
    while (at < n) {
        if (count == cap) {
            return -FL_BAD_FIELD_COUNT;
        }
        int id = read_line(&c, p, n, &at, &fields[count], &marks);
        if (id < 0 || id >= EMPTY_LINE) {
            return id < 0 ? id : -FL_BAD_FIELD_LINE;
        }
        count++;
    }
    return (int)count;
}

/* ---------------------------------------------------------------- walk and survey */

static size_t
skip_empty_lines(fl_head_kind kind, const char *p, size_t n)
{
    size_t at = 0;
    while (kind == FL_REQUEST && at < 2 * MAX_EMPTY_LINES && n - at >= 2 &&
           p[at] == '\r' && p[at + 1] == '\n') {
        at += 2;
    }
    return at;
}

/* There is room for no field: the line at *at must be empty. */
static int
no_more(const char *p, size_t n, size_t *at)
{
    if (is_line_end(p, n, *at)) {
        *at += 2;
        return EMPTY_LINE;
    }
    return *at + 1 >= n ? NO_LINE : -FL_BAD_FIELD_COUNT;
}

/* Reads the head that begins at p: its length, PARTIAL when it runs past n, or
 * -reason. */
static int
walk(fl_head_kind kind, const char *p, size_t n, const fl_head_limits *limits,
     fl_head *out)
{
    size_t at = skip_empty_lines(kind, p, n);
    fl_marks marks;
    line_cursor c = look_at(p, n, at, FIRST_WINDOW, &marks);
    size_t stop;
    if (!find_line_end(&c, p, n, at, &marks, &stop)) {
        int why = stop_error(p, n, stop);
        return why == NO_LINE ? PARTIAL : why;
    }
    int rc = fl_http1_start_line(kind, p, at, stop, out);
    if (rc < 0) {
        return rc;
    }
    pass_line_end(&c);
    at = stop + 2;
    uint32_t cap = limits->max_fields == 0 || limits->max_fields > out->cap_fields
                       ? out->cap_fields
                       : limits->max_fields;
    fl_field *f = out->fields, *end = out->fields + cap;
    uint64_t seen = 0;
    fl_head_sayings said = {0};
    for (;;) {
        int id = f < end ? read_line(&c, p, n, &at, f, &marks) : no_more(p, n, &at);
        if (id < 0 || id >= EMPTY_LINE) {
            if (id == EMPTY_LINE) {
                break;
            }
            return id == NO_LINE ? PARTIAL : id;
        }
        seen |= (uint64_t)(id < 64) << id % 64;
        if (fl_is_decisive(id)) {
            rc = fl_http1_take_field(kind, p, f, &said, out);
            if (rc < 0) {
                return rc;
            }
        }
        f++;
    }
    out->nfields = (uint32_t)(f - out->fields);
    out->seen = seen & ~(UINT64_C(1) << FL_H_OTHER);
    rc = fl_http1_conclude(kind, &said, out);
    return rc < 0 ? rc : (int)at;
}

/* Goes on where *scanned says. Returns as fl_http1_request does; n is at most
 * max_head. */
static int
survey(fl_head_kind kind, const char *p, size_t n, size_t *scanned, size_t max_head,
       const fl_head_limits *limits, fl_head *out)
{
    size_t lead = skip_empty_lines(kind, p, n);
    size_t at = *scanned & ~FIRST_LINE_DONE;
    bool first_done = (*scanned & FIRST_LINE_DONE) != 0;
    if (at < lead) {
        at = lead;
    }
    if (kind == FL_REQUEST && n > lead && fl_is(p[lead], FL_C_VALUE) &&
        !fl_is(p[lead], FL_C_TOKEN)) {
        return -FL_BAD_METHOD;
    }
    for (;;) {
        at += fl_scan_value_end(p + at, n - at);
        if (!is_line_end(p, n, at)) {
            int why = stop_error(p, n, at);
            if (why == NO_LINE) {
                break;
            }
            return why;
        }
        if (!first_done) {
            int rc = fl_http1_start_line(kind, p, lead, at, out);
            if (rc < 0) {
                return rc;
            }
            first_done = true;
        } else if (p[at - 1] == '\n') {
            return walk(kind, p, at + 2, limits, out);
        }
        at += 2;
    }
    *scanned = at | (first_done ? FIRST_LINE_DONE : 0);
    if (n == max_head) {
        return first_done ? -FL_BAD_HEAD_LONG : -FL_BAD_TARGET_LONG;
    }
    return PARTIAL;
}

static int
parse(fl_head_kind kind, const char *p, size_t n, size_t *scanned,
      const fl_head_limits *limits, fl_head *out)
{
    size_t max_head = limits->max_head == 0 || limits->max_head > FL_HEAD_MAX
                          ? FL_HEAD_MAX
                          : limits->max_head;
    if (n > max_head) {
        n = max_head;
    }
    if (n == 0) {
        return PARTIAL;
    }
    if (*scanned == 0) {
        int length = walk(kind, p, n, limits, out);
        if (length > 0) {
            return length;
        }
    }
    return survey(kind, p, n, scanned, max_head, limits, out);
}

int
fl_http1_request(const char *p, size_t n, size_t *scanned, const fl_head_limits *limits,
                 fl_head *out)
{
    return parse(FL_REQUEST, p, n, scanned, limits, out);
}

int
fl_http1_response(const char *p, size_t n, size_t *scanned,
                  const fl_head_limits *limits, fl_head *out)
{
    return parse(FL_RESPONSE, p, n, scanned, limits, out);
}
