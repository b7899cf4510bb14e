/* datagram.c -- asyncio's datagram transports: their life, their methods, their type.
 *
 * Order of a life: connection_made, then any number of datagram_received and
 * error_received, connection_lost exactly once and last, each from the loop.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/datagram.h"

#include "net/listener.h"
#include "net/sock_call.h"

/* ---- calling the protocol ---- */

PyObject *
FlDatagrams_Call(FlDatagrams *self, PyObject *name, PyObject *arg)
{
    PyObject *args[2] = {NULL, arg}, *res;
    PyObject *method;

    if (self->protocol == NULL)
        Py_RETURN_NONE;
    method = PyObject_GetAttr(self->protocol, name);
    if (method == NULL)
        return NULL;
    res = FlTransport_CallIn(self->loop, self->context, (PyObject *)self, method, args,
                             arg != NULL);
    Py_DECREF(method);
    return res;
}

int
FlDatagrams_Report(FlDatagrams *self, const char *message)
{
    return FlTransport_ReportOf(self->loop, (PyObject *)self, self->protocol, message);
}

/* ---- ending ---- */

static int
datagrams_lost(FlLoop *loop, PyObject *obj)
{
    FlDatagrams *self = (FlDatagrams *)obj;
    PyObject *res, *closed;
    int err = 0;

    (void)loop;
    if (self->started) {
        res = FlDatagrams_Call(self, self->st->str_connection_lost,
                               self->error ? self->error : Py_None);
        if (res == NULL)
            err = FlDatagrams_Report(
                self, "Exception in callback: protocol.connection_lost() failed");
        Py_XDECREF(res);
    }
    PyObject *pending = PyErr_GetRaisedException();

    Py_CLEAR(self->protocol);
    Py_CLEAR(self->on_data);
    closed = PyObject_CallMethodNoArgs(self->sock, self->st->str_close);
    if (closed == NULL)
        PyErr_WriteUnraisable(self->sock);
    Py_XDECREF(closed);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
    return err;
}

/* Nothing more to do for the kernel: out of epoll, connection_lost comes. */
void
FlDatagrams_End(FlDatagrams *self)
{
    PyObject *pending;

    if (self->ended)
        return;
    self->ended = true;
    pending = PyErr_GetRaisedException();
    Py_INCREF(self);
    FlLoop_Unwatch(self->loop, &self->watch);
    if (FlLoop_Defer(self->loop, datagrams_lost, (PyObject *)self) < 0)
        PyErr_Clear(); /* the loop is closed: nobody is left to be told */
    Py_DECREF(self);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static void
abort_with(FlDatagrams *self, PyObject *exc)
{
    if (self->ended)
        return;
    self->closing = true;
    Py_XSETREF(self->error, Py_XNewRef(exc));
    FlDatagrams_DropQueue(self);
    FlDatagrams_End(self);
}

int
FlDatagrams_Fail(FlDatagrams *self, const char *message)
{
    PyObject *exc;
    int err = 0;

    if (FlError_IsFatal())
        return -1;
    exc = PyErr_GetRaisedException();
    if (!PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError)) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        err = FlDatagrams_Report(self, message);
    }
    abort_with(self, exc);
    Py_DECREF(exc);
    return err;
}

int
FlDatagrams_Watch(FlDatagrams *self)
{
    uint32_t events = (self->closing ? 0u : EPOLLIN) | (self->first ? EPOLLOUT : 0u);

    if (self->ended || !self->started)
        return 0;
    if (events == 0) {
        FlLoop_Unwatch(self->loop, &self->watch);
        return 0;
    }
    if (FlLoop_Watched(&self->watch))
        return FlLoop_Rewatch(self->loop, &self->watch, events);
    return FlLoop_Watch(self->loop, &self->watch, events);
}

/* ---- methods ---- */

