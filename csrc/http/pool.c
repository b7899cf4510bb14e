/* pool.c -- connections that have answered and wait for the next request.
 *
 * A link is *busy*, owned by one exchange, or *idle*, owned by the pool, or *closed*. It
 * serves one request at a time: with pipelining one slow answer would hold up the
 * others, and a lost connection would leave in doubt how many requests were carried out.
 *
 *     connect --> busy --> idle --> busy --> ... --> closed
 *                   |        |
 *                   |        |-- the server closes, or sends what nobody asked for
 *                   |        |-- idle_timeout, or the pool is full: the oldest one goes
 *                   |        `-- the client is closed
 *                   `-- error, time-out, cancelled, "Connection: close", HTTP/1.0, a body
 *                       that ends with the connection, bytes after the answer, a request
 *                       that was not sent whole
 *
 * Key. Requests share a link when their keys are one object: see Key in
 * pyfastloop/simple_httpclient/outgoing.py.
 *
 * Order. The links stand in two chains. Over all keys in the order in which they became
 * idle, so that the oldest one is found at once and one timer serves all of them; and,
 * last in, first out, within each key: the warmest link is used, and the surplus of a
 * burst ages out.
 *
 * Bounds. At most max_idle links wait; busy ones are bounded by the client's max_clients.
 *
 * Stale links. A server may close an idle link at any moment. Its stream is read, so that
 * a close that has reached this machine closes the link before anybody takes it; and
 * before a request is sent over a link that has waited, it is read once more
 * (client_type.c). What remains is the race: the request was already under way. Then, if
 * no byte of an answer came and the request can be repeated, it is sent once more on a
 * new connection where it is idempotent (RFC 9110 section 9.2.2), or where not a byte of
 * it had left; otherwise the caller is told.
 *
 * Leftovers. A byte after the end of an answer, or on an idle link, closes the link:
 * whose answer it would be taken for is the matter of response smuggling.
 *
 * Invariant: an idle link has no byte in its stream's read buffer, nothing queued for
 * writing, and no exchange that refers to it.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/pool.h"

bool
FlPool_Check(FlState *st, PyObject *obj)
{
    return Py_IS_TYPE(obj, st->ConnectionPool_type);
}

/* Takes a link out of both chains; its reference is the caller's. 0, or -1: it stands
 * in the order no more, but its key could not be changed. */
static int
pool_unlink(FlPool *pool, FlClientLink *link)
{
    FlClientLink *below = link->below, *above = link->above;

    if (link->older != NULL)
        link->older->newer = link->newer;
    else
        pool->oldest = link->newer;
    if (link->newer != NULL)
        link->newer->older = link->older;
    else
        pool->newest = link->older;
    link->older = link->newer = link->below = link->above = NULL;
    pool->count--;
    if (below != NULL)
        below->above = above;
    if (above != NULL) {
        above->below = below;
        return 0;
    }
    return below != NULL ? PyDict_SetItem(pool->tops, link->key, (PyObject *)below)
                         : PyDict_DelItem(pool->tops, link->key);
}

/* Takes a link out and closes it. 0 or -1. escapes */
static int
pool_evict(FlPool *pool, FlClientLink *link)
{
    int err = pool_unlink(pool, link);

    FlClientLink_Close(link);
    Py_DECREF(link);
    return err;
}

FlClientLink *
FlPool_Take(FlPool *pool, PyObject *key)
{
    PyObject *top;

    while ((top = PyDict_GetItemWithError(pool->tops, key)) != NULL) {
        FlClientLink *link = (FlClientLink *)top;
        int err = pool_unlink(pool, link);

        if (err == 0 && !FlClientLink_Closed(link))
            return link;
        Py_DECREF(link);
        if (err < 0)
            return NULL;
    }
    return NULL;
}

int
FlPool_Put(FlPool *pool, FlClientLink *link)
{
    PyObject *below;

    if (pool->max_idle <= 0 || pool->loop == NULL) {
        FlClientLink_Close(link);
        return 0;
    }
    below = PyDict_GetItemWithError(pool->tops, link->key);
    if ((below == NULL && PyErr_Occurred()) ||
        PyDict_SetItem(pool->tops, link->key, (PyObject *)link) < 0) {
        FlClientLink_Close(link);
        return -1;
    }
    /* What stood there is still held by the order. */
    link->below = (FlClientLink *)below;
    if (below != NULL)
        link->below->above = link;
    link->older = pool->newest;
    if (pool->newest != NULL)
        pool->newest->newer = link;
    else
        pool->oldest = link;
    pool->newest = (FlClientLink *)Py_NewRef(link);
    pool->count++;
    link->idle_since = FlLoop_Now(pool->loop);
    if (!FlLoop_Armed(&pool->timer) &&
        FlLoop_Arm(pool->loop, &pool->timer, link->idle_since + pool->timeout) < 0)
        return -1;
    return pool->count > pool->max_idle ? pool_evict(pool, pool->oldest) : 0;
}

