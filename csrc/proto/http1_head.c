/* http1_head.c -- one pass over a head that is whole, a careful one over any other.
 *
 * Most heads arrive in one piece. So the first call walks the lines at once; SIMD has
 * marked which bytes end a token and which end a value (fl_marks), and the walk jumps from
 * mark to mark: name, colon, value, CR LF. When that reaches the empty line, it is done.
 *
 *      fl_http1_request -> walk                      whole and good: the result
 *                       -> survey -> walk            anything else
 *
 * The survey is what makes the outcome independent of how the bytes were cut. It goes
 * through them once, remembers in *scanned where it stands, refuses bytes and line ends
 * that no head may contain as they come, and judges the first line when it is whole; the
 * lines after it are judged when the head is whole. A walk that fails is only believed when
 * the survey has come to the same place.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/http1_head.h"

#include "base/scan.h"
#include "proto/host.h"

#define MAX_LENGTH_DIGITS 16 /* 9 PB: no body is larger, and no sum of two overflows */
#define MAX_EMPTY_LINES 2    /* skipped before a request line, RFC 9112 section 2.2 */
#define VERSION_LEN 8        /* HTTP/1.1 */

/* Top bit of *scanned: the first line was judged. The others: bytes surveyed. */
#define FIRST_LINE_DONE (~(SIZE_MAX >> 1))

#define PARTIAL 0

typedef enum { REQUEST, RESPONSE } head_kind;

static inline fl_slice
slice(size_t from, size_t to)
{
    return (fl_slice){(uint32_t)from, (uint32_t)(to - from)};
}

/* ---------------------------------------------------------------- marks */

/* Marks of a window [base, top) of p[0..n). Positions asked for never go back. */
typedef struct {
    const char *p;
    size_t n;
    size_t base, top;
    fl_marks marks;
} marker;

#define FIRST_WINDOW \
    128 /* a small head; pipelined ones do not pay for their followers */
#define WINDOW 512

static inline void
marker_init(marker *m, const char *p, size_t n, size_t at)
{
    m->p = p;
    m->n = n;
    m->base = at;
    m->top = n - at < FIRST_WINDOW ? n : at + FIRST_WINDOW;
    fl_scan_marks(p + at, m->top - at, &m->marks);
}

static void
marker_move(marker *m, size_t at)
{
    m->base = at;
    m->top = m->n - at < WINDOW ? m->n : at + WINDOW;
    fl_scan_marks(m->p + at, m->top - at, &m->marks);
}

/* The first marked position at or after `at` in one of the two rows of marks; n without. */
static inline size_t
next_mark(marker *m, const uint64_t *row, size_t at)
{
    for (;;) {
        if (at >= m->top) {
            if (at >= m->n) {
                return m->n;
            }
            marker_move(m, at);
        }
        size_t rel = at - m->base;
        uint64_t bits = row[rel / 64] >> rel % 64;
        if (bits != 0) {
            return at + (size_t)__builtin_ctzll(bits);
        }
        at = m->base + (rel | 63) + 1;
    }
}

/* ---------------------------------------------------------------- first lines */

#define METHOD(id, text) [id] = {"" text, sizeof(text) - 1}
static const fl_span methods[FL_METHOD_COUNT] = {
    METHOD(FL_METHOD_OTHER, ""),          METHOD(FL_METHOD_GET, "GET"),
    METHOD(FL_METHOD_HEAD, "HEAD"),       METHOD(FL_METHOD_POST, "POST"),
    METHOD(FL_METHOD_PUT, "PUT"),         METHOD(FL_METHOD_DELETE, "DELETE"),
    METHOD(FL_METHOD_PATCH, "PATCH"),     METHOD(FL_METHOD_OPTIONS, "OPTIONS"),
    METHOD(FL_METHOD_CONNECT, "CONNECT"), METHOD(FL_METHOD_TRACE, "TRACE"),
};
#undef METHOD

fl_span
fl_method_name(int method)
{
    return methods[method > 0 && method < FL_METHOD_COUNT ? method : FL_METHOD_OTHER];
}

