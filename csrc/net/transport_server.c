/* transport_server.c -- the accepting half of asyncio's servers, and how transports of
 * connected sockets are made from Python.
 *
 * An Acceptor listens on any number of sockets and makes, for each connection, a
 * protocol by the factory and a transport for it, in a copy of the context the server
 * was made in. It keeps a list of its transports (borrowed: each one leaves it when it
 * is lost or dies) and tells Python when the last one has gone.
 *
 * Layer: net. Threads: the loop's.
 */
#include <errno.h>

#include "net/listener.h"
#include "net/transport_tls.h"

struct FlAcceptor {
    PyObject_HEAD
    FlState *st;         /* borrowed */
    FlLoop *loop;        /* owned */
    PyObject *factory;   /* owned; NULL once cleared */
    PyObject *idle;      /* owned: called without arguments when active falls to 0 */
    PyObject *tls;       /* owned: makes the parts of TLS for a connection; or NULL */
    PyObject *context;   /* owned */
    PyObject *listeners; /* owned: list of Listener */
    FlTransport *transports; /* borrowed list */
    Py_ssize_t active;
};

/* ---- the list ---- */

static void
attach(FlAcceptor *self, FlTransport *tr)
{
    tr->next = self->transports;
    tr->at = &self->transports;
    if (tr->next != NULL)
        tr->next->at = &tr->next;
    self->transports = tr;
    self->active++;
}

void
FlAcceptor_Detach(FlTransport *tr)
{
    FlAcceptor *self = tr->acceptor;
    PyObject *pending, *done;

    tr->acceptor = NULL;
    if (self == NULL)
        return;
    if (tr->at != NULL) {
        *tr->at = tr->next;
        if (tr->next != NULL)
            tr->next->at = tr->at;
        tr->next = NULL;
        tr->at = NULL;
        if (--self->active == 0 && self->idle != NULL) {
            pending = PyErr_GetRaisedException();
            done = PyObject_CallNoArgs(self->idle);
            if (done == NULL)
                PyErr_WriteUnraisable(self->idle);
            Py_XDECREF(done);
            if (pending != NULL)
                PyErr_SetRaisedException(pending);
        }
    }
    Py_DECREF(self);
}

/* ---- accepting ---- */

static int
report_creation(FlAcceptor *self)
{
    return FlLoop_CallExceptionHandler(
        self->loop, "Error on transport creation for incoming connection", NULL, NULL);
}

static PyObject *
make_protocol(FlAcceptor *self, PyObject *context)
{
    PyObject *factory = Py_XNewRef(self->factory), *protocol = NULL;

    if (factory == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the server is gone");
        return NULL;
    }
    if (PyContext_Enter(context) == 0) {
        protocol = PyObject_CallNoArgs(factory);
        if (PyContext_Exit(context) < 0)
            Py_CLEAR(protocol);
    }
    Py_DECREF(factory);
    return protocol;
}

/* The TLS of a connection, where the server has it. 0 or -1. escapes */
static int
attach_tls(FlAcceptor *self, FlTransport *tr)
{
    PyObject *make = Py_XNewRef(self->tls), *parts;
    int err;

    if (make == NULL)
        return 0;
    parts = PyObject_CallNoArgs(make);
    Py_DECREF(make);
    if (parts == NULL)
        return -1;
    err = FlTransport_TlsAttach(tr, parts, NULL);
    Py_DECREF(parts);
    return err;
}

static int
acceptor_accept(FlListener *listener, PyObject *obj, int fd, const fl_address *peer)
{
    FlAcceptor *self = (FlAcceptor *)obj;
    PyObject *context = PyContext_Copy(self->context);
    PyObject *protocol = context == NULL ? NULL : make_protocol(self, context);
    FlTransport *tr;
    int err;

    (void)listener;
    if (protocol == NULL) {
        Py_XDECREF(context);
        (void)fl_close(fd);
        return report_creation(self);
    }
    if (peer->addr.ss_family == AF_INET || peer->addr.ss_family == AF_INET6)
        (void)fl_socket_nodelay(fd, true);
    tr = FlTransport_New(self->st, self->loop,
                         &(FlTransportStart){.kind = FL_TRANSPORT_SOCKET,
                                             .fd = fd,
                                             .protocol = protocol,
                                             .context = context,
                                             .peer = peer,
                                             .acceptor = self});
    Py_DECREF(context);
    Py_DECREF(protocol);
    if (tr == NULL)
        return report_creation(self);
    attach(self, tr);
    if (attach_tls(self, tr) < 0) {
        err = report_creation(self);
        FlTransport_Abort(tr, NULL);
        Py_DECREF(tr);
        return err;
    }
    err = FlTransport_Begin(self->loop, (PyObject *)tr);
    Py_DECREF(tr);
    return err;
}

