/* task_type.c -- Task as Python sees it: asyncio.Task's methods on ours.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/task_parts.h"

#include <string.h>

#include "core/future_parts.h"

static PyObject *
task_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlTask *self = st == NULL ? NULL : (FlTask *)FlTask_NewBare(st, NULL, NULL);

    return (PyObject *)self;
}

/* Task(coro, *, loop=None, name=None, context=None, eager_start=False) */
static int
task_init(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"coro", "loop", "name", "context", "eager_start", NULL};
    FlTask *self = (FlTask *)obj;
    FlState *st = self->future.st;
    PyObject *coro, *loop = NULL, *name = Py_None, *context = Py_None, *ok;
    int eager = 0, is_coro;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$OOOp:Task", names, &coro, &loop,
                                     &name, &context, &eager))
        return -1;
    ok = PyObject_CallOneArg(st->iscoroutine, coro);
    is_coro = ok == NULL ? -1 : PyObject_IsTrue(ok);
    Py_XDECREF(ok);
    if (is_coro == 0)
        PyErr_Format(PyExc_TypeError, "a coroutine was expected, got %R", coro);
    if (is_coro <= 0)
        return -1;
    if (self->coro != NULL || self->registered || FlFuture_Done(obj)) {
        PyErr_SetString(PyExc_RuntimeError, "Task.__init__() was called before");
        return -1;
    }
    if (loop != NULL && loop != Py_None) {
        FlLoop *found = FlLoop_Of(st, loop);

        if (found == NULL)
            return -1;
        Py_XSETREF(self->future.loop, found);
    }
    if (FlFuture_ResolveLoop(&self->future) < 0)
        return -1;
    if (name != Py_None && (self->name = PyObject_Str(name)) == NULL)
        return -1;
    if (context != Py_None)
        Py_SETREF(self->context, Py_NewRef(context));
    self->coro = Py_NewRef(coro);
    if (eager && self->future.loop->running)
        return FlTask_Step(obj);
    return FlTask_Schedule(self);
}

static PyObject *
task_cancel(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"msg", NULL};
    PyObject *msg = NULL;
    int yes;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", names, &msg))
        return NULL;
    yes = FlTask_Cancel(self, msg);
    return yes < 0 ? NULL : PyBool_FromLong(yes);
}

static PyObject *
task_cancelling(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromUnsignedLong(((FlFuture *)self)->cancels);
}

static PyObject *
task_uncancel(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTask *self = (FlTask *)obj;

    if (self->future.cancels > 0 && --self->future.cancels == 0 && FL_UNCANCEL_RESCINDS)
        self->must_cancel = false;
    return PyLong_FromUnsignedLong(self->future.cancels);
}

static PyObject *
task_get_coro(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *coro = ((FlTask *)self)->coro;

    return Py_NewRef(coro ? coro : Py_None);
}

static PyObject *
task_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(((FlTask *)self)->context);
}

static PyObject *
task_get_name(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTask *self = (FlTask *)obj;

    if (self->name == NULL)
        self->name =
            PyUnicode_FromFormat("Task-%llu", (unsigned long long)self->number);
    return Py_XNewRef(self->name);
}

static PyObject *
task_set_name(PyObject *obj, PyObject *name)
{
    PyObject *text = PyObject_Str(name);

    if (text == NULL)
        return NULL;
    Py_XSETREF(((FlTask *)obj)->name, text);
    Py_RETURN_NONE;
}

static PyObject *
task_no_result(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    PyErr_SetString(PyExc_RuntimeError, "Task does not support set_result operation");
    return NULL;
}

static PyObject *
task_no_exception(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    PyErr_SetString(PyExc_RuntimeError,
                    "Task does not support set_exception operation");
    return NULL;
}

/* Stacks are told by asyncio's own helpers, which read the attributes below. */
static PyObject *
task_helper(PyObject *self, const char *helper, PyObject *first, PyObject *second)
{
    PyObject *module = PyImport_ImportModule("asyncio.base_tasks"), *function,
             *res = NULL;

    if (module == NULL)
        return NULL;
    function = PyObject_GetAttrString(module, helper);
    Py_DECREF(module);
    if (function != NULL)
        res = PyObject_CallFunctionObjArgs(function, self, first, second, NULL);
    Py_XDECREF(function);
    return res;
}

static PyObject *
task_get_stack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", NULL};
    PyObject *limit = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$O:get_stack", names, &limit))
        return NULL;
    return task_helper(self, "_task_get_stack", limit, NULL);
}

