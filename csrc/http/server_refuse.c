/* server_refuse.c -- how a server's connection ends early: refusals, lingering, close.
 *
 * A request that cannot be served gets one short answer, when nothing of an answer has
 * left yet. Then our side of the stream is shut and what still comes is dropped
 * (lingering): closing at once would reset the connection, and a peer that is still
 * sending would never see the answer. It ends with the peer's FIN or the deadline.
 *
 * A connection that lingers feeds no exchange and leaves that state only by closing.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/server_parts.h"

void
FlHTTP1Server_CloseNow(FlHTTP1ServerConnection *server)
{
    PyObject *stream = Py_XNewRef(server->stream);

    if (FlHTTP1Server_IsOpen(server))
        FlChannel_Close(server->channel, NULL);
    Py_XDECREF(stream);
}

/* ---- lingering ---- */

void
FlHTTP1Server_LingerOn(FlHTTP1ServerConnection *server)
{
    if (server->progress == 0 || server->sent != server->channel->total_sent)
        server->progress = FlLoop_Now(server->loop);
    server->sent = server->channel->total_sent;
    FlHTTP1Server_Deadline(server, FL_DEADLINE_CLOSE, server->params->linger_timeout);
}

bool
FlHTTP1Server_StillReading(const FlHTTP1ServerConnection *server, uint64_t now)
{
    double limit = server->params->write_timeout;

    if (FlChannel_Queued(server->channel) == 0)
        return false;
    return server->sent != server->channel->total_sent || limit < 0 ||
           (double)(now - server->progress) / 1e9 < limit;
}

void
FlHTTP1Server_Linger(FlHTTP1ServerConnection *server)
{
    if (server->lingering || !FlHTTP1Server_IsOpen(server))
        return;
    server->lingering = true;
    if (server->eof) {
        FlChannel_CloseAfterWrites(server->channel);
        return;
    }
    FlHTTP1Server_LingerOn(server);
    if (FlChannel_Shutdown(server->channel) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_OSError))
            FlHTTP_LogUncaught(server->loop);
        PyErr_Clear(); /* it has left already: nothing to wait for */
        FlHTTP1Server_CloseNow(server);
        return;
    }
    if (FlChannel_WantRead(server->channel, true) < 0)
        FlHTTP_LogUncaught(server->loop);
}

/* ---- refusing ---- */

const char *
FlHTTP1Server_StatusPhrase(int status)
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
    if (!FlHTTP1Server_IsOpen(server) || server->conn != conn)
        goto done;
    if (!conn->headers_written && !conn->write_finished) {
        n = PyOS_snprintf(answer, sizeof(answer),
                          "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n"
                          "Connection: close\r\n\r\n",
                          status, FlHTTP1Server_StatusPhrase(status));
        if (FlChannel_Write(server->channel, NULL, answer, (size_t)n) < 0)
            FlHTTP_LogUncaught(server->loop);
        conn->write_finished = true;
        conn->headers_written = true;
        FlHTTP1Server_Linger(server);
    } else {
        FlHTTP1Server_CloseNow(server);
    }
    FlHTTP1_Lost(conn, NULL);
done:
    Py_DECREF(conn);
    Py_DECREF(server);
}
