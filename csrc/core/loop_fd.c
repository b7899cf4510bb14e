/* loop_fd.c -- descriptors whose handlers are Python's.
 *
 * asyncio's readers and writers go through the ring, as its order of calls asks; a
 * handler of IOLoop.add_handler is called from the dispatch itself. The end of a
 * connection is told as what was asked for, too: whoever waits to read finds it by
 * reading. A handler that asks for nothing is told of it once.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/loop_fd.h"

#include <errno.h>

#include "core/loop_methods.h"
#include "core/stack.h"

int
FlWatch_Descriptor(PyObject *file)
{
    return PyObject_AsFileDescriptor(file);
}

/* What a handler of add_handler raises: EPIPE is a peer that went away. */
static int
watch_failed(FlLoop *loop, FlWatch *self)
{
    char text[64];

    if (FlError_IsFatal())
        return -1;
    if (PyErr_ExceptionMatches(PyExc_BrokenPipeError)) {
        PyErr_Clear();
        return 0;
    }
    snprintf(text, sizeof text, "Exception in I/O handler for fd %d", self->watch.fd);
    FlLoop_LogException(loop, text, NULL);
    return PyErr_Occurred() ? -1 : 0;
}

static int
watch_call_handler(FlLoop *loop, FlWatch *self, uint32_t events)
{
    PyObject *handler = Py_NewRef(self->handler), *context = Py_NewRef(self->context);
    PyObject *args[3] = {NULL, Py_NewRef(self->file), PyLong_FromUnsignedLong(events)};
    uint64_t started = loop->debug ? fl_clock_monotonic() : 0;
    PyObject *res = NULL;
    int err = 0;

    if (args[2] != NULL && PyContext_Enter(context) == 0) {
        res = PyObject_Vectorcall(handler, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                  NULL);
        if (PyContext_Exit(context) < 0)
            Py_CLEAR(res);
    }
    if (res == NULL)
        err = watch_failed(loop, self);
    if (started != 0)
        FlLoop_ReportSlow(loop, handler, started);
    Py_XDECREF(res);
    Py_DECREF(args[1]);
    Py_XDECREF(args[2]);
    Py_DECREF(handler);
    Py_DECREF(context);
    return err;
}

/* What is asked of epoll for a handler. It tells of errors unasked; where nothing was
 * asked for, once is enough. */
static uint32_t
handler_wanted(uint32_t events)
{
    return events != 0 ? events : EPOLLET;
}

static int
watch_ready(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    FlWatch *self = watch->owner;

    if (self->handler != NULL) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0)
            events |= watch->events & (EPOLLIN | EPOLLOUT);
        return watch_call_handler(loop, self, events);
    }
    if (self->reader != NULL && (events & ~(uint32_t)EPOLLOUT) != 0 &&
        FlLoop_Defer(loop, FlHandle_Run, (PyObject *)self->reader) < 0)
        return -1;
    if (self->writer != NULL && (events & ~(uint32_t)EPOLLIN) != 0 &&
        FlLoop_Defer(loop, FlHandle_Run, (PyObject *)self->writer) < 0)
        return -1;
    return 0;
}

/* The Python watch of a descriptor, borrowed; NULL when it has none. */
static FlWatch *
watch_find(FlLoop *loop, int fd)
{
    fl_watch *watch = fl_poller_find(&loop->poller, fd);

    return watch != NULL && watch->ready == watch_ready ? watch->owner : NULL;
}

static FlWatch *
watch_new(FlLoop *loop, int fd)
{
    PyTypeObject *type = loop->st->Watch_type;
    FlWatch *self = (FlWatch *)type->tp_alloc(type, 0);

    if (self == NULL)
        return NULL;
    self->loop = (FlLoop *)Py_NewRef(loop);
    self->watch = (fl_watch){.fd = fd, .ready = watch_ready, .owner = self};
    return self;
}

int
FlWatch_AddHandler(FlLoop *loop, int fd, PyObject *file, PyObject *handler,
                   uint32_t events)
{
    FlWatch *self;
    int err;

    if (watch_find(loop, fd) != NULL) {
        PyErr_Format(PyExc_ValueError, "fd %d added twice", fd);
        return -1;
    }
    self = watch_new(loop, fd);
    if (self == NULL)
        return -1;
    self->file = Py_NewRef(file);
    self->handler = FlStack_Wrap(loop->st, handler);
    self->context = PyContext_CopyCurrent();
    err = self->handler == NULL || self->context == NULL
              ? -1
              : FlLoop_Watch(loop, &self->watch, handler_wanted(events));
    Py_DECREF(self);
    return err;
}

int
FlWatch_UpdateHandler(FlLoop *loop, int fd, uint32_t events)
{
    FlWatch *self = watch_find(loop, fd);

    if (self != NULL && self->handler != NULL)
        return FlLoop_Rewatch(loop, &self->watch, handler_wanted(events));
    PyErr_Format(PyExc_ValueError, "fd %d has no handler: add_handler() comes first",
                 fd);
    return -1;
}

PyObject *
FlWatch_RemoveHandler(FlLoop *loop, int fd)
{
    FlWatch *self = watch_find(loop, fd);
    PyObject *file;

    if (self == NULL || self->handler == NULL)
        return NULL;
    file = Py_NewRef(self->file);
    FlLoop_Unwatch(loop, &self->watch);
    return file;
}

