/* fetch.c -- AsyncHTTPClient.fetch, and a client's slots.
 *
 *      fetch(url, ...)
 *        |  a request, a future
 *        |-- fetch_impl is a program's --> fetch_impl(request, future.deliver)
 *        v
 *      a slot is free --> FlFetch_Start --> exchange.c ... --> FlFetchFuture_Deliver
 *        |  no                                 FlFetch_Release --> the next one
 *        `--> the client's queue (Python), which comes back by Exchange._start
 *
 * The methods are of a type without a state of its own, which the Python classes have as
 * a base: HTTPClientMethods. What a program may replace or change stays where Tornado has
 * it, in attributes of the client (active, queue, max_clients, defaults), and is read
 * for each fetch.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

#include "core/args.h"

/* ---- slots ---- */

/* The client's dict of exchanges that have a slot; new reference. */
static PyObject *
active_of(FlState *st, PyObject *client)
{
    PyObject *active = PyObject_GetAttr(client, st->str_active);

    if (active != NULL && !PyDict_Check(active)) {
        PyErr_SetString(PyExc_TypeError, "the client's `active` is a dict");
        Py_CLEAR(active);
    }
    return active;
}

/* The loop holds a client that is at work, as it holds a stream that is read: whoever
 * waits for a callback need not hold the client. 0 or -1. */
static int
at_work(FlState *st, PyObject *client, bool yes)
{
    PyObject *set = PyObject_GetAttr(client, st->str__at_work);
    int err = set == NULL ? -1
              : yes       ? PySet_Add(set, client)
                          : PySet_Discard(set, client);

    Py_XDECREF(set);
    return err < 0 ? -1 : 0;
}

int
FlFetch_Release(FlExchange *self)
{
    FlState *st = self->st;
    PyObject *client = self->client, *active, *queue, *result;
    Py_ssize_t waiting;
    int err = -1;

    if (!self->counted)
        return 0;
    self->counted = false;
    Py_INCREF(client);
    active = active_of(st, client);
    queue = active == NULL ? NULL : PyObject_GetAttr(client, st->str_queue);
    if (queue == NULL)
        goto done;
    if (PyDict_DelItem(active, (PyObject *)self) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError))
            goto done;
        PyErr_Clear(); /* a program took it out */
    }
    waiting = PyObject_Size(queue);
    if (waiting > 0) {
        result = PyObject_CallMethodNoArgs(client, st->str__process_queue);
        if (result == NULL)
            goto done;
        Py_DECREF(result);
    }
    if (waiting >= 0 &&
        (PyDict_GET_SIZE(active) > 0 || at_work(st, client, false) == 0))
        err = 0;
done:
    Py_XDECREF(active);
    Py_XDECREF(queue);
    Py_DECREF(client);
    return err;
}

/* The seconds of a limit of the request; 0: none. -1 with an exception. */
static double
limit_of(FlExchange *self, PyObject *name)
{
    PyObject *value = FlExchange_Value(self, name);
    double seconds;

    if (value == NULL)
        return -1;
    seconds = value == Py_None ? 0 : PyFloat_AsDouble(value);
    Py_DECREF(value);
    if (seconds == -1 && PyErr_Occurred())
        return -1;
    return seconds > 0 ? seconds : 0;
}

/* Takes the slot and sets the limits, unless a property of the request ends it. 0 or
 * -1. escapes */
