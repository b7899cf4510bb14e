/* buf.h -- a growing queue of bytes: append at the end, consume at the front.
 *
 *      data      start            end            cap
 *       |  spent   |   the bytes   |     room     |
 *
 * Consuming only moves `start`. The bytes are moved to the front when room is wanted at
 * the end and at least half of the memory is spent, so each byte moves a bounded number
 * of times however small the pieces are. A buffer that was drained starts at 0 again.
 *
 * Pointers into the buffer die with the next reserve or append.
 *
 * Layer: base. Threads: none; owned by one loop.
 */
#ifndef FL_BASE_BUF_H
#define FL_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

typedef struct {
    char *data;   /* owned; NULL while cap is 0 */
    size_t start; /* first byte that was not consumed */
    size_t end;   /* just past the last byte */
    size_t cap;
} fl_buf;

/* An all-zero fl_buf is a valid empty one; init makes just that. */
void fl_buf_init(fl_buf *b);

/* Frees the memory and leaves an empty buffer that can be used again. */
void fl_buf_free(fl_buf *b);

static inline size_t
fl_buf_len(const fl_buf *b)
{
    return b->end - b->start;
}

/* The first byte; NULL when nothing was ever reserved. */
static inline char *
fl_buf_ptr(const fl_buf *b)
{
    return b->data == NULL ? NULL : b->data + b->start;
}

static inline fl_span
fl_buf_span(const fl_buf *b)
{
    return fl_span_make(fl_buf_ptr(b), fl_buf_len(b));
}

/* Room for n more bytes: returns where they go, or NULL when there is no memory (the
 * contents are kept). Write up to n bytes there, then commit as many as were
 * written. */
char *fl_buf_reserve(fl_buf *b, size_t n);

/* n bytes were written where reserve said. */
static inline void
fl_buf_commit(fl_buf *b, size_t n)
{
    b->end += n;
}

/* 0, or -ENOMEM with the contents unchanged. p must not point into b. */
int fl_buf_append(fl_buf *b, const void *p, size_t n);

/* Drops the first n bytes (at most fl_buf_len). */
static inline void
fl_buf_consume(fl_buf *b, size_t n)
{
    b->start += n;
    if (b->start == b->end) {
        b->start = b->end = 0;
    }
}

/* Keeps the first n bytes (at most fl_buf_len), drops what was appended behind them. */
static inline void
fl_buf_truncate(fl_buf *b, size_t n)
{
    b->end = b->start + n;
}

/* Drops the bytes, keeps the memory. */
static inline void
fl_buf_clear(fl_buf *b)
{
    b->start = b->end = 0;
}

#endif
