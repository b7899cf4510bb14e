/* multipart.h -- multipart/form-data bodies (RFC 7578, RFC 2046 section 5.1).
 *
 * An iterator over a whole body: each call finds the next delimiter once and hands out
 * the part before it as spans of the body. Work is linear in the body whatever the
 * boundary, limits are judged before anything of a part is split, and the first error
 * ends it.
 *
 *      --boundary CR LF head CR LF CR LF data CR LF --boundary CR LF ... --boundary--
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_MULTIPART_H
#define FL_PROTO_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "proto/http1_head.h"
#include "proto/reason.h"

#define FL_BOUNDARY_MAX 256 /* RFC 2046 says 70; some senders exceed it */
#define FL_PART_FIELDS 32   /* header lines of one part */

typedef struct {
    uint32_t max_parts;
    uint32_t max_head; /* bytes of one part's head */
} fl_multipart_limits;

#define FL_MULTIPART_LIMITS ((fl_multipart_limits){100, 10 * 1024})

typedef struct {
    fl_span head;     /* the header lines with their CR LFs, without the empty line */
    fl_span data;     /* between the empty line and the CR LF of the next delimiter */
    fl_span name;     /* raw, see params.h */
    fl_span filename; /* raw; has_filename tells "" from none */
    fl_span extended; /* the whole Content-Disposition where a parameter of it is one of
                       * RFC 2231 (filename*, name*0): then it says what the names are.
                       * {NULL, 0} without */
    fl_span content_type;            /* {NULL, 0} without */
    fl_field fields[FL_PART_FIELDS]; /* slices of head */
    uint32_t nfields;
    bool has_filename;
    bool name_escaped, filename_escaped; /* run fl_param_unescape */
} fl_part;

typedef struct {
    fl_span body;
    size_t pos; /* just after a delimiter line, or at the start */
    uint32_t parts;
    fl_multipart_limits limits;
    uint32_t delimiter_len;
    uint8_t state;
    char delimiter[FL_BOUNDARY_MAX + 4]; /* CR LF "--" boundary */
} fl_multipart;

/* The boundary parameter of a Content-Type value, unquoted raw; -FL_BAD_BOUNDARY
 * without one. 0 on success. */
int fl_multipart_boundary(fl_span content_type, fl_span *boundary);

/* 0, or -FL_BAD_BOUNDARY when the boundary is empty, too long or has control bytes.
 * Borrows body. */
int fl_multipart_init(fl_multipart *m, fl_span boundary, fl_span body,
                      const fl_multipart_limits *limits);

/* 1: *out is the next part. 0: the closing delimiter was reached; what follows it is
 * ignored. < 0: -enum fl_reason, and so is every further call. */
int fl_multipart_next(fl_multipart *m, fl_part *out);

#endif
