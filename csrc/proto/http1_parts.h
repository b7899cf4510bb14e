/* http1_parts.h -- what the files of the head parser share. Private to http1_*.c.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_HTTP1_PARTS_H
#define FL_PROTO_HTTP1_PARTS_H

#include "proto/http1_head.h"

typedef enum { FL_REQUEST, FL_RESPONSE } fl_head_kind;

/* What the fields that decide about the message have said so far. All-zero: nothing. */
typedef struct {
    bool host;
    bool coding;         /* a Transfer-Encoding was there */
    bool chunked;        /* its last coding so far is chunked */
    bool unknown_coding; /* one was not chunked */
    bool expect_continue;
    bool upgrade_named; /* by Connection */
} fl_head_sayings;

/* Whether a field with this id decides about the message: HOST to UPGRADE. */
static inline bool
fl_is_decisive(int id)
{
    return id >= FL_H_HOST && id <= FL_H_UPGRADE;
}

static inline fl_slice
fl_slice_between(size_t from, size_t to)
{
    return (fl_slice){(uint32_t)from, (uint32_t)(to - from)};
}

/* Reads the first line, p[at..end) without its CR LF and without control bytes but
 * HTAB, after resetting all of *out that parsing sets. 0 or -reason. */
int fl_http1_start_line(fl_head_kind kind, const char *p, size_t at, size_t end,
                        fl_head *out);

/* Takes a decisive field into account. 0 or -reason. */
int fl_http1_take_field(fl_head_kind kind, const char *p, const fl_field *f,
                        fl_head_sayings *said, fl_head *out);

/* Judges the fields together and sets the flags that follow from several of them;
 * out->seen is complete. 0 or -reason. */
int fl_http1_conclude(fl_head_kind kind, const fl_head_sayings *said, fl_head *out);

#endif
