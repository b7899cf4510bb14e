/* iostream.c -- the stream types: how they are made, closed, and looked at.
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

#include "core/handle.h"
#include "sys/sockets.h"

#define DEFAULT_MAX_BUFFER (100 * 1024 * 1024)
#define DEFAULT_CHUNK (64 * 1024)

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

static const FlChannelOwnerOps stream_owner = {
    .deferred = owner_deferred,
    .wrote = owner_wrote,
    .closed = owner_closed,
    .connected = owner_connected,
};

/* ---- making ---- */

int
fl_stream_check(FlIOStream *s)
{
    if (s->channel.loop != NULL)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() was not called",
                 Py_TYPE(s)->tp_name);
    return -1;
}

int
fl_stream_setup(FlIOStream *s, FlLoop *loop, const FlChannelIO *io, int fd)
{
    if (s->channel.loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the stream was initialized before");
        return -1;
    }
    if (loop != NULL)
        Py_INCREF(loop);
    else if ((loop = FlLoop_Get(s->st)) == NULL)
        return -1;
    FlChannel_Init(&s->channel, loop, (PyObject *)s, &stream_owner, io, fd);
    Py_DECREF(loop);
    return FlChannel_SetConsumer(&s->channel, &fl_stream_reader, s);
}

/* A size as programs give it: an int, a float (infinity is no limit), None for the
 * default. 0 or -1. */
static int
size_of(PyObject *value, Py_ssize_t fallback, Py_ssize_t *size)
{
    *size = fallback;
    if (value == NULL || value == Py_None)
        return 0;
    if (PyFloat_Check(value)) {
        double number = PyFloat_AS_DOUBLE(value);

        if (!(number >= 0)) {
            PyErr_Format(PyExc_ValueError, "a buffer size cannot be %R", value);
            return -1;
        }
        *size = number >= (double)PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX : (Py_ssize_t)number;
        return 0;
    }
    *size = PyNumber_AsSsize_t(value, NULL);
    if (*size == -1 && PyErr_Occurred())
        return -1;
    if (*size < 0) {
        PyErr_Format(PyExc_ValueError, "a buffer size cannot be %R", value);
        return -1;
    }
    return 0;
}

int
fl_stream_set_limits(FlIOStream *s, PyObject *max_buffer, PyObject *chunk,
                     PyObject *max_write)
{
    if (size_of(max_buffer, DEFAULT_MAX_BUFFER, &s->max_buffer_size) < 0 ||
        size_of(chunk, DEFAULT_CHUNK, &s->read_chunk_size) < 0 ||
        size_of(max_write, -1, &s->max_write_buffer_size) < 0)
        return -1;
    if (s->max_buffer_size == 0)
        s->max_buffer_size = DEFAULT_MAX_BUFFER;
    if (s->read_chunk_size == 0)
        s->read_chunk_size = DEFAULT_CHUNK;
    if (s->read_chunk_size > s->max_buffer_size / 2)
        s->read_chunk_size = s->max_buffer_size / 2 > 0 ? s->max_buffer_size / 2 : 1;
    return 0;
}

/* io_loop=, a form of Tornado 4: fine where it is the current one. 0 or -1. */
static int
check_io_loop(FlState *st, PyObject *io_loop)
{
    PyObject *current, *its;
    bool same;

    if (io_loop == NULL || io_loop == Py_None)
        return 0;
    its = PyObject_GetAttr(io_loop, st->str_asyncio_loop);
    current = its == NULL ? NULL : FlLoop_Current(st);
    same = current == its;
    Py_XDECREF(its);
    Py_XDECREF(current);
    if (PyErr_Occurred())
        return -1;
    if (same)
        return 0;
    PyErr_SetString(PyExc_ValueError,
                    "io_loop must be the current IOLoop, or left out");
    return -1;
}