uint8_t
fl_method_lookup(fl_span name)
{
    for (uint8_t i = FL_METHOD_OTHER + 1; i < FL_METHOD_COUNT; i++) {
        if (name.n == methods[i].n && memcmp(name.p, methods[i].p, name.n) == 0) {
            return i;
        }
    }
    return FL_METHOD_OTHER;
}

/* HTTP/1.0 or HTTP/1.1 in the eight bytes at p; `malformed` when they are no version. */
static int
read_version(const char *p, int malformed, fl_head *out)
{
    if (memcmp(p, "HTTP/1.", VERSION_LEN - 1) == 0 && (p[7] == '1' || p[7] == '0')) {
        out->minor_version = (uint8_t)(p[7] - '0');
        return 0;
    }
    bool well_formed = memcmp(p, "HTTP/", 5) == 0 && fl_is(p[5], FL_C_DIGIT) &&
                       p[6] == '.' && fl_is(p[7], FL_C_DIGIT);
    return well_formed ? -FL_BAD_VERSION : -malformed;
}

/* Path and query in [at, end): the part of a target after any authority. */
static int
read_path(const char *p, size_t at, size_t end, fl_head *out)
{
    size_t stop = at + fl_scan_target_end(p + at, end - at);
    out->path = slice(at, stop);
    out->query = slice(stop, stop);
    if (stop == end) {
        return 0;
    }
    if (p[stop] != '?') {
        return -FL_BAD_TARGET;
    }
    out->query = slice(stop + 1, end);
    out->flags |= FL_HEAD_QUERY;
    for (at = stop + 1; at < end; at = stop + 1) {
        stop = at + fl_scan_target_end(p + at, end - at);
        if (stop < end && p[stop] != '?') {
            return -FL_BAD_TARGET;
        }
    }
    return 0;
}

/* RFC 9112 section 3.2.2: http://authority/path?query, without userinfo (RFC 9110 4.2.4). */
static int
read_absolute_target(const char *p, size_t at, size_t end, fl_head *out)
{
    fl_span target = fl_span_make(p + at, end - at);
    size_t skip = 0;
    if (target.n >= 7 && fl_span_ieq(fl_span_make(target.p, 7), FL_SPAN("http://"))) {
        skip = 7;
    } else if (target.n >= 8 &&
               fl_span_ieq(fl_span_make(target.p, 8), FL_SPAN("https://"))) {
        skip = 8;
    } else {
        return -FL_BAD_TARGET_FORM;
    }
    size_t host = at + skip;
    size_t stop = host;
    while (stop < end && p[stop] != '/' && p[stop] != '?') {
        stop++;
    }
    fl_span name;
    if (!fl_host_split(fl_span_make(p + host, stop - host), &name, NULL) ||
        name.n == 0) {
        return -FL_BAD_TARGET;
    }
    out->flags |= FL_HEAD_ABSOLUTE;
    out->host = slice(host, stop);
    return read_path(p, stop, end, out);
}

/* RFC 9112 section 3.2.3: host:port, both given. */
static int
read_authority_target(const char *p, size_t at, size_t end, fl_head *out)
{
    fl_span host;
    int port;
    if (!fl_host_split(fl_span_make(p + at, end - at), &host, &port) || host.n == 0 ||
        port < 0) {
        return -FL_BAD_TARGET_FORM;
    }
    out->host = slice(at, end);
    out->path = out->query = slice(end, end);
    return 0;
}

static int
read_target(const char *p, size_t at, size_t end, fl_head *out)
{
    out->target = slice(at, end);
    out->host = slice(at, at);
    if (out->method == FL_METHOD_CONNECT) {
        return read_authority_target(p, at, end, out);
    }
    if (p[at] == '/') {
        return read_path(p, at, end, out);
    }
    if (p[at] == '*' && end - at == 1) {
        out->path = slice(at, end);
        out->query = slice(end, end);
        return out->method == FL_METHOD_OPTIONS ? 0 : -FL_BAD_TARGET_FORM;
    }
    return read_absolute_target(p, at, end, out);
}

