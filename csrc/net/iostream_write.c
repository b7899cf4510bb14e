/* iostream_write.c -- writes and their futures, the connect, and the forms of a call.
 *
 * A write that the kernel takes at once returns a future that is done. The others wait
 * in a ring of (total_sent at which it is done, future), in the order of the writes.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/stack.h"

/* ---- the forms of a call ---- */

static int
take_keyword(FlStreamCall *call, const char *method, const char *const names[2],
             PyObject *key, PyObject *value)
{
    PyObject **place = NULL;

    if (names[0] != NULL && PyUnicode_CompareWithASCIIString(key, names[0]) == 0)
        place = &call->arg;
    else if (names[1] != NULL && PyUnicode_CompareWithASCIIString(key, names[1]) == 0)
        place = &call->option;
    else if (PyUnicode_CompareWithASCIIString(key, "callback") == 0)
        place = &call->callback;
    else if (PyUnicode_CompareWithASCIIString(key, "streaming_callback") == 0)
        place = &call->streaming;
    if (place == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     method, key);
        return -1;
    }
    if (*place != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'",
                     method, key);
        return -1;
    }
    *place = value == Py_None ? NULL : value;
    return 0;
}

int
fl_stream_parse(FlStreamCall *call, const char *method, const char *const names[2],
                PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t i = 0;

    memset(call, 0, sizeof *call);
    if (names[0] != NULL && nargs > 0)
        call->arg = args[i++];
    for (; i < nargs; i++) {
        PyObject *value = args[i];

        if (value == Py_None)
            continue;
        if (PyCallable_Check(value) && call->callback == NULL) {
            call->callback = value;
        } else if (PyCallable_Check(value) && call->streaming == NULL) {
            call->streaming = value;
        } else if (names[1] != NULL && call->option == NULL) {
            call->option = value;
        } else {
            PyErr_Format(PyExc_TypeError, "%s() got too many positional arguments",
                         method);
            return -1;
        }
    }
    for (i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++)
        if (take_keyword(call, method, names, PyTuple_GET_ITEM(kwnames, i),
                         args[nargs + i]) < 0)
            return -1;
    if (names[0] != NULL && call->arg == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", method,
                     names[0]);
        return -1;
    }
    return 0;
}

/* Runs the callback of a call whose future is done: entry is (stream, future, callback,
 * context, takes the result). A stream that closed tells by its close callback only. */
static int
run_call_back(FlLoop *loop, PyObject *entry)
{
    FlIOStream *s = (FlIOStream *)PyTuple_GET_ITEM(entry, 0);
    PyObject *callback = PyTuple_GET_ITEM(entry, 2);
    PyObject *context = PyTuple_GET_ITEM(entry, 3);
    PyObject *result = FlFuture_Result(PyTuple_GET_ITEM(entry, 1));
    PyObject *done = NULL;
    int err = 0;

    if (result == NULL) {
        if (s->channel.closed || PyErr_ExceptionMatches(s->st->CancelledError)) {
            PyErr_Clear();
            return 0;
        }
    } else if (PyContext_Enter(context) == 0) {
        done = PyTuple_GET_ITEM(entry, 4) == Py_True
                   ? PyObject_CallOneArg(callback, result)
                   : PyObject_CallNoArgs(callback);
        if (done == NULL && FlStack_Settle(s->st, callback, NULL) > 0)
            done = Py_NewRef(Py_None);
        PyObject *exc = PyErr_GetRaisedException();

        if (PyContext_Exit(context) < 0 && exc == NULL)
            exc = PyErr_GetRaisedException();
        if (exc != NULL)
            PyErr_SetRaisedException(exc);
    }
    if (PyErr_Occurred()) {
        PyObject *exc;

        if (FlError_IsFatal())
            err = -1;
        exc = PyErr_GetRaisedException();
        fl_stream_close(s, exc);
        PyErr_SetRaisedException(exc);
        if (err == 0)
            FlLoop_LogException(loop, "Uncaught exception, closing connection.", NULL);
    }
    Py_XDECREF(result);
    Py_XDECREF(done);
    return err;
}

