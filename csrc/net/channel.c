/* channel.c -- a channel's life, what it asks of epoll, and what epoll's events lead to.
 *
 * The invariant: `watch.owner` is set exactly while something is awaited of the kernel,
 * and then the watch is registered. Everything that delivers takes its own reference to
 * the owner first, so that `ch` stays valid until it returns.
 *
 * While a TLS handshake lasts (`shaking`) an event does not receive but takes its place on
 * the ring, and goes behind the others there until its turn has come: so many in a tick
 * that whoever else is heard of meanwhile does not wait for all of them.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/channel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/listener.h"
#include "sys/sockets.h"

static FlChannel *
channel_of(fl_watch *watch)
{
    return (FlChannel *)((char *)watch - offsetof(FlChannel, watch));
}

/* ---- what is asked of epoll ---- */

static bool
awaits(const FlChannel *ch)
{
    if (ch->closed)
        return false;
    return ch->want_read || ch->connecting || (ch->queue_len > 0 && ch->corked == 0);
}

static uint32_t
wanted_events(const FlChannel *ch)
{
    uint32_t events = 0;
    bool sends = ch->queue_len > 0 && ch->corked == 0 && !ch->write_wants_in &&
                 !ch->file_waits && !ch->yields;

    if (ch->want_read || ch->write_wants_in)
        events |= EPOLLIN;
    if (ch->connecting || sends || ch->read_wants_out)
        events |= EPOLLOUT;
    return events;
}

/* The reference that the loop holds while registered, if it holds one now. A loop that
 * was closed has dropped it together with the registration. */
static PyObject *
held_owner(const FlChannel *ch)
{
    return FlLoop_Watched(&ch->watch) ? ch->watch.owner : NULL;
}

static void
set_held(FlChannel *ch, bool held)
{
    PyObject *owner = held_owner(ch);

    if (!FlLoop_Watched(&ch->watch))
        return;
    if (held && owner == NULL)
        ch->watch.owner = Py_NewRef(ch->owner);
    if (!held && owner != NULL) {
        ch->watch.owner = NULL;
        Py_DECREF(owner);
    }
}

int
fl_channel_ensure_fd(FlChannel *ch)
{
    if (ch->watch.fd >= 0)
        return 0;
    int fd = ch->io->fileno(ch);

    if (fd < 0)
        return -1;
    ch->watch.fd = fd;
    return 0;
}

/* The loop did not take the descriptor. A file, or /dev/null, epoll refuses with EPERM: it
 * is always ready, and is read from the ring. 0; or -1, the exception stays set. */
static int
goes_unpolled(FlChannel *ch)
{
    if (!ch->unpolled &&
        (ch->io->escapes || !PyErr_ExceptionMatches(PyExc_PermissionError)))
        return -1;
    PyErr_Clear();
    ch->unpolled = true;
    if (ch->want_read) {
        ch->unread = true;
        fl_channel_defer(ch);
    }
    return 0;
}

int
fl_channel_settle(FlChannel *ch, bool lazily)
{
    uint32_t events, now;

    if (ch->closed)
        return 0;
    events = wanted_events(ch);
    now = ch->watch.events;
    if (!FlLoop_Watched(&ch->watch)) {
        if (events == 0)
            return 0;
        if (fl_channel_ensure_fd(ch) < 0)
            return -1;
        if (ch->closed)
            return 0;
        ch->watch.owner = NULL;
        if (ch->unpolled || FlLoop_Watch(ch->loop, &ch->watch, events) < 0)
            return goes_unpolled(ch);
    } else {
        if (lazily)
            events |= now & EPOLLIN;
        if (events != (now & (EPOLLIN | EPOLLOUT)) &&
            FlLoop_Rewatch(ch->loop, &ch->watch, events) < 0)
            return -1;
    }
    set_held(ch, awaits(ch));
    return 0;
}

void
fl_channel_leave_epoll(FlChannel *ch)
{
    PyObject *owner = held_owner(ch);

    ch->watch.owner = NULL;
    FlLoop_Unwatch(ch->loop, &ch->watch);
    Py_XDECREF(owner);
}

void
FlChannel_Forget(FlChannel *ch)
{
    fl_channel_leave_epoll(ch);
}

/* ---- life ---- */

static int channel_ready(FlLoop *loop, fl_watch *watch, uint32_t events);

