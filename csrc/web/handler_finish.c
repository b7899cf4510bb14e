/* handler_finish.c -- finish(): completes the head, sends one block, tells log and hooks.
 *
 *   chunk -> ETag, 304, Content-Length -> cookies -> the connection -> log -> on_finish
 *
 * Where nothing in between was replaced, head and body go to the connection directly;
 * else by flush() and the connection's own methods.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include "base/format.h"
#include "core/future.h"

/* GET 1, HEAD 2, another 0, -1. */
static int
safe_method(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = FlHandler_Request(self);
    PyObject *method;
    int kind = 0;

    if (request != NULL && request->method == NULL && request->block != NULL) {
        kind = request->block->head.method;
        return kind == FL_METHOD_GET ? 1 : kind == FL_METHOD_HEAD ? 2 : 0;
    }
    method = FlHandler_RequestAttribute(self, "method");
    if (method == NULL)
        return -1;
    if (PyUnicode_Check(method)) {
        if (PyUnicode_CompareWithASCIIString(method, "GET") == 0)
            kind = 1;
        else if (PyUnicode_CompareWithASCIIString(method, "HEAD") == 0)
            kind = 2;
    }
    Py_DECREF(method);
    return kind;
}

/* The bits of complete_head that a hook may have replaced are called by name. */
static int
not_modified(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *answer;
    int is;

    if (ORIGINAL(self, set_etag_header)) {
        if (FlHandler_SetEtag(self) < 0)
            return -1;
    } else if (FlHandler_Call(self, st->str_set_etag_header) < 0) {
        return -1;
    }
    if (ORIGINAL(self, check_etag_header))
        return FlHandler_CheckEtag(self);
    answer = PyObject_CallMethodNoArgs((PyObject *)self, st->str_check_etag_header);
    if (answer == NULL)
        return -1;
    is = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return is;
}

static int
finish_without_body(FlRequestHandler *self)
{
    static const uint8_t gone[] = {FL_H_CONTENT_ENCODING, FL_H_CONTENT_LANGUAGE,
                                   FL_H_CONTENT_TYPE};

    Py_ssize_t size = FlHandler_BodySize(self);

    if (size > 0)
        PyErr_Format(PyExc_RuntimeError, "Cannot send body with status code HTTP%d",
                     self->status);
    if (size != 0)
        return -1;
    if (!ORIGINAL(self, _clear_representation_headers) ||
        !ORIGINAL(self, clear_header) || !FlHandler_HasMap(self))
        return FlHandler_Call(self, self->st->str__clear_representation_headers);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(gone); i++)
        FlHTTPHeaders_Remove(FlHandler_Map(self), fl_header_name(gone[i]));
    return 0;
}

static bool
has_header(FlRequestHandler *self, uint8_t id)
{
    if (self->plain != FL_PLAIN_NOT)
        return id == FL_H_ETAG ? self->plain_etag : self->plain_length >= 0;
    return FlHTTPHeaders_FindId(FlHandler_Map(self), id) >= 0;
}

/* Whether C may work on the headers: they are a map of ours, or none yet. */
static bool
our_headers(FlRequestHandler *self)
{
    return self->plain != FL_PLAIN_NOT || FlHandler_HasMap(self);
}

