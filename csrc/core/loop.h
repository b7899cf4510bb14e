/* loop.h -- one thread's loop: the ready ring, the timers, the inbox and the poller.
 *
 *     run ring -> take inbox, collect due timers -> epoll_wait -> ready() of each event
 *
 * The ring holds {run, obj}: there is no other kind of queue. An FlLoop is Python's
 * `_core.Loop`; one that is a guest is not run but driven by a foreign asyncio loop,
 * which watches its epoll descriptor.
 *
 * Layer: core. Threads: the loop's own, with the GIL; FlLoop_DeferThreadsafe from any.
 */
#ifndef FL_CORE_LOOP_H
#define FL_CORE_LOOP_H

#include "core/state.h"

#include <pthread.h>

#include "base/timers.h"
#include "sys/clock.h"
#include "sys/poller.h"
#include "sys/wakeup.h"

/* What a ring entry does with the object it owns; escapes. 0, or -1 with a fatal
 * exception (FlError_IsFatal) set: the loop is left with it. Any other exception must
 * be handled or logged inside. */
typedef int (*fl_run_fn)(FlLoop *loop, PyObject *obj);

typedef struct FlReady {
    fl_run_fn run;
    PyObject *obj; /* owned; may be NULL */
} FlReady;

typedef struct fl_loop_timer fl_loop_timer;

/* A deadline in C. fire is called once, from the tick, with the timer disarmed; it
 * escapes and returns as fl_run_fn does. */
struct fl_loop_timer {
    fl_timer node; /* first: the heap's pointer is this pointer */
    int (*fire)(FlLoop *loop, fl_loop_timer *timer);
    PyObject *owner; /* the loop owns one reference while armed; may be NULL */
};

/* Counted for loop.stats(); the layers above add to the ones that are theirs. */
typedef struct FlStats {
    uint64_t ticks;
    uint64_t callbacks;   /* ring entries run */
    uint64_t polls;       /* epoll_wait calls */
    uint64_t events;      /* events they gave */
    uint64_t timers;      /* timers fired */
    uint64_t connections; /* accepted (net) */
    uint64_t open;        /* connections open now (net) */
    uint64_t requests;    /* answered (http) */
    uint64_t bytes_read;
    uint64_t bytes_sent;
} FlStats;

/* A registration of a watch that may be gone. */
typedef struct {
    int fd;
    uint32_t generation;
} fl_heard;

enum { FL_HEARD = 4 };

enum { FL_EVENTS = 256 }; /* taken from epoll at once; the rest comes next */

struct FlLoop {
    PyObject_HEAD
    FlState *st;       /* borrowed */
    fl_run_fn lets_go; /* such entries of the ring send what a tick held back */
    FlReady *ring;     /* owned; ring_mask + 1 slots */
    size_t ring_mask;
    size_t ring_head;        /* next to run; both count up for ever */
    size_t ring_tail;        /* next free */
    uint64_t now;            /* monotonic ns, as of the last look */
    unsigned long thread_id; /* of the thread that runs it; 0: not running */
    bool running;
    bool stopping;
    bool closed;
    bool debug;
    bool own_tasks; /* create_task gives _core.Task */
    bool in_tick;   /* a guest's pump is on the stack */
    FlStats stats;
    fl_timers timers;
    bool firing; /* due timers are being collected */
    fl_poller poller;
    fl_wakeup wakeup;
    fl_watch wake_watch;
    fl_watch signal_watch;
    pthread_mutex_t inbox_lock;
    pthread_cond_t inbox_taken;
    FlReady *inbox; /* owned, under the lock */
    size_t inbox_len;
    size_t inbox_cap;
    FlReady *inbox_spare; /* owned; what the next taking puts in its place */
    size_t inbox_spare_cap;
    bool inbox_patience; /* under the lock: a producer may wait for the next taking */
    bool sleeping;       /* under the lock: a producer must ring the wake-up */
    bool prompt;         /* the last wait for events did not sleep */
    uint64_t last_poll;  /* when epoll was asked last */
    unsigned ticks_unpolled;
    unsigned costly;          /* steps of this tick that FlLoop_MayStep was asked for */
    fl_heard heard[FL_HEARD]; /* who was heard of lately, the latest last */
    uint8_t heard_n;
    uint8_t vain_guesses;  /* guesses in a row that gave nothing, */
    uint8_t guess_spared;  /* ... and for how many ticks there are none */
    uint64_t last_release; /* when the GIL was free last */
    char *buffer;          /* owned; NULL while checked out */
    char *taken;           /* borrowed: the one checked out last, or NULL */
    char *viewed;          /* borrowed: a buffer, checked out or not, that has */
    PyObject *view;        /* ... this memoryview (owned); both or neither */
    PyObject *stepped; /* owned; of asyncio_bridge.c: the Task to be left, or NULL */
    struct FlTask *parked;       /* owned: suspended coroutines survive the collector */
    struct FlLoop *parking_next; /* borrowed; in FlState.parking, once one was parked */
    struct FlLoop **parking_prev; /* NULL: not in it */
    PyObject *host;               /* owned; the foreign loop of a guest, else NULL */
    PyObject *host_handle; /* owned; the host's pending call of the pump, or NULL */
    PyObject *host_timer;  /* owned; the host's TimerHandle, or NULL */
    uint64_t host_timer_at;
    bool host_reading; /* the host watches the epoll descriptor */
    double slow_callback_duration;
    PyObject *exception_handler; /* owned; for aio.py */
    PyObject *task_factory;      /* owned; NULL: default */
    PyObject *dict;              /* owned */
    PyObject *weakrefs;
    int events_at, events_n; /* of those below, the ones to be handed out still */
    struct epoll_event events[FL_EVENTS];
};

