/* read_head.c -- the head of a message, who hears of it, and what it says comes next.
 *
 *   parsed --> web/ takes it ------------------------------> after_headers
 *          \-> the delegate's headers_received, awaited -----/
 *
 * after_headers: the real response after an interim one, a body of one of three
 * framings, or the end of the message.
 *
 * A head is parsed in the receive buffer and copied once, whole, into conn->block;
 * before that nothing of it is kept but how far the parser has looked (scanned).
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/read_parts.h"

#define FIELDS 256           /* field lines of a head */
#define INFORMATIONAL_MAX 32 /* 1xx answers before the real one */

/* ---- after the head ---- */

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
        FlHTTP1_Refuse(conn, 400, "too many interim responses");
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
        return FlHTTP1_MessageDone(conn);
    if ((head->flags & FL_HEAD_HAS_LENGTH) != 0 &&
        head->content_length > (uint64_t)FlHTTP1_BodyLimit(conn)) {
        FlHTTP1_Refuse(conn, 413, "Content-Length too long");
        return 0;
    }
    if ((head->flags & FL_HEAD_EXPECT_CONTINUE) != 0 && !conn->is_client &&
        !conn->write_finished && !conn->headers_written &&
        (head->content_length > 0 || (head->flags & FL_HEAD_CHUNKED) != 0)) {
        static const char answer[] = "HTTP/1.1 100 Continue\r\n\r\n";

        if (FlChannel_Write(conn->channel, NULL, answer, sizeof(answer) - 1) < 0)
            return FlHTTP1_UserFailed(conn);
    }
    if ((head->flags & FL_HEAD_CHUNKED) != 0) {
        FlHTTP1_BodyProgress(conn);
        return FlHTTP1_BeginChunked(conn);
    }
    if ((head->flags & FL_HEAD_HAS_LENGTH) != 0 && head->content_length > 0) {
        conn->left = head->content_length;
        conn->phase = FL_HTTP1_LENGTH;
        FlHTTP1_BodyProgress(conn);
        return 0;
    }
    if (conn->is_client && (head->flags & FL_HEAD_HAS_LENGTH) == 0) {
        conn->phase = FL_HTTP1_UNTIL_CLOSE;
        conn->close_when_finished = true;
        return 0;
    }
    return FlHTTP1_MessageDone(conn);
}

static int
headers_waited(FlLoop *loop, PyObject *obj)
{
    FlHTTP1Connection *conn = (FlHTTP1Connection *)obj;

    (void)loop;
    if (FlHTTP1_TakeWaited(conn) < 0)
        return FlHTTP1_UserFailed(conn);
    if (conn->phase == FL_HTTP1_DEAD)
        return 0;
    return after_headers(conn) < 0 ? -1 : FlHTTP1_GoOn(conn);
}

/* ---- who hears of it ---- */

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
                                                   (long long)FlHTTP1_BodyLimit(conn));
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
        return PyErr_Occurred() ? FlHTTP1_UserFailed(conn) : 0;
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
        return FlHTTP1_UserFailed(conn);
    Py_XSETREF(conn->waiting, NULL);
    ready = FlHTTP_Await(conn->st, conn->loop, returned, headers_waited,
                         (PyObject *)conn, &conn->waiting);
    Py_DECREF(returned);
    if (ready < 0)
        return FlHTTP1_UserFailed(conn);
    return ready == 0 ? 0 : after_headers(conn);
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
            return FlHTTP1_UserFailed(conn);
    }
    if (taken == 0)
        return tell_headers(conn);
    conn->web = conn->collects = true;
    return after_headers(conn);
}

/* ---- the head ---- */

static void
note_head(FlHTTP1Connection *conn)
{
    const fl_head *head = &conn->block->head;

    conn->peer_stays = (head->flags & FL_HEAD_KEEP_ALIVE) != 0;
    conn->keep_alive =
        conn->peer_stays && !conn->params->no_keep_alive && !conn->no_keep_alive;
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

Py_ssize_t
FlHTTP1_FeedHead(FlHTTP1Connection *conn, const char *p, size_t n, size_t at)
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
            return FlHTTP1_UserFailed(conn) < 0 ? -1 : (Py_ssize_t)n;
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
            FlHTTP1_SetDeadline(conn, FL_DEADLINE_HEAD, conn->params->header_timeout);
        }
        return 0;
    }
    if (got < 0) {
        FlHTTP1_Took(conn, at + n);
        FlHTTP1_Refuse(conn, fl_reason_status(-got), fl_reason_text(-got));
        return (Py_ssize_t)n;
    }
    if (conn->block == NULL)
        return FlHTTP1_UserFailed(conn) < 0 ? -1 : (Py_ssize_t)n;
    conn->scanned = 0;
    FlHTTP1_Took(conn, at + (size_t)got);
    FlHTTP1_NoDeadline(conn);
    conn->phase = FL_HTTP1_WAIT_HEADERS;
    note_head(conn);
    if ((size_t)got < n && conn->server != NULL && conn->in_data)
        FlHTTP1Server_Cork(conn->server);
    return dispatch(conn) < 0 ? -1 : got;
}
