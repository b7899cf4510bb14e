/* ws_link.c -- WebSocket frames on a stream (RFC 6455): what happens for each message.
 *
 * A link is its channel's consumer: it unmasks in place, puts messages together and
 * calls the handler's on_message. The close handshake, pings and policies are methods
 * of the Python subclass (pyfastloop/websocket/protocol.py), which are told:
 *
 *      HEAD ──► control, whole ──► _on_control(opcode, bytes)        ──► HEAD
 *        │      close            ──► _on_close_frame(code, reason)   ──► DONE
 *        └────► PAYLOAD ──► fragment ──► HEAD
 *                        └► last one ──► handler.on_message(data)     ──► HEAD
 *      a rule broken ──► _on_fail(code, text) ──► DONE: what follows is thrown away
 *      the connection is gone ──► _on_lost(exception or None), once
 *
 * What on_message raised goes to _hook_raised(exc), what it returned, where that is not
 * None, to _hook_returned(result). True from there or from _on_control holds the peer
 * back until resume(). A text is judged at its first byte that is not UTF-8 and not at
 * its end. A message is limited as soon as a frame head promises more than
 * max_message_size, before memory is given to it; memory is given as bytes arrive. At
 * most WS_TURN messages are told in one turn of the loop; while more stand in hand, what
 * hooks write is held together.
 *
 * Invariant: between two frames nothing but a message in progress (`opcode` != 0) is
 * remembered, so an idle link holds no buffer.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/ws_link.h"

enum {
    WS_TURN = 256,         /* messages told before others have their turn */
    WS_DIRECT = 16 * 1024, /* payloads with more to come are read in place */
};

/* What a step says: 1 go on, 0 stop (wait, pause, end), -1 fatal exception. */
enum { STEP_STOP = 0, STEP_GO = 1 };

/* ---- telling ---- */

static int
ws_goes_on(const FlWebSocketLink *self)
{
    return !self->lost && self->state != WS_DONE && !self->paused &&
           self->link.channel != NULL;
}

/* What a method of ours returned (stolen). */
static int
ws_heard(FlWebSocketLink *self, PyObject *result)
{
    if (result == NULL) {
        if (FlError_IsFatal())
            return -1;
        FlLink_Report(self->st, (PyObject *)self,
                      "Exception in a WebSocket connection");
    } else {
        if (result == Py_True)
            self->paused = true;
        Py_DECREF(result);
    }
    return ws_goes_on(self);
}

static void
ws_forget(FlWebSocketLink *self)
{
    FlLink_Forget(&self->link);
    self->opcode = 0;
}

/* A rule was broken. escapes. STEP_STOP or -1. */
static int
ws_fail(FlWebSocketLink *self, int code, const char *text)
{
    self->state = WS_DONE;
    ws_forget(self);
    return ws_heard(
        self, PyObject_CallMethod((PyObject *)self, "_on_fail", "is", code, text));
}

static int
ws_no_memory(FlWebSocketLink *self)
{
    PyErr_Clear();
    return ws_fail(self, 1009, "no memory for this message");
}

/* handler.on_message(data) in the connection's context; new reference or NULL. */
static PyObject *
ws_call_hook(FlWebSocketLink *self, PyObject *data)
{
    PyObject *context =
        FlWebSocket_Given(self->context) ? Py_NewRef(self->context) : NULL;
    PyObject *args[2] = {Py_NewRef(self->handler), data};
    PyObject *result = NULL, *exc;

    if (context == NULL || PyContext_Enter(context) == 0) {
        result = PyObject_VectorcallMethod(self->st->str_on_message, args, 2, NULL);
        if (context != NULL) {
            exc = PyErr_GetRaisedException();
            if (PyContext_Exit(context) < 0) {
                Py_CLEAR(result);
                Py_XDECREF(exc);
            } else if (exc != NULL) {
                PyErr_SetRaisedException(exc);
            }
        }
    }
    Py_DECREF(args[0]);
    Py_XDECREF(context);
    return result;
}

void
FlWebSocket_Uncork(FlWebSocketLink *self)
{
    if (!self->corked || self->link.channel == NULL)
        return;
    self->corked = false;
    FlChannel_Uncork(self->link.channel);
}

