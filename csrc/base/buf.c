/* buf.c -- a growing queue of bytes.
 *
 * Growth doubles, so appending is amortised O(1). Moving the bytes to the front happens
 * only when it frees at least as many bytes as it moves: each byte pays for at most one
 * move by the byte that was consumed before it.
 *
 * Layer: base. Threads: none; owned by one loop.
 */
#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* a small head or a frame; below it malloc's own overhead shows */
#define FIRST_CAP 256

void
fl_buf_init(fl_buf *b)
{
    b->data = NULL;
    b->start = b->end = b->cap = 0;
}

void
fl_buf_free(fl_buf *b)
{
    free(b->data);
    fl_buf_init(b);
}

static void
move_to_front(fl_buf *b)
{
    size_t len = fl_buf_len(b);
    if (len > 0) {
        memmove(b->data, b->data + b->start, len);
    }
    b->start = 0;
    b->end = len;
}

char *
fl_buf_reserve(fl_buf *b, size_t n)
{
    if (b->data != NULL && b->cap - b->end >= n) {
        return b->data + b->end;
    }
    size_t len = fl_buf_len(b);
    if (n > SIZE_MAX / 2 - len) {
        return NULL;
    }
    size_t want = len + n;
    if (b->start >= len && b->cap >= want && b->cap > 0) {
        move_to_front(b);
        return b->data + b->end;
    }
    size_t cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap * 2;
    if (cap < want) {
        cap = want;
    }
    if (b->start == 0) {
        char *grown = realloc(b->data, cap);
        if (grown == NULL) {
            return NULL;
        }
        b->data = grown;
    } else {
        char *fresh = malloc(cap);
        if (fresh == NULL) {
            return NULL;
        }
        memcpy(fresh, b->data + b->start, len);
        free(b->data);
        b->data = fresh;
        b->start = 0;
        b->end = len;
    }
    b->cap = cap;
    return b->data + b->end;
}

int
fl_buf_append(fl_buf *b, const void *p, size_t n)
{
    if (n == 0) {
        return 0;
    }
    char *to = fl_buf_reserve(b, n);
    if (to == NULL) {
        return -ENOMEM;
    }
    memcpy(to, p, n);
    b->end += n;
    return 0;
}