/* method SP target SP version in [at, end), where no control byte stands. */
static int
read_request_line(const char *p, size_t at, size_t end, fl_head *out)
{
    size_t stop = at;
    while (stop < end && fl_is(p[stop], FL_C_TOKEN)) {
        stop++;
    }
    if (stop == at || (stop < end && p[stop] != ' ')) {
        return stop == at && at == end ? -FL_BAD_REQUEST_LINE : -FL_BAD_METHOD;
    }
    out->method_name = slice(at, stop);
    out->method = fl_method_lookup(fl_span_make(p + at, stop - at));
    size_t target = stop + 1;
    if (end < target + VERSION_LEN + 2 || p[end - VERSION_LEN - 1] != ' ' ||
        p[target] == ' ') {
        return -FL_BAD_REQUEST_LINE;
    }
    int rc = read_version(p + end - VERSION_LEN, FL_BAD_REQUEST_LINE, out);
    return rc < 0 ? rc : read_target(p, target, end - VERSION_LEN - 1, out);
}

/* version SP 3DIGIT [SP reason] in [at, end). The space after the status belongs there even
 * without a reason, but servers that leave it away are many and mean nothing else by it. */
static int
read_status_line(const char *p, size_t at, size_t end, fl_head *out)
{
    size_t status = at + VERSION_LEN + 1;
    if (end < status + 3 || p[status - 1] != ' ') {
        return -FL_BAD_STATUS_LINE;
    }
    int rc = read_version(p + at, FL_BAD_STATUS_LINE, out);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < 3; i++) {
        if (!fl_is(p[status + i], FL_C_DIGIT)) {
            return -FL_BAD_STATUS_LINE;
        }
        out->status = (uint16_t)(out->status * 10 + (p[status + i] - '0'));
    }
    size_t reason = status + 3;
    if (out->status < 100 || (reason < end && p[reason] != ' ')) {
        return -FL_BAD_STATUS_LINE;
    }
    out->reason = slice(reason < end ? reason + 1 : end, end);
    if (out->status < 200 || out->status == 204 || out->status == 304) {
        out->flags |= FL_HEAD_NO_BODY;
    }
    return 0;
}

static int
read_first_line(head_kind kind, const char *p, size_t at, size_t end, fl_head *out)
{
    fl_field *fields = out->fields;
    uint32_t cap_fields = out->cap_fields;
    *out = (fl_head){.fields = fields, .cap_fields = cap_fields};
    return kind == REQUEST ? read_request_line(p, at, end, out)
                           : read_status_line(p, at, end, out);
}

/* ---------------------------------------------------------------- field lines */

enum { FIELD_LINE = 0, EMPTY_LINE = 1, NO_LINE = 2 };

/* Why no name and colon stand at `at`, where the name's first foreign byte is at `stop`. */
static int
field_error(const char *p, size_t n, size_t at, size_t stop)
{
    char c = p[stop];
    if (c == ':') {
        return -FL_BAD_FIELD_NAME; /* empty */
    }
    if (c == ' ' || c == '\t') {
        if (stop == at) {
            return -FL_BAD_FIELD_FOLD;
        }
        while (stop < n && (p[stop] == ' ' || p[stop] == '\t')) {
            stop++;
        }
        return stop < n && p[stop] == ':' ? -FL_BAD_FIELD_SPACE : -FL_BAD_FIELD_NAME;
    }
    if (c == '\n') {
        return -FL_BAD_LINE_END;
    }
    return c == '\r' ? -FL_BAD_FIELD_LINE : -FL_BAD_FIELD_NAME;
}

/* Why a value does not end where a byte stands that may not be in it. */
static int
value_error(char c)
{
    return c == '\r' || c == '\n' ? -FL_BAD_LINE_END : -FL_BAD_BYTE;
}

/* Reads the line at *at: FIELD_LINE with *f and *at moved past it, EMPTY_LINE with *at past
 * it, NO_LINE when it is not all there, or -reason. */
