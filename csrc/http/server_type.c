/* server_type.c -- HTTP1ServerConnection as Python sees it.
 *
 * Constructors, the context (made when somebody asks for it, of the peer's address), and
 * the type. `stream`, `params` and `loop` are set once, by New or __init__; stream goes
 * when the connection ends, loop and params stay until the object does.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/server_parts.h"

#include <string.h>

#include "core/args.h"
#include "core/future.h"
#include "net/iostream.h"
#include "net/listener.h"

static PyObject *
server_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlHTTP1ServerConnection *server =
        (FlHTTP1ServerConnection *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (server == NULL)
        return NULL;
    FlLoop_InitTimer(&server->timer, FlHTTP1Server_TimerFired, NULL);
    server->st = FlState_OfType(type);
    if (server->st == NULL)
        Py_CLEAR(server);
    return (PyObject *)server;
}

PyObject *
FlHTTP1Server_New(FlState *st, PyObject *stream, FlHTTP1Parameters *params,
                  const fl_address *peer)
{
    FlHTTP1ServerConnection *server =
        FlHTTP1Server_Cast(server_new(st->HTTP1ServerConnection_type, NULL, NULL));

    if (server == NULL)
        return NULL;
    server->params = (FlHTTP1Parameters *)Py_NewRef((PyObject *)params);
    server->stream = Py_NewRef(stream);
    server->channel = FlIOStream_Channel(st, stream);
    server->loop = (FlLoop *)Py_NewRef(server->channel->loop);
    if (peer->len <= sizeof(server->peer)) {
        memcpy(&server->peer, &peer->addr, peer->len);
        server->peer_size = (uint8_t)peer->len;
    }
    return (PyObject *)server;
}

static int
server_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream", "params", "context", NULL};
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);
    PyObject *stream, *params = Py_None, *context = Py_None;
    FlChannel *channel;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO:HTTP1ServerConnection", names,
                                     &stream, &params, &context))
        return -1;
    if (server->loop != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the connection was initialised before");
        return -1;
    }
    channel = FlHTTP1Parameters_Seat(server->st, stream, params, &server->params);
    if (channel == NULL)
        return -1;
    server->stream = Py_NewRef(stream);
    server->channel = channel;
    server->loop = (FlLoop *)Py_NewRef(channel->loop);
    server->context = context == Py_None ? NULL : Py_NewRef(context);
    return 0;
}

static int
server_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(server->loop);
    Py_VISIT(server->stream);
    Py_VISIT(server->params);
    Py_VISIT(server->context);
    Py_VISIT(server->delegate);
    Py_VISIT(server->conn);
    Py_VISIT(server->closing);
    Py_VISIT(server->target);
    Py_VISIT(server->dict);
    return 0;
}

static int
server_clear(PyObject *op)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);

    if (server->serving && server->channel != NULL &&
        FlChannel_SetConsumer(server->channel, NULL, NULL) < 0)
        PyErr_Clear();
    if (server->loop != NULL)
        FlLoop_Disarm(server->loop, &server->timer);
    if (server->conn != NULL)
        FlHTTP1Connection_Cut(server->conn);
    Py_CLEAR(server->conn);
    server->channel = NULL;
    Py_CLEAR(server->stream);
    Py_CLEAR(server->context);
    Py_CLEAR(server->delegate);
    Py_CLEAR(server->closing);
    Py_CLEAR(server->target);
    Py_CLEAR(server->dict);
    return 0;
}

static void
server_dealloc(PyObject *op)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (server->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    server_clear(op);
    Py_CLEAR(server->params);
    Py_CLEAR(server->loop);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- the context ---- */

PyObject *
FlHTTP1Server_Context(FlHTTP1ServerConnection *server)
{
    PyObject *pending, *type = NULL, *address = NULL, *protocol = NULL, *trusted = NULL;
    PyObject *module, *context = NULL;
    fl_address peer;

    if (server->context != NULL || server->peer_size == 0 || server->delegate == NULL)
        return server->context;
    pending = PyErr_GetRaisedException();
    memset(&peer, 0, sizeof(peer));
    memcpy(&peer.addr, &server->peer, server->peer_size);
    peer.len = server->peer_size;
    module = PyImport_ImportModule("pyfastloop.httpserver");
    if (module != NULL)
        type = PyObject_GetAttrString(module, "_HTTPRequestContext");
    if (type != NULL)
        address = FlAddress_ToPython(&peer);
    if (address != NULL)
        protocol = PyObject_GetAttr(server->delegate, server->st->str_protocol);
    if (protocol != NULL)
        trusted = PyObject_GetAttrString(server->delegate, "trusted_downstream");
    if (trusted != NULL)
        context = PyObject_CallFunctionObjArgs(
            type, server->stream == NULL ? Py_None : server->stream, address, protocol,
            trusted, NULL);
    if (context == NULL)
        FlHTTP_LogUncaught(server->loop);
    else if (server->context == NULL)
        server->context = Py_NewRef(context);
    Py_XDECREF(context);
    Py_XDECREF(trusted);
    Py_XDECREF(protocol);
    Py_XDECREF(address);
    Py_XDECREF(type);
    Py_XDECREF(module);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
    return server->context;
}

