/* channel.h -- one non-blocking descriptor: what was read and not yet taken, what
 * was written and not yet sent.
 *
 *      descriptor --recv--> [ kept tail | loop's receive buffer ] --data()--> consumer
 *      descriptor --recv--> memory of the consumer (buffer(), filled())
 *      descriptor <--send-- [ queue of chunks ] <--FlChannel_Write-- anybody
 *
 * A channel is embedded in its owner (an IOStream, a transport) and lives as long as
 * that object. `io` says how bytes move (a socket's recv and send, a pipe's, Python
 * methods of a subclass, TLS); nobody above this file can tell. Above the channel
 * stand two listeners: the **owner**, fixed by FlChannel_Init, which is told of
 * progress of writes and of the end; and the **consumer**, which may change during
 * life (IOStream's own reads, then an HTTP connection, then a WebSocket) and takes
 * the bytes.
 *
 * How long things live
 *   - While something is awaited of the kernel (reading wanted, bytes queued, a
 *     connect under way) the loop holds one reference to the owner, as `watch.owner`.
 *     Otherwise none, registered or not: an idle stream that nobody refers to is
 *     collected, and FlChannel_Clear in its dealloc closes the descriptor.
 *   - The consumer is borrowed. It must call FlChannel_SetConsumer(ch, NULL, NULL)
 *     before it dies.
 *   - The channel holds its owner, not its consumer, during every op: an op that may
 *     drop its consumer's last reference takes one of its own first.
 *
 * Re-entry: inside ANY op the consumer may write, close, detach, replace the
 * consumer or drop the owner
 *   - Ops of one channel never nest: what is received, resumed or closed inside an op
 *     is delivered after it returned. `closed` comes from the loop, in a later
 *     callback, exactly once.
 *   - After an op the channel re-reads everything: closed? another consumer? still
 *     wanted?
 *   - Inside data() the bytes in hand belong to the channel. FlChannel_Took(ch, k)
 *     declares that the first k of this call are done with. A consumer that is about
 *     to run code which may put another consumer in its place (a handler that
 *     detaches) calls it first: FlChannel_SetConsumer then moves p[k..n) to the tail
 *     at once, the new consumer sees exactly those bytes, and data()'s own return
 *     value is ignored (return n or anything else that is not negative). Where no
 *     replacement happened the return value counts alone.
 *   - p stays readable until data() returns, whatever is called: closing and
 *     replacing consumers included.
 *   - FlChannel_Close inside an op: the rest of the bytes in hand is kept as the tail
 *     (an IOStream still answers reads from it), data() is not called again.
 *
 * Reading is level-triggered. FlChannel_WantRead(ch, false) costs nothing; the
 * descriptor is taken from epoll only if an event comes that nobody wants.
 * WantRead(true) never calls back from inside itself: bytes already in the tail are
 * handed out by FlChannel_Resume, at once and from inside that call, or by the next
 * event.
 *
 * Writing: FlChannel_Write sends at once what the kernel takes and queues the rest,
 * EPOLLOUT is watched only while something is queued. A send that fails closes the
 * channel with that error and the write still returns 0 (the owner hears of it by
 * `closed`); only misuse and lack of memory give -1. FlChannel_Cork holds small
 * writes back until the matching Uncork, so that the answers to pipelined requests
 * leave in one send; past FL_CORK_MOST queued bytes they are sent nevertheless.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_CHANNEL_H
#define FL_NET_CHANNEL_H

#include <Python.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/loop.h"

typedef struct FlChannel FlChannel;

/* The consumer of bytes. All ops escape. */
typedef struct {
    /* Bytes in order, the tail first. Gives how many were taken, 0..n, or -1 with an
     * exception set: the channel is closed with it. What was not taken is kept;
     * data() is called again, from the first byte not taken, when more has come or
     * at FlChannel_Resume, not for what it has just left. */
    Py_ssize_t (*data)(FlChannel *ch, const char *p, size_t n);
    /* Optional. Where the next bytes should land: writes the room to *n and gives
     * the memory, or NULL for the shared buffer and data(). Asked before each
     * receive while the tail is empty. The memory stays valid until filled() or
     * until the consumer is replaced; the channel never keeps it over a return to
     * the loop. */
    char *(*buffer)(FlChannel *ch, size_t *n);
    /* Optional, asked only where io runs Python, which receives into no such memory
     * without it: an object (new reference) that keeps the memory of buffer() where it
     * is, whatever is called meanwhile. NULL without an exception: data() instead. */
    PyObject *(*keeper)(FlChannel *ch);
    /* n bytes (> 0) stand in the memory of buffer(). 0, or -1 with an exception:
     * close with it. */
    int (*filled)(FlChannel *ch, size_t n);
    /* The peer ended its sending side. Told as soon as it is seen, once: everything
     * before it was offered to data(), which may have left a tail (Resume still
     * offers that). 0, or -1 with an exception: close with it. Nothing is read any
     * more. NULL: the channel is closed. */
    int (*eof)(FlChannel *ch);
    /* Optional: fewer bytes than the low mark are queued, after it was more than the
     * high mark. From the loop, or from inside FlChannel_Uncork. */
    void (*drained)(FlChannel *ch);
    /* Optional: what was queued has left, all of it. From the loop, or from inside
     * FlChannel_Uncork. (The writer itself looks after FlChannel_Write.) */
    void (*emptied)(FlChannel *ch);
    /* Optional: the channel is closed, with `exc` or (NULL) by plan. From the loop,
     * once. Not called for a consumer that was put in place after the close. */
    void (*closed)(FlChannel *ch, PyObject *exc);
    /* A connection that is over while nobody wants to read leaves epoll, and is looked
     * at again when reading is wanted. Otherwise what it still has becomes the tail and
     * the channel closes. */
    bool patient;
} FlChannelOps;

