/* loop_queue.c -- what others hang on a loop: ring, timers, watches, buffer.
 *
 * What is queued or armed is owned here, each by exactly one reference; close() lets go
 * of all of it. The ring's head and tail count up for ever and are masked on use, so
 * full and empty never look alike.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>

#include "core/handle.h"
#include "core/loop_methods.h"
#include "core/view.h"

#define FIRST_RING 64

/* ---- ring ---- */

int
FlLoop_ReserveRing(FlLoop *loop, size_t n)
{
    size_t used = loop->ring_tail - loop->ring_head;
    size_t size = loop->ring != NULL ? loop->ring_mask + 1 : 0;
    FlReady *ring;

    if (used + n <= size)
        return 0;
    size = size ? size : FIRST_RING;
    while (size < used + n)
        size *= 2;
    ring = malloc(size * sizeof *ring);
    if (ring == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = loop->ring_head; i != loop->ring_tail; i++)
        ring[i & (size - 1)] = loop->ring[i & loop->ring_mask];
    free(loop->ring);
    loop->ring = ring;
    loop->ring_mask = size - 1;
    return 0;
}

int
FlLoop_Defer(FlLoop *loop, fl_run_fn run, PyObject *obj)
{
    if (loop->closed)
        return FlLoop_CheckOpen(loop);
    /* What is in the inbox came before, from this thread too. */
    if (loop->inbox_len != 0 && FlLoop_TakeInbox(loop) < 0)
        return -1;
    if ((loop->ring == NULL || loop->ring_tail - loop->ring_head > loop->ring_mask) &&
        FlLoop_ReserveRing(loop, 1) < 0)
        return -1;
    loop->ring[loop->ring_tail++ & loop->ring_mask] =
        (FlReady){.run = run, .obj = Py_XNewRef(obj)};
    if (loop->host != NULL && FlLoop_GuestPump(loop) < 0) {
        /* The host was closed, say: what cannot run is not kept either. */
        FlReady *last = &loop->ring[(loop->ring_tail - 1) & loop->ring_mask];

        if (loop->ring_head != loop->ring_tail && last->run == run &&
            last->obj == obj) {
            loop->ring_tail--;
            Py_XDECREF(obj);
        }
        return -1;
    }
    return 0;
}

/* ---- timers ---- */