static int
pool_expire(FlLoop *loop, fl_loop_timer *timer)
{
    FlPool *pool = (FlPool *)((char *)timer - offsetof(FlPool, timer));
    FlClientLink *oldest;
    int err = 0;

    Py_INCREF(pool);
    while (err == 0 && (oldest = pool->oldest) != NULL) {
        uint64_t when = oldest->idle_since + pool->timeout;

        if (when > FlLoop_Now(loop) && !FlClientLink_Closed(oldest)) {
            err = FlLoop_Arm(loop, timer, when);
            break;
        }
        err = pool_evict(pool, oldest);
    }
    if (err < 0)
        FlLoop_LogException(loop, "Idle connections could not be closed", NULL);
    Py_DECREF(pool);
    return PyErr_Occurred() ? -1 : 0;
}

/* ---- the Python type ---- */

static PyObject *
pool_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"loop", "max_idle", "idle_timeout", NULL};
    FlPool *self;
    PyObject *loop;
    Py_ssize_t max_idle;
    double seconds;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Ond:ConnectionPool", names, &loop,
                                     &max_idle, &seconds))
        return NULL;
    self = (FlPool *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    FlLoop_InitTimer(&self->timer, pool_expire, NULL);
    self->max_idle = max_idle;
    self->timeout = seconds > 0 ? fl_seconds_to_ns(seconds < 1e9 ? seconds : 1e9) : 0;
    self->st = FlState_OfType(type);
    self->tops = self->st == NULL ? NULL : PyDict_New();
    self->plans = self->tops == NULL ? NULL : PyDict_New();
    self->loop = self->plans == NULL ? NULL : FlLoop_Of(self->st, loop);
    if (self->loop == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int
pool_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlPool *self = (FlPool *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->tops);
    Py_VISIT(self->plans);
    Py_VISIT(self->seen);
    for (FlClientLink *link = self->oldest; link != NULL; link = link->newer)
        Py_VISIT(link);
    return 0;
}

static int
pool_clear(PyObject *op)
{
    FlPool *self = (FlPool *)op;
    FlLoop *loop = self->loop;
    FlClientLink *link = self->oldest;

    self->loop = NULL;
    self->oldest = self->newest = NULL;
    self->count = 0;
    if (loop != NULL) {
        FlLoop_Disarm(loop, &self->timer);
        Py_DECREF(loop);
    }
    if (self->tops != NULL)
        PyDict_Clear(self->tops);
    if (self->plans != NULL)
        PyDict_Clear(self->plans);
    Py_CLEAR(self->seen);
    while (link != NULL) {
        FlClientLink *newer = link->newer;

        link->older = link->newer = link->below = link->above = NULL;
        FlClientLink_Close(link);
        Py_DECREF(link);
        link = newer;
    }
    return 0;
}

static void
pool_dealloc(PyObject *op)
{
    FlPool *self = (FlPool *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject *exc;

    PyObject_GC_UnTrack(op); /* making the exception may call the collector */
    exc = PyErr_GetRaisedException();
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    pool_clear(op);
    Py_XDECREF(self->tops);
    Py_XDECREF(self->plans);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    type->tp_free(op);
    Py_DECREF(type);
}

static Py_ssize_t
pool_length(PyObject *op)
{
    Py_ssize_t n = 0;

    for (FlClientLink *link = ((FlPool *)op)->oldest; link != NULL; link = link->newer)
        n += !FlClientLink_Closed(link);
    return n;
}

static PyObject *
pool_idle(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    FlClientLink *link = ((FlPool *)op)->oldest;

    for (; list != NULL && link != NULL; link = link->newer) {
        if (PyList_Append(list, (PyObject *)link) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *
pool_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Py_INCREF(op);
    pool_clear(op);
    Py_DECREF(op);
    Py_RETURN_NONE;
}

static PyMethodDef pool_methods[] = {
    {"idle", pool_idle, METH_NOARGS, "The links that wait, the oldest one first."},
    {"close", pool_close, METH_NOARGS,
     "Close every idle link, and keep none any more."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef pool_members[] = {
    {"max_idle", T_PYSSIZET, offsetof(FlPool, max_idle), 0, "How many links may wait."},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlPool, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(pool_doc,
             "ConnectionPool(loop, max_idle, idle_timeout)\n--\n\n"
             "A client's idle connections. max_idle 0 keeps none; idle_timeout is in\n"
             "seconds. len() counts those that are still open.");

static PyType_Slot pool_slots[] = {
    {Py_tp_doc, (void *)pool_doc},
    {Py_tp_new, pool_new},
    {Py_tp_dealloc, pool_dealloc},
    {Py_tp_traverse, pool_traverse},
    {Py_tp_clear, pool_clear},
    {Py_tp_methods, pool_methods},
    {Py_tp_members, pool_members},
    {Py_sq_length, pool_length},
    {0, NULL},
};

static PyType_Spec pool_spec = {
    .name = "pyfastloop._core.ConnectionPool",
    .basicsize = sizeof(FlPool),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = pool_slots,
};

int
FlConnectionPool_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->ConnectionPool_type, &pool_spec, NULL, false);
}
