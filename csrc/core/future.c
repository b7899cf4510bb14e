/* future.c -- a value that will be there later.
 *
 *     pending --set_result/set_exception--> finished
 *        \-----cancel---------------------> cancelled
 *
 * The step out of pending hands every callback to the ring, in the order they were
 * added, and never calls one. `value` is set by then and does not change again, except
 * that the CancelledError which ended it is given out once.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/future.h"

#include <string.h>

#include "core/future_parts.h"

/* ---- the loop of a future ---- */

int
FlFuture_ResolveLoop(FlFuture *self)
{
    if (self->loop == NULL)
        self->loop = FlLoop_Get(self->st);
    return self->loop == NULL ? -1 : 0;
}

void
FlFuture_Setup(FlFuture *self, FlState *st, FlLoop *loop)
{
    if (loop == NULL)
        loop = FlLoop_Running(st);
    self->st = st;
    self->loop = (FlLoop *)Py_XNewRef(loop);
    if (loop != NULL && loop->debug) {
        self->source_traceback = PyObject_CallNoArgs(st->extract_stack);
        if (self->source_traceback == NULL)
            PyErr_Clear();
    }
}

/* So many are kept of each kind. */
#define KEPT_FUTURES 256

static FlFreelist *
future_list(FlState *st, PyTypeObject *type)
{
    if (type == st->Future_type)
        return &st->free_futures;
    if (type == st->Task_type)
        return &st->free_tasks;
    if (type == st->FetchFuture_type)
        return &st->free_fetch_futures;
    return type == st->GenFuture_type ? &st->free_gen_futures : NULL;
}

PyObject *
FlFuture_Alloc(FlState *st, PyTypeObject *type)
{
    FlFreelist *list = future_list(st, type);
    PyObject *obj = list == NULL ? NULL : FlFreelist_Take(list, type);

    if (obj == NULL)
        return type->tp_alloc(type, 0);
    memset(obj + 1, 0, (size_t)type->tp_basicsize - sizeof *obj);
    PyObject_GC_Track(obj);
    return obj;
}

PyObject *
FlFuture_New(FlState *st, FlLoop *loop)
{
    FlFuture *self = (FlFuture *)FlFuture_Alloc(st, st->Future_type);

    if (self != NULL)
        FlFuture_Setup(self, st, loop);
    return (PyObject *)self;
}

PyObject *
FlFuture_NewDone(FlState *st, PyObject *value)
{
    FlFuture *self = (FlFuture *)FlFuture_New(st, NULL);

    if (self == NULL)
        return NULL;
    self->state = FL_FUTURE_FINISHED;
    self->value = Py_NewRef(value);
    return (PyObject *)self;
}

bool
FlFuture_CheckExact(FlState *st, PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    return type == st->Future_type || type == st->GenFuture_type ||
           type == st->Task_type || type == st->FetchFuture_type;
}

bool
FlFuture_Check(FlState *st, PyObject *obj)
{
    return FlFuture_CheckExact(st, obj) ||
           PyType_IsSubtype(Py_TYPE(obj), st->Future_type);
}

bool
FlFuture_TakesWaiters(FlState *st, PyObject *obj)
{
    PyObject *theirs, *ours;
    bool same;

    if (FlFuture_CheckExact(st, obj))
        return true;
    if (!FlFuture_Check(st, obj))
        return false;
    theirs = PyObject_GetAttr((PyObject *)Py_TYPE(obj), st->str_add_done_callback);
    ours = PyObject_GetAttr((PyObject *)st->Future_type, st->str_add_done_callback);
    PyErr_Clear();
    same = theirs == ours;
    Py_XDECREF(theirs);
    Py_XDECREF(ours);
    return same;
}

int
FlFuture_IsFutureLike(FlState *st, PyObject *obj)
{
    PyObject *blocking;
    int found;

    if (FlFuture_Check(st, obj))
        return 1;
    found = PyObject_GetOptionalAttr((PyObject *)Py_TYPE(obj),
                                     st->str__asyncio_future_blocking, &blocking);
    Py_XDECREF(blocking);
    if (found <= 0)
        return found;
    found = PyObject_GetOptionalAttr(obj, st->str__asyncio_future_blocking, &blocking);
    if (found > 0)
        found = blocking != Py_None;
    Py_XDECREF(blocking);
    return found;
}

/* ---- the ways to be done ---- */

static int
future_must_be_pending(FlFuture *self)
{
    if (self->state == FL_FUTURE_PENDING)
        return 0;
    PyErr_Format(self->st->InvalidStateError, "invalid state: %R is done already",
                 self);
    return -1;
}

