/* task_wait.c -- how a task waits, and who knows that it does.
 *
 * A coroutine that waits is held by its loop (`parked`) as well as by the future it
 * waits for: one that nobody else refers to survives the collector until the loop is
 * closed. The loops where something was parked hang on the state; what
 * asyncio.all_tasks() shows of ours are the Tasks in their lists.
 *
 * Layer: core. Threads: the loop's own; the lists are read from any, with the GIL.
 */
#include "core/asyncio_bridge.h"
#include "core/future_parts.h"
#include "core/task_parts.h"

/* ---- parking ---- */

static void
parking_link(FlLoop *loop)
{
    FlLoop **list = &loop->st->parking;

    loop->parking_next = *list;
    loop->parking_prev = list;
    if (*list != NULL)
        (*list)->parking_prev = &loop->parking_next;
    *list = loop;
}

static void
parking_unlink(FlLoop *loop)
{
    if (loop->parking_prev == NULL)
        return;
    *loop->parking_prev = loop->parking_next;
    if (loop->parking_next != NULL)
        loop->parking_next->parking_prev = loop->parking_prev;
    loop->parking_next = NULL;
    loop->parking_prev = NULL;
}

void
FlTask_Park(FlTask *self)
{
    FlLoop *loop = self->future.loop;

    if (self->parked_prev != NULL)
        return;
    if (loop->parking_prev == NULL)
        parking_link(loop);
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
    parking_unlink(loop);
}

/* The Tasks that are parked now, into list from its first place; how many. list NULL:
 * they are only counted. */
static Py_ssize_t
parked_tasks(FlState *st, PyObject *list, Py_ssize_t room)
{
    Py_ssize_t n = 0;

    for (FlLoop *loop = st->parking; loop != NULL; loop = loop->parking_next) {
        for (FlTask *task = loop->parked; task != NULL; task = task->parked_next) {
            if (task->is_gen)
                continue;
            if (list != NULL && n == room)
                return n;
            if (list != NULL)
                PyList_SET_ITEM(list, n, Py_NewRef((PyObject *)task));
            n++;
        }
    }
    return n;
}

PyObject *
FlTask_ParkedFunction(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    FlState *st = FlState_OfModule(module);
    Py_ssize_t n = parked_tasks(st, NULL, 0), found;
    PyObject *list = PyList_New(n);

    if (list == NULL)
        return NULL;
    /* Making the list may have run the collector, and that anything. */
    found = parked_tasks(st, list, n);
    if (found < n && PyList_SetSlice(list, found, n, NULL) < 0)
        Py_CLEAR(list);
    return list;
}

/* ---- waiting ---- */

/* The next step throws the current exception; 0 or -1. */
static int
task_throw_next(FlTask *self)
{
    Py_XSETREF(self->throw_next, PyErr_GetRaisedException());
    return FlLoop_Defer(self->future.loop, FlTask_RingStep, (PyObject *)self);
}

/* cancel() came while the coroutine ran: the future it waits for is cancelled instead.
 */
static int
task_pass_cancel(FlTask *self)
{
    int yes = FlTask_CancelWaiting(self, self->future.note);

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
    if (FlFuture_AddWaiter((PyObject *)future, FlTask_RingStep, (PyObject *)self) < 0)
        return -1;
    Py_XSETREF(self->waiting, Py_NewRef((PyObject *)future));
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

/* Exactly asyncio's: what most drivers and libraries have their callers await. */
static bool
is_asyncios(FlState *st, PyObject *obj)
{
    return Py_IS_TYPE(obj, (PyTypeObject *)st->AsyncioFuture) ||
           Py_IS_TYPE(obj, (PyTypeObject *)st->AsyncioTask);
}

int
FlTask_Wait(FlTask *self, PyObject *yielded)
{
    FlState *st = self->future.st;
    int like, err;

    FlTask_Park(self);
    if (!self->registered && FlAsyncio_KnowTask(st, self) < 0)
        return task_throw_next(self);
    if (yielded == Py_None)
        return FlLoop_Defer(self->future.loop, FlTask_RingStep, (PyObject *)self);
    if (FlFuture_TakesWaiters(st, yielded)) {
        err = task_wait_own(self, (FlFuture *)yielded);
    } else {
        like = is_asyncios(st, yielded) ? 1 : FlFuture_IsFutureLike(st, yielded);
        if (like == 0)
            PyErr_Format(PyExc_RuntimeError, "Task got bad yield: %R", yielded);
        err = like > 0 ? task_wait_foreign(self, yielded) : -1;
    }
    if (err == 0 && self->must_cancel)
        err = task_pass_cancel(self);
    return err < 0 ? task_throw_next(self) : 0;
}

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