static int
take_slot(FlExchange *self)
{
    FlState *st = self->st;
    PyObject *active = active_of(st, self->client), *result;
    double idle, since;

    if (active == NULL)
        return -1;
    if ((PyDict_GET_SIZE(active) == 0 && at_work(st, self->client, true) < 0) ||
        PyDict_SetItem(active, (PyObject *)self, (PyObject *)self) < 0) {
        Py_DECREF(active);
        return -1;
    }
    Py_DECREF(active);
    self->counted = true;
    if (self->future != NULL)
        Py_XSETREF(self->future->underway, Py_NewRef(self));
    self->start_time = (double)fl_clock_monotonic() * 1e-9;
    self->start_wall_time = (double)fl_clock_wall() * 1e-9;
    self->limit = limit_of(self, st->str_request_timeout);
    if (self->limit < 0)
        return -1;
    if (self->limit > 0 && !self->finished) {
        since = self->queued_at > 0 ? self->queued_at : self->start_time;
        if (FlLoop_Arm(self->loop, &self->deadline,
                       fl_seconds_to_ns(since + self->limit)) < 0)
            return -1;
    }
    idle = limit_of(self, st->str_inactivity_timeout);
    if (idle <= 0 || self->finished)
        return idle < 0 ? -1 : 0;
    result = PyObject_CallMethod((PyObject *)self, "watch_inactivity", "d", idle);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
FlFetch_Start(FlExchange *self)
{
    int err;

    if (self->client == NULL || self->loop == NULL || self->counted || self->finished) {
        PyErr_SetString(PyExc_RuntimeError, "the exchange has no client, or began");
        return -1;
    }
    Py_INCREF(self);
    err = take_slot(self) < 0 ? FlExchange_FailRaised(self) : FlExchange_Begin(self);
    Py_DECREF(self);
    return err;
}

/* Whether one more request may begin. 1, 0 or -1. */
static int
has_room(FlState *st, PyObject *client)
{
    PyObject *queue = PyObject_GetAttr(client, st->str_queue), *most = NULL, *active;
    PyObject *now = NULL;
    Py_ssize_t waiting = queue == NULL ? -1 : PyObject_Size(queue);
    int yes = waiting < 0 ? -1 : waiting == 0;

    Py_XDECREF(queue);
    if (yes <= 0)
        return yes;
    active = active_of(st, client);
    most = active == NULL ? NULL : PyObject_GetAttr(client, st->str_max_clients);
    now = most == NULL ? NULL : PyLong_FromSsize_t(PyDict_GET_SIZE(active));
    yes = now == NULL ? -1 : PyObject_RichCompareBool(now, most, Py_LT);
    Py_XDECREF(active);
    Py_XDECREF(most);
    Py_XDECREF(now);
    return yes;
}

static void
refuse_closed(void)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "fetch() on a closed AsyncHTTPClient: close() was called on it");
}

/* Begins or queues. The exchange has its request and whoever waits for it. 0 or -1.
 * escapes */
static int
submit(FlExchange *self, PyObject *client)
{
    FlState *st = self->st;
    PyObject *pool = PyObject_GetAttr(client, st->str_pool), *result;
    int room;

    if (pool == NULL)
        return -1;
    if (!FlPool_Check(st, pool) || ((FlPool *)pool)->loop == NULL) {
        refuse_closed();
        Py_DECREF(pool);
        return -1;
    }
    self->pool = (FlPool *)pool;
    self->loop = (FlLoop *)Py_NewRef(self->pool->loop);
    self->client = Py_NewRef(client);
    room = has_room(st, client);
    if (room < 0)
        return -1;
    if (room)
        return FlFetch_Start(self);
    if (self->future != NULL)
        Py_XSETREF(self->future->underway, Py_NewRef(self));
    result = PyObject_CallMethodOneArg(client, st->str__enqueue, (PyObject *)self);
    Py_XDECREF(result);
    return result == NULL ? FlExchange_FailRaised(self) : 0;
}

/* ---- the methods of clients ---- */

/* Takes the request as it was given, and `defaults` (stolen; NULL: an exception). 0 or
 * -1. */
static int
take_whole(FlExchange *self, PyObject *request, PyObject *defaults)
{
    self->given = Py_NewRef(request);
    self->original_request = Py_NewRef(request);
    self->defaults = defaults;
    return defaults == NULL ? -1 : 0;
}

/* Takes the request that a fetch_impl was called with. A _RequestProxy on which a program
 * has set something (headers, mostly) is sent as it is now. 0 or -1. escapes */
static int
take_request(FlExchange *self, PyObject *client, PyObject *request)
{
    FlState *st = self->st;
    PyObject *type =
        FlState_Lazy(st, &st->RequestProxy, "pyfastloop.httpclient", "_RequestProxy");
    PyObject *own;

    if (type == NULL)
        return -1;
    if (!PyObject_TypeCheck(request, (PyTypeObject *)type))
        return take_whole(self, request, PyObject_GetAttr(client, st->str_defaults));
    self->original_request = PyObject_GetAttr(request, st->str_request);
    self->defaults = PyObject_GetAttr(request, st->str_defaults);
    own = PyObject_GenericGetDict(request, NULL);
    if (self->original_request == NULL || self->defaults == NULL || own == NULL) {
        Py_XDECREF(own);
        return -1;
    }
    if (PyDict_GET_SIZE(own) > 2) /* request and defaults */
        self->given = PyObject_CallMethodNoArgs(request, st->str__as_changed);
    else
        self->given = Py_NewRef(self->original_request);
    Py_DECREF(own);
    return self->given == NULL ? -1 : 0;
}

