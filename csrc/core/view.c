/* view.c -- see view.h.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/view.h"

#include "core/compat.h"

void
FlView_End(PyObject *view)
{
    PyObject *exc, *released;

    if (view != NULL && Py_REFCNT(view) > 1) {
        exc = PyErr_GetRaisedException();
        released = PyObject_CallMethod(view, "release", NULL);
        if (released == NULL)
            PyErr_WriteUnraisable(view);
        Py_XDECREF(released);
        if (exc != NULL)
            PyErr_SetRaisedException(exc);
    }
    Py_XDECREF(view);
}
