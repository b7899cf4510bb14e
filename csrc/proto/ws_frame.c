/* ws_frame.c -- frame heads of RFC 6455, and what a close frame may say.
 *
 *       0               1               2 ...
 *      |F|R|R|R| opcode|M| length (7)  | 16 or 64 bits of length | key (4 if M) |
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/ws_frame.h"

#include "base/scan.h"

#define FIN 0x80
#define RSV_MASK (FL_WS_RSV1 | FL_WS_RSV2 | FL_WS_RSV3)
#define OPCODE_MASK 0x0F
#define CONTROL_BIT 0x08
#define MASKED 0x80
#define LENGTH_MASK 0x7F
#define LENGTH_16 126 /* two bytes of length follow */
#define LENGTH_64 127 /* eight bytes of length follow */
#define MAX_CONTROL 125
#define NO_STATUS 1005 /* RFC 6455 section 7.1.5: a close frame without a code */

/* Rules that the first two bytes decide. */
static int
check_start(uint8_t first, uint8_t second, const fl_ws_rules *rules)
{
    unsigned opcode = first & OPCODE_MASK;
    unsigned rsv = first & RSV_MASK;
    bool control = (opcode & CONTROL_BIT) != 0;
    if ((rsv & ~(unsigned)rules->rsv_allowed) != 0) {
        return -FL_WS_BAD_RSV;
    }
    if (opcode > FL_WS_PONG || (opcode > FL_WS_BINARY && opcode < FL_WS_CLOSE)) {
        return -FL_WS_BAD_OPCODE;
    }
    if (control &&
        ((first & FIN) == 0 || rsv != 0 || (second & LENGTH_MASK) > MAX_CONTROL)) {
        return -FL_WS_BAD_CONTROL;
    }
    if (((second & MASKED) != 0) != rules->want_mask) {
        return -FL_WS_BAD_MASK;
    }
    return 0;
}

static uint64_t
read_big_endian(const uint8_t *b, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        v = v << 8 | b[i];
    }
    return v;
}

int
fl_ws_frame_parse(const char *p, size_t n, const fl_ws_rules *rules, fl_ws_frame *out)
{
    const uint8_t *b = (const uint8_t *)p;
    if (n < 2) {
        return 0;
    }
    int rc = check_start(b[0], b[1], rules);
    if (rc < 0) {
        return rc;
    }
    uint64_t length = b[1] & LENGTH_MASK;
    size_t more = length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
    size_t head = 2 + more + (rules->want_mask ? 4 : 0);
    if (n < 2 + more) {
        return 0;
    }
    if (more > 0) {
        length = read_big_endian(b + 2, more);
        if (length < LENGTH_16 || (more == 8 && length <= 0xFFFF) ||
            length >> 63 != 0) {
            return -FL_WS_BAD_LENGTH;
        }
    }
    if (rules->max_length != 0 && length > rules->max_length) {
        return -FL_WS_TOO_LONG;
    }
    if (n < head) {
        return 0;
    }
    out->length = length;
    memset(out->key, 0, sizeof(out->key));
    if (rules->want_mask) {
        memcpy(out->key, b + head - 4, 4);
    }
    out->opcode = b[0] & OPCODE_MASK;
    out->rsv = b[0] & RSV_MASK;
    out->fin = (b[0] & FIN) != 0;
    out->masked = rules->want_mask;
    return (int)head;
}

size_t
fl_ws_frame_write(char out[FL_WS_HEAD_MAX], const fl_ws_frame *frame)
{
    uint8_t head[FL_WS_HEAD_MAX];
    size_t n = 2;
    uint8_t masked = frame->masked ? MASKED : 0;
    head[0] = (uint8_t)((frame->fin ? FIN : 0) | (frame->rsv & RSV_MASK) |
                        (frame->opcode & OPCODE_MASK));
    if (frame->length < LENGTH_16) {
        head[1] = (uint8_t)(masked | frame->length);
    } else {
        size_t more = frame->length <= 0xFFFF ? 2 : 8;
        head[1] = (uint8_t)(masked | (more == 2 ? LENGTH_16 : LENGTH_64));
        for (size_t i = more; i-- > 0;) {
            head[n++] = (uint8_t)(frame->length >> 8 * i);
        }
    }
    if (frame->masked) {
        memcpy(head + n, frame->key, 4);
        n += 4;
    }
    memcpy(out, head, n);
    return n;
}

int
fl_ws_error_code(int error)
{
    return error == FL_WS_TOO_LONG ? 1009 : 1002;
}

const char *
fl_ws_error_text(int error)
{
    switch (error) {
    case FL_WS_OK:
        return "no error";
    case FL_WS_BAD_RSV:
        return "reserved bit set without an extension that gives it a meaning";
    case FL_WS_BAD_OPCODE:
        return "reserved opcode";
    case FL_WS_BAD_CONTROL:
        return "control frame is fragmented, compressed or longer than 125 bytes";
    case FL_WS_BAD_LENGTH:
        return "payload length is not in its shortest form";
    case FL_WS_BAD_MASK:
        return "frames from clients must be masked, frames from servers must not";
    case FL_WS_TOO_LONG:
        return "message is longer than the limit";
    default:
        return "unknown error";
    }
}

bool
fl_ws_close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

int
fl_ws_close_parse(fl_span payload, unsigned *code, fl_span *reason)
{
    *code = NO_STATUS;
    *reason = fl_span_make(payload.p, 0);
    if (payload.n == 0) {
        return 0;
    }
    if (payload.n == 1) {
        return 1002;
    }
    *code = (unsigned)read_big_endian((const uint8_t *)payload.p, 2);
    if (!fl_ws_close_code_valid(*code)) {
        return 1002;
    }
    *reason = fl_span_make(payload.p + 2, payload.n - 2);
    if (fl_utf8_validate(FL_UTF8_START, reason->p, reason->n) != FL_UTF8_START) {
        return 1007;
    }
    return 0;
}
