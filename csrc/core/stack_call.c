/* stack_call.c -- a callable that takes the contexts of stack_context with it.
 *
 * What stack_context.wrap() makes: called by whomever, it runs its function inside the
 * contexts that were open then, and their handlers see what it raises. As long as all
 * of them only look at exceptions nothing is entered, and it is done here; a
 * StackContext among them is entered by Python. Beside it the callback of gen.Task,
 * which ends a future.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/stack.h"

#include <string.h>

#include "core/future.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    FlState *st;        /* borrowed */
    PyObject *function; /* owned */
    PyObject *contexts; /* owned; tuple. NULL: function is the future to end */
    bool plain;         /* all of them are ExceptionStackContexts */
    PyObject *weakrefs;
} FlStackCall;

/* ---- calling ---- */

static PyObject *
keyword_dict(PyObject *const *values, PyObject *kw)
{
    PyObject *dict = PyDict_New();

    for (Py_ssize_t i = 0; dict != NULL && kw != NULL && i < PyTuple_GET_SIZE(kw); i++)
        if (PyDict_SetItem(dict, PyTuple_GET_ITEM(kw, i), values[i]) < 0)
            Py_CLEAR(dict);
    return dict;
}

/* hook(first, [second,] args, kwargs) */
static PyObject *
call_hook(PyObject *hook, PyObject *first, PyObject *second, PyObject *const *args,
          size_t nargsf, PyObject *kw)
{
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    PyObject *tuple = PyTuple_New(n), *dict = keyword_dict(args + n, kw), *res = NULL;

    for (Py_ssize_t i = 0; tuple != NULL && i < n; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    if (tuple != NULL && dict != NULL && first != NULL)
        res = PyObject_CallFunctionObjArgs(hook, first, second, tuple, dict, NULL);
    else if (tuple != NULL && dict != NULL)
        res = PyObject_CallFunctionObjArgs(hook, tuple, dict, NULL);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return res;
}

static PyObject *
call_inside(FlState *st, PyObject *function, PyObject *contexts, PyObject *const *args,
            size_t nargsf, PyObject *kw)
{
    PyObject *open = FlStack_Get(st), *token = NULL, *res, *exc;

    Py_XDECREF(open);
    if (open != contexts) {
        token = PyContextVar_Set(st->hook_stack_contexts, contexts);
        if (token == NULL)
            return NULL;
    }
    res = PyObject_Vectorcall(function, args, nargsf, kw);
    if (res == NULL && FlStack_Settle(st, NULL, contexts) > 0)
        res = Py_NewRef(Py_None);
    if (token == NULL)
        return res;
    exc = PyErr_GetRaisedException();
    /* ValueError: the function went on in another context, which is its affair. */
    if (PyContextVar_Reset(st->hook_stack_contexts, token) < 0)
        PyErr_Clear();
    Py_DECREF(token);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    return res;
}

static PyObject *
stack_call(PyObject *obj, PyObject *const *args, size_t nargsf, PyObject *kw)
{
    FlStackCall *self = (FlStackCall *)obj;
    FlState *st = self->st;
    PyObject *function, *contexts, *res;

    if (self->function == NULL)
        Py_RETURN_NONE; /* taken apart by the collector */
    function = Py_NewRef(self->function);
    contexts = Py_NewRef(self->contexts);
    if (self->plain)
        res = call_inside(st, function, contexts, args, nargsf, kw);
    else
        res = call_hook(st->hook_run_in, contexts, function, args, nargsf, kw);
    Py_DECREF(function);
    Py_DECREF(contexts);
    return res;
}

/* The callback of gen.Task: one value, None, or Arguments. */
static PyObject *
end_future(PyObject *obj, PyObject *const *args, size_t nargsf, PyObject *kw)
{
    FlStackCall *self = (FlStackCall *)obj;
    Py_ssize_t n = PyVectorcall_NARGS(nargsf);
    PyObject *future, *value;
    int err;

    if (self->function == NULL)
        Py_RETURN_NONE;
    future = Py_NewRef(self->function);
    if (n > 1 || (kw != NULL && PyTuple_GET_SIZE(kw) > 0))
        value = call_hook(self->st->hook_Arguments, NULL, NULL, args, nargsf, kw);
    else
        value = Py_NewRef(n == 1 ? args[0] : Py_None);
    err = value == NULL ? -1 : FlFuture_SetResultUnlessDone(future, value);
    Py_XDECREF(value);
    Py_DECREF(future);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- making ---- */

static FlStackCall *
stack_call_new(FlState *st, PyObject *function, PyObject *contexts)
{
    FlStackCall *self = PyObject_GC_New(FlStackCall, st->StackCall_type);

    if (self == NULL)
        return NULL;
    self->call = contexts != NULL ? stack_call : end_future;
    self->st = st;
    self->function = Py_NewRef(function);
    self->contexts = Py_XNewRef(contexts);
    self->plain = true;
    self->weakrefs = NULL;
    for (Py_ssize_t i = 0; contexts != NULL && i < PyTuple_GET_SIZE(contexts); i++)
        if (!PyType_IsSubtype(Py_TYPE(PyTuple_GET_ITEM(contexts, i)),
                              (PyTypeObject *)st->hook_ExceptionStackContext))
            self->plain = false;
    PyObject_GC_Track(self);
    return self;
}

bool
FlStack_IsWrapped(FlState *st, PyObject *callable)
{
    return callable != NULL && Py_IS_TYPE(callable, st->StackCall_type);
}

PyObject *
FlStack_Wrap(FlState *st, PyObject *callable)
{
    PyObject *contexts = FlStack_Get(st), *wrapped;

    if (contexts != NULL && PyTuple_GET_SIZE(contexts) > 0 && callable != Py_None &&
        !FlStack_IsWrapped(st, callable))
        wrapped = (PyObject *)stack_call_new(st, callable, contexts);
    else
        wrapped = Py_NewRef(callable);
    Py_XDECREF(contexts);
    return wrapped;
}

PyObject *
FlStack_WrapFunction(PyObject *module, PyObject *callable)
{
    return FlStack_Wrap(FlState_OfModule(module), callable);
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

/* function(*args, callback=callback): args and kw as they came, function before them. */
static PyObject *
call_with_callback(FlState *st, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
                   PyObject *callback)
{
    Py_ssize_t named = kw == NULL ? 0 : PyTuple_GET_SIZE(kw), n = nargs + named;
    PyObject *few[8], **values = few, *names, *res = NULL;

    if (n + 1 > (Py_ssize_t)Py_ARRAY_LENGTH(few))
        values = PyMem_New(PyObject *, n + 1);
    names = PyTuple_New(named + 1);
    if (names == NULL || values == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    memcpy(values, args, (size_t)n * sizeof *values);
    values[n] = callback;
    for (Py_ssize_t i = 0; i < named; i++)
        PyTuple_SET_ITEM(names, i, Py_NewRef(PyTuple_GET_ITEM(kw, i)));
    PyTuple_SET_ITEM(names, named, Py_NewRef(st->str_callback));
    res = PyObject_Vectorcall(values[0], values + 1,
                              (size_t)(nargs - 1) | PY_VECTORCALL_ARGUMENTS_OFFSET,
                              names);
done:
    Py_XDECREF(names);
    if (values != few)
        PyMem_Free(values);
    return res;
}

PyObject *
FlStack_TaskFunction(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kw)
{
    FlState *st = FlState_OfModule(module);
    PyObject *future = NULL, *callback = NULL, *context = NULL, *contexts = NULL;
    PyObject *token = NULL, *res = NULL, *exc;

    if (nargs < 1) {
        PyErr_SetString(PyExc_TypeError, "Task() takes a function and its arguments");
        return NULL;
    }
    future = FlFuture_New(st, NULL);
    if (future != NULL)
        callback = (PyObject *)stack_call_new(st, future, NULL);
    if (callback != NULL)
        context = PyObject_CallOneArg(st->hook_FailsFuture, future);
    if (context != NULL)
        contexts = contexts_and(st, context);
    if (contexts != NULL)
        token = PyContextVar_Set(st->hook_stack_contexts, contexts);
    if (token != NULL) {
        res = call_with_callback(st, args, nargs, kw, callback);
        exc = PyErr_GetRaisedException();
        if (PyContextVar_Reset(st->hook_stack_contexts, token) < 0)
            PyErr_Clear();
        if (exc != NULL && PyErr_GivenExceptionMatches(exc, PyExc_Exception) &&
            !FlFuture_Done(future)) {
            if (FlFuture_SetException(future, exc) == 0)
                res = Py_NewRef(Py_None);
            Py_DECREF(exc);
        } else if (exc != NULL) {
            PyErr_SetRaisedException(exc);
        }
    }
    if (res == NULL)
        Py_CLEAR(future);
    Py_XDECREF(res);
    Py_XDECREF(token);
    Py_XDECREF(contexts);
    Py_XDECREF(context);
    Py_XDECREF(callback);
    return future;
}

/* ---- the type: it looks like its function ---- */

static PyObject *
stack_call_getattro(PyObject *obj, PyObject *name)
{
    FlStackCall *self = (FlStackCall *)obj;
    PyObject *value = PyObject_GenericGetAttr(obj, name);

    if (value != NULL || self->function == NULL ||
        !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(self->function, name);
}

static PyObject *
stack_call_repr(PyObject *obj)
{
    FlStackCall *self = (FlStackCall *)obj;
    PyObject *function = Py_NewRef(self->function ? self->function : Py_None), *text;

    if (self->contexts != NULL)
        text = PyObject_Repr(function);
    else
        text = PyUnicode_FromFormat("<callback of %R>", function);
    Py_DECREF(function);
    return text;
}

static PyObject *
stack_call_bind(PyObject *self, PyObject *obj, PyObject *Py_UNUSED(type))
{
    return obj == NULL || obj == Py_None ? Py_NewRef(self) : PyMethod_New(self, obj);
}

static int
stack_call_traverse(PyObject *obj, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(((FlStackCall *)obj)->function);
    Py_VISIT(((FlStackCall *)obj)->contexts);
    return 0;
}

static int
stack_call_clear(PyObject *obj)
{
    Py_CLEAR(((FlStackCall *)obj)->function);
    Py_CLEAR(((FlStackCall *)obj)->contexts);
    return 0;
}

static void
stack_call_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    if (((FlStackCall *)obj)->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    stack_call_clear(obj);
    PyObject_GC_Del(obj);
    Py_DECREF(type);
}

static PyMemberDef stack_call_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FlStackCall, call), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlStackCall, weakrefs), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(FlStackCall, function), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot stack_call_slots[] = {
    {Py_tp_dealloc, stack_call_dealloc},
    {Py_tp_traverse, stack_call_traverse},
    {Py_tp_clear, stack_call_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, stack_call_getattro},
    {Py_tp_descr_get, stack_call_bind},
    {Py_tp_repr, stack_call_repr},
    {Py_tp_members, stack_call_members},
    {0, NULL},
};

static PyType_Spec stack_call_spec = {
    .name = "pyfastloop._core.StackCall",
    .basicsize = sizeof(FlStackCall),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = stack_call_slots,
};

int
FlStackCall_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->StackCall_type, &stack_call_spec, NULL, true);
}
