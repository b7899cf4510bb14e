/* http1_meaning.c -- what the fields say about the message itself: where it goes, where
 * its body ends, what becomes of the connection.
 *
 * Each field that decides is taken as it is met; what follows from several together is
 * concluded at the end (RFC 9112 section 6.3). Where two readings are possible the
 * message is refused: a proxy in front may have chosen the other one.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "base/scan.h"
#include "proto/host.h"
#include "proto/http1_parts.h"

/* 9 PB: no body is larger, and no sum of two overflows */
#define MAX_LENGTH_DIGITS 16

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

static void
take_connection(fl_span value, fl_head_sayings *said, fl_head *out)
{
    fl_span option;
    if (fl_span_ieq(value, FL_SPAN("keep-alive"))) { /* nearly all of them */
        out->flags |= FL_HEAD_SAID_KEEP_ALIVE;
        return;
    }
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
take_host(const char *p, fl_slice at, fl_head_sayings *said, fl_head *out)
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
take_one_length(fl_head_kind kind, fl_span s, fl_head *out)
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
        (kind == FL_REQUEST || length != out->content_length)) {
        return -FL_BAD_LENGTH_REPEATED;
    }
    out->flags |= FL_HEAD_HAS_LENGTH;
    out->content_length = length;
    return 0;
}

/* RFC 9110 section 8.6: equal values in a list may be taken for one; a request that has
 * a list is refused all the same, since a proxy may have read it differently. */
static int
take_length(fl_head_kind kind, fl_span value, fl_head *out)
{
    if (kind == FL_REQUEST) {
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

/* RFC 9112 section 6.1: a list of codings over one or several lines; chunked once and
 * last. */
static int
take_coding(fl_span value, fl_head_sayings *said)
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

int
fl_http1_take_field(fl_head_kind kind, const char *p, const fl_field *f,
                    fl_head_sayings *said, fl_head *out)
{
    fl_span value = fl_slice_span(p, f->value);
    switch (f->id) {
    case FL_H_HOST:
        return kind == FL_REQUEST ? take_host(p, f->value, said, out) : 0;
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

int
fl_http1_conclude(fl_head_kind kind, const fl_head_sayings *said, fl_head *out)
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
    if (kind == FL_REQUEST && http11 && !said->host) {
        return -FL_BAD_HOST_MISSING;
    }
    if ((out->flags & FL_HEAD_CLOSE) == 0 &&
        (http11 || (out->flags & FL_HEAD_SAID_KEEP_ALIVE) != 0)) {
        out->flags |= FL_HEAD_KEEP_ALIVE;
    }
    if (http11 && said->expect_continue && kind == FL_REQUEST) {
        out->flags |= FL_HEAD_EXPECT_CONTINUE;
    }
    if (http11 && said->upgrade_named && (out->seen >> FL_H_UPGRADE & 1) != 0) {
        out->flags |= FL_HEAD_UPGRADE;
    }
    return 0;
}
