/* read.c -- the receiving side of an exchange: head, body, the end of it.
 *
 * FlHTTP1_Feed is called from the channel's data() with what is there and takes steps
 * until it needs more bytes, waits for user code, or the message is over. A step
 * that runs user code says before how far it has got (took), because that code may give
 * the stream to somebody else, and looks at `phase` afterwards: DEAD says that the
 * exchange is over whatever it was.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/connection.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/future.h"
#include "core/task.h"
#include "net/iostream.h"

#define FIELDS 256           /* field lines of a head */
#define FIRST_BODY 65536     /* of a body's memory, before its bytes are here */
#define INFORMATIONAL_MAX 32 /* 1xx answers before the real one */

static void
took(FlHTTP1Connection *conn, size_t k)
{
    if (conn->in_data && conn->channel != NULL)
        FlChannel_Took(conn->channel, conn->base + k);
}

static void
deadline(FlHTTP1Connection *conn, uint8_t kind, double seconds)
{
    if (conn->server != NULL)
        FlHTTP1Server_Deadline(conn->server, kind, seconds);
}

static PyObject *
conn_context(FlHTTP1Connection *conn)
{
    if (conn->context != NULL)
        return conn->context;
    return conn->server != NULL ? FlHTTP1Server_Context(conn->server) : NULL;
}

/* ---- ends ---- */

/* read_response's answer. */
static void
resolve_reading(FlHTTP1Connection *conn, bool again)
{
    PyObject *future = conn->reading;

    conn->reading = NULL;
    if (future == NULL)
        return;
    if (FlFuture_SetResultUnlessDone(future, again ? Py_True : Py_False) < 0)
        PyErr_Clear();
    Py_DECREF(future);
}

static void
delegate_gone(FlHTTP1Connection *conn)
{
    PyObject *delegate = conn->delegate, *done;

    if (!conn->owes_delegate || delegate == NULL)
        return;
    conn->owes_delegate = false;
    Py_INCREF(delegate);
    done = PyObject_CallMethodNoArgs(delegate, conn->st->str_on_connection_close);
    Py_DECREF(delegate);
    if (done == NULL)
        FlHTTP_LogUncaught(conn->loop);
    Py_XDECREF(done);
}

/* Gives the stream of a client's exchange back to its owner. */
static void
return_stream(FlHTTP1Connection *conn)
{
    if (!conn->borrowed_stream)
        return;
    conn->borrowed_stream = false;
    if (conn->stream != NULL && FlIOStream_GiveBack(conn->stream) < 0)
        FlHTTP_LogUncaught(conn->loop);
}

/* Ends the exchange at once: stream closed, everybody told. escapes */
static void
abandon(FlHTTP1Connection *conn)
{
    PyObject *stream = Py_XNewRef(conn->stream);

    if (conn->channel != NULL && !FlChannel_Closed(conn->channel))
        FlChannel_Close(conn->channel, NULL);
    FlHTTP1_Lost(conn, NULL);
    Py_XDECREF(stream);
}

/* A message that is none: the status goes out when a server has not answered yet. */
static void
refuse(FlHTTP1Connection *conn, int status, const char *why)
{
    if (conn->server == NULL) {
        FlHTTP_LogMalformed(conn->st, conn_context(conn), why);
        abandon(conn);
        return;
    }
    FlHTTP1Server_Refuse(conn->server, status, why);
}

/* User code has failed: the current exception decides. 0, or -1 when it is fatal. */
static int
user_failed(FlHTTP1Connection *conn)
{
    if (FlError_IsFatal())
        return -1;
    if (FlHTTP_IsInputError(conn->st)) {
        PyObject *error = PyErr_GetRaisedException();
        PyObject *text = PyObject_Str(error);
        const char *why = text == NULL ? NULL : PyUnicode_AsUTF8(text);
        PyObject *code = PyObject_GetAttrString(error, "_status");
        int status = code == NULL ? 400 : (int)PyLong_AsLong(code);

        Py_XDECREF(code);

        PyErr_Clear();
        refuse(conn, status, why == NULL ? "bad message" : why);
        Py_XDECREF(text);
        Py_XDECREF(error);
        return 0;
    }
    FlHTTP_LogUncaught(conn->loop);
    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    abandon(conn);
    return 0;
}

