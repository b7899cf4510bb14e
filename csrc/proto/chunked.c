/* chunked.c -- the decoder of chunked transfer coding.
 *
 *      SIZE --;--> EXTENSION --CR--> SIZE_LF --LF--> DATA --last byte--> DATA_CR
 *        ^                                            | size was 0          |
 *        |                                            v                     v
 *        +----------------- DATA_LF <-----------   TRAILERS            DATA_LF
 *
 * In TRAILERS a line is checked as it comes: TRAILER_START tells whether the line is
 * empty (the end), TRAILER_NAME wants tchars up to ':', TRAILER_VALUE field bytes up to
 * CR. Extensions follow RFC 9112 section 7.1.1 in their bytes: field bytes up to CR,
 * beginning with ';' or white space before one. Their inner grammar is not judged, but
 * a quoted string cannot hide a CR or LF, so nothing can be read differently.
 *
 * Framing is every byte of size lines and of the line ends after data. A plain chunk of
 * one byte is nothing to refuse, so PLAIN_FRAMING bytes of each chunk are free; what
 * exceeds that may exceed the data by limits.overhead, which stops floods of long
 * extensions.
 *
 * Layer: proto. Threads: none; one decoder belongs to one connection.
 */
#include "proto/chunked.h"

#include "base/format.h"
#include "base/scan.h"
#include "proto/tokens.h"

#define MAX_SIZE_DIGITS 16
/* A size of up to ten digits, two line ends, some to spare. */
#define PLAIN_FRAMING 16

enum {
    SIZE,
    EXTENSION_GAP, /* white space after the size: only ';' may follow */
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    DONE,
    FAILED
};

void
fl_chunked_init(fl_chunked *c, const fl_chunked_limits *limits, fl_buf *trailers,
                fl_buf *extensions)
{
    *c = (fl_chunked){.limits = *limits,
                      .trailers = trailers,
                      .extensions = extensions,
                      .state = SIZE};
}

static int
fail(fl_chunked *c, int reason)
{
    c->state = FAILED;
    c->reason = (uint8_t)reason;
    return -reason;
}

/* n bytes of a size line were seen. */
static int
count_line(fl_chunked *c, size_t n)
{
    c->framing += n;
    if (n > c->limits.line - c->line) {
        return fail(c, FL_BAD_CHUNK_LINE_LONG);
    }
    c->line += (uint32_t)n;
    return 0;
}

/* n bytes of trailers were seen. */
static int
count_trailers(fl_chunked *c, size_t n)
{
    if (n > c->limits.trailer_bytes - c->trailer_seen) {
        return fail(c, FL_BAD_TRAILER_LONG);
    }
    c->trailer_seen += (uint32_t)n;
    return 0;
}

static int
keep(fl_chunked *c, fl_buf *where, const char *p, size_t n)
{
    if (where != NULL && fl_buf_append(where, p, n) < 0) {
        return fail(c, FL_BAD_MEMORY);
    }
    return 0;
}

/* One byte of the size: digits, then CR, ';' or white space. */
static int
take_size(fl_chunked *c, char byte)
{
    int digit = fl_hex_value(byte);
    if (digit >= 0) {
        if (c->digits == MAX_SIZE_DIGITS || c->left >> 59 != 0) {
            return fail(c, FL_BAD_CHUNK_SIZE);
        }
        c->digits++;
        c->left = c->left << 4 | (uint64_t)digit;
        return 0;
    }
    if (c->digits == 0) {
        return fail(c, FL_BAD_CHUNK_SIZE);
    }
    switch (byte) {
    case '\r':
        c->state = SIZE_LF;
        return 0;
    case ';':
        c->state = EXTENSION;
        return keep(c, c->extensions, ";", 1);
    case ' ':
    case '\t':
        c->state = EXTENSION_GAP;
        return 0;
    default:
        return fail(c, fl_is(byte, FL_C_VALUE) ? FL_BAD_CHUNK_SIZE : FL_BAD_CHUNK_LINE);
    }
}

/* BWS before ';' (RFC 9112 section 7.1.1); before the line's end it is refused. */
static int
take_extension_gap(fl_chunked *c, char byte)
{
    if (byte == ' ' || byte == '\t') {
        return 0;
    }
    if (byte != ';') {
        return fail(c, FL_BAD_CHUNK_LINE);
    }
    c->state = EXTENSION;
    return keep(c, c->extensions, ";", 1);
}

static int
end_size_line(fl_chunked *c, char byte)
{
    if (byte != '\n') {
        return fail(c, FL_BAD_CHUNK_LINE);
    }
    c->chunks++;
    uint64_t excess = c->limits.overhead + c->chunks * PLAIN_FRAMING;
    if (c->framing > c->body + c->left + excess) {
        return fail(c, FL_BAD_CHUNK_OVERHEAD);
    }
    c->line = 0;
    c->digits = 0;
    c->state = c->left == 0 ? TRAILER_START : DATA;
    return 0;
}

