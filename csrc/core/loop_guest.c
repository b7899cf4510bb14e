/* loop_guest.c -- which loop is current, and loops that live inside a foreign one.
 *
 * Where plain asyncio or uvloop runs, a guest carries everything of ours: the host
 * watches its epoll descriptor, holds one timer for its nearest deadline, and gets one
 * call_soon while its ring is not empty. Each of the three ends in the pump, which runs
 * one tick that never blocks. Between ticks the guest counts as sleeping, so other
 * threads ring its eventfd, which the host sees through epoll.
 *
 * The guest hangs on the host as an attribute and owns the host; the collector knows.
 *
 * Layer: core. Threads: the host's own.
 */
#include "core/loop_methods.h"

#define GUEST_ATTRIBUTE "_pyfastloop_guest"

FlLoop *
FlLoop_Running(FlState *st)
{
    return PyThread_tss_get(&st->running);
}

PyObject *
FlLoop_Current(FlState *st)
{
    FlLoop *loop = FlLoop_Running(st);
    PyObject *running;

    if (loop != NULL)
        return Py_NewRef(FlLoop_Face(loop));
    running = PyObject_CallNoArgs(st->get_running_loop);
    if (running != Py_None)
        return running;
    Py_DECREF(running);
    if (st->hook_current_loop != NULL)
        return PyObject_CallNoArgs(st->hook_current_loop);
    PyErr_SetString(
        PyExc_RuntimeError,
        "no loop runs in this thread, and pyfastloop.ioloop, which would make "
        "one, was not imported");
    return NULL;
}

FlLoop *
FlLoop_Get(FlState *st)
{
    FlLoop *loop = FlLoop_Running(st), *found;
    PyObject *current;

    if (loop != NULL)
        return (FlLoop *)Py_NewRef(loop);
    current = FlLoop_Current(st);
    if (current == NULL)
        return NULL;
    found = FlLoop_Of(st, current);
    Py_DECREF(current);
    return found;
}

/* ---- the guest ---- */

/* The host is told of what the tick left behind. */
static int
guest_settle(FlLoop *loop)
{
    bool waiting = !FlLoop_SleepIfEmpty(loop) || FlLoop_HasEvents(loop);

    if ((waiting || loop->ring_head != loop->ring_tail) && FlLoop_GuestPump(loop) < 0)
        return -1;
    return FlLoop_GuestTimer(loop);
}

