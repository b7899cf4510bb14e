/* ws_link.c -- WebSocket frames on a stream (RFC 6455): what happens for each message.
 *
 * A link borrows a stream as its channel's consumer, unmasks in place, puts messages
 * together and tells a Python object, the sink, about them. The close handshake,
 * compression, pings and hooks are Python's (pyfastloop/websocket).
 *
 *      HEAD ──► control, whole ──► _on_control(opcode, bytes)        ──► HEAD
 *        │      close            ──► _on_close_frame(code, reason)   ──► DONE
 *        └────► PAYLOAD ──► fragment ──► HEAD
 *                        └► last one ──► _on_message(opcode, data, compressed) ──► HEAD
 *      a rule broken ──► _on_fail(code, text) ──► DONE: what follows is thrown away
 *      the connection is gone ──► _on_lost(exception or None), once
 *
 * `data` is str for an uncompressed text, which is judged at its first byte that is not
 * UTF-8 and not at its end; otherwise bytes. True from _on_message or _on_control holds
 * the peer back until resume(). A message is limited as soon as a frame head promises
 * more than max_message_size, before memory is given to it; memory is given as bytes
 * arrive. At most LINK_TURN messages are told in one turn of the loop.
 *
 * Invariant: between two frames nothing but a message in progress (`opcode` != 0) is
 * remembered, so an idle link holds no buffer.
 *
 * Layer: http. Threads: the loop's.
 */
#include "core/state.h"

#include "base/scan.h"
#include "net/channel.h"
#include "net/iostream.h"
#include "proto/ws_frame.h"

typedef enum { LINK_HEAD, LINK_PAYLOAD, LINK_DONE } LinkState;

enum {
    LINK_TURN = 256,         /* messages told before others have their turn */
    LINK_FIRST = 64 * 1024,  /* memory a promised payload is given at first */
    LINK_DIRECT = 16 * 1024, /* payloads with more to come are read in place */
};

typedef struct {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    PyObject *stream;   /* owned; NULL once given away */
    FlChannel *channel; /* borrowed from stream */
    PyObject *sink;     /* owned; NULL once told that all is over */
    PyObject *body;     /* owned bytes of a message in progress, or NULL */
    PyObject *lent;     /* owned: the body whose memory the channel receives into */
    Py_ssize_t body_used;
    fl_ws_rules rules;
    fl_ws_frame frame; /* PAYLOAD: the one that is being read */
    uint64_t left;     /* PAYLOAD: its bytes to come */
    uint64_t max_message;
    fl_utf8_state utf8;
    uint8_t state;   /* LinkState */
    uint8_t opcode;  /* of the message in progress, 0: none */
    bool compressed; /* that message's first frame had RSV1 */
    bool paused;
    bool deferred; /* a resume stands in the ring */
    PyObject *weakrefs;
} FlWebSocketLink;

/* What a step says: 1 go on, 0 stop (wait, pause, end), -1 fatal exception. */
enum { STEP_STOP = 0, STEP_GO = 1 };

/* ---- telling the sink ---- */

static void
link_report(FlWebSocketLink *self, PyObject *sink)
{
    FlLoop *loop = FlLoop_Running(self->st);

    if (loop == NULL || FlError_IsFatal())
        PyErr_WriteUnraisable(sink);
    else
        FlLoop_LogException(loop, "Exception in a WebSocket connection", sink);
}

/* What the sink returned (stolen) to something that was told while it was `sink`. */
static int
link_heard(FlWebSocketLink *self, PyObject *sink, PyObject *result)
{
    if (result == NULL) {
        if (FlError_IsFatal())
            return -1;
        link_report(self, sink);
        return self->sink == sink && self->state != LINK_DONE;
    }
    if (result == Py_True)
        self->paused = true;
    Py_DECREF(result);
    return self->sink == sink && self->state != LINK_DONE && !self->paused;
}

static void
link_forget(FlWebSocketLink *self)
{
    Py_CLEAR(self->body);
    self->body_used = 0;
    self->opcode = 0;
}

