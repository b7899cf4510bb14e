/* task.c -- what drives coroutines.
 *
 *     step: enter context, become current -> send or throw -> leave
 *       ended:   the future of the task is done, the coroutine let go
 *       yielded: wait for that future; its end puts the next step on the ring
 *
 * A coroutine that waits is held by its loop (`parked`) as well as by the future it
 * waits for: one that nobody else refers to survives the collector until the loop is
 * closed.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/task.h"

#include "core/asyncio_bridge.h"
#include "core/future_parts.h"
#include "core/task_parts.h"

static int task_ring_step(FlLoop *loop, PyObject *task);

/* ---- parking ---- */

void
FlTask_Park(FlTask *self)
{
    FlLoop *loop = self->future.loop;

    if (self->parked_prev != NULL)
        return;
    Py_INCREF(self);
    self->parked_next = loop->parked;
    self->parked_prev = &loop->parked;
    if (loop->parked != NULL)
        loop->parked->parked_prev = &self->parked_next;
    loop->parked = self;
}

void
FlTask_Unpark(FlTask *self)
{
    if (self->parked_prev == NULL)
        return;
    *self->parked_prev = self->parked_next;
    if (self->parked_next != NULL)
        self->parked_next->parked_prev = self->parked_prev;
    self->parked_next = NULL;
    self->parked_prev = NULL;
    Py_DECREF(self);
}

void
FlTask_ReleaseParked(FlLoop *loop)
{
    while (loop->parked != NULL)
        FlTask_Unpark(loop->parked);
}

/* ---- being current ---- */

