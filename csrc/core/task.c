/* task.c -- what drives coroutines.
 *
 *     step: enter context, become current -> send or throw -> leave
 *       ended:   the future of the task is done, the coroutine let go
 *       yielded: wait for that future (task_wait.c); its end puts the next step on the
 *                ring
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/task.h"

#include "core/asyncio_bridge.h"
#include "core/future_parts.h"
#include "core/task_parts.h"

/* ---- being current ---- */

int
FlTask_Enter(PyObject *obj, PyObject **previous)
{
    FlTask *self = (FlTask *)obj;

    *previous = NULL;
    if (FlFuture_ResolveLoop(&self->future) < 0 || PyContext_Enter(self->context) < 0)
        return -1;
    if (FlAsyncio_EnterTask(self->future.loop, obj, previous) < 0) {
        PyContext_Exit(self->context);
        return -1;
    }
    self->entered = true;
    return 0;
}

void
FlTask_Leave(PyObject *obj, PyObject *previous)
{
    FlTask *self = (FlTask *)obj;
    PyObject *exc = PyErr_GetRaisedException();

    self->entered = false;
    if (FlAsyncio_LeaveTask(self->future.loop, previous) < 0 ||
        PyContext_Exit(self->context) < 0)
        PyErr_WriteUnraisable(obj);
    Py_XDECREF(previous);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
}

/* The same where nothing was current before, for the ring: see FlAsyncio_LeaveLater. No
 * exception is set. */
static void
task_leave_later(FlTask *self)
{
    self->entered = false;
    FlAsyncio_LeaveLater(self->future.loop, (PyObject *)self);
    if (PyContext_Exit(self->context) < 0)
        PyErr_WriteUnraisable((PyObject *)self);
}

/* ---- the end ---- */

/* The coroutine ended: its frame is gone, the object is kept for who asks. */
static void
task_let_go(FlTask *self)
{
    PyObject *waiting = self->waiting;

    self->ended = true;
    self->waiting = NULL;
    Py_XDECREF(waiting);
}

/* value, or NULL for the current exception; 0, or -1 with a fatal exception. */
static int
task_end(FlTask *self, PyObject *value)
{
    PyObject *obj = (PyObject *)self, *exc = NULL;
    int err;

    if (value == NULL)
        exc = PyErr_GetRaisedException();
    task_let_go(self);
    if (value != NULL && self->must_cancel) {
        self->must_cancel = false;
        err = FlFuture_CancelSelf(&self->future, self->future.note);
    } else if (value != NULL) {
        err = FlFuture_SetResultUnlessDone(obj, value);
    } else {
        bool fatal = PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) ||
                     PyErr_GivenExceptionMatches(exc, PyExc_SystemExit);

        if (fatal) {
            err = FlFuture_SetExceptionUnlessDone(obj, exc);
            self->future.log_traceback = false; /* who runs the loop gets it */
            PyErr_Clear();
            PyErr_SetRaisedException(exc);
            FlTask_Unpark(self);
            return -1;
        }
        PyErr_SetRaisedException(exc);
        err = FlFuture_SetCurrentException(obj);
    }
    if (err < 0 && !FlError_IsFatal()) {
        FlLoop_LogException(self->future.loop, "Exception at the end of a task", NULL);
        err = PyErr_Occurred() ? -1 : 0;
    }
    FlTask_Unpark(self);
    return err < 0 ? -1 : 0;
}

/* ---- stepping ---- */

/* Throws exc (stolen) into what send and throw drive; as PyIter_Send. */
PySendResult
FlTask_Throw(FlState *st, PyObject *coro, PyObject *exc, PyObject **result)
{
    *result = PyObject_CallMethodOneArg(coro, st->str_throw, exc);
    Py_DECREF(exc);
    if (*result != NULL)
        return PYGEN_NEXT;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration))
        return PYGEN_ERROR;
    exc = PyErr_GetRaisedException();
    *result = PyObject_GetAttr(exc, st->str_value);
    Py_DECREF(exc);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