/* Tells the handler; data is stolen. escapes */
static int
ws_tell_handler(FlWebSocketLink *self, PyObject *data)
{
    PyObject *result = ws_call_hook(self, data), *exc;

    Py_DECREF(data);
    if (result == Py_None) {
        Py_DECREF(result);
        return ws_goes_on(self);
    }
    FlWebSocket_Uncork(self); /* what is awaited now must be able to end */
    if (result != NULL) {
        Py_SETREF(result, PyObject_CallMethodOneArg(
                              (PyObject *)self, self->st->str__hook_returned, result));
        return ws_heard(self, result);
    }
    if (FlError_IsFatal() || !PyErr_ExceptionMatches(PyExc_Exception))
        return ws_heard(self, NULL);
    exc = PyErr_GetRaisedException();
    result = PyObject_CallMethod((PyObject *)self, "_hook_raised", "O", exc);
    Py_DECREF(exc);
    return ws_heard(self, result);
}

/* What a message inflates to (data is stolen), or NULL: *go says how it goes on. */
static PyObject *
ws_inflate(FlWebSocketLink *self, uint8_t opcode, PyObject *data, int *go)
{
    PyObject *inflater = Py_NewRef(self->inflater), *exc, *result;
    PyObject *plain = PyObject_CallMethod(inflater, "decompress", "OK", data,
                                          (unsigned long long)self->max_message);

    Py_DECREF(data);
    Py_DECREF(inflater);
    if (plain != NULL && opcode == FL_WS_TEXT && PyBytes_Check(plain))
        Py_SETREF(plain, PyUnicode_DecodeUTF8(PyBytes_AS_STRING(plain),
                                              PyBytes_GET_SIZE(plain), NULL));
    if (plain != NULL)
        return plain;
    if (FlError_IsFatal()) {
        *go = -1;
        return NULL;
    }
    exc = PyErr_GetRaisedException();
    result = PyObject_CallMethod((PyObject *)self, "_inflate_failed", "O", exc);
    Py_DECREF(exc);
    *go = ws_heard(self, result);
    return NULL;
}

/* Tells a message; `data` is stolen and may be NULL with an exception. escapes */
static int
ws_tell(FlWebSocketLink *self, uint8_t opcode, PyObject *data, bool compressed)
{
    int go = STEP_STOP;

    if (data == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            return ws_fail(self, 1007, "a text that is not UTF-8");
        }
        return FlError_IsFatal() ? -1 : ws_no_memory(self);
    }
    if (self->client_terminated || self->handler == NULL) {
        Py_DECREF(data);
        return ws_goes_on(self);
    }
    if (compressed) {
        data = ws_inflate(self, opcode, data, &go);
        if (data == NULL)
            return go;
        if (self->lost || self->handler == NULL) {
            Py_DECREF(data);
            return STEP_STOP;
        }
    }
    return ws_tell_handler(self, data);
}

/* ---- payloads ---- */

/* The message is whole in the link's body. escapes */
static int
ws_whole(FlWebSocketLink *self)
{
    PyObject *data = FlLink_TakeBody(&self->link);
    uint8_t opcode = self->opcode;
    bool compressed = self->compressed;

    self->opcode = 0;
    if (opcode == FL_WS_TEXT && !compressed) {
        if (self->utf8 != FL_UTF8_START) {
            Py_XDECREF(data);
            PyErr_Clear();
            return ws_fail(self, 1007, "a text that ends inside of a character");
        }
        if (data != NULL)
            Py_SETREF(data, PyUnicode_DecodeUTF8(PyBytes_AS_STRING(data),
                                                 PyBytes_GET_SIZE(data), NULL));
    }
    return ws_tell(self, opcode, data, compressed);
}

/* `n` unmasked bytes were added to the body, or would have been; ends the frame when it
 * was the last of it. escapes */
static int
ws_added(FlWebSocketLink *self, const char *p, size_t n)
{
    if (self->opcode == FL_WS_TEXT && !self->compressed) {
        self->utf8 = fl_utf8_validate(self->utf8, p, n);
        if (self->utf8 == FL_UTF8_BAD)
            return ws_fail(self, 1007, "a text that is not UTF-8");
    }
    self->left -= n;
    if (self->left > 0)
        return STEP_GO;
    self->state = WS_HEAD;
    return self->frame.fin ? ws_whole(self) : STEP_GO;
}

