/* ws_send.c -- messages on their way out: one block of head and payload for each.
 *
 * A message is encoded once into a bytes object, which the channel sends at once or
 * keeps by reference; the frame of publish() is the same object for everybody. Beyond
 * max_write bytes that wait for a peer, or while messages wait in Python already, the
 * subclass decides (_slow).
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/ws_link.h"

#include "core/future.h"

bool
FlWebSocket_Closing(const FlWebSocketLink *self)
{
    return self->client_terminated || self->server_terminated ||
           self->link.channel == NULL || FlChannel_Closed(self->link.channel);
}

PyObject *
FlWebSocket_RaiseClosed(FlState *st)
{
    PyObject *type =
        FlState_Lazy(st, &st->WebSocketClosedError, "pyfastloop.websocket.errors",
                     "WebSocketClosedError");

    if (type != NULL)
        PyErr_SetString(type, "the WebSocket is closed");
    return NULL;
}

static PyObject *
make_frame(int opcode, const char *p, Py_ssize_t n, long flags, const char *key)
{
    fl_ws_frame frame = {.length = (uint64_t)n,
                         .opcode = (uint8_t)(opcode & 0x0F),
                         .rsv = (uint8_t)(flags & FL_WS_RSV1),
                         .fin = (flags & 0x80) != 0,
                         .masked = key != NULL};
    char head[FL_WS_HEAD_MAX], *out;
    PyObject *result;
    size_t used;

    if (key != NULL)
        memcpy(frame.key, key, 4);
    used = fl_ws_frame_write(head, &frame);
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)used + n);
    if (result == NULL)
        return NULL;
    out = PyBytes_AS_STRING(result);
    memcpy(out, head, used);
    if (n > 0)
        memcpy(out + used, p, (size_t)n);
    if (key != NULL)
        fl_mask_xor(out + used, (size_t)n, frame.key, 0);
    return result;
}

PyObject *
FlWebSocket_Frame(int opcode, PyObject *data, long flags, const char *key)
{
    PyObject *result;
    Py_buffer view;
    Py_ssize_t n;

    if (PyUnicode_Check(data)) {
        const char *p = PyUnicode_AsUTF8AndSize(data, &n);

        return p == NULL ? NULL : make_frame(opcode, p, n, flags, key);
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    result = make_frame(opcode, view.buf, view.len, flags, key);
    PyBuffer_Release(&view);
    return result;
}

/* ---- a message ---- */

static PyObject *
encode_json(FlState *st, PyObject *message)
{
    PyObject *module = st->json_encode_module, *encode, *text;

    if (module == NULL) {
        module = PyImport_ImportModule("pyfastloop.escape");
        if (module == NULL)
            return NULL;
        Py_XSETREF(st->json_encode_module, module);
    }
    encode = PyObject_GetAttrString(module, "json_encode");
    text = encode == NULL ? NULL : PyObject_CallOneArg(encode, message);
    Py_XDECREF(encode);
    return text;
}

