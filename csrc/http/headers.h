/* headers.h -- the header map: keeps order, makes strings only when asked.
 *
 * One array of entries in order of arrival. An entry's value is a Python string (what a
 * program set) or a span of a head block (what came from the wire) that becomes a
 * string the first time somebody reads it; names likewise. Names are compared and
 * hashed without case, so a look-up neither normalises nor allocates. Entries of one
 * name are linked, the first one leads; iteration shows the leaders in order, values
 * are joined with "," on reading only. No dict is keyed by what a peer sent, and
 * nothing is joined while fields arrive: a thousand equal names cost a thousand
 * entries, not a thousand copies.
 *
 * Invariant: every name is an RFC 9110 token and no value holds CR, LF, NUL or another
 * control but HTAB, whatever way it came in. The head writer relies on it.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#ifndef FL_HTTP_HEADERS_H
#define FL_HTTP_HEADERS_H

#include "http/head_block.h"

typedef struct {
    PyObject *name;  /* owned str in Http-Header-Case, or NULL: the span */
    PyObject *value; /* owned str, or NULL: the span */
    fl_slice name_at, value_at;
    uint32_t hash; /* of the name in lower case */
    int32_t next;  /* the next entry of this name, or -1 */
    int32_t last;  /* of a leader: the last entry of its name; of a follower: -1 */
    uint8_t id;    /* enum fl_header_id */
} FlHeaderEntry;

typedef struct {
    PyObject_HEAD
    FlState *st;            /* borrowed */
    FlHeadBlock *block;     /* owned, nullable: what the spans point into */
    FlHeaderEntry *entries; /* owned */
    int32_t count, capacity;
    int32_t leaders; /* distinct names */
    PyObject *dict;  /* owned, nullable: attributes of subclasses */
    PyObject *weakrefs;
} FlHTTPHeaders;

/* New empty map. */
PyObject *FlHTTPHeaders_New(FlState *st);

/* New map of a parsed head; shares the block, copies no byte. */
PyObject *FlHTTPHeaders_FromBlock(FlState *st, FlHeadBlock *block);

bool FlHTTPHeaders_Check(FlState *st, PyObject *object);

/* The three below: name and value are str and are checked. 0, or -1 with HTTPInputError
 * (also a ValueError) or TypeError. */
int FlHTTPHeaders_Add(FlHTTPHeaders *self, PyObject *name, PyObject *value);
int FlHTTPHeaders_Set(FlHTTPHeaders *self, PyObject *name, PyObject *value);

/* The same for a well-known name; the value is trusted. */
int FlHTTPHeaders_SetId(FlHTTPHeaders *self, uint8_t id, PyObject *value);

/* The enum fl_header_id of a name, or -1 as above. */
int FlHTTPHeaders_NameId(FlState *st, PyObject *name);

/* 1 when something was removed, else 0. */
int FlHTTPHeaders_Remove(FlHTTPHeaders *self, fl_span name);

/* Index of the first entry of a name in any case, or -1; follow `next` for others. */
int32_t FlHTTPHeaders_Find(FlHTTPHeaders *self, fl_span name);
int32_t FlHTTPHeaders_FindId(FlHTTPHeaders *self, uint8_t id);

/* Borrowed strings, made on first use; NULL with MemoryError. */
PyObject *FlHTTPHeaders_Name(FlHTTPHeaders *self, int32_t at);
PyObject *FlHTTPHeaders_Value(FlHTTPHeaders *self, int32_t at);

/* The value's bytes in latin-1, valid until the map changes; false when it has
 * characters above 255. */
bool FlHTTPHeaders_ValueSpan(FlHTTPHeaders *self, int32_t at, fl_span *out);

/* The joined value of an entry found: new reference or NULL with MemoryError. */
PyObject *FlHTTPHeaders_Joined(FlHTTPHeaders *self, int32_t at);

/* The interned "Content-Type" of an id; borrowed from the state. */
PyObject *FlHTTPHeaders_KnownName(FlState *st, uint8_t id);

/* Sets httputil's HTTPInputError; returns NULL. */
PyObject *FlHTTP_InputError(FlState *st, const char *format, ...);

/* Whether every character may stand in a field value (above 255 only when wide). */
bool FlHTTPHeaders_ValueOk(PyObject *value, bool wide);

int FlHTTPHeaders_AddType(PyObject *module, FlState *st);

#endif