/* A rule was broken. escapes. STEP_STOP or -1. */
static int
link_fail(FlWebSocketLink *self, int code, const char *text)
{
    PyObject *sink = Py_XNewRef(self->sink);
    PyObject *result;
    int go = STEP_STOP;

    self->state = LINK_DONE;
    link_forget(self);
    if (sink == NULL)
        return STEP_STOP;
    result = PyObject_CallMethod(sink, "_on_fail", "is", code, text);
    if (link_heard(self, sink, result) < 0)
        go = -1;
    Py_DECREF(sink);
    return go;
}

static int
link_no_memory(FlWebSocketLink *self)
{
    PyErr_Clear();
    return link_fail(self, 1009, "no memory for this message");
}

/* Tells a message; `data` is stolen and may be NULL with an exception. escapes */
static int
link_tell(FlWebSocketLink *self, uint8_t opcode, PyObject *data, bool compressed)
{
    PyObject *sink, *kind, *result = NULL;
    int go;

    if (data == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            return link_fail(self, 1007, "a text that is not UTF-8");
        }
        return FlError_IsFatal() ? -1 : link_no_memory(self);
    }
    sink = Py_NewRef(self->sink);
    kind = PyLong_FromLong(opcode);
    if (kind != NULL) {
        PyObject *args[4] = {sink, kind, data, compressed ? Py_True : Py_False};

        result = PyObject_VectorcallMethod(self->st->str__on_message, args, 4, NULL);
        Py_DECREF(kind);
    }
    Py_DECREF(data);
    go = link_heard(self, sink, result);
    Py_DECREF(sink);
    return go;
}

/* ---- payloads ---- */

static int
link_room(FlWebSocketLink *self, size_t n)
{
    size_t have = self->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(self->body);
    size_t need = (size_t)self->body_used + n;
    uint64_t promised = (uint64_t)self->body_used + self->left;
    size_t size = have * 2 < LINK_FIRST ? LINK_FIRST : have * 2;

    if (need <= have)
        return 0;
    if (size > promised)
        size = (size_t)promised;
    if (size < need)
        size = need;
    if (self->body == NULL) {
        self->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        return self->body == NULL ? -1 : 0;
    }
    return _PyBytes_Resize(&self->body, (Py_ssize_t)size);
}

/* The message is whole in `body`. escapes */
static int
link_whole(FlWebSocketLink *self)
{
    PyObject *data = self->body;
    uint8_t opcode = self->opcode;
    bool compressed = self->compressed;

    self->body = NULL;
    if (data == NULL)
        data = PyBytes_FromStringAndSize(NULL, 0);
    else if (PyBytes_GET_SIZE(data) != self->body_used)
        _PyBytes_Resize(&data, self->body_used);
    if (opcode == FL_WS_TEXT && !compressed) {
        if (self->utf8 != FL_UTF8_START) {
            Py_XDECREF(data);
            return link_fail(self, 1007, "a text that ends inside of a character");
        }
        if (data != NULL) {
            PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(data),
                                                  PyBytes_GET_SIZE(data), NULL);

            Py_DECREF(data);
            data = text;
        }
    }
    self->opcode = 0;
    self->body_used = 0;
    return link_tell(self, opcode, data, compressed);
}

/* `n` unmasked bytes were added to the body, or would have been; ends the frame when it
 * was the last of it. escapes */
static int
link_added(FlWebSocketLink *self, const char *p, size_t n)
{
    if (self->opcode == FL_WS_TEXT && !self->compressed) {
        self->utf8 = fl_utf8_validate(self->utf8, p, n);
        if (self->utf8 == FL_UTF8_BAD)
            return link_fail(self, 1007, "a text that is not UTF-8");
    }
    self->left -= n;
    if (self->left > 0)
        return STEP_GO;
    self->state = LINK_HEAD;
    return self->frame.fin ? link_whole(self) : STEP_GO;
}

