/* server_connection.c -- http1connection.HTTP1ServerConnection: a stream that is served.
 *
 * data() feeds the current exchange, and while exchanges end inside it, the next one: a
 * burst of pipelined requests is one loop, its answers corked into one send. An exchange
 * that ends later, in somebody's callback, is followed up from the ring
 * (server_continue), never on top of user code.
 *
 *   exchange over --> keep-alive?  recycle, wait for the next head (idle deadline)
 *                 \-> close?       after the queue is empty; with unread input: linger
 *
 * While it serves it holds a reference to itself, which `closed` or a detach drops.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/connection.h"

#include <string.h>

#include "core/future.h"
#include "net/iostream.h"
#include "net/listener.h"

#define AHEAD_MOST 65536 /* bytes of later requests kept while one is answered */
#define BURST_MOST 64    /* pipelined requests answered before the others get a turn */
#define RATE_LOOK_LEAST 0.01         /* s between two looks at a body's rate */
#define FOR_EVER ((uint64_t)1 << 61) /* ns */

static FlHTTP1ServerConnection *
server_cast(PyObject *self)
{
    return (FlHTTP1ServerConnection *)self;
}

/* ---- deadlines ---- */

/* Whether the rate at which a body comes is looked at now and then. */
static bool
rate_counts(const FlHTTP1ServerConnection *server)
{
    return server->deadline_kind == FL_DEADLINE_BODY && server->conn != NULL &&
           server->conn->web && server->params->min_body_rate > 0;
}

/* Has the timer fire by the deadline, or before it to look at the rate. 0 or -1. */
static int
arm(FlHTTP1ServerConnection *server, uint64_t now)
{
    uint64_t when = server->deadline;

    if (rate_counts(server)) {
        double look = server->params->rate_grace;

        if (look < RATE_LOOK_LEAST)
            look = RATE_LOOK_LEAST;
        if (look < 1e9 && now + (uint64_t)(look * 1e9) < when)
            when = now + (uint64_t)(look * 1e9);
    }
    if (FlLoop_Armed(&server->timer) && server->armed_at <= when)
        return 0;
    server->armed_at = when;
    return FlLoop_Arm(server->loop, &server->timer, when);
}

void
FlHTTP1Server_Deadline(FlHTTP1ServerConnection *server, uint8_t kind, double seconds)
{
    uint64_t now = FlLoop_Now(server->loop);
    FlHTTP1Connection *conn = server->conn;

    if (server->lingering && kind != FL_DEADLINE_CLOSE)
        return;
    server->deadline_kind = kind;
    if (kind == FL_DEADLINE_BODY && conn != NULL) {
        double whole = conn->body_timeout == conn->body_timeout
                           ? conn->body_timeout
                           : server->params->body_timeout;
        double spent = (double)(now - conn->body_since) / 1e9;

        if (whole >= 0 && (seconds < 0 || whole - spent < seconds))
            seconds = whole > spent ? whole - spent : 0;
    }
    if (kind == FL_DEADLINE_NONE ||
        ((seconds < 0 || seconds > 1e9) && !rate_counts(server))) {
        server->deadline_kind = FL_DEADLINE_NONE;
        return;
    }
    server->deadline =
        seconds < 0 || seconds > 1e9 ? now + FOR_EVER : now + (uint64_t)(seconds * 1e9);
    if (arm(server, now) < 0)
        FlHTTP_LogUncaught(server->loop);
}

static bool
open_channel(FlHTTP1ServerConnection *server)
{
    return server->channel != NULL && !FlChannel_Closed(server->channel);
}

static void
close_now(FlHTTP1ServerConnection *server)
{
    PyObject *stream = Py_XNewRef(server->stream);

    if (open_channel(server))
        FlChannel_Close(server->channel, NULL);
    Py_XDECREF(stream);
}

/* A time for the peer to end its side; looked at again while there is an answer to
 * read. */
