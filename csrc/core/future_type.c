/* future_type.c -- Future as Python sees it.
 *
 * isinstance holds both ways with asyncio's: `__class__` of ours says asyncio.Future,
 * and the metaclass here counts asyncio's futures as ours. Real inheritance is refused
 * on purpose: asyncio's C code would take our struct for its own.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/args.h"
#include "core/future_parts.h"

/* Parses Future(*, loop=None): new reference or NULL without an exception for None. */
static FlLoop *
loop_argument(FlState *st, PyObject *loop)
{
    if (loop == NULL || loop == Py_None)
        return NULL;
    return FlLoop_Of(st, loop);
}

/* The one keyword argument a call may have, borrowed; NULL for none. -1 with TypeError.
 */
static int
future_keyword(const char *method, const char *name, PyObject *const *values,
               PyObject *kw, PyObject **out)
{
    *out = NULL;
    if (kw == NULL || PyTuple_GET_SIZE(kw) == 0)
        return 0;
    if (PyTuple_GET_SIZE(kw) > 1 ||
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kw, 0), name) != 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes no keyword but '%s', got %R", method,
                     name, kw);
        return -1;
    }
    *out = values[0];
    return 0;
}

static int
future_init(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    FlFuture *self = (FlFuture *)obj;
    FlState *st = FlState_OfType(Py_TYPE(obj));
    PyObject *loop = NULL;
    FlLoop *found;

    if (st == NULL)
        return -1;
    if (PyTuple_GET_SIZE(args) != 0) {
        PyErr_SetString(PyExc_TypeError,
                        "Future() takes keyword arguments only: loop=");
        return -1;
    }
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0) {
        loop = PyDict_GetItemWithError(kwargs, st->str_loop);
        if (loop == NULL || PyDict_GET_SIZE(kwargs) != 1) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError,
                                "Future() takes one keyword only: loop=");
            return -1;
        }
    }
    found = loop_argument(st, loop);
    if (found == NULL && PyErr_Occurred())
        return -1;
    FlFuture_Reset(self);
    self->state = FL_FUTURE_PENDING;
    self->log_traceback = self->blocking = self->failed = false;
    FlFuture_Setup(self, st, found);
    Py_XDECREF(found);
    return 0;
}

/* A subclass may be used before (or without) Future.__init__. */
static PyObject *
future_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlFuture *self = st == NULL ? NULL : (FlFuture *)FlFuture_Alloc(st, type);

    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

/* Future(): nearly every call of it has no arguments. A program may give the class
 * another __init__ or __new__. */
static PyObject *
future_call_type(PyObject *cls, PyObject *const *args, size_t nargsf, PyObject *kw)
{
    PyTypeObject *type = (PyTypeObject *)cls;
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf);
    PyObject *tuple, *dict, *self;

    if (nargs == 0 && kw == NULL && type->tp_new == future_new &&
        type->tp_init == future_init) {
        FlState *st = FlState_OfType(type);

        return st == NULL ? NULL : FlFuture_New(st, NULL);
    }
    if (FlArgs_Pack(args, nargs, kw, &tuple, &dict) < 0)
        return NULL;
    self = PyType_Type.tp_call(cls, tuple, dict);
    Py_DECREF(tuple);
    Py_DECREF(dict);
    return self;
}

static PyObject *
future_result(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return FlFuture_Result(self);
}

static PyObject *
future_exception(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *exc;

    if (self->state == FL_FUTURE_PENDING) {
        PyErr_SetString(self->st->InvalidStateError, "Exception is not set.");
        return NULL;
    }
    if (self->state == FL_FUTURE_CANCELLED) {
        exc = FlFuture_MakeCancelledError(self);
        if (exc != NULL)
            FlFuture_Raise(exc);
        return NULL;
    }
    exc = FlFuture_Exception(obj);
    return Py_NewRef(exc ? exc : Py_None);
}

