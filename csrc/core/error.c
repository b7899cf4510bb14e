/* error.c -- where exceptions of user code end up.
 *
 * A fatal exception (KeyboardInterrupt, SystemExit) is never logged: it stays set and
 * leaves the loop. Every other one is taken, and a failure while logging goes to
 * sys.unraisablehook, so a function here never leaves an exception that is not fatal.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/loop.h"

#include <stdarg.h>

bool
FlError_IsFatal(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
           PyErr_ExceptionMatches(PyExc_SystemExit);
}

/* What went wrong while an exception was handed on: fatal stays, the rest is printed.
 */
static void
error_settle(PyObject *where)
{
    if (PyErr_Occurred() && !FlError_IsFatal())
        PyErr_WriteUnraisable(where);
}

void
FlLoop_LogException(FlLoop *loop, const char *msg, PyObject *callable)
{
    PyObject *exc, *error = NULL, *args = NULL, *kwargs = NULL, *res = NULL;

    if (FlError_IsFatal())
        return;
    exc = PyErr_GetRaisedException();
    error = PyObject_GetAttr(loop->st->app_log, loop->st->str_error);
    if (callable != NULL)
        args = Py_BuildValue("(NO)", PyUnicode_FromFormat("%s %%r", msg), callable);
    else
        args = Py_BuildValue("(ss)", "%s", msg);
    kwargs = Py_BuildValue("{sO}", "exc_info", exc);
    if (error != NULL && args != NULL && kwargs != NULL)
        res = PyObject_Call(error, args, kwargs);
    error_settle(callable);
    Py_XDECREF(exc);
    Py_XDECREF(error);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    Py_XDECREF(res);
}

int
FlLoop_TellExceptionHandler(FlLoop *loop, const char *msg, PyObject *exc, PyObject *key,
                            PyObject *source)
{
    FlState *st = loop->st;
    PyObject *context = PyDict_New(), *text = PyUnicode_FromString(msg), *res = NULL;

    if (context != NULL && text != NULL &&
        PyDict_SetItem(context, st->str_message, text) == 0 &&
        (exc == NULL || PyDict_SetItem(context, st->str_exception, exc) == 0) &&
        (key == NULL || PyDict_SetItem(context, key, source) == 0))
        res = PyObject_CallMethodOneArg(FlLoop_Face(loop),
                                        st->str_call_exception_handler, context);
    error_settle((PyObject *)loop);
    Py_XDECREF(context);
    Py_XDECREF(text);
    Py_XDECREF(res);
    return PyErr_Occurred() ? -1 : 0;
}

int
FlLoop_CallExceptionHandler(FlLoop *loop, const char *msg, PyObject *key,
                            PyObject *source)
{
    PyObject *exc;
    int err;

    if (FlError_IsFatal())
        return -1;
    exc = PyErr_GetRaisedException();
    err = FlLoop_TellExceptionHandler(loop, msg, exc, key, source);
    Py_XDECREF(exc);
    return err;
}

/* ---- debug mode ---- */

void
FlLoop_ReportSlow(FlLoop *loop, PyObject *who, uint64_t started)
{
    double took = (double)(fl_clock_monotonic() - started) / 1e9;
    PyObject *pending, *seconds, *done = NULL;

    if (took < loop->slow_callback_duration)
        return;
    pending = PyErr_GetRaisedException();
    seconds = PyFloat_FromDouble(took);
    if (seconds != NULL)
        done = PyObject_CallMethodObjArgs((PyObject *)loop, loop->st->str__report_slow,
                                          who, seconds, NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(who);
    Py_XDECREF(seconds);
    Py_XDECREF(done);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

PyObject *
FlLoop_OriginText(PyObject *source_traceback)
{
    Py_ssize_t n = source_traceback == NULL ? 0 : PySequence_Size(source_traceback);
    PyObject *frame, *file, *line, *text = NULL;

    if (n <= 0)
        return n < 0 ? NULL : PyUnicode_FromString("");
    frame = PySequence_GetItem(source_traceback, n - 1);
    file = frame == NULL ? NULL : PyObject_GetAttrString(frame, "filename");
    line = file == NULL ? NULL : PyObject_GetAttrString(frame, "lineno");
    if (line != NULL)
        text = PyUnicode_FromFormat(" created at %S:%S", file, line);
    Py_XDECREF(frame);
    Py_XDECREF(file);
    Py_XDECREF(line);
    return text;
}
