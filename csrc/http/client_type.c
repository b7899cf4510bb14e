/* client_type.c -- ClientLink as Python sees it: starting requests, detaching.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

#include "sys/sockets.h"

enum { LINK_BITE = 16 * 1024 /* more than nearly any head */ };

static PyObject *
link_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream", "max_header_size", "key", NULL};
    FlClientLink *self;
    PyObject *stream, *key = Py_None;
    unsigned int max_head = 65536;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|IO:ClientLink", names, &stream,
                                     &max_head, &key))
        return NULL;
    self = (FlClientLink *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->state = LINK_DEAD;
    self->max_head = max_head;
    self->key = Py_NewRef(key);
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        goto fail;
    if (FlLink_Open(&self->link, self->st, stream, &FlClientLink_Ops, self) < 0)
        goto fail;
    if (!FlChannel_Closed(self->link.channel)) {
        self->state = LINK_IDLE;
        if (FlChannel_WantRead(self->link.channel, true) < 0)
            goto fail;
    }
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

static int
link_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlClientLink *self = (FlClientLink *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->link.stream);
    Py_VISIT(self->sink);
    Py_VISIT(self->headers);
    Py_VISIT(self->key);
    return 0;
}

static int
link_clear(PyObject *op)
{
    FlClientLink *self = (FlClientLink *)op;
    PyObject *stream;

    self->state = LINK_DEAD;
    Py_CLEAR(self->sink);
    Py_CLEAR(self->link.lent);
    FlClientLink_ForgetAnswer(self);
    stream = FlLink_Release(&self->link);
    Py_XDECREF(stream);
    return 0;
}

static void
link_dealloc(PyObject *op)
{
    FlClientLink *self = (FlClientLink *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject *exc;

    PyObject_GC_UnTrack(op); /* making the exception may call the collector */
    exc = PyErr_GetRaisedException();
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    link_clear(op);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    type->tp_free(op);
    Py_DECREF(type);
}

/* A link that was used before: what has arrived meanwhile is an end, or nobody's answer,
 * and closes it. With TLS it may be neither (a session ticket): TLS is asked, but only
 * where it, or the kernel, has something, because its "nothing yet" is an exception. 0,
 * or -1 with an exception that is no connection's. escapes */
static int
link_look(FlClientLink *self)
{
    FlChannel *ch = self->link.channel;
    ssize_t got;

    if (self->state != LINK_IDLE || FlChannel_Closed(ch))
        return 0;
    if (ch->io->buffers && !ch->holds && !ch->unread &&
        !fl_socket_has_news(ch->watch.fd))
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
    if (self->link.channel != NULL)
        FlChannel_Close(self->link.channel, NULL);
    return 0;
}

bool
FlClientLink_Check(FlState *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->ClientLink_type);
}

bool
FlClientLink_Closed(const FlClientLink *self)
{
    return self->state == LINK_DEAD || self->link.channel == NULL ||
           FlChannel_Closed(self->link.channel);
}

void
FlClientLink_Close(FlClientLink *self)
{
    Py_INCREF(self);
    self->state = LINK_DEAD;
    Py_CLEAR(self->sink);
    FlClientLink_ForgetAnswer(self);
    if (self->link.channel != NULL)
        FlChannel_Close(self->link.channel, NULL);
    Py_DECREF(self);
}

int
FlClientLink_Start(FlClientLink *self, PyObject *sink, PyObject *head, PyObject *body,
                   long flags, uint64_t max_body)
{
    FlChannel *ch = self->link.channel;
    fl_chunk chunks[2];
    int count = 1;

    if (self->sink != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the link is busy with another request");
        return -1;
    }
    if ((flags & LINK_COLLECT) != 0 && !FlExchange_Check(self->st, sink)) {
        PyErr_SetString(PyExc_TypeError, "only an Exchange gets an answer as a whole");
        return -1;
    }
    if (self->uses > 0 && link_look(self) < 0)
        return -1;
    if (self->state != LINK_IDLE || self->sink != NULL || FlChannel_Closed(ch) ||
        FlChannel_Eof(ch)) {
        self->state = LINK_DEAD;
        return 0;
    }
    self->sink = Py_NewRef(sink);
    self->state = LINK_HEAD;
    self->uses++;
    self->no_body = (flags & LINK_NO_BODY) != 0;
    self->collect = (flags & LINK_COLLECT) != 0;
    self->unsent = (flags & LINK_UNSENT) != 0;
    self->connect = (flags & LINK_CONNECT) != 0;
    self->max_body = max_body;
    self->begun = self->paused = self->reusable = self->keep = false;
    self->interim = 0;
    self->scanned = 0;
    self->sent_before = ch->total_sent;
    ch->bite = LINK_BITE;
    chunks[0] =
        (fl_chunk){PyBytes_AS_STRING(head), (size_t)PyBytes_GET_SIZE(head), head};
    if (body != NULL && PyBytes_GET_SIZE(body) > 0) {
        chunks[1] =
            (fl_chunk){PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body), body};
        count = 2;
    }
    if (FlChannel_Writev(ch, chunks, count) < 0) {
        Py_CLEAR(self->sink);
        self->state = LINK_DEAD;
        FlChannel_Close(ch, NULL);
        return -1;
    }
    return 1;
}

