/* ws_type.c -- WebSocketLink, the C base of WebSocketProtocol13, as Python sees it.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/ws_link.h"

static PyObject *
ws_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlWebSocketLink *self = (FlWebSocketLink *)type->tp_alloc(type, 0);

    if (self == NULL)
        return NULL;
    self->paused = true;
    self->max_write = -1;
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* __init__ is the subclass's; what it is called with is its business. */
static int
ws_init(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return 0;
}

static int
ws_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->link.stream);
    Py_VISIT(self->handler);
    Py_VISIT(self->context);
    Py_VISIT(self->params);
    Py_VISIT(self->deflater);
    Py_VISIT(self->inflater);
    Py_VISIT(self->close_code);
    Py_VISIT(self->close_reason);
    Py_VISIT(self->dict);
    return 0;
}

static int
ws_clear(PyObject *op)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);
    PyObject *stream;

    self->state = WS_DONE;
    self->lost = true;
    Py_CLEAR(self->link.lent);
    FlLink_Forget(&self->link);
    stream = FlLink_Release(&self->link);
    Py_XDECREF(stream);
    Py_CLEAR(self->handler);
    Py_CLEAR(self->context);
    Py_CLEAR(self->params);
    Py_CLEAR(self->deflater);
    Py_CLEAR(self->inflater);
    Py_CLEAR(self->close_code);
    Py_CLEAR(self->close_reason);
    Py_CLEAR(self->dict);
    return 0;
}

static void
ws_dealloc(PyObject *op)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);
    PyTypeObject *type = Py_TYPE(op);
    PyObject *exc;

    PyObject_GC_UnTrack(op); /* making the exception may call the collector */
    exc = PyErr_GetRaisedException();
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    ws_clear(op);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    type->tp_free(op);
    Py_DECREF(type);
}

PyDoc_STRVAR(ws_attach_doc,
             "_attach($self, stream, max_message_size, max_write_buffer, /)\n--\n\n"
             "Become the reader of stream; reading begins with _resume().");

static PyObject *
ws_attach(PyObject *op, PyObject *args)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);
    PyObject *stream, *max_write, *error;
    long long most, write = -1;

    if (!PyArg_ParseTuple(args, "OLO:_attach", &stream, &most, &max_write))
        return NULL;
    if (most < 0) {
        PyErr_SetString(PyExc_ValueError, "max_message_size must not be negative");
        return NULL;
    }
    if (max_write != Py_None) {
        write = PyLong_AsLongLong(max_write);
        if (write == -1 && PyErr_Occurred())
            return NULL;
    }
    if (self->link.stream != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this connection has its stream already");
        return NULL;
    }
    error = FlState_Lazy(self->st, &self->st->WebSocketClosedError,
                         "pyfastloop.websocket.errors", "WebSocketClosedError");
    if (error == NULL ||
        FlLink_Open(&self->link, self->st, stream, &FlWebSocket_Ops, self) < 0)
        return NULL;
    FlIOStream_SetClosedError(stream, error);
    FlIOStream_Trim(stream);
    self->max_message = (uint64_t)most;
    self->max_write = write < 0 ? -1 : write;
    self->rules.want_mask = !self->mask_outgoing;
    self->rules.rsv_allowed = FlWebSocket_Given(self->inflater) ? FL_WS_RSV1 : 0;
    Py_RETURN_NONE;
}

static PyObject *
ws_let_go(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    FlWebSocket_Uncork(self);
    self->state = WS_DONE; /* maybe from inside of on_message: nothing follows it */
    FlLink_Forget(&self->link);
    FlLink_GiveBack(&self->link);
    Py_RETURN_NONE;
}

