/* ws_handler.c -- the C base of pyfastloop.websocket.WebSocketHandler: what it keeps
 * beside a RequestHandler, and write_message.
 *
 * The fields stand here and not in the instance's dict, so that an idle connection needs
 * no dict; _slim drops what only HTTP needed.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "http/ws_link.h"
#include "proto/tokens.h"
#include "web/handler_parts.h"

typedef struct {
    FlRequestHandler base;
    /* All owned, NULL reads as None. */
    PyObject *ws_connection;
    PyObject *close_code, *close_reason;
    PyObject *open_args, *open_kwargs;
    PyObject *topics;
    bool on_close_called;
    bool upgraded;
} FlWebSocketHandler;

static FlWebSocketHandler *
ws_cast(PyObject *op)
{
    return (FlWebSocketHandler *)op;
}

static int
ws_handler_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlWebSocketHandler *self = ws_cast(op);
    traverseproc base;

    if (self->base.st == NULL)
        return 0; /* not made yet */
    base = (traverseproc)PyType_GetSlot(self->base.st->RequestHandler_type,
                                        Py_tp_traverse);

    Py_VISIT(self->ws_connection);
    Py_VISIT(self->close_code);
    Py_VISIT(self->close_reason);
    Py_VISIT(self->open_args);
    Py_VISIT(self->open_kwargs);
    Py_VISIT(self->topics);
    return base(op, visit, arg);
}

static void
ws_handler_forget(FlWebSocketHandler *self)
{
    Py_CLEAR(self->ws_connection);
    Py_CLEAR(self->close_code);
    Py_CLEAR(self->close_reason);
    Py_CLEAR(self->open_args);
    Py_CLEAR(self->open_kwargs);
    Py_CLEAR(self->topics);
}

static int
ws_handler_clear(PyObject *op)
{
    FlWebSocketHandler *self = ws_cast(op);
    inquiry base =
        (inquiry)PyType_GetSlot(self->base.st->RequestHandler_type, Py_tp_clear);

    ws_handler_forget(self);
    return base(op);
}

static void
ws_handler_dealloc(PyObject *op)
{
    FlWebSocketHandler *self = ws_cast(op);
    PyTypeObject *type = Py_TYPE(op);
    destructor base;

    PyObject_GC_UnTrack(op);
    ws_handler_forget(self);
    if (self->base.st == NULL) {
        type->tp_free(op); /* could not be made */
        Py_DECREF(type);
        return;
    }
    base =
        (destructor)PyType_GetSlot(self->base.st->RequestHandler_type, Py_tp_dealloc);
    base(op);
}

/* write_message(message, binary=False) of the connection, where there is one that is
 * open. */
static PyObject *
ws_handler_write(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    FlWebSocketHandler *self = ws_cast(op);
    FlState *st = self->base.st;
    PyObject *connection = self->ws_connection, *result, *stack[4];
    Py_ssize_t given = names == NULL ? 0 : PyTuple_GET_SIZE(names);

    if (connection == NULL || connection == Py_None)
        return FlWebSocket_RaiseClosed(st);
    if (nargs + given > 3) {
        PyErr_SetString(PyExc_TypeError,
                        "write_message() takes a message and, optionally, binary");
        return NULL;
    }
    Py_INCREF(connection);
    if (PyObject_TypeCheck(connection, st->WebSocketLink_type)) {
        if (FlWebSocket_Closing(FlWebSocket_Cast(connection))) {
            Py_DECREF(connection);
            return FlWebSocket_RaiseClosed(st);
        }
    } else {
        PyObject *closing = PyObject_CallMethod(connection, "is_closing", NULL);
        int closed = closing == NULL ? -1 : PyObject_IsTrue(closing);

        Py_XDECREF(closing);
        if (closed != 0) {
            Py_DECREF(connection);
            return closed < 0 ? NULL : FlWebSocket_RaiseClosed(st);
        }
    }
    stack[0] = connection;
    for (Py_ssize_t i = 0; i < nargs + given; i++)
        stack[i + 1] = args[i];
    result = PyObject_VectorcallMethod(st->str_write_message, stack, (size_t)nargs + 1,
                                       names);
    Py_DECREF(connection);
    return result;
}

/* A field of the request by name: str, or None. The header map is only made where a
 * field stands there twice, or was made anyway: a connection that is idle needs none. */
static PyObject *
ws_handler_field(PyObject *op, PyObject *name)
{
    FlRequestHandler *self = &ws_cast(op)->base;
    FlHTTPServerRequest *request;
    const fl_field *found = NULL;
    PyObject *headers, *value;
    Py_ssize_t n;
    const char *p = PyUnicode_AsUTF8AndSize(name, &n);
    unsigned id, times = 0;

    if (p == NULL)
        return NULL;
    id = fl_header_lookup(fl_span_make(p, (size_t)n));
    request = FlHandler_Request(self);
    if (id != FL_H_OTHER && request != NULL && request->headers == NULL &&
        request->block != NULL) {
        const fl_head *head = &request->block->head;

        for (uint32_t i = 0; i < head->nfields; i++) {
            if (head->fields[i].id == id) {
                found = &head->fields[i];
                times++;
            }
        }
        if (times == 0)
            Py_RETURN_NONE;
        if (times == 1) {
            fl_span span = FlHeadBlock_Span(request->block, found->value);

            return PyUnicode_DecodeLatin1(span.p, (Py_ssize_t)span.n, NULL);
        }
    }
    headers = FlHandler_RequestAttribute(self, "headers");
    value = headers == NULL ? NULL : PyObject_CallMethod(headers, "get", "O", name);
    Py_XDECREF(headers);
    return value;
}