PyDoc_STRVAR(link_start_doc,
             "start($self, sink, head, body, flags, max_body_size, /)\n--\n\n"
             "Send head (bytes) and body (bytes or None) and tell sink of the answer.\n"
             "False when the connection turned out to be closed: nothing was sent.");

static PyObject *
link_start(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    long flags;
    long long max_body;
    int started;

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
    started = FlClientLink_Start((FlClientLink *)op, args[0], args[1],
                                 args[2] == Py_None ? NULL : args[2], flags,
                                 max_body < 0 ? UINT64_MAX : (uint64_t)max_body);
    return started < 0 ? NULL : PyBool_FromLong(started);
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

    if (self->paused && self->link.channel != NULL) {
        size_t rest;
        int err;

        self->paused = false;
        err = FlChannel_WantRead(self->link.channel, true);
        if (err == 0 && self->state == LINK_LENGTH && self->left == 0) {
            /* The pause came with the last byte: no other one will call us. */
            FlChannel_Tail(self->link.channel, &rest);
            err = FlClientLink_Finish(self, rest);
        } else if (err == 0) {
            err = FlChannel_Resume(self->link.channel);
        }
        if (err < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
link_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlClientLink_Close((FlClientLink *)op);
    Py_RETURN_NONE;
}

static PyObject *
link_detach(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlClientLink *self = (FlClientLink *)op;
    PyObject *stream;

    if (self->link.stream == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the link has given its stream away");
        return NULL;
    }
    self->state = LINK_DEAD;
    stream = FlLink_Release(&self->link);
    Py_CLEAR(self->sink);
    return stream;
}

PyDoc_STRVAR(
    link_request_head_doc,
    "request_head($type, method, target, headers, /)\n--\n\n"
    "The bytes of a request head. The map keeps its values free of CR, LF and\n"
    "NUL; method and target must be printable ASCII without spaces.");

static PyObject *
link_get_closed(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(FlClientLink_Closed((FlClientLink *)op));
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

    return PyBool_FromLong(self->link.channel != NULL &&
                           self->link.channel->total_sent == self->sent_before);
}

static PyObject *
link_get_bytes_moved(PyObject *op, void *Py_UNUSED(closure))
{
    FlClientLink *self = (FlClientLink *)op;
    uint64_t sent = self->link.channel == NULL ? 0 : self->link.channel->total_sent;

    return PyLong_FromUnsignedLongLong(self->seen + sent);
}

static PyMethodDef link_methods[] = {
    {"start", (PyCFunction)(void (*)(void))link_start, METH_FASTCALL, link_start_doc},
    {"sent", link_sent, METH_NOARGS, "The rest of the request has been written."},
    {"resume", link_resume, METH_NOARGS, "Read on after a pause."},
    {"close", link_close, METH_NOARGS, "Close without telling the sink."},
    {"detach", link_detach, METH_NOARGS,
     "Give the stream away, with the bytes that came after the head."},
    {"request_head", (PyCFunction)(void (*)(void))FlClientLink_RequestHead,
     METH_FASTCALL | METH_CLASS, link_request_head_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef link_members[] = {
    {"stream", T_OBJECT, offsetof(FlClientLink, link.stream), READONLY,
     "The stream; None once it was given away."},
    {"key", T_OBJECT, offsetof(FlClientLink, key), READONLY,
     "What requests must have in common to share the link."},
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

PyDoc_STRVAR(link_doc, "ClientLink(stream, max_header_size=65536, key=None)\n--\n\n"
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
