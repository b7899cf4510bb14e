/* iostream_io.c -- read_from_fd, write_to_fd, close_fd, fileno, get_fd_error: both ways.
 *
 * Programs subclass BaseIOStream (or IOStream) and override these five. A class that does
 * is driven through exactly these methods, by fl_stream_io_python; for one that does not
 * they are only there to be called, and the channel never leaves C.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <errno.h>
#include <string.h>

#include "net/channel_internal.h"
#include "proto/tls_records.h"
#include "sys/sockets.h"

static PyObject *
os_error(int error)
{
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* ---- C calling Python ---- */

static ssize_t
count_of(PyObject *value, size_t most, const char *method)
{
    Py_ssize_t n;

    if (value == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_BlockingIOError))
            return FL_IO_RAISED;
        PyErr_Clear();
        return -EAGAIN;
    }
    if (value == Py_None) {
        Py_DECREF(value);
        return -EAGAIN;
    }
    n = PyNumber_AsSsize_t(value, PyExc_OverflowError);
    Py_DECREF(value);
    if (n == -1 && PyErr_Occurred())
        return FL_IO_RAISED;
    if (n < 0 || (size_t)n > most) {
        PyErr_Format(PyExc_ValueError, "%s returned %zd, outside of 0 to %zu", method,
                     n, most);
        return FL_IO_RAISED;
    }
    return n;
}

static ssize_t
python_recv(FlChannel *ch, char *buf, size_t n)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *bytes, *value;
    ssize_t got;

    if (n > (size_t)s->read_chunk_size)
        n = (size_t)s->read_chunk_size;
    bytes = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (bytes == NULL)
        return FL_IO_RAISED;
    value = PyObject_CallMethodOneArg((PyObject *)s, s->st->str_read_from_fd, bytes);
    got = count_of(value, n, "read_from_fd");
    if (got > 0 && (size_t)got > (size_t)PyByteArray_GET_SIZE(bytes)) {
        PyErr_SetString(PyExc_ValueError, "read_from_fd resized the buffer");
        got = FL_IO_RAISED;
    }
    if (got > 0)
        memcpy(buf, PyByteArray_AS_STRING(bytes), (size_t)got);
    Py_DECREF(bytes);
    ch->holds = got > 0 && ch->io->buffers;
    return got;
}

static ssize_t
python_send(FlChannel *ch, const struct iovec *iov, int n)
{
    FlIOStream *s = fl_stream_of(ch);
    size_t len = iov->iov_len < (128 << 10) ? iov->iov_len : (128 << 10);
    PyObject *bytes, *view, *value;
    ssize_t sent;

    (void)n;
    bytes = PyBytes_FromStringAndSize(iov->iov_base, (Py_ssize_t)len);
    view = bytes == NULL ? NULL : PyMemoryView_FromObject(bytes);
    Py_XDECREF(bytes);
    if (view == NULL)
        return FL_IO_RAISED;
    value = PyObject_CallMethodOneArg((PyObject *)s, s->st->str_write_to_fd, view);
    Py_DECREF(view);
    sent = count_of(value, len, "write_to_fd");
    return sent == 0 ? -EAGAIN : sent;
}

static int
python_fileno(FlChannel *ch)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *value = PyObject_CallMethodNoArgs((PyObject *)s, s->st->str_fileno);
    int fd;

    if (value == NULL)
        return -1;
    fd = PyObject_AsFileDescriptor(value);
    Py_DECREF(value);
    return fd;
}

static int
python_error(FlChannel *ch)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *value = PyObject_CallMethodNoArgs((PyObject *)s, s->st->str_get_fd_error);

    if (value == NULL)
        return FL_IO_RAISED;
    if (value == Py_None) {
        Py_DECREF(value);
        return 0;
    }
    if (!PyExceptionInstance_Check(value)) {
        PyErr_Format(PyExc_TypeError,
                     "get_fd_error returned %R, not an exception or None", value);
        Py_DECREF(value);
        return FL_IO_RAISED;
    }
    PyErr_SetRaisedException(value);
    return FL_IO_RAISED;
}

static void
python_close(FlChannel *ch)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *done;

    if (s->dying)
        return; /* its methods cannot be called any more */
    done = PyObject_CallMethodNoArgs((PyObject *)s, s->st->str_close_fd);
    if (done == NULL)
        FlLoop_LogException(ch->loop, "Exception in close_fd of", (PyObject *)s);
    Py_XDECREF(done);
}

const FlChannelIO fl_stream_io_python = {
    .recv = python_recv,
    .send = python_send,
    .fileno = python_fileno,
    .error = python_error,
    .close = python_close,
    .escapes = true,
};

/* Of a TLS stream: what was decrypted and not read leaves the descriptor quiet, so it is
 * asked until it has no more. */
const FlChannelIO fl_stream_io_python_tls = {
    .recv = python_recv,
    .send = python_send,
    .fileno = python_fileno,
    .error = python_error,
    .close = python_close,
    .buffers = true,
    .piece = FL_TLS_PLAIN_MOST,
    .escapes = true,
};

/* ---- C on its own ---- */