/* Context entered, task current. 0, or -1 with a fatal exception. */
static int
task_drive(FlTask *self)
{
    PyObject *coro = Py_NewRef(self->coro), *result;
    PyObject *exc = self->throw_next;
    PySendResult how;
    int err;

    self->throw_next = NULL;
    if (self->must_cancel) {
        if (exc == NULL ||
            !PyErr_GivenExceptionMatches(exc, self->future.st->CancelledError))
            Py_XSETREF(exc, FlFuture_MakeCancelledError(&self->future));
        self->must_cancel = false;
    }
    self->stepping = true;
    if (exc != NULL)
        how = FlTask_Throw(self->future.st, coro, exc, &result);
    else
        how = PyIter_Send(coro, Py_None, &result);
    Py_DECREF(coro);
    err = how == PYGEN_NEXT ? FlTask_Wait(self, result) : task_end(self, result);
    self->stepping = false;
    Py_XDECREF(result);
    return err;
}

/* A bare task that adopted a future ends as that future does. */
static int
task_end_as(FlTask *self, PyObject *future)
{
    PyObject *value = FlGen_ResultOf(self->future.st, future);
    int err = task_end(self, value);

    Py_XDECREF(value);
    return err;
}

/* from_ring: nothing of Python is on the loop's stack, and what runs next is its to
 * say. */
static int
task_step(FlTask *self, bool from_ring)
{
    PyObject *previous;
    int err;

    if (self->entered)
        return task_drive(self);
    if (FlTask_Enter((PyObject *)self, &previous) < 0)
        return FlError_IsFatal() ? -1 : task_end(self, NULL);
    err = task_drive(self);
    if (from_ring && err == 0 && previous == NULL && self->parked_prev != NULL &&
        self->future.loop->host == NULL)
        task_leave_later(self);
    else
        FlTask_Leave((PyObject *)self, previous);
    return err;
}

/* What the future that it waited for ended with is thrown into the coroutine, as asyncio
 * does it: an awaitable of the user's need not ask that future itself. */
static void
task_learn(FlTask *self, PyObject *future)
{
    FlState *st = self->future.st;
    FlFuture *own = FlFuture_CheckExact(st, future) ? (FlFuture *)future : NULL;
    PyObject *value;

    if (self->throw_next != NULL ||
        (own != NULL && own->state == FL_FUTURE_FINISHED && !own->failed))
        return;
    value = FlGen_ResultOf(st, future);
    Py_XDECREF(value);
    if (value == NULL)
        self->throw_next = PyErr_GetRaisedException();
}

static int
task_go_on(PyObject *obj, bool from_ring)
{
    FlTask *self = (FlTask *)obj;
    PyObject *waiting = self->waiting;
    int err = 0;

    if (FlFuture_Done(obj))
        return 0;
    /* A future that calls back from inside add_done_callback. */
    if (self->stepping)
        return FlLoop_Defer(self->future.loop, FlTask_RingStep, obj);
    Py_INCREF(self);
    self->waiting = NULL;
    if (self->coro != NULL && waiting != NULL)
        task_learn(self, waiting);
    if (self->coro != NULL)
        err = task_step(self, from_ring);
    else if (waiting != NULL)
        err = task_end_as(self, waiting);
    Py_XDECREF(waiting);
    Py_DECREF(self);
    return err;
}

int
FlTask_RingStep(FlLoop *loop, PyObject *task)
{
    uint64_t started = loop->debug ? fl_clock_monotonic() : 0;
    int err = task_go_on(task, true);

    if (started != 0)
        FlLoop_ReportSlow(loop, task, started);
    return err;
}

int
FlTask_Step(PyObject *task)
{
    return task_go_on(task, false);
}

/* ---- making and starting ---- */

