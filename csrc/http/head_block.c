/* head_block.c -- one copied message head and its spans.
 *
 * Layer: http. Threads: none; under the GIL of one interpreter.
 */
#include "http/head_block.h"

#include <string.h>

FlHeadBlock *
FlHeadBlock_New(const char *p, size_t n, const fl_head *head)
{
    size_t fields = head->nfields * sizeof(fl_field);
    FlHeadBlock *block = PyMem_Malloc(sizeof(FlHeadBlock) + fields + n);
    char *bytes;

    if (block == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    bytes = (char *)block + sizeof(FlHeadBlock) + fields;
    memcpy(bytes, p, n);
    if (fields > 0)
        memcpy(block->fields, head->fields, fields);
    block->references = 1;
    block->head = *head;
    block->head.fields = block->fields;
    block->head.cap_fields = head->nfields;
    block->bytes = bytes;
    block->size = (uint32_t)n;
    return block;
}
