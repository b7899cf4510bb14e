/* headers_parts.h -- what the files of the Python type HTTPHeaders share with no one else.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#ifndef FL_HTTP_HEADERS_PARTS_H
#define FL_HTTP_HEADERS_PARTS_H

#include "http/headers.h"

static inline FlHTTPHeaders *
FlHTTPHeaders_Cast(PyObject *self)
{
    return (FlHTTPHeaders *)self;
}

/* Whether it is no subclass's. */
static inline bool
FlHTTPHeaders_IsExact(FlHTTPHeaders *self)
{
    return Py_IS_TYPE(self, self->st->HTTPHeaders_type);
}

/* ---- headers_type.c ---- */

/* Removes everything; the room is kept. */
void FlHTTPHeaders_DropEntries(FlHTTPHeaders *self);

/* [(name, value), ...], grouped by name; joined: one pair a name. New list. */
PyObject *FlHTTPHeaders_Pairs(FlHTTPHeaders *self);

/* ---- headers_parse.c: methods. escapes, where a subclass has its own add ---- */

PyObject *FlHTTPHeaders_add(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *FlHTTPHeaders_parse_line(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *FlHTTPHeaders_parse(PyObject *type, PyObject *args, PyObject *kwargs);

/* ---- headers_whole.c: methods and slots ---- */

PyObject *FlHTTPHeaders_str(PyObject *self);
PyObject *FlHTTPHeaders_repr(PyObject *op);
PyObject *FlHTTPHeaders_copy(PyObject *op, PyObject *unused);
PyObject *FlHTTPHeaders_compare(PyObject *self, PyObject *other, int op); /* escapes */
PyObject *FlHTTPHeaders_reduce(PyObject *op, PyObject *unused);
PyObject *FlHTTPHeaders_setstate(PyObject *op, PyObject *state);

#endif
