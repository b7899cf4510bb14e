/* handle.c -- a callback on its way: what call_soon, call_later and call_at return.
 *
 * A handle holds callable, arguments and context in one block; up to three arguments
 * need no tuple. While it runs, the ring owns the handle and the handle owns what it
 * calls, so cancel() from inside only marks it. A handle that ran lets go of everything
 * at once, unless it is a reader's, which runs again and again.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/handle.h"

#include "core/context.h"
#include "core/future.h"
#include "core/stack.h"
#include "core/task.h"

static void
handle_drop(FlHandle *self)
{
    int nargs = self->nargs;

    self->nargs = 0;
    Py_CLEAR(self->callback);
    for (int i = 1; i <= nargs; i++)
        Py_CLEAR(self->args[i]);
    Py_CLEAR(self->more);
}

/* So many are kept of each kind: what a busy tick has on its ring. */
#define KEPT_HANDLES 1024

static FlFreelist *
handle_list(FlState *st, PyTypeObject *type)
{
    if (type == st->Handle_type)
        return &st->free_handles;
    return type == st->TimerHandle_type ? &st->free_timer_handles : NULL;
}

static inline FlHandle *
handle_alloc(FlLoop *loop, PyTypeObject *type, PyObject *callback,
             PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    FlHandle *self;
    PyObject *more = NULL;

    if (context != NULL)
        Py_INCREF(context);
    else if (FlContext_Snapshot(loop->st, &context) < 0)
        return NULL;
    if (nargs > FL_HANDLE_ARGS) {
        more = PyTuple_New(nargs);
        if (more == NULL)
            goto fail;
        for (Py_ssize_t i = 0; i < nargs; i++)
            PyTuple_SET_ITEM(more, i, Py_NewRef(args[i]));
        nargs = 0;
    }
    self = (FlHandle *)FlFreelist_Take(handle_list(loop->st, type), type);
    if (self == NULL)
        self = (FlHandle *)PyObject_GC_New(FlHandle, type);
    if (self == NULL)
        goto fail;
    self->loop = (FlLoop *)Py_NewRef(loop);
    self->callback = Py_NewRef(callback);
    self->context = context;
    for (Py_ssize_t i = 0; i < nargs; i++)
        self->args[i + 1] = Py_NewRef(args[i]);
    for (Py_ssize_t i = nargs; i < FL_HANDLE_ARGS; i++)
        self->args[i + 1] = NULL;
    self->args[0] = NULL;
    self->more = more;
    self->nargs = (int)nargs;
    self->cancelled = false;
    self->kind = FL_HANDLE_ASYNCIO;
    self->running = 0;
    self->again = false;
    self->timed = false;
    self->source_traceback = NULL;
    self->weakrefs = NULL;
    return self;
fail:
    Py_XDECREF(context);
    Py_XDECREF(more);
    return NULL;
}

/* In debug mode a handle remembers where it was made. */
static int
handle_trace(FlHandle *self)
{
    FlState *st = self->loop->st;

    self->source_traceback = PyObject_CallNoArgs(st->extract_stack);
    return self->source_traceback == NULL ? -1 : 0;
}

FlHandle *
FlHandle_New(FlLoop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
             PyObject *context)
{
    FlHandle *self =
        handle_alloc(loop, loop->st->Handle_type, callback, args, nargs, context);

    if (self == NULL)
        return NULL;
    PyObject_GC_Track(self);
    if (loop->debug && handle_trace(self) < 0)
        Py_CLEAR(self);
    return self;
}

/* The timer came due: the handle goes onto the ring, the loop's reference with it. */
static int
timer_handle_fire(FlLoop *loop, fl_loop_timer *timer)
{
    return FlLoop_Defer(loop, FlHandle_Run, timer->owner);
}

FlTimerHandle *
FlTimerHandle_New(FlLoop *loop, PyObject *callback, PyObject *const *args,
                  Py_ssize_t nargs, PyObject *context, double when)
{
    FlTimerHandle *self;

    if (when != when) {
        PyErr_SetString(PyExc_ValueError, "a deadline must be a number, got nan");
        return NULL;
    }
    self = (FlTimerHandle *)handle_alloc(loop, loop->st->TimerHandle_type, callback,
                                         args, nargs, context);
    if (self == NULL)
        return NULL;
    self->base.timed = true;
    self->when = when;
    FlLoop_InitTimer(&self->timer, timer_handle_fire, (PyObject *)self);
    PyObject_GC_Track(self);
    if ((loop->debug && handle_trace(&self->base) < 0) ||
        FlLoop_Arm(loop, &self->timer, fl_seconds_to_ns(when)) < 0)
        Py_CLEAR(self);
    return self;
}

/* An IOLoop's callback may return something to wait for; its errors are logged. The
 * callback's context is entered. */
