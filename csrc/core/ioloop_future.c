/* ioloop_future.c -- IOLoop.add_future, for futures of every kind, and the log of what
 * nobody waits for.
 *
 * A future of our own owns the handle as a waiter of C; one of asyncio runs it from the
 * loop that it belongs to; one of concurrent.futures hands it over from its thread.
 *
 * Layer: core. Threads: the loop's own; a concurrent future's callback from any.
 */
#include "core/ioloop_parts.h"

#include "core/future.h"
#include "core/stack.h"
#include "core/task_parts.h"

/* (future, callable, stack contexts, loop): logs what the future ends with. */
static int
ioloop_log_outcome(FlLoop *loop, PyObject *outcome)
{
    PyObject *future = PyTuple_GET_ITEM(outcome, 0);
    PyObject *value = FlGen_ResultOf(loop->st, future);

    if (value == NULL) {
        if (FlError_IsFatal())
            return -1;
        if (PyErr_ExceptionMatches(loop->st->CancelledError))
            PyErr_Clear();
        else if (!FlStack_Settle(loop->st, NULL, PyTuple_GET_ITEM(outcome, 2)))
            FlLoop_LogException(loop, "Exception in callback",
                                PyTuple_GET_ITEM(outcome, 1));
    }
    Py_XDECREF(value);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *
ioloop_outcome_callback(PyObject *outcome, PyObject *Py_UNUSED(future))
{
    if (ioloop_log_outcome((FlLoop *)PyTuple_GET_ITEM(outcome, 3), outcome) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef ioloop_outcome_def = {"log_outcome", ioloop_outcome_callback, METH_O,
                                         NULL};

static int
ioloop_on_done(FlState *st, PyObject *future, PyMethodDef *def, PyObject *self)
{
    PyObject *callback = PyCFunction_New(def, self);
    PyObject *res =
        callback == NULL
            ? NULL
            : PyObject_CallMethodOneArg(future, st->str_add_done_callback, callback);

    Py_XDECREF(callback);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
FlLoop_LogWhenDone(FlLoop *loop, PyObject *future, PyObject *callable)
{
    PyObject *contexts = FlStack_Get(loop->st);
    PyObject *outcome = PyTuple_Pack(4, future, callable ? callable : Py_None,
                                     contexts ? contexts : loop->st->empty_tuple, loop);
    int err;

    Py_XDECREF(contexts);
    if (outcome == NULL)
        return -1;
    if (FlFuture_TakesWaiters(loop->st, future))
        err = FlFuture_AddWaiter(future, ioloop_log_outcome, outcome);
    else
        err = ioloop_on_done(loop->st, future, &ioloop_outcome_def, outcome);
    Py_DECREF(outcome);
    return err;
}

/* A future of asyncio is done: its callbacks run inside the loop already. */
static PyObject *
ioloop_run_now(PyObject *handle, PyObject *Py_UNUSED(future))
{
    if (FlHandle_Run(((FlHandle *)handle)->loop, handle) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A future of concurrent.futures is done, in whatever thread. */
static PyObject *
ioloop_run_later(PyObject *handle, PyObject *Py_UNUSED(future))
{
    FlLoop *loop = ((FlHandle *)handle)->loop;

    if (FlLoop_DeferThreadsafe(loop, FlHandle_Run, handle) < 0 && !loop->closed)
        return NULL;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyMethodDef ioloop_now_def = {"future_done", ioloop_run_now, METH_O, NULL};
static PyMethodDef ioloop_later_def = {"future_done", ioloop_run_later, METH_O, NULL};

/* The future belongs to another loop: the handle crosses over to its own. */
static int
ioloop_cross(FlLoop *Py_UNUSED(loop), PyObject *handle)
{
    return FlLoop_DeferThreadsafe(((FlHandle *)handle)->loop, FlHandle_Run, handle);
}

PyObject *
FlIOLoop_add_future(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kw)
{
    FlLoop *loop = FlIOLoop_Loop(self);
    FlState *st = ((FlIOLoop *)self)->st;
    PyObject *bound[3] = {NULL, NULL, NULL};
    FlHandle *handle;
    int err, like;

    if (loop == NULL)
        return NULL;
    if (nargs + (kw ? PyTuple_GET_SIZE(kw) : 0) != 2) {
        PyErr_SetString(PyExc_TypeError, "add_future() takes a future and a callback");
        return NULL;
    }
    bound[0] = args[0];
    bound[1] = args[1];
    if (kw != NULL && PyTuple_GET_SIZE(kw) == 2 &&
        PyUnicode_Compare(PyTuple_GET_ITEM(kw, 0), st->str_callback) == 0) {
        bound[0] = args[1];
        bound[1] = args[0];
    }
    bound[2] = bound[0];
    handle = FlIOLoop_Handle(loop, bound + 1, 2, NULL);
    if (handle == NULL)
        return NULL;
    like = FlFuture_IsFutureLike(st, bound[0]);
    if (like < 0) {
        err = -1;
    } else if (FlFuture_TakesWaiters(st, bound[0])) {
        FlFuture *future = (FlFuture *)bound[0];

        if (future->loop == NULL)
            future->loop = (FlLoop *)Py_NewRef(loop);
        if (FlFuture_Done(bound[0]) && future->loop != loop)
            err = FlLoop_DeferThreadsafe(loop, FlHandle_Run, (PyObject *)handle);
        else
            err = FlFuture_AddWaiter(bound[0],
                                     future->loop == loop ? FlHandle_Run : ioloop_cross,
                                     (PyObject *)handle);
    } else if (like > 0) {
        err = ioloop_on_done(st, bound[0], &ioloop_now_def, (PyObject *)handle);
    } else {
        int concurrent = PyObject_IsInstance(bound[0], st->ConcurrentFuture);

        if (concurrent == 0)
            PyErr_Format(PyExc_TypeError, "add_future() takes a future, got %R",
                         bound[0]);
        err = concurrent <= 0
                  ? -1
                  : ioloop_on_done(st, bound[0], &ioloop_later_def, (PyObject *)handle);
    }
    Py_DECREF(handle);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}
