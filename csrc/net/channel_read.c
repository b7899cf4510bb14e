/* channel_read.c -- a channel's incoming side: where bytes land, and how they are handed on.
 *
 * One receive goes to one of three places (landing()): behind a tail that is there, into
 * memory of the consumer, or into the loop's shared buffer, of which what the consumer
 * leaves is copied into the tail. A tail that was taken is freed: an idle channel has none.
 *
 * While io that runs Python (TLS) receives into memory of the consumer, this file holds
 * its keeper; and if it is no longer where the consumer wants its next bytes afterwards
 * (the read was cancelled, say), what has come goes to the tail.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/channel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How often one event receives before the others have their turn: while a receive gives
 * all it can, or bytes sit above the kernel; more often where it gives little at once. */
#define READ_ROUNDS 4
#define READ_ROUNDS_PIECES 16

/* Receives without an event that one channel may do in one tick; and how rare they become
 * (1 in 2 to the power of it) where they give nothing. */
#define TRIES_A_TICK 16
#define MOST_DRY_TRIES 6

/* The tail starts with this much room. */
#define TAIL_LEAST 1024

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

/* Where one receive goes. */
struct landing {
    char *memory;
    size_t room;
    bool shared;      /* the loop's buffer, to be given back */
    PyObject *keeper; /* owned: memory of the consumer while Python may run, or NULL */
};

/* The consumer's memory, the tail's end, or the shared buffer. io that runs Python is not
 * let near the tail, which code that it runs may free. 0 or -1 with an exception. */
static int
find_landing(FlChannel *ch, struct landing *at)
{
    bool escapes = ch->io->escapes;

    if (tail_len(ch) > 0 && !escapes) {
        at->memory = tail_reserve(ch, TAIL_LEAST);
        at->room = ch->tail_room - ch->tail_end;
        return at->memory == NULL ? -1 : 0;
    }
    if (tail_len(ch) == 0 && ch->ops != NULL && ch->ops->buffer != NULL &&
        (!escapes || ch->ops->keeper != NULL)) {
        at->memory = ch->ops->buffer(ch, &at->room);
        if (at->memory != NULL && escapes) {
            at->keeper = ch->ops->keeper(ch);
            if (at->keeper == NULL)
                at->memory = NULL;
        }
        if (PyErr_Occurred())
            return -1;
        /* A file gives all that there is room for, however long that takes. */
        if (ch->unpolled && at->room > FL_LOOP_BUFFER)
            at->room = FL_LOOP_BUFFER;
        if (at->memory != NULL)
            return 0;
    }
    at->shared = true;
    at->memory = FlLoop_TakeBuffer(ch->loop, &at->room);
    if (ch->bite > 0 && at->room > ch->bite)
        at->room = ch->bite;
    return at->memory == NULL ? -1 : 0;
}

/* After code that may have changed everything: whether the consumer still wants its next
 * bytes, and as many as have landed, where they are. */
static bool
still_wanted(FlChannel *ch, const struct landing *at, size_t got)
{
    size_t room;

    return !ch->closed && tail_len(ch) == 0 && ch->ops != NULL &&
           ch->ops->buffer != NULL && ch->ops->buffer(ch, &room) == at->memory &&
           got <= room;
}

/* got bytes stand where find_landing() said. */
static int
landed(FlChannel *ch, struct landing *at, size_t got)
{
    bool own = !at->shared;

    if (own && at->keeper == NULL && tail_len(ch) > 0) {
        ch->tail_end += got;
        return offer_tail(ch);
    }
    if (at->keeper != NULL)
        own = still_wanted(ch, at, got);
    if (own) {
        Py_CLEAR(at->keeper);
        return ch->ops->filled(ch, got) < 0 ? fl_channel_fail_raised(ch) : 0;
    }
    if (PyErr_Occurred()) /* buffer() had no memory to give */
        return fl_channel_fail_raised(ch);
    if (at->shared && tail_len(ch) == 0 && !ch->closed && ch->ops != NULL)
        return deliver(ch, at->memory, got, false);
    if (tail_append(ch, at->memory, got) < 0)
        return fl_channel_fail_raised(ch);
    return ch->closed ? 0 : offer_tail(ch);
}

