/* sock_watch.c -- who waits for a socket that has no transport.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/sock_call.h"

#include "core/future.h"

struct FlSockWatch {
    PyObject_HEAD
    fl_watch watch;
    PyObject *sock;       /* owned: a weak reference */
    FlSockCall *calls[2]; /* borrowed lists: readers, writers */
};

enum { READERS, WRITERS };

static const uint32_t asked[2] = {EPOLLIN, EPOLLOUT};

static int sock_ready(FlLoop *loop, fl_watch *watch, uint32_t events);

static FlSockWatch *
watch_of(fl_watch *watch)
{
    return (FlSockWatch *)((char *)watch - offsetof(FlSockWatch, watch));
}

static void
set_idle(FlSockWatch *self)
{
    self->watch.idle = self->calls[READERS] == NULL && self->calls[WRITERS] == NULL;
}

static void
unlink_call(FlSockCall *call)
{
    *call->at = call->next;
    if (call->next != NULL)
        call->next->at = call->at;
    call->next = NULL;
    call->at = NULL;
    set_idle(call->watch);
}

/* The first one that waits tries again. 0 or -1 (fatal). */
static int
wake_first(FlSockWatch *self, int side)
{
    FlSockCall *call = self->calls[side];
    PyObject *future;
    int err;

    if (call == NULL)
        return 0;
    future = Py_NewRef(call->future);
    unlink_call(call);
    call->waited = true;
    err = FlFuture_SetResultUnlessDone(future, Py_None);
    Py_DECREF(future);
    return err;
}

static int
sock_ready(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    FlSockWatch *self = watch_of(watch);
    bool over = (events & (EPOLLERR | EPOLLHUP)) != 0;
    bool nobody = watch->idle;
    uint32_t wanted;
    int err = 0;

    Py_INCREF(self);
    wanted = watch->events;
    for (int side = READERS; err == 0 && side <= WRITERS; side++) {
        if ((events & asked[side]) == 0 && !over)
            continue;
        if (self->calls[side] == NULL)
            wanted &= ~asked[side];
        err = wake_first(self, side);
        /* Room to send is there nearly always: asked for only while it is awaited. */
        if (side == WRITERS && self->calls[WRITERS] == NULL)
            wanted &= ~asked[WRITERS];
    }
    if (err == 0 && FlLoop_Watched(watch)) {
        if (wanted == 0 || (nobody && over))
            FlLoop_Unwatch(loop, watch);
        else
            err = FlLoop_Rewatch(loop, watch, wanted);
    }
    Py_DECREF(self);
    return err;
}

/* Another socket has got the number: whoever still waits finds out by trying. */
static int
evict(FlLoop *loop, FlSockWatch *self)
{
    int err = 0;

    Py_INCREF(self);
    while (err == 0 && self->calls[READERS] != NULL)
        err = wake_first(self, READERS);
    while (err == 0 && self->calls[WRITERS] != NULL)
        err = wake_first(self, WRITERS);
    FlLoop_Unwatch(loop, &self->watch);
    Py_DECREF(self);
    return err;
}

static bool
is_of(FlSockWatch *self, PyObject *sock)
{
    PyObject *known = NULL;
    bool same;

    if (PyWeakref_GetRef(self->sock, &known) < 0) {
        PyErr_Clear();
        return false;
    }
    same = known == sock;
    Py_XDECREF(known);
    return same;
}

/* The watch of sock, made if need be; new reference or NULL. */
static FlSockWatch *
find_watch(FlLoop *loop, PyObject *sock, int fd)
{
    fl_watch *found = fl_poller_find(&loop->poller, fd);
    FlSockWatch *self;

    if (found != NULL && found->ready == sock_ready) {
        self = watch_of(found);
        if (is_of(self, sock))
            return (FlSockWatch *)Py_NewRef(self);
        if (evict(loop, self) < 0)
            return NULL;
    }
    self = PyObject_New(FlSockWatch, loop->st->SockWatch_type);
    if (self == NULL)
        return NULL;
    self->watch = (fl_watch){.fd = fd, .ready = sock_ready, .owner = self};
    self->calls[READERS] = self->calls[WRITERS] = NULL;
    self->sock = PyWeakref_NewRef(sock, NULL);
    if (self->sock == NULL)
        Py_CLEAR(self);
    return self;
}

static int
ask_for(FlLoop *loop, FlSockWatch *self, uint32_t events)
{
    if (!FlLoop_Watched(&self->watch))
        return FlLoop_Watch(loop, &self->watch, events);
    if ((self->watch.events & events) == events)
        return 0;
    return FlLoop_Rewatch(loop, &self->watch, self->watch.events | events);
}

int
FlSockCall_Wait(FlSockCall *call, int fd)
{
    int side = call->op >= FL_SOCK_SENDALL ? WRITERS : READERS;
    FlSockWatch *watch = find_watch(call->loop, call->sock, fd);
    PyObject *future;
    FlSockCall **last;

    if (watch == NULL)
        return -1;
    future = FlFuture_New(call->st, call->loop);
    if (future == NULL || ask_for(call->loop, watch, asked[side]) < 0) {
        Py_XDECREF(future);
        Py_DECREF(watch);
        return -1;
    }
    Py_XSETREF(call->future, future);
    Py_XSETREF(call->watch, watch);
    last = &watch->calls[side];
    while (*last != NULL)
        last = &(*last)->next;
    *last = call;
    call->at = last;
    call->next = NULL;
    watch->watch.idle = false;
    return 0;
}

void
FlSockCall_Leave(FlSockCall *call, bool forget)
{
    FlSockWatch *watch = call->watch;

    if (watch == NULL)
        return;
    if (call->at != NULL)
        unlink_call(call);
    call->watch = NULL;
    if (forget && watch->watch.idle)
        FlLoop_Unwatch(call->loop, &watch->watch);
    Py_DECREF(watch);
}

static void
sock_watch_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    Py_XDECREF(((FlSockWatch *)obj)->sock);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyType_Slot sock_watch_slots[] = {
    {Py_tp_dealloc, sock_watch_dealloc},
    {0, NULL},
};

static PyType_Spec sock_watch_spec = {
    .name = "pyfastloop._core.SockWatch",
    .basicsize = sizeof(FlSockWatch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = sock_watch_slots,
};

int
FlSockWatch_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->SockWatch_type, &sock_watch_spec, NULL, true);
}
