/* stack.c -- the contexts of stack_context, as C meets them.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/stack.h"

PyObject *
FlStack_Get(FlState *st)
{
    PyObject *contexts = NULL;

    if (st->hook_stack_contexts != NULL &&
        PyContextVar_Get(st->hook_stack_contexts, NULL, &contexts) < 0)
        PyErr_WriteUnraisable(st->hook_stack_contexts);
    return contexts;
}

PyObject *
FlStack_WrapIn(FlState *st, PyObject *callable, PyObject *context)
{
    PyObject *wrapped;

    if (st->hook_stack_contexts == NULL)
        return Py_NewRef(callable);
    if (PyContext_Enter(context) < 0)
        return NULL;
    wrapped = FlStack_Wrap(st, callable);
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(wrapped);
    return wrapped;
}

int
FlStack_Settle(FlState *st, PyObject *callable, PyObject *contexts)
{
    PyObject *error, *left = NULL;

    if (st->hook_settle == NULL || !PyErr_ExceptionMatches(PyExc_Exception))
        return 0;
    error = PyErr_GetRaisedException();
    contexts = contexts != NULL ? Py_NewRef(contexts) : FlStack_Get(st);
    if (contexts != NULL && PyTuple_GET_SIZE(contexts) > 0 &&
        !FlStack_IsWrapped(st, callable))
        left = PyObject_CallFunctionObjArgs(st->hook_settle, contexts, error, NULL);
    else
        left = Py_NewRef(error);
    Py_XDECREF(contexts);
    Py_DECREF(error);
    if (left == NULL) /* a fatal one, out of a handler */
        return 0;
    if (left == Py_None) {
        Py_DECREF(left);
        return 1;
    }
    PyErr_SetRaisedException(left);
    return 0;
}

int
FlStack_Leave(FlState *st, PyObject **context)
{
    PyObject *contexts = FlStack_Get(st), *token = NULL;
    bool open = contexts != NULL && PyTuple_GET_SIZE(contexts) > 0;

    *context = NULL;
    Py_XDECREF(contexts);
    if (!open)
        return 0;
    *context = PyContext_CopyCurrent();
    if (*context != NULL && PyContext_Enter(*context) == 0) {
        token = PyContextVar_Set(st->hook_stack_contexts, st->empty_tuple);
        if (PyContext_Exit(*context) < 0)
            Py_CLEAR(token);
    }
    if (token == NULL) {
        Py_CLEAR(*context);
        return -1;
    }
    Py_DECREF(token);
    return 0;
}

int
FlStack_Check(FlState *st, PyObject *before)
{
    PyObject *now = FlStack_Get(st);
    bool same = now == before || before == NULL;

    Py_XDECREF(now);
    if (same)
        return 0;
    PyErr_SetString(st->hook_inconsistent,
                    "stack_context inconsistency (probably caused by yield within a "
                    "\"with StackContext\" block)");
    return -1;
}
