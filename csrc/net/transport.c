/* transport.c -- a transport's life: made, begun, its water marks, closed, lost.
 *
 * What it receives stands in transport_read.c, how it calls its protocol in
 * transport_protocol.c, its methods in transport_methods.c, the types in transport_type.c.
 *
 * The invariant: `closing` says that nothing more will be read and that connection_lost
 * is certain to come; the channel reads exactly while the transport is started, not
 * paused and not closing. Every function that calls the protocol holds the transport.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport_parts.h"

#include <errno.h>

#include "net/channel_internal.h"
#include "net/transport_tls.h"

/* ---- how bytes move ---- */

static FlTransport *
transport_of(FlChannel *ch)
{
    return (FlTransport *)ch->owner;
}

static ssize_t
socket_recv(FlChannel *ch, char *buf, size_t n)
{
    ssize_t got = fl_socket_recv(ch->watch.fd, buf, n);

    if (got <= 0)
        FlTransport_GiveBack(transport_of(ch));
    return got;
}

static ssize_t
pipe_recv(FlChannel *ch, char *buf, size_t n)
{
    FlTransport *tr = transport_of(ch);
    ssize_t got;

    /* Of the writing end only the reader's end is to be learnt: EPOLLERR of a FIFO,
     * a socket that can be read. */
    if (tr->kind == FL_TRANSPORT_WRITE)
        return tr->fifo ? -EAGAIN : 0;
    got = fl_pipe_read(ch->watch.fd, buf, n);
    if (got <= 0)
        FlTransport_GiveBack(tr);
    return got;
}

/* The object that owns the descriptor closes it; it would close a stranger's otherwise.
 */
