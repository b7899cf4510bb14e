/* task.h -- what drives coroutines and generators.
 *
 * A Task is a Future that steps a coroutine with PyIter_Send and waits for the futures
 * it yields. Its first step runs at once, where it is started; later ones run from the
 * ring, without a handle or a bound method. What gen.coroutine returns is the sister
 * type GenFuture, which steps a generator and accepts everything yieldable.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_TASK_H
#define FL_CORE_TASK_H

#include "core/future.h"

typedef struct FlTask {
    FlFuture future;
    PyObject *coro;    /* owned; of a Task that `ended` it is kept for get_coro() */
    PyObject *context; /* owned */
    PyObject *waiting; /* owned; the future it waits for, or NULL */
    union {
        PyObject *name; /* owned; a Task's; NULL: made when asked for */
        PyObject
            *contexts; /* owned; a GenFuture's: of stack_context, open at its start */
    };
    union {
        PyObject *throw_next; /* owned; a Task's: what the next step throws, or NULL */
        PyObject *runner; /* owned; a GenFuture's gen.Runner, once it yielded a point */
    };
    struct FlTask *parked_next;  /* in the loop's list; see FlTask_ReleaseParked */
    struct FlTask **parked_prev; /* NULL: not in it */
    uint64_t number : 56;        /* for the default name */
    bool must_cancel : 1;        /* CancelledError at the next step */
    bool registered : 1;         /* FlAsyncio_KnowTask was asked */
    bool log_destroy_pending : 1;
    bool stepping : 1;
    bool entered : 1; /* FlTask_Enter without FlTask_Leave */
    bool is_gen : 1;  /* a GenFuture: steps a generator */
    bool ended : 1;   /* its coroutine did */
} FlTask;

/* Starts coro (a coroutine, or anything with send and throw) in loop: THE FIRST STEP
 * RUNS NOW, inside context (NULL: a copy of the current one), with
 * asyncio.current_task() set to the new task. Returns the task, perhaps done already;
 * NULL only for fatal errors or no memory. New reference. escapes */
PyObject *FlTask_Start(FlState *st, FlLoop *loop, PyObject *coro, PyObject *context);

/* A task without a coroutine yet, for code of C that is about to call user code: enter,
 * call, leave, then adopt what came back, or finish. New reference. */
PyObject *FlTask_NewBare(FlState *st, FlLoop *loop, PyObject *context);

/* Makes task the current one and enters its context; nestable: what was current before
 * is put aside in *previous (owned by the caller, nullable) and comes back with Leave.
 * 0 or -1. */
int FlTask_Enter(PyObject *task, PyObject **previous);

/* Leaves; keeps the current exception. */
void FlTask_Leave(PyObject *task, PyObject *previous);

/* Lets a bare task, which is entered or not, run awaitable (a coroutine, a future, or
 * any awaitable; a generator-coroutine's future too) to its end; its first step runs
 * now. The task's result is the awaitable's. 0 or -1. escapes */
int FlTask_Adopt(PyObject *task, PyObject *awaitable);

/* Lets a bare task step coro, which has send and throw and is its own iterator; its
 * first step runs now. 0 or -1. escapes */
int FlTask_Run(PyObject *task, PyObject *coro);

/* Ends a bare task that needed no coroutine: value, or NULL to take the current
 * exception. 0, or -1 when that is fatal. */
int FlTask_Finish(PyObject *task, PyObject *value);

/* A task for create_task(): its first step comes from the ring. name may be NULL. New
 * reference. */
PyObject *FlTask_New(FlState *st, FlLoop *loop, PyObject *coro, PyObject *name,
                     PyObject *context);

/* What @gen.coroutine does with a generator: its first step runs now, inside context,
 * which is entered already. The future of its result, new reference. escapes */
PyObject *FlGen_Start(FlState *st, PyObject *generator, PyObject *context);

/* asyncio.Task.cancel(): 1, 0 when it was done, -1. escapes */
int FlTask_Cancel(PyObject *task, PyObject *msg);

/* A future of asyncio hands obj to its loop's call_soon. Where that is the wake-up of a
 * task of this loop it goes onto the ring as what it is, the task's step, and needs no
 * handle: 1, 0 where it is anything else, or -1. */
int FlTask_WakeSoon(FlLoop *loop, PyObject *obj);

/* _core.start_task(coro): a task on the current loop, its first step done. */
PyObject *FlTask_StartFunction(PyObject *module, PyObject *coro); /* escapes */

/* The future of an awaitable value (a coroutine is started), new reference; NULL
 * without an exception when value is not one. escapes */
PyObject *FlGen_Awaitable(FlState *st, PyObject *value);

/* The loop is closed: it lets go of the coroutines that wait in it. escapes */
void FlTask_ReleaseParked(FlLoop *loop);

/* _core.parked_tasks(): the Tasks of all loops that wait or wait to start. */
PyObject *FlTask_ParkedFunction(PyObject *module, PyObject *ignored);

#endif
