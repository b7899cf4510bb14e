/* ioloop_parts.h -- what the files of IOLoop share with no one else.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_IOLOOP_PARTS_H
#define FL_CORE_IOLOOP_PARTS_H

#include "core/handle.h"

typedef struct {
    PyObject_HEAD
    FlState *st;  /* borrowed */
    FlLoop *loop; /* owned; NULL before _attach() */
    PyObject *dict;
    PyObject *weakrefs;
} FlIOLoop;

/* Its C loop, borrowed; NULL with RuntimeError before _attach(). */
FlLoop *FlIOLoop_Loop(PyObject *self);

/* args: callback and its arguments. A handle that is not queued yet and logs, inside the
 * stack contexts that are open. New reference. */
FlHandle *FlIOLoop_Handle(FlLoop *loop, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kw); /* escapes where a context is open */

/* ioloop_future.c */
PyObject *FlIOLoop_add_future(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kw);

#endif