int
fl_stream_parse_init(FlIOStream *s, PyObject *args, Py_ssize_t from, PyObject *kwargs)
{
    static char *names[] = {"max_buffer_size", "read_chunk_size",
                            "max_write_buffer_size", "io_loop", NULL};
    PyObject *max_buffer = NULL, *chunk = NULL, *max_write = NULL, *io_loop = NULL;
    PyObject *rest = PyTuple_GetSlice(args, from, PyTuple_GET_SIZE(args));
    int ok;

    if (rest == NULL)
        return -1;
    ok = PyArg_ParseTupleAndKeywords(rest, kwargs, "|OOO$O:IOStream", names,
                                     &max_buffer, &chunk, &max_write, &io_loop);
    Py_DECREF(rest);
    if (!ok || check_io_loop(s->st, io_loop) < 0)
        return -1;
    return fl_stream_set_limits(s, max_buffer, chunk, max_write);
}

static PyObject *
stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlState *st = FlState_OfType(type);
    FlIOStream *s = st == NULL ? NULL : (FlIOStream *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (s == NULL)
        return NULL;
    s->st = st;
    s->read_max = -1;
    s->max_write_buffer_size = -1;
    return (PyObject *)s;
}

static int
base_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;

    if (fl_stream_parse_init(s, args, 0, kwargs) < 0)
        return -1;
    return fl_stream_setup(s, NULL, &fl_stream_io_python, -1);
}

/* The positional argument `name` in front of the others; borrowed. *from: how many
 * positional ones it took. kwargs is replaced by a copy without it where needed. */
static PyObject *
first_argument(PyObject *args, PyObject **kwargs, const char *name, Py_ssize_t *from)
{
    PyObject *value, *rest;

    *from = 1;
    Py_XINCREF(*kwargs);
    if (PyTuple_GET_SIZE(args) > 0)
        return PyTuple_GET_ITEM(args, 0);
    *from = 0;
    value = *kwargs == NULL ? NULL : PyDict_GetItemString(*kwargs, name);
    if (value == NULL) {
        PyErr_Format(PyExc_TypeError, "missing required argument '%s'", name);
        return NULL;
    }
    rest = PyDict_Copy(*kwargs); /* value stays alive in the caller's */
    if (rest == NULL || PyDict_DelItemString(rest, name) < 0) {
        Py_XDECREF(rest);
        return NULL;
    }
    Py_SETREF(*kwargs, rest);
    return value;
}

/* The descriptor of a Python socket, made non-blocking; or -1. */
static int
take_socket(PyObject *sock)
{
    PyObject *done = PyObject_CallMethod(sock, "setblocking", "O", Py_False);

    if (done == NULL)
        return -1;
    Py_DECREF(done);
    return PyObject_AsFileDescriptor(sock);
}

int
fl_stream_init_socket(FlIOStream *s, PyObject *args, PyObject *kwargs,
                      PyTypeObject *base, const FlChannelIO *io)
{
    Py_ssize_t from;
    PyObject *sock = first_argument(args, &kwargs, "socket", &from);
    int fd = -1, err = -1;
    int overrides = fl_stream_overrides(s, base);

    if (sock == NULL || overrides < 0 ||
        fl_stream_parse_init(s, args, from, kwargs) < 0)
        goto done;
    fd = take_socket(sock);
    if (fd < 0)
        goto done;
    err = overrides ? fl_stream_setup(s, NULL, &fl_stream_io_python, -1)
                    : fl_stream_setup(s, NULL, io, fd);
    if (err == 0)
        Py_XSETREF(s->socket, Py_NewRef(sock));
done:
    Py_XDECREF(kwargs);
    return err;
}

static int
iostream_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;

    return fl_stream_init_socket(s, args, kwargs, s->st->IOStream_type,
                                 &fl_stream_io_socket);
}

