/* multipart.c -- parts of a multipart/form-data body, one after the other.
 *
 *      START -> (first delimiter) -> PARTS -> (closing delimiter) -> DONE
 *
 * `pos` stands after the line end of a delimiter line. The next delimiter is looked for
 * from two bytes before it, because the line end of one delimiter may begin the next (a
 * part without anything). All bytes before `pos` are never looked at again, and the
 * delimiter begins with the one CR it contains, so a search compares each byte a
 * bounded number of times.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/multipart.h"

#include "base/scan.h"
#include "proto/params.h"
#include "proto/tokens.h"

enum { START, PARTS, DONE, FAILED_FIRST };

/* What stands behind the bytes of a delimiter. */
typedef enum { NO_DELIMITER, OPENING, CLOSING } delimiter_kind;

int
fl_multipart_boundary(fl_span content_type, fl_span *boundary)
{
    fl_params params;
    fl_param param;
    fl_params_init(&params, content_type);
    while (fl_params_next(&params, &param)) {
        if (fl_span_ieq(param.name, FL_SPAN("boundary")) && param.value.n > 0) {
            *boundary = param.value;
            return 0;
        }
    }
    return -FL_BAD_BOUNDARY;
}

int
fl_multipart_init(fl_multipart *m, fl_span boundary, fl_span body,
                  const fl_multipart_limits *limits)
{
    if (boundary.n == 0 || boundary.n > FL_BOUNDARY_MAX ||
        !fl_span_all(boundary, FL_C_VALUE)) {
        return -FL_BAD_BOUNDARY;
    }
    m->body = body;
    m->pos = 0;
    m->parts = 0;
    m->limits = *limits;
    m->state = START;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.p, boundary.n);
    m->delimiter_len = (uint32_t)boundary.n + 4;
    return 0;
}

static int
fail(fl_multipart *m, int reason)
{
    m->state = (uint8_t)(FAILED_FIRST + reason);
    return -reason;
}

/* What stands at `at`, just behind a boundary; *next gets where the line after it
 * begins. RFC 2046 section 5.1.1 allows white space before the line end. */
static delimiter_kind
classify(fl_span body, size_t at, size_t *next)
{
    if (body.n - at >= 2 && memcmp(body.p + at, "--", 2) == 0) {
        *next = at + 2;
        return CLOSING;
    }
    while (at < body.n && (body.p[at] == ' ' || body.p[at] == '\t')) {
        at++;
    }
    if (body.n - at >= 2 && memcmp(body.p + at, "\r\n", 2) == 0) {
        *next = at + 2;
        return OPENING;
    }
    return NO_DELIMITER;
}

/* Finds the next delimiter at or after `from`: *at gets where its CR stands, *next
 * where the line after it begins. */
static delimiter_kind
find_delimiter(const fl_multipart *m, size_t from, size_t *at, size_t *next)
{
    size_t n = m->body.n;
    while (from < n) {
        size_t hit = from + fl_scan_find(m->body.p + from, n - from, m->delimiter,
                                         m->delimiter_len);
        if (hit >= n) {
            break;
        }
        size_t behind = hit + m->delimiter_len;
        delimiter_kind kind = classify(m->body, behind, next);
        if (kind != NO_DELIMITER) {
            *at = hit;
            return kind;
        }
        from = behind;
    }
    return NO_DELIMITER;
}

/* The first delimiter needs no line end before it; a preamble may come before it. */
static int
start(fl_multipart *m)
{
    size_t at, next;
    size_t bare = m->delimiter_len - 2;
    delimiter_kind kind = NO_DELIMITER;
    if (m->body.n >= bare && memcmp(m->body.p, m->delimiter + 2, bare) == 0) {
        kind = classify(m->body, bare, &next);
    }
    if (kind == NO_DELIMITER) {
        kind = find_delimiter(m, 0, &at, &next);
    }
    if (kind == NO_DELIMITER) {
        return fail(m, FL_BAD_MULTIPART);
    }
    m->pos = next;
    m->state = kind == OPENING ? PARTS : DONE;
    return 0;
}

