/* write.c -- the sending side of an exchange: heads, bodies, the end.
 *
 * put_head is the only place of the project where the lines of a message head are
 * written. Header maps hold no CR, LF or NUL (headers.h); what comes from elsewhere, start
 * lines and reasons, is checked here, before a byte leaves.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/connection.h"

#include "base/format.h"
#include "core/future.h"
#include "http/out.h"
#include "proto/http1_head.h"

/* A body up to this size is copied behind its head and both leave as one piece. */
#define COPY_MOST 16384
/* Smaller pieces wait for others of the same turn of the loop; larger leave at once. */
#define HOLD_MOST 65536

/* ---- futures ---- */

static PyObject *
closed_error(FlHTTP1Connection *conn)
{
    PyObject *type = FlState_Lazy(conn->st, &conn->st->StreamClosedError,
                                  "pyfastloop.iostream", "StreamClosedError");

    return type == NULL ? NULL : PyObject_CallNoArgs(type);
}

/* A future that failed with StreamClosedError, which nobody has to ask for. */
static PyObject *
failed_future(FlHTTP1Connection *conn)
{
    PyObject *error = closed_error(conn);
    PyObject *future = error == NULL ? NULL : FlFuture_New(conn->st, conn->loop);

    if (future != NULL && FlFuture_SetException(future, error) < 0)
        Py_CLEAR(future);
    if (future != NULL)
        FlFuture_Exception(future);
    Py_XDECREF(error);
    return future;
}

/* The future of what was just written. New reference. */
static PyObject *
written_future(FlHTTP1Connection *conn)
{
    PyObject *empty, *future;

    if (conn->channel == NULL || FlChannel_Closed(conn->channel))
        return failed_future(conn);
    if (FlChannel_Queued(conn->channel) == 0)
        return FlFuture_NewDone(conn->st, Py_None);
    empty = PyBytes_FromStringAndSize(NULL, 0);
    if (empty == NULL)
        return NULL;
    future = PyObject_CallMethod(conn->stream, "write", "O", empty);
    Py_DECREF(empty);
    return future;
}

/* Nothing can be written any more; a server that lingers has said its last word. */
static bool
stream_closed(FlHTTP1Connection *conn)
{
    return conn->channel == NULL || FlChannel_Closed(conn->channel) ||
           (conn->server != NULL && conn->server->lingering);
}

/* A peer that does not read what is queued is waited for, but not for ever. */
static void
watch_progress(FlHTTP1Connection *conn)
{
    FlHTTP1ServerConnection *server = conn->server;

    if (server == NULL || stream_closed(conn))
        return;
    if (FlChannel_Queued(conn->channel) == 0) {
        FlHTTP1Server_AllSent(server);
        return;
    }
    if (conn->phase != FL_HTTP1_DONE)
        return;
    if (server->deadline_kind == FL_DEADLINE_CLOSE && !conn->write_finished)
        return; /* half closed: that long for an answer, then as long as it is read */
    server->sent = conn->channel->total_sent;
    FlHTTP1Server_Deadline(server, FL_DEADLINE_WRITE, conn->params->write_timeout);
}

/* ---- heads ---- */

static int
put_lines(fl_out *out, FlHTTPHeaders *headers)
{
    for (int32_t i = 0; i < headers->count; i++) {
        if (headers->entries[i].last < 0)
            continue;
        for (int32_t at = i; at >= 0; at = headers->entries[at].next) {
            PyObject *name = FlHTTPHeaders_Name(headers, at);
            fl_span value;

            if (name == NULL)
                return -1;
            if (!FlHTTPHeaders_ValueSpan(headers, at, &value)) {
                PyErr_Format(PyExc_ValueError,
                             "header %U has characters that HTTP cannot carry "
                             "(above U+00FF): %R",
                             name, headers->entries[at].value);
                return -1;
            }
            fl_out_put(out, (const char *)PyUnicode_1BYTE_DATA(name),
                       (size_t)PyUnicode_GET_LENGTH(name));
            FL_OUT_LITERAL(out, ": ");
            fl_out_span(out, value);
            FL_OUT_LITERAL(out, "\r\n");
        }
    }
    return 0;
}