static PyObject *
task_print_stack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", "file", NULL};
    PyObject *limit = Py_None, *file = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OO:print_stack", names, &limit,
                                     &file))
        return NULL;
    return task_helper(self, "_task_print_stack", limit, file);
}

/* The attribute, by the name of coroutines or by that of generators; new reference, or
 * NULL without exception. */
static PyObject *
coro_attribute(PyObject *coro, const char *first, const char *second)
{
    PyObject *found = PyObject_GetAttrString(coro, first);

    if (found == NULL) {
        PyErr_Clear();
        found = PyObject_GetAttrString(coro, second);
    }
    if (found == NULL)
        PyErr_Clear();
    return found;
}

/* Which function it is and where it stands: "<f() running at file:line>". */
static PyObject *
coro_text(PyObject *coro)
{
    PyObject *name = coro_attribute(coro, "__qualname__", "__name__");
    PyObject *code = coro_attribute(coro, "cr_code", "gi_code");
    PyObject *frame = coro_attribute(coro, "cr_frame", "gi_frame");
    PyObject *file = NULL, *line = NULL, *text = NULL;
    bool runs = frame != NULL && frame != Py_None;

    if (code != NULL) {
        file = PyObject_GetAttrString(code, "co_filename");
        line = PyObject_GetAttrString(runs ? frame : code,
                                      runs ? "f_lineno" : "co_firstlineno");
        PyErr_Clear();
    }
    if (name != NULL && file != NULL && line != NULL)
        text =
            PyUnicode_FromFormat("<%S() %s %S:%S>", name,
                                 runs ? "running at" : "done, defined at", file, line);
    else
        text = PyObject_Repr(coro);
    Py_XDECREF(name);
    Py_XDECREF(code);
    Py_XDECREF(frame);
    Py_XDECREF(file);
    Py_XDECREF(line);
    return text;
}

/* " wait_for=...", " result=...", " exception=..." or nothing. */
static PyObject *
task_outcome_text(FlTask *self)
{
    PyObject *waiting = Py_XNewRef(self->waiting), *state, *end;

    if (self->future.state == FL_FUTURE_FINISHED) {
        Py_XDECREF(waiting);
        state = FlFuture_StateText(&self->future);
        if (state == NULL)
            return NULL;
        end = PyUnicode_Substring(state, (Py_ssize_t)strlen("finished"),
                                  PyUnicode_GET_LENGTH(state));
        Py_DECREF(state);
        return end;
    }
    end = waiting == NULL ? PyUnicode_FromString("")
                          : PyUnicode_FromFormat(" wait_for=%R", waiting);
    Py_XDECREF(waiting);
    return end;
}

static PyObject *
task_repr(PyObject *obj)
{
    FlTask *self = (FlTask *)obj;
    const char *state = self->must_cancel                           ? "cancelling"
                        : self->future.state == FL_FUTURE_PENDING   ? "pending"
                        : self->future.state == FL_FUTURE_CANCELLED ? "cancelled"
                                                                    : "finished";
    PyObject *name, *coro, *what = NULL, *end = NULL, *origin = NULL, *text = NULL;
    int nested = Py_ReprEnter(obj);

    if (nested != 0)
        return nested < 0 ? NULL : PyUnicode_FromString("<Task ...>");
    name = task_get_name(obj, NULL);
    coro = Py_XNewRef(self->coro);
    if (name != NULL)
        what = coro == NULL ? PyUnicode_FromString("None") : coro_text(coro);
    Py_XDECREF(coro);
    if (what != NULL)
        end = task_outcome_text(self);
    if (end != NULL)
        origin = FlLoop_OriginText(self->future.source_traceback);
    if (origin != NULL)
        text = PyUnicode_FromFormat("<Task %s name=%R coro=%U%U%U>", state, name, what,
                                    end, origin);
    Py_XDECREF(name);
    Py_XDECREF(what);
    Py_XDECREF(end);
    Py_XDECREF(origin);
    Py_ReprLeave(obj);
    return text;
}

static PyObject *
task_get_class(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((FlFuture *)self)->st->AsyncioTask);
}

static PyObject *
task_get_must_cancel(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((FlTask *)self)->must_cancel);
}

static int
task_set_must_cancel(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int flag = value == NULL ? 0 : PyObject_IsTrue(value);

    if (flag < 0)
        return -1;
    ((FlTask *)self)->must_cancel = flag;
    return 0;
}

static PyObject *
task_get_log_destroy(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((FlTask *)self)->log_destroy_pending);
}