static PyObject *
future_set_result(PyObject *self, PyObject *value)
{
    if (FlFuture_SetResult(self, value) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
future_set_exception(PyObject *self, PyObject *exc)
{
    if (FlFuture_SetException(self, exc) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* set_exc_info((type, value, traceback)): the form of older programs. */
static PyObject *
future_set_exc_info(PyObject *self, PyObject *info)
{
    PyObject *exc;

    if (!PyTuple_Check(info) || PyTuple_GET_SIZE(info) != 3) {
        PyErr_Format(PyExc_TypeError,
                     "set_exc_info() takes a tuple (type, value, traceback), got %R",
                     info);
        return NULL;
    }
    exc = PyTuple_GET_ITEM(info, 1);
    if (exc == Py_None)
        exc = PyTuple_GET_ITEM(info, 0);
    if (PyExceptionInstance_Check(exc) && PyTuple_GET_ITEM(info, 2) != Py_None &&
        PyException_SetTraceback(exc, PyTuple_GET_ITEM(info, 2)) < 0)
        return NULL;
    return future_set_exception(self, exc);
}

static PyObject *
future_exc_info(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    PyObject *exc = FlFuture_Exception(obj);

    if (exc == NULL)
        Py_RETURN_NONE;
    PyObject *tb = PyException_GetTraceback(exc);
    PyObject *info = PyTuple_Pack(3, Py_TYPE(exc), exc, tb ? tb : Py_None);
    Py_XDECREF(tb);
    return info;
}

static PyObject *
future_done(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(FlFuture_Done(self));
}

static PyObject *
future_cancelled(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(FlFuture_Cancelled(self));
}

static PyObject *
future_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(!FlFuture_Done(self));
}

static PyObject *
future_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    PyObject *msg;
    int cancelled;

    if (future_keyword("cancel", "msg", args + nargs, kw, &msg) < 0)
        return NULL;
    if (nargs > 1 || (nargs == 1 && msg != NULL)) {
        PyErr_SetString(PyExc_TypeError, "cancel() takes one message at most");
        return NULL;
    }
    ((FlFuture *)self)->log_traceback = false;
    cancelled = FlFuture_CancelSelf((FlFuture *)self, nargs == 1 ? args[0] : msg);
    return cancelled < 0 ? NULL : PyBool_FromLong(cancelled);
}

static PyObject *
future_add_done_callback(PyObject *obj, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kw)
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *context;
    int err;

    if (future_keyword("add_done_callback", "context", args + nargs, kw, &context) < 0)
        return NULL;
    if (nargs != 1) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback() takes one callback");
        return NULL;
    }
    if (context == NULL || context == Py_None)
        context = PyContext_CopyCurrent();
    else
        Py_INCREF(context);
    if (context == NULL)
        return NULL;
    if (!FlFuture_Done(obj))
        err = FlFuture_PushWaiter(self, (FlWaiter){.obj = args[0], .context = context});
    else if (FlFuture_ResolveLoop(self) < 0)
        err = -1;
    else
        err = FlFuture_ScheduleCallback(self, args[0], context);
    Py_DECREF(context);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Callbacks that compare equal to fn go; comparing may call anything, so the list is
 * taken out first and what was added meanwhile comes behind. */
static PyObject *
future_remove_done_callback(PyObject *obj, PyObject *fn)
{
    FlFuture *self = (FlFuture *)obj;
    long removed = FlFuture_RemoveCallback(self, fn);

    return removed < 0 ? NULL : PyLong_FromLong(removed);
}

static PyObject *
future_get_loop(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlFuture *self = (FlFuture *)obj;

    if (FlFuture_ResolveLoop(self) < 0)
        return NULL;
    return Py_NewRef(FlLoop_Face(self->loop));
}

static PyObject *
future_make_cancelled_error(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return FlFuture_MakeCancelledError((FlFuture *)self);
}

PyObject *
FlFuture_StateText(FlFuture *self)
{
    bool failed = self->failed;
    PyObject *what, *shown, *text;

    if (self->state == FL_FUTURE_PENDING)
        return PyUnicode_FromString("pending");
    if (self->state == FL_FUTURE_CANCELLED)
        return PyUnicode_FromString("cancelled");
    if (self->value == NULL)
        return PyUnicode_FromString("finished");
    what = Py_NewRef(self->value);
    shown =
        failed ? PyObject_Repr(what) : PyObject_CallOneArg(self->st->short_repr, what);
    Py_DECREF(what);
    if (shown == NULL)
        return NULL;
    text =
        PyUnicode_FromFormat("finished %s=%S", failed ? "exception" : "result", shown);
    Py_DECREF(shown);
    return text;
}

static PyObject *
future_repr(PyObject *obj)
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *text = NULL, *name, *state, *origin;
    int nested = Py_ReprEnter(obj);

    if (nested != 0)
        return nested < 0 ? NULL : PyUnicode_FromString("<Future ...>");
    name = PyType_GetName(Py_TYPE(obj));
    state = name == NULL ? NULL : FlFuture_StateText(self);
    origin = state == NULL ? NULL : FlLoop_OriginText(self->source_traceback);
    if (origin != NULL)
        text = PyUnicode_FromFormat("<%U %U%U>", name, state, origin);
    Py_XDECREF(origin);
    Py_XDECREF(state);
    Py_XDECREF(name);
    Py_ReprLeave(obj);
    return text;
}

