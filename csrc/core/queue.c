/* queue.c -- what Queue is made of: items, who waits for one, who waits for room.
 *
 * Items are wherever the class puts them: `_put`, `_get`, `qsize` and their kin are
 * called on the object, as subclasses expect; those that are still ours are done here
 * and keep a deque. An item that is handed to a waiting getter goes through them too.
 * What waits to put has its item beside it.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/class_watch.h"
#include "core/waitlist.h"

typedef struct {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    PyObject *maxsize;  /* owned; a number, 0: without bound */
    PyObject *queue;    /* owned; what `_init` made */
    PyObject *finished; /* owned; an Event: nothing is unfinished */
    Py_ssize_t unfinished;
    FlWaitlist getters;
    FlWaitlist putters;
    FlOriginals methods;
    PyObject *dict; /* owned */
} FlQueue;

/* What subclasses may have replaced. */
enum { PUT, GET, QSIZE, FULL, PUT_NOWAIT, GET_NOWAIT, N_METHODS };

static int
queue_look(FlQueue *self)
{
    FlState *st = self->st;
    PyObject *const names[N_METHODS] = {
        [PUT] = st->str__put,
        [GET] = st->str__get,
        [QSIZE] = st->str_qsize,
        [FULL] = st->str_full,
        [PUT_NOWAIT] = st->str_put_nowait,
        [GET_NOWAIT] = st->str_get_nowait,
    };

    return FlOriginals_Look(&self->methods, st, (PyObject *)self, self->dict,
                            st->QueueBase_type, names, N_METHODS);
}

/* What is replaced, a bit each; or -1. */
static inline int
queue_replaced(FlQueue *self)
{
    return FlOriginals_Known(&self->methods, (PyObject *)self, self->dict)
               ? (int)self->methods.replaced
               : queue_look(self);
}

static PyObject *
queue_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlQueue *self = st == NULL ? NULL : (FlQueue *)type->tp_alloc(type, 0);

    if (self == NULL)
        return NULL;
    self->st = st;
    self->maxsize = PyLong_FromLong(0);
    if (self->maxsize == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* obj.name(), whose result nobody needs: 0 or -1. */
static int
queue_call(PyObject *obj, PyObject *name)
{
    PyObject *res = PyObject_CallMethodNoArgs(obj, name);

    Py_XDECREF(res);
    return res == NULL ? -1 : 0;
}

/* ---- where items are: a deque, unless the class says otherwise ---- */

static PyObject *
queue_init_items(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlQueue *self = (FlQueue *)obj;
    PyObject *queue = PyObject_CallNoArgs(self->st->deque);

    if (queue == NULL)
        return NULL;
    Py_XSETREF(self->queue, queue);
    Py_RETURN_NONE;
}

static int
queue_check_items(FlQueue *self)
{
    if (self->queue != NULL)
        return 0;
    PyErr_SetString(PyExc_AttributeError, "the queue has no _queue: was Queue.__init__ "
                                          "called, and does _init set it?");
    return -1;
}

static PyObject *
queue_put_deque(PyObject *obj, PyObject *item)
{
    FlQueue *self = (FlQueue *)obj;
    PyObject *queue, *res;

    if (queue_check_items(self) < 0)
        return NULL;
    queue = Py_NewRef(self->queue);
    if (Py_IS_TYPE(queue, (PyTypeObject *)self->st->deque)) {
        PyObject *args[] = {queue, item};

        res = PyObject_Vectorcall(self->st->deque_append, args, 2, NULL);
    } else {
        res = PyObject_CallMethodOneArg(queue, self->st->str_append, item);
    }
    Py_DECREF(queue);
    return res;
}

static PyObject *
queue_get_deque(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlQueue *self = (FlQueue *)obj;
    PyObject *queue, *res;

    if (queue_check_items(self) < 0)
        return NULL;
    queue = Py_NewRef(self->queue);
    if (Py_IS_TYPE(queue, (PyTypeObject *)self->st->deque))
        res = PyObject_Vectorcall(self->st->deque_popleft, &queue, 1, NULL);
    else
        res = PyObject_CallMethodNoArgs(queue, self->st->str_popleft);
    Py_DECREF(queue);
    return res;
}

/* How many items there are, or -1. */
static Py_ssize_t
queue_count(FlQueue *self)
{
    PyObject *queue = self->queue;
    Py_ssize_t n;

    if (queue == NULL)
        return 0;
    Py_INCREF(queue);
    n = PyObject_Size(queue);
    Py_DECREF(queue);
    return n;
}

/* name() of the object as a truth: 1, 0 or -1. */
static int
queue_ask(FlQueue *self, PyObject *name)
{
    PyObject *answer = PyObject_CallMethodNoArgs((PyObject *)self, name);
    int yes = answer == NULL ? -1 : PyObject_IsTrue(answer);

    Py_XDECREF(answer);
    return yes;
}

/* Whether there are maxsize items: 1, 0 or -1. */
static int
queue_is_full(FlQueue *self, int replaced)
{
    PyObject *maxsize = Py_XNewRef(self->maxsize), *size;
    int full = maxsize == NULL ? 0 : PyObject_IsTrue(maxsize);

    if (full > 0) {
        if (replaced & 1 << QSIZE) {
            size = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_qsize);
        } else {
            Py_ssize_t n = queue_count(self);

            size = n < 0 ? NULL : PyLong_FromSsize_t(n);
        }
        full = size == NULL ? -1 : PyObject_RichCompareBool(size, maxsize, Py_GE);
        Py_XDECREF(size);
    }
    Py_XDECREF(maxsize);
    return full;
}