/* The text of a start line's part; false with ValueError when it must not be sent. */
static bool
line_text(PyObject *text, int classes, const char *what, fl_span *out)
{
    if (PyUnicode_Check(text) && PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) {
        *out = fl_span_make((const char *)PyUnicode_1BYTE_DATA(text),
                            (size_t)PyUnicode_GET_LENGTH(text));
        if (fl_span_all(*out, classes))
            return true;
    }
    PyErr_Format(PyExc_ValueError, "unsafe %s: %R", what, text);
    return false;
}

/* Content-Length of a map: -1 none, -2 with ValueError. */
static int64_t
map_length(FlHTTPHeaders *headers)
{
    int32_t at = FlHTTPHeaders_FindId(headers, FL_H_CONTENT_LENGTH);
    uint64_t length;
    fl_span value;

    if (at < 0)
        return -1;
    if (headers->entries[at].next < 0 && FlHTTPHeaders_ValueSpan(headers, at, &value) &&
        fl_parse_u64(value, &length) && length <= INT64_MAX)
        return (int64_t)length;
    PyErr_Format(PyExc_ValueError, "Content-Length must be one number, not %R",
                 FlHTTPHeaders_Value(headers, at));
    return -2;
}

static bool
map_list_has(FlHTTPHeaders *headers, uint8_t id, fl_span token)
{
    fl_span value;

    for (int32_t at = FlHTTPHeaders_FindId(headers, id); at >= 0;
         at = headers->entries[at].next) {
        if (FlHTTPHeaders_ValueSpan(headers, at, &value) && fl_list_has(value, token))
            return true;
    }
    return false;
}

/* What follows from a response's map for its body and for the connection. */
static int
plan_response(FlHTTP1Connection *conn, int status, FlHTTPHeaders *headers)
{
    bool bodiless = status < 200 || status == 204 || status == 304;
    int64_t length = map_length(headers);
    bool coded = FlHTTPHeaders_FindId(headers, FL_H_TRANSFER_ENCODING) >= 0;

    if (length == -2)
        return -1;
    conn->chunking =
        length < 0 && !coded && !bodiless && !conn->head_request && !conn->http10;
    conn->expected = bodiless || conn->head_request ? 0 : length;
    if (!conn->keep_alive)
        conn->close_when_finished = true;
    if (map_list_has(headers, FL_H_CONNECTION, FL_SPAN("close")))
        conn->close_when_finished = true;
    if (length < 0 && !coded && !bodiless && !conn->head_request && conn->http10)
        conn->close_when_finished = true; /* the end of the body is the close */
    return 0;
}

static void
put_status(fl_out *out, int status, fl_span reason)
{
    char number[FL_FMT_U64_MAX];

    FL_OUT_LITERAL(out, "HTTP/1.1 ");
    fl_out_put(out, number, fl_fmt_u64(number, (uint64_t)status));
    FL_OUT_LITERAL(out, " ");
    fl_out_span(out, reason);
    FL_OUT_LITERAL(out, "\r\n");
}

/* Connection, where the peer cannot know it, and the end of the head. One of HTTP/1.0
 * that wants to stay reads in our status line's HTTP/1.1 that it may (RFC 9112 section
 * 9.3). */
static void
put_end(FlHTTP1Connection *conn, fl_out *out, bool connection)
{
    if (!connection && conn->close_when_finished && (!conn->http10 || conn->peer_stays))
        FL_OUT_LITERAL(out, "Connection: close\r\n");
    if (!connection && !conn->close_when_finished && conn->http10)
        FL_OUT_LITERAL(out, "Connection: Keep-Alive\r\n");
    FL_OUT_LITERAL(out, "\r\n");
}