static PyObject *
guest_tick(PyObject *obj, PyObject *Py_UNUSED(args))
{
    FlLoop *loop = (FlLoop *)obj;
    void *outer = PyThread_tss_get(&loop->st->running);
    PyObject *exc;
    int err;

    if (loop->closed || loop->in_tick)
        Py_RETURN_NONE;
    Py_INCREF(loop);
    Py_CLEAR(loop->host_handle);
    PyThread_tss_set(&loop->st->running, loop);
    loop->in_tick = loop->running = true;
    loop->thread_id = PyThread_get_thread_ident();
    err = FlLoop_RunOnce(loop, false);
    loop->in_tick = loop->running = false;
    PyThread_tss_set(&loop->st->running, outer);
    exc = err < 0 ? PyErr_GetRaisedException() : NULL;
    if (!loop->closed && guest_settle(loop) < 0) {
        if (exc != NULL)
            PyErr_Clear();
        err = -1;
    }
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    Py_DECREF(loop);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The timer of the host fired: it is used up. */
static PyObject *
guest_timer_tick(PyObject *obj, PyObject *Py_UNUSED(args))
{
    Py_CLEAR(((FlLoop *)obj)->host_timer);
    return guest_tick(obj, NULL);
}

static PyMethodDef guest_tick_def = {"pyfastloop_tick", guest_tick, METH_NOARGS, NULL};
static PyMethodDef guest_timer_def = {"pyfastloop_timer", guest_timer_tick, METH_NOARGS,
                                      NULL};

int
FlLoop_GuestPump(FlLoop *loop)
{
    PyObject *tick;

    if (loop->in_tick || loop->host_handle != NULL)
        return 0;
    tick = PyCFunction_New(&guest_tick_def, (PyObject *)loop);
    if (tick == NULL)
        return -1;
    loop->host_handle =
        PyObject_CallMethodOneArg(loop->host, loop->st->str_call_soon, tick);
    Py_DECREF(tick);
    return loop->host_handle == NULL ? -1 : 0;
}

static int
guest_drop_timer(FlLoop *loop)
{
    PyObject *timer = loop->host_timer, *res;

    if (timer == NULL)
        return 0;
    loop->host_timer = NULL;
    res = PyObject_CallMethodNoArgs(timer, loop->st->str_cancel);
    Py_DECREF(timer);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

int
FlLoop_GuestTimer(FlLoop *loop)
{
    fl_timer *next = fl_timers_peek(&loop->timers);
    PyObject *tick, *now, *when = NULL;
    double delay, from = 0;

    if (loop->in_tick || next == NULL ||
        (loop->host_timer != NULL && loop->host_timer_at <= next->when))
        return 0;
    if (guest_drop_timer(loop) < 0)
        return -1;
    delay = ((double)next->when - (double)fl_clock_monotonic()) / 1e9;
    loop->host_timer_at = next->when;
    now = PyObject_CallMethodNoArgs(loop->host, loop->st->str_time);
    if (now != NULL)
        from = PyFloat_AsDouble(now);
    if (!PyErr_Occurred())
        when = PyFloat_FromDouble(from + (delay > 0 ? delay : 0));
    tick = PyCFunction_New(&guest_timer_def, (PyObject *)loop);
    if (when != NULL && tick != NULL)
        loop->host_timer = PyObject_CallMethodObjArgs(loop->host, loop->st->str_call_at,
                                                      when, tick, NULL);
    Py_XDECREF(now);
    Py_XDECREF(when);
    Py_XDECREF(tick);
    return loop->host_timer == NULL ? -1 : 0;
}

int
FlLoop_GuestWatch(FlLoop *loop)
{
    PyObject *tick, *fd, *res = NULL;

    if (loop->host_reading)
        return 0;
    tick = PyCFunction_New(&guest_tick_def, (PyObject *)loop);
    fd = PyLong_FromLong(loop->poller.epfd);
    if (tick != NULL && fd != NULL)
        res = PyObject_CallMethodObjArgs(loop->host, loop->st->str_add_reader, fd, tick,
                                         NULL);
    Py_XDECREF(tick);
    Py_XDECREF(fd);
    Py_XDECREF(res);
    loop->host_reading = res != NULL;
    return res == NULL ? -1 : 0;
}

void
FlLoop_GuestUnwatch(FlLoop *loop)
{
    PyObject *fd = PyLong_FromLong(loop->poller.epfd), *res = NULL;

    if (fd != NULL && loop->host_reading)
        res = PyObject_CallMethodOneArg(loop->host, loop->st->str_remove_reader, fd);
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(loop->host);
    Py_XDECREF(fd);
    Py_XDECREF(res);
    loop->host_reading = false;
}

void
FlLoop_GuestDetach(FlLoop *loop)
{
    FlLoop_GuestUnwatch(loop);
    if (guest_drop_timer(loop) < 0)
        PyErr_WriteUnraisable(loop->host);
}

static FlLoop *
guest_new(FlState *st, PyObject *host)
{
    PyObject *obj = PyObject_CallNoArgs((PyObject *)st->Loop_type);
    FlLoop *loop = (FlLoop *)obj;

    if (loop == NULL)
        return NULL;
    loop->host = Py_NewRef(host);
    loop->sleeping = true;
    if (FlLoop_GuestWatch(loop) == 0 &&
        PyObject_SetAttrString(host, GUEST_ATTRIBUTE, obj) == 0)
        return loop;
    Py_DECREF(loop);
    return NULL;
}

FlLoop *
FlLoop_Of(FlState *st, PyObject *asyncio_loop)
{
    PyObject *guest;

    if (FlLoop_Check(st, asyncio_loop))
        return (FlLoop *)Py_NewRef(asyncio_loop);
    guest = PyObject_GetAttrString(asyncio_loop, GUEST_ATTRIBUTE);
    if (guest != NULL && FlLoop_Check(st, guest))
        return (FlLoop *)guest;
    if (guest == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError))
        return NULL;
    PyErr_Clear();
    Py_XDECREF(guest);
    return guest_new(st, asyncio_loop);
}
