/* ssl_stream.c -- SSLIOStream: a stream whose bytes pass through Python's ssl.
 *
 * The TLS engine is the SSLSocket of the standard library on the descriptor itself,
 * driven from C by cached bound methods: a program's own SSLContext works with all its
 * settings, and OpenSSL's fixes are the interpreter's.
 *
 *      connecting --> handshaking --(do_handshake)--> open
 *
 * While the handshake lasts, recv and send of the channel drive it, whichever the kernel
 * allows; reads and writes may be pending already. Of what it takes from a socket OpenSSL
 * keeps the rest of the record being read, never a record more; so when a read has filled
 * its memory, and only then, the SSLSocket is asked whether bytes sit in it while the
 * socket is quiet. "Nothing yet" is an exception, which costs more than a message of 1 KiB:
 * after a short record the kernel's word is awaited instead.
 *
 * Small chunks of the queue become one record. A chunk that is a bytes object goes to the
 * SSLSocket as it is, and what is received passes through the view that the loop keeps of
 * its buffer: a memoryview made for each call costs as much as the stream does. The
 * SSLSocket is never entered twice: a callback of the context that comes back to the
 * stream finds it `busy`.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <errno.h>
#include <string.h>

#include "core/args.h"
#include "net/channel_internal.h"
#include "net/listener.h"
#include "net/tls.h"
#include "sys/sockets.h"

static FlSSLIOStream *
tls_of(FlChannel *ch)
{
    return (FlSSLIOStream *)fl_stream_of(ch);
}

/* What an exception of ssl means while reading or writing: -EAGAIN (the channel is told
 * what it waits for), 0 for the peer's end, or FL_IO_RAISED. */
static ssize_t
tls_raised(FlChannel *ch, bool reading)
{
    FlState *st = ch->loop->st;

    if (PyErr_ExceptionMatches(st->hook_SSLWantReadError)) {
        if (!reading)
            ch->write_wants_in = true;
    } else if (PyErr_ExceptionMatches(st->hook_SSLWantWriteError)) {
        if (reading)
            ch->read_wants_out = true;
    } else if (reading && PyErr_ExceptionMatches(st->hook_SSLZeroReturnError)) {
        PyErr_Clear();
        return 0; /* its close_notify, after ours */
    } else {
        return FL_IO_RAISED;
    }
    PyErr_Clear();
    return -EAGAIN;
}

/* Who waits for the handshake learns of its end; error NULL: the stream. */
static void
tell_handshake(FlSSLIOStream *tls, PyObject *error)
{
    PyObject *futures[2] = {tls->handshake_future, tls->base.connect_future};

    tls->handshake_future = tls->base.connect_future = NULL;
    for (int i = 0; i < 2; i++) {
        if (futures[i] == NULL)
            continue;
        if (error == NULL) {
            if (FlFuture_SetResultUnlessDone(futures[i], (PyObject *)tls) < 0)
                PyErr_WriteUnraisable(futures[i]);
        } else if (!FlFuture_Done(futures[i])) {
            if (FlFuture_SetException(futures[i], error) < 0)
                PyErr_WriteUnraisable(futures[i]);
            else
                (void)FlFuture_Exception(futures[i]); /* silent if nobody looks */
        }
        Py_DECREF(futures[i]);
    }
}

/* The peer's address, or None. New reference; NULL with an exception. */
static PyObject *
peer_of(FlSSLIOStream *tls)
{
    fl_address peer;

    return fl_socket_peer(tls->base.channel.watch.fd, &peer) < 0
               ? Py_NewRef(Py_None)
               : FlAddress_ToPython(&peer);
}

/* The handshake failed by more than a lost connection: one line; the exception stays. */
static void
log_handshake_error(FlSSLIOStream *tls)
{
    FlState *st = tls->base.st;
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *peer, *done;

    if (PyErr_GivenExceptionMatches(exc, st->hook_SSLError) &&
        !PyErr_GivenExceptionMatches(exc, st->hook_SSLEOFError) &&
        !PyErr_GivenExceptionMatches(exc, st->hook_SSLZeroReturnError)) {
        peer = peer_of(tls);
        done = peer == NULL
                   ? NULL
                   : PyObject_CallMethod(st->gen_log, "warning", "siOO",
                                         "SSL Error on %d %s: %s",
                                         tls->base.channel.watch.fd, peer, exc);
        if (done == NULL)
            PyErr_WriteUnraisable(exc);
        Py_XDECREF(done);
        Py_XDECREF(peer);
    }
    PyErr_SetRaisedException(exc);
}

