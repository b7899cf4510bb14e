/* permits.c -- what Lock and Semaphore are made of: permits, and who waits for one.
 *
 * A permit that is given back goes to the first waiter at once, so that nobody who comes
 * later takes it away. `async with` waits by an awaitable of its own: no coroutine, and
 * where the task is cancelled in the moment in which it would enter, the permit is given
 * back. An `acquire` or `release` that a program put in place of ours, on a class or on
 * an object, is called.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/class_watch.h"
#include "core/future_parts.h"
#include "core/iter_face.h"
#include "core/waitlist.h"

typedef struct {
    PyObject_HEAD
    FlState *st;      /* borrowed */
    Py_ssize_t value; /* permits that nobody has */
    Py_ssize_t most;  /* giving back past it is an error */
    FlWaitlist waiting;
    FlOriginals methods;
    PyObject *dict; /* owned */
} FlPermits;

/* What a program may have replaced. */
enum { ACQUIRE, RELEASE, N_METHODS };

static int
permits_look(FlPermits *self)
{
    FlState *st = self->st;
    PyObject *const names[N_METHODS] = {[ACQUIRE] = st->str_acquire,
                                        [RELEASE] = st->str_release};

    return FlOriginals_Look(&self->methods, st, (PyObject *)self, self->dict,
                            st->Permits_type, names, N_METHODS);
}

/* What is replaced, a bit each; or -1. */
static inline int
permits_replaced(FlPermits *self)
{
    return FlOriginals_Known(&self->methods, (PyObject *)self, self->dict)
               ? (int)self->methods.replaced
               : permits_look(self);
}

static PyObject *permits_release(PyObject *obj, PyObject *ignored);