/* The object that embeds the channel. */
typedef struct {
    /* What the ring calls with the owner: FlChannel_Deferred of its channel. */
    fl_run_fn deferred;
    /* Optional: total_sent has moved; from the loop or Uncork. (The writer itself
     * looks after FlChannel_Write.) */
    void (*wrote)(FlChannel *ch);
    /* Optional: closed; after the consumer's op. `exc` is borrowed, NULL when
     * nothing failed. */
    void (*closed)(FlChannel *ch, PyObject *exc);
    /* Optional: the connect under way ended; the channel is closed already when it
     * failed. */
    void (*connected)(FlChannel *ch);
} FlChannelOwnerOps;

/* A count of bytes can be: moved, -errno, or this: an exception is set. */
enum { FL_IO_RAISED = -100000 };

/* How bytes move. All escape where they run Python methods. */
typedef struct {
    /* 0 = the peer's end, -EAGAIN = none yet. */
    ssize_t (*recv)(FlChannel *ch, char *buf, size_t n);
    /* -EAGAIN = none taken. */
    ssize_t (*send)(FlChannel *ch, const struct iovec *iov, int n);
    /* The descriptor, asked once; -1 with an exception. */
    int (*fileno)(FlChannel *ch);
    /* The pending error: 0, errno as a positive number, or FL_IO_RAISED. */
    int (*error)(FlChannel *ch);
    /* Closes the descriptor; logs what fails. */
    void (*close)(FlChannel *ch);
    /* Optional: what the peer has to be told before the sending side ends (TLS). */
    void (*farewell)(FlChannel *ch);
    /* Bytes may sit above the kernel (TLS): recv says in `holds` whether they do. */
    bool buffers;
    /* One receive gives at most so many bytes, whatever the room (a TLS record); 0: as
     * many as there is room for. */
    size_t piece;
    /* recv and send run Python. */
    bool escapes;
    /* See fl_watch. */
    uint8_t guess;
    /* The descriptor is a socket that fl_sendfile may be used on. */
    bool sendfile;
} FlChannelIO;

extern const FlChannelIO FlChannelIO_Pipe;

/* A run of bytes and who owns it. owner NULL: copied if it must be queued. */
typedef struct {
    const char *p;
    size_t n;
    PyObject *owner; /* borrowed by the call; the queue takes its own reference */
} fl_chunk;

/* One entry of the write queue. */
typedef struct {
    const char *p; /* next byte to send; NULL for a file */
    size_t n;      /* bytes left */
    PyObject
        *owner;     /* owned: keeps p alive, NULL where block does; or the FlOpenFile */
    char *block;    /* owned: small writes copied together; or NULL */
    size_t room;    /* of block: its size */
    int64_t offset; /* of a file: next byte */
    int64_t fetched; /* of a file: what stands before this was fetched by a thread */
} fl_queued;