/* SimpleAsyncHTTPClient.fetch_impl, as it is called from outside. */
static PyObject *
client_fetch_impl(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    static const char *const names[] = {"request", "callback"};
    FlState *st = FlState_OfType(Py_TYPE(self));
    PyObject *callback;
    FlExchange *exchange;
    int err;

    if (nargs < 2)
        return FlArgs_Retry("fetch_impl", self, args, nargs, kw, client_fetch_impl,
                            names, 2);
    if (nargs > 2 || kw != NULL) {
        PyErr_SetString(PyExc_TypeError, "fetch_impl() takes request and callback");
        return NULL;
    }
    exchange = FlExchange_New(st);
    if (exchange == NULL)
        return NULL;
    err = take_request(exchange, self, args[0]);
    callback = args[1];
    exchange->future = FlFetchFuture_OfCallback(callback);
    if (exchange->future == NULL)
        exchange->final_callback = Py_NewRef(callback);
    if (err == 0)
        err = submit(exchange, self);
    Py_DECREF(exchange);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The HTTPRequest of a call: `asked` is one, or a URL that `rest` (a dict, NULL: empty)
 * goes with. New reference. escapes */
static PyObject *
request_of(FlState *st, PyObject *asked, PyObject *rest)
{
    PyObject *type =
        FlState_Lazy(st, &st->HTTPRequest, "pyfastloop.httpclient", "HTTPRequest");
    PyObject *args, *request, *names, *text;
    int is_one;

    if (type == NULL)
        return NULL;
    is_one = PyUnicode_CheckExact(asked) ? 0 : PyObject_IsInstance(asked, type);
    if (is_one < 0)
        return NULL;
    if (is_one && rest == NULL)
        return Py_NewRef(asked);
    if (!is_one && rest == NULL)
        return PyObject_CallOneArg(type, asked);
    if (!is_one) {
        args = PyTuple_Pack(1, asked);
        request = args == NULL ? NULL : PyObject_Call(type, args, rest);
        Py_XDECREF(args);
        return request;
    }
    names = PyDict_Keys(rest);
    text = names == NULL || PyList_Sort(names) < 0 ? NULL : PyObject_Repr(names);
    if (text != NULL)
        PyErr_Format(PyExc_ValueError,
                     "kwargs can't be used if request is an HTTPRequest object; got %U",
                     text);
    Py_XDECREF(names);
    Py_XDECREF(text);
    return NULL;
}

/* fetch_impl of the client's class: 1 when it is the one above, 0 when it is another,
 * which is given then; or -1. */
static int
impl_of(FlState *st, PyObject *client, PyObject **out)
{
    PyObject *impl = PyObject_GetAttr(client, st->str_fetch_impl);

    *out = NULL;
    if (impl == NULL)
        return -1;
    if (PyCFunction_Check(impl) && PyCFunction_GET_SELF(impl) == client &&
        PyCFunction_GET_FUNCTION(impl) ==
            (PyCFunction)(void (*)(void))client_fetch_impl) {
        Py_DECREF(impl);
        return 1;
    }
    *out = impl;
    return 0;
}

/* Hands the request on to whoever implements the client. 0 or -1. escapes */
static int
hand_over(FlState *st, PyObject *client, PyObject *request, PyObject *future)
{
    PyObject *defaults = PyObject_GetAttr(client, st->str_defaults), *impl = NULL;
    PyObject *proxy = NULL, *deliver = NULL, *result = NULL, *type;
    FlExchange *exchange;
    int ours = defaults == NULL ? -1 : impl_of(st, client, &impl), err = -1;

    if (ours == 1) {
        exchange = FlExchange_New(st);
        if (exchange != NULL) {
            exchange->future = (FlFetchFuture *)Py_NewRef(future);
            err = take_whole(exchange, request, Py_NewRef(defaults));
            if (err == 0)
                err = submit(exchange, client);
            Py_DECREF(exchange);
        }
    } else if (ours == 0) {
        type = FlState_Lazy(st, &st->RequestProxy, "pyfastloop.httpclient",
                            "_RequestProxy");
        deliver = PyObject_GetAttr(future, st->str_deliver);
        if (type != NULL && deliver != NULL)
            proxy = PyObject_CallFunctionObjArgs(type, request, defaults, NULL);
        if (proxy != NULL)
            result = PyObject_CallFunctionObjArgs(impl, proxy, deliver, NULL);
        err = result == NULL ? -1 : 0;
    }
    Py_XDECREF(defaults);
    Py_XDECREF(impl);
    Py_XDECREF(proxy);
    Py_XDECREF(deliver);
    Py_XDECREF(result);
    return err;
}

/* The callback of a call: what was given by name, taken out of kwargs, or a callable in
 * the place of raise_error (Tornado 3 and 4). New reference; NULL for none, or with an
 * exception. */
static PyObject *
callback_of(FlState *st, PyObject *raise_error, PyObject *kwargs)
{
    PyObject *callback = NULL;

    if (PyDict_GET_SIZE(kwargs) > 0) {
        callback = Py_XNewRef(PyDict_GetItemWithError(kwargs, st->str_callback));
        if (callback != NULL && PyDict_DelItem(kwargs, st->str_callback) < 0)
            Py_CLEAR(callback);
        if (PyErr_Occurred())
            return NULL;
    }
    if (!PyBool_Check(raise_error) && PyCallable_Check(raise_error))
        Py_XSETREF(callback, Py_NewRef(raise_error));
    if (callback == Py_None)
        Py_CLEAR(callback);
    return callback;
}

/* _fetch(request, raise_error, kwargs): fetch() with its keyword arguments as a dict that
 * nobody else has. */
static PyObject *
client_fetch(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    FlState *st = FlState_OfType(Py_TYPE(self));
    PyObject *callback, *request = NULL, *future = NULL, *result;
    int raise_error, closed, err = -1;

    if (nargs != 3 || !PyDict_CheckExact(args[2])) {
        PyErr_SetString(PyExc_TypeError, "_fetch(request, raise_error, kwargs: dict)");
        return NULL;
    }
    result = PyObject_GetAttr(self, st->str__closed);
    closed = result == NULL ? -1 : PyObject_IsTrue(result);
    Py_XDECREF(result);
    if (closed > 0)
        refuse_closed();
    if (closed != 0)
        return NULL;
    callback = callback_of(st, args[1], args[2]);
    if (callback == NULL && PyErr_Occurred())
        return NULL;
    raise_error = callback != NULL ? 1 : PyObject_IsTrue(args[1]);
    if (raise_error >= 0)
        request =
            request_of(st, args[0], PyDict_GET_SIZE(args[2]) > 0 ? args[2] : NULL);
    future = request == NULL ? NULL : FlFetchFuture_New(st, raise_error != 0);
    if (future == NULL)
        goto done;
    if (callback != NULL) {
        result = PyObject_CallMethodObjArgs(self, st->str__hand_on, request, future,
                                            callback, NULL);
        if (result == NULL)
            goto done;
        Py_DECREF(result);
    }
    err = hand_over(st, self, request, future);
done:
    Py_XDECREF(callback);
    Py_XDECREF(request);
    if (err < 0)
        Py_CLEAR(future);
    return future;
}

PyDoc_STRVAR(client_fetch_impl_doc,
             "_fetch_impl($self, /, request, callback)\n--\n\n"
             "Start *request*, or queue it while ``max_clients`` are under way.");

static PyMethodDef client_methods[] = {
    {"_fetch", (PyCFunction)(void (*)(void))client_fetch, METH_FASTCALL,
     "_fetch($self, request, raise_error, kwargs, /)\n--\n\n"
     "What AsyncHTTPClient.fetch does."},
    {"_fetch_impl", (PyCFunction)(void (*)(void))client_fetch_impl,
     METH_FASTCALL | METH_KEYWORDS, client_fetch_impl_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, "The methods of HTTP clients that C carries; see http/fetch.c."},
    {Py_tp_methods, client_methods},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "pyfastloop._core.HTTPClientMethods",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = client_slots,
};

int
FlHTTPClientMethods_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTPClientMethods_type, &client_spec, NULL,
                           false);
}