static void
link_unmask(FlWebSocketLink *self, char *p, size_t n)
{
    if (self->frame.masked)
        fl_mask_xor(p, n, self->frame.key,
                    (size_t)((self->frame.length - self->left) & 3));
}

static int
link_payload(FlWebSocketLink *self, char *p, size_t n)
{
    link_unmask(self, p, n);
    if (self->frame.fin && self->body_used == 0 && n == self->left) {
        /* The whole message lies here: no body in between. */
        uint8_t opcode = self->opcode;
        PyObject *data;

        self->state = LINK_HEAD;
        self->opcode = 0;
        self->left = 0;
        if (opcode == FL_WS_TEXT && !self->compressed)
            data = PyUnicode_DecodeUTF8(p, (Py_ssize_t)n, NULL);
        else
            data = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
        return link_tell(self, opcode, data, self->compressed);
    }
    if (link_room(self, n) < 0)
        return link_no_memory(self);
    memcpy(PyBytes_AS_STRING(self->body) + self->body_used, p, n);
    self->body_used += (Py_ssize_t)n;
    return link_added(self, p, n);
}

/* ---- frames ---- */

/* The head of a data frame is in `frame`. escapes */
static int
link_begin(FlWebSocketLink *self)
{
    if (self->frame.opcode == FL_WS_CONTINUATION) {
        if (self->opcode == 0)
            return link_fail(self, 1002, "a continuation of nothing");
        if (self->frame.rsv != 0)
            return link_fail(self, 1002, "RSV1 on a continuation");
    } else {
        if (self->opcode != 0)
            return link_fail(self, 1002, "a new message inside of another");
        self->opcode = self->frame.opcode;
        self->compressed = (self->frame.rsv & FL_WS_RSV1) != 0;
        self->utf8 = FL_UTF8_START;
        self->body_used = 0;
    }
    if (self->frame.length > self->max_message ||
        (uint64_t)self->body_used > self->max_message - self->frame.length)
        return link_fail(self, 1009, "message too big");
    self->left = self->frame.length;
    self->state = LINK_PAYLOAD;
    return self->left > 0 ? STEP_GO : link_added(self, NULL, 0);
}

/* A control frame, whole at p. escapes */
static int
link_control(FlWebSocketLink *self, const fl_ws_frame *frame, char *p)
{
    size_t n = (size_t)frame->length;
    PyObject *sink = Py_NewRef(self->sink), *result;
    int go;

    if (frame->masked)
        fl_mask_xor(p, n, frame->key, 0);
    if (frame->opcode == FL_WS_CLOSE) {
        unsigned code = 0;
        fl_span reason = {NULL, 0};
        int bad = fl_ws_close_parse(fl_span_make(p, n), &code, &reason);

        if (bad != 0) {
            Py_DECREF(sink);
            return link_fail(self, bad, "a close frame that breaks the rules");
        }
        self->state = LINK_DONE;
        link_forget(self);
        result =
            PyObject_CallMethod(sink, "_on_close_frame", "Is#", code,
                                reason.n > 0 ? reason.p : "", (Py_ssize_t)reason.n);
    } else {
        result = PyObject_CallMethod(sink, "_on_control", "iy#", (int)frame->opcode,
                                     n > 0 ? p : "", (Py_ssize_t)n);
    }
    go = link_heard(self, sink, result);
    Py_DECREF(sink);
    return go;
}

static int
link_head(FlWebSocketLink *self, char *p, size_t n, size_t *at)
{
    fl_ws_frame frame;
    int used = fl_ws_frame_parse(p + *at, n - *at, &self->rules, &frame);

    if (used == 0)
        return STEP_STOP;
    if (used < 0)
        return link_fail(self, fl_ws_error_code(-used), fl_ws_error_text(-used));
    if (frame.opcode >= FL_WS_CLOSE) {
        size_t whole = (size_t)used + (size_t)frame.length;

        if (n - *at < whole)
            return STEP_STOP; /* it is short: wait for all of it */
        *at += whole;
        FlChannel_Took(self->channel, *at);
        return link_control(self, &frame, p + *at - frame.length);
    }
    *at += (size_t)used;
    self->frame = frame;
    FlChannel_Took(self->channel, *at);
    return link_begin(self);
}

