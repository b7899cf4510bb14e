/* client_link.c -- a client's connection to a server: one request at a time, kept
 * between them.
 *
 * A link borrows a stream for good, as its channel's consumer, and tells a Python
 * object, the sink of the exchange, what comes. The pool, redirects, credentials,
 * time-outs and errors are Python's (pyfastloop/simple_httpclient); here is what
 * happens for each byte and each answer.
 *
 *               start()
 *      IDLE ─────────────► HEAD ──► LENGTH | CHUNKED | CLOSE ──► (end) ──► IDLE
 *        │                  │ ▲ 1xx                              │
 *        │ bytes, EOF       │ └──┘                               └► not reusable: the
 *        ▼                  └──► OPEN (101, CONNECT): detach()      pool closes it
 *      DEAD ◄── any error, close()
 *
 * The sink hears, at most one of the last two and nothing after it:
 *
 *      _on_head(status, reason, headers, minor)   1xx, and in stream mode the head
 *      _on_data(bytes)                            stream mode
 *      _on_answer(status, reason, headers, body, minor), in stream mode _on_end()
 *      _on_lost(why, begun)                       str or exception or None (closed)
 *
 * True from _on_head or _on_data holds the server back until resume(). In collect mode
 * a body is read into its final bytes object, which begins small and doubles: a
 * Content-Length is a promise, not a reason to allocate. Whether another request may
 * follow (`reusable`) is decided before the sink hears of the end: the whole request was
 * sent, the answer's end was certain, and no byte came after it.
 *
 * Invariant: IDLE means no sink, no byte in the channel's tail and nothing queued.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/headers.h"

#include "net/channel.h"
#include "net/iostream.h"
#include "proto/chunked.h"
#include "proto/http1_head.h"
#include "sys/sockets.h"

typedef enum {
    LINK_IDLE,
    LINK_HEAD,
    LINK_LENGTH,
    LINK_CHUNKED,
    LINK_CLOSE, /* the body ends with the connection */
    LINK_OPEN,  /* 101 or 2xx to CONNECT: what follows is no HTTP */
    LINK_DEAD,
} LinkState;

enum { LINK_NO_BODY = 1, LINK_COLLECT = 2, LINK_UNSENT = 4, LINK_CONNECT = 8 };

enum {
    LINK_FIELDS = 256,           /* header fields of one answer */
    LINK_INTERIM = 32,           /* 1xx answers to one request */
    LINK_CHUNK = 64 * 1024,      /* bytes handed to _on_data at most */
    LINK_BODY_FIRST = 64 * 1024, /* what a promised body is given at first */
};

typedef struct {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    PyObject *stream;   /* owned; NULL once detached */
    FlChannel *channel; /* borrowed from stream; NULL once detached */
    PyObject *sink;     /* owned; NULL unless an exchange is under way */
    PyObject *body;     /* owned bytes, NULL: none yet; `body_used` of it are filled */
    PyObject *lent;     /* owned: the body whose memory the channel receives into */
    PyObject *headers;  /* owned; collect mode, until the end */
    PyObject *reason;   /* owned; collect mode, until the end */
    Py_ssize_t body_used;
    uint64_t left;       /* LENGTH: bytes of the body to come */
    uint64_t body_total; /* bytes of the body seen */
    uint64_t max_body;
    uint64_t head_at;     /* loop time at which the head was whole */
    uint64_t seen;        /* bytes that came, of all answers */
    uint64_t sent_before; /* bytes the channel had sent before this request */
    uint32_t max_head;
    uint32_t uses;  /* requests begun */
    size_t scanned; /* of the head, for the parser */
    fl_chunked chunked;
    int status;
    uint8_t state; /* LinkState */
    uint8_t minor;
    uint8_t interim;
    bool no_body; /* HEAD: no body follows whatever the fields say */
    bool collect;
    bool connect;
    bool unsent; /* part of the request is still to be sent */
    bool begun;  /* a byte of the answer came */
    bool keep;   /* the head allows another request */
    bool paused;
    bool reusable;
    PyObject *weakrefs;
} FlClientLink;

static const FlChannelOps link_ops;

/* ---- ending ---- */

static void
link_forget_answer(FlClientLink *self)
{
    Py_CLEAR(self->body);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->reason);
    self->body_used = 0;
}

