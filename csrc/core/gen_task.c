/* gen_task.c -- gen.Task: a function that takes a callback, as a future.
 *
 * The function is called with a callback that ends the future. While it runs, the very
 * same object stands among the contexts of stack_context: what the function started has
 * it from there, and an exception that reaches it fails the future.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/gen_task.h"

#include <string.h>

#include "core/args.h"
#include "core/future.h"
#include "core/stack.h"

/* So many are kept. */
#define KEPT_CALLBACKS 64

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    FlState *st;      /* borrowed */
    PyObject *future; /* owned; ours */
    PyObject *weakrefs;
} FlTaskCallback;

bool
FlGenTask_IsCallback(FlState *st, PyObject *obj)
{
    return Py_IS_TYPE(obj, st->TaskCallback_type);
}

/* ---- the callback ---- */

/* Arguments(args, kwargs) */
static PyObject *
task_arguments(FlState *st, PyObject *const *args, Py_ssize_t n, PyObject *kw)
{
    PyObject *tuple, *dict, *value;

    if (FlArgs_Pack(args, n, kw, &tuple, &dict) < 0)
        return NULL;
    value = PyObject_CallFunctionObjArgs(st->hook_Arguments, tuple, dict, NULL);
    Py_DECREF(tuple);
    Py_DECREF(dict);
    return value;
}

/* One value, None, or Arguments. */
static PyObject *
task_callback_call(PyObject *obj, PyObject *const *args, size_t nargsf, PyObject *kw)
{
    FlTaskCallback *self = (FlTaskCallback *)obj;
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    PyObject *future, *value;
    int err;

    if (self->future == NULL)
        Py_RETURN_NONE; /* taken apart by the collector */
    future = Py_NewRef(self->future);
    if (n > 1 || (kw != NULL && PyTuple_GET_SIZE(kw) > 0))
        value = task_arguments(self->st, args, n, kw);
    else
        value = Py_NewRef(n == 1 ? args[0] : Py_None);
    err = value == NULL ? -1 : FlFuture_SetResultUnlessDone(future, value);
    Py_XDECREF(value);
    Py_DECREF(future);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the context: its exit(type, value, traceback), and that it is active ---- */

static PyObject *
task_callback_exit(PyObject *obj, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *future = ((FlTaskCallback *)obj)->future, *value;
    int err;

    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "exit() takes type, value and traceback");
        return NULL;
    }
    value = args[1];
    if (value == Py_None || future == NULL || FlFuture_Done(future))
        Py_RETURN_NONE;
    Py_INCREF(future);
    err = FlFuture_SetException(future, value);
    Py_DECREF(future);
    if (err < 0)
        return NULL;
    Py_RETURN_TRUE;
}

static PyObject *
task_callback_get_active(PyObject *Py_UNUSED(obj), void *Py_UNUSED(closure))
{
    Py_RETURN_TRUE;
}

static FlTaskCallback *
task_callback_new(FlState *st, PyObject *future)
{
    FlTaskCallback *self = (FlTaskCallback *)FlFreelist_Take(&st->free_task_callbacks,
                                                             st->TaskCallback_type);

    if (self == NULL)
        self = PyObject_GC_New(FlTaskCallback, st->TaskCallback_type);
    if (self == NULL)
        return NULL;
    self->call = task_callback_call;
    self->st = st;
    self->future = Py_NewRef(future);
    self->weakrefs = NULL;
    PyObject_GC_Track(self);
    return self;
}

/* ---- gen.Task ---- */

/* The contexts that are open and one more; new reference. */
static PyObject *
contexts_and(FlState *st, PyObject *context)
{
    PyObject *open = FlStack_Get(st), *more;
    Py_ssize_t n = open == NULL ? 0 : PyTuple_GET_SIZE(open);

    more = PyTuple_New(n + 1);
    for (Py_ssize_t i = 0; more != NULL && i < n; i++)
        PyTuple_SET_ITEM(more, i, Py_NewRef(PyTuple_GET_ITEM(open, i)));
    if (more != NULL)
        PyTuple_SET_ITEM(more, n, Py_NewRef(context));
    Py_XDECREF(open);
    return more;
}

/* kw, a tuple or NULL, and `callback`; new reference. */
static PyObject *
names_and_callback(FlState *st, PyObject *kw)
{
    Py_ssize_t n = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);
    PyObject *names;

    if (n == 0)
        return Py_NewRef(st->callback_names);
    names = PyTuple_New(n + 1);
    for (Py_ssize_t i = 0; names != NULL && i < n; i++)
        PyTuple_SET_ITEM(names, i, Py_NewRef(PyTuple_GET_ITEM(kw, i)));
    if (names != NULL)
        PyTuple_SET_ITEM(names, n, Py_NewRef(st->str_callback));
    return names;
}

