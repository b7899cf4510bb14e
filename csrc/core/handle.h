/* handle.h -- a callback on its way: what call_soon, call_later and call_at return.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_HANDLE_H
#define FL_CORE_HANDLE_H

#include "core/loop.h"

/* Arguments that fit without a tuple. */
#define FL_HANDLE_ARGS 3

typedef struct FlHandle {
    PyObject_HEAD
    FlLoop *loop;                       /* owned */
    PyObject *callback;                 /* owned; NULL once cancelled or dropped */
    PyObject *context;                  /* owned; NULL: empty (core/context.h) */
    PyObject *args[1 + FL_HANDLE_ARGS]; /* owned; [0] is spare for vectorcall */
    PyObject *more; /* owned; tuple of all arguments when they do not fit */
    int nargs;
    uint8_t running; /* how often it is on the stack */
    bool cancelled;
    bool again;                 /* a reader's: runs many times */
    bool timed;                 /* an FlTimerHandle */
    uint8_t kind;               /* who hears of an exception: enum FlHandleKind */
    PyObject *source_traceback; /* owned; debug mode */
    PyObject *weakrefs;
} FlHandle;

enum FlHandleKind {
    FL_HANDLE_ASYNCIO, /* the loop's exception handler */
    FL_HANDLE_IOLOOP,  /* tornado.application; a returned awaitable is awaited */
};

typedef struct FlTimerHandle {
    FlHandle base;
    fl_loop_timer timer;
    double when; /* seconds, as the caller gave it */
} FlTimerHandle;

/* A handle that runs once and is not queued yet; context NULL copies the current one.
 * New reference. */
FlHandle *FlHandle_New(FlLoop *loop, PyObject *callback, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *context);

/* A timer handle that is armed for when (loop.time() seconds). New reference. */
FlTimerHandle *FlTimerHandle_New(FlLoop *loop, PyObject *callback,
                                 PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *context, double when);

/* Never runs it; lets go of callback and arguments at once. escapes */
void FlHandle_Cancel(FlHandle *handle);

/* Runs a handle: the fl_run_fn of every call_soon. */
int FlHandle_Run(FlLoop *loop, PyObject *handle); /* escapes */

#endif
