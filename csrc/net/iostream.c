/* iostream.c -- the stream types: their methods, and what one may look at.
 *
 *   BaseIOStream            bytes move through the five methods of a Python subclass
 *   IOStream                a socket
 *   SSLIOStream (ssl_stream.c)
 *   PipeIOStream            a pipe, FIFO or terminal
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "core/args.h"
#include "core/handle.h"
#include "sys/sockets.h"

/* ---- methods ---- */

static PyObject *
exception_of(PyObject *exc_info)
{
    PyObject *exc = NULL;

    if (exc_info == Py_True)
        return PyErr_GetHandledException();
    if (PyTuple_Check(exc_info) && PyTuple_GET_SIZE(exc_info) == 3)
        exc = PyTuple_GET_ITEM(exc_info, 1);
    else if (PyExceptionInstance_Check(exc_info))
        exc = exc_info;
    return exc == NULL || exc == Py_None ? NULL : Py_NewRef(exc);
}

static PyObject *
stream_close(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"exc_info", NULL};
    FlIOStream *s = (FlIOStream *)self;
    PyObject *exc_info = Py_False, *exc, *raised = NULL;
    int err = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:close", names, &exc_info) ||
        fl_stream_check(s) < 0)
        return NULL;
    exc = exception_of(exc_info);
    if (exc == Py_None)
        Py_CLEAR(exc);
    /* What is held back for the rest of this turn was written, to who wrote it. */
    if (s->channel.corked > 0)
        err = FlChannel_Flush(&s->channel);
    if (err < 0)
        raised = PyErr_GetRaisedException();
    if (!s->channel.closed)
        fl_stream_close(s, exc);
    Py_XDECREF(exc);
    if (err == 0)
        Py_RETURN_NONE;
    PyErr_SetRaisedException(raised);
    return NULL;
}

static PyObject *
stream_closed(PyObject *self, PyObject *unused)
{
    FlIOStream *s = (FlIOStream *)self;

    (void)unused;
    return fl_stream_check(s) < 0 ? NULL : PyBool_FromLong(s->channel.closed);
}

static PyObject *
stream_reading(PyObject *self, PyObject *unused)
{
    FlIOStream *s = (FlIOStream *)self;

    (void)unused;
    return PyBool_FromLong(s->read_kind != FL_READ_NONE ||
                           (fl_ssl_check(s) && !s->channel.closed &&
                            ((FlSSLIOStream *)s)->handshaking &&
                            ((FlSSLIOStream *)s)->connected));
}

static PyObject *
stream_writing(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((FlIOStream *)self)->channel.queue_len > 0);
}

