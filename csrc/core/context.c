/* context.c -- the context that a callback will run in, made only where it holds
 * something.
 *
 * The state owns one spare, which is empty. Nested runs find it taken and make another.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/context.h"

/* An empty context into the spare's place, or away. */
static void
context_put(FlState *st, PyObject *context)
{
    if (FL_FREELISTS && st->spare_context == NULL)
        st->spare_context = context;
    else
        Py_DECREF(context);
}

int
FlContext_Snapshot(FlState *st, PyObject **context)
{
    PyObject *copy = PyContext_CopyCurrent();

    *context = NULL;
    if (copy == NULL)
        return -1;
    if (PyMapping_Size(copy) == 0)
        context_put(st, copy);
    else
        *context = copy;
    return 0;
}

PyObject *
FlContext_TakeEmpty(FlState *st)
{
    PyObject *context = st->spare_context;

    st->spare_context = NULL;
    return context != NULL ? context : PyContext_New();
}

bool
FlContext_GiveEmpty(FlState *st, PyObject *context)
{
    if (Py_REFCNT(context) != 1 || PyMapping_Size(context) != 0)
        return false;
    context_put(st, context);
    return true;
}
