/* listener.c -- accepts connections in bounded batches, and rests without descriptors.
 *
 * Resting listeners of a loop stand in a list that hangs on the module's state; a channel
 * that closes wakes them, a timer looks after them where the descriptors were
 * freed by somebody else.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "net/iostream.h"

/* An accept that finds nobody costs as much as one that does, for the kernel makes the
 * socket first. So an event accepts as many as the last ones had, and one more is tried
 * for only after so many events that had no fewer; epoll tells of who was left. */
#define FILLED_MOST 8

/* How long a listener rests before it looks again by itself. */
#define REST_NS ((uint64_t)250 * 1000 * 1000)

struct FlListener {
    PyObject_HEAD
    FlState *st; /* borrowed */
    fl_watch watch;
    FlLoop *loop;        /* owned */
    PyObject *socket;    /* owned */
    PyObject *self;      /* owned: what accept is given; Python's handler */
    fl_accept_fn accept; /* NULL: self is a Python callable */
    fl_loop_timer rest;
    FlListener *next_resting; /* borrowed; in st->resting */
    uint16_t burst;           /* how many are accepted in one event */
    uint16_t filled;          /* events in a row that had so many */
    bool resting;
    bool told; /* of this shortage */
    bool stopped;
    bool paused; /* nobody is accepted until resume() */
};

/* ---- addresses ---- */

static PyObject *
unix_path(const fl_address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->addr;
    size_t len = address->len > offsetof(struct sockaddr_un, sun_path)
                     ? address->len - offsetof(struct sockaddr_un, sun_path)
                     : 0;

    if (len > 0 && un->sun_path[0] == '\0') /* an abstract name, NULs and all */
        return PyBytes_FromStringAndSize(un->sun_path, (Py_ssize_t)len);
    return PyUnicode_DecodeFSDefaultAndSize(un->sun_path,
                                            (Py_ssize_t)strnlen(un->sun_path, len));
}

PyObject *
FlAddress_ToPython(const fl_address *address)
{
    char text[FL_ADDRESS_TEXT];

    switch (address->len == 0 ? AF_UNIX : address->addr.ss_family) {
    case AF_INET: {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->addr;

        return Py_BuildValue("(si)", fl_address_text(address, text),
                             ntohs(in->sin_port));
    }
    case AF_INET6: {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)&address->addr;

        return Py_BuildValue("(siII)", fl_address_text(address, text),
                             ntohs(in->sin6_port),
                             (unsigned)(ntohl(in->sin6_flowinfo) & 0xfffff),
                             (unsigned)in->sin6_scope_id);
    }
    case AF_UNIX:
        if (address->len == 0)
            return PyUnicode_FromStringAndSize(NULL, 0);
        return unix_path(address);
    default:
        return PyBytes_FromStringAndSize((const char *)&address->addr,
                                         (Py_ssize_t)address->len);
    }
}

/* ---- resting ---- */

static int
start_watching(FlListener *l)
{
    l->watch.owner = l;
    return FlLoop_Watch(l->loop, &l->watch, EPOLLIN | EPOLLEXCLUSIVE);
}

static void
leave_resting(FlListener *l)
{
    FlListener **at = (FlListener **)&l->st->resting;

    if (!l->resting)
        return;
    l->resting = false;
    while (*at != l)
        at = &(*at)->next_resting;
    *at = l->next_resting;
    l->next_resting = NULL;
    FlLoop_Disarm(l->loop, &l->rest);
}

static int
wake_up(FlListener *l)
{
    leave_resting(l);
    if (l->stopped || l->paused || start_watching(l) == 0)
        return 0;
    if (FlError_IsFatal())
        return -1;
    FlLoop_LogException(l->loop, "Cannot resume listening on", l->socket);
    return PyErr_Occurred() ? -1 : 0;
}

static int
rest_over(FlLoop *loop, fl_loop_timer *timer)
{
    FlListener *l = timer->owner == NULL ? NULL : (FlListener *)timer->owner;
    int err;

    (void)loop;
    if (l == NULL)
        return 0;
    Py_INCREF(l);
    err = wake_up(l);
    Py_DECREF(l);
    return err;
}

/* The first listener of this loop that rests; borrowed. */
static FlListener *
resting_of(FlLoop *loop)
{
    FlListener *l = loop->closed ? NULL : loop->st->resting;

    while (l != NULL && l->loop != loop)
        l = l->next_resting;
    return l;
}