/* Gives a permit back, in the object's own way. 0 or -1. */
static int
permits_give_back(PyObject *obj)
{
    int replaced = permits_replaced((FlPermits *)obj);
    PyObject *res;

    if (replaced < 0)
        return -1;
    if (replaced & 1 << RELEASE)
        res = PyObject_CallMethodNoArgs(obj, ((FlPermits *)obj)->st->str_release);
    else
        res = permits_release(obj, NULL);
    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* ---- what acquire() gives: `with (yield lock.acquire()):` releases at its end ---- */

typedef struct {
    PyObject_HEAD
    PyObject *permits; /* owned */
} FlPermit;

static PyObject *
permit_new(FlState *st, PyObject *permits)
{
    FlPermit *self = PyObject_GC_New(FlPermit, st->Permit_type);

    if (self == NULL)
        return NULL;
    self->permits = Py_NewRef(permits);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static PyObject *
permit_enter(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

static PyObject *
permit_exit(PyObject *obj, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n))
{
    FlPermit *self = (FlPermit *)obj;

    if (self->permits != NULL && permits_give_back(self->permits) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
permit_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((FlPermit *)self)->permits);
    return 0;
}

static int
permit_clear(PyObject *self)
{
    Py_CLEAR(((FlPermit *)self)->permits);
    return 0;
}

static void
permit_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    permit_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef permit_methods[] = {
    {"__enter__", permit_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))permit_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot permit_slots[] = {
    {Py_tp_dealloc, permit_dealloc},
    {Py_tp_traverse, permit_traverse},
    {Py_tp_clear, permit_clear},
    {Py_tp_methods, permit_methods},
    {0, NULL},
};

static PyType_Spec permit_spec = {
    .name = "pyfastloop._core.Permit",
    .basicsize = sizeof(FlPermit),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = permit_slots,
};

/* ---- what `async with` awaits ---- */

/* So many are kept. */
#define KEPT_WAITS 64

typedef struct {
    PyObject_HEAD
    FlState *st;       /* borrowed */
    PyObject *future;  /* owned; NULL: there is nothing to wait for (any more) */
    PyObject *permits; /* owned; NULL with future */
} FlPermitWait;

static PyObject *
permit_wait_new(FlState *st, PyObject *permits, PyObject *future)
{
    FlPermitWait *self =
        (FlPermitWait *)FlFreelist_Take(&st->free_permit_waits, st->PermitWait_type);

    if (self == NULL)
        self = PyObject_GC_New(FlPermitWait, st->PermitWait_type);
    if (self == NULL)
        return NULL;
    self->st = st;
    self->permits = Py_XNewRef(permits);
    self->future = Py_XNewRef(future);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int
permit_wait_clear(PyObject *obj)
{
    Py_CLEAR(((FlPermitWait *)obj)->future);
    Py_CLEAR(((FlPermitWait *)obj)->permits);
    return 0;
}

static PySendResult
permit_wait_send(PyObject *obj, PyObject *Py_UNUSED(value), PyObject **result)
{
    FlPermitWait *self = (FlPermitWait *)obj;
    FlFuture *future = (FlFuture *)self->future;
    PyObject *got;

    *result = NULL;
    if (future != NULL && future->state == FL_FUTURE_PENDING) {
        if (!future->blocking) {
            future->blocking = true;
            *result = Py_NewRef(future);
            return PYGEN_NEXT;
        }
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    if (future != NULL) {
        got = FlFuture_Result(self->future);
        permit_wait_clear(obj);
        if (got == NULL)
            return PYGEN_ERROR;
        Py_DECREF(got);
    }
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *
permit_wait_next(PyObject *self)
{
    PyObject *result;
    PySendResult end = permit_wait_send(self, Py_None, &result);

    return FlIter_Next(end, result);
}

static PyObject *
permit_wait_send_method(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult end = permit_wait_send(self, value, &result);

    return FlIter_End(end, result);
}

/* Nobody waits any more: what was handed over by then is given back, and what was not
 * goes to the next. 0 or -1. */
static int
permit_wait_give_back(FlPermitWait *self)
{
    PyObject *future = self->future, *permits = self->permits;
    int err = 0;

    self->future = self->permits = NULL;
    if (future != NULL && !FlFuture_Done(future)) {
        FlFuture_DropWaiters((FlFuture *)future); /* it may outlive their loop */
        err = FlFuture_Cancel(future, NULL) < 0 ? -1 : 0;
    } else if (future != NULL && ((FlFuture *)future)->state == FL_FUTURE_FINISHED &&
               !((FlFuture *)future)->failed) {
        err = permits_give_back(permits);
    }
    Py_XDECREF(future);
    Py_XDECREF(permits);
    return err;
}

static PyObject *
permit_wait_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (permit_wait_give_back((FlPermitWait *)self) == 0)
        FlIter_RaiseThrown(args, nargs);
    return NULL;
}

static PyObject *
permit_wait_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (permit_wait_give_back((FlPermitWait *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static int
permit_wait_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((FlPermitWait *)self)->future);
    Py_VISIT(((FlPermitWait *)self)->permits);
    return 0;
}

static void
permit_wait_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    permit_wait_clear(self);
    if (!FlFreelist_Put(&((FlPermitWait *)self)->st->free_permit_waits, self,
                        KEPT_WAITS)) {
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
}

static PyMethodDef permit_wait_methods[] = {
    {"send", permit_wait_send_method, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))permit_wait_throw, METH_FASTCALL, NULL},
    {"close", permit_wait_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot permit_wait_slots[] = {
    {Py_tp_dealloc, permit_wait_dealloc},
    {Py_tp_traverse, permit_wait_traverse},
    {Py_tp_clear, permit_wait_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, permit_wait_next},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, permit_wait_send},
    {Py_tp_methods, permit_wait_methods},
    {0, NULL},
};

static PyType_Spec permit_wait_spec = {
    .name = "pyfastloop._core.PermitWait",
    .basicsize = sizeof(FlPermitWait),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = permit_wait_slots,
};

/* ---- the permits ---- */

static PyObject *
permits_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlPermits *self = st == NULL ? NULL : (FlPermits *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->st = st;
        self->most = PY_SSIZE_T_MAX;
    }
    return (PyObject *)self;
}

static PyObject *
permits_acquire(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlPermits *self = (FlPermits *)obj;
    PyObject *timeout, *permit, *future;

    if (FlWaitlist_Timeout("acquire", args, nargs, kw, &timeout) < 0)
        return NULL;
    if (self->value <= 0)
        return FlWaitlist_Wait(&self->waiting, self->st, NULL, timeout,
                               "it was not released in time");
    permit = permit_new(self->st, obj);
    future = permit == NULL ? NULL : FlFuture_NewDone(self->st, permit);
    Py_XDECREF(permit);
    /* Allocating may have run anything. */
    if (future != NULL && self->value <= 0) {
        Py_DECREF(future);
        return FlWaitlist_Wait(&self->waiting, self->st, NULL, timeout,
                               "it was not released in time");
    }
    if (future != NULL)
        self->value--;
    return future;
}

static PyObject *
permits_release(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlPermits *self = (FlPermits *)obj;
    FlWaiting first;
    PyObject *permit = NULL;
    int err;

    if (self->value >= self->most)
        return PyObject_CallMethodNoArgs(obj, self->st->str__released_too_often);
    if (!FlWaitlist_Pop(&self->waiting, &first)) {
        self->value++;
        Py_RETURN_NONE;
    }
    if (first.beside == NULL)
        permit = permit_new(self->st, obj);
    if (first.beside == NULL && permit == NULL) {
        self->value++;
        err = -1;
    } else {
        err = FlFuture_SetResult(first.future, permit ? permit : Py_None);
    }
    Py_XDECREF(permit);
    FlWaiting_Drop(&first);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
permits_aenter(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlPermits *self = (FlPermits *)obj;
    PyObject *future, *wait;
    int replaced = permits_replaced(self);

    if (replaced < 0)
        return NULL;
    if (replaced & 1 << ACQUIRE)
        return PyObject_CallOneArg(self->st->hook_acquired, obj);
    if (self->value > 0) {
        self->value--;
        return Py_NewRef(self->st->nothing);
    }
    /* Py_None beside it: nobody looks at what the future gives. */
    future = FlWaitlist_Wait(&self->waiting, self->st, Py_None, NULL, NULL);
    wait = future == NULL ? NULL : permit_wait_new(self->st, obj, future);
    if (wait == NULL && future != NULL && FlFuture_Cancel(future, NULL) < 0)
        PyErr_WriteUnraisable(obj);
    Py_XDECREF(future);
    return wait;
}

static PyObject *
permits_aexit(PyObject *obj, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(n))
{
    return permits_give_back(obj) < 0 ? NULL
                                      : Py_NewRef(((FlPermits *)obj)->st->nothing);
}

static PyObject *
permits_get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(FlWaitlist_Count(&((FlPermits *)self)->waiting));
}

static int
permits_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((FlPermits *)self)->methods.type);
    Py_VISIT(((FlPermits *)self)->dict);
    return FlWaitlist_Traverse(&((FlPermits *)self)->waiting, visit, arg);
}

static int
permits_clear(PyObject *self)
{
    FlWaitlist_Clear(&((FlPermits *)self)->waiting);
    Py_CLEAR(((FlPermits *)self)->methods.type);
    Py_CLEAR(((FlPermits *)self)->dict);
    return 0;
}

static void
permits_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    permits_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef permits_methods[] = {
    {"acquire", (PyCFunction)(void (*)(void))permits_acquire,
     METH_FASTCALL | METH_KEYWORDS,
     "acquire($self, timeout=None)\n--\n\n"
     "Take a permit. The Future raises TimeoutError after `timeout`.\n\n"
     "It gives a context manager that releases at its end."},
    {"release", permits_release, METH_NOARGS,
     "release($self)\n--\n\n"
     "Give a permit back, to the first waiter if there is one.\n\n"
     "An error where nobody has one to give back: RuntimeError of a lock,\n"
     "ValueError of a bounded semaphore."},
    {"__aenter__", permits_aenter, METH_NOARGS, "__aenter__($self)\n--\n\nacquire()."},
    {"__aexit__", (PyCFunction)(void (*)(void))permits_aexit, METH_FASTCALL,
     "__aexit__($self, typ, value, tb, /)\n--\n\nrelease()."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef permits_members[] = {
    {"_value", T_PYSSIZET, offsetof(FlPermits, value), 0, NULL},
    {"_most", T_PYSSIZET, offsetof(FlPermits, most), 0, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlPermits, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef permits_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_waiting", permits_get_waiting, NULL, "How many wait for a permit.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot permits_slots[] = {
    {Py_tp_doc, "Permits that coroutines take and give back."},
    {Py_tp_new, permits_new},
    {Py_tp_dealloc, permits_dealloc},
    {Py_tp_traverse, permits_traverse},
    {Py_tp_clear, permits_clear},
    {Py_tp_methods, permits_methods},
    {Py_tp_members, permits_members},
    {Py_tp_getset, permits_getset},
    {0, NULL},
};

static PyType_Spec permits_spec = {
    .name = "pyfastloop._core.Permits",
    .basicsize = sizeof(FlPermits),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = permits_slots,
};

int
FlPermit_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Permit_type, &permit_spec, NULL, true);
}

int
FlPermitWait_AddType(PyObject *module, FlState *st)
{
    if (FlState_AddType(module, &st->PermitWait_type, &permit_wait_spec, NULL, true) <
        0)
        return -1;
    st->nothing = permit_wait_new(st, NULL, NULL);
    return st->nothing == NULL ? -1 : 0;
}

int
FlPermits_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Permits_type, &permits_spec, NULL, false);
}
