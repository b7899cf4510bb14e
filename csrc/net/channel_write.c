/* channel_write.c -- a channel's outgoing side: the queue and the sending of it.
 *
 *      queue:  [ block: small writes copied together ][ a caller's bytes ][ file ] ...
 *
 * A write that finds the queue empty is sent from where it stands; only what the kernel
 * refuses is queued. Large chunks are queued by reference to the object that owns them,
 * so the one copy of a large write is the kernel's. Chunks are sent together by one
 * sendmsg; files between them are channel_file.c's.
 *
 * A write after half a MiB of this tick waits for the next one, which asks epoll first
 * (`yields`): who writes without a pause leaves the others of its loop their turn, and
 * what goes to one of them is received while it still stands in the cache.
 *
 * Where sending runs Python (io->escapes), everything is queued first and sent from there:
 * the queue owns what is being sent, and is not dropped while `sending` (a close in the
 * middle of it leaves that to the sender). What is written meanwhile queues up behind.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/channel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sys/sockets.h"

/* Chunks that go into one sendmsg; well below IOV_MAX, and a kilobyte of stack. */
#define SEND_AT_ONCE 64

/* What a channel sends in one tick before its writes wait. */
#define SEND_A_TICK ((uint32_t)512 * 1024)

fl_queued *
fl_channel_push(FlChannel *ch)
{
    if (ch->queue_len == ch->queue_room) {
        uint32_t room = ch->queue_room == 0 ? 4 : 2 * ch->queue_room;
        fl_queued *queue = malloc(room * sizeof *queue);

        if (queue == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        for (uint32_t i = 0; i < ch->queue_len; i++)
            queue[i] = ch->queue[(ch->queue_at + i) & (ch->queue_room - 1)];
        free(ch->queue);
        ch->queue = queue;
        ch->queue_at = 0;
        ch->queue_room = room;
    }
    ch->queue_len++;
    fl_queued *entry = fl_channel_last(ch);

    memset(entry, 0, sizeof *entry);
    return entry;
}

static void
shrink_empty(FlChannel *ch)
{
    if (ch->queue_len > 0)
        return;
    ch->queue_at = 0;
    if (ch->queue_room > 4) {
        free(ch->queue);
        ch->queue = NULL;
        ch->queue_room = 0;
    }
}

static PyObject *
channel_pop(FlChannel *ch)
{
    fl_queued *entry = fl_channel_first(ch);
    PyObject *owner = entry->owner;

    free(entry->block);
    ch->queue_at = (ch->queue_at + 1) & (ch->queue_room - 1);
    ch->queue_len--;
    shrink_empty(ch);
    return owner;
}

PyObject *
fl_channel_pop_last(FlChannel *ch)
{
    fl_queued *entry = fl_channel_last(ch);
    PyObject *owner = entry->owner;

    free(entry->block);
    ch->queue_len--;
    shrink_empty(ch);
    return owner;
}

void
FlChannel_Trim(FlChannel *ch)
{
    if (ch->queue_len > 0 || ch->queue == NULL || ch->sending)
        return;
    free(ch->queue);
    ch->queue = NULL;
    ch->queue_room = 0;
}

void
fl_channel_drop_queue(FlChannel *ch)
{
    if (ch->sending)
        return; /* its memory is in use: the sender does it */
    while (ch->queue_len > 0) {
        ch->queued -= fl_channel_first(ch)->n;
        Py_XDECREF(channel_pop(ch));
    }
}

/* Chunks of copy_most bytes and more stay with their owner, if they have one. */
static int
enqueue(FlChannel *ch, PyObject *owner, const char *p, size_t n, size_t copy_most)
{
    fl_queued *entry;

    if (n == 0)
        return 0;
    if (owner != NULL && n >= copy_most) {
        entry = fl_channel_push(ch);
        if (entry == NULL)
            return -1;
        entry->p = p;
        entry->owner = Py_NewRef(owner);
    } else {
        entry = ch->queue_len > 0 ? fl_channel_last(ch) : NULL;
        if (entry != NULL && entry->block != NULL) {
            size_t used = (size_t)(entry->p - entry->block) + entry->n;

            if (entry->room - used >= n) {
                memcpy(entry->block + used, p, n);
                entry->n += n;
                ch->queued += n;
                return 0;
            }
        }
        size_t room = n > FL_COPY_MOST ? n : FL_COPY_MOST;
        char *block = malloc(room);

        entry = block == NULL ? NULL : fl_channel_push(ch);
        if (entry == NULL) {
            free(block);
            if (!PyErr_Occurred())
                PyErr_NoMemory();
            return -1;
        }
        memcpy(block, p, n);
        entry->p = entry->block = block;
        entry->room = room;
    }
    entry->n = n;
    ch->queued += n;
    return 0;
}

/* k bytes of the queue's chunks were sent. escapes */
static void
advance(FlChannel *ch, size_t k)
{
    ch->queued -= k;
    ch->total_sent += k;
    ch->loop->stats.bytes_sent += k;
    while (k > 0) {
        fl_queued *entry = fl_channel_first(ch);

        if (k < entry->n) {
            entry->p += k;
            entry->n -= k;
            return;
        }
        k -= entry->n;
        Py_XDECREF(channel_pop(ch));
        if (ch->closed)
            return;
    }
}

/* One sendmsg of the chunks at the front: bytes sent or -errno. */
static ssize_t
send_chunks(FlChannel *ch, size_t *offered)
{
    struct iovec iov[SEND_AT_ONCE];
    ssize_t sent;
    int n = 0;

    *offered = 0;
    for (uint32_t i = 0; i < ch->queue_len && n < SEND_AT_ONCE; i++) {
        fl_queued *entry = &ch->queue[(ch->queue_at + i) & (ch->queue_room - 1)];

        if (entry->p == NULL) {
            ch->more = true;
            break;
        }
        iov[n].iov_base = (char *)entry->p;
        iov[n++].iov_len = entry->n;
        *offered += entry->n;
    }
    ch->sending = ch->io->escapes;
    sent = ch->io->send(ch, iov, n);
    ch->sending = ch->more = false;
    if (ch->closed)
        fl_channel_drop_queue(ch);
    return sent;
}

/* Ends the sending side, all having been sent. 0 or -errno. escapes where io does */
static int
end_sending(FlChannel *ch)
{
    if (ch->io->farewell != NULL)
        ch->io->farewell(ch);
    return ch->watch.fd < 0 ? -ENOTCONN : fl_socket_shutdown_write(ch->watch.fd);
}

int
fl_channel_send_queue(FlChannel *ch, bool tell)
{
    uint64_t before = ch->total_sent;
    size_t slice = FL_FILE_SLICE;

    while (ch->queue_len > 0 && !ch->file_waits && !ch->sending) {
        bool file = fl_channel_first(ch)->p == NULL;
        size_t offered;
        ssize_t sent =
            file ? fl_channel_send_file(ch, &offered) : send_chunks(ch, &offered);

        if (ch->closed)
            return fl_channel_drop_raised();
        if (sent == -EAGAIN || sent == -EWOULDBLOCK)
            break;
        if (sent == FL_IO_RAISED)
            return fl_channel_fail_raised(ch);
        if (sent < 0) {
            fl_channel_fail(ch, (int)-sent);
            break;
        }
        if (file && offered > 0) {
            fl_channel_first(ch)->n -= (size_t)sent;
            ch->queued -= (size_t)sent;
            ch->total_sent += (size_t)sent;
            ch->loop->stats.bytes_sent += (size_t)sent;
            if (fl_channel_first(ch)->n == 0)
                Py_XDECREF(channel_pop(ch));
            if ((size_t)sent >= slice)
                break;
            slice -= (size_t)sent;
        } else if (sent > 0) {
            advance(ch, (size_t)sent);
        }
        if (ch->closed)
            break;
        if ((size_t)sent < offered) {
            /* TLS takes one record at a time, whatever room there is. */
            if (!ch->io->buffers || (size_t)sent >= slice)
                break;
            slice -= (size_t)sent;
        }
    }
    if (!ch->closed && ch->queue_len == 0 && !ch->sending) {
        if (ch->closing) {
            FlChannel_Close(ch, NULL);
        } else if (ch->shutting) {
            ch->shutting = false;
            (void)end_sending(ch);
        }
    }
    if (!tell || ch->closed)
        return 0;
    if (ch->total_sent != before && ch->own->wrote != NULL)
        ch->own->wrote(ch);
    if (PyErr_Occurred())
        return -1;
    if (ch->above && ch->queued <= ch->mark_low) {
        ch->above = false;
        if (!ch->closed && ch->ops != NULL && ch->ops->drained != NULL)
            ch->ops->drained(ch);
    }
    if (ch->total_sent != before && ch->queued == 0 && !ch->closed && ch->ops != NULL &&
        ch->ops->emptied != NULL)
        ch->ops->emptied(ch);
    return PyErr_Occurred() ? -1 : 0;
}

static bool
may_send_now(const FlChannel *ch)
{
    return ch->queue_len == 0 && ch->corked == 0 && !ch->connecting &&
           !ch->write_wants_in && !ch->sending;
}

static bool
had_its_turn(FlChannel *ch)
{
    fl_channel_see_tick(ch);
    return (uint32_t)ch->total_sent - ch->tick_sent >= SEND_A_TICK;
}

/* Leaves the queue to the next tick. A loop that takes no more callbacks: to epoll. */
static void
yield(FlChannel *ch)
{
    FlLoop_AskEpoll(ch->loop);
    fl_channel_defer(ch);
    ch->yields = ch->deferred;
}

int
fl_channel_go_on(FlChannel *ch)
{
    ch->yields = false;
    if (ch->queue_len == 0 || ch->corked > 0 || ch->write_wants_in)
        return 0;
    if (fl_channel_send_queue(ch, true) < 0)
        return -1;
    return fl_channel_settle(ch, true) < 0 ? fl_channel_fail_raised(ch) : 0;
}

int
fl_channel_not_open(FlChannel *ch)
{
    FlState *st = ch->loop->st;
    PyObject *type = FlState_Lazy(st, &st->StreamClosedError, "pyfastloop.iostream",
                                  "StreamClosedError");
    PyObject *exc = NULL;

    if (type != NULL)
        exc = ch->error == NULL ? PyObject_CallNoArgs(type)
                                : PyObject_CallOneArg(type, ch->error);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    return -1;
}

int
fl_channel_queued(FlChannel *ch)
{
    if (ch->queued > ch->mark_high)
        ch->above = true;
    if (ch->corked > 0) {
        if (ch->queued < FL_CORK_MOST || ch->connecting || ch->write_wants_in)
            return 0;
        return fl_channel_send_queue(ch, false);
    }
    return fl_channel_settle(ch, true);
}

int
FlChannel_Writev(FlChannel *ch, const fl_chunk *chunks, int n)
{
    PyObject *owner = Py_NewRef(ch->owner);
    bool free_to_send = may_send_now(ch);
    bool at_once = free_to_send && !had_its_turn(ch);
    /* What is sent from the queue at once is not worth a copy. */
    size_t copy_most = at_once && ch->io->escapes ? 0 : FL_COPY_MOST;
    size_t skip = 0;
    int err = 0;

    if (ch->closed || ch->closing) {
        Py_DECREF(owner);
        return fl_channel_not_open(ch);
    }
    for (int i = 0; i < n; i++)
        ch->total_queued += chunks[i].n;
    if (at_once && !ch->io->escapes && n > 0 && n <= SEND_AT_ONCE) {
        struct iovec iov[SEND_AT_ONCE];
        int used = 0;
        ssize_t sent;

        for (int i = 0; i < n; i++) {
            iov[used].iov_base = (char *)chunks[i].p;
            iov[used].iov_len = chunks[i].n;
            used += chunks[i].n > 0;
        }
        sent = used == 0 || ch->watch.fd < 0 ? -EAGAIN : ch->io->send(ch, iov, used);
        if (ch->closed) {
            err = fl_channel_drop_raised();
            goto done;
        }
        if (sent == FL_IO_RAISED) {
            err = fl_channel_fail_raised(ch);
            goto done;
        }
        if (sent < 0 && sent != -EAGAIN && sent != -EWOULDBLOCK) {
            fl_channel_fail(ch, (int)-sent);
            goto done;
        }
        if (sent > 0) {
            skip = (size_t)sent;
            ch->total_sent += skip;
            ch->loop->stats.bytes_sent += skip;
        }
    }
    for (int i = 0; err == 0 && i < n; i++) {
        size_t k = skip < chunks[i].n ? skip : chunks[i].n;

        skip -= k;
        err = enqueue(ch, chunks[i].owner, chunks[i].p + k, chunks[i].n - k, copy_most);
    }
    if (err < 0) { /* half of it is on its way: nothing may follow that */
        PyObject *exc = PyErr_GetRaisedException();

        FlChannel_Close(ch, exc);
        PyErr_SetRaisedException(exc);
    }
    if (err == 0 && at_once && ch->io->escapes && ch->watch.fd >= 0)
        err = fl_channel_send_queue(ch, false);
    if (free_to_send && !at_once && ch->queue_len > 0 && !ch->closed)
        yield(ch);
    if (err == 0 && ch->queue_len > 0 && !ch->closed)
        err = fl_channel_queued(ch);
done:
    Py_DECREF(owner);
    return err;
}

int
FlChannel_Write(FlChannel *ch, PyObject *owner, const char *p, size_t n)
{
    fl_chunk chunk = {.p = p, .n = n, .owner = owner};

    return FlChannel_Writev(ch, &chunk, 1);
}

int
FlChannel_Append(FlChannel *ch, PyObject *owner, const char *p, size_t n)
{
    if (ch->closed || ch->closing)
        return fl_channel_not_open(ch);
    return enqueue(ch, owner, p, n, FL_COPY_MOST);
}

int
FlChannel_Flush(FlChannel *ch)
{
    PyObject *owner;
    int err = 0;

    if (ch->closed || ch->queue_len == 0 || ch->connecting || ch->write_wants_in)
        return 0;
    owner = Py_NewRef(ch->owner);
    err = fl_channel_send_queue(ch, false);
    if (err == 0)
        err = fl_channel_settle(ch, true);
    Py_DECREF(owner);
    return err;
}

void
FlChannel_Cork(FlChannel *ch)
{
    ch->corked++;
}

void
FlChannel_Uncork(FlChannel *ch)
{
    PyObject *owner;

    if (ch->corked == 0 || --ch->corked > 0 || ch->closed || ch->queue_len == 0)
        return;
    owner = Py_NewRef(ch->owner);
    if (ch->connecting || ch->write_wants_in || fl_channel_send_queue(ch, true) == 0)
        if (fl_channel_settle(ch, true) < 0)
            (void)fl_channel_fail_raised(ch);
    Py_DECREF(owner);
}

void
FlChannel_SetMarks(FlChannel *ch, size_t high, size_t low)
{
    ch->mark_high = high;
    ch->mark_low = low;
    if (ch->queued > high)
        ch->above = true;
}

int
FlChannel_Shutdown(FlChannel *ch)
{
    int err;

    if (ch->closed)
        return fl_channel_not_open(ch);
    if (ch->queue_len > 0 || ch->connecting) {
        ch->shutting = true;
        return 0;
    }
    err = end_sending(ch);
    if (err == 0)
        return 0;
    errno = -err;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}
