/* ioloop.c -- the hot methods of IOLoop.
 *
 * An IOLoop is a Python object that holds a C loop: its own, or the guest of a foreign
 * one. What programs call per event goes from Python straight to that loop.
 *
 * IOLoop's clock is the wall clock, the loop's is monotonic: a deadline is turned into
 * a distance when it is given. After close, callbacks are dropped in silence: other
 * threads cannot know.
 *
 * Layer: core. Threads: the loop's own; add_callback and its kin from any.
 */
#include "core/args.h"
#include "core/future.h"
#include "core/ioloop_parts.h"
#include "core/loop_fd.h"
#include "core/loop_methods.h"
#include "core/stack.h"
#include "core/task_parts.h"

FlLoop *
FlIOLoop_Loop(PyObject *self)
{
    FlLoop *loop = ((FlIOLoop *)self)->loop;

    if (loop == NULL)
        PyErr_SetString(PyExc_RuntimeError,
                        "this IOLoop was not initialized: call its initialize() first");
    return loop;
}

/* The callback with its keyword arguments (rare: a functools.partial) and inside the
 * stack contexts that are open (rare too). *bound: the positional arguments are in it.
 * New reference. */
static PyObject *
ioloop_bind(FlState *st, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
            bool *bound)
{
    PyObject *callback, *wrapped;

    if (!PyCallable_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "the callback must be callable, got %R", args[0]);
        return NULL;
    }
    *bound = kw != NULL && PyTuple_GET_SIZE(kw) > 0;
    if (*bound)
        callback = PyObject_Vectorcall(st->partial, args, (size_t)nargs, kw);
    else
        callback = Py_NewRef(args[0]);
    if (callback == NULL)
        return NULL;
    wrapped = FlStack_Wrap(st, callback);
    Py_DECREF(callback);
    return wrapped;
}

FlHandle *
FlIOLoop_Handle(FlLoop *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    bool bound;
    PyObject *callback = ioloop_bind(loop->st, args, nargs, kw, &bound);
    FlHandle *handle;

    if (callback == NULL)
        return NULL;
    handle = FlHandle_New(loop, callback, args + 1, bound ? 0 : nargs - 1, NULL);
    Py_DECREF(callback);
    if (handle != NULL)
        handle->kind = FL_HANDLE_IOLOOP;
    return handle;
}

/* What these methods call their positional arguments, for callers who name them. */
static const char *const callback_names[] = {"callback"};
static const char *const delay_names[] = {"delay", "callback"};
static const char *const when_names[] = {"when", "callback"};
static const char *const deadline_names[] = {"deadline", "callback"};

/* Whether the loop around a guest was closed; keeps the current exception. */
static bool
ioloop_host_closed(FlLoop *loop)
{
    PyObject *exc, *closed;
    bool yes;

    if (loop->host == NULL)
        return false;
    exc = PyErr_GetRaisedException();
    closed = PyObject_CallMethodNoArgs(loop->host, loop->st->str_is_closed);
    yes = closed != NULL && PyObject_IsTrue(closed) > 0;
    Py_XDECREF(closed);
    PyErr_Clear();
    PyErr_SetRaisedException(exc);
    return yes;
}

static PyObject *
ioloop_add_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kw)
{
    FlLoop *loop = FlIOLoop_Loop(self);
    FlHandle *handle;
    int err;

    if (loop == NULL)
        return NULL;
    if (nargs < 1)
        return FlArgs_Retry("add_callback", self, args, nargs, kw, ioloop_add_callback,
                            callback_names, 1);
    if (loop->closed)
        Py_RETURN_NONE;
    handle = FlIOLoop_Handle(loop, args, nargs, kw);
    if (handle == NULL)
        return NULL;
    if (loop->thread_id == PyThread_get_thread_ident())
        err = FlLoop_Defer(loop, FlHandle_Run, (PyObject *)handle);
    else
        err = FlLoop_DeferThreadsafe(loop, FlHandle_Run, (PyObject *)handle);
    Py_DECREF(handle);
    if (err == 0) {
        FlLoop_HandOver(loop);
        Py_RETURN_NONE;
    }
    if (!loop->closed && !ioloop_host_closed(loop))
        return NULL;
    PyErr_Clear(); /* closed by another thread meanwhile */
    Py_RETURN_NONE;
}