/* name and filename of a Content-Disposition value. */
static bool
read_disposition(fl_span value, fl_part *out)
{
    fl_params params;
    fl_param param;
    bool named = false;
    if (!fl_span_ieq(fl_params_init(&params, value), FL_SPAN("form-data"))) {
        return false;
    }
    while (fl_params_next(&params, &param)) {
        if (fl_span_ieq(param.name, FL_SPAN("name"))) {
            out->name = param.value;
            out->name_escaped = param.escaped;
            named = true;
        } else if (fl_span_ieq(param.name, FL_SPAN("filename"))) {
            out->filename = param.value;
            out->filename_escaped = param.escaped;
            out->has_filename = true;
        } else if (fl_scan_byte(param.name.p, param.name.n, '*') < param.name.n) {
            out->extended = value;
        }
    }
    return named || out->extended.p != NULL;
}

static int
read_head(fl_multipart *m, fl_part *out)
{
    bool disposed = false;
    int count = fl_http1_fields(out->head.p, out->head.n, out->fields, FL_PART_FIELDS);
    if (count < 0) {
        return fail(m, FL_BAD_PART_HEAD);
    }
    out->nfields = (uint32_t)count;
    for (int i = 0; i < count; i++) {
        fl_span value = fl_slice_span(out->head.p, out->fields[i].value);
        if (out->fields[i].id == FL_H_CONTENT_TYPE) {
            out->content_type = value;
        }
        if (out->fields[i].id == FL_H_CONTENT_DISPOSITION) {
            if (disposed || !read_disposition(value, out)) {
                return fail(m, FL_BAD_PART_DISPOSITION);
            }
            disposed = true;
        }
    }
    return disposed ? 0 : fail(m, FL_BAD_PART_DISPOSITION);
}

/* Reads the part in [pos, end), where `end` is the CR of the next delimiter. */
static int
read_part(fl_multipart *m, size_t end, fl_part *out)
{
    const char *p = m->body.p + m->pos;
    /* The delimiter's own CR LF may be the one that ends the head's empty line. */
    size_t n = end + 2 - m->pos;
    if (m->parts == m->limits.max_parts) {
        return fail(m, FL_BAD_PART_COUNT);
    }
    size_t limit = (size_t)m->limits.max_head;
    size_t head = fl_scan_head_end(p, n < limit ? n : limit, 0);
    if (head == 0) {
        return fail(m, n > limit ? FL_BAD_PART_HEAD_LONG : FL_BAD_PART_HEAD);
    }
    memset(out, 0, offsetof(fl_part, fields));
    out->nfields = 0;
    out->has_filename = out->name_escaped = out->filename_escaped = false;
    out->head = fl_span_make(p, head - 2);
    out->data = fl_span_make(p + head, head > n - 2 ? 0 : n - 2 - head);
    m->parts++;
    return read_head(m, out);
}

int
fl_multipart_next(fl_multipart *m, fl_part *out)
{
    if (m->state == START) {
        int rc = start(m);
        if (rc < 0) {
            return rc;
        }
    }
    while (m->state == PARTS) {
        size_t at, next;
        delimiter_kind kind = find_delimiter(m, m->pos - 2, &at, &next);
        if (kind == NO_DELIMITER) {
            return fail(m, FL_BAD_MULTIPART);
        }
        bool empty = at + 2 == m->pos;
        if (!empty) {
            int rc = read_part(m, at, out);
            if (rc < 0) {
                return rc;
            }
        }
        m->pos = next;
        m->state = kind == OPENING ? PARTS : DONE;
        if (!empty) {
            return 1;
        }
    }
    return m->state == DONE ? 0 : -(m->state - FAILED_FIRST);
}
