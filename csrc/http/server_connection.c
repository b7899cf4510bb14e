/* server_connection.c -- http1connection.HTTP1ServerConnection: a stream that is served.
 *
 * data() feeds the current exchange, and while exchanges end inside it, the next one: a
 * burst of pipelined requests is one loop, its answers corked into one send. An exchange
 * that ends later, in somebody's callback, is followed up from the ring
 * (server_continue), never on top of user code.
 *
 *   exchange over --> keep-alive?  let go, wait for the next head (idle deadline)
 *                 \-> close?       after the queue is empty; with unread input: linger
 *
 * Between two exchanges there is none (conn is NULL): an idle connection costs its
 * stream and this object.
 *
 * While it serves it holds a reference to itself, which `closed` or a detach drops.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/server_parts.h"

#include "core/future.h"
#include "net/iostream.h"

#define AHEAD_MOST 65536 /* bytes of later requests kept while one is answered */
#define EMPTY_MOST 4     /* bytes of empty lines that are no request yet */
#define BURST_MOST 64    /* pipelined requests answered before the others get a turn */

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

/* An exchange that somebody keeps keeps its context, too. */
static void
keep_context(FlHTTP1ServerConnection *server, FlHTTP1Connection *conn)
{
    if (Py_REFCNT(conn) > 1 && conn->context == NULL)
        conn->context = Py_XNewRef(FlHTTP1Server_Context(server));
}

/* Lets go of the current exchange when it is over. true: what comes can be fed, to it
 * or to the next one. escapes */
static bool
settle(FlHTTP1ServerConnection *server)
{
    FlHTTP1Connection *conn = server->conn;

    if (server->lingering || !FlHTTP1Server_IsOpen(server))
        return false;
    if (conn == NULL)
        return true;
    if (!conn->write_finished)
        return conn->phase != FL_HTTP1_DONE && conn->phase != FL_HTTP1_DEAD;
    if (conn->phase != FL_HTTP1_DONE) { /* answered before it was read */
        FlHTTP1Server_Linger(server);
        return false;
    }
    if (conn->close_when_finished) {
        size_t tail;

        FlChannel_Tail(server->channel, &tail);
        if (tail > 0 && !server->eof)
            FlHTTP1Server_Linger(server);
        else
            FlChannel_CloseAfterWrites(server->channel);
        return false;
    }
    if (above_mark(server)) {
        uncork(server, server->channel); /* a burst does not pile up its answers */
        conn = server->conn;
        if (!FlHTTP1Server_IsOpen(server) || conn == NULL)
            return false;
        if (above_mark(server)) {
            server->paused = true; /* drained() goes on */
            if (FlChannel_WantRead(server->channel, false) < 0)
                FlHTTP_LogUncaught(server->loop);
            return false;
        }
    }
    server->conn = NULL;
    if (Py_REFCNT(conn) > 1) {
        keep_context(server, conn);
        FlHTTP1Connection_Cut(conn);
    }
    Py_DECREF(conn);
    if (!FlHTTP1Server_IsOpen(server)) /* what was dropped may have run anything */
        return false;
    if (server->deadline_kind != FL_DEADLINE_WRITE ||
        FlChannel_Queued(server->channel) == 0)
        FlHTTP1Server_Deadline(server, FL_DEADLINE_SILENT,
                               server->params->idle_timeout);
    return true;
}

/* The exchange that the next bytes belong to: the current one, or a new one. Borrowed,
 * or NULL: no memory, and the connection is closed. escapes */
static FlHTTP1Connection *
exchange(FlHTTP1ServerConnection *server)
{
    if (server->conn != NULL)
        return server->conn;
    server->conn = FlHTTP1Connection_ForServer(server);
    if (server->conn == NULL) {
        FlHTTP_LogUncaught(server->loop);
        FlHTTP1Server_CloseNow(server);
    }
    return server->conn;
}

static int
release(FlLoop *loop, PyObject *obj)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(obj);

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
    server->loop->lets_go = release;
    FlHTTP1Server_Cork(server);
}

static int server_continue(FlLoop *loop, PyObject *obj);

/* Goes on from the ring. */
static void
follow_up(FlHTTP1ServerConnection *server)
{
    if (server->deferred)
        return;
    server->deferred = true;
    if (FlLoop_Defer(server->loop, server_continue, (PyObject *)server) < 0)
        FlHTTP_LogUncaught(server->loop);
}

/* Whether there is more than a few empty lines, which some clients send behind a body
 * (RFC 9112 section 2.2): they wait for what they stand before. */
static bool
request_begins(const char *p, size_t n)
{
    for (size_t i = 0; i < n && i < EMPTY_MOST; i++) {
        if (p[i] != "\r\n"[i & 1])
            return true;
    }
    return n > EMPTY_MOST;
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
        if (burst >= BURST_MOST) {
            follow_up(server); /* the rest from the ring */
            return (Py_ssize_t)at;
        }
        if (server->conn == NULL && !request_begins(p + at, n - at))
            return (Py_ssize_t)at;
        conn = exchange(server);
        if (conn == NULL)
            return (Py_ssize_t)n;
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
    if (used >= 0 && FlHTTP1Server_IsOpen(server) && !server->lingering &&
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
        /* It is done sending, and may still be reading: the last answer first. What a
         * long burst left in the tail is answered before that, from the ring. */
        if (FlHTTP1Server_IsOpen(server) && !server->deferred)
            FlChannel_CloseAfterWrites(server->channel);
        return 0;
    }
    Py_INCREF(conn);
    err = FlHTTP1_Ended(conn);
    if (err == 0 && FlHTTP1Server_IsOpen(server) && server->conn == conn &&
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

    if (!FlHTTP1Server_IsOpen(server))
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
    if (err == 0 && server->eof && FlHTTP1Server_IsOpen(server) && !server->lingering) {
        if (tail == 0 || server->conn == NULL || server->conn->waiting == NULL)
            err = after_eof(server);
    }
    Py_DECREF(stream);
    Py_DECREF(server);
    return err;
}

static int
server_continue(FlLoop *loop, PyObject *obj)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(obj);

    (void)loop;
    server->deferred = false;
    return FlHTTP1Server_Continue(server);
}

void
FlHTTP1Server_Answered(FlHTTP1ServerConnection *server)
{
    if (!server->in_data) /* data() sees it when the feed is back */
        follow_up(server);
}

static void
server_drained(FlChannel *ch)
{
    FlHTTP1ServerConnection *server = ch->self;

    if (server->paused)
        FlHTTP1Server_Answered(server);
}

static void
server_emptied(FlChannel *ch)
{
    FlHTTP1Server_AllSent(ch->self);
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

/* ---- the beginning ---- */

const FlChannelOps FlHTTP1Server_Ops = {
    .data = server_data,
    .buffer = server_buffer,
    .filled = server_filled,
    .eof = server_eof,
    .drained = server_drained,
    .emptied = server_emptied,
    .closed = server_closed,
};

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
    if (FlIOStream_Borrow(server->stream, &FlHTTP1Server_Ops, server) < 0)
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