static inline int
read_field(marker *m, size_t *at, fl_field *f)
{
    const char *p = m->p;
    size_t n = m->n, name = *at;
    size_t colon = next_mark(m, m->marks.not_token, name);
    if (colon >= n) {
        return NO_LINE;
    }
    if (p[colon] != ':' || colon == name) {
        if (p[colon] == '\r' && colon == name) {
            if (colon + 1 == n) {
                return NO_LINE;
            }
            *at = colon + 2;
            return p[colon + 1] == '\n' ? EMPTY_LINE : -FL_BAD_LINE_END;
        }
        return field_error(p, n, name, colon);
    }
    size_t value = colon + 1;
    while (value < n && (p[value] == ' ' || p[value] == '\t')) {
        value++;
    }
    size_t end = next_mark(m, m->marks.not_value, value);
    if (end >= n || (end + 1 == n && p[end] == '\r')) {
        return NO_LINE;
    }
    if (p[end] != '\r' || p[end + 1] != '\n') {
        return value_error(p[end]);
    }
    *at = end + 2;
    while (end > value && (p[end - 1] == ' ' || p[end - 1] == '\t')) {
        end--;
    }
    f->name = slice(name, colon);
    f->value = slice(value, end);
    f->id = fl_header_lookup(fl_span_make(p + name, colon - name));
    return FIELD_LINE;
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
    marker m;
    marker_init(&m, p, n, 0);
    size_t at = 0;
    uint32_t count = 0;
    while (at < n) {
        fl_field f;
        int rc = read_field(&m, &at, &f);
        if (rc < 0) {
            return rc;
        }
        if (rc != FIELD_LINE) {
            return -FL_BAD_FIELD_LINE;
        }
        if (count == cap) {
            return -FL_BAD_FIELD_COUNT;
        }
        fields[count++] = f;
    }
    return (int)count;
}

/* ---------------------------------------------------------------- what fields mean */

/* Takes the next element that is not empty off a comma-separated list. */
static bool
next_element(fl_span *list, fl_span *element)
{
    while (list->n > 0) {
        size_t comma = fl_scan_byte(list->p, list->n, ',');
        *element = fl_span_trim(fl_span_make(list->p, comma));
        size_t used = comma < list->n ? comma + 1 : comma;
        list->p += used;
        list->n -= used;
        if (element->n > 0) {
            return true;
        }
    }
    return false;
}

bool
fl_list_has(fl_span list, fl_span token)
{
    fl_span element;
    while (next_element(&list, &element)) {
        if (fl_span_ieq(element, token)) {
            return true;
        }
    }
    return false;
}

/* What the fields that decide about the message have said so far. */
typedef struct {
    bool host;
    bool coding;         /* a Transfer-Encoding was there */
    bool chunked;        /* its last coding so far is chunked */
    bool unknown_coding; /* one was not chunked */
    bool expect_continue;
    bool upgrade_named; /* by Connection */
} sayings;

static void
take_connection(fl_span value, sayings *said, fl_head *out)
{
    fl_span option;
    while (next_element(&value, &option)) {
        if (fl_span_ieq(option, FL_SPAN("close"))) {
            out->flags |= FL_HEAD_CLOSE;
        } else if (fl_span_ieq(option, FL_SPAN("keep-alive"))) {
            out->flags |= FL_HEAD_SAID_KEEP_ALIVE;
        } else if (fl_span_ieq(option, FL_SPAN("upgrade"))) {
            said->upgrade_named = true;
        }
    }
}

static int
take_host(const char *p, fl_slice at, sayings *said, fl_head *out)
{
    fl_span host;
    fl_span value = fl_slice_span(p, at);
    if (said->host) {
        return -FL_BAD_HOST_REPEATED;
    }
    said->host = true;
    if (value.n > 0 && (!fl_host_split(value, &host, NULL) || host.n == 0)) {
        return -FL_BAD_HOST;
    }
    if (out->host.len == 0) { /* an authority in the target comes first */
        out->host = at;
    }
    return 0;
}

