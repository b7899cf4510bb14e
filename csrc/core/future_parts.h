/* future_parts.h -- what the files of Future and Task share with no one else.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_FUTURE_PARTS_H
#define FL_CORE_FUTURE_PARTS_H

#include "core/task.h"

/* A zeroed object of one of the family's types. New reference. */
PyObject *FlFuture_Alloc(FlState *st, PyTypeObject *type);

/* Gives a zeroed future its state and, if one is running or given, its loop. */
void FlFuture_Setup(FlFuture *self, FlState *st, FlLoop *loop);

/* Finds the loop of a future that has none yet; 0 or -1. */
int FlFuture_ResolveLoop(FlFuture *self); /* escapes */

/* Adds to a pending future; takes references. 0 or -1. */
int FlFuture_PushWaiter(FlFuture *self, FlWaiter waiter);

/* The future left pending: its callbacks go to the ring. 0, or -1 with the first error;
 * the others were handed on nevertheless. */
int FlFuture_HandOn(FlFuture *self);

/* Forgets all waiters. escapes */
void FlFuture_DropWaiters(FlFuture *self);

int FlFuture_VisitWaiters(FlFuture *self, visitproc visit, void *arg);

/* Cancels the future itself, also a task's: 1, 0 when it was done, -1. */
int FlFuture_CancelSelf(FlFuture *self, PyObject *msg);

/* The CancelledError of a cancelled future; new reference. */
PyObject *FlFuture_MakeCancelledError(FlFuture *self);

/* Raises exc (stolen) as `raise` does: what the asker is handling becomes its context. */
void FlFuture_Raise(PyObject *exc);

/* Tells the loop's exception handler (or asyncio's logger) of a lost exception. */
void FlFuture_Report(FlFuture *self, const char *msg, PyObject *key); /* escapes */

/* Hands a Python callback of a done future to the ring. 0 or -1. */
int FlFuture_ScheduleCallback(FlFuture *self, PyObject *callback, PyObject *context);

/* Takes back Python callbacks equal to fn: how many, or -1. */
long FlFuture_RemoveCallback(FlFuture *self, PyObject *fn); /* escapes */

/* "pending", "cancelled", "finished result=..."; new reference. */
PyObject *FlFuture_StateText(FlFuture *self); /* escapes */

/* `await future`; new reference. */
PyObject *FlFuture_Iter(PyObject *self);

/* A type of the Future family: made with the metaclass, added to the module. 0 or -1.
 */
int FlFuture_AddSubtype(PyObject *module, FlState *st, PyTypeObject **slot,
                        PyType_Spec *spec, PyObject *base);

/* Lets go of everything but what programs put on the object. escapes */
void FlFuture_Reset(FlFuture *self);

/* What the types share. Dealloc and Clear of subtypes end in these. */
int FlFuture_Traverse(PyObject *self, visitproc visit, void *arg);
int FlFuture_Clear(PyObject *self);
void FlFuture_Finalize(PyObject *self);
void FlFuture_Dealloc(PyObject *self);

#endif
