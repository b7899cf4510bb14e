/* chunked.h -- bodies in chunked transfer coding (RFC 9112 section 7.1), resumable at
 * any byte.
 *
 *      size line -> data -> CR LF -> size line ... -> "0" line -> trailer lines -> end
 *
 * The decoder looks at each byte once, copies no data (pieces are handed out in place)
 * and refuses every framing that a proxy could read differently: sizes are 1*HEXDIG,
 * lines end in CR LF, extensions hold no control bytes.
 *
 * Use:
 *      fl_span data; size_t used;
 *      int r = fl_chunked_feed(&c, p, n, &data, &used);
 *      p += used; n -= used;
 *      FL_CHUNK_DATA  take data (it lies in the bytes just used), call with the rest
 *      FL_CHUNK_MORE  used == n; call again when more has arrived
 *      FL_CHUNK_END   the body is whole; p[0..n) is the next message
 *      < 0            -enum fl_reason
 *
 * Layer: proto. Threads: none; one decoder belongs to one connection.
 */
#ifndef FL_PROTO_CHUNKED_H
#define FL_PROTO_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "proto/reason.h"

enum { FL_CHUNK_MORE = 0, FL_CHUNK_DATA = 1, FL_CHUNK_END = 2 };

typedef struct {
    uint32_t line;          /* bytes of one size line with its CR LF */
    uint32_t overhead;      /* framing beyond 16 bytes a chunk and one a byte of data */
    uint32_t trailer_bytes; /* all trailer lines together */
    uint32_t trailer_lines;
} fl_chunked_limits;

#define FL_CHUNKED_LIMITS ((fl_chunked_limits){256, 16384, 8192, 32})

typedef struct {
    fl_chunked_limits limits;
    fl_buf *trailers;   /* borrowed or NULL: gets trailer lines, each with CR LF */
    fl_buf *extensions; /* borrowed or NULL: gets ";name=value" CR LF of each */
    uint64_t left;      /* bytes of the current chunk's data that are to come */
    uint64_t body;      /* bytes of data seen */
    uint64_t framing;   /* bytes of framing seen */
    uint64_t chunks;    /* size lines seen */
    uint32_t line;      /* bytes of the current line seen */
    uint32_t trailer_seen;
    uint32_t trailer_count;
    uint8_t state;
    uint8_t digits;
    uint8_t reason; /* once failed, every further feed returns it */
} fl_chunked;

/* trailers and extensions are borrowed until the decoder is done; NULL: validated and
 * dropped. */
void fl_chunked_init(fl_chunked *c, const fl_chunked_limits *limits, fl_buf *trailers,
                     fl_buf *extensions);

/* See above. After FL_CHUNK_END it returns FL_CHUNK_END with *consumed 0. */
int fl_chunked_feed(fl_chunked *c, const char *p, size_t n, fl_span *data,
                    size_t *consumed);

/* After FL_CHUNK_DATA: whether the data of the chunks up to this one, all that it
 * announces included, is more than that. */
static inline bool
fl_chunked_past(const fl_chunked *c, uint64_t limit)
{
    return c->body > limit || c->left > limit - c->body;
}

#define FL_CHUNK_HEAD_MAX 18 /* 16 digits and CR LF */

/* Writes the size line of a chunk of n > 0 bytes; the data and CR LF follow it. Returns
 * its length. The last chunk is "0\r\n", trailer lines, "\r\n". */
size_t fl_chunk_head(char out[FL_CHUNK_HEAD_MAX], uint64_t n);

#endif
