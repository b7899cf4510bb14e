/* coroutine.c -- the callable that @gen.coroutine makes of a function.
 *
 * A call copies the context, enters it, calls the function, and where that gives a
 * generator, steps it until it must wait; whatever happened, the caller gets a future.
 * The callable binds as a function does, and carries the function's name and __dict__.
 *
 * A `callback` keyword that the function itself does not take is the older form: it is
 * called with the result.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/future_parts.h"
#include "core/task_parts.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    FlState *st;        /* borrowed */
    PyObject *function; /* owned */
    bool pop_callback;  /* `callback` is ours, not the function's */
    PyObject *dict;     /* owned */
    PyObject *weakrefs;
} FlCoroutineFunction;

/* What a function returned or raised, as a future. Context entered. */
static PyObject *
coroutine_outcome(FlState *st, PyObject *result, PyObject *context)
{
    PyObject *future;

    if (result == NULL) {
        if (FlError_IsFatal())
            return NULL;
        if ((st->hook_Return != NULL && PyErr_ExceptionMatches(st->hook_Return)) ||
            PyErr_ExceptionMatches(PyExc_StopIteration)) { /* both carry a value */
            PyObject *exc = PyErr_GetRaisedException();

            result = PyObject_GetAttr(exc, st->str_value);
            Py_DECREF(exc);
        }
    }
    if (result == NULL) {
        PyObject *exc = PyErr_GetRaisedException();

        future = FlFuture_New(st, NULL);
        PyErr_SetRaisedException(exc);
        if (future != NULL && FlFuture_SetCurrentException(future) < 0)
            Py_CLEAR(future);
        return future;
    }
    if (PyGen_CheckExact(result))
        future = FlGen_Start(st, result, context);
    else if (Py_TYPE(result)->tp_iternext != NULL && Py_TYPE(result)->tp_as_async &&
             Py_TYPE(result)->tp_as_async->am_send != NULL)
        future = FlGen_Start(st, result, context);
    else
        future = FlFuture_NewDone(st, result);
    Py_DECREF(result);
    return future;
}

static PyObject *
coroutine_run(FlCoroutineFunction *self, PyObject *const *args, size_t nargsf,
              PyObject *kw)
{
    FlState *st = self->st;
    PyObject *context = PyContext_CopyCurrent(), *result, *future;

    if (context == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        return NULL;
    }
    result = PyObject_Vectorcall(self->function, args, nargsf, kw);
    future = coroutine_outcome(st, result, context);
    if (PyContext_Exit(context) < 0)
        Py_CLEAR(future);
    Py_DECREF(context);
    return future;
}

/* callback=: called with the result, through IOLoop's rule for exceptions. */
static PyObject *
coroutine_call_back(FlCoroutineFunction *self, PyObject *const *args, size_t nargsf,
                    PyObject *kw, Py_ssize_t at)
{
    Py_ssize_t nargs = PyVectorcall_NARGS(nargsf), n = PyTuple_GET_SIZE(kw);
    PyObject *names = PyTuple_New(n - 1), *callback = args[nargs + at];
    PyObject **values = PyMem_New(PyObject *, nargs + n), *future = NULL;

    if (names != NULL && values != NULL) {
        for (Py_ssize_t i = 0, k = 0; i < nargs + n; i++) {
            if (i == nargs + at)
                continue;
            if (i >= nargs)
                PyTuple_SET_ITEM(names, k - nargs,
                                 Py_NewRef(PyTuple_GET_ITEM(kw, i - nargs)));
            values[k++] = args[i];
        }
        future = coroutine_run(self, values, (size_t)nargs, names);
    } else {
        PyErr_NoMemory();
    }
    Py_XDECREF(names);
    PyMem_Free(values);
    if (future != NULL && callback != Py_None) {
        PyObject *res = PyObject_CallFunctionObjArgs(self->st->hook_call_back, future,
                                                     callback, NULL);
        if (res == NULL)
            Py_CLEAR(future);
        Py_XDECREF(res);
    }
    return future;
}

static PyObject *
coroutine_call(PyObject *obj, PyObject *const *args, size_t nargsf, PyObject *kw)
{
    FlCoroutineFunction *self = (FlCoroutineFunction *)obj;

    if (kw != NULL && self->pop_callback && self->st->hook_call_back != NULL) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kw); i++) {
            if (PyUnicode_Compare(PyTuple_GET_ITEM(kw, i), self->st->str_callback) == 0)
                return coroutine_call_back(self, args, nargsf, kw, i);
        }
    }
    return coroutine_run(self, args, nargsf, kw);
}