int
FlLoop_Arm(FlLoop *loop, fl_loop_timer *timer, uint64_t when)
{
    bool armed = fl_timer_armed(&timer->node);

    if (loop->closed)
        return FlLoop_CheckOpen(loop);
    /* One that arms itself again while due timers are collected waits for the next
     * tick. */
    if (loop->firing && when <= loop->now)
        when = loop->now + 1;
    if (fl_timers_arm(&loop->timers, &timer->node, when) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (!armed)
        Py_XINCREF(timer->owner);
    if (loop->host != NULL && FlLoop_GuestTimer(loop) < 0) {
        PyObject *exc = PyErr_GetRaisedException();

        FlLoop_Disarm(loop, timer);
        PyErr_SetRaisedException(exc);
        return -1;
    }
    return 0;
}

void
FlLoop_Disarm(FlLoop *loop, fl_loop_timer *timer)
{
    if (!fl_timer_armed(&timer->node))
        return;
    fl_timers_cancel(&loop->timers, &timer->node);
    Py_XDECREF(timer->owner);
}

/* ---- watches ---- */

static int
watch_failed(const fl_watch *watch, int err)
{
    if (err == -EEXIST) {
        PyErr_Format(
            PyExc_RuntimeError,
            "File descriptor %d is watched already: by a stream, a transport or "
            "another handler of this loop",
            watch->fd);
        return -1;
    }
    errno = -err;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int
watch_forked(FlLoop *loop)
{
    if (!fl_poller_forked(&loop->poller))
        return 0;
    PyErr_Format(
        PyExc_RuntimeError,
        "This loop was made in process %d and cannot be used in its fork: make "
        "loops after forking, in each child its own",
        loop->poller.process);
    return -1;
}

int
FlLoop_Watch(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    int err;

    if (FlLoop_CheckOpen(loop) < 0 || watch_forked(loop) < 0)
        return -1;
    err = fl_poller_add(&loop->poller, watch, events);
    if (err == -EEXIST && fl_poller_find(&loop->poller, watch->fd)->idle) {
        FlLoop_Unwatch(loop, fl_poller_find(&loop->poller, watch->fd));
        err = fl_poller_add(&loop->poller, watch, events);
    }
    if (err < 0)
        return watch_failed(watch, err);
    Py_XINCREF((PyObject *)watch->owner);
    if (loop->host != NULL && FlLoop_GuestWatch(loop) < 0) {
        FlLoop_Unwatch(loop, watch);
        return -1;
    }
    return 0;
}

int
FlLoop_Rewatch(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    int err;

    if (watch->events == events)
        return 0;
    if (watch_forked(loop) < 0)
        return -1;
    err = fl_poller_change(&loop->poller, watch, events);
    return err < 0 ? watch_failed(watch, err) : 0;
}

void
FlLoop_Unwatch(FlLoop *loop, fl_watch *watch)
{
    PyObject *owner = watch->owner;

    if (!FlLoop_Watched(watch))
        return;
    /* In a forked child epoll_ctl would take the descriptor from the parent. */
    if (fl_poller_forked(&loop->poller))
        fl_poller_forget(&loop->poller, watch);
    else
        fl_poller_remove(&loop->poller, watch);
    Py_XDECREF(owner);
}

int
FlLoop_Stray(FlLoop *loop, const struct epoll_event *event)
{
    if (!fl_poller_stray(&loop->poller, event))
        return 0;
    if (loop->host == NULL) {
        (void)fl_poller_renew(&loop->poller); /* or at the next one */
        return 0;
    }
    FlLoop_GuestUnwatch(loop);
    (void)fl_poller_renew(&loop->poller);
    return FlLoop_GuestWatch(loop);
}

/* ---- the receive buffer ---- */

char *
FlLoop_TakeBuffer(FlLoop *loop, size_t *n)
{
    char *buffer = loop->buffer;

    *n = FL_LOOP_BUFFER;
    loop->buffer = NULL;
    if (buffer == NULL)
        buffer = malloc(FL_LOOP_BUFFER);
    if (buffer == NULL)
        PyErr_NoMemory();
    loop->taken = buffer;
    return buffer;
}

/* Puts another view (stolen, nullable) of memory p in the place of the loop's. */
static void
set_view(FlLoop *loop, PyObject *view, char *p)
{
    PyObject *old = loop->view;

    loop->view = view;
    loop->viewed = p;
    FlView_End(old);
}

void
FlLoop_FreeBuffer(FlLoop *loop, char *buffer)
{
    if (loop->viewed == buffer)
        set_view(loop, NULL, NULL);
    free(buffer);
}

void
FlLoop_GiveBuffer(FlLoop *loop, char *buffer)
{
    loop->taken = NULL;
    if (loop->buffer == NULL && !loop->closed)
        loop->buffer = buffer;
    else
        FlLoop_FreeBuffer(loop, buffer);
}

/* One that somebody has kept ends before it would be lent again. */
PyObject *
FlLoop_ViewBuffer(FlLoop *loop, char *p)
{
    PyObject *view;

    if (p != loop->taken)
        return NULL;
    if (loop->viewed == p && Py_REFCNT(loop->view) == 1)
        return Py_NewRef(loop->view);
    view = PyMemoryView_FromMemory(p, FL_LOOP_BUFFER, PyBUF_WRITE);
    if (view == NULL)
        return NULL;
    set_view(loop, Py_NewRef(view), p);
    return view;
}

int
FlLoop_CallSoon(FlLoop *loop, PyObject *callable, PyObject *const *args,
                Py_ssize_t nargs, PyObject *context)
{
    FlHandle *handle = FlHandle_New(loop, callable, args, nargs, context);
    int err;

    if (handle == NULL)
        return -1;
    err = FlLoop_Defer(loop, FlHandle_Run, (PyObject *)handle);
    Py_DECREF(handle);
    return err;
}