static void
linger_on(FlHTTP1ServerConnection *server)
{
    if (server->progress == 0 || server->sent != server->channel->total_sent)
        server->progress = FlLoop_Now(server->loop);
    server->sent = server->channel->total_sent;
    FlHTTP1Server_Deadline(server, FL_DEADLINE_CLOSE, server->params->linger_timeout);
}

/* Whether a part of the answer is still on its way to a peer that reads. */
static bool
still_reading(const FlHTTP1ServerConnection *server, uint64_t now)
{
    double limit = server->params->write_timeout;

    if (FlChannel_Queued(server->channel) == 0)
        return false;
    return server->sent != server->channel->total_sent || limit < 0 ||
           (double)(now - server->progress) / 1e9 < limit;
}

/* Reads on and drops, so that a peer that is still sending sees the answer. */
static void
linger(FlHTTP1ServerConnection *server)
{
    if (server->lingering || !open_channel(server))
        return;
    server->lingering = true;
    if (server->eof) {
        FlChannel_CloseAfterWrites(server->channel);
        return;
    }
    linger_on(server);
    if (FlChannel_Shutdown(server->channel) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_OSError))
            FlHTTP_LogUncaught(server->loop);
        PyErr_Clear(); /* it has left already: nothing to wait for */
        close_now(server);
        return;
    }
    if (FlChannel_WantRead(server->channel, true) < 0)
        FlHTTP_LogUncaught(server->loop);
}

/* ---- refusing ---- */

static const char *
status_phrase(int status)
{
    switch (status) {
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Bad Request";
    }
}

void
FlHTTP1Server_Refuse(FlHTTP1ServerConnection *server, int status, const char *why)
{
    FlHTTP1Connection *conn = server->conn;
    char answer[160];
    int n;

    Py_INCREF(server);
    Py_INCREF(conn);
    FlHTTP_LogMalformed(server->st, FlHTTP1Server_Context(server), why);
    if (!open_channel(server) || server->conn != conn)
        goto done;
    if (!conn->headers_written && !conn->write_finished) {
        n = PyOS_snprintf(answer, sizeof(answer),
                          "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n"
                          "Connection: close\r\n\r\n",
                          status, status_phrase(status));
        if (FlChannel_Write(server->channel, NULL, answer, (size_t)n) < 0)
            FlHTTP_LogUncaught(server->loop);
        conn->write_finished = true;
        conn->headers_written = true;
        linger(server);
    } else {
        close_now(server);
    }
    FlHTTP1_Lost(conn, NULL);
done:
    Py_DECREF(conn);
    Py_DECREF(server);
}

static int
timer_fire(FlLoop *loop, fl_loop_timer *timer)
{
    FlHTTP1ServerConnection *server =
        (FlHTTP1ServerConnection *)((char *)timer -
                                    offsetof(FlHTTP1ServerConnection, timer));
    FlHTTP1Connection *conn = server->conn;
    uint8_t kind = server->deadline_kind;
    uint64_t now = FlLoop_Now(loop);

    if (kind == FL_DEADLINE_NONE || !open_channel(server) ||
        (conn == NULL && !server->lingering))
        return 0;
    if (rate_counts(server)) {
        double spent = (double)(now - conn->body_since) / 1e9;

        if (spent > server->params->rate_grace &&
            (double)conn->received < spent * (double)server->params->min_body_rate)
            server->deadline = now;
    }
    if (now < server->deadline)
        return arm(server, now);
    if (server->lingering && still_reading(server, now)) {
        linger_on(server);
        return 0;
    }
    if (kind == FL_DEADLINE_WRITE && server->sent != server->channel->total_sent) {
        server->sent = server->channel->total_sent;
        FlHTTP1Server_Deadline(server, kind, server->params->write_timeout);
        return 0;
    }
    Py_INCREF(server);
    if (kind == FL_DEADLINE_HEAD)
        FlHTTP1Server_Refuse(server, 408, "no whole head in time");
    else if (kind == FL_DEADLINE_BODY)
        FlHTTP1Server_Refuse(server, 408, "Timeout reading body");
    else
        close_now(server);
    Py_DECREF(server);
    return 0;
}