PyObject *
fl_stream_answer(FlIOStream *s, const FlStreamCall *call, PyObject *future,
                 bool with_value)
{
    PyObject *context, *entry;
    int err;

    if (future == NULL || call->callback == NULL)
        return future;
    context = PyContext_CopyCurrent();
    entry = context == NULL ? NULL
                            : PyTuple_Pack(5, s, future, call->callback, context,
                                           with_value ? Py_True : Py_False);
    Py_XDECREF(context);
    err = entry == NULL ? -1 : FlFuture_AddWaiter(future, run_call_back, entry);
    Py_XDECREF(entry);
    Py_DECREF(future);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- write ---- */

static int
push_write(FlIOStream *s, PyObject *future)
{
    if (s->writes_len == s->writes_room) {
        uint32_t room = s->writes_room == 0 ? 4 : 2 * s->writes_room;
        FlWriteFuture *writes = malloc(room * sizeof *writes);

        if (writes == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        for (uint32_t i = 0; i < s->writes_len; i++)
            writes[i] = s->writes[(s->writes_at + i) & (s->writes_room - 1)];
        free(s->writes);
        s->writes = writes;
        s->writes_at = 0;
        s->writes_room = room;
    }
    FlWriteFuture *entry =
        &s->writes[(s->writes_at + s->writes_len) & (s->writes_room - 1)];

    entry->at = s->channel.total_queued;
    entry->future = Py_NewRef(future);
    s->writes_len++;
    return 0;
}

static PyObject *
pop_write(FlIOStream *s)
{
    PyObject *future = s->writes[s->writes_at].future;

    s->writes_at = (s->writes_at + 1) & (s->writes_room - 1);
    s->writes_len--;
    return future;
}

void
fl_stream_wrote(FlIOStream *s)
{
    if (s->channel.queue_len == 0)
        s->appended = false;
    while (s->writes_len > 0 && s->writes[s->writes_at].at <= s->channel.total_sent) {
        PyObject *future = pop_write(s);

        if (FlFuture_SetResultUnlessDone(future, Py_None) < 0)
            PyErr_WriteUnraisable(future);
        Py_DECREF(future);
    }
}

static int
within_bound(FlIOStream *s, size_t n)
{
    size_t bound = (size_t)s->max_write_buffer_size;

    if (s->max_write_buffer_size < 0 || n == 0 ||
        (s->channel.queued <= bound && n <= bound - s->channel.queued))
        return 0;
    PyErr_Format(s->st->hook_StreamBufferFullError,
                 "Reached maximum write buffer size (max_write_buffer_size is %zd "
                 "bytes, %zu are waiting)",
                 s->max_write_buffer_size, s->channel.queued);
    return -1;
}

/* Hands data to the channel, queued by reference where that is possible. 0 or -1. */
static int
write_data(FlIOStream *s, PyObject *data)
{
    PyObject *view;
    Py_buffer *buffer;
    int err;

    if (PyBytes_Check(data)) {
        size_t n = (size_t)PyBytes_GET_SIZE(data);

        if (within_bound(s, n) < 0)
            return -1;
        return FlChannel_Write(&s->channel, data, PyBytes_AS_STRING(data), n);
    }
    if (!PyObject_CheckBuffer(data)) {
        PyErr_Format(PyExc_TypeError,
                     "write() takes bytes, bytearray or memoryview, not %.100s",
                     Py_TYPE(data)->tp_name);
        return -1;
    }
    /* The view keeps the buffer exported (a bytearray cannot be resized) until it was
     * sent, or the stream closes. */
    view = PyMemoryView_FromObject(data);
    if (view != NULL && !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(view), 'C'))
        Py_SETREF(view, PyMemoryView_GetContiguous(data, PyBUF_READ, 'C'));
    if (view == NULL)
        return -1;
    buffer = PyMemoryView_GET_BUFFER(view);
    err = within_bound(s, (size_t)buffer->len);
    if (err == 0)
        err = FlChannel_Write(&s->channel, view, buffer->buf, (size_t)buffer->len);
    Py_DECREF(view);
    return err;
}

/* The future of a write; NULL with an exception. */
static PyObject *
write_now(FlIOStream *s, PyObject *data)
{
    PyObject *future;

    if (s->channel.closed) {
        fl_stream_raise_closed(s);
        return NULL;
    }
    if (write_data(s, data) < 0)
        return NULL;
    if (s->appended && FlChannel_Flush(&s->channel) < 0)
        return NULL;
    if (!s->channel.closed && s->channel.total_sent >= s->channel.total_queued)
        return FlFuture_NewDone(s->st, Py_None);
    future = FlFuture_New(s->st, s->channel.loop);
    if (future == NULL)
        return NULL;
    if (s->channel.closed) {
        PyObject *failed = Py_NewRef(future);

        fl_stream_fail_future(s, &failed);
        fl_stream_signal_closed(s);
    } else if (push_write(s, future) < 0) {
        Py_DECREF(future);
        return NULL;
    }
    return future;
}

PyObject *
fl_stream_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    static const char *const names[2] = {"data", NULL};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;

    if (fl_stream_parse(&call, "write", names, args, nargs, kwnames) < 0 ||
        fl_stream_check(s) < 0)
        return NULL;
    return fl_stream_answer(s, &call, write_now(s, call.arg), false);
}

PyObject *
FlIOStream_WriteBytes(PyObject *stream, PyObject *bytes)
{
    return write_now((FlIOStream *)stream, bytes);
}

/* ---- connect ---- */

