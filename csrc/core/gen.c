/* gen.c -- what drives generators: the future that @gen.coroutine returns.
 *
 * A generator may yield anything that can become a future. One that is done already is
 * sent back at once, without the loop; None and `moment` let the loop turn once.
 * Cancelling the future does not stop the generator, as programs of Tornado expect: it
 * runs on and its result is dropped.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/future_parts.h"
#include "core/gen_multi.h"
#include "core/stack.h"
#include "core/task_parts.h"

/* What was waited for belongs to another loop: the step crosses over to its own. */
static int
gen_cross_step(FlLoop *Py_UNUSED(loop), PyObject *obj)
{
    FlLoop *own = ((FlTask *)obj)->future.loop;

    if (own == NULL || FlLoop_DeferThreadsafe(own, FlGen_RingStep, obj) == 0)
        return 0;
    if (!own->closed)
        return -1;
    PyErr_Clear(); /* nobody is left to be told */
    return 0;
}

PyObject *
FlGen_ResultOf(FlState *st, PyObject *future)
{
    if (FlFuture_CheckExact(st, future))
        return FlFuture_Result(future);
    return PyObject_CallMethodNoArgs(future, st->str_result);
}

static PyObject *gen_yielded(FlState *st, PyObject *obj, PyObject *owner);

/* A list or dict of yieldables; one with yield points in it is left to Python. */
static PyObject *
gen_yielded_many(FlState *st, PyObject *obj, PyObject *owner)
{
    PyObject *keys = PyDict_Check(obj) ? PyDict_Keys(obj) : NULL;
    PyObject *futures = PyDict_Check(obj) ? PyDict_Values(obj) : PySequence_List(obj);
    PyObject *result = NULL;
    bool points = false, deep = false;

    if (Py_EnterRecursiveCall(" while waiting for the lists in a list") != 0) {
        deep = true;
        goto done;
    }
    if (futures == NULL || (PyDict_Check(obj) && keys == NULL))
        goto done;
    for (Py_ssize_t i = 0; !points && i < PyList_GET_SIZE(futures); i++) {
        PyObject *child = PyList_GET_ITEM(futures, i);
        int yes = FlFuture_CheckExact(st, child) || st->hook_YieldPoint == NULL
                      ? 0
                      : PyObject_IsInstance(child, st->hook_YieldPoint);

        if (yes < 0)
            goto done;
        points = yes;
    }
    if (points) {
        result = PyObject_CallFunctionObjArgs(st->hook_convert, obj,
                                              owner ? owner : Py_None, NULL);
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures); i++) {
        PyObject *child = gen_yielded(st, PyList_GET_ITEM(futures, i), NULL);

        if (child == NULL || PyList_SetItem(futures, i, child) < 0)
            goto done;
    }
    result = FlGen_Multi(st, futures, keys, NULL);
done:
    if (!deep)
        Py_LeaveRecursiveCall();
    Py_XDECREF(keys);
    Py_XDECREF(futures);
    return result;
}

/* obj as a future to wait for, as `yield obj` understands it: ours and asyncio's
 * futures, None, lists and dicts of yieldables, awaitables, concurrent.futures.Future,
 * registered converters, YieldPoints. owner: the generator's future (its yield points
 * need it), or NULL. New reference to a future (ours or asyncio's), or NULL with
 * BadYieldError or what the conversion raised. escapes */
static PyObject *
gen_yielded(FlState *st, PyObject *obj, PyObject *owner)
{
    FlLoop *loop;
    PyObject *task;
    int like;

    if (FlFuture_CheckExact(st, obj))
        return Py_NewRef(obj);
    if (obj == Py_None)
        return Py_NewRef(st->moment);
    if (PyCoro_CheckExact(obj)) {
        loop = FlLoop_Get(st);
        task = loop == NULL ? NULL : FlTask_Start(st, loop, obj, NULL);
        Py_XDECREF(loop);
        return task;
    }
    if (PyList_CheckExact(obj) || PyDict_CheckExact(obj))
        return gen_yielded_many(st, obj, owner);
    like = FlFuture_IsFutureLike(st, obj);
    if (like != 0)
        return like < 0 ? NULL : Py_NewRef(obj);
    if (st->hook_convert != NULL)
        return PyObject_CallFunctionObjArgs(st->hook_convert, obj,
                                            owner ? owner : Py_None, NULL);
    PyErr_Format(PyExc_TypeError, "yielded unknown object %R", obj);
    return NULL;
}