/* ---- one exchange after the other ---- */

void
FlHTTP1Server_Cork(FlHTTP1ServerConnection *server)
{
    if (server->corked || server->channel == NULL)
        return;
    server->corked = true;
    FlChannel_Cork(server->channel);
}

static void
uncork(FlHTTP1ServerConnection *server, FlChannel *channel)
{
    if (!server->corked)
        return;
    server->corked = false;
    FlChannel_Uncork(channel);
}

static bool
above_mark(const FlHTTP1ServerConnection *server)
{
    int64_t high = server->params->write_high_mark;

    return high >= 0 && FlChannel_Queued(server->channel) > (uint64_t)high;
}

PyObject *
FlHTTP1Server_Context(FlHTTP1ServerConnection *server)
{
    PyObject *pending, *type = NULL, *address = NULL, *protocol = NULL, *trusted = NULL;
    PyObject *module, *context = NULL;
    fl_address peer;

    if (server->context != NULL || server->peer_size == 0 || server->delegate == NULL)
        return server->context;
    pending = PyErr_GetRaisedException();
    memset(&peer, 0, sizeof(peer));
    memcpy(&peer.addr, &server->peer, server->peer_size);
    peer.len = server->peer_size;
    module = PyImport_ImportModule("pyfastloop.httpserver");
    if (module != NULL)
        type = PyObject_GetAttrString(module, "_HTTPRequestContext");
    if (type != NULL)
        address = FlAddress_ToPython(&peer);
    if (address != NULL)
        protocol = PyObject_GetAttr(server->delegate, server->st->str_protocol);
    if (protocol != NULL)
        trusted = PyObject_GetAttrString(server->delegate, "trusted_downstream");
    if (trusted != NULL)
        context = PyObject_CallFunctionObjArgs(
            type, server->stream == NULL ? Py_None : server->stream, address, protocol,
            trusted, NULL);
    if (context == NULL)
        FlHTTP_LogUncaught(server->loop);
    else if (server->context == NULL)
        server->context = Py_NewRef(context);
    Py_XDECREF(context);
    Py_XDECREF(trusted);
    Py_XDECREF(protocol);
    Py_XDECREF(address);
    Py_XDECREF(type);
    Py_XDECREF(module);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
    return server->context;
}

/* An exchange that somebody keeps keeps its context, too. */
static void
keep_context(FlHTTP1ServerConnection *server, FlHTTP1Connection *conn)
{
    if (Py_REFCNT(conn) > 1 && conn->context == NULL)
        conn->context = Py_XNewRef(FlHTTP1Server_Context(server));
}

/* Prepares the next exchange when the current one is over. true: it can be fed. */
static bool
settle(FlHTTP1ServerConnection *server)
{
    FlHTTP1Connection *conn = server->conn;

    if (conn == NULL || server->lingering || !open_channel(server))
        return false;
    if (!conn->write_finished)
        return conn->phase != FL_HTTP1_DONE && conn->phase != FL_HTTP1_DEAD;
    if (conn->phase != FL_HTTP1_DONE) { /* answered before it was read */
        linger(server);
        return false;
    }
    if (conn->close_when_finished) {
        size_t tail;

        FlChannel_Tail(server->channel, &tail);
        if (tail > 0 && !server->eof)
            linger(server);
        else
            FlChannel_CloseAfterWrites(server->channel);
        return false;
    }
    if (above_mark(server)) {
        uncork(server, server->channel); /* a burst does not pile up its answers */
        conn = server->conn;
        if (!open_channel(server) || conn == NULL)
            return false;
        if (above_mark(server)) {
            server->paused = true; /* drained() goes on */
            if (FlChannel_WantRead(server->channel, false) < 0)
                FlHTTP_LogUncaught(server->loop);
            return false;
        }
    }
    if (Py_REFCNT(conn) == 1 && conn->weakrefs == NULL) {
        FlHTTP1Connection_Reset(conn);
        if (!open_channel(server)) /* what was dropped may have run anything */
            return false;
    } else {
        FlHTTP1Connection *fresh = FlHTTP1Connection_ForServer(server);

        if (fresh == NULL) {
            FlHTTP_LogUncaught(server->loop);
            close_now(server);
            return false;
        }
        server->conn = fresh;
        keep_context(server, conn);
        FlHTTP1Connection_Cut(conn);
        Py_DECREF(conn);
    }
    if (server->deadline_kind != FL_DEADLINE_WRITE ||
        FlChannel_Queued(server->channel) == 0)
        FlHTTP1Server_Deadline(server, FL_DEADLINE_SILENT,
                               server->params->idle_timeout);
    return true;
}