static int
pipe_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;
    Py_ssize_t from;
    PyObject *number = first_argument(args, &kwargs, "fd", &from);
    int overrides = fl_stream_overrides(s, s->st->PipeIOStream_type);
    int fd, err = -1;

    if (number == NULL || overrides < 0 ||
        fl_stream_parse_init(s, args, from, kwargs) < 0)
        goto done;
    fd = PyObject_AsFileDescriptor(number);
    if (fd < 0)
        goto done;
    err = fl_set_nonblocking(fd);
    if (err < 0) {
        errno = -err;
        PyErr_SetFromErrno(PyExc_OSError);
        err = -1;
        goto done;
    }
    s->pipe = true;
    err = fl_stream_setup(s, NULL, overrides ? &fl_stream_io_python : &FlChannelIO_Pipe,
                          fd);
done:
    Py_XDECREF(kwargs);
    return err;
}

PyObject *
FlIOStream_FromFd(FlState *st, FlLoop *loop, int fd, Py_ssize_t max_buffer_size,
                  Py_ssize_t read_chunk_size)
{
    PyTypeObject *type = st->IOStream_type;
    FlIOStream *s = (FlIOStream *)stream_new(type, NULL, NULL);

    if (s == NULL) {
        (void)fl_close(fd);
        return NULL;
    }
    (void)fl_stream_set_limits(s, NULL, NULL, NULL);
    if (max_buffer_size > 0)
        s->max_buffer_size = max_buffer_size;
    if (read_chunk_size > 0)
        s->read_chunk_size = read_chunk_size;
    if (fl_stream_setup(s, loop, &fl_stream_io_socket, fd) < 0) {
        (void)fl_close(fd);
        Py_CLEAR(s);
    }
    return (PyObject *)s;
}

FlChannel *
FlIOStream_Channel(FlState *st, PyObject *stream)
{
    FlIOStream *s = (FlIOStream *)stream;

    if (!PyObject_TypeCheck(stream, st->BaseIOStream_type) || s->channel.loop == NULL)
        return NULL;
    return &s->channel;
}

int
FlIOStream_Borrow(PyObject *stream, const FlChannelOps *ops, void *self)
{
    FlIOStream *s = (FlIOStream *)stream;

    if (fl_stream_check(s) < 0)
        return -1;
    if (s->borrowed || s->read_kind != FL_READ_NONE) {
        PyErr_SetString(PyExc_RuntimeError,
                        s->borrowed ? "this stream belongs to a connection already"
                                    : "a read is pending on this stream");
        return -1;
    }
    if (FlChannel_SetConsumer(&s->channel, ops, self) < 0)
        return -1;
    s->borrowed = true;
    return 0;
}

int
FlIOStream_GiveBack(PyObject *stream)
{
    FlIOStream *s = (FlIOStream *)stream;

    if (!s->borrowed)
        return 0;
    if (FlChannel_SetConsumer(&s->channel, &fl_stream_reader, s) < 0)
        return -1;
    s->borrowed = false;
    return fl_stream_update_reading(s);
}

void
FlIOStream_SetClosedError(PyObject *stream, PyObject *type)
{
    Py_XSETREF(((FlIOStream *)stream)->closed_error, Py_NewRef(type));
}

Py_ssize_t
FlIOStream_MaxBuffer(PyObject *stream)
{
    return ((FlIOStream *)stream)->max_buffer_size;
}

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
    PyObject *pending = PyErr_GetRaisedException();

    PyObject_GC_UnTrack(self);
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
    PyObject *exc_info = Py_False, *exc;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:close", names, &exc_info) ||
        fl_stream_check(s) < 0)
        return NULL;
    exc = exception_of(exc_info);
    if (exc == Py_None)
        Py_CLEAR(exc);
    if (!s->channel.closed)
        fl_stream_close(s, exc);
    Py_XDECREF(exc);
    Py_RETURN_NONE;
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
no_fd_error(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_NONE;
}

#define FAST(name, doc)                                    \
    {#name, (PyCFunction)(void (*)(void))fl_stream_##name, \
     METH_FASTCALL | METH_KEYWORDS, PyDoc_STR(doc)}