static int
handle_await(FlHandle *self, PyObject *value)
{
    FlLoop *loop = self->loop;
    PyObject *future = FlGen_Awaitable(loop->st, value);

    if (future == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (FlFuture_Check(loop->st, future) && FlFuture_Done(future) &&
        !FlFuture_Cancelled(future) && FlFuture_Exception(future) == NULL) {
        Py_DECREF(future);
        return 0;
    }
    int err = FlLoop_LogWhenDone(loop, future, self->callback);
    Py_DECREF(future);
    return err;
}

/* "name(args)" of what it calls; new reference. escapes */
static PyObject *
handle_describe(FlHandle *self)
{
    PyObject *args, *text;

    if (self->callback == NULL)
        return PyUnicode_FromString("None");
    if (self->more != NULL) {
        args = Py_NewRef(self->more);
    } else {
        args = PyTuple_New(self->nargs);
        for (int i = 0; args != NULL && i < self->nargs; i++)
            PyTuple_SET_ITEM(args, i, Py_NewRef(self->args[i + 1]));
    }
    if (args == NULL)
        return NULL;
    if (self->loop->st->hook_format_callback != NULL)
        text = PyObject_CallFunctionObjArgs(self->loop->st->hook_format_callback,
                                            self->callback, args, NULL);
    else
        text = PyUnicode_FromFormat("%R%R", self->callback, args);
    Py_DECREF(args);
    return text;
}

static int
handle_failed(FlHandle *self)
{
    FlLoop *loop = self->loop;
    PyObject *repr;
    PyObject *exc;
    int err;

    if (FlError_IsFatal())
        return -1;
    if (self->kind == FL_HANDLE_IOLOOP) {
        if (PyErr_ExceptionMatches(loop->st->CancelledError))
            PyErr_Clear();
        else
            FlLoop_LogException(loop, "Exception in callback", self->callback);
        return PyErr_Occurred() ? -1 : 0;
    }
    exc = PyErr_GetRaisedException();
    repr = handle_describe(self);
    if (repr == NULL)
        PyErr_Clear();
    PyObject *text = PyUnicode_FromFormat("Exception in callback %V", repr, "?");
    const char *msg = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    PyErr_Clear();
    PyErr_SetRaisedException(exc);
    err = FlLoop_CallExceptionHandler(loop, msg ? msg : "Exception in callback",
                                      loop->st->str_handle, (PyObject *)self);
    Py_XDECREF(repr);
    Py_XDECREF(text);
    return err;
}

/* Its context, or for the time of the call an empty one; borrowed, NULL with
 * MemoryError. */
static PyObject *
handle_context(FlHandle *self)
{
    if (self->context == NULL)
        self->context = FlContext_TakeEmpty(self->loop->st);
    return self->context;
}

/* Calls it inside its context: the result, or NULL with an exception that is nobody
 * else's. escapes */
static PyObject *
handle_call(FlHandle *self)
{
    FlState *st = self->loop->st;
    PyObject *context = handle_context(self), *res;

    if (context == NULL || PyContext_Enter(context) < 0)
        return NULL;
    if (self->more == NULL)
        res = PyObject_Vectorcall(self->callback, self->args + 1,
                                  (size_t)self->nargs | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                  NULL);
    else
        res = PyObject_CallObject(self->callback, self->more);
    if (res != NULL && res != Py_None && self->kind == FL_HANDLE_IOLOOP &&
        handle_await(self, res) < 0)
        Py_CLEAR(res);
    if (res == NULL && FlStack_Settle(st, self->callback, NULL) > 0)
        res = Py_NewRef(Py_None);
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(res);
    return res;
}

int
FlHandle_Run(FlLoop *loop, PyObject *obj)
{
    FlHandle *self = (FlHandle *)obj;
    bool empty = self->context == NULL;
    uint64_t started = 0;
    PyObject *res;
    int err = 0;

    if (self->cancelled || self->callback == NULL)
        return 0;
    if (loop->debug)
        started = fl_clock_monotonic();
    self->running++;
    res = handle_call(self);
    if (res == NULL)
        err = handle_failed(self);
    Py_XDECREF(res);
    if (started != 0)
        FlLoop_ReportSlow(loop, obj, started);
    self->running--;
    if (self->running == 0 && (!self->again || self->cancelled))
        handle_drop(self);
    if (empty && self->context != NULL && FlContext_GiveEmpty(loop->st, self->context))
        self->context = NULL;
    return err;
}

void
FlHandle_Cancel(FlHandle *self)
{
    if (self->cancelled)
        return;
    self->cancelled = true;
    if (self->timed)
        FlLoop_Disarm(self->loop, &((FlTimerHandle *)self)->timer);
    if (self->running == 0)
        handle_drop(self);
}

/* ---- the Python type ---- */

static PyObject *
handle_cancel(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    FlHandle_Cancel((FlHandle *)self);
    Py_RETURN_NONE;
}

static PyObject *
handle_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlHandle *)self)->cancelled);
}

static PyObject *
handle_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_XNewRef(handle_context((FlHandle *)self));
}