/* One step of the handshake: 0 when it is over, -EAGAIN, or FL_IO_RAISED. escapes */
static ssize_t
handshake_step(FlSSLIOStream *tls, bool reading)
{
    FlChannel *ch = &tls->base.channel;
    PyObject *sock, *done;
    ssize_t err;

    if (!tls->connected || tls->base.socket == NULL)
        return -EAGAIN;
    sock = Py_NewRef(tls->base.socket);
    tls->busy = true;
    done = PyObject_CallMethodNoArgs(sock, tls->base.st->str_do_handshake);
    tls->busy = false;
    Py_DECREF(sock);
    if (done == NULL) {
        err = tls_raised(ch, reading);
        if (err == FL_IO_RAISED)
            log_handshake_error(tls);
        return err;
    }
    Py_DECREF(done);
    if (ch->closed)
        return -EAGAIN;
    tls->handshaking = ch->shaking = false;
    tell_handshake(tls, NULL);
    return fl_stream_update_reading(&tls->base) < 0 ? FL_IO_RAISED : 0;
}

/* Whether more of the record that was read from stands in the SSLSocket. 0 or -1.
 * escapes */
static int
holds_more(FlSSLIOStream *tls, bool *holds)
{
    PyObject *sock = tls->base.socket, *value;
    Py_ssize_t n;

    if (sock == NULL)
        return 0;
    Py_INCREF(sock);
    value = PyObject_CallMethodNoArgs(sock, tls->base.st->str_pending);
    n = value == NULL ? -1 : PyLong_AsSsize_t(value);
    Py_XDECREF(value);
    Py_DECREF(sock);
    *holds = n > 0;
    return n == -1 && PyErr_Occurred() ? -1 : 0;
}

/* method(count, view of buf[0..n)): the loop's own buffer has its view already. */
static PyObject *
read_into(FlLoop *loop, PyObject *method, PyObject *count, char *buf, size_t n)
{
    PyObject *view = FlLoop_ViewBuffer(loop, buf), *result;

    if (view == NULL)
        return PyErr_Occurred()
                   ? NULL
                   : FlTls_CallWithView(method, count, buf, n, PyBUF_WRITE);
    result = FlTls_CallTwo(method, count, view);
    Py_DECREF(view);
    return result;
}

static ssize_t
tls_recv(FlChannel *ch, char *buf, size_t n)
{
    FlSSLIOStream *tls = tls_of(ch);
    PyObject *count, *result, *method;
    ssize_t got;

    if (tls->over)
        return 0;
    if (tls->busy)
        return -EAGAIN;
    if (tls->handshaking) {
        got = handshake_step(tls, true);
        if (got != 0 || ch->closed)
            return got != 0 ? got : -EAGAIN;
        if (!ch->want_read)
            return -EAGAIN;
    }
    method = Py_XNewRef(tls->tls_read);
    count = method == NULL ? NULL : PyLong_FromSize_t(n);
    if (count == NULL) {
        Py_XDECREF(method);
        return method == NULL ? -EAGAIN : FL_IO_RAISED;
    }
    tls->busy = true;
    result = read_into(ch->loop, method, count, buf, n);
    tls->busy = false;
    Py_DECREF(count);
    Py_DECREF(method);
    if (result == NULL)
        return tls_raised(ch, true);
    got = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (got < 0 || (size_t)got > n)
        return FL_IO_RAISED;
    if ((size_t)got == n && !ch->closed && holds_more(tls, &ch->holds) < 0)
        return FL_IO_RAISED;
    return got;
}

/* One record's worth of small chunks together: new bytes. */
static PyObject *
gather(const struct iovec *iov, int n)
{
    PyObject *bytes;
    size_t room = 0, used = 0;

    for (int i = 0; i < n && room < FL_TLS_PLAIN_MOST; i++)
        room += iov[i].iov_len;
    room = room < FL_TLS_PLAIN_MOST ? room : FL_TLS_PLAIN_MOST;
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    for (int i = 0; bytes != NULL && used < room; i++) {
        size_t k = room - used;

        k = iov[i].iov_len < k ? iov[i].iov_len : k;
        memcpy(PyBytes_AS_STRING(bytes) + used, iov[i].iov_base, k);
        used += k;
    }
    return bytes;
}