/* One number: 1*DIGIT. A second one must be equal, and only a response may have it. */
static int
take_one_length(head_kind kind, fl_span s, fl_head *out)
{
    uint64_t length;
    if (s.n > MAX_LENGTH_DIGITS || s.n == 0) {
        return -FL_BAD_LENGTH;
    }
    length = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!fl_is(s.p[i], FL_C_DIGIT)) {
            return -FL_BAD_LENGTH;
        }
        length = length * 10 + (uint64_t)(s.p[i] - '0');
    }
    if ((out->flags & FL_HEAD_HAS_LENGTH) != 0 &&
        (kind == REQUEST || length != out->content_length)) {
        return -FL_BAD_LENGTH_REPEATED;
    }
    out->flags |= FL_HEAD_HAS_LENGTH;
    out->content_length = length;
    return 0;
}

/* RFC 9110 section 8.6: equal values in a list may be taken for one; a request that has a
 * list is refused all the same, since a proxy may have read it differently. */
static int
take_length(head_kind kind, fl_span value, fl_head *out)
{
    if (kind == REQUEST) {
        return take_one_length(kind, value, out);
    }
    for (;;) {
        size_t comma = fl_scan_byte(value.p, value.n, ',');
        fl_span one = fl_span_trim(fl_span_make(value.p, comma));
        int rc = take_one_length(kind, one, out);
        if (rc < 0 || comma == value.n) {
            return rc;
        }
        value.p += comma + 1;
        value.n -= comma + 1;
    }
}

/* RFC 9112 section 6.1: a list of codings over one or several lines; chunked once and last. */
static int
take_coding(fl_span value, sayings *said)
{
    fl_span coding;
    bool any = false;
    if (value.n > 0 && (value.p[0] == ',' || value.p[value.n - 1] == ',')) {
        return -FL_BAD_CODING;
    }
    said->coding = true;
    while (next_element(&value, &coding)) {
        any = true;
        if (said->chunked) {
            return -FL_BAD_CODING;
        }
        if (fl_span_ieq(coding, FL_SPAN("chunked"))) {
            said->chunked = true;
            continue;
        }
        /* "chunked;x=1": a parameter that chunked does not have. */
        size_t name = fl_scan_token_end(coding.p, coding.n);
        if (name == 0 ||
            fl_span_ieq(fl_span_make(coding.p, name), FL_SPAN("chunked"))) {
            return -FL_BAD_CODING;
        }
        said->unknown_coding = true;
    }
    return any ? 0 : -FL_BAD_CODING;
}

static int
take_field(head_kind kind, const char *p, const fl_field *f, sayings *said,
           fl_head *out)
{
    fl_span value = fl_slice_span(p, f->value);
    switch (f->id) {
    case FL_H_HOST:
        return kind == REQUEST ? take_host(p, f->value, said, out) : 0;
    case FL_H_CONNECTION:
        take_connection(value, said, out);
        return 0;
    case FL_H_CONTENT_LENGTH:
        return take_length(kind, value, out);
    case FL_H_TRANSFER_ENCODING:
        return take_coding(value, said);
    case FL_H_EXPECT:
        said->expect_continue |= fl_list_has(value, FL_SPAN("100-continue"));
        return 0;
    default:
        return 0;
    }
}

/* Judges the fields together and sets the flags that follow from several of them. */
static int
conclude(head_kind kind, const sayings *said, fl_head *out)
{
    bool http11 = out->minor_version == 1;
    if (said->coding) {
        if (!http11) {
            return -FL_BAD_CODING_VERSION;
        }
        if (!said->chunked) {
            return -FL_BAD_CODING;
        }
        if ((out->flags & FL_HEAD_HAS_LENGTH) != 0) {
            return -FL_BAD_LENGTH_AND_CODING;
        }
        if (said->unknown_coding) {
            return -FL_BAD_CODING_UNKNOWN;
        }
        out->flags |= FL_HEAD_CHUNKED;
    }
    if (kind == REQUEST && http11 && !said->host) {
        return -FL_BAD_HOST_MISSING;
    }
    if ((out->flags & FL_HEAD_CLOSE) == 0 &&
        (http11 || (out->flags & FL_HEAD_SAID_KEEP_ALIVE) != 0)) {
        out->flags |= FL_HEAD_KEEP_ALIVE;
    }
    if (http11 && said->expect_continue && kind == REQUEST) {
        out->flags |= FL_HEAD_EXPECT_CONTINUE;
    }
    if (http11 && said->upgrade_named && (out->seen >> FL_H_UPGRADE & 1) != 0) {
        out->flags |= FL_HEAD_UPGRADE;
    }
    return 0;
}