/* ---- in and out ---- */

static int
queue_put_item(FlQueue *self, PyObject *item)
{
    FlState *st = self->st;
    int replaced = queue_replaced(self);
    PyObject *res =
        replaced < 0 ? NULL
        : replaced & 1 << PUT
            ? PyObject_CallMethodOneArg((PyObject *)self, st->str__put, item)
            : queue_put_deque((PyObject *)self, item);

    if (res == NULL)
        return -1;
    Py_DECREF(res);
    if (self->unfinished++ > 0 || self->finished == NULL)
        return 0;
    return queue_call(self->finished, st->str_clear);
}

static PyObject *
queue_get_item(FlQueue *self)
{
    int replaced = queue_replaced(self);

    if (replaced < 0)
        return NULL;
    if (replaced & 1 << GET)
        return PyObject_CallMethodNoArgs((PyObject *)self, self->st->str__get);
    return queue_get_deque((PyObject *)self, NULL);
}

/* Puts item where it can be put: 1, 0 where there is no room, or -1. */
static int
queue_offer(FlQueue *self, PyObject *item)
{
    PyObject *value;
    FlWaiting first;
    int err, replaced;

    if (!FlWaitlist_Pop(&self->getters, &first)) {
        replaced = queue_replaced(self);
        err = replaced < 0           ? -1
              : replaced & 1 << FULL ? queue_ask(self, self->st->str_full)
                                     : queue_is_full(self, replaced);
        if (err != 0)
            return err < 0 ? -1 : 0;
        return queue_put_item(self, item) < 0 ? -1 : 1;
    }
    /* It goes through the queue: a subclass may change it. */
    err = queue_put_item(self, item);
    if (err == 0 && FlFuture_Done(first.future)) { /* it gave up in a `_put` */
        FlWaiting_Drop(&first);
        if (!FlWaitlist_Pop(&self->getters, &first))
            return 1;
    }
    value = err < 0 ? NULL : queue_get_item(self);
    err = value == NULL ? -1 : FlFuture_SetResultUnlessDone(first.future, value);
    if (value == NULL)
        FlWaitlist_Return(&self->getters, &first);
    else
        FlWaiting_Drop(&first);
    Py_XDECREF(value);
    return err < 0 ? -1 : 1;
}

/* Lets the first that waits for room put its item: 1, 0 where nobody does, or -1. What
 * the class refuses is its putter's error; the next has its turn. */
static int
queue_refill(FlQueue *self)
{
    FlWaiting putter;
    int err, put = 0;

    while (!put && FlWaitlist_Pop(&self->putters, &putter)) {
        put = queue_put_item(self, putter.beside) == 0;
        if (put)
            err = FlFuture_SetResultUnlessDone(putter.future, Py_None);
        else
            err = FlFuture_SetCurrentException(putter.future);
        FlWaiting_Drop(&putter);
        if (err < 0)
            return -1;
    }
    return put;
}

/* Whether there is an item to get: 1, 0 or -1. */
static int
queue_has_item(FlQueue *self)
{
    int yes = queue_refill(self), replaced;
    Py_ssize_t n;

    if (yes != 0)
        return yes;
    replaced = queue_replaced(self);
    if (replaced < 0)
        return -1;
    if (replaced & 1 << QSIZE)
        return queue_ask(self, self->st->str_qsize);
    n = queue_count(self);
    return n < 0 ? -1 : n > 0;
}

/* The current exception is one of those that the methods which do not wait raise; then
 * it is taken away. */
static bool
queue_must_wait(PyObject *error)
{
    if (error == NULL || !PyErr_ExceptionMatches(error))
        return false;
    PyErr_Clear();
    return true;
}

