/* iostream_make.c -- how streams come to be: constructors, limits, accepted descriptors,
 * and who may borrow one.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <errno.h>

#include "sys/sockets.h"

int
fl_stream_check(FlIOStream *s)
{
    if (s->channel.loop != NULL)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() was not called",
                 Py_TYPE(s)->tp_name);
    return -1;
}

/* Prepares a stream on loop (NULL: the current one). 0 or -1. escapes */
static int
stream_setup(FlIOStream *s, FlLoop *loop, const FlChannelIO *io, int fd)
{
    if (s->channel.loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the stream was initialized before");
        return -1;
    }
    if (loop != NULL)
        Py_INCREF(loop);
    else if ((loop = FlLoop_Get(s->st)) == NULL)
        return -1;
    FlChannel_Init(&s->channel, loop, (PyObject *)s, &fl_stream_owner, io, fd);
    Py_DECREF(loop);
    return FlChannel_SetConsumer(&s->channel, &fl_stream_reader, s);
}

int
fl_stream_size_of(PyObject *value, Py_ssize_t fallback, Py_ssize_t *size)
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
    if (fl_stream_size_of(max_buffer, FL_DEFAULT_MAX_BUFFER, &s->max_buffer_size) < 0 ||
        fl_stream_size_of(chunk, FL_DEFAULT_CHUNK, &s->read_chunk_size) < 0 ||
        fl_stream_size_of(max_write, -1, &s->max_write_buffer_size) < 0)
        return -1;
    if (s->max_buffer_size == 0)
        s->max_buffer_size = FL_DEFAULT_MAX_BUFFER;
    if (s->read_chunk_size == 0)
        s->read_chunk_size = FL_DEFAULT_CHUNK;
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

/* Takes max_buffer_size, read_chunk_size, max_write_buffer_size (and io_loop) out of
 * args[from...] and kwargs. 0 or -1. */
static int
parse_init(FlIOStream *s, PyObject *args, Py_ssize_t from, PyObject *kwargs)
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

PyObject *
fl_stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
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

int
fl_stream_init_base(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;

    if (parse_init(s, args, 0, kwargs) < 0)
        return -1;
    return stream_setup(s, NULL, &fl_stream_io_python, -1);
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

    if (sock == NULL || overrides < 0 || parse_init(s, args, from, kwargs) < 0)
        goto done;
    fd = take_socket(sock);
    if (fd < 0)
        goto done;
    err = overrides
              ? stream_setup(
                    s, NULL,
                    io->buffers ? &fl_stream_io_python_tls : &fl_stream_io_python, -1)
              : stream_setup(s, NULL, io, fd);
    if (err == 0)
        Py_XSETREF(s->socket, Py_NewRef(sock));
done:
    Py_XDECREF(kwargs);
    return err;
}

int
fl_stream_init_iostream(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;

    return fl_stream_init_socket(s, args, kwargs, s->st->IOStream_type,
                                 &fl_stream_io_socket);
}

int
fl_stream_init_pipe(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlIOStream *s = (FlIOStream *)self;
    Py_ssize_t from;
    PyObject *number = first_argument(args, &kwargs, "fd", &from);
    int overrides = fl_stream_overrides(s, s->st->PipeIOStream_type);
    int fd, err = -1;

    if (number == NULL || overrides < 0 || parse_init(s, args, from, kwargs) < 0)
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
    err =
        stream_setup(s, NULL, overrides ? &fl_stream_io_python : &FlChannelIO_Pipe, fd);
done:
    Py_XDECREF(kwargs);
    return err;
}

PyObject *
FlIOStream_FromFd(FlState *st, FlLoop *loop, int fd, Py_ssize_t max_buffer_size,
                  Py_ssize_t read_chunk_size)
{
    PyTypeObject *type = st->IOStream_type;
    FlIOStream *s = (FlIOStream *)fl_stream_new(type, NULL, NULL);

    if (s == NULL) {
        (void)fl_close(fd);
        return NULL;
    }
    (void)fl_stream_set_limits(s, NULL, NULL, NULL);
    if (max_buffer_size > 0)
        s->max_buffer_size = max_buffer_size;
    if (read_chunk_size > 0)
        s->read_chunk_size = read_chunk_size;
    if (stream_setup(s, loop, &fl_stream_io_socket, fd) < 0) {
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
FlIOStream_Trim(PyObject *stream)
{
    FlIOStream *s = (FlIOStream *)stream;

    FlChannel_Trim(&s->channel);
    if (s->writes_len == 0) {
        free(s->writes);
        s->writes = NULL;
        s->writes_room = s->writes_at = 0;
    }
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
