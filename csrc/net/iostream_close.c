/* iostream_close.c -- how a stream ends: its futures fail, its callback is called, it goes.
 *
 * Close is two steps: the channel is closed at once, and whoever waits is told; what a
 * stream owns is freed with its last reference. As the channel's owner the stream hears
 * of the end, of progress of its writes and of the connect here.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <stdlib.h>

#include "core/handle.h"

/* ---- futures that a closing stream fails ---- */

PyObject *
fl_stream_closed_error(FlIOStream *s)
{
    PyObject *error = s->error != NULL ? s->error : s->channel.error;
    PyObject *type = FlState_Lazy(s->st, &s->st->StreamClosedError,
                                  "pyfastloop.iostream", "StreamClosedError");

    if (type == NULL)
        return NULL;
    return error == NULL ? PyObject_CallNoArgs(type) : PyObject_CallOneArg(type, error);
}

int
fl_stream_raise_closed(FlIOStream *s)
{
    PyObject *exc = fl_stream_closed_error(s);

    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    return -1;
}

void
fl_stream_fail_future(FlIOStream *s, PyObject **future)
{
    PyObject *failed = *future;
    PyObject *exc;

    if (failed == NULL)
        return;
    *future = NULL;
    if (FlFuture_Done(failed))
        exc = NULL;
    else if (s->closed_error != NULL)
        exc = PyObject_CallFunction(s->closed_error, "s", "the connection was closed");
    else
        exc = fl_stream_closed_error(s);
    if (exc != NULL && FlFuture_SetExceptionUnlessDone(failed, exc) == 0)
        (void)FlFuture_Exception(failed); /* silent when nobody awaits it */
    if (PyErr_Occurred())
        PyErr_WriteUnraisable(failed);
    Py_XDECREF(exc);
    Py_DECREF(failed);
}

/* A reset by the peer ends a read_until_close as a clean end does. */
static bool
clean_end(FlIOStream *s)
{
    PyObject *error = s->error != NULL ? s->error : s->channel.error;

    return error == NULL ||
           PyErr_GivenExceptionMatches(error, PyExc_ConnectionResetError) ||
           PyErr_GivenExceptionMatches(error, PyExc_ConnectionAbortedError) ||
           PyErr_GivenExceptionMatches(error, PyExc_BrokenPipeError);
}

void
fl_stream_signal_closed(FlIOStream *s)
{
    PyObject *pending = PyErr_GetRaisedException();
    PyObject *handle;

    Py_INCREF(s);
    if (s->read_kind == FL_READ_CLOSE && clean_end(s))
        fl_stream_finish_until_close(s);
    if (s->read_future != NULL) {
        PyObject *future = s->read_future;

        s->read_future = NULL;
        if (fl_stream_abandon_read(s) < 0)
            PyErr_WriteUnraisable((PyObject *)s);
        fl_stream_fail_future(s, &future);
    }
    fl_stream_wrote(s);
    while (s->writes_len > 0) {
        PyObject *future = s->writes[s->writes_at].future;

        s->writes_at = (s->writes_at + 1) & (s->writes_room - 1);
        s->writes_len--;
        fl_stream_fail_future(s, &future);
    }
    if (fl_ssl_check(s))
        fl_ssl_signal_closed(s);
    fl_stream_fail_future(s, &s->connect_future);
    handle = s->close_handle;
    s->close_handle = NULL;
    if (handle != NULL && FlLoop_Defer(s->channel.loop, FlHandle_Run, handle) < 0)
        PyErr_Clear(); /* the loop is closed: nothing runs any more */
    Py_XDECREF(handle);
    Py_DECREF(s);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

void
fl_stream_close(FlIOStream *s, PyObject *exc)
{
    Py_INCREF(s);
    FlChannel_Close(&s->channel, exc);
    fl_stream_signal_closed(s);
    Py_DECREF(s);
}

/* ---- as the channel's owner ---- */

static int
owner_deferred(FlLoop *loop, PyObject *obj)
{
    (void)loop;
    return FlChannel_Deferred(&((FlIOStream *)obj)->channel);
}

static void
owner_wrote(FlChannel *ch)
{
    fl_stream_wrote(fl_stream_of(ch));
}

static void
owner_closed(FlChannel *ch, PyObject *exc)
{
    (void)exc;
    fl_stream_signal_closed(fl_stream_of(ch));
}

static void
owner_connected(FlChannel *ch)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *future = s->connect_future;

    if (ch->closed) {
        fl_stream_signal_closed(s);
        return;
    }
    if (fl_ssl_check(s)) {
        fl_ssl_connected(s);
        return;
    }
    s->connect_future = NULL;
    if (future != NULL && FlFuture_SetResultUnlessDone(future, (PyObject *)s) < 0)
        PyErr_WriteUnraisable(future);
    Py_XDECREF(future);
}

const FlChannelOwnerOps fl_stream_owner = {
    .deferred = owner_deferred,
    .wrote = owner_wrote,
    .closed = owner_closed,
    .connected = owner_connected,
};

/* ---- the end ---- */

int
fl_stream_traverse(PyObject *self, visitproc visit, void *arg)
{
    FlIOStream *s = (FlIOStream *)self;
    int err = FlChannel_Traverse(&s->channel, visit, arg);

    if (err != 0)
        return err;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(s->socket);
    Py_VISIT(s->error);
    Py_VISIT(s->read_future);
    Py_VISIT(s->read_arg);
    Py_VISIT(s->streaming);
    if (s->into != NULL)
        Py_VISIT(s->into->obj);
    for (uint32_t i = 0; i < s->writes_len; i++)
        Py_VISIT(s->writes[(s->writes_at + i) & (s->writes_room - 1)].future);
    Py_VISIT(s->connect_future);
    Py_VISIT(s->close_handle);
    Py_VISIT(s->closed_error);
    Py_VISIT(s->dict);
    if (fl_ssl_check(s))
        return fl_ssl_traverse(s, visit, arg);
    return 0;
}

int
fl_stream_clear(PyObject *self)
{
    FlIOStream *s = (FlIOStream *)self;

    Py_CLEAR(s->error);
    Py_CLEAR(s->read_future);
    Py_CLEAR(s->streaming);
    while (s->writes_len > 0) {
        PyObject *future = s->writes[s->writes_at].future;

        s->writes_at = (s->writes_at + 1) & (s->writes_room - 1);
        s->writes_len--;
        Py_DECREF(future);
    }
    Py_CLEAR(s->connect_future);
    Py_CLEAR(s->close_handle);
    Py_CLEAR(s->closed_error);
    Py_CLEAR(s->dict);
    if (fl_ssl_check(s))
        fl_ssl_clear(s);
    return 0;
}

void
fl_stream_dealloc(PyObject *self)
{
    FlIOStream *s = (FlIOStream *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject *pending;

    PyObject_GC_UnTrack(self); /* making the exception may call the collector */
    pending = PyErr_GetRaisedException();
    if (s->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    s->dying = true;
    FlChannel_Clear(&s->channel);
    (void)fl_stream_clear(self);
    if (s->into != NULL) {
        PyBuffer_Release(s->into);
        free(s->into);
    }
    Py_CLEAR(s->sink);
    Py_CLEAR(s->read_arg);
    Py_CLEAR(s->socket);
    free(s->writes);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
    type->tp_free(self);
    Py_DECREF(type);
}