/* ---- what Python calls ---- */

static PyObject *
acceptor_listen(PyObject *obj, PyObject *sock)
{
    FlAcceptor *self = (FlAcceptor *)obj;
    PyObject *listener =
        FlListener_New(self->st, self->loop, sock, acceptor_accept, obj);
    int err = listener == NULL ? -1 : PyList_Append(self->listeners, listener);

    if (err < 0 && listener != NULL)
        FlListener_Stop((FlListener *)listener);
    Py_XDECREF(listener);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static void
stop_all(FlAcceptor *self)
{
    PyObject *listeners = self->listeners;

    self->listeners = PyList_New(0);
    if (self->listeners == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    for (Py_ssize_t i = 0; listeners != NULL && i < PyList_GET_SIZE(listeners); i++)
        FlListener_Stop((FlListener *)PyList_GET_ITEM(listeners, i));
    Py_XDECREF(listeners);
}

static PyObject *
acceptor_stop(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    stop_all((FlAcceptor *)obj);
    Py_RETURN_NONE;
}

static PyObject *
acceptor_transports(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    PyObject *all = PyList_New(0);

    for (FlTransport *tr = ((FlAcceptor *)obj)->transports; all != NULL && tr != NULL;
         tr = tr->next)
        if (PyList_Append(all, (PyObject *)tr) < 0)
            Py_CLEAR(all);
    return all;
}

static PyObject *
acceptor_get_active(PyObject *obj, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(((FlAcceptor *)obj)->active);
}

static PyObject *
acceptor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", "factory", "idle", "tls", NULL};
    FlState *st = FlState_OfType(type);
    PyObject *loop, *factory, *idle, *tls = Py_None;
    FlAcceptor *self;

    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO|O:Acceptor", names,
                                     st->Loop_type, &loop, &factory, &idle, &tls))
        return NULL;
    self = (FlAcceptor *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->loop = (FlLoop *)Py_NewRef(loop);
    self->factory = Py_NewRef(factory);
    self->idle = Py_NewRef(idle);
    self->tls = tls == Py_None ? NULL : Py_NewRef(tls);
    self->context = PyContext_CopyCurrent();
    self->listeners = PyList_New(0);
    if (self->context == NULL || self->listeners == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
acceptor_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlAcceptor *self = (FlAcceptor *)obj;

    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(self->loop);
    Py_VISIT(self->factory);
    Py_VISIT(self->idle);
    Py_VISIT(self->tls);
    Py_VISIT(self->context);
    Py_VISIT(self->listeners);
    return 0;
}

static int
acceptor_clear(PyObject *obj)
{
    FlAcceptor *self = (FlAcceptor *)obj;

    Py_CLEAR(self->factory);
    Py_CLEAR(self->idle);
    Py_CLEAR(self->tls);
    Py_CLEAR(self->listeners);
    return 0;
}

static void
acceptor_dealloc(PyObject *obj)
{
    FlAcceptor *self = (FlAcceptor *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    (void)acceptor_clear(obj);
    Py_CLEAR(self->context);
    Py_CLEAR(self->loop);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyMethodDef acceptor_methods[] = {
    {"listen", acceptor_listen, METH_O,
     "listen($self, socket, /)\n--\n\nAccept from a listening socket, which is kept."},
    {"stop", acceptor_stop, METH_NOARGS,
     "stop($self)\n--\n\nAccept no more; the sockets stay open."},
    {"transports", acceptor_transports, METH_NOARGS,
     "transports($self)\n--\n\nThe transports of connections that are open."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef acceptor_getset[] = {
    {"active", acceptor_get_active, NULL, "How many connections are open.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot acceptor_slots[] = {
    {Py_tp_doc, "Acceptor(loop, factory, idle, tls=None)\n--\n\n"
                "Makes a protocol and a transport of every connection."},
    {Py_tp_new, acceptor_new},
    {Py_tp_traverse, acceptor_traverse},
    {Py_tp_clear, acceptor_clear},
    {Py_tp_dealloc, acceptor_dealloc},
    {Py_tp_methods, acceptor_methods},
    {Py_tp_getset, acceptor_getset},
    {0, NULL},
};

static PyType_Spec acceptor_spec = {
    .name = "pyfastloop._core.Acceptor",
    .basicsize = sizeof(FlAcceptor),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = acceptor_slots,
};

/* ---- the mixin of Loop ---- */

/* The loop that a method of the mixin was called on; NULL with an exception. */
static FlLoop *
open_loop(FlState *st, PyObject *obj)
{
    if (!FlLoop_Check(st, obj)) {
        PyErr_Format(PyExc_TypeError, "%R is not a loop of pyfastloop", obj);
        return NULL;
    }
    if (((FlLoop *)obj)->closed) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    return (FlLoop *)obj;
}

static PyObject *
make_transport(PyObject *obj, PyObject *args, enum FlTransportKind kind)
{
    FlState *st = FlState_OfType(Py_TYPE(obj));
    FlLoop *loop = st == NULL ? NULL : open_loop(st, obj);
    PyObject *file, *protocol;
    FlTransport *tr;
    int fd, fifo = 0, watches = 0;

    if (loop == NULL ||
        !PyArg_ParseTuple(args, "OO|pp", &file, &protocol, &fifo, &watches))
        return NULL;
    fd = PyObject_AsFileDescriptor(file);
    if (fd < 0)
        return NULL;
    if (kind == FL_TRANSPORT_SOCKET)
        (void)fl_socket_nodelay(fd, true); /* where it is TCP */
    tr = FlTransport_New(
        st, loop,
        &(FlTransportStart){
            .kind = kind, .fd = fd, .file = file, .protocol = protocol});
    if (tr == NULL)
        return NULL;
    tr->fifo = fifo;
    tr->watches = watches;
    if (FlLoop_Defer(loop, FlTransport_Begin, (PyObject *)tr) < 0)
        Py_CLEAR(tr);
    return (PyObject *)tr;
}

static PyObject *
loop_tls_transport(PyObject *obj, PyObject *args)
{
    FlState *st = FlState_OfType(Py_TYPE(obj));
    FlLoop *loop = st == NULL ? NULL : open_loop(st, obj);
    PyObject *file, *protocol, *parts, *waiter;
    FlTransport *tr;
    int fd;

    if (loop == NULL ||
        !PyArg_ParseTuple(args, "OOOO", &file, &protocol, &parts, &waiter))
        return NULL;
    fd = PyObject_AsFileDescriptor(file);
    if (fd < 0)
        return NULL;
    (void)fl_socket_nodelay(fd, true); /* where it is TCP */
    tr = FlTransport_New(
        st, loop,
        &(FlTransportStart){
            .kind = FL_TRANSPORT_SOCKET, .fd = fd, .file = file, .protocol = protocol});
    if (tr == NULL)
        return NULL;
    if (FlTransport_TlsAttach(tr, parts, waiter) < 0 ||
        FlLoop_Defer(loop, FlTransport_Begin, (PyObject *)tr) < 0) {
        PyObject *exc = PyErr_GetRaisedException();

        FlTransport_Abort(tr, NULL);
        Py_CLEAR(tr);
        PyErr_SetRaisedException(exc);
    }
    return (PyObject *)tr;
}

static PyObject *
loop_socket_transport(PyObject *obj, PyObject *args)
{
    return make_transport(obj, args, FL_TRANSPORT_SOCKET);
}

static PyObject *
loop_read_transport(PyObject *obj, PyObject *args)
{
    return make_transport(obj, args, FL_TRANSPORT_READ);
}

static PyObject *
loop_write_transport(PyObject *obj, PyObject *args)
{
    return make_transport(obj, args, FL_TRANSPORT_WRITE);
}

static PyMethodDef mixin_methods[] = {
    {"_socket_transport", loop_socket_transport, METH_VARARGS,
     "_socket_transport($self, sock, protocol, /)\n--\n\n"
     "The transport of a connected, non-blocking socket, which it takes over; "
     "connection_made() comes with the next tick."},
    {"_tls_transport", loop_tls_transport, METH_VARARGS,
     "_tls_transport($self, sock, protocol, parts, waiter, /)\n--\n\n"
     "The same over TLS; connection_made() comes after the handshake, whose future is "
     "waiter."},
    {"_read_transport", loop_read_transport, METH_VARARGS,
     "_read_transport($self, pipe, protocol, /)\n--\n\nOf a pipe's reading end."},
    {"_write_transport", loop_write_transport, METH_VARARGS,
     "_write_transport($self, pipe, protocol, fifo, watches, /)\n--\n\n"
     "Of a pipe's writing end."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot mixin_slots[] = {
    {Py_tp_doc, "Methods of Loop that make transports."},
    {Py_tp_methods, mixin_methods},
    {0, NULL},
};

static PyType_Spec mixin_spec = {
    .name = "pyfastloop._core.TransportMethods",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = mixin_slots,
};

int
FlAcceptor_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Acceptor_type, &acceptor_spec, NULL, false);
}

int
FlTransportMethods_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->TransportMethods_type, &mixin_spec, NULL,
                           false);
}