PyObject *
FlWatch_Handlers(FlLoop *loop)
{
    PyObject *all = PyDict_New();

    for (size_t fd = 0; all != NULL && fd < loop->poller.size; fd++) {
        FlWatch *self = watch_find(loop, (int)fd);
        PyObject *key, *pair;

        if (self == NULL || self->handler == NULL)
            continue;
        Py_INCREF(self); /* what is made may run the collector, and that anything */
        key = PyLong_FromSize_t(fd);
        pair = PyTuple_Pack(2, self->file, self->handler);
        if (key == NULL || pair == NULL || PyDict_SetItem(all, key, pair) < 0)
            Py_CLEAR(all);
        Py_XDECREF(key);
        Py_XDECREF(pair);
        Py_DECREF(self);
    }
    return all;
}

/* ---- asyncio's readers and writers ---- */

static uint32_t
watch_wanted(const FlWatch *self)
{
    return (self->reader ? EPOLLIN : 0u) | (self->writer ? EPOLLOUT : 0u);
}

/* Puts handle (stolen, nullable) in the place of reader or writer; 0 or -1. */
static int
watch_exchange(FlWatch *self, bool write, FlHandle *handle)
{
    FlHandle **slot = write ? &self->writer : &self->reader;
    FlHandle *old = *slot;
    uint32_t wanted;
    int err = 0;

    *slot = handle;
    wanted = watch_wanted(self);
    if (wanted == 0)
        FlLoop_Unwatch(self->loop, &self->watch);
    else if (FlLoop_Watched(&self->watch))
        err = FlLoop_Rewatch(self->loop, &self->watch, wanted);
    else
        err = FlLoop_Watch(self->loop, &self->watch, wanted);
    if (old != NULL) {
        FlHandle_Cancel(old);
        Py_DECREF(old);
    }
    return err;
}

static PyObject *
watch_add(FlLoop *loop, PyObject *const *args, Py_ssize_t nargs, bool write)
{
    FlWatch *self;
    FlHandle *handle = NULL;
    PyObject *context;
    int fd, err;

    if (nargs < 2) {
        PyErr_Format(PyExc_TypeError,
                     "add_%s() takes a descriptor, a callback and its "
                     "arguments",
                     write ? "writer" : "reader");
        return NULL;
    }
    if (FlLoop_CheckOpen(loop) < 0)
        return NULL;
    fd = FlWatch_Descriptor(args[0]);
    if (fd < 0)
        return NULL;
    if (loop->debug && FlLoop_CheckThread(loop) < 0)
        return NULL;
    self = (FlWatch *)Py_XNewRef(watch_find(loop, fd));
    if (self != NULL && self->handler != NULL) {
        Py_DECREF(self);
        return PyErr_Format(PyExc_RuntimeError,
                            "File descriptor %d has a handler of IOLoop.add_handler()",
                            fd);
    }
    if (self == NULL)
        self = watch_new(loop, fd);
    context = self == NULL ? NULL : PyContext_CopyCurrent();
    if (context != NULL)
        handle = FlHandle_New(loop, args[1], args + 2, nargs - 2, context);
    Py_XDECREF(context);
    if (handle == NULL) {
        Py_XDECREF(self);
        return NULL;
    }
    handle->again = true;
    Py_INCREF(handle);
    err = watch_exchange(self, write, handle);
    Py_DECREF(self);
    if (err == 0)
        return (PyObject *)handle;
    Py_DECREF(handle);
    return NULL;
}

static PyObject *
watch_remove(FlLoop *loop, PyObject *file, bool write)
{
    FlWatch *self;
    int fd, err;

    if (loop->closed)
        Py_RETURN_FALSE;
    fd = FlWatch_Descriptor(file);
    if (fd < 0)
        return NULL;
    self = (FlWatch *)Py_XNewRef(watch_find(loop, fd));
    if (self == NULL || (write ? self->writer : self->reader) == NULL) {
        Py_XDECREF(self);
        Py_RETURN_FALSE;
    }
    err = watch_exchange(self, write, NULL);
    Py_DECREF(self);
    if (err < 0)
        return NULL;
    Py_RETURN_TRUE;
}

PyObject *
FlLoop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return watch_add((FlLoop *)self, args, nargs, false);
}

PyObject *
FlLoop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    return watch_add((FlLoop *)self, args, nargs, true);
}

PyObject *
FlLoop_remove_reader(PyObject *self, PyObject *fd)
{
    return watch_remove((FlLoop *)self, fd, false);
}

PyObject *
FlLoop_remove_writer(PyObject *self, PyObject *fd)
{
    return watch_remove((FlLoop *)self, fd, true);
}

/* ---- the type: never seen by programs ---- */

static int
watch_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlWatch *self = (FlWatch *)obj;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->reader);
    Py_VISIT(self->writer);
    Py_VISIT(self->file);
    Py_VISIT(self->handler);
    Py_VISIT(self->context);
    return 0;
}

/* While it is registered the loop owns it; clearing happens to garbage only, and then
 * the loop, garbage too, forgets its watches first or has forgotten this one. */
static int
watch_clear(PyObject *obj)
{
    FlWatch *self = (FlWatch *)obj;

    Py_CLEAR(self->reader);
    Py_CLEAR(self->writer);
    Py_CLEAR(self->file);
    Py_CLEAR(self->handler);
    Py_CLEAR(self->context);
    return 0;
}

static void
watch_dealloc(PyObject *obj)
{
    FlWatch *self = (FlWatch *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    watch_clear(obj);
    Py_XDECREF(self->loop);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyType_Slot watch_slots[] = {
    {Py_tp_dealloc, watch_dealloc},
    {Py_tp_traverse, watch_traverse},
    {Py_tp_clear, watch_clear},
    {0, NULL},
};

static PyType_Spec watch_spec = {
    .name = "pyfastloop._core.Watch",
    .basicsize = sizeof(FlWatch),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watch_slots,
};

int
FlWatch_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Watch_type, &watch_spec, NULL, true);
}