/* The next tick asks epoll, whatever else is due. */
static inline void
FlLoop_AskEpoll(FlLoop *loop)
{
    loop->last_poll = 0;
}

/* Handshakes of TLS in one tick: each takes as long as many requests do. */
enum { FL_COSTLY_A_TICK = 4 };

/* Whether one more costly step has its turn in this tick; if so, it is counted. Who is
 * refused asks again from the ring: then it is first come, first served. */
static inline bool
FlLoop_MayStep(FlLoop *loop)
{
    return loop->costly++ < FL_COSTLY_A_TICK;
}

/* Whether epoll told of something that was not handed out yet. */
static inline bool
FlLoop_HasEvents(const FlLoop *loop)
{
    return loop->events_at < loop->events_n;
}

/* Size of the shared receive buffer. */
#define FL_LOOP_BUFFER (256 * 1024)

/* Whether obj is a _core.Loop. */
bool FlLoop_Check(FlState *st, PyObject *obj);

/* ---- which loop ---- */

/* The C loop (a guest too) that runs in this thread: borrowed, or NULL without an
 * exception. A foreign loop that has no guest yet counts as none. */
FlLoop *FlLoop_Running(FlState *st);

/* The running loop of this thread, ours or foreign, else what IOLoop.current() rules,
 * as an asyncio loop: new reference, or NULL. */
PyObject *FlLoop_Current(FlState *st); /* escapes */

/* The C loop to register things with: FlLoop_Current itself, or the guest that lives
 * inside a foreign loop, made on first use. New reference, or NULL. */
FlLoop *FlLoop_Get(FlState *st); /* escapes */

/* The same for a loop in hand: ours, or a foreign one (its guest). New reference. */
FlLoop *FlLoop_Of(FlState *st, PyObject *asyncio_loop); /* escapes */

/* What futures and programs see as this loop: itself, or the host of a guest; borrowed.
 */
static inline PyObject *
FlLoop_Face(FlLoop *loop)
{
    return loop->host != NULL ? loop->host : (PyObject *)loop;
}

/* ---- work for the next tick ---- */

/* Puts {run, obj} on the ready ring and takes a reference to obj (nullable); 0 or -1.
 * After close: RuntimeError. */
int FlLoop_Defer(FlLoop *loop, fl_run_fn run, PyObject *obj);

/* The same from any thread; wakes the loop. */
int FlLoop_DeferThreadsafe(FlLoop *loop, fl_run_fn run, PyObject *obj);

/* Calls callable(*args) on the next tick, inside context (NULL: a copy of the current
 * one); what it raises is logged. 0 or -1. */
int FlLoop_CallSoon(FlLoop *loop, PyObject *callable, PyObject *const *args,
                    Py_ssize_t nargs, PyObject *context);

/* ---- descriptors ---- */

/* Registers watch->fd (fill in fd, ready and owner first). The loop takes a reference
 * to watch->owner until FlLoop_Unwatch. 0, or -1: OSError, or RuntimeError when the
 * descriptor is watched already, the loop closed, or the process a fork. */
