/* stack_call.c -- a callable that takes the contexts of stack_context with it.
 *
 * What stack_context.wrap() makes: called by whomever, it runs its function inside the
 * contexts that were open then, and their handlers see what it raises. As long as all
 * of them only look at exceptions nothing is entered, and it is done here; a
 * StackContext among them is entered by Python.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/args.h"
#include "core/gen_task.h"
#include "core/stack.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    FlState *st;        /* borrowed */
    PyObject *function; /* owned */
    PyObject *contexts; /* owned; tuple */
    bool plain;         /* none of them is a StackContext */
    PyObject *weakrefs;
} FlStackCall;

/* ---- calling ---- */

/* A StackContext among them is entered: Python's affair. */
static PyObject *
call_entered(FlState *st, PyObject *function, PyObject *contexts, PyObject *const *args,
             size_t nargsf, PyObject *kw)
{
    PyObject *tuple, *dict, *res;

    if (FlArgs_Pack(args, PyVectorcall_NARGS(nargsf), kw, &tuple, &dict) < 0)
        return NULL;
    res = PyObject_CallFunctionObjArgs(st->hook_run_in, contexts, function, tuple, dict,
                                       NULL);
    Py_DECREF(tuple);
    Py_DECREF(dict);
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
    res = (self->plain ? call_inside : call_entered)(st, function, contexts, args,
                                                     nargsf, kw);
    Py_DECREF(function);
    Py_DECREF(contexts);
    return res;
}

/* ---- making ---- */

static FlStackCall *
stack_call_new(FlState *st, PyObject *function, PyObject *contexts)
{
    FlStackCall *self = PyObject_GC_New(FlStackCall, st->StackCall_type);

    if (self == NULL)
        return NULL;
    self->call = stack_call;
    self->st = st;
    self->function = Py_NewRef(function);
    self->contexts = Py_NewRef(contexts);
    self->plain = true;
    self->weakrefs = NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(contexts); i++)
        if (PyType_IsSubtype(Py_TYPE(PyTuple_GET_ITEM(contexts, i)),
                             (PyTypeObject *)st->hook_StackContext))
            self->plain = false;
    PyObject_GC_Track(self);
    return self;
}

bool
FlStack_IsWrapped(FlState *st, PyObject *callable)
{
    return callable != NULL && (Py_IS_TYPE(callable, st->StackCall_type) ||
                                FlGenTask_IsCallback(st, callable));
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

    text = PyObject_Repr(function);
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