/* An exception with nowhere to go: the sink's own code failed. */
static void
link_report(FlClientLink *self, PyObject *sink)
{
    FlLoop *loop = FlLoop_Running(self->st);

    if (loop == NULL || FlError_IsFatal())
        PyErr_WriteUnraisable(sink);
    else
        FlLoop_LogException(loop, "Exception in the HTTP client's exchange", sink);
}

/* The exchange failed: closes and tells the sink. `why` is borrowed. escapes */
static void
link_fail(FlClientLink *self, PyObject *why)
{
    PyObject *sink = self->sink;
    PyObject *result;

    self->sink = NULL;
    self->state = LINK_DEAD;
    link_forget_answer(self);
    if (self->channel != NULL)
        FlChannel_Close(self->channel, NULL);
    if (sink == NULL)
        return;
    result = PyObject_CallMethodObjArgs(sink, self->st->str__on_lost, why,
                                        self->begun ? Py_True : Py_False, NULL);
    if (result == NULL)
        link_report(self, sink);
    Py_XDECREF(result);
    Py_DECREF(sink);
}

/* The same with a sentence of C; NULL: no memory for it. escapes */
static void
link_fail_text(FlClientLink *self, const char *text)
{
    PyObject *why = PyUnicode_FromString(text);

    if (why == NULL) {
        PyErr_Clear();
        why = Py_NewRef(Py_None);
    }
    link_fail(self, why);
    Py_DECREF(why);
}

/* The same with the current exception. escapes. -1 when that is fatal and stays set. */
static int
link_fail_raised(FlClientLink *self)
{
    bool fatal = FlError_IsFatal();
    PyObject *exc = PyErr_GetRaisedException();

    link_fail(self, fatal || exc == NULL ? Py_None : exc);
    if (fatal) {
        PyErr_SetRaisedException(exc);
        return -1;
    }
    Py_XDECREF(exc);
    return 0;
}

/* The answer is whole, `rest` bytes stand behind it. escapes. 0, or -1: fatal. */
static int
link_finish(FlClientLink *self, size_t rest)
{
    PyObject *sink = self->sink;
    PyObject *body = NULL, *headers = self->headers, *reason = self->reason;
    PyObject *result = NULL;
    bool closing = self->state == LINK_CLOSE;

    self->sink = NULL;
    self->headers = self->reason = NULL;
    self->reusable = self->keep && !closing && !self->unsent && rest == 0 &&
                     FlChannel_Queued(self->channel) == 0 &&
                     !FlChannel_Closed(self->channel);
    self->state = self->reusable ? LINK_IDLE : LINK_DEAD;
    if (!self->reusable)
        FlChannel_Close(self->channel, NULL);
    if (!self->collect) {
        result = PyObject_CallMethodNoArgs(sink, self->st->str__on_end);
    } else {
        PyObject *status = PyLong_FromLong(self->status);
        PyObject *minor = PyLong_FromLong(self->minor);

        body = self->body;
        self->body = NULL;
        if (body == NULL)
            body = PyBytes_FromStringAndSize(NULL, 0);
        else if (PyBytes_GET_SIZE(body) != self->body_used)
            _PyBytes_Resize(&body, self->body_used);
        self->body_used = 0;
        if (status != NULL && minor != NULL && body != NULL) {
            PyObject *args[6] = {sink, status, reason, headers, body, minor};

            result = PyObject_VectorcallMethod(self->st->str__on_answer, args, 6, NULL);
        }
        Py_XDECREF(status);
        Py_XDECREF(minor);
    }
    Py_XDECREF(body);
    Py_XDECREF(headers);
    Py_XDECREF(reason);
    if (result != NULL) {
        Py_DECREF(result);
    } else if (FlError_IsFatal()) {
        Py_DECREF(sink);
        return -1;
    } else if (self->sink == NULL) {
        self->sink = Py_NewRef(sink); /* it gave up in the middle and is told so */
        link_fail_raised(self);
    } else {
        link_report(self, sink);
    }
    Py_DECREF(sink);
    return 0;
}

/* ---- the body ---- */

/* Memory for `n` more collected bytes; grows by doubling, to `limit` at most. 0 or -1
 * with MemoryError. */