static PyObject *
handle_repr(PyObject *obj)
{
    FlHandle *self = (FlHandle *)obj;
    PyObject *parts[5] = {NULL};
    const char *name = self->timed ? "TimerHandle" : "Handle";
    PyObject *text = NULL;

    parts[0] = self->timed && !self->cancelled
                   ? PyUnicode_FromFormat(
                         " when=%S",
                         parts[3] = PyFloat_FromDouble(((FlTimerHandle *)self)->when))
                   : PyUnicode_FromString("");
    if (self->callback == NULL) {
        parts[1] = PyUnicode_FromString("");
    } else {
        parts[2] = handle_describe(self);
        parts[1] = parts[2] ? PyUnicode_FromFormat(" %U", parts[2]) : NULL;
    }
    parts[4] = FlLoop_OriginText(self->source_traceback);
    if (parts[0] != NULL && parts[1] != NULL && parts[4] != NULL)
        text = PyUnicode_FromFormat("<%s%s%U%U%U>", name,
                                    self->cancelled ? " cancelled" : "", parts[0],
                                    parts[1], parts[4]);
    for (int i = 0; i < 5; i++)
        Py_XDECREF(parts[i]);
    return text;
}

static int
handle_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlHandle *self = (FlHandle *)obj;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    for (int i = 1; i <= self->nargs; i++)
        Py_VISIT(self->args[i]);
    Py_VISIT(self->more);
    Py_VISIT(self->source_traceback);
    return 0;
}

static int
handle_clear(PyObject *obj)
{
    FlHandle *self = (FlHandle *)obj;

    handle_drop(self);
    Py_CLEAR(self->source_traceback);
    return 0;
}

static void
handle_dealloc(PyObject *obj)
{
    FlHandle *self = (FlHandle *)obj;
    PyTypeObject *type = Py_TYPE(obj);
    FlFreelist *list = handle_list(self->loop->st, type);

    PyObject_GC_UnTrack(obj);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    handle_drop(self);
    Py_CLEAR(self->source_traceback);
    Py_XDECREF(self->context);
    Py_XDECREF(self->loop);
    if (list != NULL && FlFreelist_Put(list, obj, KEPT_HANDLES))
        return;
    PyObject_GC_Del(obj);
    Py_DECREF(type);
}

/* isinstance(handle, asyncio.Handle) holds: programs ask. */
static PyObject *
handle_get_class(PyObject *obj, void *Py_UNUSED(closure))
{
    FlHandle *self = (FlHandle *)obj;
    FlState *st = self->loop->st;

    return Py_NewRef(self->timed ? st->AsyncioTimerHandle : st->AsyncioHandle);
}

static PyObject *
handle_get_callback(PyObject *obj, void *Py_UNUSED(closure))
{
    PyObject *callback = ((FlHandle *)obj)->callback;

    return Py_NewRef(callback ? callback : Py_None);
}

static PyObject *
timer_handle_when(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyFloat_FromDouble(((FlTimerHandle *)self)->when);
}

static Py_hash_t
timer_handle_hash(PyObject *self)
{
    return (Py_hash_t)((uintptr_t)self >> 4);
}

/* Timer handles are ordered by their deadlines, as asyncio's are. */
static PyObject *
timer_handle_compare(PyObject *a, PyObject *b, int op)
{
    if (Py_TYPE(a) != Py_TYPE(b))
        Py_RETURN_NOTIMPLEMENTED;
    if (op == Py_EQ || op == Py_NE)
        return PyBool_FromLong((a == b) == (op == Py_EQ));
    Py_RETURN_RICHCOMPARE(((FlTimerHandle *)a)->when, ((FlTimerHandle *)b)->when, op);
}

static PyMethodDef handle_methods[] = {
    {"cancel", handle_cancel, METH_NOARGS, "Never call the callback."},
    {"cancelled", handle_cancelled, METH_NOARGS, "Whether cancel() was called."},
    {"get_context", handle_get_context, METH_NOARGS, "The context it runs in."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_handle_methods[] = {
    {"when", timer_handle_when, METH_NOARGS, "The deadline, in loop.time() seconds."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef handle_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlHandle, weakrefs), READONLY, NULL},
    {"_cancelled", T_BOOL, offsetof(FlHandle, cancelled), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(FlHandle, loop), READONLY, NULL},
    {"_source_traceback", T_OBJECT, offsetof(FlHandle, source_traceback), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef handle_getset[] = {
    {"__class__", handle_get_class, NULL, NULL, NULL},
    {"_callback", handle_get_callback, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "A callback scheduled with a loop."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_methods, handle_methods},
    {Py_tp_members, handle_members},
    {Py_tp_getset, handle_getset},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "pyfastloop._core.Handle",
    .basicsize = sizeof(FlHandle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};

static PyType_Slot timer_handle_slots[] = {
    {Py_tp_doc, "A callback scheduled for a time."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_methods, timer_handle_methods},
    {Py_tp_hash, timer_handle_hash},
    {Py_tp_richcompare, timer_handle_compare},
    {0, NULL},
};

static PyType_Spec timer_handle_spec = {
    .name = "pyfastloop._core.TimerHandle",
    .basicsize = sizeof(FlTimerHandle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = timer_handle_slots,
};

int
FlHandle_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Handle_type, &handle_spec, NULL, false);
}

int
FlTimerHandle_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->TimerHandle_type, &timer_handle_spec,
                           (PyObject *)st->Handle_type, false);
}
