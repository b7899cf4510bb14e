/* read_body.c -- bodies: of known length, chunked, or until the peer closes.
 *
 * A delegate gets pieces of chunk_size at most, and what data_received returns is
 * awaited before the next one; small chunks of one read are joined. web/ gets its body
 * whole: it is received into the bytes object that becomes `request.body`, which grows
 * only as bytes come, whatever length the head has promised.
 *
 * What was fed is counted (left, received) before user code hears of it: that code may
 * end the exchange, and then `phase` says so.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/read_parts.h"

#include <string.h>

#include "net/iostream.h"

#define FIRST_BODY 65536 /* of a body's memory, before its bytes are here */

int64_t
FlHTTP1_BodyLimit(FlHTTP1Connection *conn)
{
    if (conn->max_body >= 0)
        return conn->max_body;
    if (conn->params->max_body_size >= 0)
        return conn->params->max_body_size;
    return FlIOStream_MaxBuffer(conn->stream);
}

/* A parameter for plain C, where there is always a bound. */
static uint32_t
small_limit(int64_t n)
{
    return n < 0 || n > FL_HEAD_MAX ? FL_HEAD_MAX : (uint32_t)n;
}

int
FlHTTP1_BeginChunked(FlHTTP1Connection *conn)
{
    const FlHTTP1Parameters *params = conn->params;
    const fl_chunked_limits limits = {
        small_limit(params->max_chunk_line),
        small_limit(params->max_chunk_overhead),
        small_limit(params->max_trailer_size),
        small_limit(params->max_trailer_lines),
    };
    FlHTTP1Chunks *chunks = PyMem_Calloc(1, sizeof(FlHTTP1Chunks));

    if (chunks == NULL) {
        PyErr_NoMemory();
        return FlHTTP1_UserFailed(conn);
    }
    fl_chunked_init(&chunks->decoder, &limits, &chunks->trailers,
                    params->keep_chunk_extensions ? &chunks->extensions : NULL);
    conn->chunks = chunks;
    conn->phase = FL_HTTP1_CHUNKED;
    return 0;
}

/* Bytes handed out at a time; parameters may be set to anything. */
static size_t
most_at_once(FlHTTP1Connection *conn)
{
    int64_t most = conn->params->chunk_size;

    return most <= 0 ? FIRST_BODY : (size_t)most;
}

/* ---- to a delegate ---- */

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
        return chunk == NULL ? FlHTTP1_UserFailed(conn) : 1;
    }
    returned = PyObject_CallMethodOneArg(delegate, conn->st->str_data_received, chunk);
    Py_DECREF(chunk);
    Py_DECREF(delegate);
    if (returned == NULL)
        return FlHTTP1_UserFailed(conn);
    Py_XSETREF(conn->waiting, NULL);
    ready = FlHTTP_Await(conn->st, conn->loop, returned, data_waited, (PyObject *)conn,
                         &conn->waiting);
    Py_DECREF(returned);
    if (ready < 0)
        return FlHTTP1_UserFailed(conn);
    if (ready == 0) {
        conn->waiting_data = true;
        FlHTTP1_NoDeadline(conn);
        return 0;
    }
    return conn->phase != FL_HTTP1_DEAD;
}

/* Hands out what was joined, in pieces; `all`: the last, short one too. As hand_out. */
static int
hand_out_joined(FlHTTP1Connection *conn, bool all)
{
    size_t most = most_at_once(conn);

    while (fl_buf_len(&conn->chunks->joined) >= (all ? 1 : most)) {
        fl_buf *joined = &conn->chunks->joined;
        size_t n = fl_buf_len(joined);
        PyObject *copy;
        int go;

        if (n > most)
            n = most;
        copy = PyBytes_FromStringAndSize(fl_buf_ptr(joined), (Py_ssize_t)n);
        if (copy == NULL)
            return FlHTTP1_UserFailed(conn);
        fl_buf_consume(joined, n);
        go = hand_out(conn, PyBytes_AS_STRING(copy), n);
        Py_DECREF(copy);
        if (go <= 0)
            return go;
    }
    return 1;
}

/* ---- to web/ ---- */