static int
link_room(FlClientLink *self, size_t n, uint64_t limit)
{
    size_t have = self->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(self->body);
    size_t need = (size_t)self->body_used + n;
    size_t size;

    if (need <= have)
        return 0;
    size = have * 2;
    if (size < LINK_BODY_FIRST && need < LINK_BODY_FIRST)
        size = LINK_BODY_FIRST;
    if (size > limit)
        size = (size_t)limit;
    if (size < need)
        size = need;
    if (self->body == NULL) {
        self->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        return self->body == NULL ? -1 : 0;
    }
    return _PyBytes_Resize(&self->body, (Py_ssize_t)size);
}

/* Asks the sink, which may do anything. 1: go on, 0: stop (paused, failed, another
 * exchange), -1: fatal. `result` is stolen. */
static int
link_heard(FlClientLink *self, PyObject *sink, PyObject *result)
{
    if (result == NULL) {
        if (self->sink == sink)
            return link_fail_raised(self) < 0 ? -1 : 0;
        if (FlError_IsFatal())
            return -1;
        link_report(self, sink);
        return 0;
    }
    if (result == Py_True && self->sink == sink)
        self->paused = true;
    Py_DECREF(result);
    return self->sink == sink && !self->paused;
}

/* n bytes of the body. 1: go on, 0: stop, -1: fatal. escapes */
static int
link_body(FlClientLink *self, const char *p, size_t n)
{
    PyObject *sink = self->sink, *chunk;
    int go;

    if (n == 0)
        return 1;
    self->body_total += n;
    if (self->body_total > self->max_body) {
        link_fail_text(self, self->state == LINK_CHUNKED ? "chunked body too large"
                                                         : "body too large");
        return 0;
    }
    if (self->collect) {
        uint64_t limit =
            self->state == LINK_LENGTH ? self->body_used + self->left : UINT64_MAX;

        if (self->body == NULL && self->state == LINK_LENGTH && n == self->left) {
            self->body = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
            if (self->body == NULL)
                return link_fail_raised(self) < 0 ? -1 : 0;
            self->body_used = (Py_ssize_t)n;
            return 1;
        }
        if (link_room(self, n, limit) < 0)
            return link_fail_raised(self) < 0 ? -1 : 0;
        memcpy(PyBytes_AS_STRING(self->body) + self->body_used, p, n);
        self->body_used += (Py_ssize_t)n;
        return 1;
    }
    Py_INCREF(sink);
    chunk = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    if (chunk == NULL) {
        go = link_heard(self, sink, NULL);
    } else {
        go = link_heard(self, sink,
                        PyObject_CallMethodOneArg(sink, self->st->str__on_data, chunk));
        Py_DECREF(chunk);
    }
    Py_DECREF(sink);
    return go;
}

/* What a step of the machine says: go on, wait for more bytes, or stop. */
enum { STEP_STOP = 0, STEP_GO = 1, STEP_WAIT = 2 };

static int
link_take_length(FlClientLink *self, const char *p, size_t n, size_t *at)
{
    while (self->left > 0) {
        size_t have = n - *at;
        int go;

        if (have == 0)
            return STEP_WAIT;
        if (have > self->left)
            have = (size_t)self->left;
        if (!self->collect && have > LINK_CHUNK)
            have = LINK_CHUNK;
        *at += have;
        FlChannel_Took(self->channel, *at);
        go = link_body(self, p + *at - have, have);
        if (go < 0)
            return -1;
        if (self->state != LINK_LENGTH)
            return STEP_STOP;
        self->left -= have;
        if (go == 0)
            return STEP_STOP;
    }
    return link_finish(self, n - *at) < 0 ? -1 : STEP_STOP;
}

static int
link_take_close(FlClientLink *self, const char *p, size_t n, size_t *at)
{
    while (*at < n) {
        size_t have = n - *at;
        int go;

        if (!self->collect && have > LINK_CHUNK)
            have = LINK_CHUNK;
        *at += have;
        FlChannel_Took(self->channel, *at);
        go = link_body(self, p + *at - have, have);
        if (go <= 0)
            return go;
    }
    return STEP_WAIT;
}

