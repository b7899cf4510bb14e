/* client_link.c -- a client's connection to a server: one request at a time, kept
 * between them.
 *
 * A link borrows a stream for good, as its channel's consumer, and tells a sink, the
 * exchange whose request it carries, what comes. In collect mode that is an FlExchange,
 * which gets the whole answer without Python (FlExchange_Answer); everything else is a
 * method of the sink.
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
 *      _on_end()                                  stream mode
 *      _on_lost(why, begun)                       str or exception or None (closed)
 *
 * True from _on_head or _on_data holds the server back until resume(). In collect mode
 * a body is read into its final bytes object (link.c); a head is read in small bites, so
 * that little of a body comes along with it, and has to be copied. Whether another
 * request may follow (`reusable`) is decided before the sink hears of the end: the whole
 * request was sent, the answer's end was certain, and no byte came after it.
 *
 * Invariant: IDLE means no sink, no byte in the channel's tail and nothing queued.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

#include "proto/http1_head.h"

enum {
    LINK_FIELDS = 256,      /* header fields of one answer */
    LINK_INTERIM = 32,      /* 1xx answers to one request */
    LINK_CHUNK = 64 * 1024, /* bytes handed to _on_data at most */
};

/* ---- ending ---- */

void
FlClientLink_ForgetAnswer(FlClientLink *self)
{
    FlLink_Forget(&self->link);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->reason);
}

/* An exception with nowhere to go: the sink's own code failed. */
static void
link_report(FlClientLink *self, PyObject *sink)
{
    FlLink_Report(self->st, sink, "Exception in the HTTP client's exchange");
}

/* The exchange failed: closes and tells the sink. `why` is borrowed. escapes */
static void
link_fail(FlClientLink *self, PyObject *why)
{
    PyObject *sink = self->sink;
    PyObject *result;

    self->sink = NULL;
    self->state = LINK_DEAD;
    FlClientLink_ForgetAnswer(self);
    if (self->link.channel != NULL)
        FlChannel_Close(self->link.channel, NULL);
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
int
FlClientLink_Finish(FlClientLink *self, size_t rest)
{
    PyObject *sink = self->sink;
    PyObject *body = NULL, *headers = self->headers, *reason = self->reason;
    PyObject *result = NULL;
    bool closing = self->state == LINK_CLOSE;

    self->sink = NULL;
    self->headers = self->reason = NULL;
    self->reusable = self->keep && !closing && !self->unsent && rest == 0 &&
                     FlChannel_Queued(self->link.channel) == 0 &&
                     !FlChannel_Closed(self->link.channel);
    self->state = self->reusable ? LINK_IDLE : LINK_DEAD;
    if (!self->reusable)
        FlChannel_Close(self->link.channel, NULL);
    if (!self->collect) {
        result = PyObject_CallMethodNoArgs(sink, self->st->str__on_end);
    } else {
        body = FlLink_TakeBody(&self->link);
        if (body != NULL &&
            FlExchange_Answer(sink, self->status, reason, headers, body) == 0)
            result = Py_NewRef(Py_None);
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
        link_fail_text(self, "body too large");
        return 0;
    }
    if (self->collect) {
        uint64_t limit =
            self->state == LINK_LENGTH ? self->link.used + self->left : UINT64_MAX;

        if (self->link.body == NULL && self->state == LINK_LENGTH && n == self->left) {
            self->link.body = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
            if (self->link.body == NULL)
                return link_fail_raised(self) < 0 ? -1 : 0;
            self->link.used = (Py_ssize_t)n;
            return 1;
        }
        if (FlLink_Add(&self->link, p, n, limit) < 0)
            return link_fail_raised(self) < 0 ? -1 : 0;
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
        FlChannel_Took(self->link.channel, *at);
        go = link_body(self, p + *at - have, have);
        if (go < 0)
            return -1;
        if (self->state != LINK_LENGTH)
            return STEP_STOP;
        self->left -= have;
        if (go == 0)
            return STEP_STOP;
    }
    return FlClientLink_Finish(self, n - *at) < 0 ? -1 : STEP_STOP;
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
        FlChannel_Took(self->link.channel, *at);
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
            return FlClientLink_Finish(self, n - *at) < 0 ? -1 : STEP_STOP;
        if (found == FL_CHUNK_MORE) {
            if (*at == n)
                return STEP_WAIT;
            continue;
        }
        if (fl_chunked_past(&self->chunked, self->max_body)) {
            link_fail_text(self, "chunked body too large");
            return STEP_STOP;
        }
        FlChannel_Took(self->link.channel, *at);
        go = link_body(self, data.p, data.n);
        if (go <= 0)
            return go;
    }
}

/* ---- the head ---- */

static int
link_told_head(FlClientLink *self, PyObject *reason, PyObject *headers, long version)
{
    PyObject *sink = Py_NewRef(self->sink);
    PyObject *status = PyLong_FromLong(self->status);
    PyObject *minor = PyLong_FromLong(version);
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
    self->head_at = FlLoop_Now(self->link.channel->loop);
    self->status = head.status;
    if (head.status >= 200 || head.status == 101)
        self->link.channel->bite = 0;
    go = STEP_STOP;
    if (head.status < 200 && head.status != 101) {
        if (++self->interim > LINK_INTERIM) {
            link_fail_text(self, "too many 1xx answers");
        } else {
            FlChannel_Took(self->link.channel, *at);
            go = link_told_head(self, reason, headers, head.minor_version);
        }
    } else if (link_frame(self, &head)) {
        if (self->collect && self->state != LINK_OPEN) {
            self->headers = Py_NewRef(headers);
            self->reason = Py_NewRef(reason);
            go = STEP_GO;
        } else {
            FlChannel_Took(self->link.channel, *at);
            go = link_told_head(self, reason, headers, head.minor_version);
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
    Py_CLEAR(self->link.lent);
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
        if (took >= 0 && self->paused && self->link.channel != NULL)
            FlChannel_WantRead(ch, false);
    }
    Py_DECREF(self);
    return took;
}

static char *
link_buffer(FlChannel *ch, size_t *n)
{
    FlClientLink *self = ch->self;

    Py_CLEAR(self->link.lent);
    if (!self->collect || self->state != LINK_LENGTH || self->sink == NULL)
        return NULL;
    if (self->left < 4096)
        return NULL; /* small: the shared buffer does */
    return FlLink_Lend(&self->link, n, self->left);
}

static PyObject *
link_keeper(FlChannel *ch)
{
    return FlLink_Keeper(&((FlClientLink *)ch->self)->link);
}

static int
link_filled(FlChannel *ch, size_t n)
{
    FlClientLink *self = ch->self;
    int err = 0;

    Py_INCREF(self);
    self->seen += n;
    if (self->state == LINK_LENGTH && FlLink_Returned(&self->link, n) != NULL) {
        self->body_total += n;
        self->left -= n;
        if (self->left == 0)
            err = FlClientLink_Finish(self, 0);
    }
    Py_CLEAR(self->link.lent);
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
        err = FlClientLink_Finish(self, 0);
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

const FlChannelOps FlClientLink_Ops = {
    .data = link_data,
    .buffer = link_buffer,
    .keeper = link_keeper,
    .filled = link_filled,
    .eof = link_eof,
    .closed = link_closed,
};
