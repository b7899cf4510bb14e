/* transport_protocol.c -- a transport calls its protocol, and tells where that has failed.
 *
 * The methods that bytes need are looked up once, when the protocol is set; the others by
 * name when their time comes. All run inside the transport's context, and in debug mode
 * what takes long is told.
 *
 * Invariant: on_data and get_buffer are those of `protocol`; one that cannot be set leaves
 * all three as they were.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport_parts.h"

/* ---- calling ---- */

PyObject *
FlTransport_CallIn(FlLoop *loop, PyObject *context, PyObject *who, PyObject *method,
                   PyObject **args, size_t n)
{
    uint64_t started = loop->debug ? fl_clock_monotonic() : 0;
    PyObject *res = NULL;

    Py_INCREF(context);
    Py_INCREF(method);
    if (PyContext_Enter(context) == 0) {
        res = PyObject_Vectorcall(method, args + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                  NULL);
        if (PyContext_Exit(context) < 0)
            Py_CLEAR(res);
    }
    Py_DECREF(method);
    Py_DECREF(context);
    if (started != 0)
        FlLoop_ReportSlow(loop, who, started);
    return res;
}

PyObject *
FlTransport_Call(FlTransport *tr, PyObject *method, PyObject **args, size_t n)
{
    return FlTransport_CallIn(tr->ch.loop, tr->context, (PyObject *)tr, method, args,
                              n);
}

PyObject *
FlTransport_CallByName(FlTransport *tr, PyObject *name, PyObject *arg)
{
    PyObject *args[2] = {NULL, arg}, *res;
    PyObject *method = PyObject_GetAttr(tr->protocol, name);

    if (method == NULL)
        return NULL;
    res = FlTransport_Call(tr, method, args, arg != NULL);
    Py_DECREF(method);
    return res;
}

/* ---- telling ---- */

int
FlTransport_ReportOf(FlLoop *loop, PyObject *who, PyObject *protocol,
                     const char *message)
{
    FlState *st = loop->st;
    PyObject *exc, *context, *done = NULL;

    if (FlError_IsFatal())
        return -1;
    exc = PyErr_GetRaisedException();
    context = Py_BuildValue("{OsOOOOOO}", st->str_message, message, st->str_exception,
                            exc, st->str_transport, who, st->str_protocol,
                            protocol != NULL ? protocol : Py_None);
    if (context != NULL)
        done = PyObject_CallMethodOneArg((PyObject *)loop,
                                         st->str_call_exception_handler, context);
    Py_XDECREF(context);
    Py_DECREF(exc);
    if (done != NULL) {
        Py_DECREF(done);
        return 0;
    }
    if (FlError_IsFatal())
        return -1;
    PyErr_WriteUnraisable(who);
    return 0;
}

int
FlTransport_Report(FlTransport *tr, const char *message)
{
    return FlTransport_ReportOf(tr->ch.loop, (PyObject *)tr, tr->protocol, message);
}

int
FlTransport_Fail(FlTransport *tr, const char *message)
{
    PyObject *exc;
    int err = 0;

    if (FlError_IsFatal())
        return -1;
    exc = PyErr_GetRaisedException();
    if (!PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError)) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        err = FlTransport_Report(tr, message);
    }
    FlTransport_Abort(tr, exc);
    Py_DECREF(exc);
    return err;
}

/* ---- which protocol ---- */

int
FlTransport_SetProtocol(FlTransport *tr, PyObject *protocol)
{
    FlState *st = tr->st;
    PyObject *on_data = NULL, *get_buffer = NULL;
    int buffered = 0;

    if (tr->kind != FL_TRANSPORT_WRITE) {
        buffered = PyObject_IsInstance(protocol, st->BufferedProtocol);
        if (buffered < 0)
            return -1;
    }
    if (buffered) {
        get_buffer = PyObject_GetAttr(protocol, st->str_get_buffer);
        if (get_buffer == NULL)
            return -1;
        on_data = PyObject_GetAttr(protocol, st->str_buffer_updated);
    } else if (PyObject_GetOptionalAttr(protocol, st->str_data_received, &on_data) >=
                   0 &&
               on_data == NULL) {
        on_data = Py_NewRef(Py_None); /* missed when bytes come */
    }
    if (on_data == NULL) {
        Py_XDECREF(get_buffer);
        return -1;
    }
    Py_XSETREF(tr->get_buffer, get_buffer);
    Py_XSETREF(tr->on_data, on_data);
    Py_XSETREF(tr->protocol, Py_NewRef(protocol));
    return 0;
}
