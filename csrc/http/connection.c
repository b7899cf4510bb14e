/* connection.c -- http1connection.HTTP1Connection: one exchange as Python sees it.
 *
 * A server's exchanges are made and let go by their server connection; a client (or a
 * program that serves one request by hand) makes one itself and calls read_response.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/connection.h"

#include <math.h>
#include <string.h>

#include "core/args.h"
#include "core/freelist.h"
#include "core/future.h"
#include "core/stack.h"
#include "core/task.h"
#include "net/iostream.h"

#define KEPT_EXCHANGES 64 /* dead exchanges at most, for the next requests */

static FlHTTP1Connection *
conn_cast(PyObject *self)
{
    return (FlHTTP1Connection *)self;
}

/* ---- helpers of the layer ---- */

int
FlHTTP_Await(FlState *st, FlLoop *loop, PyObject *returned, fl_run_fn run,
             PyObject *owner, PyObject **future)
{
    PyObject *waited, *result;

    if (returned == Py_None)
        return 1;
    if (FlFuture_CheckExact(st, returned)) {
        waited = Py_NewRef(returned);
    } else {
        waited = FlTask_NewBare(st, loop, NULL);
        if (waited != NULL && FlTask_Adopt(waited, returned) < 0)
            Py_CLEAR(waited);
    }
    if (waited == NULL)
        return -1;
    if (FlFuture_Done(waited)) {
        result = FlFuture_Result(waited);
        Py_DECREF(waited);
        Py_XDECREF(result);
        return result == NULL ? -1 : 1;
    }
    if (FlFuture_AddWaiter(waited, run, owner) < 0) {
        Py_DECREF(waited);
        return -1;
    }
    *future = waited;
    return 0;
}

void
FlHTTP_LogUncaught(FlLoop *loop)
{
    FlLoop_LogException(loop, "Uncaught exception", NULL);
    if (PyErr_Occurred()) /* a fatal one that nobody above can take: told, not lost */
        PyErr_WriteUnraisable(NULL);
}

void
FlHTTP_LogMalformed(FlState *st, PyObject *context, const char *why)
{
    PyObject *done = PyObject_CallMethod(st->gen_log, "info", "sOs",
                                         "Malformed HTTP message from %s: %s",
                                         context == NULL ? Py_None : context, why);

    if (done == NULL)
        PyErr_WriteUnraisable(st->gen_log);
    Py_XDECREF(done);
}

bool
FlHTTP_IsInputError(FlState *st)
{
    PyObject *error = PyErr_GetRaisedException();
    PyObject *type =
        FlState_Lazy(st, &st->InputErrorBase, "pyfastloop.httputil", "HTTPInputError");
    bool is = type != NULL && PyErr_GivenExceptionMatches(error, type);

    PyErr_Clear();
    PyErr_SetRaisedException(error);
    return is;
}

/* ---- life ---- */

static void
conn_defaults(FlHTTP1Connection *conn)
{
    conn->max_body = -1;
    conn->body_timeout = NAN;
    conn->expected = -1;
}

FlHTTP1Connection *
FlHTTP1Connection_ForServer(FlHTTP1ServerConnection *server)
{
    FlState *st = server->st;
    PyTypeObject *type = st->HTTP1Connection_type;
    FlHTTP1Connection *conn =
        (FlHTTP1Connection *)FlFreelist_Take(&st->free_exchanges, type);

    if (conn == NULL)
        conn = PyObject_GC_New(FlHTTP1Connection, type);
    if (conn == NULL)
        return NULL;
    memset((char *)conn + offsetof(FlHTTP1Connection, st), 0,
           sizeof(FlHTTP1Connection) - offsetof(FlHTTP1Connection, st));
    conn->st = st;
    conn->loop = (FlLoop *)Py_NewRef(server->loop);
    conn->stream = Py_NewRef(server->stream);
    conn->channel = server->channel;
    conn->server = server;
    conn->params = (FlHTTP1Parameters *)Py_NewRef(server->params);
    conn->context = Py_XNewRef(server->context);
    conn_defaults(conn);
    PyObject_GC_Track(conn);
    return conn;
}

static void
free_chunks(FlHTTP1Connection *conn)
{
    FlHTTP1Chunks *chunks = conn->chunks;

    conn->chunks = NULL;
    fl_buf_free(&chunks->joined);
    fl_buf_free(&chunks->trailers);
    fl_buf_free(&chunks->extensions);
    PyMem_Free(chunks);
}