static int
link_run_deferred(FlLoop *Py_UNUSED(loop), PyObject *op)
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;
    int err = 0;

    self->deferred = false;
    if (self->channel != NULL && !self->paused && self->state != LINK_DONE)
        err = FlChannel_Resume(self->channel);
    return err;
}

static Py_ssize_t
link_data(FlChannel *ch, const char *bytes, size_t n)
{
    FlWebSocketLink *self = ch->self;
    /* The bytes are the channel's and nobody else reads them again once they are
     * taken: payloads are unmasked where they lie. */
    char *p = (char *)(uintptr_t)bytes;
    size_t at = 0;
    int step = STEP_GO, turn = 0;

    Py_INCREF(self);
    Py_CLEAR(self->lent);
    while (step == STEP_GO && self->state != LINK_DONE && self->sink != NULL &&
           !self->paused && at < n) {
        if (self->state == LINK_HEAD) {
            if (++turn > LINK_TURN) {
                if (!self->deferred &&
                    FlLoop_Defer(ch->loop, link_run_deferred, (PyObject *)self) == 0)
                    self->deferred = true;
                break;
            }
            step = link_head(self, p, n, &at);
        } else {
            size_t have = n - at < self->left ? n - at : (size_t)self->left;

            at += have;
            FlChannel_Took(ch, at);
            step = link_payload(self, p + at - have, have);
        }
    }
    if (self->state == LINK_DONE || self->sink == NULL)
        at = n;
    if (step >= 0 && self->paused && self->channel != NULL)
        FlChannel_WantRead(ch, false);
    Py_DECREF(self);
    return step < 0 ? -1 : (Py_ssize_t)at;
}

static char *
link_buffer(FlChannel *ch, size_t *n)
{
    FlWebSocketLink *self = ch->self;

    Py_CLEAR(self->lent);
    if (self->state != LINK_PAYLOAD || self->body == NULL || self->left < LINK_DIRECT)
        return NULL;
    if (PyBytes_GET_SIZE(self->body) == self->body_used)
        return NULL; /* growing may fail: data() does it, where that is told */
    *n = (size_t)(PyBytes_GET_SIZE(self->body) - self->body_used);
    if (*n > self->left)
        *n = (size_t)self->left;
    /* Receiving may run Python (TLS): a reference of its own keeps the memory. */
    self->lent = Py_NewRef(self->body);
    return PyBytes_AS_STRING(self->body) + self->body_used;
}

static int
link_filled(FlChannel *ch, size_t n)
{
    FlWebSocketLink *self = ch->self;
    int step = STEP_STOP;

    Py_INCREF(self);
    if (self->lent != NULL && self->lent == self->body && self->state == LINK_PAYLOAD) {
        char *p = PyBytes_AS_STRING(self->body) + self->body_used;

        Py_CLEAR(self->lent);
        link_unmask(self, p, n);
        self->body_used += (Py_ssize_t)n;
        step = link_added(self, p, n);
        if (step >= 0 && self->paused && self->channel != NULL)
            FlChannel_WantRead(ch, false);
    }
    Py_CLEAR(self->lent);
    Py_DECREF(self);
    return step < 0 ? -1 : 0;
}

/* The connection is gone. escapes */
static void
link_lost(FlWebSocketLink *self, PyObject *why)
{
    PyObject *sink = self->sink, *result;

    self->sink = NULL;
    self->state = LINK_DONE;
    link_forget(self);
    if (sink == NULL)
        return;
    result = PyObject_CallMethodOneArg(sink, self->st->str__on_lost, why);
    if (result == NULL)
        link_report(self, sink);
    Py_XDECREF(result);
    Py_DECREF(sink);
}

static int
link_eof(FlChannel *ch)
{
    FlWebSocketLink *self = ch->self;

    Py_INCREF(self);
    FlChannel_Close(ch, NULL);
    Py_DECREF(self);
    return 0;
}