/* The same as queue_offer through a put_nowait of the class. */
static int
queue_offer_by_name(FlQueue *self, PyObject *item)
{
    PyObject *res =
        PyObject_CallMethodOneArg((PyObject *)self, self->st->str_put_nowait, item);

    if (res == NULL)
        return queue_must_wait(self->st->hook_QueueFull) ? 0 : -1;
    Py_DECREF(res);
    return 1;
}

/* Takes an item out: 1, 0 where there is none, or -1. */
static int
queue_take(FlQueue *self, PyObject **value)
{
    int replaced = queue_replaced(self), there;

    *value = NULL;
    if (replaced < 0)
        return -1;
    if (replaced & 1 << GET_NOWAIT) {
        *value = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_get_nowait);
        if (*value == NULL)
            return queue_must_wait(self->st->hook_QueueEmpty) ? 0 : -1;
        return 1;
    }
    there = queue_has_item(self);
    if (there <= 0)
        return there;
    *value = queue_get_item(self);
    return *value == NULL ? -1 : 1;
}

/* ---- the methods ---- */

static int
queue_put_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
                    PyObject **item, PyObject **timeout)
{
    Py_ssize_t named = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);
    PyObject *got[2] = {nargs > 0 ? args[0] : NULL, nargs > 1 ? args[1] : NULL};

    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kw, i);
        int at = PyUnicode_CompareWithASCIIString(name, "item") == 0      ? 0
                 : PyUnicode_CompareWithASCIIString(name, "timeout") == 0 ? 1
                                                                          : -1;

        if (at < 0 || got[at] != NULL) {
            PyErr_Format(PyExc_TypeError, "put() got an unexpected argument %R", name);
            return -1;
        }
        got[at] = args[nargs + i];
    }
    if (nargs > 2 || got[0] == NULL) {
        PyErr_SetString(PyExc_TypeError, "put() takes an item and a timeout");
        return -1;
    }
    *item = got[0];
    *timeout = got[1];
    return 0;
}

static PyObject *
queue_put(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlQueue *self = (FlQueue *)obj;
    PyObject *item, *timeout, *future;
    int put, replaced;

    if (queue_put_arguments(args, nargs, kw, &item, &timeout) < 0)
        return NULL;
    /* Made before the item is put: it would be there twice where that is tried again. */
    future = FlFuture_New(self->st, NULL);
    replaced = future == NULL ? -1 : queue_replaced(self);
    put = replaced < 0                 ? -1
          : replaced & 1 << PUT_NOWAIT ? queue_offer_by_name(self, item)
                                       : queue_offer(self, item);
    if (put > 0 && FlFuture_SetResult(future, Py_None) == 0)
        return future;
    if (put == 0 && FlWaitlist_Await(&self->putters, future, item, timeout,
                                     "the queue stayed full") == 0)
        return future;
    Py_XDECREF(future);
    return NULL;
}

static PyObject *
queue_put_nowait(PyObject *obj, PyObject *item)
{
    FlQueue *self = (FlQueue *)obj;
    int put = queue_offer(self, item);

    if (put > 0)
        Py_RETURN_NONE;
    if (put == 0)
        PyErr_SetNone(self->st->hook_QueueFull);
    return NULL;
}

static PyObject *
queue_get(PyObject *obj, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlQueue *self = (FlQueue *)obj;
    PyObject *timeout, *future, *value = NULL;
    int there;

    if (FlWaitlist_Timeout("get", args, nargs, kw, &timeout) < 0)
        return NULL;
    /* Made before the item is taken out: it would be lost else. */
    future = FlFuture_New(self->st, NULL);
    there = future == NULL ? -1 : queue_take(self, &value);
    if (there > 0) {
        if (FlFuture_SetResult(future, value) < 0)
            Py_CLEAR(future);
        Py_DECREF(value);
        return future;
    }
    if (there == 0 && FlWaitlist_Await(&self->getters, future, NULL, timeout,
                                       "the queue stayed empty") == 0)
        return future;
    Py_XDECREF(future);
    return NULL;
}

static PyObject *
queue_get_nowait(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlQueue *self = (FlQueue *)obj;
    int there = queue_has_item(self);

    if (there > 0)
        return queue_get_item(self);
    if (there == 0)
        PyErr_SetNone(self->st->hook_QueueEmpty);
    return NULL;
}