/* ---- attributes that asyncio's Python code reads ---- */

static PyObject *
future_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((FlFuture *)self)->st->AsyncioFuture);
}

static PyObject *
future_get_blocking(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((FlFuture *)self)->blocking);
}

static int
future_set_blocking(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int blocking = value == NULL ? 0 : PyObject_IsTrue(value);

    if (blocking < 0)
        return -1;
    ((FlFuture *)self)->blocking = blocking;
    return 0;
}

static PyObject *
future_get_log_traceback(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((FlFuture *)self)->log_traceback);
}

static int
future_set_log_traceback(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int flag = value == NULL ? 0 : PyObject_IsTrue(value);

    if (flag < 0)
        return -1;
    if (flag) {
        PyErr_SetString(PyExc_ValueError, "_log_traceback can only be set to False");
        return -1;
    }
    ((FlFuture *)self)->log_traceback = false;
    return 0;
}

static PyObject *
future_get_state(PyObject *self, void *Py_UNUSED(closure))
{
    static const char *const names[] = {"PENDING", "CANCELLED", "FINISHED"};

    return PyUnicode_FromString(names[((FlFuture *)self)->state]);
}

static PyObject *
future_get_loop_attr(PyObject *self, void *Py_UNUSED(closure))
{
    return future_get_loop(self, NULL);
}

/* What _result, _exception and _cancel_message say: value where it is there. */
static PyObject *
future_or_none(PyObject *value, bool there)
{
    return Py_NewRef(there && value != NULL ? value : Py_None);
}

static PyObject *
future_get_result(PyObject *obj, void *Py_UNUSED(closure))
{
    FlFuture *self = (FlFuture *)obj;

    return future_or_none(self->value,
                          self->state == FL_FUTURE_FINISHED && !self->failed);
}

static PyObject *
future_get_exception(PyObject *obj, void *Py_UNUSED(closure))
{
    return future_or_none(((FlFuture *)obj)->value, ((FlFuture *)obj)->failed);
}

static PyObject *
future_get_cancel_message(PyObject *obj, void *Py_UNUSED(closure))
{
    return future_or_none(((FlFuture *)obj)->note, !((FlFuture *)obj)->failed);
}

/* A future that failed keeps its traceback there, and never needs a message again. */
static int
future_set_cancel_message(PyObject *obj, PyObject *value, void *Py_UNUSED(closure))
{
    FlFuture *self = (FlFuture *)obj;

    if (!self->failed)
        Py_XSETREF(self->note, Py_XNewRef(value));
    return 0;
}