/* All of them look: whose turn it is, the kernel knows, and who finds nothing rests on. */
void
FlListener_DescriptorFreed(FlLoop *loop)
{
    for (FlListener *l; (l = resting_of(loop)) != NULL;) {
        PyObject *pending = PyErr_GetRaisedException();

        Py_INCREF(l);
        if (wake_up(l) < 0)
            PyErr_WriteUnraisable((PyObject *)l);
        Py_DECREF(l);
        if (pending != NULL)
            PyErr_SetRaisedException(pending);
    }
}

/* No descriptor is left: one line in the log, out of epoll, and a look a bit later. */
static int
rest(FlListener *l, int error)
{
    if (!l->told) {
        PyObject *done = PyObject_CallMethod(
            l->st->gen_log, "error", "sOs",
            "Cannot accept connections on %s: %s; resting until a descriptor is free",
            l->socket, strerror(error));

        l->told = true;
        if (done == NULL) {
            if (FlError_IsFatal())
                return -1;
            PyErr_WriteUnraisable(l->socket);
        }
        Py_XDECREF(done);
    }
    if (l->stopped || l->resting || l->paused)
        return 0;
    FlLoop_Unwatch(l->loop, &l->watch);
    l->resting = true;
    l->next_resting = l->st->resting;
    l->st->resting = l;
    if (FlLoop_Arm(l->loop, &l->rest, FlLoop_Now(l->loop) + REST_NS) == 0)
        return 0;
    leave_resting(l);
    FlLoop_LogException(l->loop, "Cannot rest", NULL);
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- accepting ---- */

static int
call_handler(FlListener *l, PyObject *handler, int fd, const fl_address *peer)
{
    PyObject *address = FlAddress_ToPython(peer);
    PyObject *done;

    if (address == NULL) {
        (void)fl_close(fd);
        return -1;
    }
    (void)l;
    done = PyObject_CallFunction(handler, "iO", fd, address);
    Py_DECREF(address);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Whether a failed accept concerns only the connection that was to come. */
static bool
passing(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EPERM:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static int
accept_failed(FlListener *l, int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return rest(l, error);
    default:
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        FlListener_Stop(l);
        FlLoop_LogException(l->loop, "Listening ends after a failed accept on",
                            l->socket);
        return PyErr_Occurred() ? -1 : 0;
    }
}

/* Learns from an event that accepted n; `dry`: and then found nobody. */
static void
learn_burst(FlListener *l, int n, bool dry)
{
    if (dry) {
        l->burst = (uint16_t)(n > 1 ? n : 1);
        l->filled = 0;
    } else if (n >= l->burst && ++l->filled >= FILLED_MOST) {
        l->burst = (uint16_t)(2 * n < FL_ACCEPT_BATCH ? 2 * n : FL_ACCEPT_BATCH);
        l->filled = 0;
    }
}

static int
listener_ready(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    FlListener *l = (FlListener *)((char *)watch - offsetof(FlListener, watch));
    int err = 0, i;
    bool dry = false;

    (void)events;
    Py_INCREF(l);
    for (i = 0; i < l->burst && err == 0 && !l->stopped && !l->paused; i++) {
        fl_address peer;
        int fd = fl_socket_accept(l->watch.fd, &peer);

        dry = fd == -EAGAIN || fd == -EWOULDBLOCK;
        if (dry)
            break;
        if (fd < 0) {
            if (passing(-fd))
                continue;
            err = accept_failed(l, -fd);
            break;
        }
        l->told = false;
        loop->stats.connections++;
        PyObject *self = Py_NewRef(l->self);

        err = l->accept == NULL ? call_handler(l, self, fd, &peer)
                                : l->accept(l, self, fd, &peer);
        if (err < 0 && !FlError_IsFatal()) {
            FlLoop_LogException(loop, "Exception in accept handler", self);
            err = PyErr_Occurred() ? -1 : 0;
        }
        Py_DECREF(self);
    }
    learn_burst(l, i, dry);
    Py_DECREF(l);
    return err;
}

/* ---- the object ---- */

static FlListener *
listener_start(PyTypeObject *type, FlState *st, FlLoop *loop, PyObject *sock,
               fl_accept_fn accept, PyObject *self)
{
    int fd = PyObject_AsFileDescriptor(sock);
    FlListener *l;

    if (fd < 0)
        return NULL;
    l = (FlListener *)type->tp_alloc(type, 0);
    if (l == NULL)
        return NULL;
    l->st = st;
    l->loop = (FlLoop *)Py_NewRef((PyObject *)loop);
    l->socket = Py_NewRef(sock);
    l->self = Py_NewRef(self);
    l->accept = accept;
    l->watch.fd = fd;
    l->watch.ready = listener_ready;
    l->burst = 1;
    FlLoop_InitTimer(&l->rest, rest_over, (PyObject *)l);
    if (start_watching(l) < 0) {
        l->stopped = true;
        Py_DECREF(l);
        return NULL;
    }
    return l;
}

PyObject *
FlListener_New(FlState *st, FlLoop *loop, PyObject *socket, fl_accept_fn accept,
               PyObject *self)
{
    return (PyObject *)listener_start(st->Listener_type, st, loop, socket, accept,
                                      self);
}

void
FlListener_Stop(FlListener *l)
{
    if (l->stopped)
        return;
    l->stopped = true;
    Py_INCREF(l);
    leave_resting(l);
    FlLoop_Unwatch(l->loop, &l->watch);
    Py_DECREF(l);
}

FlLoop *
FlListener_Loop(FlListener *l)
{
    return l->loop;
}

static PyObject *
listener_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"socket", "handler", NULL};
    FlState *st = FlState_OfType(type);
    PyObject *sock, *handler;
    FlListener *l;
    FlLoop *loop;

    if (st == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "OO:Listener", names,
                                                   &sock, &handler))
        return NULL;
    if (!PyCallable_Check(handler)) {
        PyErr_SetString(PyExc_TypeError, "handler must be callable as (fd, address)");
        return NULL;
    }
    loop = FlLoop_Get(st);
    if (loop == NULL)
        return NULL;
    l = listener_start(type, st, loop, sock, NULL, handler);
    Py_DECREF(loop);
    return (PyObject *)l;
}