static PyObject *
datagrams_sendto(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"data", "addr", NULL};
    PyObject *data, *address = Py_None;
    int err;

    if (kwargs == NULL && PyTuple_GET_SIZE(args) == 2) {
        data = PyTuple_GET_ITEM(args, 0);
        address = PyTuple_GET_ITEM(args, 1);
    } else if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:sendto", names, &data,
                                            &address)) {
        return NULL;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(PyExc_TypeError,
                     "data argument must be a bytes, bytearray or memoryview object, "
                     "not '%s'",
                     Py_TYPE(data)->tp_name);
        return NULL;
    }
    Py_INCREF(obj);
    err = FlDatagrams_Send((FlDatagrams *)obj, data, address);
    Py_DECREF(obj);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
datagrams_close(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlDatagrams *self = (FlDatagrams *)obj;

    if (self->closing)
        Py_RETURN_NONE;
    self->closing = true;
    if (self->first == NULL)
        FlDatagrams_End(self);
    else if (FlDatagrams_Watch(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
datagrams_abort(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    abort_with((FlDatagrams *)obj, NULL);
    Py_RETURN_NONE;
}

static PyObject *
datagrams_is_closing(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlDatagrams *)obj)->closing);
}

static int
set_protocol(FlDatagrams *self, PyObject *protocol)
{
    PyObject *on_data = PyObject_GetAttr(protocol, self->st->str_datagram_received);

    if (on_data == NULL)
        return -1;
    Py_XSETREF(self->on_data, on_data);
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

static PyObject *
datagrams_set_protocol(PyObject *obj, PyObject *protocol)
{
    FlDatagrams *self = (FlDatagrams *)obj;

    if (self->protocol != NULL && set_protocol(self, protocol) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
datagrams_get_protocol(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    PyObject *protocol = ((FlDatagrams *)obj)->protocol;

    return Py_NewRef(protocol != NULL ? protocol : Py_None);
}

static PyObject *
datagrams_set_limits(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    FlDatagrams *self = (FlDatagrams *)obj;

    if (FlTransport_ParseLimits(args, kwargs, &self->high, &self->low) < 0 ||
        FlDatagrams_WaterRose(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
datagrams_get_limits(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlDatagrams *self = (FlDatagrams *)obj;

    return Py_BuildValue("(nn)", (Py_ssize_t)self->low, (Py_ssize_t)self->high);
}

static PyObject *
datagrams_get_size(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(((FlDatagrams *)obj)->queued);
}

static PyObject *
datagrams_get_extra_info(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "default", NULL};
    FlDatagrams *self = (FlDatagrams *)obj;
    PyObject *name, *otherwise = Py_None, *found = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", names, &name,
                                     &otherwise))
        return NULL;
    if (self->extra != NULL && PyDict_Check(self->extra) &&
        PyDict_GetItemRef(self->extra, name, &found) < 0)
        return NULL;
    return found != NULL ? found : Py_NewRef(otherwise);
}

/* ---- life ---- */

static int
datagrams_begin(FlLoop *loop, PyObject *obj)
{
    FlDatagrams *self = (FlDatagrams *)obj;
    PyObject *res;

    (void)loop;
    if (self->protocol == NULL)
        return 0;
    self->started = true;
    res = FlDatagrams_Call(self, self->st->str_connection_made, obj);
    if (res == NULL &&
        FlDatagrams_Report(
            self, "Exception in callback: protocol.connection_made() failed") < 0)
        return -1;
    Py_XDECREF(res);
    if (FlDatagrams_Watch(self) < 0)
        return FlDatagrams_Fail(self, "Fatal error: the descriptor cannot be watched");
    return 0;
}

/* What get_extra_info() knows: socket, sockname and, when connected, peername. */
static int
fill_extra(FlDatagrams *self)
{
    FlState *st = self->st;
    PyObject *type =
        FlState_Lazy(st, &st->TransportSocket, "asyncio.trsock", "TransportSocket");
    PyObject *face = type == NULL ? NULL : PyObject_CallOneArg(type, self->sock);
    PyObject *name = NULL, *peer = NULL;
    fl_address address;
    int err = -1;

    self->extra = PyDict_New();
    if (face == NULL || self->extra == NULL)
        goto done;
    if (fl_socket_name(self->watch.fd, &address) == 0) {
        self->family = address.addr.ss_family;
        name = FlAddress_ToPython(&address);
    } else {
        name = Py_NewRef(Py_None);
    }
    if (name == NULL || PyDict_SetItem(self->extra, st->str_socket, face) < 0 ||
        PyDict_SetItem(self->extra, st->str_sockname, name) < 0)
        goto done;
    self->connected = fl_socket_peer(self->watch.fd, &address) == 0;
    peer = self->connected ? FlAddress_ToPython(&address) : Py_NewRef(Py_None);
    if (peer != NULL)
        err = PyDict_SetItem(self->extra, st->str_peername, peer);
done:
    Py_XDECREF(face);
    Py_XDECREF(name);
    Py_XDECREF(peer);
    return err;
}

static PyObject *
loop_datagram_transport(PyObject *obj, PyObject *args)
{
    FlState *st = FlState_OfType(Py_TYPE(obj));
    PyObject *sock, *protocol, *remote;
    FlDatagrams *self;
    int fd;

    if (st == NULL || !PyArg_ParseTuple(args, "OOO", &sock, &protocol, &remote))
        return NULL;
    if (!FlLoop_Check(st, obj)) {
        PyErr_Format(PyExc_TypeError, "%R is not a loop of pyfastloop", obj);
        return NULL;
    }
    fd = FlSockCall_Descriptor(sock);
    if (fd < 0)
        return NULL;
    self = (FlDatagrams *)st->Datagrams_type->tp_alloc(st->Datagrams_type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->loop = (FlLoop *)Py_NewRef(obj);
    self->sock = Py_NewRef(sock);
    self->watch = (fl_watch){.fd = fd, .ready = FlDatagrams_Ready, .owner = self};
    self->last = &self->first;
    self->high = FL_TRANSPORT_HIGH;
    self->low = FL_TRANSPORT_LOW;
    self->remote = remote == Py_None ? NULL : Py_NewRef(remote);
    self->context = PyContext_CopyCurrent();
    if (self->context == NULL || fill_extra(self) < 0 ||
        set_protocol(self, protocol) < 0 ||
        FlLoop_Defer(self->loop, datagrams_begin, (PyObject *)self) < 0) {
        self->ended = true; /* the caller closes the socket */
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static int
datagrams_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlDatagrams *self = (FlDatagrams *)obj;

    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(self->extra);
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->protocol);
    Py_VISIT(self->on_data);
    Py_VISIT(self->context);
    Py_VISIT(self->remote);
    Py_VISIT(self->peer);
    for (FlOutgoing *out = self->first; out != NULL; out = out->next) {
        Py_VISIT(out->data);
        Py_VISIT(out->address);
    }
    Py_VISIT(self->error);
    Py_VISIT(self->dict);
    return 0;
}

static int
datagrams_clear(PyObject *obj)
{
    FlDatagrams *self = (FlDatagrams *)obj;

    FlDatagrams_DropQueue(self);
    Py_CLEAR(self->extra);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->on_data);
    Py_CLEAR(self->error);
    Py_CLEAR(self->peer);
    Py_CLEAR(self->remote);
    Py_CLEAR(self->dict);
    return 0;
}

static void
datagrams_finalize(PyObject *obj)
{
    FlDatagrams *self = (FlDatagrams *)obj;
    PyObject *pending, *closed;

    if (self->ended)
        return;
    pending = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(obj, 1, "unclosed transport %R", obj) < 0)
        PyErr_WriteUnraisable(obj);
    self->closing = self->ended = true;
    FlLoop_Unwatch(self->loop, &self->watch);
    closed = PyObject_CallMethodNoArgs(self->sock, self->st->str_close);
    if (closed == NULL)
        PyErr_WriteUnraisable(obj);
    Py_XDECREF(closed);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static void
datagrams_dealloc(PyObject *obj)
{
    FlDatagrams *self = (FlDatagrams *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    if (PyObject_CallFinalizerFromDealloc(obj) < 0)
        return;
    PyObject_GC_UnTrack(obj);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    (void)datagrams_clear(obj);
    Py_CLEAR(self->context);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->loop);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyObject *
datagrams_repr(PyObject *obj)
{
    FlDatagrams *self = (FlDatagrams *)obj;

    return PyUnicode_FromFormat("<%s fd=%d %s queued=%zu>", Py_TYPE(obj)->tp_name,
                                self->watch.fd,
                                self->ended     ? "closed"
                                : self->closing ? "closing"
                                                : "open",
                                self->queued);
}

#define KEYWORDS(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS, doc}

static PyMethodDef datagrams_methods[] = {
    KEYWORDS("sendto", datagrams_sendto,
             "sendto($self, data, addr=None)\n--\n\n"
             "Send a datagram, now or as soon as there is room."),
    {"close", datagrams_close, METH_NOARGS,
     "close($self)\n--\n\nReceive no more; connection_lost() once all is sent."},
    {"abort", datagrams_abort, METH_NOARGS,
     "abort($self)\n--\n\nClose now and drop what was not sent."},
    {"is_closing", datagrams_is_closing, METH_NOARGS,
     "is_closing($self)\n--\n\nWhether it is closed, or about to be."},
    {"set_protocol", datagrams_set_protocol, METH_O,
     "set_protocol($self, protocol)\n--\n\nLet another protocol take over."},
    {"get_protocol", datagrams_get_protocol, METH_NOARGS,
     "get_protocol($self)\n--\n\nThe protocol."},
    KEYWORDS("get_extra_info", datagrams_get_extra_info,
             "get_extra_info($self, name, default=None)\n--\n\n"
             "What is known about the transport under this name."),
    KEYWORDS("set_write_buffer_limits", datagrams_set_limits,
             "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"
             "Bytes queued above which the protocol pauses, and resumes."),
    {"get_write_buffer_limits", datagrams_get_limits, METH_NOARGS,
     "get_write_buffer_limits($self)\n--\n\n(low, high)."},
    {"get_write_buffer_size", datagrams_get_size, METH_NOARGS,
     "get_write_buffer_size($self)\n--\n\nBytes queued."},
    {NULL, NULL, 0, NULL},
};

#undef KEYWORDS

static PyMemberDef datagrams_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlDatagrams, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlDatagrams, weakrefs), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(FlDatagrams, loop), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot datagrams_slots[] = {
    {Py_tp_doc, "A datagram socket, as protocols of asyncio use it."},
    {Py_tp_traverse, datagrams_traverse},
    {Py_tp_clear, datagrams_clear},
    {Py_tp_finalize, datagrams_finalize},
    {Py_tp_dealloc, datagrams_dealloc},
    {Py_tp_repr, datagrams_repr},
    {Py_tp_methods, datagrams_methods},
    {Py_tp_members, datagrams_members},
    {0, NULL},
};

static PyType_Spec datagrams_spec = {
    .name = "pyfastloop._core.DatagramTransport",
    .basicsize = sizeof(FlDatagrams),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = datagrams_slots,
};

int
FlDatagrams_AddType(PyObject *module, FlState *st)
{
    if (FlTransport_CheckBase(st->AsyncioDatagramTransport) < 0)
        return -1;
    return FlState_AddType(module, &st->Datagrams_type, &datagrams_spec,
                           st->AsyncioDatagramTransport, false);
}

/* ---- the mixin of Loop ---- */

static PyMethodDef mixin_methods[] = {
    {"_datagram_transport", loop_datagram_transport, METH_VARARGS,
     "_datagram_transport($self, sock, protocol, remote, /)\n--\n\n"
     "The transport of a datagram socket, which it takes over."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot mixin_slots[] = {
    {Py_tp_doc, "Methods of Loop that make datagram transports."},
    {Py_tp_methods, mixin_methods},
    {0, NULL},
};

static PyType_Spec mixin_spec = {
    .name = "pyfastloop._core.DatagramMethods",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = mixin_slots,
};

int
FlDatagramMethods_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->DatagramMethods_type, &mixin_spec, NULL, false);
}
