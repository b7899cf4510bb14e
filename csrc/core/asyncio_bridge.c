/* asyncio_bridge.c -- how our tasks show up in asyncio's books.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/asyncio_bridge.h"

/* What was current, NULL for none; 0 or -1. CPython 3.12 and later. */
static int
swap_task(FlState *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    PyObject *args[] = {NULL, loop, task ? task : Py_None};

    *previous = PyObject_Vectorcall(st->swap_task, args + 1,
                                    2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (*previous == NULL)
        return -1;
    if (*previous == Py_None)
        Py_CLEAR(*previous);
    return 0;
}

/* CPython 3.11 has no swap; its own enter and leave work on this dict. Mostly no task
 * is current: one look-up stores ours and says so. */
int
FlAsyncio_EnterTask(FlState *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    PyObject *current;

    *previous = NULL;
    if (st->swap_task != NULL)
        return swap_task(st, loop, task, previous);
    current = PyDict_SetDefault(st->current_tasks, loop, task);
    if (current == NULL)
        return -1;
    if (current == task)
        return 0;
    *previous = Py_NewRef(current);
    if (PyDict_SetItem(st->current_tasks, loop, task) == 0)
        return 0;
    Py_CLEAR(*previous);
    return -1;
}

int
FlAsyncio_LeaveTask(FlState *st, PyObject *loop, PyObject *previous)
{
    PyObject *mine;

    if (st->swap_task != NULL) {
        if (swap_task(st, loop, previous, &mine) < 0)
            return -1;
        Py_XDECREF(mine);
        return 0;
    }
    if (previous != NULL)
        return PyDict_SetItem(st->current_tasks, loop, previous);
    if (PyDict_DelItem(st->current_tasks, loop) == 0)
        return 0;
    /* A program that runs loops inside of loops took it out itself. */
    if (!PyErr_ExceptionMatches(PyExc_KeyError))
        return -1;
    PyErr_Clear();
    return 0;
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