/* The chunks stay where they are until this returns: see channel_write.c. */
static ssize_t
tls_send(FlChannel *ch, const struct iovec *iov, int n)
{
    FlSSLIOStream *tls = tls_of(ch);
    PyObject *owner, *together = NULL, *result, *method;
    const char *p = iov->iov_base;
    size_t len = iov->iov_len;
    ssize_t sent;

    if (tls->busy)
        return -EAGAIN;
    if (tls->handshaking) {
        sent = handshake_step(tls, false);
        if (sent != 0 || ch->closed)
            return sent != 0 ? sent : -EAGAIN;
    }
    if (tls->tls_write == NULL)
        return -EAGAIN;
    owner = ch->queue_len > 0 ? fl_channel_first(ch)->owner : NULL;
    if (n > 1 && len < FL_TLS_PLAIN_MOST) {
        together = gather(iov, n);
        if (together == NULL)
            return FL_IO_RAISED;
        owner = together;
        p = PyBytes_AS_STRING(together);
        len = (size_t)PyBytes_GET_SIZE(together);
    }
    method = Py_NewRef(tls->tls_write);
    tls->busy = true;
    result = FlTls_CallWithBytes(method, owner, p, len);
    tls->busy = false;
    Py_DECREF(method);
    Py_XDECREF(together);
    if (result == NULL)
        return tls_raised(ch, false);
    sent = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (sent < 0 || (size_t)sent > len)
        return FL_IO_RAISED;
    return sent == 0 ? -EAGAIN : sent;
}

static int
tls_fileno(FlChannel *ch)
{
    (void)ch;
    PyErr_SetString(PyExc_OSError, "the stream has no descriptor");
    return -1;
}

static int
tls_error(FlChannel *ch)
{
    return fl_socket_error(ch->watch.fd);
}

/* Sends close_notify. That the peer has not answered yet, or is gone, is said by an
 * exception that concerns nobody here. */
