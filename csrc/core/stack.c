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
FlStack_Wrap(FlState *st, PyObject *callable)
{
    PyObject *contexts = FlStack_Get(st), *wrapped;

    if (contexts != NULL && PyTuple_GET_SIZE(contexts) > 0)
        wrapped = PyObject_CallOneArg(st->hook_wrap, callable);
    else
        wrapped = Py_NewRef(callable);
    Py_XDECREF(contexts);
    return wrapped;
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
