/* asyncio_bridge.h -- how our tasks show up in asyncio's books, and how its tasks wait
 * for our futures.
 *
 * The only place that touches asyncio's hooks for other task implementations.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_ASYNCIO_BRIDGE_H
#define FL_CORE_ASYNCIO_BRIDGE_H

#include "core/task.h"

/* Makes task the current one of loop; *previous gets what was, a new reference or NULL.
 * 0 or -1. */
int FlAsyncio_EnterTask(FlLoop *loop, PyObject *task, PyObject **previous);

/* Makes previous (NULL: none) the current one again. 0 or -1. */
int FlAsyncio_LeaveTask(FlLoop *loop, PyObject *previous);

/* The same as to leave for none, put off until anything but the step of a task runs in
 * the loop: the next task takes the place over, which costs a fraction. */
void FlAsyncio_LeaveLater(FlLoop *loop, PyObject *task);

/* What was put off. */
void FlAsyncio_LeaveNow(FlLoop *loop);

/* Lets asyncio.all_tasks() see task while it is parked: once for all of them where
 * pyfastloop._all_tasks could join our lists to asyncio's, else one by one. 0 or -1.
 * escapes */
int FlAsyncio_KnowTask(FlState *st, FlTask *task);

/* What a callback of a done future is called with: the future, or something that says the
 * same to a task of asyncio's and costs it less. Borrowed, or NULL. escapes */
PyObject *FlAsyncio_Tell(FlFuture *future, PyObject *callback);

#endif