enum {
    FL_CORK_MOST = 128 * 1024, /* a corked channel sends beyond this */
    FL_COPY_MOST = 4 * 1024,   /* smaller chunks are copied, larger kept by reference */
};

struct FlChannel {
    fl_watch watch;  /* fd is -1 before fileno was asked and after the close */
    FlLoop *loop;    /* owned */
    PyObject *owner; /* borrowed: embeds this channel */
    const FlChannelIO *io;
    const FlChannelOwnerOps *own;
    const FlChannelOps *ops; /* NULL: no consumer; nothing is read */
    void *self;              /* borrowed: the consumer */
    char *tail; /* owned: read and not taken is tail[tail_at .. tail_end) */
    size_t tail_at, tail_end, tail_room;
    fl_queued *queue; /* owned ring; queue_room is 0 or a power of two */
    uint32_t queue_at, queue_len, queue_room;
    uint16_t corked;
    uint32_t bite;         /* a receive into the shared buffer takes so much at most; 0:
                            * all it can. The consumer's to set */
    size_t queued;         /* bytes in the queue, files included */
    uint64_t total_queued; /* bytes ever given to write; IOStream._total_write_index */
    uint64_t total_sent;
    size_t mark_high, mark_low;
    PyObject *error;      /* owned: the exception it was closed with, or NULL */
    struct fl_pass *pass; /* borrowed: the delivery under way, on the C stack */
    bool want_read;
    bool connecting;
    bool eof;
    bool closing;  /* CloseAfterWrites */
    bool shutting; /* Shutdown once the queue is empty */
    bool sending;  /* inside io->send, which escapes: the queue must stay */
    bool closed;
    bool told;           /* `closed` was delivered */
    bool above;          /* queued was more than mark_high */
    bool deferred;       /* an entry on the ring */
    bool resume;         /* ... or after the op under way: offer the tail */
    bool holds;          /* set by io->recv: more bytes sit above the kernel */
    bool unread;         /* ... and reading stopped there */
    bool unpolled;       /* a file: always ready */
    bool shaking;        /* a receive is a step of a TLS handshake: see channel.c */
    bool more;           /* for io->send: a file follows at once */
    bool file_waits;     /* a thread fetches the file at the front */
    bool yields;         /* the queue waits for the next tick, not for room */
    bool receiving;      /* inside an op that a receive led to */
    bool brimful;        /* the last receive gave all that it could have given */
    uint8_t spared;      /* FlChannel_ReadNow: chances to let go by, */
    uint8_t dry_tries;   /* ... tries in a row that gave nothing, */
    uint8_t tick_tries;  /* ... and tries in the tick, */
    uint32_t tick;       /* ... which was this, */
    uint32_t tick_sent;  /* ... and began with total_sent at this (the low half) */
    bool read_wants_out; /* set by io->recv: it waits for room to send */
    bool write_wants_in; /* set by io->send: it waits for bytes */
};

/* Prepares ch, no descriptor yet (io->fileno is asked when one is needed; fd >= 0
 * sets it). Registers nothing. `loop` is retained. Cannot fail. */
void FlChannel_Init(FlChannel *ch, FlLoop *loop, PyObject *owner,
                    const FlChannelOwnerOps *own, const FlChannelIO *io, int fd);

/* Frees everything, closing the descriptor if it is open, telling nobody. For the
 * owner's dealloc. escapes */
void FlChannel_Clear(FlChannel *ch);
int FlChannel_Traverse(FlChannel *ch, visitproc visit, void *arg);

/* Replaces the consumer (ops NULL: none). See the re-entry rules above. 0, or -1 (no
 * memory for the tail). */
int FlChannel_SetConsumer(FlChannel *ch, const FlChannelOps *ops, void *self);

/* Inside data(): the first k bytes of this call are done with. */
void FlChannel_Took(FlChannel *ch, size_t k);

/* Says whether bytes are wanted. 0, or -1 with OSError (epoll refused the
 * descriptor: a file that Python reads). */
int FlChannel_WantRead(FlChannel *ch, bool wanted);

/* Offers the tail to the consumer now, or, called from inside an op, after it. 0; -1
 * only for a fatal exception, every other one closes the channel. escapes */
int FlChannel_Resume(FlChannel *ch);