/* 0 or -1. escapes */
static int
set_length_by_name(FlRequestHandler *self, Py_ssize_t size)
{
    FlState *st = self->st;
    PyObject *length = PyLong_FromSsize_t(size), *done = NULL;

    if (length != NULL)
        done = PyObject_CallMethodObjArgs(
            (PyObject *)self, st->str_set_header,
            FlHTTPHeaders_KnownName(st, FL_H_CONTENT_LENGTH), length, NULL);
    Py_XDECREF(length);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* What only a whole answer can know: ETag, 304, Content-Length. */
static int
complete_head(FlRequestHandler *self)
{
    PyObject *length;
    Py_ssize_t size;
    int kind, is, err;

    if (!our_headers(self) || !ORIGINAL(self, _should_not_send_content))
        return FlHandler_Call(self, self->st->str__complete_head_by_name);
    if (self->status == 200) {
        kind = safe_method(self);
        if (kind < 0)
            return -1;
        if (kind > 0 && !has_header(self, FL_H_ETAG)) {
            is = not_modified(self);
            if (is < 0)
                return -1;
            if (is) {
                PyObject *done;

                Py_CLEAR(self->buffer);
                Py_CLEAR(self->chunk);
                done = PyObject_CallMethod((PyObject *)self, "set_status", "i", 304);
                if (done == NULL)
                    return -1;
                Py_DECREF(done);
            }
        }
    }
    if (!our_headers(self))
        return 0;
    if (self->status == 204 || self->status == 304 ||
        (self->status >= 100 && self->status < 200))
        return finish_without_body(self);
    if (has_header(self, FL_H_CONTENT_LENGTH))
        return 0;
    size = FlHandler_BodySize(self);
    if (size < 0)
        return -1;
    if (!ORIGINAL(self, set_header) || !ORIGINAL(self, _convert_header_value))
        return set_length_by_name(self, size);
    if (self->plain != FL_PLAIN_NOT) {
        self->plain_length = size;
        return 0;
    }
    if (!FlHandler_HasMap(self)) /* replaced by an odd chunk's len() */
        return FlHandler_Call(self, self->st->str__complete_head_by_name);
    {
        char digits[FL_FMT_U64_MAX];

        length = PyUnicode_FromStringAndSize(
            digits, (Py_ssize_t)fl_fmt_u64(digits, (uint64_t)size));
    }
    err = length == NULL
              ? -1
              : FlHTTPHeaders_SetId(FlHandler_Map(self), FL_H_CONTENT_LENGTH, length);
    Py_XDECREF(length);
    return err;
}

/* The connection when nothing stands between it and the handler; borrowed, or NULL. */
static FlHTTP1Connection *
plain_connection(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = FlHandler_Request(self);
    FlState *st = self->st;
    FlHTTP1Connection *conn;

    if (!our_headers(self) || self->reason == NULL || request == NULL ||
        request->connection == NULL ||
        !Py_IS_TYPE(request->connection, st->HTTP1Connection_type))
        return NULL;
    if (self->transforms != NULL && self->transforms != Py_None &&
        (!PyList_CheckExact(self->transforms) || PyList_GET_SIZE(self->transforms) > 0))
        return NULL;
    if (!ORIGINAL(self, flush) || !ORIGINAL(self, _send_head) ||
        !FlHandler_ChunksAreBytes(self))
        return NULL;
    conn = (FlHTTP1Connection *)request->connection;
    if (conn->dict != NULL && PyDict_GET_SIZE(conn->dict) > 0)
        return NULL;
    return FlWeb_ConnectionOriginal(st) ? conn : NULL;
}

/* The same while the answer can go to it as one block. */
static FlHTTP1Connection *
direct_connection(FlRequestHandler *self)
{
    return self->headers_written ? NULL : plain_connection(self);
}

/* The same where everything was sent and nothing but the end is left to be told. */
static FlHTTP1Connection *
ending_connection(FlRequestHandler *self)
{
    FlHTTP1Connection *conn = self->headers_written ? plain_connection(self) : NULL;

    return conn != NULL && FlHandler_BodySize(self) == 0 && conn->channel != NULL &&
                   FlChannel_Queued(conn->channel) == 0
               ? conn
               : NULL;
}

static int
end_direct(FlHTTP1Connection *conn)
{
    int err;

    Py_INCREF(conn);
    Py_CLEAR(conn->close_callback);
    err = FlHTTP1_Finish(conn);
    Py_DECREF(conn);
    return err;
}

/* _send_file(file, offset, size): head and file to the connection, a future; None where
 * anything stands between that wants to see the body. escapes */
PyObject *
FlHandler_send_file(PyObject *op, PyObject *args)
{
    FlRequestHandler *self = FlHandler_Cast(op);
    FlHTTP1Connection *conn = direct_connection(self);
    PyObject *file, *future;
    long long offset, n;

    if (!PyArg_ParseTuple(args, "O!LL:_send_file", self->st->OpenFile_type, &file,
                          &offset, &n))
        return NULL;
    if (conn == NULL || !FlHandler_HasMap(self) || !ORIGINAL(self, write) ||
        !ORIGINAL(self, _write_cookies) || FlHandler_BodySize(self) != 0 ||
        conn->head_request ||
        (self->dict != NULL &&
         PyDict_Contains(self->dict, self->st->str__new_cookie) != 0)) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    Py_INCREF(conn);
    future = FlHTTP1_SendFile(conn, self->status, self->reason, FlHandler_Map(self),
                              file, offset, n);
    self->headers_written = conn->headers_written;
    Py_DECREF(conn);
    return future;
}

static int
send_direct(FlRequestHandler *self, FlHTTP1Connection *conn)
{
    PyObject *const *chunks;
    PyObject *chunk, *buffer, *callback;
    FlHTTP1Head head = {.status = self->status, .reason = self->reason};
    Py_ssize_t count;
    int err;

    if (self->plain != FL_PLAIN_NOT && self->plain_length >= 0) {
        if (FlHandler_PlainValues(self->st) < 0)
            return -1;
        head.lines = FlHandler_PlainLines(self);
        head.etag = fl_span_make(self->etag, self->plain_etag ? FL_ETAG_SIZE : 0);
        head.length = self->plain_length;
        head.beside = (FlHTTPHeaders *)self->headers;
    } else if (FlHandler_HasMap(self)) {
        head.headers = FlHandler_Map(self);
    } else {
        PyErr_NoMemory();
        return -1;
    }
    callback = conn->close_callback; /* nobody is to hear of the end any more */
    conn->close_callback = NULL;
    chunk = Py_XNewRef(self->chunk);
    buffer = Py_XNewRef(self->buffer);
    chunks = FlHandler_Chunks(self, &count);
    if (conn->head_request)
        count = 0;
    Py_INCREF(conn);
    err = FlHTTP1_Respond(conn, &head, chunks, count);
    self->headers_written = err == 0 || conn->headers_written;
    Py_DECREF(conn);
    Py_XDECREF(callback);
    if (err == 0) {
        Py_CLEAR(self->chunk);
        Py_CLEAR(self->buffer);
    }
    Py_XDECREF(chunk);
    Py_XDECREF(buffer);
    return err;
}

static int
send_general(FlRequestHandler *self, PyObject **future)
{
    FlState *st = self->st;
    PyObject *connection = FlHandler_RequestAttribute(self, "connection");
    PyObject *done, *flush, *keywords;

    if (connection == Py_None) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "this request has no connection: a handler needs a request that "
            "came from a server, or one that was given connection=");
        Py_DECREF(connection);
        return -1;
    }
    if (connection == NULL)
        return -1;
    done = PyObject_CallMethodOneArg(connection, st->str_set_close_callback, Py_None);
    flush = done == NULL ? NULL : PyObject_GetAttr((PyObject *)self, st->str_flush);
    Py_XDECREF(done);
    keywords =
        flush == NULL ? NULL : Py_BuildValue("{s:O}", "include_footers", Py_True);
    *future = keywords == NULL ? NULL : PyObject_Call(flush, st->empty_tuple, keywords);
    Py_XDECREF(flush);
    Py_XDECREF(keywords);
    done =
        *future == NULL ? NULL : PyObject_CallMethodNoArgs(connection, st->str_finish);
    Py_DECREF(connection);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* `_write_cookies`, where it has something to do. 0, or -1. escapes */