/* CoroutineFunction(function, pop_callback=True) */
static PyObject *
coroutine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"function", "pop_callback", NULL};
    FlState *st = FlState_OfType(type);
    FlCoroutineFunction *self;
    PyObject *function;
    int pop = 1;

    if (st == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:CoroutineFunction", names,
                                     &function, &pop))
        return NULL;
    self = (FlCoroutineFunction *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->call = coroutine_call;
    self->st = st;
    self->function = Py_NewRef(function);
    self->pop_callback = pop;
    return (PyObject *)self;
}

static PyObject *
coroutine_get(PyObject *self, PyObject *obj, PyObject *Py_UNUSED(type))
{
    if (obj == NULL || obj == Py_None)
        return Py_NewRef(self);
    return PyMethod_New(self, obj);
}

static PyObject *
coroutine_repr(PyObject *obj)
{
    return PyUnicode_FromFormat("<coroutine %R>",
                                ((FlCoroutineFunction *)obj)->function);
}

static int
coroutine_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlCoroutineFunction *self = (FlCoroutineFunction *)obj;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->function);
    Py_VISIT(self->dict);
    return 0;
}

static int
coroutine_clear(PyObject *obj)
{
    FlCoroutineFunction *self = (FlCoroutineFunction *)obj;

    Py_CLEAR(self->function);
    Py_CLEAR(self->dict);
    return 0;
}

static void
coroutine_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    if (((FlCoroutineFunction *)obj)->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    coroutine_clear(obj);
    type->tp_free(obj);
    Py_DECREF(type);
}

/* The function's code, without the marks of a generator or coroutine: whoever asks
 * inspect would not expect a future of a call. `code` is stolen; new reference. */
static PyObject *
plain_code(PyObject *code)
{
    const long marks =
        CO_GENERATOR | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR;
    PyObject *replace = PyObject_GetAttrString(code, "replace");
    PyObject *flags = PyObject_GetAttrString(code, "co_flags"), *kwargs = NULL;
    PyObject *empty = PyTuple_New(0), *plain = NULL;
    long old = flags == NULL ? -1 : PyLong_AsLong(flags);

    if (!PyErr_Occurred())
        kwargs = Py_BuildValue("{sl}", "co_flags", old & ~marks);
    if (kwargs != NULL)
        plain = PyObject_Call(replace, empty, kwargs);
    Py_DECREF(code);
    Py_XDECREF(replace);
    Py_XDECREF(flags);
    Py_XDECREF(kwargs);
    Py_XDECREF(empty);
    return plain;
}

/* What is not in the callable's own dict (__code__, __defaults__ …) is the function's.
 */
static PyObject *
coroutine_getattro(PyObject *obj, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(obj, name);
    FlCoroutineFunction *self = (FlCoroutineFunction *)obj;

    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError) ||
        self->function == NULL)
        return value;
    PyErr_Clear();
    value = PyObject_GetAttr(self->function, name);
    if (value != NULL && PyCode_Check(value))
        return plain_code(value);
    return value;
}

/* Pickled by its name, as a function is; a copy is itself. */
static PyObject *
coroutine_reduce(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyObject_GetAttrString(self, "__qualname__");
}

static PyMethodDef coroutine_methods[] = {
    {"__reduce__", coroutine_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef coroutine_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FlCoroutineFunction, call), READONLY,
     NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlCoroutineFunction, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlCoroutineFunction, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef coroutine_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot coroutine_slots[] = {
    {Py_tp_new, coroutine_new},           {Py_tp_dealloc, coroutine_dealloc},
    {Py_tp_traverse, coroutine_traverse}, {Py_tp_clear, coroutine_clear},
    {Py_tp_call, PyVectorcall_Call},      {Py_tp_descr_get, coroutine_get},
    {Py_tp_getattro, coroutine_getattro}, {Py_tp_repr, coroutine_repr},
    {Py_tp_methods, coroutine_methods},   {Py_tp_members, coroutine_members},
    {Py_tp_getset, coroutine_getset},     {0, NULL},
};

static PyType_Spec coroutine_spec = {
    .name = "pyfastloop._core.CoroutineFunction",
    .basicsize = sizeof(FlCoroutineFunction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_METHOD_DESCRIPTOR,
    .slots = coroutine_slots,
};

int
FlCoroutineFunction_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->CoroutineFunction_type, &coroutine_spec, NULL,
                           false);
}