static ssize_t
plain_recv(FlChannel *ch, char *buf, size_t n)
{
    return fl_socket_recv(ch->watch.fd, buf, n);
}

static int
plain_fileno(FlChannel *ch)
{
    (void)ch;
    PyErr_SetString(PyExc_OSError, "the stream has no descriptor");
    return -1;
}

static int
plain_error(FlChannel *ch)
{
    return fl_socket_error(ch->watch.fd);
}

static void
plain_close(FlChannel *ch)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *sock = s->socket;
    PyObject *done;

    if (sock == NULL) {
        if (ch->watch.fd >= 0)
            (void)fl_close(ch->watch.fd);
        return;
    }
    s->socket = NULL;
    if (s->dying) {
        Py_DECREF(sock); /* somebody else may go on with it */
        return;
    }
    done = PyObject_CallMethodNoArgs(sock, s->st->str_close);
    if (done == NULL)
        FlLoop_LogException(ch->loop, "Exception while closing", sock);
    Py_XDECREF(done);
    Py_DECREF(sock);
}

const FlChannelIO fl_stream_io_socket = {
    .recv = plain_recv,
    .send = fl_channel_socket_send,
    .fileno = plain_fileno,
    .error = plain_error,
    .close = plain_close,
    .sendfile = true,
    .guess = 1,
};

/* ---- Python calling C: what overriding methods reach by super() ---- */

static int
own_fd(FlIOStream *s)
{
    if (fl_stream_check(s) < 0)
        return -1;
    if (s->channel.watch.fd < 0 && s->channel.io->recv != python_recv)
        return fl_stream_raise_closed(s);
    if (s->channel.watch.fd >= 0)
        return s->channel.watch.fd;
    if (s->socket == NULL)
        return fl_stream_raise_closed(s);
    return PyObject_AsFileDescriptor(s->socket);
}

PyObject *
fl_stream_read_from_fd(PyObject *self, PyObject *buf)
{
    FlIOStream *s = (FlIOStream *)self;
    int fd = own_fd(s);
    Py_buffer view;
    ssize_t got;

    if (fd < 0 || PyObject_GetBuffer(buf, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    got = s->pipe ? fl_pipe_read(fd, view.buf, (size_t)view.len)
                  : fl_socket_recv(fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (got == -EAGAIN || got == -EWOULDBLOCK)
        Py_RETURN_NONE;
    return got < 0 ? os_error((int)-got) : PyLong_FromSsize_t(got);
}

PyObject *
fl_stream_write_to_fd(PyObject *self, PyObject *data)
{
    FlIOStream *s = (FlIOStream *)self;
    int fd = own_fd(s);
    Py_buffer view;
    ssize_t sent;

    if (fd < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    sent = s->pipe ? fl_pipe_write(fd, view.buf, (size_t)view.len)
                   : fl_socket_send(fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return sent < 0 ? os_error((int)-sent) : PyLong_FromSsize_t(sent);
}

PyObject *
fl_stream_close_fd(PyObject *self, PyObject *unused)
{
    FlIOStream *s = (FlIOStream *)self;
    PyObject *sock = s->socket;

    (void)unused;
    if (fl_stream_check(s) < 0)
        return NULL;
    if (sock != NULL) {
        s->socket = NULL;
        PyObject *done = PyObject_CallMethodNoArgs(sock, s->st->str_close);

        Py_DECREF(sock);
        return done;
    }
    if (s->channel.watch.fd >= 0) {
        FlChannel_Forget(&s->channel);
        (void)fl_close(s->channel.watch.fd);
        s->channel.watch.fd = -1;
    }
    Py_RETURN_NONE;
}

PyObject *
fl_stream_fileno(PyObject *self, PyObject *unused)
{
    int fd = own_fd((FlIOStream *)self);

    (void)unused;
    return fd < 0 ? NULL : PyLong_FromLong(fd);
}

PyObject *
fl_stream_get_fd_error(PyObject *self, PyObject *unused)
{
    FlIOStream *s = (FlIOStream *)self;
    int fd = own_fd(s);
    int error;

    (void)unused;
    if (fd < 0)
        return NULL;
    error = s->pipe ? 0 : fl_socket_error(fd);
    if (error <= 0)
        Py_RETURN_NONE;
    os_error(error);
    return PyErr_GetRaisedException();
}

int
fl_stream_overrides(FlIOStream *s, PyTypeObject *base)
{
    PyObject *names[5] = {s->st->str_read_from_fd, s->st->str_write_to_fd,
                          s->st->str_close_fd, s->st->str_fileno,
                          s->st->str_get_fd_error};

    if (Py_TYPE(s) == base)
        return 0;
    for (int i = 0; i < 5; i++) {
        PyObject *its = PyObject_GetAttr((PyObject *)Py_TYPE(s), names[i]);
        PyObject *ours =
            its == NULL ? NULL : PyObject_GetAttr((PyObject *)base, names[i]);
        bool same = its == ours;

        Py_XDECREF(its);
        Py_XDECREF(ours);
        if (ours == NULL)
            return -1;
        if (!same)
            return 1;
    }
    return 0;
}
