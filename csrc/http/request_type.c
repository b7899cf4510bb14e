/* request_type.c -- HTTPServerRequest as Python sees it.
 *
 * Every attribute is a slot of the struct, a maker that fills it on first reading
 * (request_fields.c), and a setter that replaces it; one table (request_getset) says
 * which is which.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/request_parts.h"

#include "sys/clock.h"

static PyObject *
request_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlHTTPServerRequest *self = (FlHTTPServerRequest *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self == NULL)
        return NULL;
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static int
request_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    /* Any object may be put in the place of a text. */
    Py_VISIT(self->method);
    Py_VISIT(self->uri);
    Py_VISIT(self->version);
    Py_VISIT(self->path);
    Py_VISIT(self->query);
    Py_VISIT(self->body);
    Py_VISIT(self->host);
    Py_VISIT(self->host_name);
    Py_VISIT(self->remote_ip);
    Py_VISIT(self->protocol);
    Py_VISIT(self->headers);
    Py_VISIT(self->arguments);
    Py_VISIT(self->query_arguments);
    Py_VISIT(self->body_arguments);
    Py_VISIT(self->files);
    Py_VISIT(self->cookies);
    Py_VISIT(self->connection);
    Py_VISIT(self->server_connection);
    return 0;
}

static int
request_clear(PyObject *op)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);

    Py_CLEAR(self->dict);
    Py_CLEAR(self->method);
    Py_CLEAR(self->uri);
    Py_CLEAR(self->version);
    Py_CLEAR(self->path);
    Py_CLEAR(self->query);
    Py_CLEAR(self->body);
    Py_CLEAR(self->host);
    Py_CLEAR(self->host_name);
    Py_CLEAR(self->remote_ip);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->arguments);
    Py_CLEAR(self->query_arguments);
    Py_CLEAR(self->body_arguments);
    Py_CLEAR(self->files);
    Py_CLEAR(self->cookies);
    Py_CLEAR(self->connection);
    Py_CLEAR(self->server_connection);
    return 0;
}

static void
request_dealloc(PyObject *op)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    request_clear(op);
    Py_CLEAR(self->start_time);
    FlHeadBlock_Release(self->block);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- methods ---- */

static PyObject *
request_parse_body(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (FlRequest_ParseBody(FlRequest_Cast(self)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
request_full_url(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyObject *protocol = FlRequest_Get(self, &self->protocol, FlRequest_MakeProtocol);
    PyObject *host = FlRequest_Get(self, &self->host, FlRequest_MakeHost);
    PyObject *uri = FlRequest_Get(self, &self->uri, FlRequest_MakeURI);
    PyObject *url = NULL;
    fl_span authority;
    Py_ssize_t whole = -1;

    (void)unused;
    if (protocol != NULL && host != NULL && uri != NULL)
        whole = PyUnicode_Check(uri) ? FlRequest_Authority(uri, &authority) : 0;
    if (whole > 0)
        url = Py_NewRef(uri);
    else if (whole == 0)
        url = PyUnicode_FromFormat("%S://%S%S", protocol, host, uri);
    Py_XDECREF(protocol);
    Py_XDECREF(host);
    Py_XDECREF(uri);
    return url;
}

static PyObject *
request_time(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    uint64_t end = self->finished ? self->finished : fl_clock_monotonic();

    (void)unused;
    return PyFloat_FromDouble((double)(end - self->started) / 1e9);
}

static PyObject *
request_supports_1_1(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyObject *version = FlRequest_Get(self, &self->version, FlRequest_MakeVersion);
    bool newer = false;

    (void)unused;
    if (version == NULL)
        return NULL;
    newer = PyUnicode_Check(version) &&
            PyUnicode_CompareWithASCIIString(version, "HTTP/1.1") == 0;
    Py_DECREF(version);
    return PyBool_FromLong(newer);
}

static PyObject *
request_certificate(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"binary_form", NULL};
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyObject *binary = Py_False, *stream, *socket, *certificate = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:get_ssl_certificate", names,
                                     &binary))
        return NULL;
    if (self->connection == NULL)
        Py_RETURN_NONE;
    stream = PyObject_GetAttrString(self->connection, "stream");
    socket = stream == NULL ? NULL : PyObject_GetAttrString(stream, "socket");
    if (socket != NULL)
        certificate = PyObject_CallMethod(socket, "getpeercert", "O", binary);
    Py_XDECREF(stream);
    Py_XDECREF(socket);
    return certificate;
}