static void
ws_unmask(FlWebSocketLink *self, char *p, size_t n)
{
    if (self->frame.masked)
        fl_mask_xor(p, n, self->frame.key,
                    (size_t)((self->frame.length - self->left) & 3));
}

static int
ws_payload(FlWebSocketLink *self, char *p, size_t n)
{
    ws_unmask(self, p, n);
    if (self->frame.fin && self->link.used == 0 && n == self->left) {
        /* The whole message lies here: no body in between. */
        uint8_t opcode = self->opcode;
        PyObject *data;

        self->state = WS_HEAD;
        self->opcode = 0;
        self->left = 0;
        if (opcode == FL_WS_TEXT && !self->compressed)
            data = PyUnicode_DecodeUTF8(p, (Py_ssize_t)n, NULL);
        else
            data = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
        return ws_tell(self, opcode, data, self->compressed);
    }
    if (FlLink_Add(&self->link, p, n, (uint64_t)self->link.used + self->left) < 0)
        return ws_no_memory(self);
    return ws_added(self, p, n);
}

/* ---- frames ---- */

/* The head of a data frame is in `frame`. escapes */
static int
ws_begin(FlWebSocketLink *self)
{
    if (self->frame.opcode == FL_WS_CONTINUATION) {
        if (self->opcode == 0)
            return ws_fail(self, 1002, "a continuation of nothing");
        if (self->frame.rsv != 0)
            return ws_fail(self, 1002, "RSV1 on a continuation");
    } else {
        if (self->opcode != 0)
            return ws_fail(self, 1002, "a new message inside of another");
        self->opcode = self->frame.opcode;
        self->compressed = (self->frame.rsv & FL_WS_RSV1) != 0;
        self->utf8 = FL_UTF8_START;
        self->link.used = 0;
    }
    if (self->frame.length > self->max_message ||
        (uint64_t)self->link.used > self->max_message - self->frame.length)
        return ws_fail(self, 1009, "message too big");
    self->left = self->frame.length;
    self->state = WS_PAYLOAD;
    return self->left > 0 ? STEP_GO : ws_added(self, NULL, 0);
}

/* A control frame, whole at p. escapes */
static int
ws_control(FlWebSocketLink *self, const fl_ws_frame *frame, char *p)
{
    size_t n = (size_t)frame->length;
    unsigned code = 0;
    fl_span reason = {NULL, 0};
    int bad;

    if (frame->masked)
        fl_mask_xor(p, n, frame->key, 0);
    if (frame->opcode != FL_WS_CLOSE)
        return ws_heard(self, PyObject_CallMethod((PyObject *)self, "_on_control",
                                                  "iy#", (int)frame->opcode,
                                                  n > 0 ? p : "", (Py_ssize_t)n));
    bad = fl_ws_close_parse(fl_span_make(p, n), &code, &reason);
    if (bad != 0)
        return ws_fail(self, bad, "a close frame that breaks the rules");
    self->state = WS_DONE;
    ws_forget(self);
    return ws_heard(self, PyObject_CallMethod((PyObject *)self, "_on_close_frame",
                                              "Is#", code, reason.n > 0 ? reason.p : "",
                                              (Py_ssize_t)reason.n));
}

static int
ws_head(FlWebSocketLink *self, char *p, size_t n, size_t *at)
{
    fl_ws_frame frame;
    int used = fl_ws_frame_parse(p + *at, n - *at, &self->rules, &frame);

    if (used == 0)
        return STEP_STOP;
    if (used < 0)
        return ws_fail(self, fl_ws_error_code(-used), fl_ws_error_text(-used));
    if (frame.opcode >= FL_WS_CLOSE) {
        size_t whole = (size_t)used + (size_t)frame.length;

        if (n - *at < whole)
            return STEP_STOP; /* it is short: wait for all of it */
        *at += whole;
        FlChannel_Took(self->link.channel, *at);
        return ws_control(self, &frame, p + *at - frame.length);
    }
    *at += (size_t)used;
    self->frame = frame;
    FlChannel_Took(self->link.channel, *at);
    return ws_begin(self);
}

