/* event.c -- what Event and Condition are made of: any number that wait for a word.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/waitlist.h"

typedef struct {
    PyObject_HEAD
    FlState *st; /* borrowed */
    bool value;  /* an Event's: it is set */
    FlWaitlist waiting;
} FlEvent;

static PyObject *
event_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlEvent *self = st == NULL ? NULL : (FlEvent *)type->tp_alloc(type, 0);

    if (self != NULL)
        self->st = st;
    return (PyObject *)self;
}

/* The first n that wait get value; 0, or -1 with the first error, all were told. */
static int
event_tell(FlEvent *self, Py_ssize_t n, PyObject *value)
{
    PyObject *exc = NULL;
    FlWaiting first;

    for (; n > 0 && FlWaitlist_Pop(&self->waiting, &first); n--) {
        if (FlFuture_SetResult(first.future, value) < 0 && exc == NULL)
            exc = PyErr_GetRaisedException();
        PyErr_Clear();
        FlWaiting_Drop(&first);
    }
    if (exc == NULL)
        return 0;
    PyErr_SetRaisedException(exc);
    return -1;
}

static PyObject *
event_is_set(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlEvent *)self)->value);
}

static PyObject *
event_set(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlEvent *self = (FlEvent *)obj;

    if (!self->value) {
        self->value = true;
        if (event_tell(self, PY_SSIZE_T_MAX, Py_None) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
event_clear(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((FlEvent *)self)->value = false;
    Py_RETURN_NONE;
}

static PyObject *
event_wait(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlEvent *self = (FlEvent *)obj;
    PyObject *timeout;

    if (FlWaitlist_Timeout("wait", args, nargs, kw, &timeout) < 0)
        return NULL;
    if (self->value)
        return FlFuture_NewDone(self->st, Py_None);
    return FlWaitlist_Wait(&self->waiting, self->st, NULL, timeout,
                           "the event was not set in time");
}

static PyObject *
condition_wait(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlEvent *self = (FlEvent *)obj;
    PyObject *timeout;

    if (FlWaitlist_Timeout("wait", args, nargs, kw, &timeout) < 0)
        return NULL;
    return FlWaitlist_Wait(&self->waiting, self->st, NULL, timeout, NULL);
}

static PyObject *
condition_notify(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n", NULL};
    Py_ssize_t n = 1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:notify", names, &n) ||
        event_tell((FlEvent *)self, n, Py_True) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
condition_notify_all(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlEvent *self = (FlEvent *)obj;

    if (event_tell(self, FlWaitlist_Count(&self->waiting), Py_True) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
event_get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(FlWaitlist_Count(&((FlEvent *)self)->waiting));
}

static int
event_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return FlWaitlist_Traverse(&((FlEvent *)self)->waiting, visit, arg);
}

static int
event_tp_clear(PyObject *self)
{
    FlWaitlist_Clear(&((FlEvent *)self)->waiting);
    return 0;
}

static void
event_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    event_tp_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS,
     "is_set($self)\n--\n\nWhether `set` was called, and `clear` not since."},
    {"set", event_set, METH_NOARGS,
     "set($self)\n--\n\nWake all waiters; `wait` returns at once from now on."},
    {"clear", event_clear, METH_NOARGS, "clear($self)\n--\n\nHave `wait` wait again."},
    {"wait", (PyCFunction)(void (*)(void))event_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Wait for `set`. The Future raises TimeoutError after `timeout`."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef condition_methods[] = {
    {"wait", (PyCFunction)(void (*)(void))condition_wait, METH_FASTCALL | METH_KEYWORDS,
     "wait($self, timeout=None)\n--\n\n"
     "Wait for `notify`. The Future gives True, and False after `timeout`."},
    {"notify", (PyCFunction)(void (*)(void))condition_notify,
     METH_VARARGS | METH_KEYWORDS,
     "notify($self, n=1)\n--\n\nWake `n` waiters, those that came first."},
    {"notify_all", condition_notify_all, METH_NOARGS,
     "notify_all($self)\n--\n\nWake all waiters."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef event_members[] = {
    {"_value", T_BOOL, offsetof(FlEvent, value), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef event_getset[] = {
    {"_waiting", event_get_waiting, NULL, "How many wait.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "EventBase(*args, **kwargs)\n--\n\n"
                "Set or not, and who waits until it is set."},
    {Py_tp_new, event_new},
    {Py_tp_dealloc, event_dealloc},
    {Py_tp_traverse, event_traverse},
    {Py_tp_clear, event_tp_clear},
    {Py_tp_methods, event_methods},
    {Py_tp_members, event_members},
    {Py_tp_getset, event_getset},
    {0, NULL},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc, "ConditionBase(*args, **kwargs)\n--\n\n"
                "Who waits to be notified."},
    {Py_tp_new, event_new},
    {Py_tp_dealloc, event_dealloc},
    {Py_tp_traverse, event_traverse},
    {Py_tp_clear, event_tp_clear},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, event_getset},
    {0, NULL},
};

static PyType_Spec event_spec = {
    .name = "pyfastloop._core.EventBase",
    .basicsize = sizeof(FlEvent),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = event_slots,
};

static PyType_Spec condition_spec = {
    .name = "pyfastloop._core.ConditionBase",
    .basicsize = sizeof(FlEvent),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = condition_slots,
};

int
FlEventBase_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->EventBase_type, &event_spec, NULL, false);
}

int
FlConditionBase_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->ConditionBase_type, &condition_spec, NULL,
                           false);
}
