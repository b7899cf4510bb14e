/* loop_call.c -- call_soon and its family, as Python calls them.
 *
 * asyncio's own tasks come through here for every step, so arguments are taken as they
 * arrive and the one keyword is compared by identity first.
 *
 * Layer: core. Threads: the loop's own; call_soon_threadsafe from any.
 */
#include "core/loop_methods.h"

#include "core/args.h"
#include "core/future.h"
#include "core/handle.h"
#include "core/task.h"

static const char *const callback_names[] = {"callback"};
static const char *const delay_names[] = {"delay", "callback"};
static const char *const when_names[] = {"when", "callback"};

/* The `context` keyword: borrowed, NULL for none; -1 with TypeError for any other. */
static int
call_context(FlLoop *loop, const char *method, PyObject *const *kwvalues, PyObject *kw,
             PyObject **context)
{
    *context = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kw); i++) {
        PyObject *name = PyTuple_GET_ITEM(kw, i);

        if (name != loop->st->str_context &&
            PyUnicode_Compare(name, loop->st->str_context) != 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R",
                         method, name);
            return -1;
        }
        if (kwvalues[i] != Py_None)
            *context = kwvalues[i];
    }
    return 0;
}

/* The checks that asyncio makes in debug mode. */
static int
call_check_debug(FlLoop *loop, const char *method, PyObject *callback, bool any_thread)
{
    FlState *st = loop->st;
    PyObject *answer;
    int yes;

    if (!any_thread && FlLoop_CheckThread(loop) < 0)
        return -1;
    if (!PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "a callable object was expected by %s(), got %R",
                     method, callback);
        return -1;
    }
    answer = PyObject_CallOneArg(st->iscoroutine, callback);
    if (answer == Py_False) {
        Py_DECREF(answer);
        answer = PyObject_CallOneArg(st->iscoroutinefunction, callback);
    }
    yes = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    if (yes > 0)
        PyErr_Format(PyExc_TypeError, "coroutines cannot be used with %s()", method);
    return yes ? -1 : 0;
}

/* The callback is args[skip]. */
static inline int
call_prepare(FlLoop *loop, const char *method, Py_ssize_t skip, PyObject *const *args,
             Py_ssize_t nargs, PyObject *kw, PyObject **context, bool any_thread)
{
    *context = NULL;
    if (kw != NULL && call_context(loop, method, args + nargs, kw, context) < 0)
        return -1;
    if (loop->closed)
        return FlLoop_CheckOpen(loop);
    if (loop->debug)
        return call_check_debug(loop, method, args[skip], any_thread);
    return 0;
}

PyObject *
FlLoop_call_soon(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlLoop *loop = (FlLoop *)obj;
    PyObject *context;
    FlHandle *handle;
    int woken;

    if (nargs < 1)
        return FlArgs_Retry("call_soon", obj, args, nargs, kw, FlLoop_call_soon,
                            callback_names, 1);
    woken = loop->debug ? 0 : FlTask_WakeSoon(loop, args[0]);
    if (woken != 0)
        return woken < 0 ? NULL : Py_NewRef(Py_None);
    if (call_prepare(loop, "call_soon", 0, args, nargs, kw, &context, false) < 0)
        return NULL;
    handle = FlHandle_New(loop, args[0], args + 1, nargs - 1, context);
    if (handle != NULL && FlLoop_Defer(loop, FlHandle_Run, (PyObject *)handle) < 0)
        Py_CLEAR(handle);
    return (PyObject *)handle;
}

PyObject *
FlLoop_call_soon_threadsafe(PyObject *obj, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kw)
{
    FlLoop *loop = (FlLoop *)obj;
    PyObject *context;
    FlHandle *handle;

    if (nargs < 1)
        return FlArgs_Retry("call_soon_threadsafe", obj, args, nargs, kw,
                            FlLoop_call_soon_threadsafe, callback_names, 1);
    if (call_prepare(loop, "call_soon_threadsafe", 0, args, nargs, kw, &context, true) <
        0)
        return NULL;
    handle = FlHandle_New(loop, args[0], args + 1, nargs - 1, context);
    if (handle != NULL &&
        FlLoop_DeferThreadsafe(loop, FlHandle_Run, (PyObject *)handle) < 0)
        Py_CLEAR(handle);
    if (handle != NULL)
        FlLoop_HandOver(loop);
    return (PyObject *)handle;
}

static PyObject *
call_timed(FlLoop *loop, double when, PyObject *const *args, Py_ssize_t nargs,
           PyObject *context)
{
    return (PyObject *)FlTimerHandle_New(loop, args[1], args + 2, nargs - 2, context,
                                         when);
}

PyObject *
FlLoop_call_later(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlLoop *loop = (FlLoop *)obj;
    PyObject *context;
    double delay;

    if (nargs < 2)
        return FlArgs_Retry("call_later", obj, args, nargs, kw, FlLoop_call_later,
                            delay_names, 2);
    if (call_prepare(loop, "call_later", 1, args, nargs, kw, &context, false) < 0)
        return NULL;
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    delay = PyFloat_AsDouble(args[0]);
    if (delay == -1.0 && PyErr_Occurred())
        return NULL;
    return call_timed(loop, (double)fl_clock_monotonic() / 1e9 + delay, args, nargs,
                      context);
}

PyObject *
FlLoop_call_at(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlLoop *loop = (FlLoop *)obj;
    PyObject *context;
    double when;

    if (nargs < 2)
        return FlArgs_Retry("call_at", obj, args, nargs, kw, FlLoop_call_at, when_names,
                            2);
    if (call_prepare(loop, "call_at", 1, args, nargs, kw, &context, false) < 0)
        return NULL;
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    when = PyFloat_AsDouble(args[0]);
    if (when == -1.0 && PyErr_Occurred())
        return NULL;
    return call_timed(loop, when, args, nargs, context);
}

PyObject *
FlLoop_time(PyObject *Py_UNUSED(obj), PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble((double)fl_clock_monotonic() / 1e9);
}

PyObject *
FlLoop_create_future(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlLoop *loop = (FlLoop *)obj;

    return FlFuture_New(loop->st, loop);
}