/* function(*args, callback=callback): args and kw as they came, function before them. */
static PyObject *
call_with_callback(FlState *st, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
                   PyObject *callback)
{
    Py_ssize_t n = nargs + (kw == NULL ? 0 : PyTuple_GET_SIZE(kw));
    PyObject *few[8], **values = few, *names = names_and_callback(st, kw), *res = NULL;

    if (n + 1 > (Py_ssize_t)Py_ARRAY_LENGTH(few))
        values = PyMem_New(PyObject *, n + 1);
    if (names != NULL && values != NULL) {
        memcpy(values, args, (size_t)n * sizeof *values);
        values[n] = callback;
        res = PyObject_Vectorcall(values[0], values + 1,
                                  (size_t)(nargs - 1) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                  names);
    } else if (values == NULL) {
        PyErr_NoMemory();
    }
    Py_XDECREF(names);
    if (values != few)
        PyMem_Free(values);
    return res;
}

/* What the function raised goes into the future, unless that is done: 0, or -1 with the
 * exception still there. */
static int
task_failed(PyObject *future)
{
    PyObject *exc;
    int err;

    if (!PyErr_ExceptionMatches(PyExc_Exception) || FlFuture_Done(future))
        return -1;
    exc = PyErr_GetRaisedException();
    err = FlFuture_SetException(future, exc);
    Py_DECREF(exc);
    return err;
}

static int
task_leave_context(FlState *st, PyObject *token)
{
    PyObject *exc = PyErr_GetRaisedException();

    /* ValueError: the function went on in another context, which is its affair. */
    if (PyContextVar_Reset(st->hook_stack_contexts, token) < 0)
        PyErr_Clear();
    if (exc == NULL)
        return 0;
    PyErr_SetRaisedException(exc);
    return -1;
}

PyObject *
FlGenTask_Function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kw)
{
    FlState *st = FlState_OfModule(module);
    PyObject *future, *callback = NULL, *contexts = NULL, *token = NULL, *res;
    int err = -1;

    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "Task() takes a function and its arguments");
        return NULL;
    }
    future = FlFuture_New(st, NULL);
    if (future != NULL)
        callback = (PyObject *)task_callback_new(st, future);
    if (callback != NULL)
        contexts = contexts_and(st, callback);
    if (contexts != NULL)
        token = PyContextVar_Set(st->hook_stack_contexts, contexts);
    if (token != NULL) {
        res = call_with_callback(st, args, nargs, kw, callback);
        Py_XDECREF(res);
        err = task_leave_context(st, token);
        if (err < 0)
            err = task_failed(future);
    }
    if (err < 0)
        Py_CLEAR(future);
    Py_XDECREF(token);
    Py_XDECREF(contexts);
    Py_XDECREF(callback);
    return future;
}

/* ---- the type ---- */

static PyObject *
task_callback_repr(PyObject *obj)
{
    PyObject *future = ((FlTaskCallback *)obj)->future, *text;

    future = Py_NewRef(future ? future : Py_None);
    text = PyUnicode_FromFormat("<callback of %R>", future);
    Py_DECREF(future);
    return text;
}

static int
task_callback_traverse(PyObject *obj, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(((FlTaskCallback *)obj)->future);
    return 0;
}

static int
task_callback_clear(PyObject *obj)
{
    Py_CLEAR(((FlTaskCallback *)obj)->future);
    return 0;
}

static void
task_callback_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);
    FlTaskCallback *self = (FlTaskCallback *)obj;

    PyObject_GC_UnTrack(obj);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    task_callback_clear(obj);
    if (!FlFreelist_Put(&self->st->free_task_callbacks, obj, KEPT_CALLBACKS)) {
        PyObject_GC_Del(obj);
        Py_DECREF(type);
    }
}

static PyMethodDef task_callback_methods[] = {
    {"exit", (PyCFunction)(void (*)(void))task_callback_exit, METH_FASTCALL,
     "exit($self, typ, value, tb, /)\n--\n\nFail the future with what was raised."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef task_callback_getset[] = {
    {"active", task_callback_get_active, NULL, "True: it is never deactivated.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef task_callback_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FlTaskCallback, call), READONLY,
     NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlTaskCallback, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot task_callback_slots[] = {
    {Py_tp_dealloc, task_callback_dealloc},
    {Py_tp_traverse, task_callback_traverse},
    {Py_tp_clear, task_callback_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_repr, task_callback_repr},
    {Py_tp_methods, task_callback_methods},
    {Py_tp_getset, task_callback_getset},
    {Py_tp_members, task_callback_members},
    {0, NULL},
};

static PyType_Spec task_callback_spec = {
    .name = "pyfastloop._core.TaskCallback",
    .basicsize = sizeof(FlTaskCallback),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = task_callback_slots,
};

int
FlTaskCallback_AddType(PyObject *module, FlState *st)
{
    st->callback_names = PyTuple_Pack(1, st->str_callback);
    if (st->callback_names == NULL)
        return -1;
    return FlState_AddType(module, &st->TaskCallback_type, &task_callback_spec, NULL,
                           true);
}