void
FlHTTP1_TellGone(FlHTTP1Connection *conn)
{
    PyObject *callback, *done;

    if (conn->gone)
        return;
    conn->gone = true;
    if (conn->web) {
        const FlHTTP1Target *target = conn->st->http_target;

        target->gone(conn);
    }
    callback = conn->close_callback;
    conn->close_callback = NULL;
    if (callback == NULL)
        return;
    done = PyObject_CallNoArgs(callback);
    if (done == NULL)
        FlHTTP_LogUncaught(conn->loop);
    Py_XDECREF(done);
    Py_DECREF(callback);
}

void
FlHTTP1_Lost(FlHTTP1Connection *conn, PyObject *exc)
{
    uint8_t phase = conn->phase;

    (void)exc;
    if (phase == FL_HTTP1_DEAD && conn->reading == NULL)
        return;
    conn->phase = FL_HTTP1_DEAD;
    Py_INCREF(conn);
    if (conn->owes_delegate)
        delegate_gone(conn);
    else if (phase == FL_HTTP1_DONE && !conn->write_finished)
        FlHTTP1_TellGone(conn);
    Py_CLEAR(conn->close_callback);
    return_stream(conn);
    resolve_reading(conn, false);
    Py_DECREF(conn);
}

/* ---- the end of a message ---- */

static int
message_done(FlHTTP1Connection *conn)
{
    const FlHTTP1Target *target = conn->st->http_target;
    PyObject *delegate, *done;
    bool again;

    conn->phase = FL_HTTP1_DONE;
    deadline(conn, FL_DEADLINE_NONE, -1);
    if (conn->chunked != NULL) {
        PyMem_Free(conn->chunked);
        conn->chunked = NULL;
    }
    fl_buf_free(&conn->joined);
    if (conn->web) {
        if (conn->body != NULL &&
            (size_t)PyBytes_GET_SIZE(conn->body) != conn->body_used &&
            _PyBytes_Resize(&conn->body, (Py_ssize_t)conn->body_used) < 0)
            return user_failed(conn);
        return target->whole(conn) < 0 ? user_failed(conn) : 0;
    }
    if (conn->write_finished && !conn->is_client)
        return 0; /* answered early; on_connection_close is what remains */
    conn->owes_delegate = false;
    delegate = Py_XNewRef(conn->delegate);
    if (delegate != NULL) {
        done = PyObject_CallMethodNoArgs(delegate, conn->st->str_finish);
        Py_DECREF(delegate);
        if (done == NULL)
            return user_failed(conn);
        Py_DECREF(done);
    }
    if (!conn->is_client)
        return 0;
    if (conn->phase == FL_HTTP1_DEAD) { /* detached or closed in there */
        resolve_reading(conn, false);
        return 0;
    }
    again = conn->keep_alive && !conn->close_when_finished && conn->channel != NULL &&
            !FlChannel_Closed(conn->channel);
    conn->phase = FL_HTTP1_DEAD;
    return_stream(conn);
    if (conn->close_when_finished && conn->channel != NULL)
        FlChannel_Close(conn->channel, NULL);
    resolve_reading(conn, again);
    return 0;
}

/* ---- bodies ---- */

static int64_t
body_limit(FlHTTP1Connection *conn)
{
    if (conn->max_body >= 0)
        return conn->max_body;
    if (conn->params->max_body_size >= 0)
        return conn->params->max_body_size;
    return FlIOStream_MaxBuffer(conn->stream);
}

