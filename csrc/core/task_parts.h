/* task_parts.h -- what the files of Task and GenFuture share with no one else.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_TASK_PARTS_H
#define FL_CORE_TASK_PARTS_H

#include "core/task.h"

/* Puts a task that waits into its loop's list, or takes it out; harmless when it is
 * there (is not). Unpark may drop the last reference: own the task. */
void FlTask_Park(FlTask *self);
void FlTask_Unpark(FlTask *self);

/* What the ring calls: a step of the coroutine, or of the generator. escapes */
int FlTask_RingStep(FlLoop *loop, PyObject *task);
int FlGen_RingStep(FlLoop *loop, PyObject *future);

/* A step of the coroutine from anywhere else. 0, or -1 with a fatal exception. escapes */
int FlTask_Step(PyObject *task);

/* The coroutine yielded something: the task waits for it. 0 or -1. */
int FlTask_Wait(FlTask *self, PyObject *yielded); /* escapes */

/* Waits for a future that is not ours; the next step comes when it is done. 0 or -1. */
int FlTask_WaitForeign(FlTask *self, PyObject *future); /* escapes */

/* Throws exc (stolen) into a coroutine or generator; results as of PyIter_Send. escapes
 */
PySendResult FlTask_Throw(FlState *st, PyObject *coro, PyObject *exc,
                          PyObject **result);

/* Cancels what the task waits for: 1, 0 when there is nothing to cancel, -1. escapes */
int FlTask_CancelWaiting(FlTask *self, PyObject *msg);

/* Registers a fresh task and puts its first step on the ring. 0 or -1. */
int FlTask_Schedule(FlTask *self);

/* The result of a future of any kind that is done; new reference, or NULL with its
 * exception raised. escapes */
PyObject *FlGen_ResultOf(FlState *st, PyObject *future);

/* The collector's view of both types. */
int FlTask_Traverse(PyObject *self, visitproc visit, void *arg);
int FlTask_Clear(PyObject *self);

#endif