/* Receives once and delivers. *again: whether asking once more can give something;
 * *dry: that there was nothing at all. */
static int
receive(FlChannel *ch, bool *again, bool *dry)
{
    struct landing at = {0};
    bool nested = ch->receiving;
    ssize_t got;
    int err = 0;

    *again = *dry = false;
    if (find_landing(ch, &at) < 0)
        return fl_channel_fail_raised(ch);
    ch->unread = ch->io->buffers;
    ch->holds = false;
    got = ch->io->recv(ch, at.memory, at.room);
    ch->brimful = got > 0 && ((size_t)got == at.room || (size_t)got == ch->io->piece);
    if (got > 0) {
        ch->loop->stats.bytes_read += (uint64_t)got;
        ch->unread = ch->holds;
        *again = ch->holds || ch->brimful;
        ch->receiving = true;
        err = landed(ch, &at, (size_t)got);
        ch->receiving = nested;
    }
    if (at.shared)
        FlLoop_GiveBuffer(ch->loop, at.memory);
    if (got > 0) {
        Py_XDECREF(at.keeper);
        return err;
    }
    if (ch->closed) {
        err = fl_channel_drop_raised();
    } else if (got == 0) {
        ch->unread = false;
        err = tell_eof(ch);
    } else if (got == FL_IO_RAISED) {
        ch->unread = false;
        err = fl_channel_fail_raised(ch);
    } else {
        ch->unread = false;
        *dry = got == -EAGAIN || got == -EWOULDBLOCK;
        if (!*dry)
            fl_channel_fail(ch, (int)-got);
    }
    Py_XDECREF(at.keeper);
    return err;
}

int
fl_channel_read_on(FlChannel *ch, bool *dry)
{
    int rounds = ch->io->piece > 0 ? READ_ROUNDS_PIECES : READ_ROUNDS;
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
    if (!ch->brimful || ch->closed || ch->eof || ch->connecting || ch->receiving ||
        ch->pass != NULL || ch->io->escapes || ch->watch.fd < 0)
        return false;
    if (ch->spared > 0) {
        ch->spared--;
        return false;
    }
    fl_channel_see_tick(ch);
    return ch->tick_tries < TRIES_A_TICK;
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
    ch->tick_tries++;
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

int
fl_channel_give_up(FlChannel *ch)
{
    ssize_t got;
    int error;

    if (ch->ops != NULL && ch->ops->patient && !ch->want_read && ch->queue_len == 0) {
        fl_channel_leave_epoll(ch);
        return 0;
    }
    while ((got = FlChannel_ReadMore(ch, FL_LOOP_BUFFER)) > 0)
        if (ch->want_read || tail_len(ch) > 4 * FL_LOOP_BUFFER)
            break;
    if (ch->closed)
        return fl_channel_drop_raised();
    if (ch->want_read && got > 0) /* the last try before had found nothing, wrongly */
        return offer_tail(ch);
    if (ch->want_read && got == 0)
        return tell_eof(ch);
    if (got > 0) { /* the next read registers again and goes on from here */
        fl_channel_leave_epoll(ch);
        return 0;
    }
    if (got == FL_IO_RAISED)
        return fl_channel_fail_raised(ch);
    error = ch->io->error(ch);
    if (error == FL_IO_RAISED)
        return fl_channel_fail_raised(ch);
    if (error == 0 && got == -EAGAIN && ch->io->sendfile && !ch->want_read) {
        fl_channel_leave_epoll(ch); /* a socket that is over has an end to be read */
        return 0;
    }
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

    if (fl_channel_ensure_fd(ch) < 0)
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
