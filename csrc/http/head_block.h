/* head_block.h -- one copied message head and its spans, shared by the request and its header map.
 *
 * The parser works in the loop's receive buffer; what stays is this block: one allocation holds the parsed numbers,
 * the fields and the head's bytes. It is counted, so that a header map that outlives its request keeps its text.
 *
 * Layer: http. Threads: none; the count is moved under the GIL of one interpreter.
 */
#ifndef FL_HTTP_HEAD_BLOCK_H
#define FL_HTTP_HEAD_BLOCK_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/state.h"
#include "proto/http1_head.h"

typedef struct {
    Py_ssize_t references;
    fl_head head;      /* head.fields is `fields` */
    const char *bytes; /* behind the fields, `size` of them */
    uint32_t size;
    fl_field fields[];
} FlHeadBlock;

/* A copy of p[0..n) as `head` describes it; the caller owns one reference. NULL with MemoryError. */
FlHeadBlock *FlHeadBlock_New(const char *p, size_t n, const fl_head *head);

static inline FlHeadBlock *
FlHeadBlock_Retain(FlHeadBlock *block)
{
    block->references++;
    return block;
}

static inline void
FlHeadBlock_Release(FlHeadBlock *block)
{
    if (block != NULL && --block->references == 0) {
        PyMem_Free(block);
    }
}

static inline fl_span
FlHeadBlock_Span(const FlHeadBlock *block, fl_slice slice)
{
    return fl_slice_span(block->bytes, slice);
}

#endif
