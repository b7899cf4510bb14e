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

/* ---- a StopIteration that is used again ---- */

/* Lets one of ours, whose args nobody else has, say value. escapes */
static void
stop_say(PyObject *stop, PyObject *value)
{
    PyStopIterationObject *self = (PyStopIterationObject *)stop;
    PyObject *old = PyTuple_GET_ITEM(self->args, 0), *older = self->value;

    PyTuple_SET_ITEM(self->args, 0, Py_NewRef(value));
    self->value = Py_NewRef(value);
    /* The collector leaves out tuples that held nothing of interest to it. */
    if (!PyObject_GC_IsTracked(self->args))
        PyObject_GC_Track(self->args);
    Py_DECREF(old);
    Py_DECREF(older);
}

/* Nobody else has it or its args, and it is as it was made. */
static bool
stop_is_plain(PyObject *stop)
{
    PyStopIterationObject *self = (PyStopIterationObject *)stop;

    return Py_REFCNT(stop) == 1 && self->dict == NULL && self->notes == NULL &&
           self->traceback == NULL && self->context == NULL && self->cause == NULL &&
           self->value != NULL && PyTuple_CheckExact(self->args) &&
           Py_REFCNT(self->args) == 1 && PyTuple_GET_SIZE(self->args) == 1;
}

PyObject *
FlIter_NextKept(FlState *st, PySendResult end, PyObject *result, PyObject **stop)
{
    if (end != PYGEN_RETURN || result == Py_None || *stop != NULL)
        return FlIter_Next(end, result);
    *stop = st->spare_stop;
    st->spare_stop = NULL;
    if (*stop != NULL)
        stop_say(*stop, result);
    else
        *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (*stop != NULL)
        PyErr_SetRaisedException(Py_NewRef(*stop));
    return NULL;
}

void
FlIter_GiveStop(FlState *st, PyObject **kept)
{
    PyObject *stop = *kept;

    *kept = NULL;
    if (FL_FREELISTS && stop_is_plain(stop)) {
        stop_say(stop, Py_None);
        if (st->spare_stop == NULL) {
            st->spare_stop = stop;
            return;
        }
    }
    Py_DECREF(stop);
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
