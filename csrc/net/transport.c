/* transport.c -- a transport's life: made, begun, fed by its channel, lost.
 *
 * The invariant: `closing` says that nothing more will be read and that connection_lost
 * is certain to come; the channel reads exactly while the transport is started, not
 * paused and not closing. Every function that calls the protocol holds the transport.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport.h"

#include <errno.h>
#include <string.h>

#include "net/channel_internal.h"
#include "net/listener.h"
#include "net/transport_tls.h"

static FlTransport *
transport_of(FlChannel *ch)
{
    return (FlTransport *)ch->owner;
}

/* ---- how bytes move ---- */

void
FlTransport_GiveBack(FlTransport *tr)
{
    Py_CLEAR(tr->landing);
    if (tr->lent.obj != NULL)
        PyBuffer_Release(&tr->lent);
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
};

static const FlChannelIO pipe_io = {
    .recv = pipe_recv,
    .send = fl_channel_pipe_send,
    .fileno = fl_channel_known_fileno,
    .error = fl_channel_pipe_error,
    .close = any_close,
};

/* ---- calling the protocol ---- */

static void
report_slow(FlLoop *loop, PyObject *who, uint64_t started)
{
    double took = (double)(fl_clock_monotonic() - started) / 1e9;
    PyObject *pending, *seconds, *done = NULL;

    if (took < loop->slow_callback_duration)
        return;
    pending = PyErr_GetRaisedException();
    seconds = PyFloat_FromDouble(took);
    if (seconds != NULL)
        done = PyObject_CallMethodObjArgs((PyObject *)loop, loop->st->str__report_slow,
                                          who, seconds, NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(who);
    Py_XDECREF(seconds);
    Py_XDECREF(done);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

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
        report_slow(loop, who, started);
    return res;
}

PyObject *
FlTransport_Call(FlTransport *tr, PyObject *method, PyObject **args, size_t n)
{
    return FlTransport_CallIn(tr->ch.loop, tr->context, (PyObject *)tr, method, args,
                              n);
}

/* protocol.<name>(arg), arg NULL: without one. */
static PyObject *
call_by_name(FlTransport *tr, PyObject *name, PyObject *arg)
{
    PyObject *args[2] = {NULL, arg}, *res;
    PyObject *method = PyObject_GetAttr(tr->protocol, name);

    if (method == NULL)
        return NULL;
    res = FlTransport_Call(tr, method, args, arg != NULL);
    Py_DECREF(method);
    return res;
}

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

/* ---- what the channel tells ---- */

int
FlTransport_Received(FlTransport *tr, PyObject *bytes)
{
    PyObject *args[2] = {NULL, bytes};
    PyObject *res = tr->on_data == Py_None
                        ? PyObject_GetAttr(tr->protocol, tr->st->str_data_received)
                        : FlTransport_Call(tr, tr->on_data, args, 1);

    if (res == NULL)
        return FlTransport_Fail(tr,
                                "Fatal error: protocol.data_received() call failed.");
    Py_DECREF(res);
    return 0;
}

/* Where much came at once, the next bytes go straight into the object that the protocol
 * will be given: a copy saved is more than what is left over of it. */
#define LARGE_LEAST ((size_t)16 * 1024)
#define LARGE_STEP ((size_t)4 * 1024)

static void
expect_like(FlTransport *tr, size_t got)
{
    size_t room = (got / LARGE_STEP + 2) * LARGE_STEP;

    if (got < LARGE_LEAST)
        tr->expected = 0;
    else if (got == tr->expected) /* there was more, it seems */
        tr->expected = got * 2 < FL_LOOP_BUFFER ? got * 2 : FL_LOOP_BUFFER;
    else
        tr->expected = room < FL_LOOP_BUFFER ? room : FL_LOOP_BUFFER;
}

/* Hands bytes (stolen; NULL: an exception is set) to the protocol; 0 or -1. */
static int
give_bytes(FlTransport *tr, PyObject *bytes)
{
    int err = bytes == NULL ? -1 : FlTransport_Received(tr, bytes);

    Py_XDECREF(bytes);
    return err;
}

static Py_ssize_t
transport_data(FlChannel *ch, const char *p, size_t n)
{
    FlTransport *tr = ch->self;
    int err;

    if (tr->tls != NULL) {
        err = FlTransport_TlsData(tr, p, n);
    } else {
        expect_like(tr, n);
        err = give_bytes(tr, PyBytes_FromStringAndSize(p, (Py_ssize_t)n));
    }
    return err < 0 ? -1 : (Py_ssize_t)n;
}

/* The object that bytes landed in, cut to what came. */
static int
transport_landed(FlTransport *tr, size_t n)
{
    PyObject *bytes = tr->landing;

    tr->landing = NULL;
    expect_like(tr, n);
    (void)_PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return give_bytes(tr, bytes);
}

char *
FlTransport_Lend(FlTransport *tr, size_t *n)
{
    PyObject *args[2] = {NULL, NULL}, *memory, *exc;

    FlTransport_GiveBack(tr);
    args[1] = PyLong_FromLong(-1);
    if (args[1] == NULL)
        return NULL;
    memory = FlTransport_Call(tr, tr->get_buffer, args, 1);
    Py_DECREF(args[1]);
    if (memory != NULL) {
        if (PyObject_GetBuffer(memory, &tr->lent, PyBUF_WRITABLE) == 0) {
            if (tr->lent.len == 0) {
                PyBuffer_Release(&tr->lent);
                PyErr_SetString(PyExc_RuntimeError,
                                "get_buffer() returned an empty buffer");
            }
        }
        Py_DECREF(memory);
    }
    if (tr->lent.obj != NULL) {
        *n = (size_t)tr->lent.len;
        return tr->lent.buf;
    }
    exc = PyErr_GetRaisedException();
    PyErr_SetRaisedException(Py_NewRef(exc)); /* told here, and by connection_lost() */
    if (FlTransport_Report(tr, "Fatal error: protocol.get_buffer() call failed.") == 0)
        PyErr_SetRaisedException(exc);
    else
        Py_DECREF(exc);
    return NULL;
}

static char *
transport_buffer(FlChannel *ch, size_t *n)
{
    FlTransport *tr = ch->self;

    if (tr->tls != NULL)
        return NULL;
    if (tr->get_buffer != NULL)
        return FlTransport_Lend(tr, n);
    FlTransport_GiveBack(tr);
    if (tr->expected == 0)
        return NULL;
    tr->landing = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)tr->expected);
    *n = tr->expected;
    return tr->landing == NULL ? NULL : PyBytes_AS_STRING(tr->landing);
}