static PyObject *
queue_task_done(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlQueue *self = (FlQueue *)obj;

    if (self->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--self->unfinished == 0 && self->finished != NULL &&
        queue_call(self->finished, self->st->str_set) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
queue_qsize(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t n = queue_count((FlQueue *)obj);

    return n < 0 ? NULL : PyLong_FromSsize_t(n);
}

static PyObject *
queue_full(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    int replaced = queue_replaced((FlQueue *)obj);
    int full = replaced < 0 ? -1 : queue_is_full((FlQueue *)obj, replaced);

    return full < 0 ? NULL : PyBool_FromLong(full);
}

/* ---- the type ---- */

static PyObject *
queue_get_getters(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(FlWaitlist_Count(&((FlQueue *)self)->getters));
}

static PyObject *
queue_get_putters(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(FlWaitlist_Count(&((FlQueue *)self)->putters));
}

static int
queue_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlQueue *self = (FlQueue *)obj;
    int err = FlWaitlist_Traverse(&self->getters, visit, arg);

    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->maxsize);
    Py_VISIT(self->queue);
    Py_VISIT(self->finished);
    Py_VISIT(self->methods.type);
    Py_VISIT(self->dict);
    return err != 0 ? err : FlWaitlist_Traverse(&self->putters, visit, arg);
}

static int
queue_clear(PyObject *obj)
{
    FlQueue *self = (FlQueue *)obj;

    FlWaitlist_Clear(&self->getters);
    FlWaitlist_Clear(&self->putters);
    Py_CLEAR(self->queue);
    Py_CLEAR(self->finished);
    Py_CLEAR(self->methods.type);
    Py_CLEAR(self->dict);
    return 0;
}

static void
queue_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    queue_clear(obj);
    Py_XDECREF(((FlQueue *)obj)->maxsize);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyMethodDef queue_methods[] = {
    {"put", (PyCFunction)(void (*)(void))queue_put, METH_FASTCALL | METH_KEYWORDS,
     "put($self, item, timeout=None)\n--\n\n"
     "Put `item` into the queue, which may have to wait for room."},
    {"put_nowait", queue_put_nowait, METH_O,
     "put_nowait($self, item)\n--\n\n"
     "Put `item` into the queue; QueueFull where there is no room."},
    {"get", (PyCFunction)(void (*)(void))queue_get, METH_FASTCALL | METH_KEYWORDS,
     "get($self, timeout=None)\n--\n\n"
     "Take an item out of the queue, which may have to wait for one.\n\n"
     "An item that was handed to a Future which is then not awaited is gone."},
    {"get_nowait", queue_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\n"
     "Take an item out of the queue; QueueEmpty where there is none."},
    {"task_done", queue_task_done, METH_NOARGS,
     "task_done($self)\n--\n\n"
     "Say that an item which was taken out has been dealt with.\n\n"
     "Called by consumers, once for each `get`; when all is done, `join` returns.\n"
     "Raises ValueError where it is called more often than there were items."},
    {"qsize", queue_qsize, METH_NOARGS,
     "qsize($self)\n--\n\nHow many items there are."},
    {"full", queue_full, METH_NOARGS,
     "full($self)\n--\n\nWhether there are `maxsize` items."},
    {"_init", queue_init_items, METH_NOARGS, NULL},
    {"_put", queue_put_deque, METH_O, NULL},
    {"_get", queue_get_deque, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef queue_members[] = {
    {"_maxsize", T_OBJECT, offsetof(FlQueue, maxsize), 0, NULL},
    {"_queue", T_OBJECT_EX, offsetof(FlQueue, queue), 0, NULL},
    {"_finished", T_OBJECT, offsetof(FlQueue, finished), 0, NULL},
    {"_unfinished_tasks", T_PYSSIZET, offsetof(FlQueue, unfinished), 0, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlQueue, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef queue_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_getters", queue_get_getters, NULL, "How many wait for an item.", NULL},
    {"_putters", queue_get_putters, NULL, "How many wait for room.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_doc, "Items, and who waits for one or for room."},
    {Py_tp_new, queue_new},
    {Py_tp_dealloc, queue_dealloc},
    {Py_tp_traverse, queue_traverse},
    {Py_tp_clear, queue_clear},
    {Py_tp_methods, queue_methods},
    {Py_tp_members, queue_members},
    {Py_tp_getset, queue_getset},
    {0, NULL},
};

static PyType_Spec queue_spec = {
    .name = "pyfastloop._core.QueueBase",
    .basicsize = sizeof(FlQueue),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = queue_slots,
};

int
FlQueueBase_AddType(PyObject *module, FlState *st)
{
    st->deque_append = PyObject_GetAttr(st->deque, st->str_append);
    st->deque_popleft = PyObject_GetAttr(st->deque, st->str_popleft);
    if (st->deque_append == NULL || st->deque_popleft == NULL)
        return -1;
    return FlState_AddType(module, &st->QueueBase_type, &queue_spec, NULL, false);
}
