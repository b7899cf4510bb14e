/* channel_internal.h -- what the files of the channel share among themselves.
 *
 *   channel.c        life, what is asked of epoll, events
 *   channel_read.c   receiving, the tail, delivery to the consumer
 *   channel_write.c  the queue and the sending of it
 *   channel_file.c   files in the queue
 *   channel_io.c     recv and send of pipes; what channels on sockets share
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_CHANNEL_INTERNAL_H
#define FL_NET_CHANNEL_INTERNAL_H

#include "net/channel.h"

/* One delivery to a consumer. Lives on the C stack of the one who delivers. */
struct fl_pass {
    const char *p;
    size_t n;
    size_t took;   /* declared by FlChannel_Took */
    bool in_tail;  /* p points into the tail's memory */
    bool replaced; /* another consumer came: the rest is in the tail already */
    char *garbage; /* owned: the tail's former memory, which p points into */
};

/* Asks epoll for what is wanted now. `lazily`: leave EPOLLIN where it is, though nobody
 * wants it. 0, or -1 with OSError. May drop the owner's last reference but one. */
int fl_channel_settle(FlChannel *ch, bool lazily);

/* Forgets the registration, and the reference that the loop held with it. escapes */
void fl_channel_leave_epoll(FlChannel *ch);

/* Asks for the descriptor if that was not done yet. 0, or -1 with an exception. */
int fl_channel_ensure_fd(FlChannel *ch);

/* Reads while it is wanted; the owner is held by the caller. *dry: the last try gave
 * nothing. 0 or -1. escapes */
int fl_channel_read_on(FlChannel *ch, bool *dry);

/* Nobody wants to read and the kernel says the connection is over: what it still has is
 * kept for later reads, then the channel closes. 0 or -1. escapes */
int fl_channel_give_up(FlChannel *ch);

/* Begins to count anew in a tick that is another than the last that was counted. */
static inline void
fl_channel_see_tick(FlChannel *ch)
{
    uint32_t tick = (uint32_t)ch->loop->stats.ticks;

    if (ch->tick == tick)
        return;
    ch->tick = tick;
    ch->tick_sent = (uint32_t)ch->total_sent;
    ch->tick_tries = 0;
}

/* Puts the channel on the ring (once). */
void fl_channel_defer(FlChannel *ch);

/* Closes with errno as an OSError; escapes. */
void fl_channel_fail(FlChannel *ch, int error);

/* Closes with the current exception. 0, or -1 when that is fatal: then it stays set.
 * escapes */
int fl_channel_fail_raised(FlChannel *ch);

/* An op of a channel that was closed from inside it raised (if it did): the reason for
 * the close stands. 0, or -1 for a fatal exception, which stays set. */
int fl_channel_drop_raised(void);

/* Sends what is queued, as far as the kernel takes it, and ends what waited for that.
 * Tells the owner and the consumer when `tell`. 0 or -1 (fatal). escapes */
int fl_channel_send_queue(FlChannel *ch, bool tell);

/* A channel that yielded: its writes' next tick has come. 0 or -1 (fatal). escapes */
int fl_channel_go_on(FlChannel *ch);

/* Drops the queue. escapes */
void fl_channel_drop_queue(FlChannel *ch);

/* The queue's first and last entry; a fresh one at its end, NULL with MemoryError; the
 * last one removed, what it owned given as an object (or NULL). */
static inline fl_queued *
fl_channel_first(FlChannel *ch)
{
    return &ch->queue[ch->queue_at];
}
static inline fl_queued *
fl_channel_last(FlChannel *ch)
{
    return &ch->queue[(ch->queue_at + ch->queue_len - 1) & (ch->queue_room - 1)];
}
fl_queued *fl_channel_push(FlChannel *ch);
PyObject *fl_channel_pop_last(FlChannel *ch);

/* After something was queued: sends a corked channel's surplus, watches for room.
 * escapes */
int fl_channel_queued(FlChannel *ch);

/* Raises StreamClosedError; -1. */
int fl_channel_not_open(FlChannel *ch);

/* A file yields to the others after this much in one event. */
#define FL_FILE_SLICE ((size_t)1024 * 1024)

/* Sends of the file at the front: bytes, -errno (-EAGAIN with file_waits: a thread
 * fetches it from a disk), FL_IO_RAISED; 0 where only a chunk was made of it, and
 * *offered is 0. escapes */
ssize_t fl_channel_send_file(FlChannel *ch, size_t *offered);

/* A thread may have fetched what file_waits is about: sends on. 0 or -1 (fatal).
 * escapes */
int fl_channel_file_fetched(FlChannel *ch);

/* What the tables of FlChannelIO share: members of more than one of them. */
int fl_channel_known_fileno(FlChannel *ch); /* -1 with OSError: it is gone */
ssize_t fl_channel_socket_send(FlChannel *ch, const struct iovec *iov, int n);
int fl_channel_socket_error(FlChannel *ch);
int fl_channel_pipe_error(FlChannel *ch);
ssize_t fl_channel_pipe_send(FlChannel *ch, const struct iovec *iov, int n);

#endif