/* Reads on where reading rested: for the ring. 0 or -1 (fatal). escapes */
static int
ws_run_deferred(FlLoop *Py_UNUSED(loop), PyObject *op)
{
    FlWebSocketLink *self = FlWebSocket_Cast(op);

    self->deferred = false;
    if (self->link.channel == NULL || self->paused || self->state == WS_DONE)
        return 0;
    return FlChannel_Resume(self->link.channel);
}

/* ---- the channel's consumer ---- */

/* Enough for this turn: the rest follows from the ring. */
static void
ws_rest_later(FlWebSocketLink *self, FlChannel *ch)
{
    if (!self->deferred &&
        FlLoop_Defer(ch->loop, ws_run_deferred, (PyObject *)self) == 0)
        self->deferred = true;
}

static Py_ssize_t
ws_data(FlChannel *ch, const char *bytes, size_t n)
{
    FlWebSocketLink *self = ch->self;
    /* The bytes are the channel's and nobody else reads them again once they are
     * taken: payloads are unmasked where they lie. */
    char *p = (char *)(uintptr_t)bytes;
    size_t at = 0;
    int step = STEP_GO, turn = 0;

    Py_INCREF(self);
    Py_CLEAR(self->link.lent);
    while (step == STEP_GO && ws_goes_on(self) && at < n) {
        if (self->state == WS_HEAD) {
            if (++turn > WS_TURN) {
                ws_rest_later(self, ch);
                break;
            }
            step = ws_head(self, p, n, &at);
        } else {
            size_t have = n - at < self->left ? n - at : (size_t)self->left;

            at += have;
            FlChannel_Took(ch, at);
            if (at < n && !self->corked) {
                FlChannel_Cork(ch);
                self->corked = true;
            }
            step = ws_payload(self, p + at - have, have);
        }
    }
    if (self->state == WS_DONE || self->lost)
        at = n;
    if (step >= 0 && self->paused && self->link.channel != NULL)
        FlChannel_WantRead(ch, false);
    if (self->corked) {
        self->corked = false;
        if (step >= 0)
            FlChannel_Uncork(ch);
        FlChannel_Trim(ch);
    }
    Py_DECREF(self);
    return step < 0 ? -1 : (Py_ssize_t)at;
}

static char *
ws_buffer(FlChannel *ch, size_t *n)
{
    FlWebSocketLink *self = ch->self;

    Py_CLEAR(self->link.lent);
    if (self->state != WS_PAYLOAD || self->left < WS_DIRECT)
        return NULL;
    return FlLink_Lend(&self->link, n, self->left);
}

static int
ws_filled(FlChannel *ch, size_t n)
{
    FlWebSocketLink *self = ch->self;
    int step = STEP_STOP;
    char *p;

    Py_INCREF(self);
    p = self->state == WS_PAYLOAD ? FlLink_Returned(&self->link, n) : NULL;
    if (p != NULL) {
        ws_unmask(self, p, n);
        step = ws_added(self, p, n);
        if (step >= 0 && self->paused && self->link.channel != NULL)
            FlChannel_WantRead(ch, false);
    }
    Py_CLEAR(self->link.lent);
    Py_DECREF(self);
    return step < 0 ? -1 : 0;
}

static int
ws_eof(FlChannel *ch)
{
    FlWebSocketLink *self = ch->self;

    Py_INCREF(self);
    FlChannel_Close(ch, NULL);
    Py_DECREF(self);
    return 0;
}

/* The connection is gone. escapes */
static void
ws_closed(FlChannel *ch, PyObject *exc)
{
    FlWebSocketLink *self = ch->self;
    PyObject *result;

    if (self->lost)
        return;
    Py_INCREF(self);
    self->lost = true;
    self->state = WS_DONE;
    ws_forget(self);
    result = PyObject_CallMethodOneArg((PyObject *)self, self->st->str__on_lost,
                                       exc == NULL ? Py_None : exc);
    if (result == NULL)
        FlLink_Report(self->st, (PyObject *)self,
                      "Exception in a WebSocket connection");
    Py_XDECREF(result);
    Py_DECREF(self);
}

const FlChannelOps FlWebSocket_Ops = {
    .data = ws_data,
    .buffer = ws_buffer,
    .filled = ws_filled,
    .eof = ws_eof,
    .closed = ws_closed,
};