/* Text or binary of what a program gave; new reference, or NULL. */
static PyObject *
message_data(FlState *st, PyObject *message, bool binary)
{
    Py_buffer view;
    bool valid;

    if (PyDict_Check(message))
        return encode_json(st, message);
    if (binary || PyUnicode_Check(message))
        return Py_NewRef(message);
    if (PyObject_GetBuffer(message, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    valid =
        fl_utf8_validate(FL_UTF8_START, view.buf, (size_t)view.len) == FL_UTF8_START;
    PyBuffer_Release(&view);
    if (!valid) {
        PyErr_SetString(
            PyExc_ValueError,
            "write_message(bytes) sends a text, and these bytes are no UTF-8; pass "
            "binary=True");
        return NULL;
    }
    return Py_NewRef(message);
}

/* `data` (stolen, nullable) compressed. */
static PyObject *
deflated(FlWebSocketLink *self, PyObject *data)
{
    PyObject *deflater = Py_NewRef(self->deflater), *packed;

    if (data != NULL && PyUnicode_Check(data))
        Py_SETREF(data, PyUnicode_AsUTF8String(data));
    packed = data == NULL
                 ? NULL
                 : PyObject_CallMethodOneArg(deflater, self->st->str_compress, data);
    Py_XDECREF(data);
    Py_DECREF(deflater);
    return packed;
}

/* A message as a frame: new reference, or NULL. escapes */
static PyObject *
encode(FlWebSocketLink *self, PyObject *message, bool binary)
{
    PyObject *data = message_data(self->st, message, binary), *frame, *key = NULL;
    long flags = 0x80;

    if (FlWebSocket_Given(self->deflater)) {
        data = deflated(self, data);
        flags |= FL_WS_RSV1;
    }
    if (data == NULL)
        return NULL;
    if (self->mask_outgoing) {
        key = PyObject_CallMethod((PyObject *)self, "_key", NULL);
        if (key == NULL || !PyBytes_Check(key) || PyBytes_GET_SIZE(key) != 4) {
            if (key != NULL)
                PyErr_SetString(PyExc_TypeError, "a mask key is four bytes");
            Py_XDECREF(key);
            Py_DECREF(data);
            return NULL;
        }
    }
    frame = FlWebSocket_Frame(binary ? FL_WS_BINARY : FL_WS_TEXT, data, flags,
                              key == NULL ? NULL : PyBytes_AS_STRING(key));
    Py_XDECREF(key);
    Py_DECREF(data);
    return frame;
}

/* A message that nothing waits before is sent whatever its size. */
static bool
above_bound(const FlWebSocketLink *self, Py_ssize_t n)
{
    size_t queued = FlChannel_Queued(self->link.channel);

    return self->max_write >= 0 && queued > 0 &&
           queued + (size_t)n > (uint64_t)self->max_write;
}

/* Whether a frame of n bytes has to go by way of the policy. escapes */
static bool
too_slow(FlWebSocketLink *self, Py_ssize_t n)
{
    if (self->waiting)
        return true;
    if (!above_bound(self, n))
        return false;
    FlWebSocket_Uncork(self); /* it waits for us, not for the peer */
    return self->link.channel == NULL || above_bound(self, n);
}

static PyObject *
slow(FlWebSocketLink *self, PyObject *frame)
{
    return PyObject_CallMethod((PyObject *)self, "_slow", "OL", frame,
                               (long long)self->max_write);
}

static bool
may_send(const FlWebSocketLink *self)
{
    return !self->server_terminated && self->link.channel != NULL &&
           !FlChannel_Closed(self->link.channel);
}

PyObject *
FlWebSocket_WriteEncoded(PyObject *op, PyObject *frame)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    if (!PyBytes_Check(frame))
        return PyErr_Format(PyExc_TypeError, "a frame is bytes, not %.100s",
                            Py_TYPE(frame)->tp_name);
    if (!may_send(self))
        return FlWebSocket_RaiseClosed(self->st);
    if (too_slow(self, PyBytes_GET_SIZE(frame)))
        return slow(self, frame);
    return FlIOStream_WriteBytes(self->link.stream, frame);
}

PyObject *
FlWebSocket_WriteMessage(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *names)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);
    PyObject *message = nargs > 0 ? args[0] : NULL, *frame, *future;
    PyObject *binary = nargs > 1 ? args[1] : Py_False;
    Py_ssize_t given = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    int is_binary;

    for (Py_ssize_t i = 0; i < given; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);

        if (nargs < 2 && PyUnicode_CompareWithASCIIString(name, "binary") == 0)
            binary = args[nargs + i];
        else if (nargs < 1 && PyUnicode_CompareWithASCIIString(name, "message") == 0)
            message = args[nargs + i];
        else
            return PyErr_Format(PyExc_TypeError,
                                "write_message() got an unexpected argument %R", name);
    }
    if (message == NULL || nargs > 2) {
        PyErr_SetString(PyExc_TypeError,
                        "write_message() takes a message and, optionally, binary");
        return NULL;
    }
    is_binary = PyObject_IsTrue(binary);
    if (is_binary < 0)
        return NULL;
    if (!may_send(self))
        return FlWebSocket_RaiseClosed(self->st);
    frame = encode(self, message, is_binary != 0);
    if (frame == NULL)
        return NULL;
    future = FlWebSocket_WriteEncoded(op, frame);
    Py_DECREF(frame);
    return future;
}

/* ---- one frame to many ---- */

/* Sends without a future. 1: sent or queued, 0: closed, -1: an exception. escapes */
static int
send_one(FlWebSocketLink *self, PyObject *frame)
{
    PyObject *future;

    if (!may_send(self))
        return 0;
    if (!too_slow(self, PyBytes_GET_SIZE(frame))) {
        if (FlChannel_Write(self->link.channel, frame, PyBytes_AS_STRING(frame),
                            (size_t)PyBytes_GET_SIZE(frame)) == 0)
            return 1;
        return -1;
    }
    future = slow(self, frame);
    Py_XDECREF(future);
    if (future != NULL)
        return 1;
    if (self->st->WebSocketClosedError == NULL ||
        !PyErr_ExceptionMatches(self->st->WebSocketClosedError))
        return -1;
    PyErr_Clear();
    return 0;
}

PyObject *
FlWebSocket_Publish(PyObject *type, PyObject *const *args, Py_ssize_t nargs)
{
    FlState *st = FlState_OfType((PyTypeObject *)type);
    Py_ssize_t count = 0;

    if (st == NULL)
        return NULL;
    if (nargs != 2 || !PyList_CheckExact(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_publish(links: list, frame: bytes)");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *link = Py_NewRef(PyList_GET_ITEM(args[0], i));
        int sent = -1;

        if (PyObject_TypeCheck(link, st->WebSocketLink_type))
            sent = send_one(FlWebSocket_Cast(link), args[1]);
        else
            PyErr_SetString(PyExc_TypeError, "_publish() sends to WebSocketLinks");
        Py_DECREF(link);
        if (sent < 0)
            return NULL;
        count += sent;
    }
    return PyLong_FromSsize_t(count);
}