static int
release(FlLoop *loop, PyObject *obj)
{
    FlHTTP1ServerConnection *server = server_cast(obj);

    (void)loop;
    if (server->channel != NULL && !server->in_data) {
        PyObject *stream = Py_XNewRef(server->stream);

        uncork(server, server->channel);
        Py_XDECREF(stream);
    }
    return 0;
}

void
FlHTTP1Server_Hold(FlHTTP1ServerConnection *server)
{
    if (server->corked || server->channel == NULL)
        return;
    if (!server->in_data &&
        FlLoop_Defer(server->loop, release, (PyObject *)server) < 0) {
        PyErr_Clear(); /* no memory for it: each piece leaves by itself */
        return;
    }
    FlHTTP1Server_Cork(server);
}

static Py_ssize_t
feed_exchanges(FlHTTP1ServerConnection *server, const char *p, size_t n)
{
    size_t at = 0;

    for (int burst = 0; at < n; burst++) {
        FlHTTP1Connection *conn;
        Py_ssize_t used;

        if (!settle(server))
            return server->lingering ? (Py_ssize_t)n : (Py_ssize_t)at;
        conn = server->conn;
        if (burst >= BURST_MOST) {
            FlHTTP1Server_Answered(server); /* the rest from the ring */
            return (Py_ssize_t)at;
        }
        Py_INCREF(conn);
        conn->in_data = true;
        conn->base = at;
        used = FlHTTP1_Feed(conn, p + at, n - at);
        conn->in_data = false;
        Py_DECREF(conn);
        if (used < 0)
            return -1;
        at += (size_t)used;
        if (server->channel == NULL || server->lingering)
            return (Py_ssize_t)n;
        if (server->conn == conn &&
            !(conn->phase == FL_HTTP1_DONE && conn->write_finished))
            break;
    }
    settle(server);
    return (Py_ssize_t)at;
}

static bool
reads_body(const FlHTTP1Connection *conn)
{
    return conn != NULL && !conn->waiting_data &&
           (conn->phase == FL_HTTP1_LENGTH || conn->phase == FL_HTTP1_CHUNKED);
}

/* Reading rests for what the peer does not read: that is what it is timed for. */
static void
rest_from_body(FlHTTP1ServerConnection *server)
{
    if (!reads_body(server->conn))
        return;
    server->sent = server->channel->total_sent;
    FlHTTP1Server_Deadline(server, FL_DEADLINE_WRITE, server->params->write_timeout);
}

static Py_ssize_t
server_data(FlChannel *ch, const char *p, size_t n)
{
    FlHTTP1ServerConnection *server = ch->self;
    PyObject *stream;
    Py_ssize_t used;

    if (server->lingering)
        return (Py_ssize_t)n;
    Py_INCREF(server);
    stream = Py_NewRef(server->stream);
    server->in_data = true;
    used = feed_exchanges(server, p, n);
    server->in_data = false;
    uncork(server, ch);
    if (used >= 0 && open_channel(server) && !server->lingering &&
        (n - (size_t)used > AHEAD_MOST || above_mark(server))) {
        server->paused = true;
        if (FlChannel_WantRead(ch, false) < 0)
            used = -1;
        rest_from_body(server);
    }
    Py_DECREF(stream);
    Py_DECREF(server);
    return used;
}