/* Bytes handed out at a time; parameters may be set to anything. */
static size_t
most_at_once(FlHTTP1Connection *conn)
{
    int64_t most = conn->params->chunk_size;

    return most <= 0 ? FIRST_BODY : (size_t)most;
}

static int data_waited(FlLoop *loop, PyObject *obj);

/* Hands one piece to the delegate. 1: go on, 0: wait or dead, -1: fatal. */
static int
hand_out(FlHTTP1Connection *conn, const char *p, size_t n)
{
    PyObject *delegate, *chunk, *returned;
    int ready;

    if (conn->write_finished && !conn->is_client)
        return 1; /* answered early: nobody listens any more */
    delegate = Py_XNewRef(conn->delegate);
    chunk = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    if (chunk == NULL || delegate == NULL) {
        Py_XDECREF(chunk);
        Py_XDECREF(delegate);
        return chunk == NULL ? user_failed(conn) : 1;
    }
    returned = PyObject_CallMethodOneArg(delegate, conn->st->str_data_received, chunk);
    Py_DECREF(chunk);
    Py_DECREF(delegate);
    if (returned == NULL)
        return user_failed(conn);
    Py_XSETREF(conn->waiting, NULL);
    ready = FlHTTP_Await(conn->st, conn->loop, returned, data_waited, (PyObject *)conn,
                         &conn->waiting);
    Py_DECREF(returned);
    if (ready < 0)
        return user_failed(conn);
    if (ready == 0) {
        conn->waiting_data = true;
        deadline(conn, FL_DEADLINE_NONE, -1);
        return 0;
    }
    return conn->phase != FL_HTTP1_DEAD;
}

/* Hands out what was joined, in pieces; `all`: the last, short one too. As hand_out. */
static int
hand_out_joined(FlHTTP1Connection *conn, bool all)
{
    size_t most = most_at_once(conn);

    while (fl_buf_len(&conn->joined) >= (all ? 1 : most)) {
        size_t n = fl_buf_len(&conn->joined);
        PyObject *copy;
        int go;

        if (n > most)
            n = most;
        copy = PyBytes_FromStringAndSize(fl_buf_ptr(&conn->joined), (Py_ssize_t)n);
        if (copy == NULL)
            return user_failed(conn);
        fl_buf_consume(&conn->joined, n);
        go = hand_out(conn, PyBytes_AS_STRING(copy), n);
        Py_DECREF(copy);
        if (go <= 0)
            return go;
    }
    return 1;
}

/* Room for a web body's next bytes; NULL with MemoryError. */
static char *
web_room(FlHTTP1Connection *conn, size_t more, size_t *room)
{
    size_t have = conn->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(conn->body);
    size_t need = conn->body_used + more;

    if (have < need || conn->body == NULL) {
        size_t want = have * 2;
        size_t whole =
            conn->chunked == NULL ? conn->body_used + (size_t)conn->left : SIZE_MAX;

        if (want < FIRST_BODY)
            want = FIRST_BODY;
        if (want > whole)
            want = whole;
        if (want < need)
            want = need;
        if (conn->body == NULL)
            conn->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)want);
        else if (_PyBytes_Resize(&conn->body, (Py_ssize_t)want) < 0)
            conn->body_used = 0;
        if (conn->body == NULL)
            return NULL;
        have = want;
    }
    *room = have - conn->body_used;
    return PyBytes_AS_STRING(conn->body) + conn->body_used;
}

static int
web_append(FlHTTP1Connection *conn, const char *p, size_t n)
{
    size_t room;
    char *to = web_room(conn, n, &room);

    if (to == NULL)
        return -1;
    memcpy(to, p, n);
    conn->body_used += n;
    return 0;
}

char *
FlHTTP1_BodyRoom(FlHTTP1Connection *conn, size_t *n)
{
    char *to;

    if (!conn->web || conn->phase != FL_HTTP1_LENGTH)
        return NULL;
    /* Growing may fail and lose what is there: where that can be told, web_append. */
    if (conn->body != NULL && (size_t)PyBytes_GET_SIZE(conn->body) == conn->body_used)
        return NULL;
    to = web_room(conn, 1, n);
    if (to == NULL)
        PyErr_Clear(); /* the shared buffer will do; its bytes fail where told */
    else if (*n > conn->left)
        *n = (size_t)conn->left;
    return to;
}

