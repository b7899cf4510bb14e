/* future_iter.c -- what `await future` iterates.
 *
 * The first send of a pending future marks it as blocking and yields it to the task;
 * the next one finds it done and ends with its result, or raises its exception.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/future_parts.h"
#include "core/iter_face.h"

/* So many are kept: what a busy tick has at work. */
#define KEPT_ITERATORS 256

typedef struct {
    PyObject_HEAD
    FlState *st;      /* borrowed */
    FlFuture *future; /* owned; NULL once it ended */
    PyObject *stop;   /* owned; of iter_face.h, or NULL */
} FlFutureIter;

PyObject *
FlFuture_Iter(PyObject *future)
{
    FlState *st = ((FlFuture *)future)->st;
    FlFutureIter *self =
        (FlFutureIter *)FlFreelist_Take(&st->free_future_iters, st->FutureIter_type);

    if (self == NULL)
        self = PyObject_GC_New(FlFutureIter, st->FutureIter_type);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->future = (FlFuture *)Py_NewRef(future);
    self->stop = NULL;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PySendResult
iter_send(PyObject *obj, PyObject *Py_UNUSED(value), PyObject **result)
{
    FlFutureIter *self = (FlFutureIter *)obj;
    FlFuture *future = self->future;

    *result = NULL;
    if (future == NULL) {
        *result = Py_NewRef(Py_None);
        return PYGEN_RETURN;
    }
    if (future->state == FL_FUTURE_PENDING) {
        if (!future->blocking) {
            future->blocking = true;
            *result = Py_NewRef(future);
            return PYGEN_NEXT;
        }
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    self->future = NULL;
    *result = FlFuture_Result((PyObject *)future);
    Py_DECREF(future);
    return *result == NULL ? PYGEN_ERROR : PYGEN_RETURN;
}

static PyObject *
iter_next(PyObject *self)
{
    PyObject *result;
    PySendResult end = iter_send(self, Py_None, &result);

    return FlIter_NextKept(((FlFutureIter *)self)->st, end, result,
                           &((FlFutureIter *)self)->stop);
}

static PyObject *
iter_send_method(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult end = iter_send(self, value, &result);

    return FlIter_End(end, result);
}

static PyObject *
iter_throw(PyObject *obj, PyObject *const *args, Py_ssize_t nargs)
{
    Py_CLEAR(((FlFutureIter *)obj)->future);
    FlIter_RaiseThrown(args, nargs);
    return NULL;
}

static PyObject *
iter_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(((FlFutureIter *)self)->future);
    Py_RETURN_NONE;
}

static int
iter_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((FlFutureIter *)self)->future);
    Py_VISIT(((FlFutureIter *)self)->stop);
    return 0;
}

static int
iter_clear(PyObject *self)
{
    Py_CLEAR(((FlFutureIter *)self)->future);
    Py_CLEAR(((FlFutureIter *)self)->stop);
    return 0;
}

static void
iter_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (((FlFutureIter *)self)->stop != NULL)
        FlIter_GiveStop(((FlFutureIter *)self)->st, &((FlFutureIter *)self)->stop);
    iter_clear(self);
    if (!FlFreelist_Put(&((FlFutureIter *)self)->st->free_future_iters, self,
                        KEPT_ITERATORS)) {
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
}

static PyMethodDef iter_methods[] = {
    {"send", iter_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))iter_throw, METH_FASTCALL, NULL},
    {"close", iter_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot iter_slots[] = {
    {Py_tp_dealloc, iter_dealloc}, {Py_tp_traverse, iter_traverse},
    {Py_tp_clear, iter_clear},     {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, iter_next},   {Py_am_send, iter_send},
    {Py_tp_methods, iter_methods}, {0, NULL},
};

static PyType_Spec iter_spec = {
    .name = "pyfastloop._core.FutureIter",
    .basicsize = sizeof(FlFutureIter),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = iter_slots,
};

int
FlFutureIter_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->FutureIter_type, &iter_spec, NULL, true);
}
