/* headers.h -- the header map: a multi-map that keeps order and makes strings only when asked.
 *
 * One array of entries in order of arrival. An entry is either two Python strings (what a program set) or two
 * spans of a head block (what came from the wire); a span becomes a string the first time somebody reads it. Names
 * are compared without case and hashed without case, so a look-up neither normalises nor allocates. Entries of one
 * name are linked, the first one leads; iteration shows the leaders in order, joined with "," only on reading.
 * No dict is keyed by what a peer sent, and nothing is joined while fields arrive (a thousand equal names cost a
 * thousand entries, not a thousand copies).
 *
 * Invariant: every name is an RFC 9110 token, every value is free of CR, LF, NUL and other controls but HTAB, and
 * every character is below 256, whatever way it came in. The head writer relies on it.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#ifndef FL_HTTP_HEADERS_H
#define FL_HTTP_HEADERS_H

#include "http/head_block.h"

typedef struct {
    PyObject *name;  /* owned str in Http-Header-Case, or NULL: the span */
    PyObject *value; /* owned str, or NULL: the span */
    uint32_t name_at, name_length;
    uint32_t value_at, value_length;
    uint32_t hash; /* of the name in lower case */
    int32_t next;  /* the next entry of this name, or -1 */
    int32_t last;  /* of a leader: the last entry of its name; of a follower: -1 */
} FlHeaderEntry;

typedef struct {
    PyObject_HEAD
    FlState *st; /* borrowed */
    FlHeadBlock *block; /* owned, nullable: what the spans point into */
    FlHeaderEntry *entries; /* owned */
    int32_t count, capacity;
    int32_t leaders;   /* distinct names */
    uint32_t version;  /* moves when the set of names changes: iterators notice */
    PyObject *weakrefs;
} FlHTTPHeaders;

/* New empty map. */
PyObject *
FlHTTPHeaders_New(FlState *st);

/* New map of a parsed head; shares the block, copies no byte. */
PyObject *
FlHTTPHeaders_FromBlock(FlState *st, FlHeadBlock *block);

int
FlHTTPHeaders_Check(FlState *st, PyObject *object);

/* Name and value are checked; 0, or -1 with HTTPInputError, ValueError or TypeError. */
int
FlHTTPHeaders_Add(FlHTTPHeaders *self, PyObject *name, PyObject *value);
int
FlHTTPHeaders_Set(FlHTTPHeaders *self, PyObject *name, PyObject *value);
int
FlHTTPHeaders_SetText(FlHTTPHeaders *self, const char *name, PyObject *value);

/* True when something was removed. */
bool
FlHTTPHeaders_Remove(FlHTTPHeaders *self, const char *name, size_t length);

/* Index of the first entry of a name (any case), or -1; follow `next` for the others. */
int32_t
FlHTTPHeaders_Find(FlHTTPHeaders *self, const char *name, size_t length);

/* The bytes of an entry as they go onto the wire; borrowed until the map changes. Values above 127 that are
 * Python strings are told by returning false: then the caller encodes them. */
bool
FlHTTPHeaders_NameSpan(FlHTTPHeaders *self, int32_t at, const char **p, size_t *n);
bool
FlHTTPHeaders_ValueSpan(FlHTTPHeaders *self, int32_t at, const char **p, size_t *n);

/* Borrowed strings, made on first use; NULL with MemoryError. */
PyObject *
FlHTTPHeaders_Name(FlHTTPHeaders *self, int32_t at);
PyObject *
FlHTTPHeaders_Value(FlHTTPHeaders *self, int32_t at);

/* New reference to the joined value, or NULL without an exception when the name is absent. */
PyObject *
FlHTTPHeaders_GetText(FlHTTPHeaders *self, const char *name, size_t length);

extern PyType_Spec FlHTTPHeaders_spec;
int
FlHTTPHeaders_AddType(PyObject *module, FlState *st);

#endif