int
FlTransport_Filled(FlTransport *tr, size_t n)
{
    PyObject *args[2] = {NULL, NULL}, *res;

    if (tr->get_buffer ==
        NULL) { /* get_buffer() itself put a plain protocol in place */
        PyObject *bytes = PyBytes_FromStringAndSize(tr->lent.buf, (Py_ssize_t)n);
        FlTransport_GiveBack(tr);
        return give_bytes(tr, bytes);
    }
    FlTransport_GiveBack(tr);
    args[1] = PyLong_FromSize_t(n);
    if (args[1] == NULL)
        return -1;
    res = FlTransport_Call(tr, tr->on_data, args, 1);
    Py_DECREF(args[1]);
    if (res == NULL &&
        FlTransport_Fail(tr, "Fatal error: protocol.buffer_updated() call failed.") < 0)
        return -1;
    Py_XDECREF(res);
    return 0;
}

/* get_buffer() has begun TLS: what landed in its memory is not plain text. */
static int
landed_encrypted(FlTransport *tr, size_t n)
{
    Py_buffer lent = tr->lent;
    int err;

    tr->lent.obj = NULL;
    err = FlTransport_TlsData(tr, lent.buf, n);
    PyBuffer_Release(&lent);
    return err;
}

static int
transport_filled(FlChannel *ch, size_t n)
{
    FlTransport *tr = ch->self;

    if (tr->tls != NULL && tr->lent.obj != NULL)
        return landed_encrypted(tr, n);
    return tr->landing != NULL ? transport_landed(tr, n) : FlTransport_Filled(tr, n);
}