static int
write_cookies(FlRequestHandler *self)
{
    int due = !ORIGINAL(self, _write_cookies);

    if (!due && FlHooks_MayHave(self->st, self->dict, &self->clean, FL_NAME_COOKIE))
        due = PyDict_Contains(self->dict, self->st->str__new_cookie);
    return due > 0 ? FlHandler_Call(self, self->st->str__write_cookies) : due;
}

/* The request's connection, borrowed; NULL where it is none of ours. */
static FlHTTP1Connection *
own_connection(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = FlHandler_Request(self);

    return request == NULL || request->connection == NULL ||
                   !Py_IS_TYPE(request->connection, self->st->HTTP1Connection_type)
               ? NULL
               : (FlHTTP1Connection *)request->connection;
}

/* The connection owned the handler until now. */
static void
let_go(FlRequestHandler *self)
{
    FlHTTP1Connection *conn = own_connection(self);

    if (conn != NULL && conn->handler == (PyObject *)self)
        Py_CLEAR(conn->handler);
}

/* The handler's `ui` points back at it: none from now on. 0 or -1. escapes */
static int
break_cycles(FlRequestHandler *self)
{
    if (!ORIGINAL(self, _break_cycles) || !ORIGINAL(self, ui))
        return FlHandler_Call(self, self->st->str__break_cycles);
    return FlHooks_MayHave(self->st, self->dict, &self->clean, FL_NAME_UI)
               ? PyDict_SetItem(self->dict, self->st->str__ui, Py_None)
               : 0;
}