/* What it starts belongs to none of the stack contexts that are open here. */
static PyObject *
ioloop_spawn_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kw)
{
    PyObject *context, *res;

    if (FlStack_Leave(((FlIOLoop *)self)->st, &context) < 0)
        return NULL;
    if (context == NULL)
        return ioloop_add_callback(self, args, nargs, kw);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return NULL;
    }
    res = ioloop_add_callback(self, args, nargs, kw);
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(res);
    Py_DECREF(context);
    return res;
}

/* when: monotonic seconds; args: callback and its arguments. */
static PyObject *
ioloop_timer(FlLoop *loop, double when, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kw)
{
    bool bound;
    PyObject *callback = ioloop_bind(loop->st, args, nargs, kw, &bound);
    FlTimerHandle *handle;

    if (callback == NULL)
        return NULL;
    handle = FlLoop_CheckOpen(loop) < 0
                 ? NULL
                 : FlTimerHandle_New(loop, callback, args + 1, bound ? 0 : nargs - 1,
                                     NULL, when);
    Py_DECREF(callback);
    if (handle != NULL)
        handle->base.kind = FL_HANDLE_IOLOOP;
    return (PyObject *)handle;
}

static double
monotonic_seconds(void)
{
    return (double)fl_clock_monotonic() / 1e9;
}

/* timedelta.total_seconds(), or -1 with an exception set when obj is no timedelta. */
static double
ioloop_timedelta(PyObject *obj)
{
    PyObject *seconds = PyObject_CallMethod(obj, "total_seconds", NULL);
    double value = seconds == NULL ? -1.0 : PyFloat_AsDouble(seconds);

    if (seconds == NULL) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError,
                     "a deadline must be a number or a datetime.timedelta, got %R",
                     obj);
    }
    Py_XDECREF(seconds);
    return value;
}

static PyObject *
ioloop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlLoop *loop = FlIOLoop_Loop(self);
    double delay;

    if (loop == NULL)
        return NULL;
    if (nargs < 2)
        return FlArgs_Retry("call_later", self, args, nargs, kw, ioloop_call_later,
                            delay_names, 2);
    delay = PyFloat_AsDouble(args[0]);
    if (delay == -1.0 && PyErr_Occurred())
        return NULL;
    return ioloop_timer(loop, monotonic_seconds() + delay, args + 1, nargs - 1, kw);
}

/* What self.time() says; programs override it. */
static int
ioloop_wall(FlIOLoop *self, double *seconds)
{
    PyObject *now = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_time);

    *seconds = now == NULL ? -1.0 : PyFloat_AsDouble(now);
    Py_XDECREF(now);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *
ioloop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlLoop *loop = FlIOLoop_Loop(self);
    double when, now;

    if (loop == NULL)
        return NULL;
    if (nargs < 2)
        return FlArgs_Retry("call_at", self, args, nargs, kw, ioloop_call_at,
                            when_names, 2);
    when = PyFloat_AsDouble(args[0]);
    if ((when == -1.0 && PyErr_Occurred()) || ioloop_wall((FlIOLoop *)self, &now) < 0)
        return NULL;
    return ioloop_timer(loop, monotonic_seconds() + (when - now), args + 1, nargs - 1,
                        kw);
}

static PyObject *
ioloop_add_timeout(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kw)
{
    FlLoop *loop = FlIOLoop_Loop(self);
    double delay;

    if (loop == NULL)
        return NULL;
    if (nargs < 2)
        return FlArgs_Retry("add_timeout", self, args, nargs, kw, ioloop_add_timeout,
                            deadline_names, 2);
    if (PyFloat_Check(args[0]) || PyLong_Check(args[0]))
        return ioloop_call_at(self, args, nargs, kw);
    delay = ioloop_timedelta(args[0]);
    if (delay == -1.0 && PyErr_Occurred())
        return NULL;
    return ioloop_timer(loop, monotonic_seconds() + delay, args + 1, nargs - 1, kw);
}