/* Drops what belongs to one exchange. */
static void
drop_exchange(FlHTTP1Connection *conn)
{
    Py_CLEAR(conn->delegate);
    Py_CLEAR(conn->close_callback);
    Py_CLEAR(conn->handler);
    Py_CLEAR(conn->request);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(conn->match); i++)
        Py_CLEAR(conn->match[i]);
    Py_CLEAR(conn->waiting);
    Py_CLEAR(conn->body);
    Py_CLEAR(conn->dict);
    FlHeadBlock_Release(conn->block);
    conn->block = NULL;
    if (conn->chunks != NULL)
        free_chunks(conn);
}

void
FlHTTP1Connection_Cut(FlHTTP1Connection *conn)
{
    PyObject *stream = conn->stream;

    conn->phase = FL_HTTP1_DEAD;
    conn->server = NULL;
    conn->channel = NULL;
    conn->stream = NULL;
    drop_exchange(conn);
    Py_XDECREF(stream);
}

static PyObject *
conn_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlHTTP1Connection *conn = (FlHTTP1Connection *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (conn == NULL)
        return NULL;
    conn->phase = FL_HTTP1_DEAD;
    conn_defaults(conn);
    conn->st = FlState_OfType(type);
    if (conn->st == NULL)
        Py_CLEAR(conn);
    return (PyObject *)conn;
}

static int
conn_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream", "is_client", "params", "context", NULL};
    FlHTTP1Connection *conn = conn_cast(op);
    PyObject *stream, *params = Py_None, *context = Py_None;
    FlChannel *channel;
    int is_client;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Op|OO:HTTP1Connection", names,
                                     &stream, &is_client, &params, &context))
        return -1;
    if (conn->stream != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the connection has a stream already");
        return -1;
    }
    channel = FlHTTP1Parameters_Seat(conn->st, stream, params, &conn->params);
    if (channel == NULL)
        return -1;
    conn->stream = Py_NewRef(stream);
    conn->channel = channel;
    conn->loop = (FlLoop *)Py_NewRef(channel->loop);
    conn->is_client = is_client;
    conn->no_keep_alive = conn->params->no_keep_alive;
    conn->context = context == Py_None ? NULL : Py_NewRef(context);
    conn->phase = FL_HTTP1_IDLE;
    return 0;
}

static int
conn_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHTTP1Connection *conn = conn_cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(conn->loop);
    Py_VISIT(conn->stream);
    Py_VISIT(conn->params);
    Py_VISIT(conn->context);
    Py_VISIT(conn->delegate);
    Py_VISIT(conn->reading);
    Py_VISIT(conn->close_callback);
    Py_VISIT(conn->handler);
    Py_VISIT(conn->request);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(conn->match); i++)
        Py_VISIT(conn->match[i]);
    Py_VISIT(conn->waiting);
    Py_VISIT(conn->dict);
    return 0;
}

/* Leaves the stream of a client that reads. */
static void
conn_unborrow(FlHTTP1Connection *conn)
{
    if (!conn->borrowed_stream)
        return;
    conn->borrowed_stream = false;
    if (conn->channel != NULL && FlChannel_SetConsumer(conn->channel, NULL, NULL) < 0)
        PyErr_Clear();
}

static int
conn_clear(PyObject *op)
{
    FlHTTP1Connection *conn = conn_cast(op);

    conn_unborrow(conn);
    FlHTTP1Connection_Cut(conn);
    Py_CLEAR(conn->context);
    Py_CLEAR(conn->reading);
    Py_CLEAR(conn->params);
    return 0;
}