int
FlFuture_SetResult(PyObject *obj, PyObject *value)
{
    FlFuture *self = (FlFuture *)obj;

    if (future_must_be_pending(self) < 0)
        return -1;
    self->value = Py_NewRef(value);
    self->state = FL_FUTURE_FINISHED;
    return FlFuture_HandOn(self);
}

int
FlFuture_SetResultUnlessDone(PyObject *obj, PyObject *value)
{
    return FlFuture_Done(obj) ? 0 : FlFuture_SetResult(obj, value);
}

/* An instance of what was given (a class is called); new reference. StopIteration
 * cannot be thrown into a generator's caller and becomes a RuntimeError, as in asyncio.
 */
static PyObject *
future_exception_instance(PyObject *exc)
{
    PyObject *error;

    if (PyType_Check(exc) && PyExceptionClass_Check(exc))
        exc = PyObject_CallNoArgs(exc);
    else
        Py_INCREF(exc);
    if (exc == NULL)
        return NULL;
    if (!PyExceptionInstance_Check(exc)) {
        PyErr_Format(PyExc_TypeError,
                     "set_exception() takes an exception or an exception class, got %R",
                     exc);
        Py_DECREF(exc);
        return NULL;
    }
    if (!PyErr_GivenExceptionMatches(exc, PyExc_StopIteration))
        return exc;
    error = PyObject_CallFunction(PyExc_RuntimeError, "s",
                                  "StopIteration interacts badly with generators and "
                                  "cannot be raised into a Future");
    if (error != NULL) {
        PyException_SetCause(error, Py_NewRef(exc));
        PyException_SetContext(error, Py_NewRef(exc));
    }
    Py_DECREF(exc);
    return error;
}

int
FlFuture_SetException(PyObject *obj, PyObject *exc)
{
    FlFuture *self = (FlFuture *)obj;

    if (future_must_be_pending(self) < 0)
        return -1;
    exc = future_exception_instance(exc);
    if (exc == NULL)
        return -1;
    /* A class of the user's was called: it may have finished this very future. */
    if (future_must_be_pending(self) < 0) {
        Py_DECREF(exc);
        return -1;
    }
    self->value = exc;
    self->state = FL_FUTURE_FINISHED;
    self->failed = self->log_traceback = true;
    Py_XSETREF(self->note, PyException_GetTraceback(exc));
    return FlFuture_HandOn(self);
}

int
FlFuture_SetExceptionUnlessDone(PyObject *obj, PyObject *exc)
{
    return FlFuture_Done(obj) ? 0 : FlFuture_SetException(obj, exc);
}

int
FlFuture_SetCurrentException(PyObject *obj)
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *exc;
    int err;

    if (FlError_IsFatal())
        return -1;
    if (FlFuture_Done(obj)) {
        if (FlFuture_ResolveLoop(self) < 0)
            return -1;
        if (PyErr_ExceptionMatches(self->st->CancelledError)) {
            PyErr_Clear();
            return 0;
        }
        FlLoop_LogException(self->loop, "Exception after Future was cancelled", NULL);
        return PyErr_Occurred() ? -1 : 0;
    }
    exc = PyErr_GetRaisedException();
    if (PyErr_GivenExceptionMatches(exc, self->st->CancelledError)) {
        Py_XSETREF(self->value, exc);
        return FlFuture_CancelSelf(self, NULL) < 0 ? -1 : 0;
    }
    err = FlFuture_SetException(obj, exc);
    Py_DECREF(exc);
    return err;
}

int
FlFuture_Cancel(PyObject *obj, PyObject *msg)
{
    FlFuture *self = (FlFuture *)obj;
    FlState *st = self->st;
    PyObject *res;
    int yes;

    if (Py_IS_TYPE(obj, st->Task_type))
        return FlTask_Cancel(obj, msg);
    self->log_traceback = false;
    if (FlFuture_CheckExact(st, obj) && !Py_IS_TYPE(obj, st->FetchFuture_type))
        return FlFuture_CancelSelf(self, msg);
    res = PyObject_CallMethodOneArg(obj, st->str_cancel, msg ? msg : Py_None);
    yes = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    return yes;
}

int
FlFuture_CancelSelf(FlFuture *self, PyObject *msg)
{
    if (self->state != FL_FUTURE_PENDING)
        return 0;
    self->state = FL_FUTURE_CANCELLED;
    Py_XSETREF(self->note, Py_XNewRef(msg));
    return FlFuture_HandOn(self) < 0 ? -1 : 1;
}

/* ---- the ways to ask ---- */