PyObject *
FlTask_NewBare(FlState *st, FlLoop *loop, PyObject *context)
{
    FlTask *self = (FlTask *)FlFuture_Alloc(st, st->Task_type);

    if (self == NULL)
        return NULL;
    FlFuture_Setup(&self->future, st, loop);
    self->context = context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
    self->number = ++st->task_count;
    self->log_destroy_pending = true;
    if (self->context == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

PyObject *
FlTask_Start(FlState *st, FlLoop *loop, PyObject *coro, PyObject *context)
{
    FlTask *self = (FlTask *)FlTask_NewBare(st, loop, context);

    if (self == NULL)
        return NULL;
    self->coro = Py_NewRef(coro);
    if (task_step(self, false) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

PyObject *
FlTask_StartFunction(PyObject *module, PyObject *coro)
{
    FlState *st = FlState_OfModule(module);
    FlLoop *loop = FlLoop_Get(st);
    PyObject *task = loop == NULL ? NULL : FlTask_Start(st, loop, coro, NULL);

    Py_XDECREF(loop);
    return task;
}

int
FlTask_Schedule(FlTask *self)
{
    if (FlFuture_ResolveLoop(&self->future) < 0)
        return -1;
    if (FlAsyncio_KnowTask(self->future.st, self) < 0)
        return -1;
    FlTask_Park(self);
    if (FlLoop_Defer(self->future.loop, FlTask_RingStep, (PyObject *)self) == 0)
        return 0;
    FlTask_Unpark(self);
    return -1;
}

PyObject *
FlTask_New(FlState *st, FlLoop *loop, PyObject *coro, PyObject *name, PyObject *context)
{
    FlTask *self = (FlTask *)FlTask_NewBare(st, loop, context);

    if (self == NULL)
        return NULL;
    self->coro = Py_NewRef(coro);
    self->name = Py_XNewRef(name);
    if (FlTask_Schedule(self) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

int
FlTask_Adopt(PyObject *obj, PyObject *awaitable)
{
    FlTask *self = (FlTask *)obj;
    FlState *st = self->future.st;
    int like;

    if (FlFuture_ResolveLoop(&self->future) < 0)
        return -1;
    if (PyCoro_CheckExact(awaitable)) {
        self->coro = Py_NewRef(awaitable);
        return task_step(self, false);
    }
    like = FlFuture_IsFutureLike(st, awaitable);
    if (like < 0)
        return -1;
    if (like == 0) {
        self->coro = PyObject_CallOneArg(st->hook_await_any, awaitable);
        return self->coro == NULL ? -1 : task_step(self, false);
    }
    if (FlFuture_TakesWaiters(st, awaitable)) {
        if (FlFuture_Done(awaitable))
            return task_end_as(self, awaitable);
        if (FlFuture_AddWaiter(awaitable, FlTask_RingStep, obj) < 0)
            return -1;
        Py_XSETREF(self->waiting, Py_NewRef(awaitable));
    } else if (FlTask_WaitForeign(self, awaitable) < 0) {
        return -1;
    }
    FlTask_Park(self);
    return self->registered ? 0 : FlAsyncio_KnowTask(st, self);
}

int
FlTask_Run(PyObject *obj, PyObject *coro)
{
    FlTask *self = (FlTask *)obj;

    if (FlFuture_ResolveLoop(&self->future) < 0)
        return -1;
    self->coro = Py_NewRef(coro);
    return task_step(self, false);
}

int
FlTask_Finish(PyObject *obj, PyObject *value)
{
    if (FlFuture_ResolveLoop(&((FlTask *)obj)->future) < 0)
        return -1;
    return task_end((FlTask *)obj, value);
}

/* ---- cancelling ---- */

/* Tasks that wait for each other are asked from the first to the last, which alone has
 * something to cancel; no deeper than one call, however many there are. That last one,
 * borrowed; NULL without an exception when the first is done. */
static FlTask *
task_last_of_chain(FlTask *task)
{
    PyTypeObject *type = task->future.st->Task_type;
    FlTask *last = NULL, *passed = NULL;
    size_t steps = 0, until = 1;

    while (!FlFuture_Done((PyObject *)task)) {
        if (task == passed) {
            PyErr_SetString(PyExc_RecursionError,
                            "cannot cancel tasks that wait for each other in a circle");
            return NULL;
        }
        if (++steps == until) {
            passed = task;
            until *= 2;
        }
        task->future.log_traceback = false;
        task->future.cancels++;
        last = task;
        if (task->waiting == NULL || !Py_IS_TYPE(task->waiting, type))
            break;
        task = (FlTask *)task->waiting;
    }
    return last;
}

int
FlTask_Cancel(PyObject *obj, PyObject *msg)
{
    FlTask *self = task_last_of_chain((FlTask *)obj);
    int yes;

    if (self == NULL)
        return PyErr_Occurred() ? -1 : 0;
    Py_INCREF(self);
    yes = FlTask_CancelWaiting(self, msg);
    if (yes == 0) {
        self->must_cancel = true;
        Py_XSETREF(self->future.note, Py_XNewRef(msg));
        yes = 1;
    }
    Py_DECREF(self);
    return yes;
}