static char *
server_buffer(FlChannel *ch, size_t *n)
{
    FlHTTP1ServerConnection *server = ch->self;

    return server->conn == NULL || server->lingering
               ? NULL
               : FlHTTP1_BodyRoom(server->conn, n);
}

static int
server_filled(FlChannel *ch, size_t n)
{
    FlHTTP1ServerConnection *server = ch->self;
    FlHTTP1Connection *conn = server->conn;
    PyObject *stream;
    int err;

    Py_INCREF(server);
    Py_INCREF(conn);
    stream = Py_XNewRef(server->stream);
    server->in_data = true;
    err = FlHTTP1_BodyFilled(conn, n);
    server->in_data = false;
    uncork(server, ch);
    Py_DECREF(conn);
    settle(server);
    Py_XDECREF(stream);
    Py_DECREF(server);
    return err;
}

static int
after_eof(FlHTTP1ServerConnection *server)
{
    FlHTTP1Connection *conn = server->conn;
    int err;

    if (server->lingering || conn == NULL) {
        if (open_channel(server)) /* it is done sending, and may still be reading */
            FlChannel_CloseAfterWrites(server->channel);
        return 0;
    }
    if (conn->phase == FL_HTTP1_IDLE && FlChannel_Queued(server->channel) > 0) {
        FlChannel_CloseAfterWrites(server->channel); /* the last answer first */
        return 0;
    }
    Py_INCREF(conn);
    err = FlHTTP1_Ended(conn);
    if (err == 0 && open_channel(server) && server->conn == conn &&
        conn->phase == FL_HTTP1_DONE && !conn->write_finished)
        FlHTTP1Server_Deadline(server, FL_DEADLINE_CLOSE,
                               server->params->half_closed_timeout);
    Py_DECREF(conn);
    return err;
}

static int
server_eof(FlChannel *ch)
{
    FlHTTP1ServerConnection *server = ch->self;
    int err;

    Py_INCREF(server);
    server->eof = true;
    err = after_eof(server);
    Py_DECREF(server);
    return err;
}

int
FlHTTP1Server_Continue(FlHTTP1ServerConnection *server)
{
    FlChannel *channel = server->channel;
    PyObject *stream;
    size_t tail;
    int err = 0;

    if (!open_channel(server))
        return 0;
    Py_INCREF(server);
    stream = Py_NewRef(server->stream);
    if (settle(server)) {
        if (server->paused) {
            server->paused = false;
            err = FlChannel_WantRead(channel, true);
            if (reads_body(server->conn))
                FlHTTP1Server_Deadline(server, FL_DEADLINE_BODY,
                                       server->params->body_gap_timeout);
        }
        if (err == 0)
            err = FlChannel_Resume(channel);
    }
    FlChannel_Tail(channel, &tail);
    if (err == 0 && server->eof && open_channel(server) && !server->lingering) {
        if (tail == 0 || server->conn->waiting == NULL)
            err = after_eof(server);
    }
    Py_DECREF(stream);
    Py_DECREF(server);
    return err;
}

static int
server_continue(FlLoop *loop, PyObject *obj)
{
    FlHTTP1ServerConnection *server = server_cast(obj);

    (void)loop;
    server->deferred = false;
    return FlHTTP1Server_Continue(server);
}

void
FlHTTP1Server_Answered(FlHTTP1ServerConnection *server)
{
    FlHTTP1Connection *conn = server->conn;

    if (server->in_data && !(conn != NULL && conn->phase == FL_HTTP1_IDLE))
        return; /* data() sees it when the feed is back */
    if (server->deferred)
        return;
    server->deferred = true;
    if (FlLoop_Defer(server->loop, server_continue, (PyObject *)server) < 0)
        FlHTTP_LogUncaught(server->loop);
}

static void
server_drained(FlChannel *ch)
{
    FlHTTP1ServerConnection *server = ch->self;

    if (server->paused && server->conn != NULL)
        FlHTTP1Server_Answered(server);
}