static int
task_set_log_destroy(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int flag = value == NULL ? 0 : PyObject_IsTrue(value);

    if (flag < 0)
        return -1;
    ((FlTask *)self)->log_destroy_pending = flag;
    return 0;
}

static PyObject *
task_get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *waiting = ((FlTask *)self)->waiting;

    return Py_NewRef(waiting ? waiting : Py_None);
}

static PyObject *
task_get_coro_attr(PyObject *self, void *Py_UNUSED(closure))
{
    return task_get_coro(self, NULL);
}

/* ---- the collector; GenFuture's too ---- */

int
FlTask_Traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlTask *self = (FlTask *)obj;

    Py_VISIT(self->coro);
    Py_VISIT(self->context);
    Py_VISIT(self->waiting);
    Py_VISIT(self->name);       /* or contexts */
    Py_VISIT(self->throw_next); /* or runner */
    return FlFuture_Traverse(obj, visit, arg);
}

int
FlTask_Clear(PyObject *obj)
{
    FlTask *self = (FlTask *)obj;

    Py_CLEAR(self->coro);
    Py_CLEAR(self->context);
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->name);       /* or contexts */
    Py_CLEAR(self->throw_next); /* or runner */
    return FlFuture_Clear(obj);
}

static void
task_finalize(PyObject *obj)
{
    FlTask *self = (FlTask *)obj;
    PyObject *exc;

    if (self->future.state == FL_FUTURE_PENDING && self->log_destroy_pending &&
        ((self->coro != NULL && !self->ended) || self->waiting != NULL)) {
        self->log_destroy_pending = false;
        exc = PyErr_GetRaisedException();
        FlFuture_Report(&self->future, "Task was destroyed but it is pending!",
                        self->future.st->str_task);
        if (exc != NULL)
            PyErr_SetRaisedException(exc);
    }
    FlFuture_Finalize(obj);
}

static PyMethodDef task_methods[] = {
    {"cancel", (PyCFunction)(void (*)(void))task_cancel, METH_VARARGS | METH_KEYWORDS,
     "Ask the coroutine to end: CancelledError is thrown into it."},
    {"cancelling", task_cancelling, METH_NOARGS, "Cancel requests not taken back."},
    {"uncancel", task_uncancel, METH_NOARGS, "Take one cancel request back."},
    {"get_coro", task_get_coro, METH_NOARGS, "The coroutine."},
    {"get_context", task_get_context, METH_NOARGS, "The context it runs in."},
    {"get_name", task_get_name, METH_NOARGS, "The name."},
    {"set_name", task_set_name, METH_O, "Give it a name."},
    {"set_result", task_no_result, METH_O, NULL},
    {"set_exception", task_no_exception, METH_O, NULL},
    {"get_stack", (PyCFunction)(void (*)(void))task_get_stack,
     METH_VARARGS | METH_KEYWORDS, "The frames of the coroutine."},
    {"print_stack", (PyCFunction)(void (*)(void))task_print_stack,
     METH_VARARGS | METH_KEYWORDS, "Print the frames of the coroutine."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef task_getset[] = {
    {"__class__", task_get_class, NULL, NULL, NULL},
    {"_log_destroy_pending", task_get_log_destroy, task_set_log_destroy, NULL, NULL},
    {"_must_cancel", task_get_must_cancel, task_set_must_cancel, NULL, NULL},
    {"_fut_waiter", task_get_waiting, NULL, NULL, NULL},
    {"_coro", task_get_coro_attr, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot task_slots[] = {
    {Py_tp_doc,
     "Drives a coroutine on a pyfastloop loop; asyncio.Task's contract in C."},
    {Py_tp_new, task_new},
    {Py_tp_init, task_init},
    {Py_tp_dealloc, FlFuture_Dealloc},
    {Py_tp_finalize, task_finalize},
    {Py_tp_traverse, FlTask_Traverse},
    {Py_tp_clear, FlTask_Clear},
    {Py_tp_repr, task_repr},
    {Py_tp_methods, task_methods},
    {Py_tp_getset, task_getset},
    {0, NULL},
};

static PyType_Spec task_spec = {
    .name = "pyfastloop._core.Task",
    .basicsize = sizeof(FlTask),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = task_slots,
};

int
FlTask_AddType(PyObject *module, FlState *st)
{
    return FlFuture_AddSubtype(module, st, &st->Task_type, &task_spec,
                               (PyObject *)st->Future_type);
}
