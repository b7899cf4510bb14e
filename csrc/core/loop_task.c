/* loop_task.c -- create_task.
 *
 * asyncio.Task by default, because programs ask for the type; ours where the loop was
 * told so; whatever a task factory makes where one is set.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/loop_methods.h"

#include "core/task.h"

#define MAX_KEYWORDS 8

/* Calls factory(coro, loop=loop, **keywords of the caller). */
static PyObject *
create_by_class(FlLoop *loop, PyObject *factory, PyObject *coro,
                PyObject *const *values, PyObject *kw)
{
    Py_ssize_t n = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);
    PyObject *args[3 + MAX_KEYWORDS] = {NULL, coro, (PyObject *)loop};
    PyObject *names, *task;

    if (n > MAX_KEYWORDS)
        return PyErr_Format(PyExc_TypeError, "create_task() takes %d keywords at most",
                            MAX_KEYWORDS);
    names = PyTuple_New(1 + n);
    if (names == NULL)
        return NULL;
    PyTuple_SET_ITEM(names, 0, Py_NewRef(loop->st->str_loop));
    for (Py_ssize_t i = 0; i < n; i++) {
        PyTuple_SET_ITEM(names, 1 + i, Py_NewRef(PyTuple_GET_ITEM(kw, i)));
        args[3 + i] = values[i];
    }
    task = PyObject_Vectorcall(factory, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               names);
    Py_DECREF(names);
    return task;
}

PyObject *
FlLoop_create_task(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlLoop *loop = (FlLoop *)obj;
    FlState *st = loop->st;

    if (FlLoop_CheckOpen(loop) < 0)
        return NULL;
    if (nargs != 1) {
        PyErr_Format(
            PyExc_TypeError,
            "create_task() takes one coroutine and keywords, got %zd arguments", nargs);
        return NULL;
    }
    if (loop->task_factory != NULL && loop->task_factory != Py_None) {
        PyObject *method = PyObject_GetAttr(obj, st->str__create_by_factory);
        PyObject *task = method == NULL
                             ? NULL
                             : PyObject_Vectorcall(method, args, (size_t)nargs, kw);

        Py_XDECREF(method);
        return task;
    }
    if (!loop->own_tasks)
        return create_by_class(loop, st->AsyncioTask, args[0], args + nargs, kw);
    if (kw == NULL && PyCoro_CheckExact(args[0]))
        return FlTask_New(st, loop, args[0], NULL, NULL);
    return create_by_class(loop, (PyObject *)st->Task_type, args[0], args + nargs, kw);
}