/* Tornado 3 and 4: the request forwards to its connection. */
static PyObject *
request_write(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"chunk", "callback", NULL};
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyObject *chunk, *callback = Py_None, *future, *done = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:write", names, &chunk,
                                     &callback))
        return NULL;
    if (self->connection == NULL)
        return PyErr_Format(PyExc_RuntimeError, "the request has no connection");
    future = PyObject_CallMethod(self->connection, "write", "O", chunk);
    if (future != NULL && callback != Py_None) {
        PyObject *hook = FlState_Lazy(self->st, &self->st->call_when_done,
                                      "pyfastloop.httputil", "_call_when_done");

        done = hook == NULL
                   ? NULL
                   : PyObject_CallFunctionObjArgs(hook, future, callback, NULL);
        if (done == NULL)
            Py_CLEAR(future);
        Py_XDECREF(done);
    }
    return future;
}

static PyObject *
request_finish(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);

    (void)unused;
    if (self->connection == NULL)
        return PyErr_Format(PyExc_RuntimeError, "the request has no connection");
    self->finished = fl_clock_monotonic();
    return PyObject_CallMethod(self->connection, "finish", NULL);
}

static PyObject *
request_repr(PyObject *op)
{
    static const char *const names[] = {"protocol", "host",    "method",
                                        "uri",      "version", "remote_ip"};
    PyObject *parts = PyList_New(0), *comma = PyUnicode_FromString(", ");
    PyObject *inner = NULL, *text = NULL;

    for (size_t i = 0; parts != NULL && i < Py_ARRAY_LENGTH(names); i++) {
        PyObject *value = PyObject_GetAttrString(op, names[i]);
        PyObject *part =
            value == NULL ? NULL : PyUnicode_FromFormat("%s=%R", names[i], value);

        if (part == NULL || PyList_Append(parts, part) < 0)
            Py_CLEAR(parts);
        Py_XDECREF(value);
        Py_XDECREF(part);
    }
    if (parts != NULL && comma != NULL)
        inner = PyUnicode_Join(comma, parts);
    if (inner != NULL) {
        PyObject *name = PyType_GetName(Py_TYPE(op));

        text = name == NULL ? NULL : PyUnicode_FromFormat("%U(%U)", name, inner);
        Py_XDECREF(name);
    }
    Py_XDECREF(parts);
    Py_XDECREF(comma);
    Py_XDECREF(inner);
    return text;
}

/* ---- attributes ---- */

typedef struct {
    size_t slot;
    FlRequestMaker *make;
} request_field;

static PyObject **
field_slot(FlHTTPServerRequest *self, const request_field *field)
{
    return (PyObject **)((char *)self + field->slot);
}

static PyObject *
field_get(PyObject *op, void *closure)
{
    const request_field *field = closure;
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    PyObject **slot = field_slot(self, field);

    if (field->make == NULL)
        return Py_NewRef(*slot == NULL ? Py_None : *slot);
    return FlRequest_Get(self, slot, field->make);
}

static int
field_set(PyObject *op, PyObject *value, void *closure)
{
    const request_field *field = closure;
    PyObject **slot = field_slot(FlRequest_Cast(op), field);

    if (value == NULL && *slot == NULL && field->make == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute is not set");
        return -1;
    }
    if (field->make == NULL && value == Py_None)
        value = NULL;
    if (slot == &FlRequest_Cast(op)->body)
        FlRequest_Cast(op)->form_read = false;
    Py_XSETREF(*slot, Py_XNewRef(value));
    return 0;
}

static double
wall_seconds(void)
{
    return (double)fl_clock_wall() / 1e9;
}

static PyObject *
get_start_time(PyObject *op, void *closure)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    double ago;

    (void)closure;
    if (self->start_time != NULL)
        return Py_NewRef(self->start_time);
    ago = (double)(fl_clock_monotonic() - self->started) / 1e9;
    self->start_time = PyFloat_FromDouble(wall_seconds() - ago);
    return Py_XNewRef(self->start_time);
}

static int
set_start_time(PyObject *op, PyObject *value, void *closure)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);
    double at = value == NULL ? wall_seconds() : PyFloat_AsDouble(value);
    double ago;

    (void)closure;
    if (at == -1.0 && PyErr_Occurred())
        return -1;
    ago = wall_seconds() - at;
    if (ago >= 0 && ago < (double)fl_clock_monotonic() / 1e9)
        self->started = fl_clock_monotonic() - (uint64_t)(ago * 1e9);
    Py_XSETREF(self->start_time, PyFloat_FromDouble(at));
    return self->start_time == NULL ? -1 : 0;
}