static int
link_take_chunked(FlClientLink *self, const char *p, size_t n, size_t *at)
{
    for (;;) {
        fl_span data = {NULL, 0};
        size_t some = n - *at, used = 0;
        int found, go;

        if (!self->collect && some > LINK_CHUNK)
            some = LINK_CHUNK;
        found = fl_chunked_feed(&self->chunked, p + *at, some, &data, &used);
        *at += used;
        if (found < 0) {
            link_fail_text(self, fl_reason_text(-found));
            return STEP_STOP;
        }
        if (found == FL_CHUNK_END)
            return link_finish(self, n - *at) < 0 ? -1 : STEP_STOP;
        if (found == FL_CHUNK_MORE) {
            if (*at == n)
                return STEP_WAIT;
            continue;
        }
        FlChannel_Took(self->channel, *at);
        go = link_body(self, data.p, data.n);
        if (go <= 0)
            return go;
    }
}

/* ---- the head ---- */

static int
link_told_head(FlClientLink *self, PyObject *reason, PyObject *headers)
{
    PyObject *sink = Py_NewRef(self->sink);
    PyObject *status = PyLong_FromLong(self->status);
    PyObject *minor = PyLong_FromLong(self->minor);
    PyObject *result = NULL;
    int go;

    if (status != NULL && minor != NULL) {
        PyObject *args[5] = {sink, status, reason, headers, minor};

        result = PyObject_VectorcallMethod(self->st->str__on_head, args, 5, NULL);
    }
    Py_XDECREF(status);
    Py_XDECREF(minor);
    go = link_heard(self, sink, result);
    Py_DECREF(sink);
    return go;
}

/* Decides how the body ends; false when it was refused. escapes */
static bool
link_frame(FlClientLink *self, const fl_head *head)
{
    bool none = self->no_body || (head->flags & FL_HEAD_NO_BODY) != 0;

    self->keep = (head->flags & FL_HEAD_KEEP_ALIVE) != 0;
    self->left = 0;
    self->body_total = 0;
    if (self->status == 101 ||
        (self->connect && self->status >= 200 && self->status < 300)) {
        self->state = LINK_OPEN;
        self->keep = false;
    } else if (none) {
        self->state = LINK_LENGTH;
    } else if ((head->flags & FL_HEAD_CHUNKED) != 0) {
        fl_chunked_limits limits = FL_CHUNKED_LIMITS;

        self->state = LINK_CHUNKED;
        fl_chunked_init(&self->chunked, &limits, NULL, NULL);
    } else if ((head->flags & FL_HEAD_HAS_LENGTH) != 0) {
        self->state = LINK_LENGTH;
        self->left = head->content_length;
        if (self->left > self->max_body) {
            link_fail_text(self, "Content-Length too long");
            return false;
        }
    } else {
        self->state = LINK_CLOSE;
        self->keep = false;
    }
    return true;
}

static int
link_take_head(FlClientLink *self, const char *p, size_t n, size_t *at)
{
    fl_field fields[LINK_FIELDS];
    fl_head head = {.fields = fields, .cap_fields = LINK_FIELDS};
    fl_head_limits limits = {self->max_head, 0};
    FlHeadBlock *block;
    PyObject *headers, *reason;
    fl_span phrase;
    int used, go;

    self->begun = true;
    used = fl_http1_response(p + *at, n - *at, &self->scanned, &limits, &head);
    if (used == 0)
        return STEP_WAIT;
    if (used < 0) {
        link_fail_text(self, fl_reason_text(-used));
        return STEP_STOP;
    }
    self->scanned = 0;
    phrase = fl_slice_span(p + *at, head.reason);
    reason = PyUnicode_DecodeLatin1(phrase.p, (Py_ssize_t)phrase.n, NULL);
    block = FlHeadBlock_New(p + *at, (size_t)used, &head);
    headers = block == NULL ? NULL : FlHTTPHeaders_FromBlock(self->st, block);
    FlHeadBlock_Release(block);
    *at += (size_t)used;
    if (reason == NULL || headers == NULL) {
        Py_XDECREF(reason);
        Py_XDECREF(headers);
        return link_fail_raised(self) < 0 ? -1 : STEP_STOP;
    }
    self->head_at = FlLoop_Now(self->channel->loop);
    self->status = head.status;
    self->minor = head.minor_version;
    go = STEP_STOP;
    if (head.status < 200 && head.status != 101) {
        if (++self->interim > LINK_INTERIM) {
            link_fail_text(self, "too many 1xx answers");
        } else {
            FlChannel_Took(self->channel, *at);
            go = link_told_head(self, reason, headers);
        }
    } else if (link_frame(self, &head)) {
        if (self->collect && self->state != LINK_OPEN) {
            self->headers = Py_NewRef(headers);
            self->reason = Py_NewRef(reason);
            go = STEP_GO;
        } else {
            FlChannel_Took(self->channel, *at);
            go = link_told_head(self, reason, headers);
        }
    }
    Py_DECREF(reason);
    Py_DECREF(headers);
    return go;
}

