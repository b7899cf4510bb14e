/* exchange.c -- one fetch: from an idle link to the response.
 *
 * Here is the road that nearly every fetch takes whole, and every other one in part:
 *
 *    begin --> plan --+-- idle link ------------------> go --> answer --+--> complete
 *                     |                                                 |
 *    .................|.................................................|............
 *    Python:          `-- _open: resolve, connect, proxy, TLS -> go     |--> _redirect
 *                                                                       `--> _inflate
 *    and, at any time: _fail, abort, the request's time-out
 *
 * What stands below the line is methods of pyfastloop/simple_httpclient/exchange.py, the
 * class that every exchange is of: bodies that are produced or watched piece by piece,
 * redirects, codings, errors and their words. Python comes back into C by `_go`,
 * `_give_back`, `_complete` and `_settle`; there is one way to do each.
 *
 * An exchange ends in exactly one settle (end_bare, where not even a response of failure
 * can be made), after which nothing of it is left on loop, pool or client. While it is
 * unfinished its deadline stands in the loop, and either a link is busy with it, or Python
 * opens one, or the body is inflated between two ticks.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

#define EXCHANGE_MODULE "pyfastloop.simple_httpclient.exchange"

FlExchange *
FlExchange_New(FlState *st)
{
    PyObject *type =
        FlState_Lazy(st, &st->HTTPConnection, EXCHANGE_MODULE, "_HTTPConnection");

    if (type == NULL)
        return NULL;
    return (FlExchange *)((PyTypeObject *)type)
        ->tp_new((PyTypeObject *)type, st->empty_tuple, NULL);
}

/* Calls a method of the Python class that gives nothing. 0 or -1. escapes */
static int
call(FlExchange *self, PyObject *name)
{
    PyObject *result = PyObject_CallMethodNoArgs((PyObject *)self, name);

    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Tells of the current exception, which has no other way to go. 0, or -1: fatal. */
static int
report(FlExchange *self)
{
    if (FlError_IsFatal())
        return -1;
    FlLink_Report(self->st, (PyObject *)self,
                  "Exception in the HTTP client's exchange");
    return 0;
}

/* Ends where not even a response that tells of `why` could be made: the future gets it
 * as it is. 0, or -1: fatal. escapes */
static int
end_bare(FlExchange *self, PyObject *why)
{
    FlFetchFuture *future = self->future;
    FlClientLink *link = self->link;
    int err = 0;

    self->finished = true;
    self->future = NULL;
    self->link = NULL;
    if (self->loop != NULL)
        FlLoop_Disarm(self->loop, &self->deadline);
    if (link != NULL)
        FlClientLink_Close(link);
    Py_XDECREF(link);
    if (self->extras && call(self, self->st->str__end_extras) < 0)
        err = report(self);
    if (err == 0 && FlFetch_Release(self) < 0)
        err = report(self);
    if (err == 0 && future != NULL) {
        Py_CLEAR(future->underway);
        if (FlFuture_SetExceptionUnlessDone((PyObject *)future, why) < 0)
            err = report(self);
    }
    Py_XDECREF(future);
    return err;
}

int
FlExchange_FailRaised(FlExchange *self)
{
    PyObject *exc, *result;
    int err = 0;

    if (FlError_IsFatal())
        return -1;
    if (self->finished)
        return report(self);
    exc = PyErr_GetRaisedException();
    result = PyObject_CallMethodOneArg((PyObject *)self, self->st->str__fail, exc);
    if (result == NULL)
        err = report(self);
    Py_XDECREF(result);
    if (err == 0 && !self->finished)
        err = end_bare(self, exc);
    Py_DECREF(exc);
    return err;
}

/* ---- the request ---- */

PyObject *
FlExchange_Proxy(FlExchange *self)
{
    FlState *st = self->st;
    PyObject *type, *made;

    if (self->proxy != NULL)
        return self->proxy;
    if (self->given == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the exchange has no request yet");
        return NULL;
    }
    type =
        FlState_Lazy(st, &st->RequestProxy, "pyfastloop.httpclient", "_RequestProxy");
    if (type == NULL)
        return NULL;
    made = PyObject_CallFunctionObjArgs(
        type, self->given, self->defaults == NULL ? Py_None : self->defaults, NULL);
    Py_XSETREF(self->proxy, made);
    return made;
}

PyObject *
FlExchange_Value(FlExchange *self, PyObject *name)
{
    PyObject *value = PyObject_GetAttr(self->given, name);

    if (value != Py_None || self->defaults == NULL || !PyDict_Check(self->defaults))
        return value;
    Py_DECREF(value);
    value = PyDict_GetItemWithError(self->defaults, name);
    if (value == NULL && PyErr_Occurred())
        return NULL;
    return Py_NewRef(value == NULL ? Py_None : value);
}

/* ---- sending ---- */

/* max_body_size of the client, or of an exchange without one. 0 or -1. */
static int
max_body_of(FlExchange *self, uint64_t *out)
{
    PyObject *from = self->client == NULL ? (PyObject *)self : self->client;
    PyObject *value = PyObject_GetAttr(from, self->st->str_max_body_size);
    double most;

    if (value == NULL)
        return -1;
    if (PyLong_CheckExact(value)) {
        long long n = PyLong_AsLongLong(value);

        PyErr_Clear();
        *out = n < 0 ? UINT64_MAX : (uint64_t)n;
        Py_DECREF(value);
        return 0;
    }
    most = PyFloat_AsDouble(value);
    Py_DECREF(value);
    if (most == -1.0 && PyErr_Occurred())
        return -1;
    *out = most >= 0 && most < 1e18 ? (uint64_t)most : UINT64_MAX;
    return 0;
}

int
FlExchange_Go(FlExchange *self, FlClientLink *link)
{
    FlOutgoing *out = self->out;
    long flags = out->flags;
    PyObject *result;
    uint64_t most;
    int started;

    if (max_body_of(self, &most) < 0)
        return -1;
    Py_XSETREF(self->link, (FlClientLink *)Py_NewRef(link));
    self->sent_at = (double)fl_clock_monotonic() * 1e-9;
    started =
        FlClientLink_Start(link, (PyObject *)self, out->head,
                           (flags & LINK_UNSENT) != 0 ? NULL : out->body, flags, most);
    if (started < 0)
        return -1;
    if (started == 0) {
        Py_CLEAR(self->link);
        result = PyObject_CallMethodOneArg((PyObject *)self, self->st->str__was_closed,
                                           (PyObject *)link);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    if ((flags & LINK_UNSENT) != 0 && self->link == link)
        return call(self, self->st->str__send_rest);
    return 0;
}

static int
begin(FlExchange *self)
{
    FlOutgoing *out = NULL;
    FlClientLink *link = NULL;
    int err;

    if (self->given == NULL)
        PyErr_SetString(PyExc_RuntimeError, "the exchange has no request yet");
    else
        out = FlOutgoing_Of(self);
    if (out == NULL)
        return -1;
    Py_XSETREF(self->out, out);
    if (self->finished)
        return 0; /* by a property of the request */
    if (out->keep && self->pool != NULL) {
        link = FlPool_Take(self->pool, out->key);
        if (link == NULL && PyErr_Occurred())
            return -1;
    }
    if (link == NULL)
        return call(self, self->st->str__open);
    err = FlExchange_Go(self, link);
    Py_DECREF(link);
    return err;
}

int
FlExchange_Begin(FlExchange *self)
{
    int err;

    if (self->finished)
        return 0;
    Py_INCREF(self);
    err = begin(self);
    if (err < 0)
        err = FlExchange_FailRaised(self);
    Py_DECREF(self);
    return err;
}

/* ---- the answer ---- */

int
FlExchange_GiveBack(FlExchange *self)
{
    FlClientLink *link = self->link;
    int err = 0;

    if (link == NULL)
        return 0;
    self->link = NULL;
    if (self->extras)
        err = call(self, self->st->str__stop_sending);
    if (err == 0 && link->reusable && self->out->keep && self->pool != NULL)
        err = FlPool_Put(self->pool, link);
    else
        FlClientLink_Close(link);
    Py_DECREF(link);
    return err;
}

static bool
is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 ||
           status == 308;
}

/* Whether there is a field of that name. */
static bool
has(FlExchange *self, PyObject *headers, uint8_t id)
{
    return FlHTTPHeaders_Check(self->st, headers) &&
           FlHTTPHeaders_FindId((FlHTTPHeaders *)headers, id) >= 0;
}

static int
answer(FlExchange *self, int status, PyObject *reason, PyObject *headers,
       PyObject *body)
{
    PyObject *result;

    if (self->link == NULL || self->out == NULL)
        return 0; /* ended meanwhile */
    self->head_at = (double)self->link->head_at * 1e-9;
    self->code = status;
    Py_XSETREF(self->reason, Py_NewRef(reason));
    Py_XSETREF(self->headers, Py_NewRef(headers));
    if (FlExchange_GiveBack(self) < 0)
        return -1;
    if (is_redirect(status) && has(self, headers, FL_H_LOCATION)) {
        result = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str__redirected);
        Py_XDECREF(result);
        if (result == NULL || result == Py_True)
            return result == NULL ? -1 : 0;
    }
    if (self->out->decompress && has(self, headers, FL_H_CONTENT_ENCODING)) {
        result =
            PyObject_CallMethodOneArg((PyObject *)self, self->st->str__inflate, body);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    return FlExchange_Complete(self, body);
}

int
FlExchange_Answer(PyObject *op, int status, PyObject *reason, PyObject *headers,
                  PyObject *body)
{
    FlExchange *self = (FlExchange *)op;
    int err;

    Py_INCREF(self);
    err = answer(self, status, reason, headers, body);
    if (err < 0)
        err = FlExchange_FailRaised(self);
    Py_DECREF(self);
    return err;
}

/* ---- the response ---- */

/* The reason of the answer, or what a status of its number is called. New reference. */
static PyObject *
reason_of(FlExchange *self)
{
    FlState *st = self->st;
    PyObject *table;

    if (self->reason != NULL && PyUnicode_Check(self->reason) &&
        PyUnicode_GET_LENGTH(self->reason) > 0)
        return Py_NewRef(self->reason);
    table = FlState_Lazy(st, &st->responses, "pyfastloop.httputil", "responses");
    if (table == NULL)
        return NULL;
    return PyObject_CallMethod(table, "get", "is", self->code, "Unknown");
}

/* What time_info is made of when it is asked for: see httpclient.HTTPResponse. */
static PyObject *
marks_of(FlExchange *self, double asked_at, double end)
{
    const double times[] = {self->start_wall_time - asked_at,
                            self->start_time,
                            self->redirect_seconds,
                            0 /* opened */,
                            self->sent_at,
                            self->head_at,
                            end};
    PyObject *marks = PyTuple_New(7);

    for (Py_ssize_t i = 0; marks != NULL && i < 7; i++) {
        PyObject *mark = PyFloat_FromDouble(times[i]);

        if (i == 3)
            Py_XSETREF(mark, Py_NewRef(self->opened == NULL ? Py_None : self->opened));
        if (mark == NULL)
            Py_CLEAR(marks);
        else
            PyTuple_SET_ITEM(marks, i, mark);
    }
    return marks;
}

/* The HTTPResponse of the answer; what its class does not say differently. */
static PyObject *
make_response(FlExchange *self, PyObject *body)
{
    FlState *st = self->st;
    PyObject *type =
        FlState_Lazy(st, &st->HTTPResponse, "pyfastloop.httpclient", "HTTPResponse");
    double end = (double)fl_clock_monotonic() * 1e-9, asked_at;
    PyObject *response, *value;

    if (type == NULL)
        return NULL;
    value = PyObject_GetAttr(self->original_request, st->str_start_time);
    asked_at = value == NULL ? -1 : PyFloat_AsDouble(value);
    Py_XDECREF(value);
    if (asked_at == -1 && PyErr_Occurred())
        return NULL;
    response =
        ((PyTypeObject *)type)->tp_new((PyTypeObject *)type, st->empty_tuple, NULL);
    if (response == NULL)
        return NULL;
    if (PyObject_SetAttr(response, st->str_request, self->original_request) < 0 ||
        FlHTTP_SetNew(response, st->str_code, PyLong_FromLong(self->code)) < 0 ||
        FlHTTP_SetNew(response, st->str_reason, reason_of(self)) < 0 ||
        PyObject_SetAttr(response, st->str_headers, self->headers) < 0 ||
        PyObject_SetAttr(response, st->str_effective_url, self->out->url) < 0 ||
        FlHTTP_SetNew(response, st->str_start_time,
                      PyFloat_FromDouble(self->start_wall_time)) < 0 ||
        FlHTTP_SetNew(response, st->str_request_time,
                      PyFloat_FromDouble(end - self->start_time)) < 0 ||
        PyObject_SetAttr(response, st->str__body, body) < 0 ||
        FlHTTP_SetNew(response, st->str__marks, marks_of(self, asked_at, end)) < 0 ||
        ((self->code < 200 || self->code >= 300) &&
         PyObject_SetAttr(response, st->str__error_is_response_code, Py_True) < 0))
        Py_CLEAR(response);
    return response;
}

int
FlExchange_Complete(FlExchange *self, PyObject *body)
{
    PyObject *response;
    int err;

    if (self->finished)
        return 0;
    if (self->out == NULL || self->headers == NULL || self->original_request == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no answer has come yet");
        return -1;
    }
    response = make_response(self, body);
    if (response == NULL)
        return -1;
    err = FlExchange_Settle(self, response, self->code >= 200 && self->code < 300);
    Py_DECREF(response);
    return err;
}

int
FlExchange_Settle(FlExchange *self, PyObject *response, bool good)
{
    FlFetchFuture *future = self->future;
    PyObject *callback = self->final_callback;
    PyObject *release = self->release_callback, *result;
    int err = 0;

    if (self->finished)
        return 0;
    self->finished = true;
    self->future = NULL;
    self->final_callback = self->release_callback = NULL;
    if (self->loop != NULL)
        FlLoop_Disarm(self->loop, &self->deadline);
    /* What fails on the way is told; the caller gets the response nevertheless. */
    if (self->extras && call(self, self->st->str__end_extras) < 0)
        err = FlExchange_FailRaised(self);
    if (err == 0 && FlFetch_Release(self) < 0)
        err = FlExchange_FailRaised(self);
    if (err == 0 && release != NULL && release != Py_None) {
        result = PyObject_CallNoArgs(release);
        err = result == NULL ? FlExchange_FailRaised(self) : 0;
        Py_XDECREF(result);
    }
    if (err == 0 && future != NULL) {
        err = FlFetchFuture_Deliver(future, response, good);
    } else if (err == 0 && callback != NULL && callback != Py_None) {
        result = PyObject_CallOneArg(callback, response);
        Py_XDECREF(result);
        err = result == NULL ? -1 : 0;
    }
    Py_XDECREF(future);
    Py_XDECREF(callback);
    Py_XDECREF(release);
    return err;
}

int
FlExchange_Expired(FlLoop *Py_UNUSED(loop), fl_loop_timer *timer)
{
    FlExchange *self = (FlExchange *)((char *)timer - offsetof(FlExchange, deadline));
    PyObject *result;
    int err = 0;

    Py_INCREF(self);
    result = PyObject_CallMethod((PyObject *)self, "on_timeout", "sd",
                                 "request_timeout", self->limit);
    Py_XDECREF(result);
    if (result == NULL)
        err = FlExchange_FailRaised(self);
    Py_DECREF(self);
    return err;
}