static PyObject *
stream_set_close_callback(PyObject *self, PyObject *callback)
{
    FlIOStream *s = (FlIOStream *)self;
    FlHandle *handle = NULL;

    if (fl_stream_check(s) < 0)
        return NULL;
    if (callback != Py_None) {
        handle = FlHandle_New(s->channel.loop, callback, NULL, 0, NULL);
        if (handle == NULL)
            return NULL;
        handle->kind = FL_HANDLE_IOLOOP;
    }
    Py_XSETREF(s->close_handle, (PyObject *)handle);
    if (s->channel.closed && s->channel.told)
        fl_stream_signal_closed(s);
    if (fl_stream_update_reading(s) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
stream_set_nodelay(PyObject *self, PyObject *value)
{
    FlIOStream *s = (FlIOStream *)self;
    int on = PyObject_IsTrue(value);

    if (on < 0)
        return NULL;
    /* Sockets of other families say that they know no such option. */
    if (s->channel.watch.fd >= 0 && !s->pipe)
        (void)fl_socket_nodelay(s->channel.watch.fd, on);
    Py_RETURN_NONE;
}

/* (socket) of a stream that is idle, which is closed by it without closing the socket. */
static PyObject *
stream_release_socket(PyObject *self, PyObject *unused)
{
    FlIOStream *s = (FlIOStream *)self;
    PyObject *sock;

    (void)unused;
    if (fl_stream_check(s) < 0)
        return NULL;
    if (s->channel.closed) {
        fl_stream_raise_closed(s);
        return NULL;
    }
    sock = PyObject_GetAttrString(self, "socket");
    if (sock == NULL)
        return NULL;
    if (FlChannel_Release(&s->channel) < 0) {
        Py_DECREF(sock);
        return NULL;
    }
    Py_CLEAR(s->socket);
    Py_CLEAR(s->close_handle);
    return sock;
}

static PyObject *
stream_start_tls(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;
    PyObject *full, *result;

    if (fl_stream_check(s) < 0)
        return NULL;
    if (s->st->hook_start_tls == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "pyfastloop.iostream was not imported");
        return NULL;
    }
    full = PyTuple_New(PyTuple_GET_SIZE(args) + 1);
    if (full == NULL)
        return NULL;
    PyTuple_SET_ITEM(full, 0, Py_NewRef(self));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++)
        PyTuple_SET_ITEM(full, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    result = PyObject_Call(s->st->hook_start_tls, full, kwargs);
    Py_DECREF(full);
    return result;
}

static PyObject *
not_implemented(PyObject *self, PyObject *unused)
{
    (void)unused;
    PyErr_Format(PyExc_NotImplementedError,
                 "%.100s must override read_from_fd, write_to_fd, close_fd and fileno",
                 Py_TYPE(self)->tp_name);
    return NULL;
}

static PyObject *
not_implemented_of(PyObject *self, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    return not_implemented(self, args);
}

static PyObject *
no_fd_error(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_NONE;
}

#define FAST(name, args, doc)                              \
    {#name, (PyCFunction)(void (*)(void))fl_stream_##name, \
     METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(#name "($self" args ")\n--\n\n" doc)}

/* Of the methods that reach the descriptor, in each of the tables. */
PyDoc_STRVAR(read_from_fd_doc,
             "read_from_fd($self, buf)\n--\n\n"
             "Receive into buf: the count, 0 at the end, None when nothing is there.");
PyDoc_STRVAR(write_to_fd_doc,
             "write_to_fd($self, data)\n--\n\n"
             "Send of data and give the count; BlockingIOError when none goes.");
PyDoc_STRVAR(close_fd_doc, "close_fd($self)\n--\n\n"
                           "Close the descriptor under the stream.");
PyDoc_STRVAR(fileno_doc, "fileno($self)\n--\n\n"
                         "The descriptor under the stream.");
PyDoc_STRVAR(get_fd_error_doc,
             "get_fd_error($self)\n--\n\n"
             "The error the kernel keeps for the descriptor, or None.");

FL_ONE_ARGUMENT(fl_stream_read_from_fd, "read_from_fd", "buf")
FL_ONE_ARGUMENT(fl_stream_write_to_fd, "write_to_fd", "data")
FL_ONE_ARGUMENT(stream_set_close_callback, "set_close_callback", "callback")
FL_ONE_ARGUMENT(stream_set_nodelay, "set_nodelay", "value")

static PyMethodDef base_methods[] = {
    FAST(read_bytes,
         ", num_bytes, partial=False, *more, callback=None, streaming_callback=None",
         "Read num_bytes bytes, or with partial whatever there is of them.\n"
         "A future of bytes."),
    FAST(read_into, ", buf, partial=False, *more, callback=None",
         "Fill the writable buffer buf, or with partial part of it.\n"
         "A future of the count; buf is written to until then."),
    FAST(read_until, ", delimiter, max_bytes=None, *more, callback=None",
         "Read up to and including delimiter. Past max_bytes the stream is\n"
         "closed; .error is then an UnsatisfiableReadError."),
    FAST(read_until_regex, ", regex, max_bytes=None, *more, callback=None",
         "Read up to and including the first match of regex."),
    FAST(read_until_close, ", callback=None, streaming_callback=None",
         "Read everything until the peer closes."),
    FAST(write, ", data, callback=None",
         "Send data (bytes, bytearray, memoryview). A future that is done when\n"
         "all of it was handed to the system."),
    {"close", (PyCFunction)(void (*)(void))stream_close, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("close($self, exc_info=False)\n--\n\n"
               "Close now. exc_info (True, a tuple or an exception) becomes .error.")},
    {"closed", stream_closed, METH_NOARGS,
     PyDoc_STR("closed($self)\n--\n\n"
               "Whether the stream is closed.")},
    {"reading", stream_reading, METH_NOARGS,
     PyDoc_STR("reading($self)\n--\n\n"
               "Whether a read is pending.")},
    {"writing", stream_writing, METH_NOARGS,
     PyDoc_STR("writing($self)\n--\n\n"
               "Whether bytes wait to be sent.")},
    {"set_close_callback", FL_ONE_ARGUMENT_METHOD(stream_set_close_callback),
     PyDoc_STR("set_close_callback($self, callback)\n--\n\n"
               "Call callback() from the loop once the stream is closed.")},
    {"set_nodelay", FL_ONE_ARGUMENT_METHOD(stream_set_nodelay),
     PyDoc_STR("set_nodelay($self, value)\n--\n\n"
               "Switch the delaying of small segments off (TCP_NODELAY) or on.")},
    {"read_from_fd", (PyCFunction)(void (*)(void))not_implemented_of,
     METH_VARARGS | METH_KEYWORDS, read_from_fd_doc},
    {"write_to_fd", (PyCFunction)(void (*)(void))not_implemented_of,
     METH_VARARGS | METH_KEYWORDS, write_to_fd_doc},
    {"close_fd", not_implemented, METH_NOARGS, close_fd_doc},
    {"fileno", not_implemented, METH_NOARGS, fileno_doc},
    {"get_fd_error", no_fd_error, METH_NOARGS, get_fd_error_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef socket_methods[] = {
    FAST(connect, ", address, server_hostname=None, *more, callback=None",
         "Connect to address, as socket.connect takes it. A future of the\n"
         "stream; writes may be queued before it is done."),
    {"start_tls", (PyCFunction)(void (*)(void))stream_start_tls,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("start_tls($self, server_side, ssl_options=None, "
               "server_hostname=None)\n--\n\n"
               "Turn the idle stream into a TLS one. A future of the SSLIOStream; "
               "this stream is closed by it.")},
    {"_release_socket", stream_release_socket, METH_NOARGS, NULL},
    {"read_from_fd", FL_ONE_ARGUMENT_METHOD(fl_stream_read_from_fd), read_from_fd_doc},
    {"write_to_fd", FL_ONE_ARGUMENT_METHOD(fl_stream_write_to_fd), write_to_fd_doc},
    {"close_fd", fl_stream_close_fd, METH_NOARGS, close_fd_doc},
    {"fileno", fl_stream_fileno, METH_NOARGS, fileno_doc},
    {"get_fd_error", fl_stream_get_fd_error, METH_NOARGS, get_fd_error_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef pipe_methods[] = {
    {"read_from_fd", FL_ONE_ARGUMENT_METHOD(fl_stream_read_from_fd), read_from_fd_doc},
    {"write_to_fd", FL_ONE_ARGUMENT_METHOD(fl_stream_write_to_fd), write_to_fd_doc},
    {"close_fd", fl_stream_close_fd, METH_NOARGS, close_fd_doc},
    {"fileno", fl_stream_fileno, METH_NOARGS, fileno_doc},
    {NULL, NULL, 0, NULL},
};

#undef FAST

/* ---- properties ---- */

static PyObject *
get_error(PyObject *self, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;
    PyObject *error = s->error != NULL ? s->error : s->channel.error;

    (void)unused;
    return Py_NewRef(error == NULL ? Py_None : error);
}

static int
set_error(PyObject *self, PyObject *value, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;

    (void)unused;
    Py_XSETREF(s->error, value == NULL || value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
get_socket(PyObject *self, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;
    PyObject *module, *sock, *done;

    (void)unused;
    if (s->socket != NULL)
        return Py_NewRef(s->socket);
    if (s->channel.loop == NULL || s->channel.closed || s->channel.watch.fd < 0)
        Py_RETURN_NONE;
    module = PyImport_ImportModule("socket");
    sock = module == NULL ? NULL
                          : PyObject_CallMethod(module, "socket", "iiii", -1, -1, -1,
                                                s->channel.watch.fd);
    Py_XDECREF(module);
    if (sock == NULL)
        return NULL;
    s->socket = sock; /* it owns the descriptor now */
    done = PyObject_CallMethod(sock, "setblocking", "O", Py_False);
    if (done == NULL)
        return NULL;
    Py_DECREF(done);
    return Py_NewRef(sock);
}

static int
set_socket(PyObject *self, PyObject *value, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;

    (void)unused;
    Py_XSETREF(s->socket, value == NULL || value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
get_io_loop(PyObject *self, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;

    (void)unused;
    if (fl_stream_check(s) < 0)
        return NULL;
    if (s->st->hook_io_loop_of == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "pyfastloop.iostream was not imported");
        return NULL;
    }
    return PyObject_CallOneArg(s->st->hook_io_loop_of, FlLoop_Face(s->channel.loop));
}

static PyObject *
get_fd(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((FlIOStream *)self)->channel.watch.fd);
}

static PyObject *
get_size(PyObject *self, void *offset)
{
    Py_ssize_t size = *(Py_ssize_t *)((char *)self + (size_t)offset);

    if (size < 0)
        Py_RETURN_NONE;
    return PyLong_FromSsize_t(size);
}

static int
set_size(PyObject *self, PyObject *value, void *offset)
{
    Py_ssize_t fallback = (size_t)offset == offsetof(FlIOStream, max_write_buffer_size)
                              ? -1
                              : FL_DEFAULT_CHUNK;

    return fl_stream_size_of(value, fallback,
                             (Py_ssize_t *)((char *)self + (size_t)offset));
}

static PyObject *
get_write_index(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((FlIOStream *)self)->channel.total_queued);
}

static int
set_write_index(PyObject *self, PyObject *value, void *unused)
{
    unsigned long long index = value == NULL ? 0 : PyLong_AsUnsignedLongLong(value);

    (void)unused;
    if (PyErr_Occurred())
        return -1;
    ((FlIOStream *)self)->channel.total_queued = index;
    return 0;
}

static PyObject *
get_write_done(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((FlIOStream *)self)->channel.total_sent);
}

static PyObject *
get_read_size(PyObject *self, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;
    size_t n;

    (void)unused;
    (void)FlChannel_Tail(&s->channel, &n);
    return PyLong_FromSize_t(n + s->sink_len);
}

static PyObject *
get_write_buffer(PyObject *self, void *unused)
{
    FlIOStream *s = (FlIOStream *)self;

    (void)unused;
    if (fl_stream_check(s) < 0)
        return NULL;
    if (s->channel.closed)
        Py_RETURN_NONE;
    return FlStreamWriteBuffer_New(s);
}

#define SIZE(name) {#name, get_size, set_size, NULL, (void *)offsetof(FlIOStream, name)}

static PyGetSetDef base_getset[] = {
    {"error", get_error, set_error, PyDoc_STR("The exception it was closed with."),
     NULL},
    {"io_loop", get_io_loop, NULL, PyDoc_STR("The IOLoop it was made on."), NULL},
    SIZE(max_buffer_size),
    SIZE(read_chunk_size),
    SIZE(max_write_buffer_size),
    {"_write_buffer", get_write_buffer, NULL, NULL, NULL},
    {"_total_write_index", get_write_index, set_write_index, NULL, NULL},
    {"_total_write_done_index", get_write_done, NULL, NULL, NULL},
    {"_read_buffer_size", get_read_size, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#undef SIZE

static PyGetSetDef socket_getset[] = {
    {"socket", get_socket, set_socket,
     PyDoc_STR("The Python socket, made when it is asked for; None once closed."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyGetSetDef pipe_getset[] = {
    {"fd", get_fd, NULL, PyDoc_STR("The descriptor; -1 once closed."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef base_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlIOStream, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlIOStream, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* ---- types ---- */

#define STREAM_FLAGS (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC)

static PyType_Slot base_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("BaseIOStream(max_buffer_size=None, read_chunk_size=None, "
                       "max_write_buffer_size=None, *, io_loop=None)\n--\n\n"
                       "A stream whose subclass moves the bytes by read_from_fd, "
                       "write_to_fd, close_fd, fileno and get_fd_error.")},
    {Py_tp_new, fl_stream_new},
    {Py_tp_init, fl_stream_init_base},
    {Py_tp_traverse, fl_stream_traverse},
    {Py_tp_clear, fl_stream_clear},
    {Py_tp_dealloc, fl_stream_dealloc},
    {Py_tp_methods, base_methods},
    {Py_tp_getset, base_getset},
    {Py_tp_members, base_members},
    {0, NULL},
};

static PyType_Spec base_spec = {
    .name = "pyfastloop.iostream.BaseIOStream",
    .basicsize = sizeof(FlIOStream),
    .flags = STREAM_FLAGS,
    .slots = base_slots,
};

static PyType_Slot iostream_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR(
         "IOStream(socket, max_buffer_size=None, read_chunk_size=None, "
         "max_write_buffer_size=None, *, io_loop=None)\n--\n\n"
         "A stream over a socket, connected or to be connected by connect().")},
    {Py_tp_init, fl_stream_init_iostream},
    {Py_tp_traverse, fl_stream_traverse},
    {Py_tp_clear, fl_stream_clear},
    {Py_tp_dealloc, fl_stream_dealloc},
    {Py_tp_methods, socket_methods},
    {Py_tp_getset, socket_getset},
    {0, NULL},
};

static PyType_Spec iostream_spec = {
    .name = "pyfastloop.iostream.IOStream",
    .basicsize = sizeof(FlIOStream),
    .flags = STREAM_FLAGS,
    .slots = iostream_slots,
};

static PyType_Slot pipe_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR(
                    "PipeIOStream(fd, max_buffer_size=None, read_chunk_size=None, "
                    "max_write_buffer_size=None, *, io_loop=None)\n--\n\n"
                    "A stream over one end of a pipe or FIFO, given as a descriptor.")},
    {Py_tp_init, fl_stream_init_pipe},
    {Py_tp_traverse, fl_stream_traverse},
    {Py_tp_clear, fl_stream_clear},
    {Py_tp_dealloc, fl_stream_dealloc},
    {Py_tp_methods, pipe_methods},
    {Py_tp_getset, pipe_getset},
    {0, NULL},
};

static PyType_Spec pipe_spec = {
    .name = "pyfastloop.iostream.PipeIOStream",
    .basicsize = sizeof(FlIOStream),
    .flags = STREAM_FLAGS,
    .slots = pipe_slots,
};

int
FlBaseIOStream_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->BaseIOStream_type, &base_spec, NULL, false);
}

int
FlIOStream_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->IOStream_type, &iostream_spec,
                           (PyObject *)st->BaseIOStream_type, false);
}

int
FlPipeIOStream_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->PipeIOStream_type, &pipe_spec,
                           (PyObject *)st->BaseIOStream_type, false);
}
