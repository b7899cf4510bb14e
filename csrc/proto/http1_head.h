/* http1_head.h -- request and response heads of HTTP/1.0 and HTTP/1.1 (RFC 9110, 9112).
 *
 * One call with what has arrived so far gives bytes consumed, 0 for "not all here yet",
 * or a reason negated. All that decides where the message ends and what a proxy in
 * front may have read differently is judged here: line ends, names, values, Host,
 * Content-Length, Transfer-Encoding, Connection. What is accepted is unambiguous.
 *
 * Results are offsets from p, so the block may be copied or moved afterwards. Feeding a
 * head byte by byte gives the same outcome as feeding it whole; the first line is
 * judged as soon as it is whole, and so are bytes that no head may contain.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_HTTP1_HEAD_H
#define FL_PROTO_HTTP1_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "proto/reason.h"
#include "proto/tokens.h"

/* Heads longer than this are refused whatever the limits say: offsets are 32 bits,
 * results int. */
#define FL_HEAD_MAX ((uint32_t)1 << 30)

typedef struct {
    uint32_t off, len;
} fl_slice;

typedef struct {
    fl_slice name, value; /* value without white space around it */
    uint8_t id;           /* enum fl_header_id */
} fl_field;

enum fl_method {
    FL_METHOD_OTHER = 0, /* any other token: see method_name */
    FL_METHOD_GET,
    FL_METHOD_HEAD,
    FL_METHOD_POST,
    FL_METHOD_PUT,
    FL_METHOD_DELETE,
    FL_METHOD_PATCH,
    FL_METHOD_OPTIONS,
    FL_METHOD_CONNECT,
    FL_METHOD_TRACE,
    FL_METHOD_COUNT
};

enum {
    FL_HEAD_KEEP_ALIVE = 1 << 0, /* the connection may live on after this message */
    FL_HEAD_CHUNKED = 1 << 1,    /* the body is chunked */
    FL_HEAD_HAS_LENGTH = 1 << 2, /* content_length was given */
    FL_HEAD_EXPECT_CONTINUE = 1 << 3, /* HTTP/1.1 and Expect: 100-continue */
    FL_HEAD_UPGRADE = 1 << 4,         /* HTTP/1.1, Upgrade, and Connection names it */
    FL_HEAD_CLOSE = 1 << 5,           /* Connection said close */
    FL_HEAD_NO_BODY = 1 << 6,         /* response 1xx, 204, 304: whatever fields say */
    FL_HEAD_ABSOLUTE = 1 << 7,        /* the target began with http:// or https:// */
    FL_HEAD_QUERY = 1 << 8,           /* the target has a '?' */
    FL_HEAD_SAID_KEEP_ALIVE = 1 << 9  /* Connection said keep-alive */
};

typedef struct {
    uint32_t max_head; /* bytes of the head with its final empty line; 0: FL_HEAD_MAX */
    uint32_t max_fields; /* field lines; at most cap_fields, which 0 stands for */
} fl_head_limits;

typedef struct {
    /* set by the caller before parsing */
    fl_field *fields;    /* borrowed: the caller's array */
    uint32_t cap_fields; /* its length */

    /* set by parsing, all but the above */
    uint8_t method;        /* requests: enum fl_method */
    uint8_t minor_version; /* 0 or 1 */
    uint16_t flags;
    uint16_t status; /* responses: 100-999 */
    uint32_t nfields;
    uint64_t seen;           /* bit id for each field with a known id below 64 */
    uint64_t content_length; /* 0 unless FL_HEAD_HAS_LENGTH */
    fl_slice method_name;    /* requests */
    fl_slice target;         /* requests: as sent */
    fl_slice path;   /* requests: of the target, up to '?'; of absolute-form, after the
                        authority, and of length 0 when that ends it (read as "/") */
    fl_slice query;  /* requests: after '?' */
    fl_slice host;   /* requests: authority of an absolute target, else Host's value */
    fl_slice reason; /* responses: reason phrase, may be empty */
} fl_head;

/* Parses a request head from p[0..n).
 *   > 0  bytes of the head, with its final empty line and empty lines skipped before it
 *   0    partial: call again with the same bytes and more
 *   < 0  -enum fl_reason; the connection cannot go on
 *
 * *scanned is 0 for the first call of a head and handed on unchanged between the calls:
 * it remembers what was looked at (opaque, not always a length). */
int fl_http1_request(const char *p, size_t n, size_t *scanned,
                     const fl_head_limits *limits, fl_head *out);

/* The same for a response head. */
int fl_http1_response(const char *p, size_t n, size_t *scanned,
                      const fl_head_limits *limits, fl_head *out);

/* Field lines alone, each ended by CR LF, without the empty line (trailers, parts): all
 * of p[0..n) must be lines. Returns how many (offsets from p), or -reason; more than
 * `cap`: -FL_BAD_FIELD_COUNT. */
int fl_http1_fields(const char *p, size_t n, fl_field *fields, uint32_t cap);

static inline fl_span
fl_slice_span(const char *p, fl_slice s)
{
    return fl_span_make(p + s.off, s.len);
}

/* The first field with this id, or NULL. id is not FL_H_OTHER. */
static inline const fl_field *
fl_head_find(const fl_head *head, uint8_t id)
{
    if (id < 64 && (head->seen >> id & 1) == 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < head->nfields; i++) {
        if (head->fields[i].id == id) {
            return &head->fields[i];
        }
    }
    return NULL;
}

/* enum fl_method of an exact (case-sensitive) name. */
uint8_t fl_method_lookup(fl_span name);

/* Whether a comma-separated list (RFC 9110 section 5.6.1) has this token in any
 * case. */
bool fl_list_has(fl_span list, fl_span token);

#endif