static void
tls_farewell(FlChannel *ch)
{
    FlSSLIOStream *tls = tls_of(ch);
    PyObject *sock = tls->base.socket, *pending, *done;

    if (tls->tls_write == NULL || tls->handshaking || tls->busy || tls->notified ||
        sock == NULL)
        return;
    pending = PyErr_GetRaisedException();
    Py_INCREF(sock);
    tls->busy = tls->notified = true;
    done = PyObject_CallMethodNoArgs(sock, tls->base.st->str_unwrap);
    tls->busy = false;
    if (done == NULL)
        PyErr_Clear();
    else
        tls->over = true; /* the peer's was there already; the SSLSocket is plain now */
    Py_XDECREF(done);
    Py_DECREF(sock);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static void
tls_close(FlChannel *ch)
{
    FlSSLIOStream *tls = tls_of(ch);

    if (ch->error == NULL && !tls->base.dying && !ch->eof)
        tls_farewell(ch);
    Py_CLEAR(tls->tls_read);
    Py_CLEAR(tls->tls_write);
    fl_stream_io_socket.close(ch);
}

static const FlChannelIO stream_io_tls = {
    .recv = tls_recv,
    .send = tls_send,
    .fileno = tls_fileno,
    .error = tls_error,
    .close = tls_close,
    .farewell = tls_farewell,
    .buffers = true,
    .piece = FL_TLS_PLAIN_MOST,
    .escapes = true,
    .guess = 3,
};

/* ---- the life of the stream ---- */

/* The socket is an SSLSocket and connected: begins the handshake. 0 or -1. */
static int
begin_handshake(FlSSLIOStream *tls)
{
    FlIOStream *s = &tls->base;

    Py_XSETREF(tls->tls_read, PyObject_GetAttr(s->socket, s->st->str_read));
    Py_XSETREF(tls->tls_write, PyObject_GetAttr(s->socket, s->st->str_write));
    if (tls->tls_read == NULL || tls->tls_write == NULL)
        return -1;
    tls->connected = true;
    s->channel.shaking = true;
    s->channel.unread = true; /* the first step is ours, whoever speaks first */
    return fl_stream_update_reading(s);
}

/* The TCP connection of connect() stands: wraps the socket. escapes */
void
fl_ssl_connected(FlIOStream *s)
{
    FlSSLIOStream *tls = (FlSSLIOStream *)s;
    PyObject *sock = PyObject_CallFunctionObjArgs(
        s->st->hook_tls_wrap, s->socket, tls->options ? tls->options : Py_None,
        tls->server_hostname ? tls->server_hostname : Py_None, NULL);

    if (sock != NULL && !s->channel.closed) {
        Py_XSETREF(s->socket, sock);
        if (begin_handshake(tls) == 0)
            return;
    } else {
        Py_XDECREF(sock);
    }
    if (PyErr_Occurred()) {
        PyObject *exc;

        log_handshake_error(tls);
        exc = PyErr_GetRaisedException();
        fl_stream_close(s, exc);
        Py_DECREF(exc);
    }
}

void
fl_ssl_signal_closed(FlIOStream *s)
{
    FlSSLIOStream *tls = (FlSSLIOStream *)s;
    PyObject *error = s->error != NULL ? s->error : s->channel.error;

    if (tls->handshake_future == NULL && s->connect_future == NULL)
        return;
    error = error != NULL ? Py_NewRef(error) : fl_stream_closed_error(s);
    if (error == NULL)
        PyErr_WriteUnraisable((PyObject *)s);
    else
        tell_handshake(tls, error);
    Py_XDECREF(error);
}

int
fl_ssl_traverse(FlIOStream *s, visitproc visit, void *arg)
{
    FlSSLIOStream *tls = (FlSSLIOStream *)s;

    Py_VISIT(tls->options);
    Py_VISIT(tls->server_hostname);
    Py_VISIT(tls->tls_read);
    Py_VISIT(tls->tls_write);
    Py_VISIT(tls->handshake_future);
    return 0;
}

void
fl_ssl_clear(FlIOStream *s)
{
    FlSSLIOStream *tls = (FlSSLIOStream *)s;

    Py_CLEAR(tls->options);
    Py_CLEAR(tls->server_hostname);
    Py_CLEAR(tls->handshake_future);
    if (s->dying) {
        Py_CLEAR(tls->tls_read);
        Py_CLEAR(tls->tls_write);
    }
}

/* Takes ssl_options out of a copy of kwargs. 0 or -1. */
static int
take_options(FlSSLIOStream *tls, PyObject **kwargs)
{
    PyObject *key = tls->base.st->str_ssl_options;
    PyObject *copy = *kwargs == NULL ? PyDict_New() : PyDict_Copy(*kwargs);
    PyObject *options;

    *kwargs = copy;
    if (copy == NULL)
        return -1;
    options = PyDict_GetItemWithError(copy, key);
    if (options == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (options != Py_None)
        Py_XSETREF(tls->options, Py_NewRef(options));
    return PyDict_DelItem(copy, key);
}

static int
ssl_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    FlSSLIOStream *tls = (FlSSLIOStream *)self;
    FlIOStream *s = &tls->base;
    fl_address peer;
    int err;

    err = take_options(tls, &kwargs);
    tls->handshaking = true;
    if (err == 0)
        err = fl_stream_init_socket(s, args, kwargs, s->st->SSLIOStream_type,
                                    &stream_io_tls);
    Py_XDECREF(kwargs);
    if (err < 0)
        return -1;
    if (fl_socket_peer(PyObject_AsFileDescriptor(s->socket), &peer) < 0)
        return 0; /* not connected: connect() goes on */
    if (!PyObject_HasAttr(s->socket, s->st->str_do_handshake)) {
        PyErr_SetString(PyExc_ValueError,
                        "a connected socket must be an ssl.SSLSocket made with "
                        "do_handshake_on_connect=False; see IOStream.start_tls");
        return -1;
    }
    return begin_handshake(tls);
}

static PyObject *
ssl_connect(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const names[2] = {"address", "server_hostname"};
    FlSSLIOStream *tls = (FlSSLIOStream *)self;
    FlStreamCall call;

    if (fl_stream_parse(&call, "connect", names, args, nargs, kwnames) < 0)
        return NULL;
    Py_XSETREF(tls->server_hostname, Py_XNewRef(call.option));
    return fl_stream_connect(self, args, nargs, kwnames);
}

static PyObject *
ssl_wait_for_handshake(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    static const char *const names[2] = {NULL, NULL};
    FlSSLIOStream *tls = (FlSSLIOStream *)self;
    FlIOStream *s = &tls->base;
    FlStreamCall call;
    PyObject *future;

    if (fl_stream_parse(&call, "wait_for_handshake", names, args, nargs, kwnames) < 0 ||
        fl_stream_check(s) < 0)
        return NULL;
    if (tls->handshake_future != NULL && FlFuture_Done(tls->handshake_future))
        Py_CLEAR(tls->handshake_future); /* it was cancelled */
    if (tls->handshake_future != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Already waiting");
        return NULL;
    }
    if (!tls->handshaking && !s->channel.closed)
        return fl_stream_answer(s, &call, FlFuture_NewDone(s->st, self), false);
    future = FlFuture_New(s->st, s->channel.loop);
    if (future == NULL)
        return NULL;
    tls->handshake_future = Py_NewRef(future);
    if (s->channel.closed)
        fl_ssl_signal_closed(s);
    return fl_stream_answer(s, &call, future, false);
}

static PyObject *
method_result(FlChannel *ch, ssize_t n, bool reading)
{
    if (n == FL_IO_RAISED)
        return NULL;
    if (n != -EAGAIN)
        return PyLong_FromSsize_t(n);
    (void)ch;
    return reading ? Py_NewRef(Py_None) : PyLong_FromLong(0);
}

static PyObject *
ssl_read_from_fd(PyObject *self, PyObject *buf)
{
    FlIOStream *s = (FlIOStream *)self;
    Py_buffer view;
    ssize_t got;

    if (fl_stream_check(s) < 0 || PyObject_GetBuffer(buf, &view, PyBUF_WRITABLE) < 0)
        return NULL;
    got = tls_recv(&s->channel, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return method_result(&s->channel, got, true);
}

static PyObject *
ssl_write_to_fd(PyObject *self, PyObject *data)
{
    FlIOStream *s = (FlIOStream *)self;
    Py_buffer view;
    struct iovec iov;
    ssize_t sent;

    if (fl_stream_check(s) < 0 || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    iov.iov_base = view.buf;
    iov.iov_len = (size_t)view.len;
    sent = tls_send(&s->channel, &iov, 1);
    PyBuffer_Release(&view);
    return method_result(&s->channel, sent, false);
}

FL_ONE_ARGUMENT(ssl_read_from_fd, "read_from_fd", "buf")
FL_ONE_ARGUMENT(ssl_write_to_fd, "write_to_fd", "data")

static PyMethodDef ssl_methods[] = {
    {"connect", (PyCFunction)(void (*)(void))ssl_connect, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "connect($self, address, server_hostname=None, *more, callback=None)\n--\n\n"
         "Connect, then shake hands; server_hostname is the certificate's name. A "
         "future of the stream.")},
    {"wait_for_handshake", (PyCFunction)(void (*)(void))ssl_wait_for_handshake,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("wait_for_handshake($self, callback=None)\n--\n\n"
               "A future of the stream, done after the handshake; its failure is the "
               "ssl error.")},
    {"read_from_fd", FL_ONE_ARGUMENT_METHOD(ssl_read_from_fd),
     PyDoc_STR("read_from_fd($self, buf)\n--\n\n"
               "Receive and decrypt into buf: the count, 0 at the end, None for not "
               "yet.")},
    {"write_to_fd", FL_ONE_ARGUMENT_METHOD(ssl_write_to_fd),
     PyDoc_STR("write_to_fd($self, data)\n--\n\n"
               "Encrypt and send of data; the count, 0 for not yet.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot ssl_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR(
         "SSLIOStream(socket, max_buffer_size=None, read_chunk_size=None, "
         "max_write_buffer_size=None, *, ssl_options=None, io_loop=None)\n--\n\n"
         "A TLS stream. socket is an ssl.SSLSocket made with "
         "do_handshake_on_connect=False, or unconnected for connect().")},
    {Py_tp_init, ssl_init},
    {Py_tp_traverse, fl_stream_traverse},
    {Py_tp_clear, fl_stream_clear},
    {Py_tp_dealloc, fl_stream_dealloc},
    {Py_tp_methods, ssl_methods},
    {0, NULL},
};

static PyType_Spec ssl_spec = {
    .name = "pyfastloop.iostream.SSLIOStream",
    .basicsize = sizeof(FlSSLIOStream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = ssl_slots,
};

/* ---- the module's function ---- */

static PyObject *
stream_from_fd(PyObject *module, PyObject *args)
{
    FlState *st = FlState_OfModule(module);
    PyObject *max_buffer, *chunk, *stream;
    FlLoop *loop;
    int fd;

    if (!PyArg_ParseTuple(args, "iOO:stream_from_fd", &fd, &max_buffer, &chunk))
        return NULL;
    loop = FlLoop_Get(st);
    if (loop == NULL) {
        (void)fl_close(fd);
        return NULL;
    }
    stream = FlIOStream_FromFd(st, loop, fd, 0, 0);
    Py_DECREF(loop);
    if (stream != NULL &&
        fl_stream_set_limits((FlIOStream *)stream, max_buffer, chunk, NULL) < 0)
        Py_CLEAR(stream);
    return stream;
}

static PyMethodDef net_functions[] = {
    {"stream_from_fd", stream_from_fd, METH_VARARGS,
     PyDoc_STR("stream_from_fd(fd, max_buffer_size, read_chunk_size, /)\n--\n\n"
               "An IOStream on an accepted, non-blocking descriptor, which it takes "
               "over.")},
    {NULL, NULL, 0, NULL},
};

int
FlSSLIOStream_AddType(PyObject *module, FlState *st)
{
    if (PyModule_AddFunctions(module, net_functions) < 0)
        return -1;
    return FlState_AddType(module, &st->SSLIOStream_type, &ssl_spec,
                           (PyObject *)st->IOStream_type, false);
}