static void
conn_dealloc(PyObject *op)
{
    FlHTTP1Connection *conn = conn_cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (conn->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    conn_clear(op);
    Py_CLEAR(conn->loop);
    if (type != conn->st->HTTP1Connection_type ||
        !FlFreelist_Put(&conn->st->free_exchanges, op, KEPT_EXCHANGES)) {
        type->tp_free(op);
        Py_DECREF(type);
    }
}

/* ---- a client's stream ---- */

static Py_ssize_t
client_data(FlChannel *ch, const char *p, size_t n)
{
    FlHTTP1Connection *conn = ch->self;
    Py_ssize_t used;

    Py_INCREF(conn);
    conn->in_data = true;
    conn->base = 0;
    used = FlHTTP1_Feed(conn, p, n);
    conn->in_data = false;
    Py_DECREF(conn);
    return used;
}

static int
client_eof(FlChannel *ch)
{
    FlHTTP1Connection *conn = ch->self;
    int err;

    Py_INCREF(conn);
    err = FlHTTP1_Ended(conn);
    Py_DECREF(conn);
    return err;
}

static void
client_closed(FlChannel *ch, PyObject *exc)
{
    FlHTTP1Connection *conn = ch->self;

    Py_INCREF(conn);
    if (conn->phase == FL_HTTP1_UNTIL_CLOSE && exc == NULL && conn->waiting_data) {
        /* ended by plan while user code was busy: settled there */
        Py_DECREF(conn);
        return;
    }
    FlHTTP1_Lost(conn, exc);
    Py_DECREF(conn);
}

static const FlChannelOps client_ops = {
    .data = client_data,
    .eof = client_eof,
    .closed = client_closed,
};

static PyObject *
conn_read_response(PyObject *op, PyObject *delegate)
{
    FlHTTP1Connection *conn = conn_cast(op);
    FlState *st = conn->st;
    PyObject *future;

    if (conn->server != NULL || conn->reading != NULL || conn->borrowed_stream)
        return PyErr_Format(PyExc_RuntimeError, "the connection is being read already");
    future = FlFuture_New(st, conn->loop);
    if (future == NULL)
        return NULL;
    if (conn->stream == NULL || FlChannel_Closed(conn->channel) ||
        conn->phase == FL_HTTP1_DEAD) {
        if (FlFuture_SetResult(future, Py_False) < 0)
            Py_CLEAR(future);
        return future;
    }
    Py_XSETREF(conn->delegate, Py_NewRef(delegate));
    if (conn->params->decompress) {
        PyObject *type =
            FlState_Lazy(st, &st->GzipMessageDelegate, "pyfastloop.http1connection",
                         "_GzipMessageDelegate");
        PyObject *wrapped =
            type == NULL ? NULL
                         : PyObject_CallFunction(
                               type, "OOL", delegate, (PyObject *)conn->params,
                               conn->params->max_body_size >= 0
                                   ? (long long)conn->params->max_body_size
                                   : (long long)FlIOStream_MaxBuffer(conn->stream));
        if (wrapped == NULL) {
            Py_DECREF(future);
            return NULL;
        }
        Py_SETREF(conn->delegate, wrapped);
    }
    if (FlIOStream_Borrow(conn->stream, &client_ops, conn) < 0) {
        Py_DECREF(future);
        return NULL;
    }
    conn->borrowed_stream = true;
    conn->reading = Py_NewRef(future);
    Py_INCREF(conn);
    if (FlChannel_WantRead(conn->channel, true) < 0 ||
        FlChannel_Resume(conn->channel) < 0)
        Py_CLEAR(future);
    Py_DECREF(conn);
    return future;
}

/* ---- methods ---- */

static PyObject *
conn_write_headers(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"start_line", "headers", "chunk", NULL};
    FlHTTP1Connection *conn = conn_cast(op);
    PyObject *line, *headers, *chunk = Py_None, *map, *future;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O:write_headers", names, &line,
                                     &headers, &chunk))
        return NULL;
    map = FlHTTPHeaders_Check(conn->st, headers)
              ? Py_NewRef(headers)
              : PyObject_CallOneArg((PyObject *)conn->st->HTTPHeaders_type, headers);
    if (map == NULL)
        return NULL;
    future = FlHTTP1_WriteHeaders(conn, line, (FlHTTPHeaders *)map, chunk);
    Py_DECREF(map);
    return future;
}

static PyObject *
conn_write(PyObject *op, PyObject *chunk)
{
    return FlHTTP1_Write(conn_cast(op), chunk);
}