/* *future: what finish() gives; NULL where it was sent directly. */
static int
finish_request(FlRequestHandler *self, PyObject *chunk, PyObject **future)
{
    FlState *st = self->st;
    FlHTTP1Connection *conn;

    *future = NULL;
    if (self->finished) {
        PyErr_SetString(PyExc_RuntimeError, "finish() called twice");
        return -1;
    }
    if (self->reason ==
        NULL) { /* before ETag and Content-Length say what is not sent */
        PyErr_SetString(PyExc_AttributeError,
                        "_reason: finish() is for what comes after clear(), which "
                        "calls set_default_headers()");
        return -1;
    }
    if (chunk != NULL && chunk != Py_None) {
        if (ORIGINAL(self, write)) {
            if (FlHandler_Write(self, chunk) < 0)
                return -1;
        } else {
            PyObject *done =
                PyObject_CallMethodOneArg((PyObject *)self, st->str_write, chunk);

            if (done == NULL)
                return -1;
            Py_DECREF(done);
        }
    }
    if (!self->headers_written) {
        int err = ORIGINAL(self, _complete_head)
                      ? complete_head(self)
                      : FlHandler_Call(self, st->str__complete_head);

        if (err < 0)
            return -1;
        conn = own_connection(self);
        if (conn != NULL)
            FlHTTP1_Ending(conn);
    }
    conn = direct_connection(self);
    if (conn != NULL) {
        if (write_cookies(self) < 0)
            return -1;
        conn = direct_connection(self); /* that may have run anything */
        if (conn == NULL && self->dict != NULL &&
            PyDict_Contains(self->dict, self->st->str__new_cookie) > 0 &&
            PyDict_DelItem(self->dict, self->st->str__new_cookie) < 0)
            return -1; /* their headers are there: flush must not add them again */
    }
    if (conn != NULL) {
        if (send_direct(self, conn) < 0)
            return -1;
    } else if ((conn = ending_connection(self)) != NULL) {
        if (end_direct(conn) < 0)
            return -1;
    } else if (send_general(self, future) < 0) {
        return -1;
    }
    if (FlHandler_LogFinished(self) < 0)
        return -1;
    self->finished = true;
    if (!ORIGINAL(self, on_finish) &&
        FlHandler_CallHook(self, FL_FUNCTION_ON_FINISH, st->str_on_finish) < 0)
        return -1;
    if (self->dict != NULL && PyDict_GET_SIZE(self->dict) > 0 && break_cycles(self) < 0)
        return -1;
    let_go(self);
    return 0;
}

int
FlRequestHandler_Finish(FlRequestHandler *self, PyObject *chunk)
{
    PyObject *future;
    int err = finish_request(self, chunk, &future);

    Py_XDECREF(future);
    return err;
}

PyObject *
FlHandler_finish(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    FlRequestHandler *self = FlHandler_Cast(op);
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *future;

    if (nargs + named > 1 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0),
                                                        "chunk") != 0)) {
        PyErr_SetString(PyExc_TypeError, "finish() takes one chunk at most");
        return NULL;
    }
    if (finish_request(self, nargs + named > 0 ? args[0] : NULL, &future) < 0) {
        Py_XDECREF(future);
        return NULL;
    }
    return future != NULL ? future : FlFuture_NewDone(self->st, Py_None);
}

PyObject *
FlHandler_complete_head(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (complete_head(FlHandler_Cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}