static void
link_closed(FlChannel *ch, PyObject *exc)
{
    FlWebSocketLink *self = ch->self;

    Py_INCREF(self);
    link_lost(self, exc == NULL ? Py_None : exc);
    Py_DECREF(self);
}

static const FlChannelOps link_ops = {
    .data = link_data,
    .buffer = link_buffer,
    .filled = link_filled,
    .eof = link_eof,
    .closed = link_closed,
};

/* ---- Python's face ---- */

static PyObject *
link_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream",           "sink",        "is_client",
                            "max_message_size", "compression", NULL};
    FlWebSocketLink *self;
    PyObject *stream, *sink;
    int is_client, compression;
    long long most;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOpLp:WebSocketLink", names,
                                     &stream, &sink, &is_client, &most, &compression))
        return NULL;
    if (most < 0) {
        PyErr_SetString(PyExc_ValueError, "max_message_size must not be negative");
        return NULL;
    }
    self = (FlWebSocketLink *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = LINK_HEAD;
    self->paused = true;
    self->max_message = (uint64_t)most;
    self->rules.want_mask = !is_client;
    self->rules.rsv_allowed = compression ? FL_WS_RSV1 : 0;
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        goto fail;
    self->channel = FlIOStream_Channel(self->st, stream);
    if (self->channel == NULL) {
        PyErr_Format(PyExc_TypeError, "WebSocketLink needs an IOStream, not %.100s",
                     Py_TYPE(stream)->tp_name);
        goto fail;
    }
    if (FlIOStream_Borrow(stream, &link_ops, self) < 0) {
        self->channel = NULL;
        goto fail;
    }
    self->stream = Py_NewRef(stream);
    self->sink = Py_NewRef(sink);
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

static void
link_let_go(FlWebSocketLink *self)
{
    PyObject *stream = self->stream;

    self->stream = NULL;
    self->channel = NULL;
    if (stream != NULL) {
        if (FlIOStream_GiveBack(stream) < 0)
            PyErr_WriteUnraisable(stream);
        Py_DECREF(stream);
    }
}

static int
link_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->stream);
    Py_VISIT(self->sink);
    return 0;
}

static int
link_clear(PyObject *op)
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;

    self->state = LINK_DONE;
    Py_CLEAR(self->sink);
    Py_CLEAR(self->lent);
    link_forget(self);
    link_let_go(self);
    return 0;
}