void
FlChannel_Init(FlChannel *ch, FlLoop *loop, PyObject *owner,
               const FlChannelOwnerOps *own, const FlChannelIO *io, int fd)
{
    memset(ch, 0, sizeof *ch);
    ch->watch.fd = fd;
    ch->watch.ready = channel_ready;
    ch->watch.guess = io->guess;
    ch->loop = (FlLoop *)Py_NewRef((PyObject *)loop);
    ch->owner = owner;
    ch->own = own;
    ch->io = io;
    loop->stats.open++;
}

void
FlChannel_Clear(FlChannel *ch)
{
    if (ch->loop == NULL)
        return;
    if (!ch->closed) {
        ch->closed = ch->told = true;
        ch->loop->stats.open--;
        fl_channel_leave_epoll(ch);
        if (ch->watch.fd >= 0)
            ch->io->close(ch);
        ch->watch.fd = -1;
        FlListener_DescriptorFreed(ch->loop);
    }
    fl_channel_drop_queue(ch);
    free(ch->queue);
    ch->queue = NULL;
    ch->queue_room = 0;
    free(ch->tail);
    ch->tail = NULL;
    ch->tail_at = ch->tail_end = ch->tail_room = 0;
    ch->ops = NULL;
    Py_CLEAR(ch->error);
    Py_CLEAR(ch->loop);
}

int
FlChannel_Traverse(FlChannel *ch, visitproc visit, void *arg)
{
    Py_VISIT(ch->loop);
    Py_VISIT(ch->error);
    for (uint32_t i = 0; i < ch->queue_len; i++)
        Py_VISIT(ch->queue[(ch->queue_at + i) & (ch->queue_room - 1)].owner);
    return 0;
}

void
fl_channel_defer(FlChannel *ch)
{
    PyObject *pending;

    if (ch->deferred)
        return;
    pending = PyErr_GetRaisedException();
    if (FlLoop_Defer(ch->loop, ch->own->deferred, ch->owner) == 0)
        ch->deferred = true;
    else
        PyErr_Clear(); /* the loop is closed: nobody is left to be told */
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

/* The part of closing that leaves the descriptor alone. */
static void
close_down(FlChannel *ch, PyObject *exc, bool close_fd)
{
    PyObject *pending = PyErr_GetRaisedException();
    PyObject *owner = Py_NewRef(ch->owner);

    ch->closed = true;
    ch->want_read = ch->connecting = ch->read_wants_out = ch->write_wants_in = false;
    ch->unread = ch->file_waits = false;
    ch->error = Py_XNewRef(exc);
    ch->loop->stats.open--;
    fl_channel_leave_epoll(ch);
    if (close_fd)
        ch->io->close(ch);
    if (PyErr_Occurred()) { /* a fatal one, while closing: nobody here can raise it */
        if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
            PyErr_Clear();
            PyErr_SetInterrupt();
        } else {
            PyErr_WriteUnraisable(owner);
        }
    }
    ch->watch.fd = -1;
    fl_channel_drop_queue(ch);
    if (close_fd)
        FlListener_DescriptorFreed(ch->loop);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
    Py_DECREF(owner);
}

void
FlChannel_Close(FlChannel *ch, PyObject *exc)
{
    PyObject *owner;

    if (ch->closed)
        return;
    owner = Py_NewRef(ch->owner);
    close_down(ch, exc, true);
    fl_channel_defer(ch);
    Py_DECREF(owner);
}

void
FlChannel_CloseAfterWrites(FlChannel *ch)
{
    if (ch->closed)
        return;
    if (ch->queue_len == 0) {
        FlChannel_Close(ch, NULL);
        return;
    }
    ch->closing = true;
    ch->want_read = false;
}

int
FlChannel_Release(FlChannel *ch)
{
    int fd;

    if (ch->closed || ch->queue_len > 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        ch->closed ? "the stream is closed"
                                   : "the stream still has bytes to write");
        return -1;
    }
    if (fl_channel_ensure_fd(ch) < 0)
        return -1;
    fd = ch->watch.fd;
    ch->told = true;
    close_down(ch, NULL, false);
    return fd;
}