/* ---- the end ---- */

/* The connection serves no more: everybody is told, once, and lets go. */
static void
end_serving(FlHTTP1ServerConnection *server)
{
    PyObject *delegate = server->delegate, *stream = server->stream, *done;
    PyObject *closing = server->closing;
    FlHTTP1Connection *conn = server->conn;
    bool serving = server->serving;

    if (conn != NULL)
        keep_context(server, conn);
    server->delegate = NULL;
    server->stream = NULL;
    server->channel = NULL;
    server->conn = NULL;
    server->closing = NULL;
    server->serving = false;
    FlLoop_Disarm(server->loop, &server->timer);
    server->deadline_kind = FL_DEADLINE_NONE;
    if (conn != NULL) {
        FlHTTP1Connection_Cut(conn);
        Py_DECREF(conn);
    }
    if (delegate != NULL) {
        const FlHTTP1Target *target = server->st->http_target;

        if (target == NULL || target->closed(server, delegate) == 0) {
            done = PyObject_CallMethodOneArg(delegate, server->st->str_on_close,
                                             (PyObject *)server);
            if (done == NULL)
                FlHTTP_LogUncaught(server->loop);
            Py_XDECREF(done);
        }
        Py_DECREF(delegate);
    }
    if (closing != NULL) {
        if (FlFuture_SetResultUnlessDone(closing, Py_None) < 0)
            FlHTTP_LogUncaught(server->loop);
        Py_DECREF(closing);
    }
    Py_XDECREF(stream);
    if (serving)
        Py_DECREF(server);
}

static void
server_closed(FlChannel *ch, PyObject *exc)
{
    FlHTTP1ServerConnection *server = ch->self;
    FlHTTP1Connection *conn = server->conn;

    Py_INCREF(server);
    if (conn != NULL) {
        Py_INCREF(conn);
        FlHTTP1_Lost(conn, exc);
        Py_DECREF(conn);
    }
    if (server->channel == ch && FlChannel_SetConsumer(ch, NULL, NULL) < 0)
        PyErr_Clear();
    end_serving(server);
    Py_DECREF(server);
}

void
FlHTTP1Server_Detached(FlHTTP1ServerConnection *server)
{
    FlChannel *channel = server->channel;

    Py_INCREF(server);
    if (channel != NULL)
        uncork(server, channel);
    end_serving(server);
    Py_DECREF(server);
}

static const FlChannelOps server_ops = {
    .data = server_data,
    .buffer = server_buffer,
    .filled = server_filled,
    .eof = server_eof,
    .drained = server_drained,
    .closed = server_closed,
};

/* ---- Python ---- */

static PyObject *
server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlHTTP1ServerConnection *server =
        (FlHTTP1ServerConnection *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (server == NULL)
        return NULL;
    FlLoop_InitTimer(&server->timer, timer_fire, NULL);
    server->st = FlState_OfType(type);
    if (server->st == NULL)
        Py_CLEAR(server);
    return (PyObject *)server;
}

PyObject *
FlHTTP1Server_New(FlState *st, PyObject *stream, FlHTTP1Parameters *params,
                  const fl_address *peer)
{
    FlHTTP1ServerConnection *server =
        server_cast(server_new(st->HTTP1ServerConnection_type, NULL, NULL));

    if (server == NULL)
        return NULL;
    server->params = (FlHTTP1Parameters *)Py_NewRef((PyObject *)params);
    server->stream = Py_NewRef(stream);
    server->channel = FlIOStream_Channel(st, stream);
    server->loop = (FlLoop *)Py_NewRef(server->channel->loop);
    if (peer->len <= sizeof(server->peer)) {
        memcpy(&server->peer, &peer->addr, peer->len);
        server->peer_size = (uint8_t)peer->len;
    }
    return (PyObject *)server;
}