/* The one argument of a method, given by position or by its name; borrowed. */
static PyObject *
ioloop_only_argument(const char *method, const char *name, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *kw)
{
    Py_ssize_t words = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);

    if (nargs + words == 1 && (words == 0 || PyUnicode_CompareWithASCIIString(
                                                 PyTuple_GET_ITEM(kw, 0), name) == 0))
        return args[0];
    return PyErr_Format(PyExc_TypeError, "%s() takes one argument: '%s'", method, name);
}

static PyObject *
ioloop_remove_timeout(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kw)
{
    FlState *st = ((FlIOLoop *)self)->st;
    PyObject *timeout =
        ioloop_only_argument("remove_timeout", "timeout", args, nargs, kw);

    if (timeout == NULL)
        return NULL;
    if (PyObject_TypeCheck(timeout, st->Handle_type)) {
        FlHandle_Cancel((FlHandle *)timeout);
        Py_RETURN_NONE;
    }
    return PyObject_CallMethodNoArgs(timeout, st->str_cancel);
}

static PyObject *
ioloop_time(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble((double)fl_clock_wall() / 1e9);
}

/* ---- descriptors ---- */

static PyObject *
ioloop_add_handler(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "handler", "events", NULL};
    FlLoop *loop = FlIOLoop_Loop(self);
    PyObject *file, *handler;
    unsigned int events;
    int fd;

    if (loop == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "OOI:add_handler",
                                                     names, &file, &handler, &events))
        return NULL;
    fd = FlWatch_Descriptor(file);
    if (fd < 0 || FlWatch_AddHandler(loop, fd, file, handler, events) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
ioloop_update_handler(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fd", "events", NULL};
    FlLoop *loop = FlIOLoop_Loop(self);
    PyObject *file;
    unsigned int events;
    int fd;

    if (loop == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "OI:update_handler",
                                                     names, &file, &events))
        return NULL;
    fd = FlWatch_Descriptor(file);
    if (fd < 0 || FlWatch_UpdateHandler(loop, fd, events) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* A file object that was closed before has no descriptor any more: the handler is found
 * by the object itself. */
static int
ioloop_find_file(FlLoop *loop, PyObject *file)
{
    PyObject *all = FlWatch_Handlers(loop), *key, *pair;
    Py_ssize_t pos = 0;
    int fd = -1;

    while (all != NULL && fd < 0 && PyDict_Next(all, &pos, &key, &pair)) {
        if (PyTuple_GET_ITEM(pair, 0) == file)
            fd = (int)PyLong_AsLong(key);
    }
    Py_XDECREF(all);
    return fd;
}

static PyObject *
ioloop_remove_handler(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kw)
{
    FlLoop *loop = FlIOLoop_Loop(self);
    PyObject *file = ioloop_only_argument("remove_handler", "fd", args, nargs, kw);
    PyObject *found;
    int fd;

    if (loop == NULL || file == NULL)
        return NULL;
    fd = FlWatch_Descriptor(file);
    if (fd < 0) {
        PyObject *exc = PyErr_GetRaisedException();

        fd = ioloop_find_file(loop, file);
        if (fd < 0) {
            PyErr_SetRaisedException(exc);
            return NULL;
        }
        Py_DECREF(exc);
    }
    found = FlWatch_RemoveHandler(loop, fd);
    if (found == NULL && PyErr_Occurred())
        return NULL;
    Py_XDECREF(found);
    Py_RETURN_NONE;
}

static PyObject *
ioloop_handlers(PyObject *self, void *Py_UNUSED(closure))
{
    FlLoop *loop = FlIOLoop_Loop(self);

    return loop == NULL ? NULL : FlWatch_Handlers(loop);
}

/* ---- the type ---- */

static PyObject *
ioloop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlIOLoop *self = st == NULL ? NULL : (FlIOLoop *)type->tp_alloc(type, 0);

    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

static int
ioloop_init(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args),
            PyObject *Py_UNUSED(kwargs))
{
    return 0;
}

static PyObject *
ioloop_attach(PyObject *obj, PyObject *asyncio_loop)
{
    FlIOLoop *self = (FlIOLoop *)obj;
    FlLoop *loop = FlLoop_Of(self->st, asyncio_loop);

    if (loop == NULL)
        return NULL;
    Py_XSETREF(self->loop, loop);
    Py_RETURN_NONE;
}

static PyObject *
ioloop_core_loop(PyObject *self, void *Py_UNUSED(closure))
{
    FlLoop *loop = ((FlIOLoop *)self)->loop;

    return Py_NewRef(loop ? (PyObject *)loop : Py_None);
}

static int
ioloop_traverse(PyObject *obj, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(((FlIOLoop *)obj)->loop);
    Py_VISIT(((FlIOLoop *)obj)->dict);
    return 0;
}

static int
ioloop_clear(PyObject *obj)
{
    Py_CLEAR(((FlIOLoop *)obj)->loop);
    Py_CLEAR(((FlIOLoop *)obj)->dict);
    return 0;
}

static void
ioloop_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    if (((FlIOLoop *)obj)->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    ioloop_clear(obj);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyMethodDef ioloop_methods[] = {
    FL_FAST("add_callback", ioloop_add_callback,
            "add_callback($self, callback, *args, **kwargs)\n--\n\n"
            "Call callback(*args, **kwargs) on the next tick; from any thread."),
    FL_FAST("spawn_callback", ioloop_spawn_callback,
            "spawn_callback($self, callback, *args, **kwargs)\n--\n\n"
            "add_callback() outside of all stack contexts: for what nobody waits for."),
    FL_FAST("call_later", ioloop_call_later,
            "call_later($self, delay, callback, *args, **kwargs)\n--\n\n"
            "Call callback in delay seconds."),
    FL_FAST("call_at", ioloop_call_at,
            "call_at($self, when, callback, *args, **kwargs)\n--\n\n"
            "Call callback at IOLoop.time() when."),
    FL_FAST("add_timeout", ioloop_add_timeout,
            "add_timeout($self, deadline, callback, *args, **kwargs)\n--\n\n"
            "Call callback at a time, or after a timedelta."),
    FL_FAST("remove_timeout", ioloop_remove_timeout,
            "remove_timeout($self, timeout)\n--\n\n"
            "Cancel what one of those gave."),
    {"time", ioloop_time, METH_NOARGS,
     "time($self)\n--\n\n"
     "Seconds of the wall clock."},
    FL_FAST("add_future", FlIOLoop_add_future,
            "add_future($self, future, callback)\n--\n\n"
            "Call callback(future) from the loop once it is done."),
    {"add_handler", (PyCFunction)(void (*)(void))ioloop_add_handler,
     METH_VARARGS | METH_KEYWORDS,
     "add_handler($self, fd, handler, events)\n--\n\n"
     "Call handler(fd, events) whenever events come."},
    {"update_handler", (PyCFunction)(void (*)(void))ioloop_update_handler,
     METH_VARARGS | METH_KEYWORDS,
     "update_handler($self, fd, events)\n--\n\n"
     "Change the events of a handler."},
    FL_FAST("remove_handler", ioloop_remove_handler,
            "remove_handler($self, fd)\n--\n\n"
            "Forget a handler."),
    {"_attach", ioloop_attach, METH_O, "Bind to an asyncio loop, ours or foreign."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef ioloop_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlIOLoop, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlIOLoop, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef ioloop_getset[] = {
    {"handlers", ioloop_handlers, NULL, "{fd: (file, handler)} of add_handler().",
     NULL},
    {"_core_loop", ioloop_core_loop, NULL, "The C loop: its own, or the guest.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot ioloop_slots[] = {
    {Py_tp_doc, "The C part of IOLoop."},
    {Py_tp_new, ioloop_new},
    {Py_tp_init, ioloop_init},
    {Py_tp_dealloc, ioloop_dealloc},
    {Py_tp_traverse, ioloop_traverse},
    {Py_tp_clear, ioloop_clear},
    {Py_tp_methods, ioloop_methods},
    {Py_tp_members, ioloop_members},
    {Py_tp_getset, ioloop_getset},
    {0, NULL},
};

static PyType_Spec ioloop_spec = {
    .name = "pyfastloop._core.IOLoopBase",
    .basicsize = sizeof(FlIOLoop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = ioloop_slots,
};

int
FlIOLoopBase_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->IOLoopBase_type, &ioloop_spec, NULL, false);
}
