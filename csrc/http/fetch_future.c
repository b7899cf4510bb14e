/* fetch_future.c -- the future of a fetch.
 *
 * It knows what is under way, so that a fetch that is cancelled ends at once, and whether
 * an answer with an unsuccessful status is its result or raised. To whoever implements
 * fetch_impl it is a callback: `deliver`.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

#include "core/future_parts.h"

PyObject *
FlFetchFuture_New(FlState *st, bool raise_error)
{
    FlFetchFuture *self = (FlFetchFuture *)FlFuture_Alloc(st, st->FetchFuture_type);

    if (self == NULL)
        return NULL;
    FlFuture_Setup(&self->future, st, NULL);
    self->raise_error = raise_error;
    return (PyObject *)self;
}

int
FlFetchFuture_Deliver(FlFetchFuture *self, PyObject *response, bool good)
{
    PyObject *op = (PyObject *)self;
    FlState *st = self->future.st;
    PyObject *value;
    int is_answer, err;

    Py_CLEAR(self->underway);
    if (FlFuture_Done(op))
        return 0;
    if (good)
        return FlFuture_SetResult(op, response);
    if (!self->raise_error) {
        value = PyObject_GetAttr(response, st->str__error_is_response_code);
        is_answer = value == NULL ? -1 : PyObject_IsTrue(value);
        Py_XDECREF(value);
        if (is_answer < 0)
            return -1;
        if (is_answer)
            return FlFuture_SetResultUnlessDone(op, response);
    }
    value = PyObject_GetAttr(response, st->str_error);
    if (value == NULL)
        return -1;
    err = value == Py_None ? FlFuture_SetResultUnlessDone(op, response)
                           : FlFuture_SetExceptionUnlessDone(op, value);
    Py_DECREF(value);
    return err;
}

static PyObject *
future_deliver(PyObject *op, PyObject *response)
{
    int err;

    Py_INCREF(op);
    err = FlFetchFuture_Deliver((FlFetchFuture *)op, response, false);
    Py_DECREF(op);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

FlFetchFuture *
FlFetchFuture_OfCallback(PyObject *callback)
{
    if (!PyCFunction_Check(callback) ||
        PyCFunction_GET_FUNCTION(callback) != future_deliver)
        return NULL;
    return (FlFetchFuture *)Py_NewRef(PyCFunction_GET_SELF(callback));
}

static PyObject *
future_cancel(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"msg", NULL};
    FlFetchFuture *self = (FlFetchFuture *)op;
    PyObject *msg = NULL, *underway, *result;
    int cancelled;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", names, &msg))
        return NULL;
    self->future.log_traceback = false;
    cancelled = FlFuture_CancelSelf(&self->future, msg);
    if (cancelled < 0)
        return NULL;
    underway = self->underway;
    self->underway = NULL;
    if (cancelled && underway != NULL && underway != Py_None) {
        result = PyObject_CallMethodNoArgs(underway, self->future.st->str_abort);
        if (result == NULL) {
            Py_DECREF(underway);
            return NULL;
        }
        Py_DECREF(result);
    }
    Py_XDECREF(underway);
    return PyBool_FromLong(cancelled);
}

static int
future_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((FlFetchFuture *)op)->underway);
    return FlFuture_Traverse(op, visit, arg);
}

static int
future_clear(PyObject *op)
{
    Py_CLEAR(((FlFetchFuture *)op)->underway);
    return FlFuture_Clear(op);
}

static PyMethodDef future_methods[] = {
    {"deliver", future_deliver, METH_O,
     "deliver($self, response, /)\n--\n\n"
     "Settle with response, or with its error where that is to be raised."},
    {"cancel", (PyCFunction)(void (*)(void))future_cancel, METH_VARARGS | METH_KEYWORDS,
     "cancel($self, /, msg=None)\n--\n\n"
     "Cancel the fetch: its connection is closed and its slot is free again."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef future_members[] = {
    {"underway", T_OBJECT, offsetof(FlFetchFuture, underway), 0,
     "What cancel() tells to abort(): set by who implements fetch_impl."},
    {"raise_error", T_BOOL, offsetof(FlFetchFuture, raise_error), 0,
     "Whether an answer with an unsuccessful status is raised."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot future_slots[] = {
    {Py_tp_doc, "The future of a fetch."}, {Py_tp_dealloc, FlFuture_Dealloc},
    {Py_tp_finalize, FlFuture_Finalize},   {Py_tp_traverse, future_traverse},
    {Py_tp_clear, future_clear},           {Py_tp_methods, future_methods},
    {Py_tp_members, future_members},       {0, NULL},
};

static PyType_Spec future_spec = {
    .name = "pyfastloop._core.FetchFuture",
    .basicsize = sizeof(FlFetchFuture),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = future_slots,
};

int
FlFetchFuture_AddType(PyObject *module, FlState *st)
{
    return FlFuture_AddSubtype(module, st, &st->FetchFuture_type, &future_spec,
                               (PyObject *)st->Future_type);
}
