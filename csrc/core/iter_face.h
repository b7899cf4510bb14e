/* iter_face.h -- how an awaitable of C shows Python what its send() came to.
 *
 * Each of them has one function of its own, the slot am_send; __next__, send() and
 * throw() of Python are made from that by these three.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_ITER_FACE_H
#define FL_CORE_ITER_FACE_H

#include "core/state.h"

/* For send() and throw(): the value, or NULL with StopIteration or the exception. Takes
 * over result. */
PyObject *FlIter_End(PySendResult end, PyObject *result);

/* The same for the slot tp_iternext, where NULL without an exception means None: since
 * 3.12 `await` comes this way, and making a StopIteration costs more than all else. */
PyObject *FlIter_Next(PySendResult end, PyObject *result);

/* The same with a StopIteration that *stop (owned, NULL at first) keeps for the iterator:
 * made once, or taken over from the last iterator that needed one. Between the two calls
 * it holds the result. */
PyObject *FlIter_NextKept(FlState *st, PySendResult end, PyObject *result,
                          PyObject **stop);

/* The iterator goes: its StopIteration is kept for the next one, unless somebody else has
 * it. escapes */
void FlIter_GiveStop(FlState *st, PyObject **stop);

/* The arguments of throw() as one exception, new reference; or NULL with TypeError. */
PyObject *FlIter_Thrown(PyObject *const *args, Py_ssize_t nargs); /* escapes */

/* The same, as the current exception. */
void FlIter_RaiseThrown(PyObject *const *args, Py_ssize_t nargs); /* escapes */

#endif