static int
server_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream", "params", "context", NULL};
    FlHTTP1ServerConnection *server = server_cast(op);
    PyObject *stream, *params = Py_None, *context = Py_None;
    FlChannel *channel;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:HTTP1ServerConnection", names,
                                     &stream, &params, &context))
        return -1;
    if (server->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the connection was initialised before");
        return -1;
    }
    channel = FlIOStream_Channel(server->st, stream);
    if (channel == NULL) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError,
                         "stream must be a pyfastloop.iostream stream, not %.100s",
                         Py_TYPE(stream)->tp_name);
        return -1;
    }
    if (params == Py_None)
        params = PyObject_CallNoArgs((PyObject *)server->st->HTTP1Parameters_type);
    else if (PyObject_TypeCheck(params, server->st->HTTP1Parameters_type))
        Py_INCREF(params);
    else
        params = PyErr_Format(PyExc_TypeError,
                              "params must be HTTP1ConnectionParameters, not %.100s",
                              Py_TYPE(params)->tp_name);
    if (params == NULL)
        return -1;
    server->params = (FlHTTP1Parameters *)params;
    server->stream = Py_NewRef(stream);
    server->channel = channel;
    server->loop = (FlLoop *)Py_NewRef(channel->loop);
    server->context = context == Py_None ? NULL : Py_NewRef(context);
    return 0;
}

static int
server_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHTTP1ServerConnection *server = server_cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(server->loop);
    Py_VISIT(server->stream);
    Py_VISIT(server->params);
    Py_VISIT(server->context);
    Py_VISIT(server->delegate);
    Py_VISIT(server->conn);
    Py_VISIT(server->closing);
    Py_VISIT(server->target);
    Py_VISIT(server->dict);
    return 0;
}

static int
server_clear(PyObject *op)
{
    FlHTTP1ServerConnection *server = server_cast(op);

    if (server->serving && server->channel != NULL &&
        FlChannel_SetConsumer(server->channel, NULL, NULL) < 0)
        PyErr_Clear();
    if (server->loop != NULL)
        FlLoop_Disarm(server->loop, &server->timer);
    if (server->conn != NULL)
        FlHTTP1Connection_Cut(server->conn);
    Py_CLEAR(server->conn);
    server->channel = NULL;
    Py_CLEAR(server->stream);
    Py_CLEAR(server->context);
    Py_CLEAR(server->delegate);
    Py_CLEAR(server->closing);
    Py_CLEAR(server->target);
    Py_CLEAR(server->dict);
    return 0;
}