/* ---- the channel's consumer ---- */

/* Takes what it can of p[0..n). Bytes taken, or -1: fatal. escapes */
static Py_ssize_t
link_take(FlClientLink *self, const char *p, size_t n)
{
    size_t at = 0;
    int step = STEP_GO;

    while (step == STEP_GO && !self->paused && self->sink != NULL) {
        switch (self->state) {
        case LINK_HEAD:
            step = at < n ? link_take_head(self, p, n, &at) : STEP_WAIT;
            break;
        case LINK_LENGTH:
            step = link_take_length(self, p, n, &at);
            break;
        case LINK_CHUNKED:
            step = link_take_chunked(self, p, n, &at);
            break;
        case LINK_CLOSE:
            step = link_take_close(self, p, n, &at);
            break;
        default:
            step = STEP_STOP;
        }
    }
    return step < 0 ? -1 : (Py_ssize_t)at;
}

static Py_ssize_t
link_data(FlChannel *ch, const char *p, size_t n)
{
    FlClientLink *self = ch->self;
    Py_ssize_t took;

    Py_INCREF(self);
    Py_CLEAR(self->lent);
    self->seen += n;
    if (self->state == LINK_IDLE) {
        /* Bytes that nobody asked for: whose answer would they be? */
        self->state = LINK_DEAD;
        FlChannel_Close(ch, NULL);
        took = (Py_ssize_t)n;
    } else if (self->state == LINK_DEAD) {
        took = (Py_ssize_t)n;
    } else {
        took = link_take(self, p, n);
        if (took >= 0 && self->paused && self->channel != NULL)
            FlChannel_WantRead(ch, false);
    }
    Py_DECREF(self);
    return took;
}

static char *
link_buffer(FlChannel *ch, size_t *n)
{
    FlClientLink *self = ch->self;

    Py_CLEAR(self->lent);
    if (!self->collect || self->state != LINK_LENGTH || self->sink == NULL)
        return NULL;
    if (self->left < 4096 || self->body == NULL)
        return NULL; /* small, or the first piece: the shared buffer does */
    if (PyBytes_GET_SIZE(self->body) == self->body_used)
        return NULL; /* growing may fail: data() does it, where that is told */
    /* Receiving may run Python (TLS), and that may close the link: a reference of its
     * own keeps the memory. */
    self->lent = Py_NewRef(self->body);
    *n = (size_t)(PyBytes_GET_SIZE(self->body) - self->body_used);
    return PyBytes_AS_STRING(self->body) + self->body_used;
}

static int
link_filled(FlChannel *ch, size_t n)
{
    FlClientLink *self = ch->self;
    int err = 0;

    Py_INCREF(self);
    self->seen += n;
    if (self->lent != NULL && self->lent == self->body && self->state == LINK_LENGTH) {
        Py_CLEAR(self->lent);
        self->body_used += (Py_ssize_t)n;
        self->body_total += n;
        self->left -= n;
        if (self->left == 0)
            err = link_finish(self, 0);
    }
    Py_CLEAR(self->lent);
    Py_DECREF(self);
    return err;
}

static int
link_eof(FlChannel *ch)
{
    FlClientLink *self = ch->self;
    int err = 0;

    Py_INCREF(self);
    if (self->sink == NULL) {
        self->state = LINK_DEAD;
        FlChannel_Close(ch, NULL);
    } else if (self->state == LINK_CLOSE) {
        err = link_finish(self, 0);
    } else {
        link_fail(self, Py_None);
    }
    Py_DECREF(self);
    return err;
}