static PyObject *
ws_resume(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    if (self->paused && self->link.channel != NULL) {
        self->paused = false;
        if (FlChannel_WantRead(self->link.channel, true) < 0 ||
            FlChannel_Resume(self->link.channel) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
ws_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    if (self->link.channel != NULL)
        FlChannel_Close(self->link.channel, NULL);
    Py_RETURN_NONE;
}

static PyObject *
ws_finish(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    self->state = WS_DONE;
    if (self->link.channel != NULL)
        FlChannel_CloseAfterWrites(self->link.channel);
    Py_RETURN_NONE;
}

static PyObject *
ws_is_closing(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(FlWebSocket_Closing(FlWebSocket_Cast(op)));
}

PyDoc_STRVAR(
    ws_frame_doc,
    "frame(opcode, data, flags, key, /)\n--\n\n"
    "One whole frame as bytes. flags: 0x80 FIN, 0x40 RSV1. data: str, which is\n"
    "encoded as UTF-8, or any contiguous buffer. key: four bytes to mask with,\n"
    "or None.");

static PyObject *
ws_frame(PyObject *Py_UNUSED(type), PyObject *const *args, Py_ssize_t nargs)
{
    const char *key = NULL;
    long opcode, flags;

    if (nargs != 4) {
        PyErr_SetString(PyExc_TypeError, "frame(opcode, data, flags, key)");
        return NULL;
    }
    opcode = PyLong_AsLong(args[0]);
    flags = PyLong_AsLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (args[3] != Py_None) {
        if (!PyBytes_Check(args[3]) || PyBytes_GET_SIZE(args[3]) != 4) {
            PyErr_SetString(PyExc_TypeError, "a mask key is four bytes");
            return NULL;
        }
        key = PyBytes_AS_STRING(args[3]);
    }
    return FlWebSocket_Frame((int)(opcode & 0x0F), args[1], flags, key);
}

PyDoc_STRVAR(ws_is_utf8_doc, "is_utf8(data, /)\n--\n\n"
                             "Whether a buffer is one whole valid UTF-8 text.");

static PyObject *
ws_is_utf8(PyObject *Py_UNUSED(type), PyObject *data)
{
    Py_buffer view;
    bool valid;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    valid =
        fl_utf8_validate(FL_UTF8_START, view.buf, (size_t)view.len) == FL_UTF8_START;
    PyBuffer_Release(&view);
    return PyBool_FromLong(valid);
}

PyDoc_STRVAR(ws_mask_doc, "mask(key, data, /)\n--\n\n"
                          "data XOR the four bytes of key, again and again.");

static PyObject *
ws_mask(PyObject *Py_UNUSED(type), PyObject *args)
{
    Py_buffer key, data;
    PyObject *result = NULL;

    if (!PyArg_ParseTuple(args, "y*y*:mask", &key, &data))
        return NULL;
    if (key.len != 4)
        PyErr_SetString(PyExc_ValueError, "a mask key is four bytes");
    else
        result = PyBytes_FromStringAndSize(NULL, data.len);
    if (result != NULL && data.len > 0) {
        /* Made without contents: bytes of one character are shared by everybody. */
        memcpy(PyBytes_AS_STRING(result), data.buf, (size_t)data.len);
        fl_mask_xor(PyBytes_AS_STRING(result), (size_t)data.len, key.buf, 0);
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&data);
    return result;
}

static PyObject *
ws_get_queued(PyObject *op, void *Py_UNUSED(closure))
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    return PyLong_FromSize_t(
        self->link.channel == NULL ? 0 : FlChannel_Queued(self->link.channel));
}

static PyMethodDef ws_methods[] = {
    {"_attach", ws_attach, METH_VARARGS, ws_attach_doc},
    {"_let_go", ws_let_go, METH_NOARGS, "Give the stream back: it is closed."},
    {"_resume", ws_resume, METH_NOARGS, "Begin to read, or read on after a pause."},
    {"_close_now", ws_abort, METH_NOARGS, "Close now; what is queued is lost."},
    {"_close_sent", ws_finish, METH_NOARGS, "Close once what is queued was sent."},
    {"is_closing", ws_is_closing, METH_NOARGS,
     "is_closing($self)\n--\n\n"
     "Whether one side has ended, or begun to end, the connection."},
    {"write_message", (PyCFunction)(void (*)(void))FlWebSocket_WriteMessage,
     METH_FASTCALL | METH_KEYWORDS,
     "write_message($self, /, message, binary=False)\n--\n\n"
     "Send a message; the future is done when the socket has taken it."},
    {"write_encoded", FlWebSocket_WriteEncoded, METH_O,
     "Send a frame that was made before, under the policy for slow peers."},
    {"_publish", (PyCFunction)(void (*)(void))FlWebSocket_Publish,
     METH_FASTCALL | METH_CLASS,
     "_publish($type, links, frame, /)\n--\n\n"
     "Send one frame to each; gives how many took it."},
    {"frame", (PyCFunction)(void (*)(void))ws_frame, METH_FASTCALL | METH_STATIC,
     ws_frame_doc},
    {"is_utf8", ws_is_utf8, METH_O | METH_STATIC, ws_is_utf8_doc},
    {"mask", ws_mask, METH_VARARGS | METH_STATIC, ws_mask_doc},
    {NULL, NULL, 0, NULL},
};

#define FIELD(name, type, field, flags) \
    {name, type, offsetof(FlWebSocketLink, field), flags, NULL}

static PyMemberDef ws_members[] = {
    FIELD("stream", T_OBJECT, link.stream, READONLY),
    FIELD("handler", T_OBJECT, handler, 0),
    FIELD("params", T_OBJECT, params, 0),
    FIELD("close_code", T_OBJECT, close_code, 0),
    FIELD("close_reason", T_OBJECT, close_reason, 0),
    FIELD("client_terminated", T_BOOL, client_terminated, 0),
    FIELD("server_terminated", T_BOOL, server_terminated, 0),
    FIELD("mask_outgoing", T_BOOL, mask_outgoing, 0),
    FIELD("_context", T_OBJECT, context, 0),
    FIELD("_deflater", T_OBJECT, deflater, 0),
    FIELD("_inflater", T_OBJECT, inflater, 0),
    FIELD("_waiting", T_BOOL, waiting, 0),
    FIELD("__dictoffset__", T_PYSSIZET, dict, READONLY),
    FIELD("__weaklistoffset__", T_PYSSIZET, weakrefs, READONLY),
    {NULL, 0, 0, 0, NULL},
};
#undef FIELD

static PyGetSetDef ws_getset[] = {
    {"_queued", ws_get_queued, NULL, "Bytes written and not yet sent.", NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot ws_slots[] = {
    {Py_tp_doc, "The C base of pyfastloop.websocket.WebSocketProtocol13."},
    {Py_tp_new, ws_new},
    {Py_tp_init, ws_init},
    {Py_tp_dealloc, ws_dealloc},
    {Py_tp_traverse, ws_traverse},
    {Py_tp_clear, ws_clear},
    {Py_tp_methods, ws_methods},
    {Py_tp_members, ws_members},
    {Py_tp_getset, ws_getset},
    {0, NULL},
};

static PyType_Spec ws_spec = {
    .name = "pyfastloop._core.WebSocketLink",
    .basicsize = sizeof(FlWebSocketLink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = ws_slots,
};

int
FlWebSocketLink_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->WebSocketLink_type, &ws_spec, NULL, false);
}