PyObject *
FlFuture_MakeCancelledError(FlFuture *self)
{
    PyObject *exc = self->value;

    /* asyncio.gather asks whatever future came last, also one that has a result. */
    if (exc != NULL && self->state == FL_FUTURE_CANCELLED) {
        self->value = NULL;
        return exc;
    }
    if (self->note == NULL || self->note == Py_None ||
        self->state == FL_FUTURE_FINISHED)
        return PyObject_CallNoArgs(self->st->CancelledError);
    return PyObject_CallOneArg(self->st->CancelledError, self->note);
}

void
FlFuture_Raise(PyObject *exc)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_DECREF(exc);
}

PyObject *
FlFuture_Result(PyObject *obj)
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *exc;

    if (self->state == FL_FUTURE_PENDING) {
        PyErr_SetString(self->st->InvalidStateError, "Result is not set.");
        return NULL;
    }
    self->log_traceback = false;
    if (self->state == FL_FUTURE_CANCELLED) {
        exc = FlFuture_MakeCancelledError(self);
        if (exc == NULL)
            return NULL;
    } else if (!self->failed) {
        return Py_XNewRef(self->value);
    } else {
        exc = Py_NewRef(self->value);
        /* Raised again and again it would grow a frame each time. */
        PyException_SetTraceback(exc, self->note ? self->note : Py_None);
    }
    FlFuture_Raise(exc);
    return NULL;
}

PyObject *
FlFuture_Exception(PyObject *obj)
{
    FlFuture *self = (FlFuture *)obj;

    self->log_traceback = false;
    return self->failed ? self->value : NULL;
}

/* ---- the collector ---- */

int
FlFuture_Traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlFuture *self = (FlFuture *)obj;

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->value);
    Py_VISIT(self->note);
    Py_VISIT(self->source_traceback);
    Py_VISIT(self->dict);
    return FlFuture_VisitWaiters(self, visit, arg);
}

void
FlFuture_Reset(FlFuture *self)
{
    if (self->first.obj != NULL || self->more != NULL)
        FlFuture_DropWaiters(self);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->value);
    Py_CLEAR(self->note);
    Py_CLEAR(self->source_traceback);
}

int
FlFuture_Clear(PyObject *obj)
{
    FlFuture_Reset((FlFuture *)obj);
    Py_CLEAR(((FlFuture *)obj)->dict);
    return 0;
}

/* Through the loop's exception handler where there is a loop, else to asyncio's logger.
 */
void
FlFuture_Report(FlFuture *self, const char *msg, PyObject *key)
{
    PyObject *exception = self->failed ? self->value : NULL, *res;

    if (self->loop != NULL) {
        if (FlLoop_TellExceptionHandler(self->loop, msg, exception, key,
                                        (PyObject *)self) < 0)
            PyErr_WriteUnraisable((PyObject *)self);
        return;
    }
    PyObject *args = Py_BuildValue("(ssO)", "%s: %r", msg, self);
    PyObject *error = PyObject_GetAttr(self->st->asyncio_log, self->st->str_error);
    PyObject *kwargs =
        Py_BuildValue("{sO}", "exc_info", exception ? exception : Py_None);
    res = args && error && kwargs ? PyObject_Call(error, args, kwargs) : NULL;
    if (res == NULL)
        PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(args);
    Py_XDECREF(error);
    Py_XDECREF(kwargs);
    Py_XDECREF(res);
}

void
FlFuture_Finalize(PyObject *obj)
{
    FlFuture *self = (FlFuture *)obj;
    PyObject *exc;

    if (!self->log_traceback)
        return;
    self->log_traceback = false;
    exc = PyErr_GetRaisedException();
    FlFuture_Report(self, "Future exception was never retrieved", self->st->str_future);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
}

void
FlFuture_Dealloc(PyObject *obj)
{
    FlFuture *self = (FlFuture *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    FlFreelist *list = future_list(self->st, type);

    /* A subclass may have a __del__; ours speak of lost exceptions and lost tasks. */
    if ((list == NULL || self->log_traceback ||
         (type == self->st->Task_type && self->state == FL_FUTURE_PENDING)) &&
        PyObject_CallFinalizerFromDealloc(obj) < 0)
        return;
    PyObject_GC_UnTrack(obj);
    /* The result may be a future whose result is a future ...: no deeper than a few. */
    Py_TRASHCAN_BEGIN(obj, FlFuture_Dealloc);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    type->tp_clear(obj);
    /* One that was finalized would never be so again. */
    if (list == NULL || PyObject_GC_IsFinalized(obj) ||
        !FlFreelist_Put(list, obj, KEPT_FUTURES)) {
        type->tp_free(obj);
        Py_DECREF(type);
    }
    Py_TRASHCAN_END;
}