int
FlTransport_TellEof(FlTransport *tr)
{
    PyObject *res = call_by_name(tr, tr->st->str_eof_received, NULL);
    int stays = res == NULL ? -1 : PyObject_IsTrue(res);

    Py_XDECREF(res);
    return stays;
}

static int
transport_eof(FlChannel *ch)
{
    FlTransport *tr = ch->self;
    int stays;

    if (tr->kind == FL_TRANSPORT_WRITE) { /* the reader is gone */
        FlTransport_Abort(tr, NULL);
        return 0;
    }
    if (tr->tls != NULL)
        return FlTransport_TlsEof(tr);
    stays = FlTransport_TellEof(tr);
    if (stays < 0)
        return FlTransport_Fail(tr,
                                "Fatal error: protocol.eof_received() call failed.");
    if (!stays || tr->kind == FL_TRANSPORT_READ)
        FlTransport_Close(tr);
    return 0;
}

static void
transport_drained(FlChannel *ch)
{
    FlTransport *tr = ch->self;
    PyObject *res;

    if (!tr->writing_paused || (tr->tls != NULL && FlTransport_Waiting(tr) > tr->low))
        return;
    tr->writing_paused = false;
    res = call_by_name(tr, tr->st->str_resume_writing, NULL);
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
        res = call_by_name(tr, tr->st->str_connection_lost, exc ? exc : Py_None);
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

static const FlChannelOps transport_ops = {
    .data = transport_data,
    .buffer = transport_buffer,
    .filled = transport_filled,
    .eof = transport_eof,
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

/* ---- beginning ---- */

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
    res = call_by_name(tr, tr->st->str_connection_made, obj);
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

/* ---- the types ---- */

static int
transport_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlTransport *tr = (FlTransport *)obj;

    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(tr->extra);
    Py_VISIT(tr->protocol);
    Py_VISIT(tr->on_data);
    Py_VISIT(tr->get_buffer);
    Py_VISIT(tr->context);
    Py_VISIT(tr->file);
    Py_VISIT(tr->face);
    Py_VISIT(tr->peername);
    Py_VISIT(tr->sockname);
    Py_VISIT((PyObject *)tr->acceptor);
    Py_VISIT(tr->sent.future);
    Py_VISIT(tr->dict);
    if (tr->tls != NULL) {
        int stop = FlTls_Traverse(tr->tls, visit, arg);

        if (stop != 0)
            return stop;
    }
    return FlChannel_Traverse(&tr->ch, visit, arg);
}

static int
transport_clear(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;

    Py_CLEAR(tr->extra);
    Py_CLEAR(tr->on_data);
    Py_CLEAR(tr->get_buffer);
    Py_CLEAR(tr->protocol);
    Py_CLEAR(tr->sent.future);
    Py_CLEAR(tr->peername);
    Py_CLEAR(tr->sockname);
    Py_CLEAR(tr->dict);
    return 0;
}

static void
transport_finalize(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    PyObject *pending;

    if (tr->ch.loop == NULL || tr->ch.closed)
        return;
    pending = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(obj, 1, "unclosed transport %R", obj) < 0)
        PyErr_WriteUnraisable(obj);
    if (tr->file != NULL) { /* while that is whole: the collector may empty it next */
        tr->closing = tr->ch.told = true;
        FlChannel_Close(&tr->ch, NULL);
    }
    FlAcceptor_Detach(tr); /* so is the server */
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static void
transport_dealloc(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    if (PyObject_CallFinalizerFromDealloc(obj) < 0)
        return;
    PyObject_GC_UnTrack(obj);
    if (tr->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    FlAcceptor_Detach(tr); /* nobody may find it in that list from here on */
    FlTransport_GiveBack(tr);
    FlChannel_Clear(&tr->ch); /* closes by tr->file */
    if (tr->tls != NULL)
        FlTls_Free(tr->tls);
    tr->tls = NULL;
    (void)transport_clear(obj);
    Py_CLEAR(tr->context);
    Py_CLEAR(tr->face);
    Py_CLEAR(tr->file);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyObject *
transport_repr(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    const char *state = tr->ch.loop == NULL || tr->ch.closed ? "closed"
                        : tr->closing                        ? "closing"
                        : !tr->started                       ? "not begun"
                        : tr->paused                         ? "paused"
                                                             : "open";

    return PyUnicode_FromFormat("<%s fd=%d %s queued=%zu>", Py_TYPE(obj)->tp_name,
                                tr->ch.watch.fd, state, tr->ch.queued);
}

static PyObject *
transport_get_loop(PyObject *obj, void *Py_UNUSED(closure))
{
    FlTransport *tr = (FlTransport *)obj;

    return Py_NewRef(tr->ch.loop == NULL ? Py_None : (PyObject *)tr->ch.loop);
}

/* Programs (aiohttp) ask whether start_tls() may be called on it. */
static PyObject *
transport_can_start_tls(PyObject *obj, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((FlTransport *)obj)->kind == FL_TRANSPORT_SOCKET);
}

static PyGetSetDef transport_getset[] = {
    {"_start_tls_compatible", transport_can_start_tls, NULL, NULL, NULL},
    {"_loop", transport_get_loop, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlTransport, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlTransport, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* The base's one field must stand where the struct has it. */
int
FlTransport_CheckBase(PyObject *base)
{
    if (((PyTypeObject *)base)->tp_basicsize == offsetof(FlTransport, st))
        return 0;
    PyErr_Format(PyExc_ImportError,
                 "%R takes %zd bytes, %zu were expected: this CPython has changed "
                 "asyncio's transports and needs a newer pyfastloop",
                 base, ((PyTypeObject *)base)->tp_basicsize, offsetof(FlTransport, st));
    return -1;
}

static int
add_type(PyObject *module, PyTypeObject **slot, const char *name, const char *doc,
         PyMethodDef *methods, PyObject *base)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)doc},           {Py_tp_traverse, transport_traverse},
        {Py_tp_clear, transport_clear},     {Py_tp_finalize, transport_finalize},
        {Py_tp_dealloc, transport_dealloc}, {Py_tp_repr, transport_repr},
        {Py_tp_methods, methods},           {Py_tp_getset, transport_getset},
        {Py_tp_members, transport_members}, {0, NULL},
    };
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(FlTransport),
        .flags =
            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };

    if (FlTransport_CheckBase(base) < 0)
        return -1;
    return FlState_AddType(module, slot, &spec, base, false);
}

int
FlTransport_AddType(PyObject *module, FlState *st)
{
    return add_type(module, &st->Transport_type, "pyfastloop._core.Transport",
                    "A connected socket, as protocols of asyncio use it.",
                    FlTransport_SocketMethods, st->AsyncioTransport);
}

int
FlReadPipeTransport_AddType(PyObject *module, FlState *st)
{
    return add_type(module, &st->ReadPipeTransport_type,
                    "pyfastloop._core.ReadPipeTransport", "The reading end of a pipe.",
                    FlTransport_ReadMethods, st->AsyncioReadTransport);
}

int
FlWritePipeTransport_AddType(PyObject *module, FlState *st)
{
    return add_type(module, &st->WritePipeTransport_type,
                    "pyfastloop._core.WritePipeTransport", "The writing end of a pipe.",
                    FlTransport_WriteMethods, st->AsyncioWriteTransport);
}
