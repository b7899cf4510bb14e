/* channel.c -- a channel's life, what it asks of epoll, and the delivery of bytes.
 *
 * The invariant: `watch.owner` is set exactly while something is awaited of the kernel,
 * and then the watch is registered. Everything that delivers takes its own reference to
 * the owner first, so that `ch` stays valid until it returns.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/channel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/listener.h"
#include "sys/sockets.h"

/* How often one event receives before the others have their turn: while the memory
 * offered came back full; and where bytes may sit above the kernel, until -EAGAIN. */
#define READ_ROUNDS 4
#define READ_ROUNDS_ABOVE 16

/* Receives without an event that one channel may do in one tick; and how rare they become
 * (1 in 2 to the power of it) where they give nothing. */
#define TRIES_A_TICK 16
#define MOST_DRY_TRIES 6

/* The tail starts with this much room. */
#define TAIL_LEAST 1024

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
    bool sends =
        ch->queue_len > 0 && ch->corked == 0 && !ch->write_wants_in && !ch->file_waits;

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

static int
ensure_fd(FlChannel *ch)
{
    if (ch->watch.fd >= 0)
        return 0;
    int fd = ch->io->fileno(ch);

    if (fd < 0)
        return -1;
    ch->watch.fd = fd;
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
        if (ensure_fd(ch) < 0)
            return -1;
        if (ch->closed)
            return 0;
        ch->watch.owner = NULL;
        if (FlLoop_Watch(ch->loop, &ch->watch, events) < 0)
            return -1;
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

static void
leave_epoll(FlChannel *ch)
{
    PyObject *owner = held_owner(ch);

    ch->watch.owner = NULL;
    FlLoop_Unwatch(ch->loop, &ch->watch);
    Py_XDECREF(owner);
}

void
FlChannel_Forget(FlChannel *ch)
{
    leave_epoll(ch);
}

/* ---- the tail ---- */

static size_t
tail_len(const FlChannel *ch)
{
    return ch->tail_end - ch->tail_at;
}

/* Room for n bytes behind the tail; NULL with MemoryError. */
static char *
tail_reserve(FlChannel *ch, size_t n)
{
    size_t len = tail_len(ch);
    bool lent = ch->pass != NULL && ch->pass->in_tail && ch->pass->garbage == NULL;
    size_t room;
    char *fresh;

    if (ch->tail_room - ch->tail_end >= n)
        return ch->tail + ch->tail_end;
    if (!lent && ch->tail_at >= len && ch->tail_room - len >= n) {
        memmove(ch->tail, ch->tail + ch->tail_at, len);
        ch->tail_at = 0;
        ch->tail_end = len;
        return ch->tail + len;
    }
    room = ch->tail_room > TAIL_LEAST ? ch->tail_room : TAIL_LEAST;
    while (room - len < n) {
        if (room > PY_SSIZE_T_MAX / 2) {
            PyErr_NoMemory();
            return NULL;
        }
        room *= 2;
    }
    fresh = malloc(room);
    if (fresh == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (len > 0)
        memcpy(fresh, ch->tail + ch->tail_at, len);
    if (lent)
        ch->pass->garbage = ch->tail;
    else
        free(ch->tail);
    ch->tail = fresh;
    ch->tail_at = 0;
    ch->tail_end = len;
    ch->tail_room = room;
    return fresh + len;
}

static int
tail_append(FlChannel *ch, const char *p, size_t n)
{
    char *room;

    if (n == 0)
        return 0;
    room = tail_reserve(ch, n);
    if (room == NULL)
        return -1;
    memcpy(room, p, n);
    ch->tail_end += n;
    return 0;
}

void
FlChannel_Drop(FlChannel *ch, size_t k)
{
    ch->tail_at += k;
    if (ch->tail_at < ch->tail_end)
        return;
    ch->tail_at = ch->tail_end = 0;
    if (ch->pass != NULL && ch->pass->in_tail && ch->pass->garbage == NULL)
        return; /* a consumer is still looking at it */
    free(ch->tail);
    ch->tail = NULL;
    ch->tail_room = 0;
}

int
FlChannel_Unread(FlChannel *ch, const char *p, size_t n)
{
    size_t len = tail_len(ch);

    if (n == 0)
        return 0;
    if (tail_reserve(ch, n) == NULL)
        return -1;
    memmove(ch->tail + ch->tail_at + n, ch->tail + ch->tail_at, len);
    memcpy(ch->tail + ch->tail_at, p, n);
    ch->tail_end += n;
    return 0;
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
        leave_epoll(ch);
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
    leave_epoll(ch);
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
FlChannel_Abort(FlChannel *ch)
{
    if (!ch->closed && ch->io->sendfile && ch->watch.fd >= 0)
        (void)fl_socket_reset_on_close(ch->watch.fd);
    FlChannel_Close(ch, NULL);
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
    if (ensure_fd(ch) < 0)
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

/* ---- delivery ---- */

/* Hands p[0..n) to the consumer's data(); what it leaves becomes the tail. 0 or -1
 * (fatal). escapes */
static int
deliver(FlChannel *ch, const char *p, size_t n, bool in_tail)
{
    struct fl_pass pass = {.p = p, .n = n, .in_tail = in_tail};
    Py_ssize_t took;
    int err = 0;

    ch->pass = &pass;
    took = ch->ops->data(ch, p, n);
    if (took < 0)
        err = fl_channel_fail_raised(ch);
    if (!pass.replaced) {
        size_t k = took < 0 ? pass.took : (size_t)took;

        if (k > n)
            k = n;
        ch->pass = NULL;
        if (in_tail)
            FlChannel_Drop(ch, k);
        else if (tail_append(ch, p + k, n - k) < 0)
            err |= fl_channel_fail_raised(ch);
    }
    ch->pass = NULL;
    free(pass.garbage);
    return err;
}

void
FlChannel_Took(FlChannel *ch, size_t k)
{
    if (ch->pass != NULL)
        ch->pass->took = k;
}

int
FlChannel_SetConsumer(FlChannel *ch, const FlChannelOps *ops, void *self)
{
    struct fl_pass *pass = ch->pass;

    if (pass != NULL && !pass->replaced) {
        size_t k = pass->took < pass->n ? pass->took : pass->n;

        if (pass->in_tail)
            FlChannel_Drop(ch, k);
        else if (tail_append(ch, pass->p + k, pass->n - k) < 0)
            return -1;
        pass->replaced = true;
    }
    ch->ops = ops;
    ch->self = self;
    return 0;
}

static int
offer_tail(FlChannel *ch)
{
    size_t n;
    const char *p = FlChannel_Tail(ch, &n);

    if (n == 0 || ch->ops == NULL)
        return 0;
    return deliver(ch, p, n, true);
}

static int
tell_eof(FlChannel *ch)
{
    ch->eof = true;
    ch->want_read = false;
    ch->unread = false;
    if (ch->ops == NULL || ch->ops->eof == NULL) {
        FlChannel_Close(ch, NULL);
        return 0;
    }
    if (ch->ops->eof(ch) < 0)
        return fl_channel_fail_raised(ch);
    return 0;
}

/* Where the next bytes go: the consumer's memory, the tail's end, or the shared buffer
 * (then *shared, to be given back). io that runs Python meets only the shared buffer,
 * which nothing it may call can free. NULL with an exception. */
static char *
landing(FlChannel *ch, size_t *room, char **shared)
{
    if (!ch->io->escapes) {
        char *memory;

        if (tail_len(ch) > 0) {
            memory = tail_reserve(ch, TAIL_LEAST);
            *room = ch->tail_room - ch->tail_end;
            return memory;
        }
        if (ch->ops != NULL && ch->ops->buffer != NULL) {
            memory = ch->ops->buffer(ch, room);
            if (memory != NULL || PyErr_Occurred())
                return memory;
        }
    }
    return *shared = FlLoop_TakeBuffer(ch->loop, room);
}

/* got bytes stand in memory, as landing() gave it. */
static int
landed(FlChannel *ch, const char *memory, size_t got, bool in_shared)
{
    if (!in_shared && tail_len(ch) > 0) {
        ch->tail_end += got;
        return offer_tail(ch);
    }
    if (!in_shared)
        return ch->ops->filled(ch, got) < 0 ? fl_channel_fail_raised(ch) : 0;
    if (tail_len(ch) == 0 && !ch->closed && ch->ops != NULL)
        return deliver(ch, memory, got, false);
    if (tail_append(ch, memory, got) < 0)
        return fl_channel_fail_raised(ch);
    return ch->closed ? 0 : offer_tail(ch);
}

/* Receives once and delivers. *again: whether asking once more can give something;
 * *dry: that there was nothing at all. */
static int
receive(FlChannel *ch, bool *again, bool *dry)
{
    size_t room = 0;
    char *shared = NULL;
    char *memory = landing(ch, &room, &shared);
    ssize_t got;
    int err = 0;

    *again = *dry = false;
    if (memory == NULL)
        return fl_channel_fail_raised(ch);
    ch->unread = ch->io->buffers;
    got = ch->io->recv(ch, memory, room);
    ch->brimful = got > 0 && (size_t)got == room;
    if (got > 0) {
        ch->loop->stats.bytes_read += (uint64_t)got;
        *again = ch->io->buffers || ch->brimful;
        ch->receiving = true;
        err = landed(ch, memory, (size_t)got, shared != NULL);
        ch->receiving = false;
    }
    if (shared != NULL)
        FlLoop_GiveBuffer(ch->loop, shared);
    if (got > 0)
        return err;
    if (ch->closed)
        return fl_channel_drop_raised();
    ch->unread = false;
    if (got == 0)
        return tell_eof(ch);
    if (got == FL_IO_RAISED)
        return fl_channel_fail_raised(ch);
    *dry = got == -EAGAIN || got == -EWOULDBLOCK;
    if (!*dry)
        fl_channel_fail(ch, (int)-got);
    return 0;
}

/* Reads while it is wanted; the owner is held by the caller. *dry: the last try gave
 * nothing. 0 or -1. */
static int
read_on(FlChannel *ch, bool *dry)
{
    int rounds = ch->io->buffers ? READ_ROUNDS_ABOVE : READ_ROUNDS;
    bool again = true;
    int err = 0;

    while (again && rounds-- > 0 && !ch->closed && ch->want_read) {
        err = receive(ch, &again, dry);
        while (err == 0 && ch->resume && !ch->closed) {
            ch->resume = false;
            err = offer_tail(ch);
        }
        if (err < 0)
            return -1;
    }
    if (ch->unread && ch->want_read && !ch->closed)
        fl_channel_defer(ch);
    return 0;
}

/* Whether the next bytes may well be there, and it is this channel's turn still. */
static bool
worth_a_try(FlChannel *ch)
{
    uint32_t tick = (uint32_t)ch->loop->stats.ticks;

    if (!ch->brimful || ch->closed || ch->eof || ch->connecting || ch->receiving ||
        ch->pass != NULL || ch->io->escapes || ch->watch.fd < 0)
        return false;
    if (ch->spared > 0) {
        ch->spared--;
        return false;
    }
    if (ch->tries_tick != tick) {
        ch->tries_tick = tick;
        ch->tries = 0;
    }
    return ch->tries < TRIES_A_TICK;
}

int
FlChannel_ReadNow(FlChannel *ch)
{
    PyObject *owner;
    bool again, dry;
    int err;

    if (!worth_a_try(ch))
        return 0;
    owner = Py_NewRef(ch->owner);
    ch->tries++;
    err = receive(ch, &again, &dry);
    if (!dry) {
        ch->dry_tries = 0;
    } else { /* it asks and waits, message by message: the tries become rare */
        ch->dry_tries += ch->dry_tries < MOST_DRY_TRIES;
        ch->spared = (uint8_t)((1u << ch->dry_tries) - 1);
    }
    Py_DECREF(owner);
    return err;
}

/* Nobody wants to read and the kernel says the connection is over: what it still has is
 * kept for later reads, then the channel closes. 0 or -1. */
static int
give_up(FlChannel *ch)
{
    ssize_t got;
    int error;

    if (ch->ops != NULL && ch->ops->patient && !ch->want_read && ch->queue_len == 0) {
        leave_epoll(ch);
        return 0;
    }
    while ((got = FlChannel_ReadMore(ch, FL_LOOP_BUFFER)) > 0)
        if (tail_len(ch) > 4 * FL_LOOP_BUFFER)
            break;
    if (ch->closed)
        return fl_channel_drop_raised();
    if (got > 0) {
        leave_epoll(ch); /* the next read registers again and goes on from here */
        return 0;
    }
    if (got == FL_IO_RAISED)
        return fl_channel_fail_raised(ch);
    error = ch->io->error(ch);
    if (error == FL_IO_RAISED)
        return fl_channel_fail_raised(ch);
    if (error > 0)
        fl_channel_fail(ch, error);
    else if (got < 0 && got != -EAGAIN)
        fl_channel_fail(ch, (int)-got);
    else
        FlChannel_Close(ch, NULL);
    return 0;
}

ssize_t
FlChannel_ReadMore(FlChannel *ch, size_t most)
{
    size_t room;
    char *shared;
    ssize_t got;

    if (ensure_fd(ch) < 0)
        return FL_IO_RAISED;
    shared = FlLoop_TakeBuffer(ch->loop, &room);
    if (shared == NULL)
        return FL_IO_RAISED;
    got = ch->io->recv(ch, shared, most < room ? most : room);
    if (got > 0) {
        ch->loop->stats.bytes_read += (uint64_t)got;
        if (tail_append(ch, shared, (size_t)got) < 0)
            got = FL_IO_RAISED;
    }
    FlLoop_GiveBuffer(ch->loop, shared);
    return got;
}

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
    bool readable = over || (events & EPOLLIN);
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
        if (readable && ch->want_read)
            err = read_on(ch, &dry);
        if (err == 0 && !ch->closed && ch->queue_len > 0 && ch->corked == 0 &&
            (over || (events & EPOLLOUT)))
            err = fl_channel_send_queue(ch, true);
        /* dry: the writing end of a pipe whose reader has gone */
        if (err == 0 && !ch->closed && over && (dry || !ch->want_read))
            err = give_up(ch);
        if (err == 0 && !ch->closed)
            if (fl_channel_settle(ch, !readable || wanted) < 0)
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
FlChannel_Resume(FlChannel *ch)
{
    PyObject *owner;
    int err = 0;

    if (ch->pass != NULL) {
        ch->resume = true;
        return 0;
    }
    if (ch->closed)
        return 0;
    owner = Py_NewRef(ch->owner);
    do {
        ch->resume = false;
        err = offer_tail(ch);
    } while (err == 0 && ch->resume && !ch->closed);
    ch->resume = false;
    Py_DECREF(owner);
    return err;
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
    } else if (ch->unread && ch->want_read && ch->pass == NULL) {
        err = read_on(ch, &dry);
        if (err == 0 && fl_channel_settle(ch, true) < 0)
            err = fl_channel_fail_raised(ch);
    }
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
