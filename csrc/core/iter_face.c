/* iter_face.c -- what send() came to, and what throw() was given.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/iter_face.h"

PyObject *
FlIter_End(PySendResult end, PyObject *result)
{
    if (end == PYGEN_NEXT)
        return result;
    if (end == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);

        Py_DECREF(result);
        if (stop != NULL)
            PyErr_SetRaisedException(stop);
    }
    return NULL;
}

PyObject *
FlIter_Next(PySendResult end, PyObject *result)
{
    if (end != PYGEN_RETURN || result != Py_None)
        return FlIter_End(end, result);
    Py_DECREF(result);
    return NULL;
}

PyObject *
FlIter_Thrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = nargs > 0 ? args[0] : NULL, *exc;

    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError,
                            "throw() takes one to three arguments, got %zd", nargs);
    if (PyExceptionInstance_Check(type)) {
        exc = Py_NewRef(type);
    } else if (PyExceptionClass_Check(type)) {
        PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;

        exc = value != NULL && PyExceptionInstance_Check(value) ? Py_NewRef(value)
              : value != NULL ? PyObject_CallOneArg(type, value)
                              : PyObject_CallNoArgs(type);
    } else {
        return PyErr_Format(PyExc_TypeError,
                            "throw() takes an exception or an exception class, got %R",
                            type);
    }
    if (exc == NULL)
        return NULL;
    if (!PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError, "throw(): calling %R gave %R, not an exception",
                     type, exc);
        Py_CLEAR(exc);
    } else if (nargs > 2 && args[2] != Py_None &&
               PyException_SetTraceback(exc, args[2]) < 0) {
        Py_CLEAR(exc);
    }
    return exc;
}

void
FlIter_RaiseThrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *exc = FlIter_Thrown(args, nargs);

    if (exc != NULL)
        PyErr_SetRaisedException(exc);
}
