/* future.h -- a value that will be there later.
 *
 * A Future keeps its callbacks until it is done; only then do they reach the loop's
 * ring and run on its next turn, never inside set_result. Callbacks of C are {run, obj}
 * pairs and need no Python object. Its loop is resolved late: the one that runs when
 * the future is made, else IOLoop.current() when callbacks are due.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_FUTURE_H
#define FL_CORE_FUTURE_H

#include "core/loop.h"

enum FlFutureState { FL_FUTURE_PENDING, FL_FUTURE_CANCELLED, FL_FUTURE_FINISHED };

typedef struct FlWaiter {
    fl_run_fn run;     /* NULL: obj is a Python callable */
    PyObject *obj;     /* owned */
    PyObject *context; /* owned; of a Python callable */
} FlWaiter;

/* The waiters after the first. */
typedef struct FlMoreWaiters {
    uint32_t n;
    uint32_t cap;
    FlWaiter at[];
} FlMoreWaiters;

typedef struct FlFuture {
    PyObject_HEAD
    FlState *st;     /* borrowed */
    FlLoop *loop;    /* owned; NULL until resolved */
    PyObject *value; /* owned; finished: the result, or the exception where `failed`;
                          * cancelled: what made it so, given out once, or NULL */
    PyObject *note;  /* owned; failed: the traceback as it was set; pending and
                          * cancelled: the message of cancel(). May be NULL */
    FlWaiter first;  /* most futures have one waiter */
    FlMoreWaiters *more;        /* owned; NULL: none */
    PyObject *source_traceback; /* owned; debug mode */
    PyObject *dict;             /* owned */
    PyObject *weakrefs;
    uint8_t state;      /* enum FlFutureState */
    bool failed;        /* finished, with an exception */
    bool blocking;      /* _asyncio_future_blocking */
    bool log_traceback; /* nobody has asked for the exception yet */
    uint32_t cancels;   /* a Task's: cancel() calls not taken back by uncancel() */
} FlFuture;

/* A pending future; loop NULL: resolved lazily. New reference. */
PyObject *FlFuture_New(FlState *st, FlLoop *loop);

/* A future that is done with value. New reference. */
PyObject *FlFuture_NewDone(FlState *st, PyObject *value);

/* Exactly ours (Future, Task, what gen.coroutine and what a fetch returns), no subclass
 * from Python. */
bool FlFuture_CheckExact(FlState *st, PyObject *obj);

/* Ours, or a subclass. */
bool FlFuture_Check(FlState *st, PyObject *obj);

/* Ours, and nobody has put another add_done_callback in place of ours: AddWaiter may be
 * used. */
bool FlFuture_TakesWaiters(FlState *st, PyObject *obj);

/* Anything with asyncio's contract: _asyncio_future_blocking is there and not None. 1,
 * 0 or -1. */
int FlFuture_IsFutureLike(FlState *st, PyObject *obj);

static inline bool
FlFuture_Done(PyObject *future)
{
    return ((FlFuture *)future)->state != FL_FUTURE_PENDING;
}

static inline bool
FlFuture_Cancelled(PyObject *future)
{
    return ((FlFuture *)future)->state == FL_FUTURE_CANCELLED;
}

/* 0, or -1 with InvalidStateError when it is done already. */
int FlFuture_SetResult(PyObject *future, PyObject *value);

/* exc: an instance or a class. 0 or -1 (InvalidStateError, TypeError). */
int FlFuture_SetException(PyObject *future, PyObject *exc);

/* The same; a future that is done already is left alone. 0 or -1. */
int FlFuture_SetResultUnlessDone(PyObject *future, PyObject *value);
int FlFuture_SetExceptionUnlessDone(PyObject *future, PyObject *exc);

/* Takes the current exception into the future (which may be done: then the exception is
 * logged). A fatal one stays set: -1. CancelledError cancels the future. */
int FlFuture_SetCurrentException(PyObject *future);

/* 1 when it was cancelled now, 0 when it was done, -1. msg may be NULL. A Task's own
 * cancel is respected. */
int FlFuture_Cancel(PyObject *future, PyObject *msg); /* escapes */

/* run(loop, obj) from the ring once the future is done (at the next tick when it is
 * done already); the future owns a reference to obj until then. 0 or -1. */
int FlFuture_AddWaiter(PyObject *future, fl_run_fn run, PyObject *obj);

/* The value of a done future: new reference; or NULL with its exception raised (marks
 * it as retrieved), CancelledError, or InvalidStateError when it is pending. */
PyObject *FlFuture_Result(PyObject *future);

/* The exception of a finished future, borrowed, marked as retrieved; NULL when there is
 * none (no exception set). */
PyObject *FlFuture_Exception(PyObject *future);

#endif