static void
any_close(FlChannel *ch)
{
    FlTransport *tr = transport_of(ch);
    PyObject *pending, *done;

    if (tr->kind == FL_TRANSPORT_SOCKET)
        FlTransport_KeepNames(tr);
    if (tr->file == NULL) {
        (void)fl_close(ch->watch.fd);
        return;
    }
    pending = PyErr_GetRaisedException();
    done = PyObject_CallMethodNoArgs(tr->file, tr->st->str_close);
    if (done == NULL)
        PyErr_WriteUnraisable(tr->file);
    Py_XDECREF(done);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static const FlChannelIO socket_io = {
    .recv = socket_recv,
    .send = fl_channel_socket_send,
    .fileno = fl_channel_known_fileno,
    .error = fl_channel_socket_error,
    .close = any_close,
    .sendfile = true,
    .guess = 1,
};

static const FlChannelIO pipe_io = {
    .recv = pipe_recv,
    .send = fl_channel_pipe_send,
    .fileno = fl_channel_known_fileno,
    .error = fl_channel_pipe_error,
    .close = any_close,
    .guess = 1,
};

/* ---- what was written ---- */

static void
transport_drained(FlChannel *ch)
{
    FlTransport *tr = ch->self;
    PyObject *res;

    if (!tr->writing_paused || (tr->tls != NULL && FlTransport_Waiting(tr) > tr->low))
        return;
    tr->writing_paused = false;
    res = FlTransport_CallByName(tr, tr->st->str_resume_writing, NULL);
    if (res == NULL)
        (void)FlTransport_Report(tr, "protocol.resume_writing() failed");
    Py_XDECREF(res);
}

size_t
FlTransport_Waiting(const FlTransport *tr)
{
    return FlChannel_Queued(&tr->ch) + (tr->tls == NULL ? 0 : FlTls_Kept(tr->tls));
}

int
FlTransport_WaterMoved(FlTransport *tr)
{
    if (tr->writing_paused && !tr->ch.above && !tr->ch.closed)
        transport_drained(&tr->ch);
    return PyErr_Occurred() ? -1 : 0;
}

int
FlTransport_WaterRose(FlTransport *tr)
{
    PyObject *method, *res = NULL;
    bool high = tr->ch.above || (tr->tls != NULL && FlTransport_Waiting(tr) > tr->high);

    if (tr->writing_paused || !high || tr->ch.closed || tr->protocol == NULL)
        return 0;
    tr->writing_paused = true;
    method = PyObject_GetAttr(tr->protocol, tr->st->str_pause_writing);
    if (method != NULL)
        res = PyObject_CallNoArgs(method);
    Py_XDECREF(method);
    if (res == NULL)
        return FlTransport_Report(tr, "protocol.pause_writing() failed");
    Py_DECREF(res);
    return 0;
}

/* Whoever waits for everything before `target` to be sent. */
static void
tell_sent(FlTransport *tr, PyObject *exc)
{
    PyObject *future = tr->sent.future;
    PyObject *done;

    if (future == NULL)
        return;
    tr->sent.future = NULL;
    done = PyObject_CallMethodNoArgs(future, tr->st->str_done);
    if (done == Py_False) {
        Py_DECREF(done);
        done = exc != NULL ? PyObject_CallMethod(future, "set_exception", "O", exc)
                           : PyObject_CallMethod(future, "set_result", "O", Py_None);
    }
    if (done == NULL && !FlError_IsFatal())
        PyErr_WriteUnraisable(future);
    Py_XDECREF(done);
    Py_DECREF(future);
}

static void
transport_wrote(FlChannel *ch)
{
    FlTransport *tr = transport_of(ch);

    if (tr->sent.future != NULL && ch->total_sent >= tr->sent.target)
        tell_sent(tr, NULL);
    /* What TLS keeps counts as well: the channel alone may never have been above. */
    if (tr->tls != NULL && !PyErr_Occurred())
        (void)FlTransport_WaterMoved(tr);
}

/* ---- closing ---- */

void
FlTransport_Close(FlTransport *tr)
{
    if (tr->tls != NULL) {
        FlTransport_TlsClose(tr);
        return;
    }
    if (tr->closing)
        return;
    tr->closing = true;
    FlChannel_CloseAfterWrites(&tr->ch);
}

void
FlTransport_Abort(FlTransport *tr, PyObject *exc)
{
    tr->closing = true;
    FlChannel_Close(&tr->ch, exc);
}

int
FlTransport_SettleReading(FlTransport *tr)
{
    bool wanted = tr->started && !tr->paused && !tr->closing;

    if (tr->kind == FL_TRANSPORT_WRITE)
        wanted = wanted && tr->watches;
    if (tr->tls != NULL)
        wanted = FlTransport_TlsReads(tr);
    return FlChannel_WantRead(&tr->ch, wanted);
}

static void
transport_closed(FlChannel *ch, PyObject *exc)
{
    FlTransport *tr = ch->self;
    PyObject *res = NULL, *lost;

    tr->closing = true;
    FlTransport_GiveBack(tr);
    if (tr->tls != NULL)
        FlTransport_TlsLost(tr, exc);
    if (tr->sent.future != NULL) {
        PyErr_SetString(PyExc_ConnectionError,
                        "the connection was closed before everything was sent");
        lost = PyErr_GetRaisedException();
        tell_sent(tr, lost);
        Py_DECREF(lost);
        if (PyErr_Occurred())
            return;
    }
    if (tr->started) {
        res = FlTransport_CallByName(tr, tr->st->str_connection_lost,
                                     exc ? exc : Py_None);
        if (res == NULL)
            (void)FlTransport_Report(
                tr, "Exception in callback: protocol.connection_lost() failed");
        Py_XDECREF(res);
    }
    lost = PyErr_GetRaisedException();
    Py_CLEAR(tr->on_data);
    Py_CLEAR(tr->get_buffer);
    Py_CLEAR(tr->protocol);
    FlAcceptor_Detach(tr);
    if (lost != NULL)
        PyErr_SetRaisedException(lost);
}

/* ---- beginning ---- */

static const FlChannelOps transport_ops = {
    .data = FlTransport_OnData,
    .buffer = FlTransport_OnBuffer,
    .filled = FlTransport_OnFilled,
    .eof = FlTransport_OnEof,
    .drained = transport_drained,
    .closed = transport_closed,
    .patient = true,
};

static int
transport_deferred(FlLoop *loop, PyObject *obj)
{
    (void)loop;
    return FlChannel_Deferred(&((FlTransport *)obj)->ch);
}

static const FlChannelOwnerOps transport_owner = {
    .deferred = transport_deferred,
    .wrote = transport_wrote,
};

int
FlTransport_Begin(FlLoop *loop, PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    PyObject *res;

    (void)loop;
    if (tr->protocol == NULL)
        return 0;
    if (tr->tls != NULL && !tr->tls->shook)
        return FlTransport_TlsBegin(tr);
    Py_INCREF(tr);
    tr->started = true;
    res = FlTransport_CallByName(tr, tr->st->str_connection_made, obj);
    if (res == NULL &&
        FlTransport_Report(
            tr, "Exception in callback: protocol.connection_made() failed") < 0) {
        Py_DECREF(tr);
        return -1;
    }
    Py_XDECREF(res);
    if (FlTransport_SettleReading(tr) < 0 &&
        FlTransport_Fail(tr, "Fatal error: the descriptor cannot be watched") < 0) {
        Py_DECREF(tr);
        return -1;
    }
    Py_DECREF(tr);
    return 0;
}

FlTransport *
FlTransport_New(FlState *st, FlLoop *loop, const FlTransportStart *start)
{
    PyTypeObject *type = start->kind == FL_TRANSPORT_SOCKET ? st->Transport_type
                         : start->kind == FL_TRANSPORT_READ
                             ? st->ReadPipeTransport_type
                             : st->WritePipeTransport_type;
    PyObject *context =
        start->context ? Py_NewRef(start->context) : PyContext_CopyCurrent();
    FlTransport *tr = context == NULL ? NULL : (FlTransport *)type->tp_alloc(type, 0);

    if (tr == NULL) {
        Py_XDECREF(context);
        if (start->file == NULL)
            (void)fl_close(start->fd);
        return NULL;
    }
    tr->st = st;
    tr->kind = (uint8_t)start->kind;
    tr->context = context;
    tr->file = Py_XNewRef(start->file);
    FlChannel_Init(&tr->ch, loop, (PyObject *)tr, &transport_owner,
                   start->kind == FL_TRANSPORT_SOCKET ? &socket_io : &pipe_io,
                   start->fd);
    tr->high = FL_TRANSPORT_HIGH;
    tr->low = FL_TRANSPORT_LOW;
    FlChannel_SetMarks(&tr->ch, tr->high, tr->low);
    (void)FlChannel_SetConsumer(&tr->ch, &transport_ops, tr);
    if (start->peer != NULL)
        tr->peer = *start->peer;
    tr->extra = PyDict_New();
    if (tr->extra == NULL || FlTransport_SetProtocol(tr, start->protocol) < 0) {
        FlTransport_Abort(tr, NULL);
        Py_DECREF(tr);
        return NULL;
    }
    tr->acceptor = (FlAcceptor *)Py_XNewRef((PyObject *)start->acceptor);
    return tr;
}