static int
put_head(FlHTTP1Connection *conn, fl_out *out, int status, fl_span reason,
         FlHTTPHeaders *headers)
{
    if (plan_response(conn, status, headers) < 0)
        return -1;
    put_status(out, status, reason);
    if (put_lines(out, headers) < 0)
        return -1;
    if (conn->chunking)
        FL_OUT_LITERAL(out, "Transfer-Encoding: chunked\r\n");
    put_end(conn, out, FlHTTPHeaders_FindId(headers, FL_H_CONNECTION) >= 0);
    return 0;
}

/* The head of an answer without a map: its length is known, and its lines are good. 0, or
 * -1 with ValueError for what stands beside them. */
static int
put_plain_head(FlHTTP1Connection *conn, fl_out *out, const FlHTTP1Head *head,
               fl_span reason)
{
    char number[FL_FMT_U64_MAX];

    conn->chunking = false;
    conn->expected = conn->head_request ? 0 : head->length;
    if (!conn->keep_alive)
        conn->close_when_finished = true;
    put_status(out, head->status, reason);
    fl_out_span(out, head->lines);
    if (head->beside != NULL && put_lines(out, head->beside) < 0)
        return -1;
    if (head->etag.n > 0) {
        FL_OUT_LITERAL(out, "Etag: ");
        fl_out_span(out, head->etag);
        FL_OUT_LITERAL(out, "\r\n");
    }
    FL_OUT_LITERAL(out, "Content-Length: ");
    fl_out_put(out, number, fl_fmt_u64(number, (uint64_t)head->length));
    FL_OUT_LITERAL(out, "\r\n");
    put_end(conn, out, false);
    return 0;
}

static int
put_request_head(FlHTTP1Connection *conn, fl_out *out, PyObject *start_line,
                 FlHTTPHeaders *headers)
{
    PyObject *method = PyTuple_GET_ITEM(start_line, 0);
    PyObject *path = PyTuple_GET_ITEM(start_line, 1);
    int64_t length = map_length(headers);
    fl_span verb, target;
    bool coded, takes_body;

    if (length == -2 || !line_text(method, FL_C_TOKEN, "method", &verb) ||
        !line_text(path, FL_C_TARGET, "request target", &target))
        return -1;
    if (verb.n == 0 || target.n == 0) {
        PyErr_SetString(PyExc_ValueError, "method and target must not be empty");
        return -1;
    }
    coded = FlHTTPHeaders_FindId(headers, FL_H_TRANSFER_ENCODING) >= 0;
    takes_body = fl_span_eq(verb, FL_SPAN("POST")) ||
                 fl_span_eq(verb, FL_SPAN("PUT")) || fl_span_eq(verb, FL_SPAN("PATCH"));
    conn->chunking = (takes_body && length < 0 && !coded) ||
                     map_list_has(headers, FL_H_TRANSFER_ENCODING, FL_SPAN("chunked"));
    conn->expected = conn->chunking ? -1 : length;
    conn->head_request = fl_span_eq(verb, FL_SPAN("HEAD"));
    fl_out_span(out, verb);
    FL_OUT_LITERAL(out, " ");
    fl_out_span(out, target);
    FL_OUT_LITERAL(out, " HTTP/1.1\r\n");
    if (put_lines(out, headers) < 0)
        return -1;
    if (conn->chunking && !coded)
        FL_OUT_LITERAL(out, "Transfer-Encoding: chunked\r\n");
    FL_OUT_LITERAL(out, "\r\n");
    return 0;
}

/* ---- bodies ---- */

static void
raise_output_error(FlHTTP1Connection *conn, const char *format, long long n)
{
    PyObject *type = FlState_Lazy(conn->st, &conn->st->HTTPOutputError,
                                  "pyfastloop.httputil", "HTTPOutputError");

    if (type != NULL)
        PyErr_Format(type, format, n);
}

/* An exchange has one answer: 0, or -1 with HTTPOutputError where it was given, or
 * (`head`) begun. */
static int
check_order(FlHTTP1Connection *conn, bool head)
{
    if (conn->is_client || !(conn->write_finished || (head && conn->headers_written)))
        return 0;
    raise_output_error(conn,
                       conn->write_finished ? "Tried to write after finish()"
                                            : "Tried to write a second head",
                       0);
    return -1;
}