static void
link_closed(FlChannel *ch, PyObject *exc)
{
    FlClientLink *self = ch->self;

    Py_INCREF(self);
    link_fail(self, exc == NULL ? Py_None : exc);
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
    static char *names[] = {"stream", "max_header_size", NULL};
    FlClientLink *self;
    PyObject *stream;
    unsigned int max_head = 65536;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|I:ClientLink", names, &stream,
                                     &max_head))
        return NULL;
    self = (FlClientLink *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = LINK_DEAD;
    self->max_head = max_head;
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        goto fail;
    self->channel = FlIOStream_Channel(self->st, stream);
    if (self->channel == NULL) {
        PyErr_Format(PyExc_TypeError, "ClientLink needs an IOStream, not %.100s",
                     Py_TYPE(stream)->tp_name);
        goto fail;
    }
    if (FlIOStream_Borrow(stream, &link_ops, self) < 0) {
        self->channel = NULL;
        goto fail;
    }
    self->stream = Py_NewRef(stream);
    if (!FlChannel_Closed(self->channel)) {
        self->state = LINK_IDLE;
        if (FlChannel_WantRead(self->channel, true) < 0)
            goto fail;
    }
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

/* Gives the stream back to its own reads. */
static void
link_let_go(FlClientLink *self)
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
    FlClientLink *self = (FlClientLink *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->stream);
    Py_VISIT(self->sink);
    Py_VISIT(self->headers);
    return 0;
}

static int
link_clear(PyObject *op)
{
    FlClientLink *self = (FlClientLink *)op;

    self->state = LINK_DEAD;
    Py_CLEAR(self->sink);
    Py_CLEAR(self->lent);
    link_forget_answer(self);
    link_let_go(self);
    return 0;
}

