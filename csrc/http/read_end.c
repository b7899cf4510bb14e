/* read_end.c -- how reading a message ends: whole, refused, failed, or lost.
 *
 *   whole    its delegate's finish(), or web/'s answer; the client's stream goes back
 *   refused  the message is none: a status goes out (server_refuse.c) or the stream closes
 *   failed   user code raised: refused for HTTPInputError, else logged and closed
 *   lost     the stream is closed: on_connection_close, or the close callback
 *
 * Each of those who wait (delegate, close callback, read_response's future) is told
 * once: what tells them is taken off the exchange before it is called.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/read_parts.h"

#include "core/future.h"
#include "net/iostream.h"

static PyObject *
conn_context(FlHTTP1Connection *conn)
{
    if (conn->context != NULL)
        return conn->context;
    return conn->server != NULL ? FlHTTP1Server_Context(conn->server) : NULL;
}

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

void
FlHTTP1_Abandon(FlHTTP1Connection *conn)
{
    PyObject *stream = Py_XNewRef(conn->stream);

    if (conn->channel != NULL && !FlChannel_Closed(conn->channel))
        FlChannel_Close(conn->channel, NULL);
    FlHTTP1_Lost(conn, NULL);
    Py_XDECREF(stream);
}

void
FlHTTP1_Refuse(FlHTTP1Connection *conn, int status, const char *why)
{
    if (conn->server == NULL) {
        FlHTTP_LogMalformed(conn->st, conn_context(conn), why);
        FlHTTP1_Abandon(conn);
        return;
    }
    FlHTTP1Server_Refuse(conn->server, status, why);
}

int
FlHTTP1_UserFailed(FlHTTP1Connection *conn)
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
        FlHTTP1_Refuse(conn, status, why == NULL ? "bad message" : why);
        Py_XDECREF(text);
        Py_XDECREF(error);
        return 0;
    }
    FlHTTP_LogUncaught(conn->loop);
    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    conn->gone = true; /* it is not the peer who left */
    FlHTTP1_Abandon(conn);
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

int
FlHTTP1_MessageDone(FlHTTP1Connection *conn)
{
    const FlHTTP1Target *target = conn->st->http_target;
    PyObject *delegate, *done;
    bool again;

    conn->phase = FL_HTTP1_DONE;
    FlHTTP1_NoDeadline(conn);
    if (conn->web) {
        if (conn->body != NULL &&
            (size_t)PyBytes_GET_SIZE(conn->body) != conn->body_used &&
            _PyBytes_Resize(&conn->body, (Py_ssize_t)conn->body_used) < 0)
            return FlHTTP1_UserFailed(conn);
        return target->whole(conn) < 0 ? FlHTTP1_UserFailed(conn) : 0;
    }
    if (conn->write_finished && !conn->is_client)
        return 0; /* answered early; on_connection_close is what remains */
    conn->owes_delegate = false;
    delegate = Py_XNewRef(conn->delegate);
    if (delegate != NULL) {
        done = PyObject_CallMethodNoArgs(delegate, conn->st->str_finish);
        Py_DECREF(delegate);
        if (done == NULL)
            return FlHTTP1_UserFailed(conn);
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