/* Counts n bytes against Content-Length: 0, or -1 with HTTPOutputError, stream closed. */
static int
count_body(FlHTTP1Connection *conn, size_t n)
{
    PyObject *stream;

    if (conn->expected < 0)
        return 0;
    if ((uint64_t)n <= (uint64_t)conn->expected) {
        conn->expected -= (int64_t)n;
        return 0;
    }
    stream = Py_XNewRef(conn->stream);
    if (!stream_closed(conn))
        FlChannel_Close(conn->channel, NULL);
    Py_XDECREF(stream);
    raise_output_error(conn, "Tried to write more data than Content-Length", 0);
    return -1;
}

/* Sends head (n may be 0) and a body piece, framed as the exchange asks. 0 or -1. */
static int
send_piece(FlHTTP1Connection *conn, const fl_out *head, PyObject *owner, const char *p,
           size_t n)
{
    char size[FL_CHUNK_HEAD_MAX];
    fl_chunk parts[4];
    fl_out joined;
    size_t size_n = 0;
    int count = 0, err;

    if (conn->server != NULL && n < HOLD_MOST)
        FlHTTP1Server_Hold(conn->server);
    if (n > 0 && conn->chunking)
        size_n = fl_chunk_head(size, n);
    if (head->n + size_n + n + 2 <= COPY_MOST) {
        fl_out_init(&joined);
        fl_out_put(&joined, head->p, head->n);
        fl_out_put(&joined, size, size_n);
        fl_out_put(&joined, p, n);
        if (size_n > 0)
            FL_OUT_LITERAL(&joined, "\r\n");
        err = 0;
        if (joined.failed) {
            PyErr_NoMemory();
            err = -1;
        } else if (joined.n > 0) {
            err = FlChannel_Write(conn->channel, NULL, joined.p, joined.n);
        }
        fl_out_free(&joined);
        return err;
    }
    if (head->n > 0)
        parts[count++] = (fl_chunk){head->p, head->n, NULL};
    if (size_n > 0)
        parts[count++] = (fl_chunk){size, size_n, NULL};
    parts[count++] = (fl_chunk){p, n, owner};
    if (size_n > 0)
        parts[count++] = (fl_chunk){"\r\n", 2, NULL};
    return FlChannel_Writev(conn->channel, parts, count);
}

/* The bytes of a chunk argument: bytes, bytearray, memoryview. *keep (new reference)
 * holds them unchanged until they were sent. */
static int
chunk_bytes(PyObject *chunk, PyObject **keep, fl_span *out)
{
    *keep = NULL;
    *out = fl_span_make("", 0);
    if (chunk == NULL || chunk == Py_None)
        return 0;
    *keep = PyBytes_CheckExact(chunk) ? Py_NewRef(chunk) : PyBytes_FromObject(chunk);
    if (*keep == NULL)
        return -1;
    *out = fl_span_make(PyBytes_AS_STRING(*keep), (size_t)PyBytes_GET_SIZE(*keep));
    return 0;
}

/* ---- the connection's methods ---- */

static int
start_line_parts(PyObject *start_line, bool is_client, int *status, fl_span *reason)
{
    long code;

    if (!PyTuple_Check(start_line) || PyTuple_GET_SIZE(start_line) != 3) {
        PyErr_SetString(PyExc_TypeError,
                        "start_line must be a RequestStartLine or ResponseStartLine");
        return -1;
    }
    if (is_client)
        return 0;
    code = PyLong_AsLong(PyTuple_GET_ITEM(start_line, 1));
    if (code == -1 && PyErr_Occurred())
        return -1;
    if (code < 100 || code > 999) {
        PyErr_Format(PyExc_ValueError, "a status has three digits, not %ld", code);
        return -1;
    }
    *status = (int)code;
    if (PyTuple_GET_ITEM(start_line, 2) == Py_None) {
        *reason = fl_span_make("", 0);
        return 0;
    }
    return line_text(PyTuple_GET_ITEM(start_line, 2), FL_C_VALUE, "reason", reason)
               ? 0
               : -1;
}