/* Begins to connect the socket. 1: under way, 0: connected, -1 with OSError. */
static int
begin_connect(FlIOStream *s, PyObject *address)
{
    PyObject *done = PyObject_CallMethodOneArg(s->socket, s->st->str_connect, address);

    if (done != NULL) {
        Py_DECREF(done);
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError))
        return -1;
    PyErr_Clear();
    return 1;
}

PyObject *
fl_stream_connect(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames)
{
    static const char *const names[2] = {"address", "server_hostname"};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;
    PyObject *future;
    int state;

    if (fl_stream_parse(&call, "connect", names, args, nargs, kwnames) < 0 ||
        fl_stream_check(s) < 0)
        return NULL;
    if (s->channel.closed) {
        fl_stream_raise_closed(s);
        return NULL;
    }
    if (s->socket == NULL || s->connect_future != NULL) {
        PyErr_SetString(PyExc_RuntimeError, s->socket == NULL
                                                ? "this stream is connected already"
                                                : "connect() was called already");
        return NULL;
    }
    future = FlFuture_New(s->st, s->channel.loop);
    if (future == NULL)
        return NULL;
    s->connect_future = Py_NewRef(future);
    state = begin_connect(s, call.arg);
    if (state < 0 && !PyErr_ExceptionMatches(PyExc_OSError)) {
        Py_CLEAR(s->connect_future);
        Py_DECREF(future);
        return NULL;
    }
    /* An immediate success is told through the loop too, as every other. */
    if (state >= 0 && FlChannel_AwaitConnect(&s->channel) < 0)
        state = -1;
    if (state < 0) {
        PyObject *exc = PyErr_GetRaisedException();

        if (call.callback != NULL) {
            PyObject *logged = PyObject_CallMethod(s->st->gen_log, "warning", "siO",
                                                   "Connect error on fd %s: %s",
                                                   s->channel.watch.fd, exc);

            if (logged == NULL)
                PyErr_WriteUnraisable(self);
            Py_XDECREF(logged);
        }
        fl_stream_close(s, exc);
        Py_DECREF(exc);
    }
    return fl_stream_answer(s, &call, future, false);
}

/* ---- _write_buffer ---- */

typedef struct {
    PyObject_HEAD
    FlIOStream *stream; /* owned */
} FlStreamWriteBuffer;

PyObject *
FlStreamWriteBuffer_New(FlIOStream *s)
{
    PyTypeObject *type = s->st->StreamWriteBuffer_type;
    FlStreamWriteBuffer *buffer = (FlStreamWriteBuffer *)type->tp_alloc(type, 0);

    if (buffer != NULL)
        buffer->stream = (FlIOStream *)Py_NewRef((PyObject *)s);
    return (PyObject *)buffer;
}

static int
write_buffer_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((FlStreamWriteBuffer *)self)->stream);
    return 0;
}

static int
write_buffer_clear(PyObject *self)
{
    Py_CLEAR(((FlStreamWriteBuffer *)self)->stream);
    return 0;
}

static void
write_buffer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)write_buffer_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
write_buffer_append(PyObject *self, PyObject *data)
{
    FlIOStream *s = ((FlStreamWriteBuffer *)self)->stream;
    PyObject *view = PyMemoryView_FromObject(data);
    Py_buffer *buffer;
    int err;

    if (view != NULL && !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(view), 'C'))
        Py_SETREF(view, PyMemoryView_GetContiguous(data, PyBUF_READ, 'C'));
    if (view == NULL)
        return NULL;
    buffer = PyMemoryView_GET_BUFFER(view);
    err = FlChannel_Append(&s->channel, view, buffer->buf, (size_t)buffer->len);
    s->appended = true;
    Py_DECREF(view);
    return err < 0 ? NULL : Py_NewRef(Py_None);
}

static Py_ssize_t
write_buffer_len(PyObject *self)
{
    return (Py_ssize_t)((FlStreamWriteBuffer *)self)->stream->channel.queued;
}

static PyMethodDef write_buffer_methods[] = {
    {"append", write_buffer_append, METH_O,
     PyDoc_STR("Queue data without sending or counting it; the next write() sends.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot write_buffer_slots[] = {
    {Py_tp_traverse, write_buffer_traverse}, {Py_tp_clear, write_buffer_clear},
    {Py_tp_dealloc, write_buffer_dealloc},   {Py_tp_methods, write_buffer_methods},
    {Py_sq_length, write_buffer_len},        {0, NULL},
};

static PyType_Spec write_buffer_spec = {
    .name = "pyfastloop._core.StreamWriteBuffer",
    .basicsize = sizeof(FlStreamWriteBuffer),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = write_buffer_slots,
};

int
FlStreamWriteBuffer_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->StreamWriteBuffer_type, &write_buffer_spec,
                           NULL, true);
}