static PyObject *
get_finish_time(PyObject *op, void *closure)
{
    FlHTTPServerRequest *self = FlRequest_Cast(op);

    (void)closure;
    if (self->finished == 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(wall_seconds() -
                              (double)(fl_clock_monotonic() - self->finished) / 1e9);
}

#define FIELDS(X)                                    \
    X(method, FlRequest_MakeMethod)                  \
    X(uri, FlRequest_MakeURI)                        \
    X(version, FlRequest_MakeVersion)                \
    X(path, FlRequest_MakePath)                      \
    X(query, FlRequest_MakeQuery)                    \
    X(headers, FlRequest_MakeHeaders)                \
    X(body, FlRequest_MakeBody)                      \
    X(host, FlRequest_MakeHost)                      \
    X(host_name, FlRequest_MakeHostName)             \
    X(remote_ip, FlRequest_MakeRemoteIP)             \
    X(protocol, FlRequest_MakeProtocol)              \
    X(arguments, FlRequest_MakeArguments)            \
    X(query_arguments, FlRequest_MakeQueryArguments) \
    X(body_arguments, FlRequest_MakeDict)            \
    X(files, FlRequest_MakeDict)                     \
    X(connection, NULL)                              \
    X(server_connection, NULL)

enum {
#define X(name, make) FIELD_##name,
    FIELDS(X)
#undef X
        FIELD_cookies
};

static const request_field request_fields[] = {
#define X(name, make) {offsetof(FlHTTPServerRequest, name), make},
    FIELDS(X)
#undef X
        {offsetof(FlHTTPServerRequest, cookies), FlRequest_MakeCookies},
};

static PyGetSetDef request_getset[] = {
#define X(name, make) \
    {#name, field_get, field_set, NULL, (void *)&request_fields[FIELD_##name]},
    FIELDS(X)
#undef X
        {"cookies", field_get, NULL,
         PyDoc_STR("The request's cookies, a SimpleCookie."),
         (void *)&request_fields[FIELD_cookies]},
    {"_start_time", get_start_time, set_start_time, NULL, NULL},
    {"_finish_time", get_finish_time, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
#undef FIELDS

static PyMethodDef request_methods[] = {
    {"full_url", request_full_url, METH_NOARGS,
     PyDoc_STR("full_url($self)\n--\n\n"
               "The URL this request was made for.")},
    {"request_time", request_time, METH_NOARGS,
     PyDoc_STR("request_time($self)\n--\n\n"
               "Seconds this request took, or has taken so far.")},
    {"supports_http_1_1", request_supports_1_1, METH_NOARGS,
     PyDoc_STR("supports_http_1_1($self)\n--\n\n"
               "Whether the peer speaks HTTP/1.1.")},
    {"get_ssl_certificate", (PyCFunction)(void (*)(void))request_certificate,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("get_ssl_certificate($self, binary_form=False)\n--\n\n"
               "The peer's certificate as SSLSocket.getpeercert gives it.")},
    {"write", (PyCFunction)(void (*)(void))request_write, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("write($self, chunk, callback=None)\n--\n\n"
               "Write to the connection (Tornado 4).")},
    {"finish", request_finish, METH_NOARGS,
     PyDoc_STR("finish($self)\n--\n\n"
               "End the answer of the connection (Tornado 4).")},
    {"_parse_body", request_parse_body, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef request_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlHTTPServerRequest, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlHTTPServerRequest, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot request_slots[] = {
    {Py_tp_doc,
     "HTTPServerRequest(method=None, uri=None, version='HTTP/1.0', headers=None, "
     "body=None, host=None, files=None, connection=None, start_line=None, "
     "server_connection=None)\n--\n\n"
     "One HTTP request, made of its head when its parts are asked for."},
    {Py_tp_new, request_new},
    {Py_tp_init, FlRequest_Init},
    {Py_tp_dealloc, request_dealloc},
    {Py_tp_traverse, request_traverse},
    {Py_tp_clear, request_clear},
    {Py_tp_repr, request_repr},
    {Py_tp_methods, request_methods},
    {Py_tp_members, request_members},
    {Py_tp_getset, request_getset},
    {0, NULL},
};

static PyType_Spec request_spec = {
    .name = "pyfastloop.httputil.HTTPServerRequest",
    .basicsize = sizeof(FlHTTPServerRequest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = request_slots,
};

int
FlHTTPServerRequest_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTPServerRequest_type, &request_spec, NULL,
                           false);
}