/* ---------------------------------------------------------------- walk and survey */

#define BIT(id) (UINT64_C(1) << (id))
#define DECISIVE                                                        \
    (BIT(FL_H_HOST) | BIT(FL_H_CONNECTION) | BIT(FL_H_CONTENT_LENGTH) | \
     BIT(FL_H_TRANSFER_ENCODING) | BIT(FL_H_EXPECT))

static size_t
skip_empty_lines(head_kind kind, const char *p, size_t n)
{
    size_t at = 0;
    while (kind == REQUEST && at < 2 * MAX_EMPTY_LINES && n - at >= 2 &&
           p[at] == '\r' && p[at + 1] == '\n') {
        at += 2;
    }
    return at;
}

/* Reads the head that begins at p: its length, PARTIAL when it runs past n, or -reason. */
static int
walk(head_kind kind, const char *p, size_t n, const fl_head_limits *limits,
     fl_head *out)
{
    size_t at = skip_empty_lines(kind, p, n);
    marker m;
    marker_init(&m, p, n, at);
    size_t line_end = next_mark(&m, m.marks.not_value, at);
    if (line_end + 1 >= n) {
        return PARTIAL;
    }
    if (p[line_end] != '\r' || p[line_end + 1] != '\n') {
        return -FL_BAD_LINE_END;
    }
    int rc = read_first_line(kind, p, at, line_end, out);
    if (rc < 0) {
        return rc;
    }
    uint32_t cap = limits->max_fields == 0 || limits->max_fields > out->cap_fields
                       ? out->cap_fields
                       : limits->max_fields;
    uint64_t seen = 0;
    sayings said = {0};
    uint32_t count = 0;
    at = line_end + 2;
    for (;;) {
        fl_field f;
        rc = read_field(&m, &at, &f);
        if (rc == EMPTY_LINE) {
            break;
        }
        if (rc != FIELD_LINE) {
            return rc == NO_LINE ? PARTIAL : rc;
        }
        if (count == cap) {
            return -FL_BAD_FIELD_COUNT;
        }
        out->fields[count++] = f;
        if (f.id >= 64) {
            continue;
        }
        uint64_t bit = BIT(f.id);
        seen |= bit;
        if ((bit & DECISIVE) != 0) {
            rc = take_field(kind, p, &f, &said, out);
            if (rc < 0) {
                return rc;
            }
        }
    }
    out->nfields = count;
    out->seen = seen & ~BIT(FL_H_OTHER);
    rc = conclude(kind, &said, out);
    return rc < 0 ? rc : (int)at;
}

/* Goes on where *scanned says. Returns as fl_http1_request does; n is at most max_head. */
static int
survey(head_kind kind, const char *p, size_t n, size_t *scanned, size_t max_head,
       const fl_head_limits *limits, fl_head *out)
{
    size_t lead = skip_empty_lines(kind, p, n);
    size_t at = *scanned & ~FIRST_LINE_DONE;
    bool first_done = (*scanned & FIRST_LINE_DONE) != 0;
    if (at < lead) {
        at = lead;
    }
    if (kind == REQUEST && n > lead && fl_is(p[lead], FL_C_VALUE) &&
        !fl_is(p[lead], FL_C_TOKEN)) {
        return -FL_BAD_METHOD;
    }
    for (;;) {
        at += fl_scan_value_end(p + at, n - at);
        if (at == n || (at + 1 == n && p[at] == '\r')) {
            break;
        }
        if (p[at] != '\r' || p[at + 1] != '\n') {
            return value_error(p[at]);
        }
        if (!first_done) {
            int rc = read_first_line(kind, p, lead, at, out);
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
parse(head_kind kind, const char *p, size_t n, size_t *scanned,
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
    return parse(REQUEST, p, n, scanned, limits, out);
}

int
fl_http1_response(const char *p, size_t n, size_t *scanned,
                  const fl_head_limits *limits, fl_head *out)
{
    return parse(RESPONSE, p, n, scanned, limits, out);
}
