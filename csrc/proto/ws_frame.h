/* ws_frame.h -- the head of a WebSocket frame (RFC 6455 section 5.2).
 *
 * At most 14 bytes, so "resumable" means: 0 until they are all there, then the length.
 * Rules that need no memory of earlier frames are judged here, and already from the
 * first two bytes; the order of fragments is the connection's business.
 *
 * Masking is fl_mask_xor, text is fl_utf8_validate (base/scan.h).
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_WS_FRAME_H
#define FL_PROTO_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum fl_ws_opcode {
    FL_WS_CONTINUATION = 0x0,
    FL_WS_TEXT = 0x1,
    FL_WS_BINARY = 0x2,
    FL_WS_CLOSE = 0x8,
    FL_WS_PING = 0x9,
    FL_WS_PONG = 0xA
};

enum { FL_WS_RSV1 = 0x40, FL_WS_RSV2 = 0x20, FL_WS_RSV3 = 0x10 };

enum fl_ws_error {
    FL_WS_OK = 0,
    FL_WS_BAD_RSV,     /* a reserved bit that was not negotiated: 1002 */
    FL_WS_BAD_OPCODE,  /* 1002 */
    FL_WS_BAD_CONTROL, /* a control frame fragmented, compressed or over 125 bytes:
                        * 1002 */
    FL_WS_BAD_LENGTH,  /* not the shortest form, or over 2^63 - 1: 1002 */
    FL_WS_BAD_MASK,    /* unmasked from a client, masked from a server: 1002 */
    FL_WS_TOO_LONG     /* over max_length: 1009 */
};

#define FL_WS_HEAD_MAX 14

typedef struct {
    uint64_t length; /* of the payload */
    uint8_t key[4];  /* zero when not masked */
    uint8_t opcode;
    uint8_t rsv; /* FL_WS_RSV1 … */
    bool fin;
    bool masked;
} fl_ws_frame;

typedef struct {
    uint64_t max_length; /* of one frame's payload; 0: 2^63 - 1 */
    uint8_t rsv_allowed; /* FL_WS_RSV1 when permessage-deflate was negotiated */
    bool want_mask;      /* true when reading from clients */
} fl_ws_rules;

/* > 0 length of the head, 0 partial (call again with the same bytes and more),
 * < 0 -enum fl_ws_error. */
int fl_ws_frame_parse(const char *p, size_t n, const fl_ws_rules *rules,
                      fl_ws_frame *out);

/* Writes the head of `frame` in the shortest form; returns its length. */
size_t fl_ws_frame_write(char out[FL_WS_HEAD_MAX], const fl_ws_frame *frame);

/* The close code for an enum fl_ws_error: 1002 or 1009. */
int fl_ws_error_code(int error);

/* A short sentence for the close frame and the log. */
const char *fl_ws_error_text(int error);

/* Whether a code may stand in a received close frame (RFC 6455 section 7.4 and the IANA
 * list). */
bool fl_ws_close_code_valid(unsigned code);

/* Payload of a received close frame: 0 and *code (1005 when empty) and *reason (raw
 * UTF-8, valid), or the close code to answer with: 1002, 1007. */
int fl_ws_close_parse(fl_span payload, unsigned *code, fl_span *reason);

#endif
