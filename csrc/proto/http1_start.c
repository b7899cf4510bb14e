/* http1_start.c -- request lines and status lines (RFC 9112 sections 3 and 4).
 *
 * A line is judged when all of it is there and holds no control byte but HTAB. Version
 * first, so that what speaks another protocol hears 505 and not a remark on its target.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "base/scan.h"
#include "proto/host.h"
#include "proto/http1_parts.h"
#include "proto/uri.h"

#define VERSION_LEN 8 /* HTTP/1.1 */

#define METHOD(id, text) [id] = {"" text, sizeof(text) - 1}
static const fl_span methods[FL_METHOD_COUNT] = {
    METHOD(FL_METHOD_OTHER, ""),          METHOD(FL_METHOD_GET, "GET"),
    METHOD(FL_METHOD_HEAD, "HEAD"),       METHOD(FL_METHOD_POST, "POST"),
    METHOD(FL_METHOD_PUT, "PUT"),         METHOD(FL_METHOD_DELETE, "DELETE"),
    METHOD(FL_METHOD_PATCH, "PATCH"),     METHOD(FL_METHOD_OPTIONS, "OPTIONS"),
    METHOD(FL_METHOD_CONNECT, "CONNECT"), METHOD(FL_METHOD_TRACE, "TRACE"),
};
#undef METHOD

uint8_t
fl_method_lookup(fl_span name)
{
    /* GET is nearly all of them; memcmp of a known length is a comparison of words. */
    if (name.n == 3 && memcmp(name.p, "GET", 3) == 0) {
        return FL_METHOD_GET;
    }
    for (uint8_t i = FL_METHOD_GET + 1; i < FL_METHOD_COUNT; i++) {
        if (name.n == methods[i].n && memcmp(name.p, methods[i].p, name.n) == 0) {
            return i;
        }
    }
    return FL_METHOD_OTHER;
}

/* HTTP/1.0 or HTTP/1.1 in the eight bytes at p; `malformed` when they are no
 * version. */
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
    out->path = fl_slice_between(at, stop);
    out->query = fl_slice_between(stop, stop);
    if (stop == end) {
        return 0;
    }
    if (p[stop] != '?') {
        return -FL_BAD_TARGET;
    }
    out->query = fl_slice_between(stop + 1, end);
    out->flags |= FL_HEAD_QUERY;
    for (at = stop + 1; at < end; at = stop + 1) {
        stop = at + fl_scan_target_end(p + at, end - at);
        if (stop < end && p[stop] != '?') {
            return -FL_BAD_TARGET;
        }
    }
    return 0;
}

/* RFC 9112 section 3.2.2: http://authority/path?query, without userinfo (RFC
 * 9110 4.2.4). */
static int
read_absolute_target(const char *p, size_t at, size_t end, fl_head *out)
{
    fl_span authority, name;
    size_t stop = at + fl_uri_authority(fl_span_make(p + at, end - at), &authority);
    if (stop == at) {
        return -FL_BAD_TARGET_FORM;
    }
    if (!fl_host_split(authority, &name, NULL) || name.n == 0) {
        return -FL_BAD_TARGET;
    }
    out->flags |= FL_HEAD_ABSOLUTE;
    out->host = fl_slice_between(stop - authority.n, stop);
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
    out->host = fl_slice_between(at, end);
    out->path = out->query = fl_slice_between(end, end);
    return 0;
}

static int
read_target(const char *p, size_t at, size_t end, fl_head *out)
{
    out->target = fl_slice_between(at, end);
    out->host = fl_slice_between(at, at);
    if (out->method == FL_METHOD_CONNECT) {
        return read_authority_target(p, at, end, out);
    }
    if (p[at] == '/') {
        return read_path(p, at, end, out);
    }
    if (p[at] == '*' && end - at == 1) {
        out->path = fl_slice_between(at, end);
        out->query = fl_slice_between(end, end);
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
    out->method_name = fl_slice_between(at, stop);
    out->method = fl_method_lookup(fl_span_make(p + at, stop - at));
    size_t target = stop + 1;
    if (end < target + VERSION_LEN + 2 || p[end - VERSION_LEN - 1] != ' ' ||
        p[target] == ' ') {
        return -FL_BAD_REQUEST_LINE;
    }
    int rc = read_version(p + end - VERSION_LEN, FL_BAD_REQUEST_LINE, out);
    return rc < 0 ? rc : read_target(p, target, end - VERSION_LEN - 1, out);
}

/* version SP 3DIGIT [SP reason] in [at, end). The space after the status belongs there
 * even without a reason, but servers that leave it away are many and mean nothing else
 * by it. */
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
    out->reason = fl_slice_between(reason < end ? reason + 1 : end, end);
    if (out->status < 200 || out->status == 204 || out->status == 304) {
        out->flags |= FL_HEAD_NO_BODY;
    }
    return 0;
}

int
fl_http1_start_line(fl_head_kind kind, const char *p, size_t at, size_t end,
                    fl_head *out)
{
    fl_field *fields = out->fields;
    uint32_t cap_fields = out->cap_fields;
    *out = (fl_head){.fields = fields, .cap_fields = cap_fields};
    return kind == FL_REQUEST ? read_request_line(p, at, end, out)
                              : read_status_line(p, at, end, out);
}
