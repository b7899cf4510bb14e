/* gen_multi.c -- waiting for all of a list or dict.
 *
 * A FlMulti counts the children that are not done; each owns a reference to it as its
 * waiter. With the last one the results are gathered in the order of the children: the
 * first exception is the result's, further ones are logged unless they are quiet; that
 * a further one was cancelled is no news.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/gen_multi.h"

#include "core/future_parts.h"
#include "core/task_parts.h"

typedef struct {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    PyObject *children; /* owned; list of futures */
    PyObject *keys;     /* owned; list, or NULL for a list's result */
    PyObject *quiet;    /* owned; exception types, or NULL */
    PyObject *result;   /* owned; the future of all */
    Py_ssize_t pending;
} FlMulti;

/* One more exception after the first. */
static int
multi_extra(FlMulti *self)
{
    FlFuture *result = (FlFuture *)self->result;

    if (PyErr_ExceptionMatches(self->st->CancelledError) ||
        (self->quiet != NULL && PyErr_ExceptionMatches(self->quiet))) {
        PyErr_Clear();
        return 0;
    }
    if (FlFuture_ResolveLoop(result) < 0)
        return -1;
    FlLoop_LogException(result->loop, "Multiple exceptions in yield list", NULL);
    return PyErr_Occurred() ? -1 : 0;
}

/* What the children gave: a list, or NULL when the result future is done by now. */
static PyObject *
multi_gather(FlMulti *self)
{
    Py_ssize_t n = PyList_GET_SIZE(self->children);
    PyObject *values = PyList_New(n);

    for (Py_ssize_t i = 0; values != NULL && i < n; i++) {
        PyObject *child = PyList_GET_ITEM(self->children, i);
        PyObject *value = FlGen_ResultOf(self->st, child);
        int err = 0;

        PyList_SET_ITEM(values, i, value ? value : Py_NewRef(Py_None));
        if (value == NULL && FlFuture_Done(self->result))
            err = multi_extra(self);
        else if (value == NULL)
            err = FlFuture_SetCurrentException(self->result);
        if (err < 0)
            Py_CLEAR(values);
    }
    return values;
}

static PyObject *
multi_shape(FlMulti *self, PyObject *values)
{
    PyObject *dict;

    if (self->keys == NULL)
        return Py_NewRef(values);
    dict = PyDict_New();
    for (Py_ssize_t i = 0; dict != NULL && i < PyList_GET_SIZE(values); i++) {
        if (PyDict_SetItem(dict, PyList_GET_ITEM(self->keys, i),
                           PyList_GET_ITEM(values, i)) < 0)
            Py_CLEAR(dict);
    }
    return dict;
}

static int
multi_finish(FlMulti *self)
{
    PyObject *values = multi_gather(self), *shaped;
    int err = 0;

    if (values == NULL)
        return FlError_IsFatal() ? -1 : FlFuture_SetCurrentException(self->result);
    if (!FlFuture_Done(self->result)) {
        shaped = multi_shape(self, values);
        err = shaped == NULL ? FlFuture_SetCurrentException(self->result)
                             : FlFuture_SetResult(self->result, shaped);
        Py_XDECREF(shaped);
    }
    Py_DECREF(values);
    if (err < 0 && !FlError_IsFatal()) {
        PyErr_WriteUnraisable((PyObject *)self);
        err = 0;
    }
    return err < 0 ? -1 : 0;
}

/* A child is done. */
static int
multi_child(FlLoop *Py_UNUSED(loop), PyObject *obj)
{
    FlMulti *self = (FlMulti *)obj;

    /* result NULL: the collector has taken it apart. */
    return --self->pending == 0 && self->result != NULL ? multi_finish(self) : 0;
}

static PyObject *
multi_child_callback(PyObject *obj, PyObject *Py_UNUSED(future))
{
    if (multi_child(NULL, obj) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef multi_child_def = {"multi_child", multi_child_callback, METH_O,
                                      NULL};

/* Waits for one child of a foreign kind. 0 or -1. */
static int
multi_wait_foreign(FlMulti *self, PyObject *child)
{
    PyObject *done = PyObject_CallMethodNoArgs(child, self->st->str_done), *wake, *res;
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);

    Py_XDECREF(done);
    if (is_done != 0)
        return is_done < 0 ? -1 : 0;
    wake = PyCFunction_New(&multi_child_def, (PyObject *)self);
    res = wake == NULL
              ? NULL
              : PyObject_CallMethodOneArg(child, self->st->str_add_done_callback, wake);
    Py_XDECREF(wake);
    Py_XDECREF(res);
    if (res == NULL)
        return -1;
    self->pending++;
    return 0;
}

static int
multi_wait(FlMulti *self)
{
    /* One too many, so that no child can end it before all were asked. */
    self->pending = 1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(self->children); i++) {
        PyObject *child = PyList_GET_ITEM(self->children, i);

        if (!FlFuture_TakesWaiters(self->st, child)) {
            if (multi_wait_foreign(self, child) < 0)
                return -1;
        } else if (!FlFuture_Done(child)) {
            if (FlFuture_AddWaiter(child, multi_child, (PyObject *)self) < 0)
                return -1;
            self->pending++;
        }
    }
    return multi_child(NULL, (PyObject *)self);
}

PyObject *
FlGen_Multi(FlState *st, PyObject *futures, PyObject *keys, PyObject *quiet)
{
    FlMulti *self = (FlMulti *)st->Multi_type->tp_alloc(st->Multi_type, 0);
    PyObject *result = NULL;

    if (self == NULL)
        return NULL;
    self->st = st;
    self->children = Py_NewRef(futures);
    self->keys = Py_XNewRef(keys);
    self->quiet = Py_XNewRef(quiet);
    self->result = FlFuture_New(st, NULL);
    if (self->result != NULL && multi_wait(self) == 0)
        result = Py_NewRef(self->result);
    Py_DECREF(self);
    return result;
}

/* _core.multi(futures, keys, quiet_exceptions): keys None for a list. */
PyObject *
FlGen_MultiFunction(PyObject *module, PyObject *args)
{
    PyObject *futures, *keys, *quiet;

    if (!PyArg_ParseTuple(args, "O!OO:multi", &PyList_Type, &futures, &keys, &quiet))
        return NULL;
    if (keys != Py_None &&
        (!PyList_Check(keys) || PyList_GET_SIZE(keys) != PyList_GET_SIZE(futures))) {
        PyErr_SetString(PyExc_ValueError, "multi() takes one key for each future");
        return NULL;
    }
    return FlGen_Multi(FlState_OfModule(module), futures, keys == Py_None ? NULL : keys,
                       quiet);
}

static int
multi_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlMulti *self = (FlMulti *)obj;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->children);
    Py_VISIT(self->keys);
    Py_VISIT(self->quiet);
    Py_VISIT(self->result);
    return 0;
}

static int
multi_clear(PyObject *obj)
{
    FlMulti *self = (FlMulti *)obj;

    Py_CLEAR(self->children);
    Py_CLEAR(self->keys);
    Py_CLEAR(self->quiet);
    Py_CLEAR(self->result);
    return 0;
}

static void
multi_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    multi_clear(obj);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyType_Slot multi_slots[] = {
    {Py_tp_dealloc, multi_dealloc},
    {Py_tp_traverse, multi_traverse},
    {Py_tp_clear, multi_clear},
    {0, NULL},
};

static PyType_Spec multi_spec = {
    .name = "pyfastloop._core.Multi",
    .basicsize = sizeof(FlMulti),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = multi_slots,
};

int
FlMulti_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Multi_type, &multi_spec, NULL, true);
}