static void
link_dealloc(PyObject *op)
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject *exc = PyErr_GetRaisedException();

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    link_clear(op);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
link_resume(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;

    if (self->paused && self->channel != NULL) {
        self->paused = false;
        if (FlChannel_WantRead(self->channel, true) < 0 ||
            FlChannel_Resume(self->channel) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
link_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;

    if (self->channel != NULL)
        FlChannel_Close(self->channel, NULL);
    Py_RETURN_NONE;
}

static PyObject *
link_finish(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;

    self->state = LINK_DONE;
    if (self->channel != NULL)
        FlChannel_CloseAfterWrites(self->channel);
    Py_RETURN_NONE;
}

static PyObject *
link_get_queued(PyObject *op, void *Py_UNUSED(closure))
{
    FlWebSocketLink *self = (FlWebSocketLink *)op;

    return PyLong_FromSize_t(self->channel == NULL ? 0
                                                   : FlChannel_Queued(self->channel));
}

PyDoc_STRVAR(
    link_frame_doc,
    "frame(opcode, data, flags, key, /)\n--\n\n"
    "One whole frame as bytes. flags: 0x80 FIN, 0x40 RSV1. data: str, which is\n"
    "encoded as UTF-8, or any contiguous buffer. key: four bytes to mask with,\n"
    "or None.");

static PyObject *
link_frame(PyObject *Py_UNUSED(type), PyObject *const *args, Py_ssize_t nargs)
{
    fl_ws_frame frame = {0};
    Py_buffer view = {0};
    char head[FL_WS_HEAD_MAX];
    const char *p;
    Py_ssize_t n;
    PyObject *result = NULL;
    long opcode, flags;
    size_t used;

    if (nargs != 4) {
        PyErr_SetString(PyExc_TypeError, "frame(opcode, data, flags, key)");
        return NULL;
    }
    opcode = PyLong_AsLong(args[0]);
    flags = PyLong_AsLong(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (PyUnicode_Check(args[1])) {
        p = PyUnicode_AsUTF8AndSize(args[1], &n);
        if (p == NULL)
            return NULL;
    } else {
        if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0)
            return NULL;
        p = view.buf;
        n = view.len;
    }
    frame.opcode = (uint8_t)(opcode & 0x0F);
    frame.fin = (flags & 0x80) != 0;
    frame.rsv = (uint8_t)(flags & FL_WS_RSV1);
    frame.length = (uint64_t)n;
    if (args[3] != Py_None) {
        if (!PyBytes_Check(args[3]) || PyBytes_GET_SIZE(args[3]) != 4) {
            PyErr_SetString(PyExc_TypeError, "a mask key is four bytes");
            goto done;
        }
        frame.masked = true;
        memcpy(frame.key, PyBytes_AS_STRING(args[3]), 4);
    }
    used = fl_ws_frame_write(head, &frame);
    result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)used + n);
    if (result != NULL) {
        char *out = PyBytes_AS_STRING(result);

        memcpy(out, head, used);
        if (n > 0)
            memcpy(out + used, p, (size_t)n);
        if (frame.masked)
            fl_mask_xor(out + used, (size_t)n, frame.key, 0);
    }
done:
    if (view.obj != NULL)
        PyBuffer_Release(&view);
    return result;
}

PyDoc_STRVAR(link_is_utf8_doc, "is_utf8(data, /)\n--\n\n"
                               "Whether a buffer is one whole valid UTF-8 text.");

static PyObject *
link_is_utf8(PyObject *Py_UNUSED(type), PyObject *data)
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

PyDoc_STRVAR(link_mask_doc, "mask(key, data, /)\n--\n\n"
                            "data XOR the four bytes of key, again and again.");

static PyObject *
link_mask(PyObject *Py_UNUSED(type), PyObject *args)
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

static PyMethodDef link_methods[] = {
    {"resume", link_resume, METH_NOARGS, "Begin to read, or read on after a pause."},
    {"abort", link_abort, METH_NOARGS, "Close now; what is queued is lost."},
    {"finish", link_finish, METH_NOARGS, "Close once what is queued was sent."},
    {"frame", (PyCFunction)(void (*)(void))link_frame, METH_FASTCALL | METH_STATIC,
     link_frame_doc},
    {"is_utf8", link_is_utf8, METH_O | METH_STATIC, link_is_utf8_doc},
    {"mask", link_mask, METH_VARARGS | METH_STATIC, link_mask_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef link_members[] = {
    {"stream", T_OBJECT, offsetof(FlWebSocketLink, stream), READONLY,
     "The stream the frames come from."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlWebSocketLink, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef link_getset[] = {
    {"queued", link_get_queued, NULL, "Bytes written and not yet sent.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(link_doc,
             "WebSocketLink(stream, sink, is_client, max_message_size, compression)\n"
             "--\n\nReads frames from a stream and tells sink; begins with resume().");

static PyType_Slot link_slots[] = {
    {Py_tp_doc, (void *)link_doc},
    {Py_tp_new, link_new},
    {Py_tp_dealloc, link_dealloc},
    {Py_tp_traverse, link_traverse},
    {Py_tp_clear, link_clear},
    {Py_tp_methods, link_methods},
    {Py_tp_members, link_members},
    {Py_tp_getset, link_getset},
    {0, NULL},
};

static PyType_Spec link_spec = {
    .name = "pyfastloop._core.WebSocketLink",
    .basicsize = sizeof(FlWebSocketLink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = link_slots,
};

int
FlWebSocketLink_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->WebSocketLink_type, &link_spec, NULL, false);
}