int FlLoop_Watch(FlLoop *loop, fl_watch *watch, uint32_t events);

/* Changes the events; 0 or -1 with OSError. */
int FlLoop_Rewatch(FlLoop *loop, fl_watch *watch, uint32_t events);

/* Forgets it; may drop the last reference to watch->owner, so watch may be gone
 * afterwards. Harmless when it is not registered. escapes */
void FlLoop_Unwatch(FlLoop *loop, fl_watch *watch);

static inline bool
FlLoop_Watched(const fl_watch *watch)
{
    return watch->generation != 0;
}

/* ---- timers ---- */

/* To be done once before a timer's first use. */
static inline void
FlLoop_InitTimer(fl_loop_timer *timer, int (*fire)(FlLoop *, fl_loop_timer *),
                 PyObject *owner)
{
    fl_timer_init(&timer->node);
    timer->fire = fire;
    timer->owner = owner;
}

static inline bool
FlLoop_Armed(const fl_loop_timer *timer)
{
    return fl_timer_armed(&timer->node);
}

/* Arms a timer for when (monotonic ns; the past: next tick); arming an armed one moves
 * it. 0, or -1 with MemoryError. */
int FlLoop_Arm(FlLoop *loop, fl_loop_timer *timer, uint64_t when);

/* Disarms; may drop the last reference to timer->owner. Harmless when not armed.
 * escapes */
void FlLoop_Disarm(FlLoop *loop, fl_loop_timer *timer);


/* Monotonic ns as of this tick; cheap. */
static inline uint64_t
FlLoop_Now(const FlLoop *loop)
{
    return loop->now;
}

/* ---- the receive buffer ---- */

/* The loop's receive buffer of *n bytes, or a fresh one when it is in use further up
 * the stack; NULL with MemoryError. Hand it back. */
char *FlLoop_TakeBuffer(FlLoop *loop, size_t *n);

void FlLoop_GiveBuffer(FlLoop *loop, char *buffer); /* escapes if it was viewed */

/* The whole buffer at p for Python to write into, the same view each time: new reference,
 * to be dropped before the buffer is handed back. NULL with an exception, or without one
 * where p is not a buffer that was taken. escapes */
PyObject *FlLoop_ViewBuffer(FlLoop *loop, char *p);

/* ---- exceptions ---- */

/* Whether the current exception is KeyboardInterrupt or SystemExit. */
bool FlError_IsFatal(void);

/* Takes the current exception and logs it with its traceback to tornado.application:
 * "<msg> <repr of callable>", or msg alone when callable is NULL. Leaves no exception,
 * except a fatal one (then it was not logged). */
void FlLoop_LogException(FlLoop *loop, const char *msg,
                         PyObject *callable); /* escapes */

/* Takes the current exception to loop.call_exception_handler({message, exception, key:
 * source}); 0, or -1 when it is fatal and stays set. */
int FlLoop_CallExceptionHandler(FlLoop *loop, const char *msg, PyObject *key,
                                PyObject *source); /* escapes */

/* The same for an exception that is not in flight, of any kind, or NULL; 0, or -1 with a
 * fatal exception that the handler raised. */
int FlLoop_TellExceptionHandler(FlLoop *loop, const char *msg, PyObject *exc,
                                PyObject *key, PyObject *source); /* escapes */

/* Has `who` reported that has run since `started` (of fl_clock_monotonic) if that is
 * longer than slow_callback_duration: who called it, in debug mode. The current
 * exception stays what it is. escapes */
void FlLoop_ReportSlow(FlLoop *loop, PyObject *who, uint64_t started);

/* " created at file:line" of the innermost frame of a _source_traceback, "" of NULL. New
 * reference or NULL. */
PyObject *FlLoop_OriginText(PyObject *source_traceback);

/* Logs as FlLoop_LogException what a future (any kind) ends with, if it fails and no
 * context of stack_context that is open now settles it; callable is named in the log.
 * Cancellation is quiet. 0 or -1. */
int FlLoop_LogWhenDone(FlLoop *loop, PyObject *future, PyObject *callable);

/* ---- running ---- */

/* One tick. block: wait for something when nothing is ready. 0, or -1 with an exception
 * that leaves the loop. */
int FlLoop_RunOnce(FlLoop *loop, bool block); /* escapes */

#endif
