/* run_type.c -- a sequence that waits: what a task steps, or a coroutine awaits.
 *
 * It stands where a coroutine of ours around the handler's would: it sends and throws
 * straight into what the handler gave, and when that ends it goes on with FlRun_Advance
 * to the next thing to await.
 *
 * Invariant: `inner` is what is being awaited, or NULL, and is owned anew while it runs;
 * what has failed or was closed is FL_RUN_OVER and advances no more.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/run_parts.h"

#include "core/iter_face.h"
#include "core/task_parts.h"

PyObject *
FlRun_Iterator(FlState *st, PyObject *awaited)
{
    PyTypeObject *type = Py_TYPE(awaited);

    if (PyCoro_CheckExact(awaited))
        return Py_NewRef(awaited);
    if (type->tp_as_async != NULL && type->tp_as_async->am_await != NULL)
        return type->tp_as_async->am_await(awaited);
    return PyObject_CallOneArg(st->hook_await_any, awaited);
}

PyObject *
FlRun_New(FlRequestHandler *handler, PyObject *groups)
{
    FlRun *run = PyObject_GC_New(FlRun, handler->st->Run_type);

    if (run == NULL)
        return NULL;
    run->st = handler->st;
    run->handler = (FlRequestHandler *)Py_NewRef((PyObject *)handler);
    run->groups = Py_XNewRef(groups);
    run->inner = NULL;
    run->stage = FL_RUN_START;
    PyObject_GC_Track(run);
    return (PyObject *)run;
}

/* ---- steps ---- */

/* The sequence has ended with the current exception. */
static PySendResult
run_failed(FlRun *run, PyObject **result)
{
    run->stage = FL_RUN_OVER;
    *result = NULL;
    if (FlRun_HandleFailure(run->handler) < 0)
        return PYGEN_ERROR;
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

/* Goes on with what the last step of the inner awaitable gave. */
static PySendResult
run_on(FlRun *run, PySendResult how, PyObject **result)
{
    PyObject *awaited;
    int answer;

    while (how != PYGEN_NEXT) {
        Py_CLEAR(run->inner);
        if (how == PYGEN_ERROR)
            return run_failed(run, result);
        Py_CLEAR(*result);
        if (run->stage == FL_RUN_OVER)
            answer = 0;
        else
            answer = FlRun_Advance(run->handler, run->groups, &run->stage, &awaited);
        if (answer < 0)
            return run_failed(run, result);
        if (answer == 0) {
            *result = Py_NewRef(Py_None);
            return PYGEN_RETURN;
        }
        run->inner = FlRun_Iterator(run->st, awaited);
        Py_DECREF(awaited);
        if (run->inner == NULL)
            return run_failed(run, result);
        awaited = Py_NewRef(run->inner);
        how = PyIter_Send(awaited, Py_None, result);
        Py_DECREF(awaited);
    }
    return PYGEN_NEXT;
}

static PySendResult
run_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    FlRun *run = (FlRun *)op;
    PyObject *inner = Py_XNewRef(run->inner);
    PySendResult how = PYGEN_RETURN;

    *result = NULL;
    Py_INCREF(op);
    if (inner != NULL)
        how = PyIter_Send(inner, value, result);
    Py_XDECREF(inner);
    how = run_on(run, how, result);
    Py_DECREF(op);
    return how;
}

static PyObject *
run_next(PyObject *op)
{
    PyObject *result;
    PySendResult how = run_am_send(op, Py_None, &result);

    return FlIter_Next(how, result);
}

static PyObject *
run_send(PyObject *op, PyObject *value)
{
    PyObject *result;
    PySendResult how = run_am_send(op, value, &result);

    return FlIter_End(how, result);
}

static PyObject *
run_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    FlRun *run = (FlRun *)op;
    PyObject *exc = FlIter_Thrown(args, nargs), *result = NULL;
    PySendResult how = PYGEN_ERROR;

    if (exc == NULL)
        return NULL;
    Py_INCREF(op);
    if (run->inner != NULL) {
        PyObject *inner = Py_NewRef(run->inner);

        how = FlTask_Throw(run->st, inner, exc, &result);
        Py_DECREF(inner);
    } else {
        PyErr_SetRaisedException(exc);
    }
    how = run_on(run, how, &result);
    Py_DECREF(op);
    return FlIter_End(how, result);
}

static PyObject *
run_close(PyObject *op, PyObject *unused)
{
    FlRun *run = (FlRun *)op;
    PyObject *inner = run->inner, *close, *done;

    (void)unused;
    run->inner = NULL;
    run->stage = FL_RUN_OVER;
    if (inner == NULL)
        Py_RETURN_NONE;
    if (PyObject_GetOptionalAttr(inner, run->st->str_close, &close) < 0) {
        Py_DECREF(inner);
        return NULL;
    }
    done = close == NULL ? Py_NewRef(Py_None) : PyObject_CallNoArgs(close);
    Py_XDECREF(close);
    Py_DECREF(inner);
    return done;
}

/* ---- the type ---- */

/* As cr_await of a coroutine: tools walk it to find where a task stands. */
static PyObject *
run_get_await(PyObject *op, void *closure)
{
    FlRun *run = (FlRun *)op;

    (void)closure;
    return Py_NewRef(run->inner == NULL ? Py_None : run->inner);
}

static int
run_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlRun *run = (FlRun *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(run->handler);
    Py_VISIT(run->groups);
    Py_VISIT(run->inner);
    return 0;
}

static int
run_clear(PyObject *op)
{
    FlRun *run = (FlRun *)op;

    Py_CLEAR(run->inner);
    Py_CLEAR(run->groups);
    return 0;
}

static void
run_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    run_clear(op);
    Py_DECREF(((FlRun *)op)->handler);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyMethodDef run_methods[] = {
    {"send", run_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))run_throw, METH_FASTCALL, NULL},
    {"close", run_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef run_getset[] = {
    {"cr_await", run_get_await, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot run_slots[] = {
    {Py_tp_dealloc, run_dealloc}, {Py_tp_traverse, run_traverse},
    {Py_tp_clear, run_clear},     {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, run_next},   {Py_am_await, PyObject_SelfIter},
    {Py_am_send, run_am_send},    {Py_tp_methods, run_methods},
    {Py_tp_getset, run_getset},   {0, NULL},
};

static PyType_Spec run_spec = {
    .name = "pyfastloop._core.Run",
    .basicsize = sizeof(FlRun),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = run_slots,
};

int
FlRun_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Run_type, &run_spec, NULL, true);
}