PyObject *
FlHTTP1_WriteHeaders(FlHTTP1Connection *conn, PyObject *start_line,
                     FlHTTPHeaders *headers, PyObject *chunk)
{
    PyObject *keep = NULL, *future = NULL;
    fl_span body, reason = {NULL, 0};
    int status = 0, err;
    fl_out out;

    fl_out_init(&out);
    if (start_line_parts(start_line, conn->is_client, &status, &reason) < 0 ||
        chunk_bytes(chunk, &keep, &body) < 0)
        goto done;
    if (stream_closed(conn)) {
        conn->headers_written = true;
        future = failed_future(conn);
        goto done;
    }
    if (check_order(conn, true) < 0)
        goto done;
    err = conn->is_client ? put_request_head(conn, &out, start_line, headers)
                          : put_head(conn, &out, status, reason, headers);
    if (err < 0 || count_body(conn, body.n) < 0)
        goto done;
    if (out.failed) {
        PyErr_NoMemory();
        goto done;
    }
    /* An interim answer is followed by the real head. */
    conn->headers_written = conn->is_client || status >= 200 || status == 101;
    if (send_piece(conn, &out, keep, body.p, body.n) == 0)
        future = written_future(conn);
    watch_progress(conn);
done:
    fl_out_free(&out);
    Py_XDECREF(keep);
    return future;
}

PyObject *
FlHTTP1_Write(FlHTTP1Connection *conn, PyObject *chunk)
{
    PyObject *keep, *future = NULL;
    fl_out none;
    fl_span body;

    if (chunk_bytes(chunk, &keep, &body) < 0)
        return NULL;
    none.p = none.small;
    none.n = 0;
    if (stream_closed(conn))
        future = failed_future(conn);
    else if (check_order(conn, false) == 0 && count_body(conn, body.n) == 0 &&
             (body.n == 0 || send_piece(conn, &none, keep, body.p, body.n) == 0))
        future = written_future(conn);
    watch_progress(conn);
    Py_XDECREF(keep);
    return future;
}

PyObject *
FlHTTP1_SendFile(FlHTTP1Connection *conn, int status, PyObject *reason,
                 FlHTTPHeaders *headers, PyObject *file, int64_t offset, int64_t n)
{
    PyObject *future = NULL, *stream = NULL;
    fl_span text;
    fl_out out;
    int err;

    fl_out_init(&out);
    if (stream_closed(conn)) {
        conn->headers_written = true;
        future = failed_future(conn);
        goto done;
    }
    if (check_order(conn, true) < 0 ||
        !line_text(reason, FL_C_VALUE, "reason", &text) ||
        put_head(conn, &out, status, text, headers) < 0)
        goto done;
    if (conn->expected != n || conn->chunking) {
        PyErr_Format(PyExc_ValueError,
                     "a file of %lld bytes needs a Content-Length that says so",
                     (long long)n);
        goto done;
    }
    if (out.failed) {
        PyErr_NoMemory();
        goto done;
    }
    conn->expected = 0;
    conn->headers_written = true;
    stream = Py_NewRef(conn->stream); /* embeds the channel */
    FlChannel *channel = conn->channel;

    FlChannel_Cork(channel); /* head and first bytes leave in one packet */
    err = FlChannel_Write(channel, NULL, out.p, out.n);
    if (err == 0)
        err = FlChannel_SendFile(channel, file, offset, n);
    FlChannel_Uncork(channel);
    if (err == 0)
        future = written_future(conn);
    watch_progress(conn);
done:
    fl_out_free(&out);
    Py_XDECREF(stream);
    return future;
}

void
FlHTTP1_Ending(FlHTTP1Connection *conn)
{
    if (conn->phase != FL_HTTP1_DONE && conn->phase != FL_HTTP1_DEAD)
        conn->close_when_finished = true;
}

/* What is to be done once the last byte of an answer was handed to the channel. */
static void
finish_sent(FlHTTP1Connection *conn)
{
    conn->write_finished = true;
    FlHTTP1_Ending(conn);
    watch_progress(conn);
    if (conn->server != NULL)
        FlHTTP1Server_Answered(conn->server);
}