static PyObject *
get_context(PyObject *op, void *closure)
{
    PyObject *context = FlHTTP1Server_Context(FlHTTP1Server_Cast(op));

    (void)closure;
    return Py_NewRef(context == NULL ? Py_None : context);
}

static int
set_context(PyObject *op, PyObject *value, void *closure)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);

    (void)closure;
    server->peer_size = 0;
    Py_XSETREF(server->context, Py_XNewRef(value == Py_None ? NULL : value));
    return 0;
}

/* ---- methods ---- */

static PyObject *
server_start_serving(PyObject *op, PyObject *delegate)
{
    if (FlHTTP1Server_Start(FlHTTP1Server_Cast(op), delegate) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Answers a connection that shall not be served, unread. */
static PyObject *
server_refuse(PyObject *op, PyObject *args)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);
    FlChannel *channel = server->channel;
    int status, retry_after, n;
    PyObject *delegate;
    char answer[200];

    if (!PyArg_ParseTuple(args, "iiO:refuse", &status, &retry_after, &delegate))
        return NULL;
    if (server->serving || channel == NULL)
        return PyErr_Format(PyExc_RuntimeError, server->serving
                                                    ? "the connection is served already"
                                                    : "the connection has no stream");
    if (FlChannel_Closed(channel))
        Py_RETURN_NONE;
    if (FlIOStream_Borrow(server->stream, &FlHTTP1Server_Ops, server) < 0)
        return NULL;
    server->delegate = Py_NewRef(delegate);
    server->serving = true;
    Py_INCREF(server); /* its own reference, until the end */
    n = PyOS_snprintf(answer, sizeof(answer),
                      "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nRetry-After: %d\r\n"
                      "Connection: close\r\n\r\n",
                      status, FlHTTP1Server_StatusPhrase(status), retry_after);
    if (FlChannel_Write(channel, NULL, answer, (size_t)n) < 0)
        return NULL;
    FlHTTP1Server_Linger(server);
    Py_RETURN_NONE;
}

static PyObject *
server_close(PyObject *op, PyObject *unused)
{
    FlHTTP1ServerConnection *server = FlHTTP1Server_Cast(op);

    (void)unused;
    if (server->channel == NULL || !server->serving)
        return FlFuture_NewDone(server->st, Py_None);
    if (server->closing == NULL) {
        server->closing = FlFuture_New(server->st, server->loop);
        if (server->closing == NULL)
            return NULL;
    }
    {
        PyObject *future = Py_NewRef(server->closing);

        FlHTTP1Server_CloseNow(server);
        return future;
    }
}

static PyMemberDef server_members[] = {
    {"stream", T_OBJECT, offsetof(FlHTTP1ServerConnection, stream), READONLY, NULL},
    {"params", T_OBJECT, offsetof(FlHTTP1ServerConnection, params), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlHTTP1ServerConnection, dict), READONLY,
     NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlHTTP1ServerConnection, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

FL_ONE_ARGUMENT(server_start_serving, "start_serving", "delegate")

static PyMethodDef server_methods[] = {
    {"start_serving", FL_ONE_ARGUMENT_METHOD(server_start_serving),
     PyDoc_STR("start_serving($self, delegate)\n--\n\n"
               "Serve requests to a delegate until the connection ends.")},
    {"refuse", server_refuse, METH_VARARGS,
     PyDoc_STR("refuse(status, retry_after, delegate): answer before anything was\n"
               "read, and close once the peer has seen it; delegate.on_close tells.")},
    {"close", server_close, METH_NOARGS,
     PyDoc_STR("close($self)\n--\n\n"
               "Close the connection; a future of when that is done.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef server_getset[] = {
    {"context", get_context, set_context,
     PyDoc_STR("What the server knows of the peer."), NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot server_slots[] = {
    {Py_tp_doc, "HTTP1ServerConnection(stream, params=None, context=None)\n--\n\n"
                "An HTTP/1 connection of a server: exchanges, one after the other."},
    {Py_tp_new, server_new},
    {Py_tp_init, server_init},
    {Py_tp_dealloc, server_dealloc},
    {Py_tp_traverse, server_traverse},
    {Py_tp_clear, server_clear},
    {Py_tp_methods, server_methods},
    {Py_tp_members, server_members},
    {Py_tp_getset, server_getset},
    {0, NULL},
};

static PyType_Spec server_spec = {
    .name = "pyfastloop.http1connection.HTTP1ServerConnection",
    .basicsize = sizeof(FlHTTP1ServerConnection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = server_slots,
};

int
FlHTTP1ServerConnection_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTP1ServerConnection_type, &server_spec, NULL,
                           false);
}
