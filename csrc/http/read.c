/* read.c -- the receiving side of an exchange: head, body, the end of it.
 *
 * FlHTTP1_Feed is called from the channel's data() with what is there and takes steps
 * until it needs more bytes, waits for user code, or the message is over. A step that
 * runs user code says before how far it has got (FlHTTP1_Took), because that code may
 * give the stream to somebody else, and looks at `phase` afterwards: DEAD says that the
 * exchange is over whatever it was. read_parts.h says where the steps are.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/read_parts.h"

#include "core/future.h"

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
            used = FlHTTP1_FeedHead(conn, p + at, n - at, at);
            break;
        case FL_HTTP1_LENGTH:
            used = FlHTTP1_FeedLength(conn, p + at, n - at, at);
            break;
        case FL_HTTP1_CHUNKED:
            used = FlHTTP1_FeedChunked(conn, p + at, n - at, at);
            break;
        case FL_HTTP1_UNTIL_CLOSE:
            used = FlHTTP1_FeedUntilClose(conn, p + at, n - at, at);
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
        return FlHTTP1_MessageDone(conn);
    case FL_HTTP1_DONE:
        if (!conn->write_finished)
            FlHTTP1_TellGone(conn);
        return 0;
    default:
        FlHTTP1_Abandon(conn);
        return 0;
    }
}

/* ---- after waiting for user code ---- */

int
FlHTTP1_TakeWaited(FlHTTP1Connection *conn)
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

int
FlHTTP1_GoOn(FlHTTP1Connection *conn)
{
    if (conn->server != NULL)
        return FlHTTP1Server_Continue(conn->server);
    if (conn->channel == NULL || conn->phase == FL_HTTP1_DEAD)
        return 0;
    if (FlChannel_Resume(conn->channel) < 0)
        return -1;
    return conn->ended ? FlHTTP1_Ended(conn) : 0;
}