static PyObject *
conn_finish(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (FlHTTP1_Finish(conn_cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
conn_close(PyObject *op, PyObject *unused)
{
    FlHTTP1Connection *conn = conn_cast(op);

    (void)unused;
    Py_CLEAR(conn->close_callback);
    if (conn->channel != NULL && !FlChannel_Closed(conn->channel))
        FlChannel_Close(conn->channel, NULL);
    Py_RETURN_NONE;
}

/* The stream goes to the caller, bytes that came behind this message included. */
static PyObject *
conn_detach(PyObject *op, PyObject *unused)
{
    FlHTTP1Connection *conn = conn_cast(op);
    FlHTTP1ServerConnection *server = conn->server;
    PyObject *stream = conn->stream;

    (void)unused;
    if (stream == NULL)
        return PyErr_Format(PyExc_RuntimeError,
                            "the connection has no stream any more");
    conn->stream = NULL;
    conn->channel = NULL;
    conn->server = NULL;
    conn->phase = FL_HTTP1_DEAD;
    conn->write_finished = true;
    Py_CLEAR(conn->close_callback);
    if ((server != NULL || conn->borrowed_stream) && FlIOStream_GiveBack(stream) < 0) {
        Py_DECREF(stream);
        return NULL;
    }
    conn->borrowed_stream = false;
    if (server != NULL)
        FlHTTP1Server_Detached(server);
    return stream;
}

static PyObject *
conn_set_close_callback(PyObject *op, PyObject *callback)
{
    FlHTTP1Connection *conn = conn_cast(op);

    callback = callback == Py_None ? NULL : FlStack_Wrap(conn->st, callback);
    if (callback == NULL && PyErr_Occurred())
        return NULL;
    Py_XSETREF(conn->close_callback, callback);
    Py_RETURN_NONE;
}

static PyObject *
conn_set_body_timeout(PyObject *op, PyObject *timeout)
{
    double seconds = timeout == Py_None ? -1 : PyFloat_AsDouble(timeout);

    if (seconds == -1.0 && PyErr_Occurred())
        return NULL;
    conn_cast(op)->body_timeout = seconds;
    Py_RETURN_NONE;
}

static PyObject *
conn_set_max_body_size(PyObject *op, PyObject *size)
{
    double as_float;

    if (PyFloat_Check(size)) {
        as_float = PyFloat_AS_DOUBLE(size);
        conn_cast(op)->max_body = as_float < 0      ? -1
                                  : as_float < 9e18 ? (int64_t)as_float
                                                    : INT64_MAX;
    } else {
        long long n = PyLong_AsLongLong(size);

        if (n == -1 && PyErr_Occurred())
            return NULL;
        conn_cast(op)->max_body = n;
    }
    Py_RETURN_NONE;
}

/* The trailers of a chunked message: a header map, or None while there are none. */
static PyObject *
get_trailers(PyObject *op, void *closure)
{
    FlHTTP1Connection *conn = conn_cast(op);
    PyObject *text, *map;
    fl_span lines;

    (void)closure;
    if (conn->chunks == NULL || fl_buf_len(&conn->chunks->trailers) == 0)
        Py_RETURN_NONE;
    lines = fl_buf_span(&conn->chunks->trailers);
    text = PyUnicode_DecodeLatin1(lines.p, (Py_ssize_t)lines.n, NULL);
    if (text == NULL)
        return NULL;
    map =
        PyObject_CallMethod((PyObject *)conn->st->HTTPHeaders_type, "parse", "O", text);
    Py_DECREF(text);
    return map;
}

/* The extensions of its chunks, one text for each chunk that had some. */
static PyObject *
get_chunk_extensions(PyObject *op, void *closure)
{
    const FlHTTP1Chunks *chunks = conn_cast(op)->chunks;
    fl_span rest =
        chunks == NULL ? fl_span_make(NULL, 0) : fl_buf_span(&chunks->extensions);
    PyObject *list = PyList_New(0);

    (void)closure;
    while (list != NULL && rest.n > 0) {
        const char *end = memchr(rest.p, '\r', rest.n);
        size_t n = end == NULL ? rest.n : (size_t)(end - rest.p);
        size_t used = n + 2 < rest.n ? n + 2 : rest.n;
        PyObject *text = PyUnicode_DecodeLatin1(rest.p, (Py_ssize_t)n, NULL);

        if (text == NULL || PyList_Append(list, text) < 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
        rest = fl_span_make(rest.p + used, rest.n - used);
    }
    return list;
}

static PyObject *
get_context(PyObject *op, void *closure)
{
    FlHTTP1Connection *conn = conn_cast(op);

    (void)closure;
    if (conn->context == NULL && conn->server != NULL)
        conn->context = Py_XNewRef(FlHTTP1Server_Context(conn->server));
    return Py_NewRef(conn->context == NULL ? Py_None : conn->context);
}

static int
set_context(PyObject *op, PyObject *value, void *closure)
{
    FlHTTP1Connection *conn = conn_cast(op);

    (void)closure;
    Py_XSETREF(conn->context, Py_XNewRef(value == Py_None ? NULL : value));
    return 0;
}

static PyGetSetDef conn_getset[] = {
    {"context", get_context, set_context,
     PyDoc_STR("What the server knows of the peer: remote_ip, protocol."), NULL},
    {"chunk_extensions", get_chunk_extensions, NULL,
     PyDoc_STR("Extensions of the chunks that were read, where the parameters keep\n"
               "them (keep_chunk_extensions)."),
     NULL},
    {"trailers", get_trailers, NULL,
     PyDoc_STR("Trailer fields of a chunked message that was read, or None."), NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef conn_members[] = {
    {"stream", T_OBJECT, offsetof(FlHTTP1Connection, stream), READONLY, NULL},
    {"params", T_OBJECT, offsetof(FlHTTP1Connection, params), READONLY, NULL},
    {"is_client", T_BOOL, offsetof(FlHTTP1Connection, is_client), READONLY, NULL},
    {"no_keep_alive", T_BOOL, offsetof(FlHTTP1Connection, no_keep_alive), 0, NULL},
    {"_collects", T_BOOL, offsetof(FlHTTP1Connection, collects), 0,
     PyDoc_STR("Set by who collects the body: it has to come at the least rate.")},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlHTTP1Connection, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlHTTP1Connection, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

FL_ONE_ARGUMENT(conn_read_response, "read_response", "delegate")
FL_ONE_ARGUMENT(conn_write, "write", "chunk")
FL_ONE_ARGUMENT(conn_set_close_callback, "set_close_callback", "callback")
FL_ONE_ARGUMENT(conn_set_body_timeout, "set_body_timeout", "timeout")
FL_ONE_ARGUMENT(conn_set_max_body_size, "set_max_body_size", "max_body_size")

static PyMethodDef conn_methods[] = {
    {"read_response", FL_ONE_ARGUMENT_METHOD(conn_read_response),
     PyDoc_STR("read_response($self, delegate)\n--\n\n"
               "Read one message into a delegate; a future of whether the connection\n"
               "can take another.")},
    {"write_headers", (PyCFunction)(void (*)(void))conn_write_headers,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("write_headers($self, start_line, headers, chunk=None)\n--\n\n"
               "Write a start line, headers, maybe a first piece of body.")},
    {"write", FL_ONE_ARGUMENT_METHOD(conn_write),
     PyDoc_STR("write($self, chunk)\n--\n\n"
               "Write a piece of the body.")},
    {"finish", conn_finish, METH_NOARGS,
     PyDoc_STR("finish($self)\n--\n\n"
               "The body was written whole.")},
    {"close", conn_close, METH_NOARGS,
     PyDoc_STR("close($self)\n--\n\n"
               "Close the stream.")},
    {"detach", conn_detach, METH_NOARGS,
     PyDoc_STR("detach($self)\n--\n\n"
               "Take the stream out of the connection.")},
    {"set_close_callback", FL_ONE_ARGUMENT_METHOD(conn_set_close_callback),
     PyDoc_STR("set_close_callback($self, callback)\n--\n\n"
               "Called when the peer leaves before it got its answer.")},
    {"set_body_timeout", FL_ONE_ARGUMENT_METHOD(conn_set_body_timeout),
     PyDoc_STR("set_body_timeout($self, timeout)\n--\n\n"
               "Seconds for this body; None: no limit.")},
    {"set_max_body_size", FL_ONE_ARGUMENT_METHOD(conn_set_max_body_size),
     PyDoc_STR("set_max_body_size($self, max_body_size)\n--\n\n"
               "Bytes of this body at most.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot conn_slots[] = {
    {Py_tp_doc, "HTTP1Connection(stream, is_client, params=None, context=None)\n--\n\n"
                "One HTTP/1 exchange on a stream."},
    {Py_tp_new, conn_new},
    {Py_tp_init, conn_init},
    {Py_tp_dealloc, conn_dealloc},
    {Py_tp_traverse, conn_traverse},
    {Py_tp_clear, conn_clear},
    {Py_tp_methods, conn_methods},
    {Py_tp_members, conn_members},
    {Py_tp_getset, conn_getset},
    {0, NULL},
};

static PyType_Spec conn_spec = {
    .name = "pyfastloop.http1connection.HTTP1Connection",
    .basicsize = sizeof(FlHTTP1Connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = conn_slots,
};

int
FlHTTP1Connection_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTP1Connection_type, &conn_spec, NULL, false);
}