PyObject *
FlGen_Awaitable(FlState *st, PyObject *value)
{
    if (PyList_Check(value) || PyDict_Check(value) || FlFuture_CheckExact(st, value) ||
        PyCoro_CheckExact(value) ||
        (Py_TYPE(value)->tp_as_async != NULL &&
         Py_TYPE(value)->tp_as_async->am_await != NULL))
        return gen_yielded(st, value, NULL);
    return NULL;
}

/* A generator that used yield points must have waited for all of its callbacks. 0, or
 * -1 with LeakedCallbackError. */
static int
gen_check_runner(FlTask *self)
{
    PyObject *res;

    if (self->runner == NULL)
        return 0;
    res = PyObject_CallMethod(self->runner, "_ended", NULL);
    Py_CLEAR(self->runner);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* The generator ended: value, or NULL for the current exception. */
static int
gen_end(FlTask *self, PyObject *value)
{
    FlState *st = self->future.st;
    PyObject *obj = (PyObject *)self, *coro = self->coro, *exc;
    int err;

    self->coro = NULL;
    if (value != NULL && gen_check_runner(self) < 0)
        value = NULL;
    if (value != NULL) {
        Py_DECREF(coro);
        err = FlFuture_SetResultUnlessDone(obj, value);
    } else if (st->hook_Return != NULL && PyErr_ExceptionMatches(st->hook_Return)) {
        exc = PyErr_GetRaisedException();
        value = PyObject_GetAttr(exc, st->str_value);
        Py_DECREF(exc);
        Py_DECREF(coro);
        if (value != NULL && gen_check_runner(self) < 0)
            Py_CLEAR(value);
        err = value == NULL ? FlFuture_SetCurrentException(obj)
                            : FlFuture_SetResultUnlessDone(obj, value);
        Py_XDECREF(value);
    } else {
        exc = PyErr_GetRaisedException();
        Py_DECREF(coro);
        PyErr_SetRaisedException(exc);
        err = FlFuture_SetCurrentException(obj);
    }
    if (err < 0 && !FlError_IsFatal() && FlFuture_ResolveLoop(&self->future) == 0)
        FlLoop_LogException(self->future.loop, "Exception at the end of a coroutine",
                            NULL);
    FlTask_Unpark(self);
    return PyErr_Occurred() ? -1 : 0;
}

/* Waits for future: 1 when the generator must wait, 0 when *value (or, NULL, the
 * current exception) can be sent at once. */
static int
gen_wait(FlTask *self, PyObject *future, PyObject **value)
{
    FlState *st = self->future.st;
    int err;

    *value = NULL;
    if (future != st->moment && FlFuture_CheckExact(st, future) &&
        FlFuture_Done(future)) {
        *value = FlFuture_Result(future);
        return 0;
    }
    if (FlFuture_ResolveLoop(&self->future) < 0)
        return 0;
    if (future == st->moment) {
        err = FlLoop_Defer(self->future.loop, FlGen_RingStep, (PyObject *)self);
    } else if (FlFuture_TakesWaiters(st, future)) {
        if (((FlFuture *)future)->loop == NULL)
            ((FlFuture *)future)->loop = (FlLoop *)Py_NewRef(self->future.loop);
        err = FlFuture_AddWaiter(future,
                                 ((FlFuture *)future)->loop == self->future.loop
                                     ? FlGen_RingStep
                                     : gen_cross_step,
                                 (PyObject *)self);
        if (err == 0)
            self->waiting = Py_NewRef(future);
    } else {
        err = FlTask_WaitForeign(self, future);
    }
    if (err < 0)
        return 0;
    FlTask_Park(self);
    return 1;
}

/* Context entered. Sends value (stolen), or throws the current exception when it is
 * NULL, and goes on until the generator must wait or ends. */
static int
gen_drive(FlTask *self, PyObject *value)
{
    FlState *st = self->future.st;
    PyObject *generator = Py_NewRef(self->coro), *result, *future;
    PySendResult how;
    int err = 0, wait = 0;

    self->stepping = true;
    do {
        if (value != NULL)
            how = PyIter_Send(generator, value, &result);
        else
            how = FlTask_Throw(st, generator, PyErr_GetRaisedException(), &result);
        Py_CLEAR(value);
        if (how != PYGEN_NEXT)
            break;
        if (FlStack_Check(st, self->contexts) < 0) {
            Py_DECREF(result);
            continue;
        }
        future = gen_yielded(st, result, (PyObject *)self);
        Py_DECREF(result);
        if (future == NULL)
            continue;
        wait = gen_wait(self, future, &value);
        Py_DECREF(future);
    } while (!wait && !(value == NULL && FlError_IsFatal()));
    self->stepping = false;
    Py_DECREF(generator);
    if (!wait && how != PYGEN_NEXT) {
        err = gen_end(self, result);
        Py_XDECREF(result);
    } else if (!wait) {
        err = -1;
    }
    return err;
}

static int
gen_step(FlTask *self, PyObject *value)
{
    PyObject *context = Py_NewRef(self->context);
    int err;

    if (PyContext_Enter(context) < 0) {
        Py_XDECREF(value);
        err = gen_end(self, NULL);
    } else {
        err = gen_drive(self, value);
        if (PyContext_Exit(context) < 0)
            err = -1;
    }
    Py_DECREF(context);
    return err;
}

int
FlGen_RingStep(FlLoop *loop, PyObject *obj)
{
    FlTask *self = (FlTask *)obj;
    PyObject *waiting = self->waiting, *timed = NULL, *value;
    uint64_t started = 0;
    int err;

    if (self->coro == NULL)
        return 0;
    /* A future that calls back from inside add_done_callback. */
    if (self->stepping)
        return FlLoop_Defer(self->future.loop, FlGen_RingStep, obj);
    Py_INCREF(self);
    if (loop->debug) {
        timed = Py_NewRef(self->coro);
        started = fl_clock_monotonic();
    }
    self->waiting = NULL;
    value =
        waiting == NULL ? Py_NewRef(Py_None) : FlGen_ResultOf(self->future.st, waiting);
    Py_XDECREF(waiting);
    err = gen_step(self, value);
    if (timed != NULL)
        FlLoop_ReportSlow(loop, timed, started);
    Py_XDECREF(timed);
    Py_DECREF(self);
    return err;
}

static PyObject *
gen_new(FlState *st, PyObject *generator, PyObject *context)
{
    FlTask *self = (FlTask *)FlFuture_Alloc(st, st->GenFuture_type);

    if (self == NULL)
        return NULL;
    FlFuture_Setup(&self->future, st, NULL);
    self->coro = Py_NewRef(generator);
    self->context = Py_NewRef(context);
    self->contexts = FlStack_Get(st);
    self->is_gen = true;
    return (PyObject *)self;
}

PyObject *
FlGen_Start(FlState *st, PyObject *generator, PyObject *context)
{
    FlTask *self = (FlTask *)gen_new(st, generator, context);

    if (self != NULL && gen_drive(self, Py_NewRef(Py_None)) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* ---- the type ---- */

static PyObject *
gen_get_generator(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *generator = ((FlTask *)self)->coro;

    return Py_NewRef(generator ? generator : Py_None);
}

static PyObject *
gen_get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *waiting = ((FlTask *)self)->waiting;

    return Py_NewRef(waiting ? waiting : Py_None);
}

static PyGetSetDef gen_getset[] = {
    {"gen", gen_get_generator, NULL, "The generator, or None once it ended.", NULL},
    {"_fut_waiter", gen_get_waiting, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef gen_members[] = {
    {"_runner", T_OBJECT, offsetof(FlTask, runner), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot gen_slots[] = {
    {Py_tp_doc, "The future of a generator-based coroutine."},
    {Py_tp_dealloc, FlFuture_Dealloc},
    {Py_tp_finalize, FlFuture_Finalize},
    {Py_tp_traverse, FlTask_Traverse},
    {Py_tp_clear, FlTask_Clear},
    {Py_tp_getset, gen_getset},
    {Py_tp_members, gen_members},
    {0, NULL},
};

static PyType_Spec gen_spec = {
    .name = "pyfastloop._core.GenFuture",
    .basicsize = sizeof(FlTask),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = gen_slots,
};

int
FlGenFuture_AddType(PyObject *module, FlState *st)
{
    return FlFuture_AddSubtype(module, st, &st->GenFuture_type, &gen_spec,
                               (PyObject *)st->Future_type);
}