/* Receives once without waiting for an event, if there is reason to expect bytes: the
 * last receive took all it had room for. Delivers as an event would. A bounded number
 * of times in one tick; never where io runs Python, or inside an op. 0 or -1 (fatal).
 * escapes */
int FlChannel_ReadNow(FlChannel *ch);

/* The work the channel put on the ring; see FlChannelOwnerOps.deferred. escapes */
int FlChannel_Deferred(FlChannel *ch);

/* The kept bytes, for consumers that answer from them without waiting; Drop takes k
 * of them. */
static inline const char *
FlChannel_Tail(const FlChannel *ch, size_t *n)
{
    *n = ch->tail_end - ch->tail_at;
    return ch->tail + ch->tail_at;
}
void FlChannel_Drop(FlChannel *ch, size_t k);

/* Puts bytes in front of the tail (taken too early). 0 or -1 with MemoryError. */
int FlChannel_Unread(FlChannel *ch, const char *p, size_t n);

/* Receives once into the tail (a read before close, an idle stream that fails).
 * Count, 0 = end, -errno or FL_IO_RAISED. escapes where io does */
ssize_t FlChannel_ReadMore(FlChannel *ch, size_t most);

/* Sends or queues n bytes. owner: the object that keeps p unchanged until sent, NULL
 * = copied if queued. 0; -1 with StreamClosedError when closed, or MemoryError.
 * escapes */
int FlChannel_Write(FlChannel *ch, PyObject *owner, const char *p, size_t n);
int FlChannel_Writev(FlChannel *ch, const fl_chunk *chunks, int n);

/* Queues without sending and without counting into total_queued
 * (IOStream._write_buffer.append). 0 or -1. */
int FlChannel_Append(FlChannel *ch, PyObject *owner, const char *p, size_t n);

/* Sends what the queue holds, as far as the kernel takes it. escapes. 0 or -1 (epoll
 * refused). */
int FlChannel_Flush(FlChannel *ch);

/* n bytes of an open file (open_file.h; the queue takes its own reference) from offset,
 * at most FL_FILE_SLICE in one event. What is not in memory is fetched by a thread
 * first. A file that turns out shorter, or cannot be read, is logged and closes the
 * channel with an OSError. 0 or -1 as FlChannel_Write. escapes */
int FlChannel_SendFile(FlChannel *ch, PyObject *file, int64_t offset, int64_t n);

/* What was not sent of a file that was queued last is not sent any more: how many bytes
 * that is. An exception that is set afterwards is fatal. escapes */
uint64_t FlChannel_TakeFileBack(FlChannel *ch);

void FlChannel_Cork(FlChannel *ch);
/* escapes */
void FlChannel_Uncork(FlChannel *ch);

static inline size_t
FlChannel_Queued(const FlChannel *ch)
{
    return ch->queued;
}

/* drained() is told when `queued` falls to low after exceeding high. Both start at
 * 0. */
void FlChannel_SetMarks(FlChannel *ch, size_t high, size_t low);

/* Frees what an idle channel has no use for: the room of an empty queue. */
void FlChannel_Trim(FlChannel *ch);

/* Closes now: descriptor, queue; keeps the tail. `exc` (nullable) is what `closed`
 * and FlChannel_Error give. Twice is harmless. escapes */
void FlChannel_Close(FlChannel *ch, PyObject *exc);

/* Closes as soon as everything queued was sent; reads no more. escapes */
void FlChannel_CloseAfterWrites(FlChannel *ch);

/* Ends the sending side once the queue is empty. 0 or -1. */
int FlChannel_Shutdown(FlChannel *ch);

/* Takes the descriptor from epoll, because somebody is about to close it. escapes */
void FlChannel_Forget(FlChannel *ch);

/* A connect was begun on the descriptor: waits until it can be written, then
 * `connected` or close. 0 or -1. */
int FlChannel_AwaitConnect(FlChannel *ch);

/* Gives the descriptor away: the channel is closed without closing it and without
 * telling anybody, nothing may be queued. Gives the descriptor or -1 with an
 * exception. The tail stays where it is. */
int FlChannel_Release(FlChannel *ch);

static inline bool
FlChannel_Closed(const FlChannel *ch)
{
    return ch->closed;
}
static inline bool
FlChannel_Eof(const FlChannel *ch)
{
    return ch->eof;
}
static inline PyObject * /* borrowed, nullable */
FlChannel_Error(const FlChannel *ch)
{
    return ch->error;
}

#endif