void
fl_channel_fail(FlChannel *ch, int error)
{
    PyObject *pending = PyErr_GetRaisedException();
    PyObject *exc;

    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    exc = PyErr_GetRaisedException();
    FlChannel_Close(ch, exc);
    Py_XDECREF(exc);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

int
fl_channel_fail_raised(FlChannel *ch)
{
    bool fatal = FlError_IsFatal();
    PyObject *exc = PyErr_GetRaisedException();

    FlChannel_Close(ch, exc);
    if (fatal) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    Py_XDECREF(exc);
    return 0;
}

int
fl_channel_drop_raised(void)
{
    if (PyErr_Occurred() && FlError_IsFatal())
        return -1;
    PyErr_Clear();
    return 0;
}

/* ---- events ---- */

static int
connect_ended(FlChannel *ch)
{
    int error = ch->io->error(ch);

    ch->connecting = false;
    if (error == FL_IO_RAISED) {
        if (fl_channel_fail_raised(ch) < 0)
            return -1;
    } else if (error != 0) {
        fl_channel_fail(ch, error < 0 ? -error : error);
    }
    if (ch->own->connected != NULL)
        ch->own->connected(ch);
    return PyErr_Occurred() ? -1 : 0;
}

static int
channel_ready(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    FlChannel *ch = channel_of(watch);
    PyObject *owner = Py_NewRef(ch->owner);
    bool over = (events & (EPOLLERR | EPOLLHUP)) != 0;
    bool guessed = events == 0;
    bool readable = over || guessed || (events & EPOLLIN);
    bool wanted = ch->want_read;
    bool dry = false;
    int err = 0;

    (void)loop;
    if (ch->connecting && (over || (events & EPOLLOUT)))
        err = connect_ended(ch);
    if (err == 0 && !ch->closed && !ch->connecting) {
        if (ch->read_wants_out && (events & EPOLLOUT)) {
            ch->read_wants_out = false;
            readable = true;
        }
        if (ch->write_wants_in && (events & EPOLLIN)) {
            ch->write_wants_in = false;
            events |= EPOLLOUT;
        }
        if (readable && ch->want_read && !ch->shaking) {
            err = fl_channel_read_on(ch, &dry);
        } else if (readable && ch->want_read && !guessed) {
            ch->unread = true;
            fl_channel_defer(ch);
        }
        if (err == 0 && !ch->closed && ch->queue_len > 0 && ch->corked == 0 &&
            (over || (events & EPOLLOUT)))
            err = fl_channel_send_queue(ch, true);
        /* dry: the writing end of a pipe whose reader has gone */
        if (err == 0 && !ch->closed && over && (dry || !ch->want_read))
            err = fl_channel_give_up(ch);
        if (err == 0 && !ch->closed)
            if (fl_channel_settle(ch, !readable || guessed || wanted) < 0)
                err = fl_channel_fail_raised(ch);
    }
    Py_DECREF(owner);
    return err;
}

int
FlChannel_WantRead(FlChannel *ch, bool wanted)
{
    if (ch->closed || ch->want_read == wanted || (wanted && ch->eof))
        return 0;
    ch->want_read = wanted;
    if (!wanted) {
        set_held(ch, awaits(ch));
        return 0;
    }
    if (ch->connecting)
        return 0;
    if (fl_channel_settle(ch, true) < 0) {
        ch->want_read = false;
        return -1;
    }
    if (ch->unread)
        fl_channel_defer(ch);
    return 0;
}

int
FlChannel_Deferred(FlChannel *ch)
{
    PyObject *owner = Py_NewRef(ch->owner);
    bool dry;
    int err = 0;

    ch->deferred = false;
    if (ch->closed) {
        if (!ch->told) {
            ch->told = true;
            if (ch->ops != NULL && ch->ops->closed != NULL)
                ch->ops->closed(ch, ch->error);
            if (!PyErr_Occurred() && ch->own->closed != NULL)
                ch->own->closed(ch, ch->error);
            err = PyErr_Occurred() ? -1 : 0;
        }
    } else if (ch->unread && ch->want_read && ch->shaking &&
               !FlLoop_MayStep(ch->loop)) {
        fl_channel_defer(ch);
    } else if (ch->unread && ch->want_read && ch->pass == NULL) {
        err = fl_channel_read_on(ch, &dry);
        if (err == 0 && fl_channel_settle(ch, true) < 0)
            err = fl_channel_fail_raised(ch);
    }
    if (err == 0 && ch->yields && !ch->closed)
        err = fl_channel_go_on(ch);
    if (err == 0 && ch->file_waits)
        err = fl_channel_file_fetched(ch);
    Py_DECREF(owner);
    return err;
}

int
FlChannel_AwaitConnect(FlChannel *ch)
{
    ch->connecting = true;
    if (fl_channel_settle(ch, true) == 0)
        return 0;
    ch->connecting = false;
    return -1;
}