/* The handshake is over: the head of the answer, and empty arguments, are not asked for
 * any more. They read as empty, and are made when somebody does ask. */
static PyObject *
ws_handler_slim(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlRequestHandler *self = &ws_cast(op)->base;

    ws_cast(op)->upgraded = true;
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->chunk);
    if (self->path_kwargs != NULL && PyDict_CheckExact(self->path_kwargs) &&
        PyDict_GET_SIZE(self->path_kwargs) == 0)
        Py_CLEAR(self->path_kwargs);
    if (self->path_args != NULL && PyList_CheckExact(self->path_args) &&
        PyList_GET_SIZE(self->path_args) == 0)
        Py_CLEAR(self->path_args);
    self->plain = FL_PLAIN_NOT;
    Py_CLEAR(self->headers);
    if (self->dict != NULL && PyDict_GET_SIZE(self->dict) == 0 &&
        Py_REFCNT(self->dict) == 1)
        Py_CLEAR(self->dict);
    Py_RETURN_NONE;
}

static PyObject *
get_headers(PyObject *op, void *Py_UNUSED(closure))
{
    FlRequestHandler *self = &ws_cast(op)->base;

    if (self->headers == NULL && self->plain == FL_PLAIN_NOT && ws_cast(op)->upgraded)
        self->headers = FlHTTPHeaders_New(self->st);
    return Py_XNewRef(FlRequestHandler_Headers(self));
}

static int
set_headers(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    ws_cast(op)->base.plain = FL_PLAIN_NOT;
    Py_XSETREF(ws_cast(op)->base.headers, Py_XNewRef(value));
    return 0;
}

static PyObject *
get_open_args(PyObject *op, void *Py_UNUSED(closure))
{
    FlWebSocketHandler *self = ws_cast(op);

    return self->open_args != NULL ? Py_NewRef(self->open_args) : PyTuple_New(0);
}

static int
set_open_args(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(ws_cast(op)->open_args, Py_XNewRef(value));
    return 0;
}

static PyObject *
get_open_kwargs(PyObject *op, void *Py_UNUSED(closure))
{
    FlWebSocketHandler *self = ws_cast(op);

    return self->open_kwargs != NULL ? Py_NewRef(self->open_kwargs) : PyDict_New();
}

static int
set_open_kwargs(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(ws_cast(op)->open_kwargs, Py_XNewRef(value));
    return 0;
}

static PyMethodDef ws_handler_methods[] = {
    {"write_message", (PyCFunction)(void (*)(void))ws_handler_write,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "write_message($self, /, message, binary=False)\n--\n\n"
         "Send message: str, dict (as JSON), or bytes and other buffers.\n\n"
         "A buffer is sent as text, and must then be UTF-8, unless binary. The future\n"
         "is done once the socket has taken it; waiting for it is what keeps a "
         "program\n"
         "from filling the memory for a peer that reads slowly. Raises\n"
         "WebSocketClosedError when the connection is closed or closing.")},
    {"_field", ws_handler_field, METH_O, NULL},
    {"_slim", ws_handler_slim, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, type, field) \
    {name, type, offsetof(FlWebSocketHandler, field), 0, NULL}

static PyMemberDef ws_handler_members[] = {
    FIELD("ws_connection", T_OBJECT, ws_connection),
    FIELD("close_code", T_OBJECT, close_code),
    FIELD("close_reason", T_OBJECT, close_reason),
    FIELD("_topics", T_OBJECT, topics),
    FIELD("_on_close_called", T_BOOL, on_close_called),
    FIELD("_upgraded", T_BOOL, upgraded),
    {NULL, 0, 0, 0, NULL},
};
#undef FIELD

static PyGetSetDef ws_handler_getset[] = {
    {"_headers", get_headers, set_headers, NULL, NULL},
    {"open_args", get_open_args, set_open_args, NULL, NULL},
    {"open_kwargs", get_open_kwargs, set_open_kwargs, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot ws_handler_slots[] = {
    {Py_tp_doc, "The C base of pyfastloop.websocket.WebSocketHandler."},
    {Py_tp_dealloc, ws_handler_dealloc},
    {Py_tp_traverse, ws_handler_traverse},
    {Py_tp_clear, ws_handler_clear},
    {Py_tp_methods, ws_handler_methods},
    {Py_tp_members, ws_handler_members},
    {Py_tp_getset, ws_handler_getset},
    {0, NULL},
};

static PyType_Spec ws_handler_spec = {
    .name = "pyfastloop._core.WebSocketHandlerBase",
    .basicsize = sizeof(FlWebSocketHandler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = ws_handler_slots,
};

int
FlWebSocketHandler_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->WebSocketHandler_type, &ws_handler_spec,
                           (PyObject *)st->RequestHandler_type, false);
}
