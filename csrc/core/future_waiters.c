/* future_waiters.c -- who is told when a future is done.
 *
 * The first waiter lies in the future itself, an array of others is made when it is
 * needed. What left the future pending takes both out and hands each to the ring; only
 * then are they forgotten, so that nothing they free on the way meets half a list.
 *
 * Layer: core. Threads: the loop's own.
 */
#include <stdlib.h>

#include "core/asyncio_bridge.h"
#include "core/future_parts.h"
#include "core/handle.h"
#include "core/loop_methods.h"
#include "core/stack.h"

#define FIRST_MORE 4

static void
waiter_clear(FlWaiter *w)
{
    FlWaiter old = *w;

    *w = (FlWaiter){0};
    Py_XDECREF(old.obj);
    Py_XDECREF(old.context);
}

/* Takes all waiters out of the future. */
static FlMoreWaiters *
waiters_take(FlFuture *self, FlWaiter *first)
{
    FlMoreWaiters *more = self->more;

    *first = self->first;
    self->first = (FlWaiter){0};
    self->more = NULL;
    return more;
}

static void
waiters_free(FlMoreWaiters *more)
{
    for (uint32_t i = 0; more != NULL && i < more->n; i++)
        waiter_clear(&more->at[i]);
    free(more);
}

void
FlFuture_DropWaiters(FlFuture *self)
{
    FlWaiter first;
    FlMoreWaiters *more = waiters_take(self, &first);

    waiter_clear(&first);
    waiters_free(more);
}

int
FlFuture_PushWaiter(FlFuture *self, FlWaiter waiter)
{
    FlMoreWaiters *more = self->more;

    if (self->first.obj == NULL && more == NULL) {
        self->first = waiter;
    } else {
        if (more == NULL || more->n == more->cap) {
            uint32_t n = more ? more->n : 0, cap = n ? n * 2 : FIRST_MORE;

            more = realloc(more, sizeof *more + cap * sizeof more->at[0]);
            if (more == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            more->n = n;
            more->cap = cap;
            self->more = more;
        }
        more->at[more->n++] = waiter;
    }
    Py_INCREF(waiter.obj);
    Py_XINCREF(waiter.context);
    return 0;
}

/* Hands one callback to the ring of the future's loop. */
static int
future_schedule(FlFuture *self, FlWaiter *w)
{
    PyObject *arg, *res;
    FlLoop *loop = self->loop;

    if (w->run != NULL)
        return FlLoop_Defer(loop, w->run, w->obj);
    arg = FlAsyncio_Tell(self, w->obj);
    if (arg == NULL)
        return -1;
    if (loop->host == NULL)
        return FlLoop_CallSoon(loop, w->obj, &arg, 1, w->context);
    /* The host does not ask the stack contexts about an exception: they go along. */
    PyObject *callback = FlStack_WrapIn(self->st, w->obj, w->context);
    PyObject *args[] = {NULL, loop->host, callback, arg, w->context};
    PyObject *names = PyTuple_Pack(1, self->st->str_context);

    res = callback == NULL || names == NULL
              ? NULL
              : PyObject_VectorcallMethod(self->st->str_call_soon, args + 1,
                                          3 | PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    Py_XDECREF(callback);
    Py_XDECREF(names);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
FlFuture_HandOn(FlFuture *self)
{
    FlWaiter first;
    FlMoreWaiters *more = waiters_take(self, &first);
    PyObject *exc = NULL;

    if (first.obj == NULL && more == NULL)
        return 0;
    if (FlFuture_ResolveLoop(self) < 0 ||
        (self->loop->debug && FlLoop_CheckThread(self->loop) < 0)) {
        exc = PyErr_GetRaisedException();
    } else {
        if (first.obj != NULL && future_schedule(self, &first) < 0)
            exc = PyErr_GetRaisedException();
        for (uint32_t i = 0; more != NULL && i < more->n; i++) {
            if (future_schedule(self, &more->at[i]) == 0)
                continue;
            if (exc == NULL)
                exc = PyErr_GetRaisedException();
            else
                PyErr_Clear();
        }
    }
    waiter_clear(&first);
    waiters_free(more);
    if (exc == NULL)
        return 0;
    PyErr_SetRaisedException(exc);
    return -1;
}

int
FlFuture_ScheduleCallback(FlFuture *self, PyObject *callback, PyObject *context)
{
    FlWaiter w = {.obj = callback, .context = context};

    return future_schedule(self, &w);
}

long
FlFuture_RemoveCallback(FlFuture *self, PyObject *fn)
{
    FlWaiter first;
    FlMoreWaiters *more = waiters_take(self, &first);
    int64_t n = more ? more->n : 0;
    long removed = 0;
    int err = 0;

    for (int64_t i = -1; i < n; i++) {
        FlWaiter *w = i < 0 ? &first : &more->at[i];
        int equal = 0;

        if (w->obj == NULL)
            continue;
        if (w->run == NULL && err == 0)
            equal = PyObject_RichCompareBool(w->obj, fn, Py_EQ);
        if (equal < 0)
            err = -1;
        if (equal > 0)
            removed++;
        else if (self->state != FL_FUTURE_PENDING)
            err = future_schedule(self, w) < 0 ? -1 : err;
        else if (FlFuture_PushWaiter(self, *w) < 0)
            err = -1;
        waiter_clear(w);
    }
    free(more);
    return err < 0 ? -1 : removed;
}

int
FlFuture_AddWaiter(PyObject *obj, fl_run_fn run, PyObject *arg)
{
    FlFuture *self = (FlFuture *)obj;

    if (FlFuture_ResolveLoop(self) < 0)
        return -1;
    if (FlFuture_Done(obj))
        return FlLoop_Defer(self->loop, run, arg);
    return FlFuture_PushWaiter(self, (FlWaiter){.run = run, .obj = arg});
}

int
FlFuture_VisitWaiters(FlFuture *self, visitproc visit, void *arg)
{
    Py_VISIT(self->first.obj);
    Py_VISIT(self->first.context);
    for (uint32_t i = 0; self->more != NULL && i < self->more->n; i++) {
        Py_VISIT(self->more->at[i].obj);
        Py_VISIT(self->more->at[i].context);
    }
    return 0;
}