/* Room for a web body's next bytes; NULL with MemoryError. */
static char *
web_room(FlHTTP1Connection *conn, size_t more, size_t *room)
{
    size_t have = conn->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(conn->body);
    size_t need = conn->body_used + more;

    if (have < need || conn->body == NULL) {
        size_t want = have * 2;
        size_t whole =
            conn->chunks == NULL ? conn->body_used + (size_t)conn->left : SIZE_MAX;

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

int
FlHTTP1_BodyFilled(FlHTTP1Connection *conn, size_t n)
{
    conn->body_used += n;
    conn->left -= n;
    conn->received += n;
    if (conn->left > 0) {
        FlHTTP1_BodyProgress(conn);
        return 0;
    }
    return FlHTTP1_MessageDone(conn);
}

/* ---- the steps ---- */

Py_ssize_t
FlHTTP1_FeedLength(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
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
        FlHTTP1_Took(conn, at + used + piece);
        if (conn->web) {
            if (web_append(conn, p + used, piece) < 0)
                go = FlHTTP1_UserFailed(conn);
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
        FlHTTP1_BodyProgress(conn);
        return (Py_ssize_t)used;
    }
    return FlHTTP1_MessageDone(conn) < 0 ? -1 : (Py_ssize_t)used;
}

Py_ssize_t
FlHTTP1_FeedChunked(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
{
    int64_t limit = FlHTTP1_BodyLimit(conn);
    size_t used = 0;

    while (conn->phase == FL_HTTP1_CHUNKED) {
        fl_span data;
        size_t step;
        int got, go;

        got = fl_chunked_feed(&conn->chunks->decoder, p + used, n - used, &data, &step);
        used += step;
        if (got < 0) {
            FlHTTP1_Took(conn, at + used);
            FlHTTP1_Refuse(conn, fl_reason_status(-got), fl_reason_text(-got));
            return (Py_ssize_t)n;
        }
        if (got == FL_CHUNK_DATA) {
            conn->received += data.n;
            if (fl_chunked_past(&conn->chunks->decoder, (uint64_t)limit)) {
                FlHTTP1_Took(conn, at + used);
                FlHTTP1_Refuse(conn, 413, "chunked body too large");
                return (Py_ssize_t)n;
            }
            if (conn->web ? web_append(conn, data.p, data.n) < 0
                          : fl_buf_append(&conn->chunks->joined, data.p, data.n) < 0) {
                if (!conn->web)
                    PyErr_NoMemory();
                return FlHTTP1_UserFailed(conn) < 0 ? -1 : (Py_ssize_t)n;
            }
        }
        FlHTTP1_Took(conn, at + used);
        go = conn->web ? 1 : hand_out_joined(conn, got != FL_CHUNK_DATA);
        if (go < 0)
            return -1;
        if (got == FL_CHUNK_END && go > 0 && conn->phase == FL_HTTP1_CHUNKED)
            return FlHTTP1_MessageDone(conn) < 0 ? -1 : (Py_ssize_t)used;
        if (go == 0)
            return (Py_ssize_t)used;
        if (got == FL_CHUNK_MORE) {
            FlHTTP1_BodyProgress(conn);
            break;
        }
    }
    return (Py_ssize_t)used;
}

Py_ssize_t
FlHTTP1_FeedUntilClose(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
{
    size_t most = most_at_once(conn), used = 0;

    while (used < n && conn->phase == FL_HTTP1_UNTIL_CLOSE) {
        size_t piece = n - used < most ? n - used : most;
        int go;

        conn->received += piece;
        if (conn->received > (uint64_t)FlHTTP1_BodyLimit(conn)) {
            FlHTTP1_Refuse(conn, 413, "body too large");
            return (Py_ssize_t)n;
        }
        FlHTTP1_Took(conn, at + used + piece);
        go = hand_out(conn, p + used, piece);
        used += piece;
        if (go < 0)
            return -1;
        if (go == 0)
            break;
    }
    return (Py_ssize_t)used;
}

static int
data_waited(FlLoop *loop, PyObject *obj)
{
    FlHTTP1Connection *conn = (FlHTTP1Connection *)obj;

    (void)loop;
    conn->waiting_data = false;
    if (FlHTTP1_TakeWaited(conn) < 0)
        return FlHTTP1_UserFailed(conn);
    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    FlHTTP1_BodyProgress(conn);
    if (conn->phase == FL_HTTP1_CHUNKED && FlHTTP1_FeedChunked(conn, "", 0, 0) < 0)
        return -1;
    /* A body whose last piece was awaited is over now. */
    if (conn->phase == FL_HTTP1_LENGTH && conn->left == 0 &&
        FlHTTP1_MessageDone(conn) < 0)
        return -1;
    return FlHTTP1_GoOn(conn);
}