static void
body_progress(FlHTTP1Connection *conn)
{
    deadline(conn, FL_DEADLINE_BODY, conn->params->body_gap_timeout);
}

int
FlHTTP1_BodyFilled(FlHTTP1Connection *conn, size_t n)
{
    conn->body_used += n;
    conn->left -= n;
    conn->received += n;
    if (conn->left > 0) {
        body_progress(conn);
        return 0;
    }
    return message_done(conn);
}

/* The step functions give what they took, or -1 (fatal). */

static Py_ssize_t
feed_length(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
{
    size_t most = most_at_once(conn), used = 0;

    while (conn->phase == FL_HTTP1_LENGTH && conn->left > 0 && used < n) {
        size_t piece = n - used;
        int go = 1;

        if (piece > conn->left)
            piece = (size_t)conn->left;
        if (!conn->web && piece > most)
            piece = most;
        conn->left -= piece;
        conn->received += piece;
        took(conn, at + used + piece);
        if (conn->web) {
            if (web_append(conn, p + used, piece) < 0)
                go = user_failed(conn);
        } else {
            go = hand_out(conn, p + used, piece);
        }
        used += piece;
        if (go < 0)
            return -1;
        if (go == 0)
            return (Py_ssize_t)used;
    }
    if (conn->phase != FL_HTTP1_LENGTH)
        return (Py_ssize_t)used;
    if (conn->left > 0) {
        body_progress(conn);
        return (Py_ssize_t)used;
    }
    return message_done(conn) < 0 ? -1 : (Py_ssize_t)used;
}

static Py_ssize_t
feed_chunked(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
{
    int64_t limit = body_limit(conn);
    size_t used = 0;

    while (conn->phase == FL_HTTP1_CHUNKED) {
        fl_span data;
        size_t step;
        int got, go;

        got = fl_chunked_feed(conn->chunked, p + used, n - used, &data, &step);
        used += step;
        if (got < 0) {
            took(conn, at + used);
            refuse(conn, fl_reason_status(-got), fl_reason_text(-got));
            return (Py_ssize_t)n;
        }
        if (got == FL_CHUNK_DATA) {
            conn->received += data.n;
            if (conn->received > (uint64_t)limit) {
                took(conn, at + used);
                refuse(conn, 413, "chunked body too large");
                return (Py_ssize_t)n;
            }
            if (conn->web ? web_append(conn, data.p, data.n) < 0
                          : fl_buf_append(&conn->joined, data.p, data.n) < 0) {
                if (!conn->web)
                    PyErr_NoMemory();
                return user_failed(conn) < 0 ? -1 : (Py_ssize_t)n;
            }
        }
        took(conn, at + used);
        go = conn->web ? 1 : hand_out_joined(conn, got != FL_CHUNK_DATA);
        if (go < 0)
            return -1;
        if (got == FL_CHUNK_END && go > 0 && conn->phase == FL_HTTP1_CHUNKED)
            return message_done(conn) < 0 ? -1 : (Py_ssize_t)used;
        if (go == 0)
            return (Py_ssize_t)used;
        if (got == FL_CHUNK_MORE) {
            body_progress(conn);
            break;
        }
    }
    return (Py_ssize_t)used;
}

static Py_ssize_t
feed_until_close(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
{
    size_t most = most_at_once(conn), used = 0;

    while (used < n && conn->phase == FL_HTTP1_UNTIL_CLOSE) {
        size_t piece = n - used < most ? n - used : most;
        int go;

        conn->received += piece;
        if (conn->received > (uint64_t)body_limit(conn)) {
            refuse(conn, 413, "body too large");
            return (Py_ssize_t)n;
        }
        took(conn, at + used + piece);
        go = hand_out(conn, p + used, piece);
        used += piece;
        if (go < 0)
            return -1;
        if (go == 0)
            break;
    }
    return (Py_ssize_t)used;
}

/* ---- after the head ---- */

/* A parameter for plain C, where there is always a bound. */
static uint32_t
small_limit(int64_t n)
{
    return n < 0 || n > FL_HEAD_MAX ? FL_HEAD_MAX : (uint32_t)n;
}

static int
begin_chunked(FlHTTP1Connection *conn)
{
    const FlHTTP1Parameters *params = conn->params;
    const fl_chunked_limits limits = {
        small_limit(params->max_chunk_line),
        small_limit(params->max_chunk_overhead),
        small_limit(params->max_trailer_size),
        small_limit(params->max_trailer_lines),
    };

    conn->chunked = PyMem_Malloc(sizeof(fl_chunked));
    if (conn->chunked == NULL) {
        PyErr_NoMemory();
        return user_failed(conn);
    }
    fl_buf_clear(&conn->trailers);
    fl_buf_clear(&conn->extensions);
    fl_chunked_init(conn->chunked, &limits, &conn->trailers,
                    params->keep_chunk_extensions ? &conn->extensions : NULL);
    conn->phase = FL_HTTP1_CHUNKED;
    return 0;
}

static bool
has_no_body(FlHTTP1Connection *conn)
{
    return conn->is_client &&
           (conn->head_request || (conn->block->head.flags & FL_HEAD_NO_BODY) != 0);
}

/* An interim response was handed on: the real one follows. */
static int
next_response(FlHTTP1Connection *conn)
{
    if (++conn->informational > INFORMATIONAL_MAX) {
        refuse(conn, 400, "too many interim responses");
        return 0;
    }
    FlHeadBlock_Release(conn->block);
    conn->block = NULL;
    conn->scanned = 0;
    conn->phase = FL_HTTP1_IDLE;
    return 0;
}

/* headers_received is done with: the body, if there is one. 0 or -1 (fatal). */
static int
after_headers(FlHTTP1Connection *conn)
{
    const fl_head *head;

    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    if (conn->stream == NULL || FlChannel_Closed(conn->channel)) {
        FlHTTP1_Lost(conn, NULL);
        return 0;
    }
    head = &conn->block->head;
    conn->body_since = FlLoop_Now(conn->loop);
    if (conn->is_client && head->status >= 100 && head->status < 200 &&
        head->status != 101)
        return next_response(conn);
    if (has_no_body(conn))
        return message_done(conn);
    if ((head->flags & FL_HEAD_HAS_LENGTH) != 0 &&
        head->content_length > (uint64_t)body_limit(conn)) {
        refuse(conn, 413, "Content-Length too long");
        return 0;
    }
    if ((head->flags & FL_HEAD_EXPECT_CONTINUE) != 0 && !conn->is_client &&
        !conn->write_finished && !conn->headers_written &&
        (head->content_length > 0 || (head->flags & FL_HEAD_CHUNKED) != 0)) {
        static const char answer[] = "HTTP/1.1 100 Continue\r\n\r\n";

        if (FlChannel_Write(conn->channel, NULL, answer, sizeof(answer) - 1) < 0)
            return user_failed(conn);
    }
    if ((head->flags & FL_HEAD_CHUNKED) != 0) {
        body_progress(conn);
        return begin_chunked(conn);
    }
    if ((head->flags & FL_HEAD_HAS_LENGTH) != 0 && head->content_length > 0) {
        conn->left = head->content_length;
        conn->phase = FL_HTTP1_LENGTH;
        body_progress(conn);
        return 0;
    }
    if (conn->is_client && (head->flags & FL_HEAD_HAS_LENGTH) == 0) {
        conn->phase = FL_HTTP1_UNTIL_CLOSE;
        conn->close_when_finished = true;
        return 0;
    }
    return message_done(conn);
}

/* The tail once more: what was waited for is over. */
static int
go_on(FlHTTP1Connection *conn)
{
    if (conn->server != NULL)
        return FlHTTP1Server_Continue(conn->server);
    if (conn->channel == NULL || conn->phase == FL_HTTP1_DEAD)
        return 0;
    if (FlChannel_Resume(conn->channel) < 0)
        return -1;
    return conn->ended ? FlHTTP1_Ended(conn) : 0;
}

/* Takes the result of what was awaited: 0, or -1 with its exception. */
static int
take_waited(FlHTTP1Connection *conn)
{
    PyObject *future = conn->waiting, *result;

    conn->waiting = NULL;
    if (future == NULL)
        return 0;
    result = FlFuture_Result(future);
    Py_DECREF(future);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
data_waited(FlLoop *loop, PyObject *obj)
{
    FlHTTP1Connection *conn = (FlHTTP1Connection *)obj;

    (void)loop;
    conn->waiting_data = false;
    if (take_waited(conn) < 0)
        return user_failed(conn);
    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    body_progress(conn);
    if (conn->phase == FL_HTTP1_CHUNKED && feed_chunked(conn, "", 0, 0) < 0)
        return -1;
    /* A body whose last piece was awaited is over now. */
    if (conn->phase == FL_HTTP1_LENGTH && conn->left == 0 && message_done(conn) < 0)
        return -1;
    return go_on(conn);
}

static int
headers_waited(FlLoop *loop, PyObject *obj)
{
    FlHTTP1Connection *conn = (FlHTTP1Connection *)obj;

    (void)loop;
    if (take_waited(conn) < 0)
        return user_failed(conn);
    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    return after_headers(conn) < 0 ? -1 : go_on(conn);
}

/* ---- the head ---- */

static PyObject *
start_line_of(FlHTTP1Connection *conn)
{
    const fl_head *head = &conn->block->head;
    const char *version = head->minor_version == 1 ? "HTTP/1.1" : "HTTP/1.0";
    fl_span a = FlHeadBlock_Span(conn->block, head->method_name);
    fl_span b = FlHeadBlock_Span(conn->block, head->target);
    PyObject *type, *first, *second, *third, *line = NULL;
    FlState *st = conn->st;

    if (conn->is_client) {
        fl_span reason = FlHeadBlock_Span(conn->block, head->reason);

        type = FlState_Lazy(st, &st->ResponseStartLine, "pyfastloop.httputil",
                            "ResponseStartLine");
        first = PyUnicode_FromString(version);
        second = PyLong_FromLong(head->status);
        third = PyUnicode_DecodeLatin1(reason.p, (Py_ssize_t)reason.n, NULL);
    } else {
        type = FlState_Lazy(st, &st->RequestStartLine, "pyfastloop.httputil",
                            "RequestStartLine");
        first = PyUnicode_DecodeLatin1(a.p, (Py_ssize_t)a.n, NULL);
        second = PyUnicode_DecodeLatin1(b.p, (Py_ssize_t)b.n, NULL);
        third = PyUnicode_FromString(version);
    }
    if (type != NULL && first != NULL && second != NULL && third != NULL)
        line = PyObject_CallFunctionObjArgs(type, first, second, third, NULL);
    Py_XDECREF(first);
    Py_XDECREF(second);
    Py_XDECREF(third);
    return line;
}

/* Wraps the delegate so that it gets bodies without their content coding. */
static int
wrap_delegate(FlHTTP1Connection *conn)
{
    FlState *st = conn->st;
    PyObject *type, *wrapped;

    if (!conn->params->decompress || conn->delegate == NULL)
        return 0;
    type = FlState_Lazy(st, &st->GzipMessageDelegate, "pyfastloop.http1connection",
                        "_GzipMessageDelegate");
    wrapped = type == NULL ? NULL
                           : PyObject_CallFunction(type, "OOL", conn->delegate,
                                                   (PyObject *)conn->params,
                                                   (long long)body_limit(conn));
    if (wrapped == NULL)
        return -1;
    Py_SETREF(conn->delegate, wrapped);
    return 0;
}

/* Asks the server's delegate for one, unless read_response was given it. */
static int
find_delegate(FlHTTP1Connection *conn)
{
    FlHTTP1ServerConnection *server = conn->server;
    PyObject *factory, *args[2], *delegate;

    if (server == NULL)
        return 0;
    factory = Py_XNewRef(server->delegate);
    if (factory == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the server connection has no delegate");
        return -1;
    }
    args[0] = (PyObject *)server;
    args[1] = (PyObject *)conn;
    Py_INCREF(server);
    delegate = PyObject_CallMethodObjArgs(factory, conn->st->str_start_request, args[0],
                                          args[1], NULL);
    Py_DECREF(server);
    Py_DECREF(factory);
    if (delegate == NULL)
        return -1;
    Py_XSETREF(conn->delegate, delegate);
    return wrap_delegate(conn);
}

/* The delegates of Python hear of the head. 0 or -1 (fatal). */
static int
tell_headers(FlHTTP1Connection *conn)
{
    PyObject *line = NULL, *headers = NULL, *delegate, *returned = NULL;
    int ready;

    if ((!conn->owes_delegate && find_delegate(conn) < 0) ||
        conn->phase == FL_HTTP1_DEAD)
        return PyErr_Occurred() ? user_failed(conn) : 0;
    delegate = Py_XNewRef(conn->delegate);
    line = start_line_of(conn);
    headers = FlHTTPHeaders_FromBlock(conn->st, conn->block);
    conn->phase = FL_HTTP1_WAIT_HEADERS;
    if (delegate != NULL && line != NULL && headers != NULL) {
        conn->owes_delegate = true;
        returned = PyObject_CallMethodObjArgs(delegate, conn->st->str_headers_received,
                                              line, headers, NULL);
    }
    Py_XDECREF(delegate);
    Py_XDECREF(line);
    Py_XDECREF(headers);
    if (returned == NULL)
        return user_failed(conn);
    Py_XSETREF(conn->waiting, NULL);
    ready = FlHTTP_Await(conn->st, conn->loop, returned, headers_waited,
                         (PyObject *)conn, &conn->waiting);
    Py_DECREF(returned);
    if (ready < 0)
        return user_failed(conn);
    return ready == 0 ? 0 : after_headers(conn);
}

static void
note_head(FlHTTP1Connection *conn)
{
    const fl_head *head = &conn->block->head;

    conn->keep_alive = (head->flags & FL_HEAD_KEEP_ALIVE) != 0 &&
                       !conn->params->no_keep_alive && !conn->no_keep_alive;
    conn->left = 0;
    conn->received = 0;
    if (conn->is_client) {
        if (!conn->keep_alive)
            conn->close_when_finished = true;
        return;
    }
    conn->head_request = head->method == FL_METHOD_HEAD;
    conn->http10 = head->minor_version == 0;
    if (conn->server != NULL)
        conn->server->requests++;
    conn->loop->stats.requests++;
}

/* Who takes the request: web/ or the delegates. 0 or -1 (fatal). */
static int
dispatch(FlHTTP1Connection *conn)
{
    const FlHTTP1Target *target = conn->st->http_target;
    int taken = 0;

    if (conn->server != NULL && target != NULL && conn->server->delegate != NULL) {
        taken = target->head(conn);
        if (taken < 0)
            return user_failed(conn);
    }
    if (taken == 0)
        return tell_headers(conn);
    conn->web = true;
    return after_headers(conn);
}

/* Field lines that a head may have: as told, or more where more bytes are allowed. */
static uint32_t
field_limit(const FlHTTP1Parameters *params)
{
    int64_t lines = params->max_header_lines;

    if (lines < 0)
        lines =
            params->max_header_size > 65536 ? params->max_header_size / 256 : FIELDS;
    return (uint32_t)(lines > 1 << 20 ? 1 << 20 : lines);
}

static Py_ssize_t
feed_head(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
{
    int64_t most = conn->params->max_header_size;
    uint32_t cap = field_limit(conn->params);
    fl_field few[FIELDS], *fields = few;
    fl_head_limits limits;
    fl_head head;
    int got;

    if (n == 0)
        return 0;
    if (cap > FIELDS) {
        fields = PyMem_Malloc(cap * sizeof(fl_field));
        if (fields == NULL) {
            PyErr_NoMemory();
            return user_failed(conn) < 0 ? -1 : (Py_ssize_t)n;
        }
    }
    head.fields = fields;
    head.cap_fields = cap;
    limits = (fl_head_limits){(uint32_t)(most > FL_HEAD_MAX ? 0 : most), 0};
    got = conn->is_client ? fl_http1_response(p, n, &conn->scanned, &limits, &head)
                          : fl_http1_request(p, n, &conn->scanned, &limits, &head);
    if (got > 0)
        conn->block = FlHeadBlock_New(p, (size_t)got, &head);
    if (fields != few)
        PyMem_Free(fields);
    if (got == 0) {
        if (conn->phase == FL_HTTP1_IDLE) {
            conn->phase = FL_HTTP1_HEAD;
            deadline(conn, FL_DEADLINE_HEAD, conn->params->header_timeout);
        }
        return 0;
    }
    if (got < 0) {
        took(conn, at + n);
        refuse(conn, fl_reason_status(-got), fl_reason_text(-got));
        return (Py_ssize_t)n;
    }
    if (conn->block == NULL)
        return user_failed(conn) < 0 ? -1 : (Py_ssize_t)n;
    conn->scanned = 0;
    took(conn, at + (size_t)got);
    deadline(conn, FL_DEADLINE_NONE, -1);
    conn->phase = FL_HTTP1_WAIT_HEADERS;
    note_head(conn);
    if ((size_t)got < n && conn->server != NULL && conn->in_data)
        FlHTTP1Server_Cork(conn->server);
    return dispatch(conn) < 0 ? -1 : got;
}

Py_ssize_t
FlHTTP1_Feed(FlHTTP1Connection *conn, const char *p, size_t n)
{
    size_t at = 0;

    for (;;) {
        uint8_t phase = conn->phase;
        Py_ssize_t used;

        if (conn->waiting_data)
            return (Py_ssize_t)at;
        switch (phase) {
        case FL_HTTP1_IDLE:
        case FL_HTTP1_HEAD:
            used = feed_head(conn, p + at, n - at, at);
            break;
        case FL_HTTP1_LENGTH:
            used = feed_length(conn, p + at, n - at, at);
            break;
        case FL_HTTP1_CHUNKED:
            used = feed_chunked(conn, p + at, n - at, at);
            break;
        case FL_HTTP1_UNTIL_CLOSE:
            used = feed_until_close(conn, p + at, n - at, at);
            break;
        default: /* waiting, over, or dead */
            return (Py_ssize_t)at;
        }
        if (used < 0)
            return -1;
        at += (size_t)used;
        if (at >= n || (used == 0 && conn->phase == phase))
            return (Py_ssize_t)at;
    }
}

int
FlHTTP1_Ended(FlHTTP1Connection *conn)
{
    conn->ended = true;
    if (conn->waiting_data)
        return 0; /* looked at again when that is over */
    switch (conn->phase) {
    case FL_HTTP1_DEAD:
    case FL_HTTP1_WAIT_HEADERS:
        return 0;
    case FL_HTTP1_UNTIL_CLOSE:
        return message_done(conn);
    case FL_HTTP1_DONE:
        if (!conn->write_finished)
            FlHTTP1_TellGone(conn);
        return 0;
    default:
        abandon(conn);
        return 0;
    }
}