static void
server_dealloc(PyObject *op)
{
    FlHTTP1ServerConnection *server = server_cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (server->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    server_clear(op);
    Py_CLEAR(server->params);
    Py_CLEAR(server->loop);
    type->tp_free(op);
    Py_DECREF(type);
}

int
FlHTTP1Server_Start(FlHTTP1ServerConnection *server, PyObject *delegate)
{
    FlChannel *channel = server->channel;

    if (server->serving || channel == NULL) {
        PyErr_SetString(PyExc_RuntimeError, server->serving
                                                ? "the connection is served already"
                                                : "the connection has no stream");
        return -1;
    }
    if (FlChannel_Closed(channel))
        return 0;
    server->conn = FlHTTP1Connection_ForServer(server);
    if (server->conn == NULL ||
        FlIOStream_Borrow(server->stream, &server_ops, server) < 0)
        return -1;
    server->delegate = Py_NewRef(delegate);
    server->serving = true;
    Py_INCREF(server); /* its own reference, until the end */
    if (server->params->write_high_mark >= 0) {
        size_t high = (size_t)server->params->write_high_mark;
        size_t low = server->params->write_low_mark < 0
                         ? 0
                         : (size_t)server->params->write_low_mark;

        FlChannel_SetMarks(channel, high, low < high ? low : high);
    }
    FlHTTP1Server_Deadline(server, FL_DEADLINE_SILENT, server->params->first_timeout);
    if (FlChannel_WantRead(channel, true) < 0 || FlChannel_Resume(channel) < 0)
        return -1;
    return 0;
}

static PyObject *
server_start_serving(PyObject *op, PyObject *delegate)
{
    if (FlHTTP1Server_Start(server_cast(op), delegate) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
get_context(PyObject *op, void *closure)
{
    PyObject *context = FlHTTP1Server_Context(server_cast(op));

    (void)closure;
    return Py_NewRef(context == NULL ? Py_None : context);
}

static int
set_context(PyObject *op, PyObject *value, void *closure)
{
    FlHTTP1ServerConnection *server = server_cast(op);

    (void)closure;
    server->peer_size = 0;
    Py_XSETREF(server->context, Py_XNewRef(value == Py_None ? NULL : value));
    return 0;
}

/* Answers a connection that shall not be served, unread. */
static PyObject *
server_refuse(PyObject *op, PyObject *args)
{
    FlHTTP1ServerConnection *server = server_cast(op);
    FlChannel *channel = server->channel;
    int status, retry_after, n;
    PyObject *delegate;
    char answer[200];

    if (!PyArg_ParseTuple(args, "iiO:refuse", &status, &retry_after, &delegate))
        return NULL;
    if (server->serving || channel == NULL)
        return PyErr_Format(PyExc_RuntimeError, server->serving
                                                    ? "the connection is served already"
                                                    : "the connection has no stream");
    if (FlChannel_Closed(channel))
        Py_RETURN_NONE;
    if (FlIOStream_Borrow(server->stream, &server_ops, server) < 0)
        return NULL;
    server->delegate = Py_NewRef(delegate);
    server->serving = true;
    Py_INCREF(server); /* its own reference, until the end */
    n = PyOS_snprintf(answer, sizeof(answer),
                      "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nRetry-After: %d\r\n"
                      "Connection: close\r\n\r\n",
                      status, status_phrase(status), retry_after);
    if (FlChannel_Write(channel, NULL, answer, (size_t)n) < 0)
        return NULL;
    linger(server);
    Py_RETURN_NONE;
}

static PyObject *
server_close(PyObject *op, PyObject *unused)
{
    FlHTTP1ServerConnection *server = server_cast(op);

    (void)unused;
    if (server->channel == NULL || !server->serving)
        return FlFuture_NewDone(server->st, Py_None);
    if (server->closing == NULL) {
        server->closing = FlFuture_New(server->st, server->loop);
        if (server->closing == NULL)
            return NULL;
    }
    {
        PyObject *future = Py_NewRef(server->closing);

        close_now(server);
        return future;
    }
}

static PyMemberDef server_members[] = {
    {"stream", T_OBJECT, offsetof(FlHTTP1ServerConnection, stream), READONLY, NULL},
    {"params", T_OBJECT, offsetof(FlHTTP1ServerConnection, params), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlHTTP1ServerConnection, dict), READONLY,
     NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlHTTP1ServerConnection, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef server_methods[] = {
    {"start_serving", server_start_serving, METH_O,
     PyDoc_STR("Serve requests to a delegate until the connection ends.")},
    {"refuse", server_refuse, METH_VARARGS,
     PyDoc_STR("refuse(status, retry_after, delegate): answer before anything was\n"
               "read, and close once the peer has seen it; delegate.on_close tells.")},
    {"close", server_close, METH_NOARGS,
     PyDoc_STR("Close the connection; a future of when that is done.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"context", get_context, set_context,
     PyDoc_STR("What the server knows of the peer."), NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_doc, "An HTTP/1 connection of a server: exchanges, one after the other."},
    {Py_tp_new, server_new},
    {Py_tp_init, server_init},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_traverse, server_traverse},
    {Py_tp_clear, server_clear},
    {Py_tp_methods, server_methods},
    {Py_tp_members, server_members},
    {Py_tp_getset, server_getset},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "pyfastloop.http1connection.HTTP1ServerConnection",
    .basicsize = sizeof(FlHTTP1ServerConnection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = server_slots,
};

int
FlHTTP1ServerConnection_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTP1ServerConnection_type, &server_spec, NULL,
                           false);
}