int
FlHTTP1_Finish(FlHTTP1Connection *conn)
{
    int err = 0;

    if (conn->write_finished)
        return 0;
    if (conn->expected > 0 && !stream_closed(conn)) {
        PyObject *stream = Py_NewRef(conn->stream);

        conn->write_finished = true;
        if (FlChannel_Flush(conn->channel) < 0) /* pieces held for their turn */
            FlHTTP_LogUncaught(conn->loop);
        if (!stream_closed(conn))
            FlChannel_Close(conn->channel, NULL);
        Py_DECREF(stream);
        raise_output_error(conn, "Tried to write %lld bytes less than Content-Length",
                           (long long)conn->expected);
        return -1;
    }
    if (conn->chunking && !stream_closed(conn))
        err = FlChannel_Write(conn->channel, NULL, "0\r\n\r\n", 5);
    if (conn->is_client) {
        conn->write_finished = true;
        return err;
    }
    finish_sent(conn);
    return err;
}

int
FlHTTP1_Respond(FlHTTP1Connection *conn, const FlHTTP1Head *head,
                PyObject *const *chunks, Py_ssize_t count)
{
    size_t total = 0;
    fl_span text;
    fl_out out;
    int err = -1;

    fl_out_init(&out);
    for (Py_ssize_t i = 0; i < count; i++)
        total += (size_t)PyBytes_GET_SIZE(chunks[i]);
    if (head->status < 100 || head->status > 999) {
        PyErr_Format(PyExc_ValueError, "a status has three digits, not %d",
                     head->status);
        goto done;
    }
    if (!stream_closed(conn) && check_order(conn, true) < 0)
        goto done;
    if (!line_text(head->reason, FL_C_VALUE, "reason", &text))
        goto done;
    if ((head->headers == NULL
             ? put_plain_head(conn, &out, head, text)
             : put_head(conn, &out, head->status, text, head->headers)) < 0)
        goto done;
    if (count_body(conn, total) < 0) {
        conn->headers_written = true; /* nothing can be said any more */
        goto done;
    }
    if (conn->chunking) { /* no Content-Length after all: the general way */
        for (Py_ssize_t i = 0; i < count && !stream_closed(conn); i++) {
            if (send_piece(conn, &out, chunks[i], PyBytes_AS_STRING(chunks[i]),
                           (size_t)PyBytes_GET_SIZE(chunks[i])) < 0)
                goto done;
            out.n = 0;
        }
        if (!stream_closed(conn) &&
            (FlChannel_Write(conn->channel, NULL, out.p, out.n) < 0 ||
             FlChannel_Write(conn->channel, NULL, "0\r\n\r\n", 5) < 0))
            goto done;
    } else if (!stream_closed(conn) && (total <= COPY_MOST || count > 4)) {
        for (Py_ssize_t i = 0; i < count; i++)
            fl_out_put(&out, PyBytes_AS_STRING(chunks[i]),
                       (size_t)PyBytes_GET_SIZE(chunks[i]));
        if (out.failed) {
            PyErr_NoMemory();
            goto done;
        }
        if (FlChannel_Write(conn->channel, NULL, out.p, out.n) < 0)
            goto done;
    } else if (!stream_closed(conn)) {
        fl_chunk parts[5];

        parts[0] = (fl_chunk){out.p, out.n, NULL};
        for (Py_ssize_t i = 0; i < count; i++)
            parts[i + 1] = (fl_chunk){PyBytes_AS_STRING(chunks[i]),
                                      (size_t)PyBytes_GET_SIZE(chunks[i]), chunks[i]};
        if (FlChannel_Writev(conn->channel, parts, (int)count + 1) < 0)
            goto done;
    }
    conn->headers_written = true;
    if (conn->expected > 0 && !stream_closed(conn)) {
        FlHTTP1_Finish(conn); /* says what is missing, and closes */
        goto done;
    }
    finish_sent(conn);
    err = 0;
done:
    fl_out_free(&out);
    return err;
}