/* A run of extension bytes; returns how many were used, or -reason. */
static int
take_extension(fl_chunked *c, const char *p, size_t n)
{
    size_t room = c->limits.line - c->line;
    size_t run = fl_scan_value_end(p, n < room + 1 ? n : room + 1);
    int rc = count_line(c, run);
    if (rc < 0 || (rc = keep(c, c->extensions, p, run)) < 0) {
        return rc;
    }
    if (run < n && run <= room) {
        if (p[run] != '\r') {
            return fail(c, FL_BAD_CHUNK_LINE);
        }
        if ((rc = count_line(c, 1)) < 0 ||
            (rc = keep(c, c->extensions, "\r\n", 2)) < 0) {
            return rc;
        }
        c->state = SIZE_LF;
        run++;
    }
    return (int)run;
}

/* A run of a trailer name or value; returns how many bytes were used, or -reason. */
static int
take_trailer(fl_chunked *c, const char *p, size_t n)
{
    size_t room = (size_t)c->limits.trailer_bytes - c->trailer_seen;
    size_t most = n < room + 1 ? n : room + 1;
    bool name = c->state == TRAILER_NAME;
    size_t run = name ? fl_scan_token_end(p, most) : fl_scan_value_end(p, most);
    if (run < most) {
        if (p[run] != (name ? ':' : '\r')) {
            return fail(c, FL_BAD_TRAILER);
        }
        c->state = name ? TRAILER_VALUE : TRAILER_LF;
        run++;
    }
    int rc = count_trailers(c, run);
    if (rc < 0 || (rc = keep(c, c->trailers, p, run)) < 0) {
        return rc;
    }
    return (int)run;
}

static int
start_trailer(fl_chunked *c, char byte)
{
    if (byte == '\r') {
        c->state = LAST_LF;
        return 0;
    }
    if (!fl_is(byte, FL_C_TOKEN)) {
        return fail(c, FL_BAD_TRAILER);
    }
    if (c->trailer_count == c->limits.trailer_lines) {
        return fail(c, FL_BAD_TRAILER_COUNT);
    }
    c->trailer_count++;
    c->state = TRAILER_NAME;
    int rc = count_trailers(c, 1);
    return rc < 0 ? rc : keep(c, c->trailers, &byte, 1);
}

static int
end_trailer(fl_chunked *c, char byte)
{
    if (byte != '\n') {
        return fail(c, FL_BAD_TRAILER);
    }
    c->state = TRAILER_START;
    int rc = count_trailers(c, 1);
    return rc < 0 ? rc : keep(c, c->trailers, &byte, 1);
}

/* One byte in a state that takes one. */
static int
take_byte(fl_chunked *c, char byte)
{
    switch (c->state) {
    case SIZE:
    case EXTENSION_GAP:
    case SIZE_LF: {
        int rc = count_line(c, 1);
        if (rc < 0) {
            return rc;
        }
        return c->state == SIZE            ? take_size(c, byte)
               : c->state == EXTENSION_GAP ? take_extension_gap(c, byte)
                                           : end_size_line(c, byte);
    }
    case DATA_CR:
        c->framing++;
        c->state = DATA_LF;
        return byte == '\r' ? 0 : fail(c, FL_BAD_CHUNK_END);
    case DATA_LF:
        c->framing++;
        c->state = SIZE;
        return byte == '\n' ? 0 : fail(c, FL_BAD_CHUNK_END);
    case TRAILER_START:
        return start_trailer(c, byte);
    case TRAILER_LF:
        return end_trailer(c, byte);
    default: /* LAST_LF */
        c->state = DONE;
        return byte == '\n' ? 0 : fail(c, FL_BAD_TRAILER);
    }
}

int
fl_chunked_feed(fl_chunked *c, const char *p, size_t n, fl_span *data, size_t *consumed)
{
    size_t at = 0;
    int rc = 0;
    *data = fl_span_make(p, 0);
    while (at < n && rc >= 0 && c->state < DONE) {
        switch (c->state) {
        case DATA: {
            size_t run = n - at < c->left ? n - at : (size_t)c->left;
            c->left -= run;
            c->body += run;
            if (c->left == 0) {
                c->state = DATA_CR;
            }
            *data = fl_span_make(p + at, run);
            *consumed = at + run;
            return FL_CHUNK_DATA;
        }
        case EXTENSION:
            rc = take_extension(c, p + at, n - at);
            at += rc < 0 ? 0 : (size_t)rc;
            break;
        case TRAILER_NAME:
        case TRAILER_VALUE:
            rc = take_trailer(c, p + at, n - at);
            at += rc < 0 ? 0 : (size_t)rc;
            break;
        default:
            rc = take_byte(c, p[at]);
            at++;
        }
    }
    *consumed = at;
    if (c->state == FAILED) {
        return -c->reason;
    }
    return c->state == DONE ? FL_CHUNK_END : FL_CHUNK_MORE;
}

size_t
fl_chunk_head(char out[FL_CHUNK_HEAD_MAX], uint64_t n)
{
    size_t len = fl_fmt_hex(out, n);
    memcpy(out + len, "\r\n", 2);
    return len + 2;
}