static int64_t
future_more(const FlFuture *self)
{
    return self->more != NULL ? self->more->n : 0;
}

/* [(callback, context), ...] of the Python callbacks, or None. */
static PyObject *
future_get_callbacks(PyObject *obj, void *Py_UNUSED(closure))
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *list = PyList_New(0);

    for (int64_t i = -1; list != NULL && i < future_more(self); i++) {
        FlWaiter *w = i < 0 ? &self->first : &self->more->at[i];
        PyObject *pair;

        if (w->obj == NULL || w->run != NULL)
            continue;
        PyObject *callback = Py_NewRef(w->obj), *context = Py_NewRef(w->context);

        pair = PyTuple_Pack(2, callback, context);
        Py_DECREF(callback);
        Py_DECREF(context);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    if (list == NULL || PyList_GET_SIZE(list) > 0)
        return list;
    Py_DECREF(list);
    Py_RETURN_NONE;
}

static PyMethodDef future_methods[] = {
    {"result", future_result, METH_NOARGS,
     "result($self)\n--\n\n"
     "The result, or its exception raised."},
    {"exception", future_exception, METH_NOARGS,
     "exception($self)\n--\n\n"
     "The exception, or None."},
    {"set_result", future_set_result, METH_O,
     "set_result($self, result, /)\n--\n\n"
     "Finish with a value."},
    {"set_exception", future_set_exception, METH_O,
     "set_exception($self, exception, /)\n--\n\n"
     "Finish with an exception."},
    {"set_exc_info", future_set_exc_info, METH_O,
     "set_exc_info($self, exc_info, /)\n--\n\n"
     "Finish with a sys.exc_info() triple."},
    {"exc_info", future_exc_info, METH_NOARGS,
     "exc_info($self)\n--\n\n"
     "(type, value, traceback), or None."},
    {"done", future_done, METH_NOARGS,
     "done($self)\n--\n\n"
     "Whether it is finished or cancelled."},
    {"cancelled", future_cancelled, METH_NOARGS,
     "cancelled($self)\n--\n\n"
     "Whether it was cancelled."},
    {"running", future_running, METH_NOARGS,
     "running($self)\n--\n\n"
     "Whether it is not done yet."},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel,
     METH_FASTCALL | METH_KEYWORDS,
     "cancel($self, msg=None)\n--\n\n"
     "Cancel; whether it was pending."},
    {"add_done_callback", (PyCFunction)(void (*)(void))future_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback($self, fn, /, *, context=None)\n--\n\n"
     "Call fn(future) from the loop once it is done."},
    {"remove_done_callback", future_remove_done_callback, METH_O,
     "remove_done_callback($self, fn, /)\n--\n\n"
     "Take callbacks back; how many there were."},
    {"get_loop", future_get_loop, METH_NOARGS,
     "get_loop($self)\n--\n\n"
     "The loop it belongs to."},
    {"_make_cancelled_error", future_make_cancelled_error, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef future_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlFuture, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlFuture, weakrefs), READONLY, NULL},
    {"_source_traceback", T_OBJECT, offsetof(FlFuture, source_traceback), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef future_getset[] = {
    {"__class__", future_get_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_asyncio_future_blocking", future_get_blocking, future_set_blocking, NULL, NULL},
    {"_log_traceback", future_get_log_traceback, future_set_log_traceback, NULL, NULL},
    {"_state", future_get_state, NULL, NULL, NULL},
    {"_result", future_get_result, NULL, NULL, NULL},
    {"_exception", future_get_exception, NULL, NULL, NULL},
    {"_cancel_message", future_get_cancel_message, future_set_cancel_message, NULL,
     NULL},
    {"_loop", future_get_loop_attr, NULL, NULL, NULL},
    {"_callbacks", future_get_callbacks, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_doc, "Future(*, loop=None)\n--\n\n"
                "A value that will be there later; asyncio's contract in C."},
    {Py_tp_new, future_new},
    {Py_tp_init, future_init},
    {Py_tp_dealloc, FlFuture_Dealloc},
    {Py_tp_finalize, FlFuture_Finalize},
    {Py_tp_traverse, FlFuture_Traverse},
    {Py_tp_clear, FlFuture_Clear},
    {Py_tp_repr, future_repr},
    {Py_tp_iter, FlFuture_Iter},
    {Py_am_await, FlFuture_Iter},
    {Py_tp_methods, future_methods},
    {Py_tp_members, future_members},
    {Py_tp_getset, future_getset},
    {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "pyfastloop._core.Future",
    .basicsize = sizeof(FlFuture),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = future_slots,
};

/* ---- the metaclass ---- */

/* asyncio's futures count as ours for Future itself (and its tasks for Task), not for
 * classes that programs derive. */
static PyObject *
meta_instancecheck(PyObject *cls, PyObject *obj)
{
    FlState *st = FlState_OfType((PyTypeObject *)cls);
    int yes;

    if (st == NULL)
        return NULL;
    if (PyType_IsSubtype(Py_TYPE(obj), (PyTypeObject *)cls))
        Py_RETURN_TRUE;
    if (cls == (PyObject *)st->Future_type)
        yes = PyObject_IsInstance(obj, st->AsyncioFuture);
    else if (cls == (PyObject *)st->Task_type)
        yes = PyObject_IsInstance(obj, st->AsyncioTask);
    else
        yes = 0;
    return yes < 0 ? NULL : PyBool_FromLong(yes);
}

static PyObject *
meta_subclasscheck(PyObject *cls, PyObject *sub)
{
    FlState *st = FlState_OfType((PyTypeObject *)cls);
    PyObject *theirs;
    int yes;

    if (st == NULL)
        return NULL;
    if (PyType_Check(sub) && PyType_IsSubtype((PyTypeObject *)sub, (PyTypeObject *)cls))
        Py_RETURN_TRUE;
    theirs = cls == (PyObject *)st->Future_type ? st->AsyncioFuture
             : cls == (PyObject *)st->Task_type ? st->AsyncioTask
                                                : NULL;
    yes = theirs == NULL ? 0 : PyObject_IsSubclass(sub, theirs);
    return yes < 0 ? NULL : PyBool_FromLong(yes);
}

static PyMethodDef meta_methods[] = {
    {"__instancecheck__", meta_instancecheck, METH_O, NULL},
    {"__subclasscheck__", meta_subclasscheck, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot meta_slots[] = {
    {Py_tp_methods, meta_methods},
    {0, NULL},
};

static PyType_Spec meta_spec = {
    .name = "pyfastloop._core.FutureMeta",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = meta_slots,
};

int
FlFutureMeta_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->FutureMeta_type, &meta_spec,
                           (PyObject *)&PyType_Type, true);
}

int
FlFuture_AddSubtype(PyObject *module, FlState *st, PyTypeObject **slot,
                    PyType_Spec *spec, PyObject *base)
{
    PyObject *type =
        FlCompat_NewType((PyObject *)st->FutureMeta_type, module, spec, base);

    if (type == NULL)
        return -1;
    *slot = (PyTypeObject *)type;
    return PyModule_AddObjectRef(module, strrchr(spec->name, '.') + 1, type);
}

int
FlFuture_AddType(PyObject *module, FlState *st)
{
    if (FlFuture_AddSubtype(module, st, &st->Future_type, &future_spec, NULL) < 0)
        return -1;
    st->Future_type->tp_vectorcall = future_call_type;
    st->moment = FlFuture_NewDone(st, Py_None);
    return st->moment == NULL ? -1
                              : PyModule_AddObjectRef(module, "moment", st->moment);
}
