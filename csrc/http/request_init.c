/* request_init.c -- HTTPServerRequest(...): a request that a program makes by hand.
 *
 * Host and the number of query fields are checked as they are for a peer's head. There
 * is no head block: what is given is stored, and path, query, host and the peer are made
 * of it at once, so that no maker need look at anything but the attributes.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/request_parts.h"

#include <string.h>

#include "http/functions.h"
#include "proto/host.h"
#include "proto/uri.h"
#include "sys/clock.h"

/* Host as it is asked for where the request was made by hand. New reference. */
static PyObject *
checked_host(FlHTTPServerRequest *self)
{
    FlHTTPHeaders *headers = (FlHTTPHeaders *)self->headers;
    PyObject *value;
    Py_ssize_t n;
    const char *p;
    int32_t at;

    if (!FlHTTPHeaders_Check(self->st, self->headers)) {
        value = PyObject_CallMethod(self->headers, "get", "ss", "Host", "127.0.0.1");
        return value;
    }
    at = FlHTTPHeaders_FindId(headers, FL_H_HOST);
    if (at < 0) {
        if (PyUnicode_CompareWithASCIIString(self->version, "HTTP/1.1") == 0)
            return FlHTTP_InputError(self->st, "Missing Host header");
        return PyUnicode_FromString("127.0.0.1");
    }
    value = FlHTTPHeaders_Joined(headers, at);
    if (value == NULL)
        return NULL;
    p = PyUnicode_AsUTF8AndSize(value, &n);
    if (p != NULL && memchr(p, ',', (size_t)n) != NULL)
        FlHTTP_InputError(self->st, "Multiple host headers not allowed: %R", value);
    else if (p != NULL && !fl_host_valid(fl_span_make(p, (size_t)n)))
        FlHTTP_InputError(self->st, "Invalid Host header: %R", value);
    if (PyErr_Occurred())
        Py_CLEAR(value);
    return value;
}

Py_ssize_t
FlRequest_Authority(PyObject *uri, fl_span *authority)
{
    Py_ssize_t n;
    const char *p = PyUnicode_AsUTF8AndSize(uri, &n);
    fl_span name;
    size_t stop;

    if (p == NULL)
        return -1;
    stop = fl_uri_authority(fl_span_make(p, (size_t)n), authority);
    if (stop > 0 && (!fl_host_split(*authority, &name, NULL) || name.n == 0))
        return 0;
    return (Py_ssize_t)stop; /* of ASCII so far: bytes are characters */
}

/* Path and query, and the host of a URI in absolute form. 0 or -1. */
static int
split_uri(FlHTTPServerRequest *self, bool host_given)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(self->uri);
    fl_span authority;
    Py_ssize_t from = FlRequest_Authority(self->uri, &authority);
    Py_ssize_t mark = PyUnicode_FindChar(self->uri, '?', 0, n, 1);
    PyObject *bytes;
    int err;

    if (mark == -2 || from < 0)
        return -1;
    if (mark < 0)
        mark = n;
    if (from > 0 && !host_given)
        Py_XSETREF(self->host,
                   PyUnicode_FromStringAndSize(authority.p, (Py_ssize_t)authority.n));
    self->path = from > 0 && from == mark ? PyUnicode_FromString("/")
                                          : PyUnicode_Substring(self->uri, from, mark);
    self->query = PyUnicode_Substring(self->uri, mark < n ? mark + 1 : n, n);
    if (self->path == NULL || self->query == NULL || self->host == NULL)
        return -1;
    bytes = PyUnicode_AsLatin1String(self->query);
    if (bytes == NULL)
        return -1;
    err = FlRequest_CheckQuery(self->st, fl_span_make(PyBytes_AS_STRING(bytes),
                                                      (size_t)PyBytes_GET_SIZE(bytes)));
    Py_DECREF(bytes);
    return err;
}

static PyObject *
given_or(PyObject *given, const char *fallback)
{
    return given == NULL || given == Py_None ? PyUnicode_FromString(fallback)
                                             : Py_NewRef(given);
}

static PyObject *
given_or_null(PyObject *given)
{
    return given == Py_None ? NULL : Py_XNewRef(given);
}

int
FlRequest_Init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "method", "uri",        "version",    "headers",           "body", "host",
        "files",  "connection", "start_line", "server_connection", NULL};
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyObject *method = NULL, *uri = NULL, *version = NULL, *headers = NULL,
             *body = NULL, *host = NULL, *files = NULL, *connection = NULL,
             *start_line = NULL, *server = NULL;
    bool host_given;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOOOOOOOOO:HTTPServerRequest",
                                     names, &method, &uri, &version, &headers, &body,
                                     &host, &files, &connection, &start_line, &server))
        return -1;
    if (start_line != NULL && start_line != Py_None &&
        (!PyTuple_Check(start_line) ||
         !PyArg_ParseTuple(start_line, "OOO:start_line", &method, &uri, &version))) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "start_line is no RequestStartLine");
        return -1;
    }
    Py_XSETREF(self->method, given_or(method, "GET"));
    Py_XSETREF(self->uri, given_or(uri, "/"));
    Py_XSETREF(self->version, given_or(version, "HTTP/1.0"));
    Py_XSETREF(self->headers, headers == NULL || headers == Py_None
                                  ? FlHTTPHeaders_New(self->st)
                                  : Py_NewRef(headers));
    Py_XSETREF(self->body, given_or_null(body));
    Py_XSETREF(self->files, given_or_null(files));
    Py_XSETREF(self->connection, given_or_null(connection));
    Py_XSETREF(self->server_connection, given_or_null(server));
    Py_CLEAR(self->path);
    Py_CLEAR(self->query);
    self->started = fl_clock_monotonic();
    if (self->method == NULL || self->uri == NULL || self->version == NULL ||
        self->headers == NULL)
        return -1;
    if (!PyUnicode_Check(self->uri) || !PyUnicode_Check(self->version)) {
        PyErr_SetString(PyExc_TypeError, "uri and version are str");
        return -1;
    }
    host_given = host != NULL && host != Py_None && PyObject_IsTrue(host);
    Py_XSETREF(self->host, host_given ? Py_NewRef(host) : checked_host(self));
    if (self->host == NULL || split_uri(self, host_given) < 0)
        return -1;
    /* Now, not when asked: a proxy's headers hold for this request alone. */
    return FlHTTPServerRequest_TakePeer(self);
}
