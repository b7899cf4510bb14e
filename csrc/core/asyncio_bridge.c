/* asyncio_bridge.c -- how our tasks show up in asyncio's books.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/asyncio_bridge.h"

/* CPython 3.11 has no swap; enter and leave work on this dict. */
static int
swap_in_dict(PyObject *tasks, PyObject *loop, PyObject *task, PyObject **previous)
{
    if (PyDict_GetItemRef(tasks, loop, previous) < 0)
        return -1;
    if (task != NULL)
        return PyDict_SetItem(tasks, loop, task);
    return *previous == NULL ? 0 : PyDict_DelItem(tasks, loop);
}

int
FlAsyncio_SwapTask(FlState *st, PyObject *loop, PyObject *task, PyObject **previous)
{
    PyObject *args[] = {NULL, loop, task ? task : Py_None};

    *previous = NULL;
    if (st->swap_task == NULL)
        return swap_in_dict(st->current_tasks, loop, task, previous);
    *previous = PyObject_Vectorcall(st->swap_task, args + 1,
                                    2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (*previous == NULL)
        return -1;
    if (*previous == Py_None)
        Py_CLEAR(*previous);
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