int
FlTask_Enter(PyObject *obj, PyObject **previous)
{
    FlTask *self = (FlTask *)obj;

    *previous = NULL;
    if (FlFuture_ResolveLoop(&self->future) < 0 || PyContext_Enter(self->context) < 0)
        return -1;
    if (FlAsyncio_SwapTask(self->future.st, FlLoop_Face(self->future.loop), obj,
                           previous) < 0) {
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
    PyObject *exc = PyErr_GetRaisedException(), *mine = NULL;

    self->entered = false;
    if (FlAsyncio_SwapTask(self->future.st, FlLoop_Face(self->future.loop), previous,
                           &mine) < 0 ||
        PyContext_Exit(self->context) < 0)
        PyErr_WriteUnraisable(obj);
    Py_XDECREF(mine);
    Py_XDECREF(previous);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
}

/* ---- the end ---- */

/* The coroutine ended: its frame is gone, the object is kept for who asks. */
static void
task_let_go(FlTask *self)
{
    PyObject *waiting = self->waiting;

    Py_XSETREF(self->ended, self->coro);
    self->coro = self->waiting = NULL;
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
        err = FlFuture_CancelSelf(&self->future, self->future.cancel_message);
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

/* ---- waiting ---- */

/* The next step throws the current exception; 0 or -1. */
static int
task_throw_next(FlTask *self)
{
    Py_XSETREF(self->throw_next, PyErr_GetRaisedException());
    return FlLoop_Defer(self->future.loop, task_ring_step, (PyObject *)self);
}

/* cancel() came while the coroutine ran: the future it waits for is cancelled instead.
 */
static int
task_pass_cancel(FlTask *self)
{
    int yes = FlTask_CancelWaiting(self, self->future.cancel_message);

    if (yes > 0)
        self->must_cancel = false;
    return yes < 0 ? -1 : 0;
}

static int
task_wait_own(FlTask *self, FlFuture *future)
{
    FlLoop *loop = self->future.loop;

    if (!future->blocking) {
        PyErr_Format(PyExc_RuntimeError,
                     "yield was used instead of yield from in task %R with %R", self,
                     future);
        return -1;
    }
    future->blocking = false;
    if (future == &self->future) {
        PyErr_Format(PyExc_RuntimeError, "Task cannot await on itself: %R", self);
        return -1;
    }
    if (future->loop == NULL)
        future->loop = (FlLoop *)Py_NewRef(loop);
    if (future->loop != loop) {
        PyErr_Format(PyExc_RuntimeError,
                     "Task %R got Future %R attached to a different loop", self,
                     future);
        return -1;
    }
    if (FlFuture_AddWaiter((PyObject *)future, task_ring_step, (PyObject *)self) < 0)
        return -1;
    Py_XSETREF(self->waiting, Py_NewRef((PyObject *)future));
    return 0;
}

/* A future of asyncio or of anyone else calls this, with itself. */
static PyObject *
task_wake(PyObject *obj, PyObject *Py_UNUSED(future))
{
    FlTask *self = (FlTask *)obj;

    if (self->future.loop == NULL)
        Py_RETURN_NONE;
    if (self->step(self->future.loop, obj) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef task_wake_def = {"task_wake", task_wake, METH_O, NULL};

int
FlTask_WaitForeign(FlTask *self, PyObject *future)
{
    PyObject *wake = PyCFunction_New(&task_wake_def, (PyObject *)self), *res;

    if (wake == NULL)
        return -1;
    res =
        PyObject_CallMethodOneArg(future, self->future.st->str_add_done_callback, wake);
    Py_DECREF(wake);
    Py_XDECREF(res);
    if (res == NULL)
        return -1;
    Py_XSETREF(self->waiting, Py_NewRef(future));
    return 0;
}

static int
task_wait_foreign(FlTask *self, PyObject *future)
{
    FlState *st = self->future.st;
    PyObject *flag = PyObject_GetAttr(future, st->str__asyncio_future_blocking);
    PyObject *loop;
    int blocking = flag == NULL ? -1 : PyObject_IsTrue(flag);

    Py_XDECREF(flag);
    if (blocking < 0)
        return -1;
    loop = PyObject_CallMethodNoArgs(future, st->str_get_loop);
    if (loop == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError))
            return -1;
        PyErr_Clear();
    } else {
        bool same = loop == FlLoop_Face(self->future.loop);

        Py_DECREF(loop);
        if (!same) {
            PyErr_Format(PyExc_RuntimeError,
                         "Task %R got Future %R attached to a different loop", self,
                         future);
            return -1;
        }
    }
    if (!blocking) {
        PyErr_Format(PyExc_RuntimeError,
                     "yield was used instead of yield from in task %R with %R", self,
                     future);
        return -1;
    }
    if (PyObject_SetAttr(future, st->str__asyncio_future_blocking, Py_False) < 0)
        return -1;
    return FlTask_WaitForeign(self, future);
}

/* The coroutine yielded something: the task waits for it. 0 or -1. */
static int
task_wait(FlTask *self, PyObject *yielded)
{
    FlState *st = self->future.st;
    int like, err;

    FlTask_Park(self);
    if (!self->registered) {
        self->registered = true;
        if (FlAsyncio_RegisterTask(st, (PyObject *)self) < 0)
            return task_throw_next(self);
    }
    if (yielded == Py_None)
        return FlLoop_Defer(self->future.loop, task_ring_step, (PyObject *)self);
    if (FlFuture_Check(st, yielded)) {
        err = task_wait_own(self, (FlFuture *)yielded);
    } else {
        like = FlFuture_IsFutureLike(st, yielded);
        if (like == 0)
            PyErr_Format(PyExc_RuntimeError, "Task got bad yield: %R", yielded);
        err = like > 0 ? task_wait_foreign(self, yielded) : -1;
    }
    if (err == 0 && self->must_cancel)
        err = task_pass_cancel(self);
    return err < 0 ? task_throw_next(self) : 0;
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
    err = how == PYGEN_NEXT ? task_wait(self, result) : task_end(self, result);
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

static int
task_step(FlTask *self)
{
    PyObject *previous;
    int err;

    if (self->entered)
        return task_drive(self);
    if (FlTask_Enter((PyObject *)self, &previous) < 0)
        return FlError_IsFatal() ? -1 : task_end(self, NULL);
    err = task_drive(self);
    FlTask_Leave((PyObject *)self, previous);
    return err;
}

/* cancel() came after the future was done and before the step: where the future ends by
 * a CancelledError too, it is that one which the coroutine gets. */
static int
task_prefer_cancelled(FlTask *self, PyObject *future)
{
    PyObject *value = FlGen_ResultOf(self->future.st, future);

    Py_XDECREF(value);
    if (value != NULL)
        return 0;
    if (FlError_IsFatal())
        return -1;
    if (PyErr_ExceptionMatches(self->future.st->CancelledError))
        Py_XSETREF(self->throw_next, PyErr_GetRaisedException());
    else
        PyErr_Clear();
    return 0;
}

static int
task_ring_step(FlLoop *Py_UNUSED(loop), PyObject *obj)
{
    FlTask *self = (FlTask *)obj;
    PyObject *waiting = self->waiting;
    int err = 0;

    if (FlFuture_Done(obj))
        return 0;
    /* A future that calls back from inside add_done_callback. */
    if (self->stepping)
        return FlLoop_Defer(self->future.loop, task_ring_step, obj);
    Py_INCREF(self);
    self->waiting = NULL;
    if (self->coro != NULL && self->must_cancel && waiting != NULL)
        err = task_prefer_cancelled(self, waiting);
    if (err == 0 && self->coro != NULL)
        err = task_step(self);
    else if (err == 0 && waiting != NULL)
        err = task_end_as(self, waiting);
    Py_XDECREF(waiting);
    Py_DECREF(self);
    return err;
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
    self->step = task_ring_step;
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
    if (task_step(self) < 0)
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
    self->registered = true;
    if (FlAsyncio_RegisterTask(self->future.st, (PyObject *)self) < 0)
        return -1;
    FlTask_Park(self);
    if (FlLoop_Defer(self->future.loop, task_ring_step, (PyObject *)self) == 0)
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
        return task_step(self);
    }
    like = FlFuture_IsFutureLike(st, awaitable);
    if (like < 0)
        return -1;
    if (like == 0) {
        self->coro = PyObject_CallOneArg(st->hook_await_any, awaitable);
        return self->coro == NULL ? -1 : task_step(self);
    }
    if (FlFuture_Check(st, awaitable)) {
        if (FlFuture_Done(awaitable))
            return task_end_as(self, awaitable);
        if (FlFuture_AddWaiter(awaitable, task_ring_step, obj) < 0)
            return -1;
        Py_XSETREF(self->waiting, Py_NewRef(awaitable));
    } else if (FlTask_WaitForeign(self, awaitable) < 0) {
        return -1;
    }
    FlTask_Park(self);
    if (!self->registered) {
        self->registered = true;
        return FlAsyncio_RegisterTask(st, obj);
    }
    return 0;
}

int
FlTask_Run(PyObject *obj, PyObject *coro)
{
    FlTask *self = (FlTask *)obj;

    if (FlFuture_ResolveLoop(&self->future) < 0)
        return -1;
    self->coro = Py_NewRef(coro);
    return task_step(self);
}

int
FlTask_Finish(PyObject *obj, PyObject *value)
{
    if (FlFuture_ResolveLoop(&((FlTask *)obj)->future) < 0)
        return -1;
    return task_end((FlTask *)obj, value);
}

/* ---- cancelling ---- */

int
FlTask_CancelWaiting(FlTask *self, PyObject *msg)
{
    FlState *st = self->future.st;
    PyObject *waiting = self->waiting, *res;
    int yes;

    if (waiting == NULL)
        return 0;
    Py_INCREF(waiting);
    if (FlFuture_CheckExact(st, waiting)) {
        yes = FlFuture_Cancel(waiting, msg);
    } else {
        PyObject *args[] = {NULL, waiting, msg ? msg : Py_None};
        PyObject *names = PyTuple_Pack(1, st->str_msg);

        res =
            names == NULL
                ? NULL
                : PyObject_VectorcallMethod(st->str_cancel, args + 1,
                                            1 | PY_VECTORCALL_ARGUMENTS_OFFSET, names);
        Py_XDECREF(names);
        yes = res == NULL ? -1 : PyObject_IsTrue(res);
        Py_XDECREF(res);
    }
    Py_DECREF(waiting);
    return yes;
}

int
FlTask_Cancel(PyObject *obj, PyObject *msg)
{
    FlTask *self = (FlTask *)obj;
    int yes;

    if (FlFuture_Done(obj))
        return 0;
    self->future.log_traceback = false;
    self->cancels++;
    yes = FlTask_CancelWaiting(self, msg);
    if (yes != 0)
        return yes;
    self->must_cancel = true;
    Py_XSETREF(self->future.cancel_message, Py_XNewRef(msg));
    return 1;
}