static void
link_dealloc(PyObject *op)
{
    FlClientLink *self = (FlClientLink *)op;
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

/* An idle link that waited: what has arrived meanwhile is an end, or nobody's answer,
 * and closes it. With TLS it may be neither (a session ticket): TLS is asked, but only
 * where the kernel has something, because its "nothing yet" is an exception. 0, or -1
 * with an exception that is no connection's. escapes */
static int
link_look(FlClientLink *self)
{
    FlChannel *ch = self->channel;
    ssize_t got;

    if (self->state != LINK_IDLE || FlChannel_Closed(ch))
        return 0;
    if (ch->io->buffers && !fl_socket_has_news(ch->watch.fd))
        return 0;
    got = FlChannel_ReadMore(ch, 1);
    if (got == -EAGAIN)
        return 0;
    if (got == FL_IO_RAISED) {
        if (!PyErr_ExceptionMatches(PyExc_OSError)) /* ssl's errors are such */
            return -1;
        PyErr_Clear();
    }
    self->state = LINK_DEAD;
    if (self->channel != NULL)
        FlChannel_Close(self->channel, NULL);
    return 0;
}

PyDoc_STRVAR(link_start_doc,
             "start($self, sink, head, body, flags, max_body_size, /)\n--\n\n"
             "Send head (bytes) and body (bytes or None) and tell sink of the answer.\n"
             "False when the connection turned out to be closed: nothing was sent.");

static PyObject *
link_start(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    FlClientLink *self = (FlClientLink *)op;
    FlChannel *ch = self->channel;
    fl_chunk chunks[2];
    int count = 1;
    long flags;
    long long max_body;

    if (nargs != 5 || !PyBytes_Check(args[1]) ||
        !(args[2] == Py_None || PyBytes_Check(args[2]))) {
        PyErr_SetString(
            PyExc_TypeError,
            "start(sink, head: bytes, body: bytes | None, flags, max_body)");
        return NULL;
    }
    flags = PyLong_AsLong(args[3]);
    max_body = PyLong_AsLongLong(args[4]);
    if (PyErr_Occurred())
        return NULL;
    if (self->sink != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the link is busy with another request");
        return NULL;
    }
    if (self->uses > 0 && link_look(self) < 0)
        return NULL;
    if (self->state != LINK_IDLE || self->sink != NULL || FlChannel_Closed(ch) ||
        FlChannel_Eof(ch)) {
        self->state = LINK_DEAD;
        Py_RETURN_FALSE;
    }
    self->sink = Py_NewRef(args[0]);
    self->state = LINK_HEAD;
    self->uses++;
    self->no_body = (flags & LINK_NO_BODY) != 0;
    self->collect = (flags & LINK_COLLECT) != 0;
    self->unsent = (flags & LINK_UNSENT) != 0;
    self->connect = (flags & LINK_CONNECT) != 0;
    self->max_body = max_body < 0 ? UINT64_MAX : (uint64_t)max_body;
    self->begun = self->paused = self->reusable = self->keep = false;
    self->interim = 0;
    self->scanned = 0;
    self->sent_before = ch->total_sent;
    chunks[0] = (fl_chunk){PyBytes_AS_STRING(args[1]),
                           (size_t)PyBytes_GET_SIZE(args[1]), args[1]};
    if (args[2] != Py_None && PyBytes_GET_SIZE(args[2]) > 0) {
        chunks[1] = (fl_chunk){PyBytes_AS_STRING(args[2]),
                               (size_t)PyBytes_GET_SIZE(args[2]), args[2]};
        count = 2;
    }
    if (FlChannel_Writev(ch, chunks, count) < 0) {
        Py_CLEAR(self->sink);
        self->state = LINK_DEAD;
        FlChannel_Close(ch, NULL);
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *
link_sent(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((FlClientLink *)op)->unsent = false;
    Py_RETURN_NONE;
}

static PyObject *
link_resume(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlClientLink *self = (FlClientLink *)op;

    if (self->paused && self->channel != NULL) {
        size_t rest;
        int err;

        self->paused = false;
        err = FlChannel_WantRead(self->channel, true);
        if (err == 0 && self->state == LINK_LENGTH && self->left == 0) {
            /* The pause came with the last byte: no other one will call us. */
            FlChannel_Tail(self->channel, &rest);
            err = link_finish(self, rest);
        } else if (err == 0) {
            err = FlChannel_Resume(self->channel);
        }
        if (err < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
link_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlClientLink *self = (FlClientLink *)op;

    Py_INCREF(self);
    self->state = LINK_DEAD;
    Py_CLEAR(self->sink);
    link_forget_answer(self);
    if (self->channel != NULL)
        FlChannel_Close(self->channel, NULL);
    Py_DECREF(self);
    Py_RETURN_NONE;
}

static PyObject *
link_detach(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlClientLink *self = (FlClientLink *)op;
    PyObject *stream;

    if (self->stream == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the link has given its stream away");
        return NULL;
    }
    stream = Py_NewRef(self->stream);
    self->state = LINK_DEAD;
    link_let_go(self);
    Py_CLEAR(self->sink);
    return stream;
}

static bool
bytes_ok(const char *p, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] <= ' ' || (unsigned char)p[i] >= 0x7F)
            return false;
    }
    return n > 0;
}

/* Appends one header line; 0 or -1. */
static int
head_line(fl_buf *out, FlHTTPHeaders *headers, int32_t at)
{
    PyObject *name = FlHTTPHeaders_Name(headers, at);
    fl_span value;
    Py_ssize_t n;
    const char *p = name == NULL ? NULL : PyUnicode_AsUTF8AndSize(name, &n);
    int err = 0;

    if (p == NULL)
        return -1;
    if (!FlHTTPHeaders_ValueSpan(headers, at, &value)) {
        PyErr_Format(PyExc_ValueError,
                     "the header %U has a character that latin-1 does not have", name);
        return -1;
    }
    err |= fl_buf_append(out, p, (size_t)n);
    err |= fl_buf_append(out, ": ", 2);
    err |= fl_buf_append(out, value.p, value.n);
    err |= fl_buf_append(out, "\r\n", 2);
    if (err != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(
    link_request_head_doc,
    "request_head($type, method, target, headers, /)\n--\n\n"
    "The bytes of a request head. The map keeps its values free of CR, LF and\n"
    "NUL; method and target must be printable ASCII without spaces.");

static PyObject *
link_request_head(PyObject *type, PyObject *const *args, Py_ssize_t nargs)
{
    FlState *st = FlState_OfType((PyTypeObject *)type);
    FlHTTPHeaders *headers;
    const char *method, *target;
    Py_ssize_t method_n, target_n;
    PyObject *result = NULL;
    fl_buf out;
    int err = 0;

    if (st == NULL)
        return NULL;
    if (nargs != 3 || !FlHTTPHeaders_Check(st, args[2])) {
        PyErr_SetString(PyExc_TypeError,
                        "request_head(method: str, target: str, headers: HTTPHeaders)");
        return NULL;
    }
    headers = (FlHTTPHeaders *)args[2];
    method = PyUnicode_AsUTF8AndSize(args[0], &method_n);
    target = method == NULL ? NULL : PyUnicode_AsUTF8AndSize(args[1], &target_n);
    if (target == NULL)
        return NULL;
    if (!bytes_ok(method, method_n) || !bytes_ok(target, target_n)) {
        PyErr_Format(PyExc_ValueError,
                     "method %R or target %R has characters that may not stand in a "
                     "request line",
                     args[0], args[1]);
        return NULL;
    }
    fl_buf_init(&out);
    err |= fl_buf_append(&out, method, (size_t)method_n);
    err |= fl_buf_append(&out, " ", 1);
    err |= fl_buf_append(&out, target, (size_t)target_n);
    err |= fl_buf_append(&out, " HTTP/1.1\r\n", 11);
    if (err != 0)
        PyErr_NoMemory();
    for (int32_t i = 0; err == 0 && i < headers->count; i++)
        err = head_line(&out, headers, i);
    if (err == 0) {
        err = fl_buf_append(&out, "\r\n", 2);
        if (err != 0)
            PyErr_NoMemory();
    }
    if (err == 0)
        result =
            PyBytes_FromStringAndSize(fl_buf_ptr(&out), (Py_ssize_t)fl_buf_len(&out));
    fl_buf_free(&out);
    return result;
}

static PyObject *
link_get_closed(PyObject *op, void *Py_UNUSED(closure))
{
    FlClientLink *self = (FlClientLink *)op;

    return PyBool_FromLong(self->state == LINK_DEAD || self->channel == NULL ||
                           FlChannel_Closed(self->channel));
}

static PyObject *
link_get_head_at(PyObject *op, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble((double)((FlClientLink *)op)->head_at * 1e-9);
}

static PyObject *
link_get_untouched(PyObject *op, void *Py_UNUSED(closure))
{
    FlClientLink *self = (FlClientLink *)op;

    return PyBool_FromLong(self->channel != NULL &&
                           self->channel->total_sent == self->sent_before);
}

static PyObject *
link_get_bytes_moved(PyObject *op, void *Py_UNUSED(closure))
{
    FlClientLink *self = (FlClientLink *)op;
    uint64_t sent = self->channel == NULL ? 0 : self->channel->total_sent;

    return PyLong_FromUnsignedLongLong(self->seen + sent);
}

static PyMethodDef link_methods[] = {
    {"start", (PyCFunction)(void (*)(void))link_start, METH_FASTCALL, link_start_doc},
    {"sent", link_sent, METH_NOARGS, "The rest of the request has been written."},
    {"resume", link_resume, METH_NOARGS, "Read on after a pause."},
    {"close", link_close, METH_NOARGS, "Close without telling the sink."},
    {"detach", link_detach, METH_NOARGS,
     "Give the stream away, with the bytes that came after the head."},
    {"request_head", (PyCFunction)(void (*)(void))link_request_head,
     METH_FASTCALL | METH_CLASS, link_request_head_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef link_members[] = {
    {"stream", T_OBJECT, offsetof(FlClientLink, stream), READONLY,
     "The stream; None once it was given away."},
    {"uses", T_UINT, offsetof(FlClientLink, uses), READONLY, "Requests begun."},
    {"reusable", T_BOOL, offsetof(FlClientLink, reusable), READONLY,
     "Another request may follow the answer that ended."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlClientLink, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef link_getset[] = {
    {"closed", link_get_closed, NULL, "No request can be sent any more.", NULL},
    {"head_at", link_get_head_at, NULL,
     "When the last head was whole, as time.monotonic() tells time.", NULL},
    {"untouched", link_get_untouched, NULL,
     "Not a byte of the last request has left: it may be sent elsewhere.", NULL},
    {"bytes_moved", link_get_bytes_moved, NULL,
     "Bytes sent and received so far; grows while the peer is alive.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(link_doc, "ClientLink(stream, max_header_size=65536)\n--\n\n"
                       "A client's connection: one request at a time over one stream.");

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
    .name = "pyfastloop._core.ClientLink",
    .basicsize = sizeof(FlClientLink),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = link_slots,
};

int
FlClientLink_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->ClientLink_type, &link_spec, NULL, false);
}