static PyObject *
listener_stop(PyObject *self, PyObject *unused)
{
    (void)unused;
    FlListener_Stop((FlListener *)self);
    Py_RETURN_NONE;
}

static PyObject *
listener_pause(PyObject *self, PyObject *unused)
{
    FlListener *l = (FlListener *)self;

    (void)unused;
    if (!l->stopped && !l->paused) {
        l->paused = true;
        if (l->resting)
            leave_resting(l);
        else
            FlLoop_Unwatch(l->loop, &l->watch);
    }
    Py_RETURN_NONE;
}

static PyObject *
listener_resume(PyObject *self, PyObject *unused)
{
    FlListener *l = (FlListener *)self;

    (void)unused;
    if (!l->stopped && l->paused) {
        l->paused = false;
        if (start_watching(l) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
listener_get_resting(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((FlListener *)self)->resting);
}

static int
listener_traverse(PyObject *self, visitproc visit, void *arg)
{
    FlListener *l = (FlListener *)self;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(l->loop);
    Py_VISIT(l->socket);
    Py_VISIT(l->self);
    return 0;
}

static int
listener_clear(PyObject *self)
{
    FlListener *l = (FlListener *)self;

    Py_CLEAR(l->self);
    Py_CLEAR(l->socket);
    return 0;
}

static void
listener_dealloc(PyObject *self)
{
    FlListener *l = (FlListener *)self;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    l->stopped = true;
    leave_resting(l); /* a loop that was closed has let go of it */
    (void)listener_clear(self);
    Py_CLEAR(l->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef listener_methods[] = {
    {"stop", listener_stop, METH_NOARGS,
     PyDoc_STR("Accept no more; the socket stays open. Twice is harmless.")},
    {"pause", listener_pause, METH_NOARGS,
     PyDoc_STR("Accept nobody until resume(): who comes waits in the kernel's queue.")},
    {"resume", listener_resume, METH_NOARGS, PyDoc_STR("Accept again.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef listener_getset[] = {
    {"resting", listener_get_resting, NULL,
     PyDoc_STR("Whether it waits for a free descriptor."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot listener_slots[] = {
    {Py_tp_doc,
     (void *)PyDoc_STR("Listener(socket, handler)\n--\n\n"
                       "Calls handler(fd, address) for every connection of a listening "
                       "socket, on the current loop.")},
    {Py_tp_new, listener_new},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, listener_clear},
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_methods, listener_methods},
    {Py_tp_getset, listener_getset},
    {0, NULL},
};

static PyType_Spec listener_spec = {
    .name = "pyfastloop._core.Listener",
    .basicsize = sizeof(FlListener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = listener_slots,
};

int
FlListener_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Listener_type, &listener_spec, NULL, false);
}