static PyMethodDef base_methods[] = {
    FAST(read_bytes,
         "Read num_bytes bytes, or with partial whatever there is of them.\n"
         "A future of bytes."),
    FAST(read_into, "Fill the writable buffer buf, or with partial part of it.\n"
                    "A future of the count; buf is written to until then."),
    FAST(read_until,
         "Read up to and including delimiter. Past max_bytes the stream is\n"
         "closed; .error is then an UnsatisfiableReadError."),
    FAST(read_until_regex, "Read up to and including the first match of regex."),
    FAST(read_until_close, "Read everything until the peer closes."),
    FAST(write, "Send data (bytes, bytearray, memoryview). A future that is done when\n"
                "all of it was handed to the system."),
    {"close", (PyCFunction)(void (*)(void))stream_close, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Close now. exc_info (True, a tuple or an exception) becomes .error.")},
    {"closed", stream_closed, METH_NOARGS, PyDoc_STR("Whether the stream is closed.")},
    {"reading", stream_reading, METH_NOARGS, PyDoc_STR("Whether a read is pending.")},
    {"writing", stream_writing, METH_NOARGS,
     PyDoc_STR("Whether bytes wait to be sent.")},
    {"set_close_callback", stream_set_close_callback, METH_O,
     PyDoc_STR("Call callback() from the loop once the stream is closed.")},
    {"set_nodelay", stream_set_nodelay, METH_O,
     PyDoc_STR("Switch the delaying of small segments off (TCP_NODELAY) or on.")},
    {"read_from_fd", not_implemented, METH_O, NULL},
    {"write_to_fd", not_implemented, METH_O, NULL},
    {"close_fd", not_implemented, METH_NOARGS, NULL},
    {"fileno", not_implemented, METH_NOARGS, NULL},
    {"get_fd_error", no_fd_error, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef socket_methods[] = {
    FAST(connect, "Connect to address, as socket.connect takes it. A future of the\n"
                  "stream; writes may be queued before it is done."),
    {"start_tls", (PyCFunction)(void (*)(void))stream_start_tls,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("start_tls($self, server_side, ssl_options=None, "
               "server_hostname=None)\n--\n\n"
               "Turn the idle stream into a TLS one. A future of the SSLIOStream; "
               "this stream is closed by it.")},
    {"_release_socket", stream_release_socket, METH_NOARGS, NULL},
    {"read_from_fd", fl_stream_read_from_fd, METH_O,
     PyDoc_STR(
         "Receive into buf: the count, 0 at the end, None when nothing is there.")},
    {"write_to_fd", fl_stream_write_to_fd, METH_O,
     PyDoc_STR("Send of data and give the count; BlockingIOError when none goes.")},
    {"close_fd", fl_stream_close_fd, METH_NOARGS,
     PyDoc_STR("Close the descriptor under the stream.")},
    {"fileno", fl_stream_fileno, METH_NOARGS,
     PyDoc_STR("The descriptor under the stream.")},
    {"get_fd_error", fl_stream_get_fd_error, METH_NOARGS,
     PyDoc_STR("The error the kernel keeps for the descriptor, or None.")},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef pipe_methods[] = {
    {"read_from_fd", fl_stream_read_from_fd, METH_O, NULL},
    {"write_to_fd", fl_stream_write_to_fd, METH_O, NULL},
    {"close_fd", fl_stream_close_fd, METH_NOARGS, NULL},
    {"fileno", fl_stream_fileno, METH_NOARGS, NULL},
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
                              : DEFAULT_CHUNK;

    return size_of(value, fallback, (Py_ssize_t *)((char *)self + (size_t)offset));
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
    {Py_tp_new, stream_new},
    {Py_tp_init, base_init},
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
    {Py_tp_init, iostream_init},
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
    {Py_tp_init, pipe_init},
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
