/* asyncio_bridge.c -- how our tasks show up in asyncio's books, and how its tasks wait
 * for our futures.
 *
 * A task that waits again at the end of its step stays in the book of current tasks until
 * something else has its turn in the loop (`stepped`): mostly that is the next task, which
 * takes its place. Nothing that could ask runs in between.
 *
 * A task of asyncio's that awaited a future of ours asks it for its result, by name, only
 * to learn that it may go on: the iterator it drives gives the result once more. Where
 * there is one it is told an asyncio.Future that is done instead, which it looks into
 * directly. That is a third of what its wake-up costs.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/asyncio_bridge.h"

#include <string.h>

/* What was current, NULL for none; 0 or -1. */
static int
swap_task(FlLoop *loop, PyObject *task, PyObject **previous)
{
    PyObject *args[] = {NULL, FlLoop_Face(loop), task ? task : Py_None};

    *previous = PyObject_Vectorcall(loop->st->swap_task, args + 1,
                                    2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (*previous == NULL)
        return -1;
    if (*previous == Py_None)
        Py_CLEAR(*previous);
    return 0;
}

/* task in the place of another that nobody asks for any more. 0 or -1. */
static int
replace_task(FlLoop *loop, PyObject *task)
{
    FlState *st = loop->st;
    PyObject *gone;

    if (st->current_tasks != NULL)
        return PyDict_SetItem(st->current_tasks, FlLoop_Face(loop), task);
    if (swap_task(loop, task, &gone) < 0)
        return -1;
    Py_XDECREF(gone);
    return 0;
}

/* Mostly no task is current: one look-up in the dict, where CPython has one, stores ours
 * and says so. */
int
FlAsyncio_EnterTask(FlLoop *loop, PyObject *task, PyObject **previous)
{
    FlState *st = loop->st;
    PyObject *current, *stepped = loop->stepped;

    *previous = NULL;
    if (stepped != NULL) {
        int err = stepped == task ? 0 : replace_task(loop, task);

        if (err == 0) {
            loop->stepped = NULL;
            Py_DECREF(stepped);
        }
        return err;
    }
    if (st->current_tasks == NULL)
        return swap_task(loop, task, previous);
    current = PyDict_SetDefault(st->current_tasks, FlLoop_Face(loop), task);
    if (current == NULL)
        return -1;
    if (current == task)
        return 0;
    Py_INCREF(current);
    if (replace_task(loop, task) < 0) {
        Py_DECREF(current);
        return -1;
    }
    *previous = current;
    return 0;
}

int
FlAsyncio_LeaveTask(FlLoop *loop, PyObject *previous)
{
    PyObject *tasks = loop->st->current_tasks;

    if (previous != NULL || tasks == NULL)
        return replace_task(loop, previous);
    if (PyDict_DelItem(tasks, FlLoop_Face(loop)) == 0)
        return 0;
    /* A program that runs loops inside of loops took it out itself. */
    if (!PyErr_ExceptionMatches(PyExc_KeyError))
        return -1;
    PyErr_Clear();
    return 0;
}

void
FlAsyncio_LeaveLater(FlLoop *loop, PyObject *task)
{
    PyObject *before = loop->stepped;

    loop->stepped = Py_NewRef(task);
    Py_XDECREF(before);
}

void
FlAsyncio_LeaveNow(FlLoop *loop)
{
    PyObject *stepped = loop->stepped, *exc;

    if (stepped == NULL)
        return;
    loop->stepped = NULL;
    exc = PyErr_GetRaisedException();
    if (FlAsyncio_LeaveTask(loop, NULL) < 0)
        PyErr_WriteUnraisable(stepped);
    Py_DECREF(stepped);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
}

/* pyfastloop._all_tasks.join(): 0 or -1. */
static int
join_tasks(FlState *st)
{
    PyObject *module = PyImport_ImportModule("pyfastloop._all_tasks"), *res;
    int yes;

    res = module == NULL ? NULL : PyObject_CallMethod(module, "join", NULL);
    yes = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(module);
    Py_XDECREF(res);
    if (yes < 0)
        return -1;
    st->tasks_asked = true;
    st->tasks_joined = yes;
    return 0;
}

int
FlAsyncio_KnowTask(FlState *st, FlTask *task)
{
    PyObject *res;

    if (!st->tasks_asked && join_tasks(st) < 0)
        return -1;
    task->registered = true;
    if (st->tasks_joined)
        return 0;
    res = PyObject_CallOneArg(st->register_task, (PyObject *)task);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The function of asyncio's that wakes a task, once a callback has shown it: the same one
 * for every task of its C implementation. */
static bool
wakes_task(FlState *st, PyObject *callback)
{
    PyObject *task;

    if (!PyCFunction_Check(callback))
        return false;
    if (st->task_wakeup != NULL)
        return PyCFunction_GET_FUNCTION(callback) == st->task_wakeup;
    task = PyCFunction_GET_SELF(callback);
    if (task == NULL || !Py_IS_TYPE(task, (PyTypeObject *)st->AsyncioTask) ||
        strcmp(((PyCFunctionObject *)callback)->m_ml->ml_name, "task_wakeup") != 0)
        return false;
    st->task_wakeup = PyCFunction_GET_FUNCTION(callback);
    return true;
}

PyObject *
FlAsyncio_Tell(FlFuture *future, PyObject *callback)
{
    FlState *st = future->st;

    if (future->state != FL_FUTURE_FINISHED || future->failed || future->loop->debug ||
        !wakes_task(st, callback) || !FlFuture_CheckExact(st, (PyObject *)future))
        return (PyObject *)future;
    return FlState_Lazy(st, &st->told, "pyfastloop._told", "told");
}
