/* request.c -- one HTTP request: a head block and what became of it.
 *
 * Every attribute is a slot of the struct, a maker that fills it on first reading, and
 * a setter that replaces it; one table (request_getset) says which is which.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/request.h"

#include <string.h>

#include "http/functions.h"
#include "proto/host.h"
#include "proto/query.h"
#include "proto/uri.h"
#include "sys/clock.h"

static FlHTTPServerRequest *
request_cast(PyObject *self)
{
    return (FlHTTPServerRequest *)self;
}

static double
wall_seconds(void)
{
    return (double)fl_clock_wall() / 1e9;
}

bool
FlHTTPServerRequest_Check(FlState *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->HTTPServerRequest_type);
}

/* ---- making ---- */

static int
check_query(FlState *st, fl_span query)
{
    if (fl_query_count(query) <= FL_REQUEST_QUERY_FIELDS)
        return 0;
    FlHTTP_InputError(st, "Invalid query string: Max number of fields exceeded");
    return -1;
}

PyObject *
FlHTTPServerRequest_FromBlock(FlState *st, FlHeadBlock *block, PyObject *connection,
                              PyObject *server_connection, uint64_t now)
{
    FlHTTPServerRequest *self;

    if ((block->head.flags & FL_HEAD_QUERY) != 0 &&
        check_query(st, FlHeadBlock_Span(block, block->head.query)) < 0)
        return NULL;
    if (block->head.host.len > 0 &&
        memchr(block->bytes + block->head.host.off, ',', block->head.host.len) != NULL)
        return FlHTTP_InputError(st, "Multiple host headers not allowed");
    self = PyObject_GC_New(FlHTTPServerRequest, st->HTTPServerRequest_type);
    if (self == NULL)
        return NULL;
    memset((char *)self + offsetof(FlHTTPServerRequest, st), 0,
           sizeof(FlHTTPServerRequest) - offsetof(FlHTTPServerRequest, st));
    self->st = st;
    self->block = FlHeadBlock_Retain(block);
    self->connection = Py_XNewRef(connection);
    self->server_connection = Py_XNewRef(server_connection);
    self->started = now;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

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

static int
split_uri(FlHTTPServerRequest *self)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(self->uri);
    Py_ssize_t mark = PyUnicode_FindChar(self->uri, '?', 0, n, 1);
    PyObject *bytes;
    int err;

    if (mark == -2)
        return -1;
    if (mark < 0)
        mark = n;
    self->path = PyUnicode_Substring(self->uri, 0, mark);
    self->query = PyUnicode_Substring(self->uri, mark < n ? mark + 1 : n, n);
    if (self->path == NULL || self->query == NULL)
        return -1;
    bytes = PyUnicode_AsLatin1String(self->query);
    if (bytes == NULL)
        return -1;
    err = check_query(self->st, fl_span_make(PyBytes_AS_STRING(bytes),
                                             (size_t)PyBytes_GET_SIZE(bytes)));
    Py_DECREF(bytes);
    return err;
}

static PyObject *make_remote_ip(FlHTTPServerRequest *self);
static PyObject *make_protocol(FlHTTPServerRequest *self);

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

static int
request_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "method", "uri",        "version",    "headers",           "body", "host",
        "files",  "connection", "start_line", "server_connection", NULL};
    FlHTTPServerRequest *self = request_cast(op);
    PyObject *method = NULL, *uri = NULL, *version = NULL, *headers = NULL,
             *body = NULL, *host = NULL, *files = NULL, *connection = NULL,
             *start_line = NULL, *server = NULL;

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
    Py_XSETREF(self->host, host == NULL || host == Py_None || !PyObject_IsTrue(host)
                               ? checked_host(self)
                               : Py_NewRef(host));
    if (self->host == NULL || split_uri(self) < 0)
        return -1;
    /* Now, not when asked: a proxy's headers hold for this request alone. */
    return FlHTTPServerRequest_TakePeer(self);
}

int
FlHTTPServerRequest_TakePeer(FlHTTPServerRequest *self)
{
    Py_XSETREF(self->remote_ip, make_remote_ip(self));
    Py_XSETREF(self->protocol, make_protocol(self));
    return self->remote_ip == NULL || self->protocol == NULL ? -1 : 0;
}

static int
request_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHTTPServerRequest *self = request_cast(op);

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
    FlHTTPServerRequest *self = request_cast(op);

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
    FlHTTPServerRequest *self = request_cast(op);
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

/* ---- makers: each gives a new reference ---- */

static PyObject *
block_text(const FlHeadBlock *block, fl_slice slice)
{
    return PyUnicode_DecodeLatin1(block->bytes + slice.off, slice.len, NULL);
}

static PyObject *
make_method(FlHTTPServerRequest *self)
{
    if (self->block == NULL)
        return PyUnicode_FromString("GET");
    switch (self->block->head.method) {
    case FL_METHOD_GET:
        return Py_NewRef(self->st->str_GET);
    case FL_METHOD_POST:
        return Py_NewRef(self->st->str_POST);
    case FL_METHOD_HEAD:
        return Py_NewRef(self->st->str_HEAD);
    default:
        return block_text(self->block, self->block->head.method_name);
    }
}

static PyObject *
make_uri(FlHTTPServerRequest *self)
{
    return self->block == NULL ? PyUnicode_FromString("/")
                               : block_text(self->block, self->block->head.target);
}

static PyObject *
make_version(FlHTTPServerRequest *self)
{
    bool newer = self->block != NULL && self->block->head.minor_version == 1;

    return PyUnicode_FromString(newer ? "HTTP/1.1" : "HTTP/1.0");
}

static PyObject *
make_path(FlHTTPServerRequest *self)
{
    if (self->block == NULL || self->block->head.path.len == 0)
        return PyUnicode_FromString("/");
    return block_text(self->block, self->block->head.path);
}

static PyObject *
make_query(FlHTTPServerRequest *self)
{
    return self->block == NULL ? PyUnicode_FromString("")
                               : block_text(self->block, self->block->head.query);
}

static PyObject *
make_headers(FlHTTPServerRequest *self)
{
    return self->block == NULL ? FlHTTPHeaders_New(self->st)
                               : FlHTTPHeaders_FromBlock(self->st, self->block);
}

static PyObject *
make_body(FlHTTPServerRequest *self)
{
    (void)self;
    return PyBytes_FromStringAndSize(NULL, 0);
}

static PyObject *
make_host(FlHTTPServerRequest *self)
{
    if (self->block == NULL || ((self->block->head.seen >> FL_H_HOST & 1) == 0 &&
                                self->block->head.host.len == 0))
        return PyUnicode_FromString("127.0.0.1");
    return block_text(self->block, self->block->head.host);
}

static PyObject *
request_get(FlHTTPServerRequest *self, PyObject **slot,
            PyObject *(*make)(FlHTTPServerRequest *))
{
    if (*slot == NULL) {
        PyObject *made = make(self);

        if (made == NULL)
            return NULL;
        Py_XSETREF(*slot, made);
    }
    return Py_NewRef(*slot);
}

static PyObject *
make_host_name(FlHTTPServerRequest *self)
{
    PyObject *host = request_get(self, &self->host, make_host);
    PyObject *lower = host == NULL ? NULL : PyObject_CallMethod(host, "lower", NULL);
    PyObject *name = NULL;
    Py_ssize_t n;
    const char *p;
    fl_span split;
    int port;

    Py_XDECREF(host);
    if (lower == NULL)
        return NULL;
    p = PyUnicode_AsUTF8AndSize(lower, &n);
    if (p != NULL && fl_host_split(fl_span_make(p, (size_t)n), &split, &port))
        name = PyUnicode_DecodeUTF8(split.p, (Py_ssize_t)split.n, NULL);
    else if (p != NULL)
        name = Py_NewRef(lower);
    Py_DECREF(lower);
    return name;
}

/* An attribute of connection.context, or the fallback. escapes */
static PyObject *
context_attribute(FlHTTPServerRequest *self, PyObject *name, PyObject *fallback)
{
    PyObject *context = NULL, *value = NULL;

    if (self->connection == NULL)
        return Py_NewRef(fallback);
    if (PyObject_GetOptionalAttr(self->connection, self->st->str_context, &context) < 0)
        return NULL;
    if (context == NULL)
        return Py_NewRef(fallback);
    if (PyObject_GetOptionalAttr(context, name, &value) == 0)
        value = Py_NewRef(fallback);
    Py_DECREF(context);
    return value;
}

static PyObject *
make_remote_ip(FlHTTPServerRequest *self)
{
    return context_attribute(self, self->st->str_remote_ip, Py_None);
}

static PyObject *
make_protocol(FlHTTPServerRequest *self)
{
    return context_attribute(self, self->st->str_protocol, self->st->str_http);
}

static PyObject *
make_dict(FlHTTPServerRequest *self)
{
    (void)self;
    return PyDict_New();
}

static PyObject *
parse_query(FlHTTPServerRequest *self)
{
    PyObject *bytes, *dict;

    if (self->query == NULL && self->block != NULL)
        return FlHTTP_ParseQuery(FlHeadBlock_Span(self->block, self->block->head.query),
                                 true);
    if (self->query == NULL || !PyUnicode_Check(self->query))
        return PyDict_New();
    bytes = PyUnicode_AsLatin1String(self->query);
    if (bytes == NULL)
        return NULL;
    dict = FlHTTP_ParseQuery(
        fl_span_make(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)), true);
    Py_DECREF(bytes);
    return dict;
}

/* Adds lists of one dict to those of another. */
static int
extend_lists(PyObject *into, PyObject *from)
{
    PyObject *name, *values;
    Py_ssize_t at = 0;

    while (PyDict_Next(from, &at, &name, &values)) {
        PyObject *have = PyDict_GetItemWithError(into, name); /* borrowed */
        PyObject *copy;
        int err;

        if (have == NULL && PyErr_Occurred())
            return -1;
        if (have != NULL && PyList_Check(have)) {
            if (PyList_SetSlice(have, PY_SSIZE_T_MAX, PY_SSIZE_T_MAX, values) < 0)
                return -1;
            continue;
        }
        copy = PySequence_List(values);
        err = copy == NULL ? -1 : PyDict_SetItem(into, name, copy);
        Py_XDECREF(copy);
        if (err < 0)
            return -1;
    }
    return 0;
}

static PyObject *
make_arguments(FlHTTPServerRequest *self)
{
    PyObject *dict = parse_query(self);

    if (dict != NULL && self->body_arguments != NULL &&
        PyDict_Check(self->body_arguments) &&
        extend_lists(dict, self->body_arguments) < 0)
        Py_CLEAR(dict);
    return dict;
}

/* A SimpleCookie: a peer's pair that it does not take is left out. */
static PyObject *
make_cookies(FlHTTPServerRequest *self)
{
    PyObject *type =
        FlState_Lazy(self->st, &self->st->SimpleCookie, "http.cookies", "SimpleCookie");
    PyObject *jar = type == NULL ? NULL : PyObject_CallNoArgs(type);
    PyObject *headers = jar == NULL ? NULL : FlHTTPServerRequest_Headers(self);
    PyObject *text = NULL, *pairs = NULL, *name, *value;
    Py_ssize_t at = 0;

    if (headers != NULL)
        text = PyObject_CallMethod(headers, "get", "s", "Cookie");
    if (text != NULL && PyUnicode_Check(text))
        pairs = FlHTTP_ParseCookie(text);
    while (pairs != NULL && PyDict_Next(pairs, &at, &name, &value)) {
        if (PyObject_SetItem(jar, name, value) == 0)
            continue;
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            break;
        PyErr_Clear();
    }
    if (PyErr_Occurred())
        Py_CLEAR(jar);
    Py_XDECREF(headers);
    Py_XDECREF(text);
    Py_XDECREF(pairs);
    return jar;
}

/* ---- for C ---- */

PyObject *
FlHTTPServerRequest_Headers(FlHTTPServerRequest *self)
{
    return request_get(self, &self->headers, make_headers);
}

PyObject *
FlHTTPServerRequest_Path(FlHTTPServerRequest *self)
{
    return request_get(self, &self->path, make_path);
}

PyObject *
FlHTTPServerRequest_Arguments(FlHTTPServerRequest *self)
{
    return request_get(self, &self->arguments, make_arguments);
}

PyObject *
FlHTTPServerRequest_Cookies(FlHTTPServerRequest *self)
{
    return request_get(self, &self->cookies, make_cookies);
}

bool
FlHTTPServerRequest_Field(FlHTTPServerRequest *self, uint8_t id, fl_span *out)
{
    const fl_field *field;

    if (self->headers != NULL) {
        int32_t at;

        if (!FlHTTPHeaders_Check(self->st, self->headers))
            return false;
        at = FlHTTPHeaders_FindId((FlHTTPHeaders *)self->headers, id);
        return at >= 0 &&
               FlHTTPHeaders_ValueSpan((FlHTTPHeaders *)self->headers, at, out);
    }
    if (self->block == NULL)
        return false;
    field = fl_head_find(&self->block->head, id);
    if (field == NULL)
        return false;
    *out = FlHeadBlock_Span(self->block, field->value);
    return true;
}

bool
FlHTTPServerRequest_HasForm(FlHTTPServerRequest *self)
{
    fl_span span;

    if (self->form_read || self->body == NULL ||
        (PyBytes_Check(self->body) && PyBytes_GET_SIZE(self->body) == 0))
        return false;
    return self->headers != NULL ||
           FlHTTPServerRequest_Field(self, FL_H_CONTENT_TYPE, &span);
}

/* Adds what a form body says to body_arguments, arguments and files, once for each
 * body; 0, or -1 with HTTPInputError. escapes */
static int
parse_body(FlHTTPServerRequest *self)
{
    PyObject *type = NULL, *headers, *arguments, *files, *parse, *done = NULL;

    if (!FlHTTPServerRequest_HasForm(self))
        return 0;
    self->form_read = true;
    headers = FlHTTPServerRequest_Headers(self);
    arguments = request_get(self, &self->body_arguments, make_dict);
    files = request_get(self, &self->files, make_dict);
    parse = FlState_Lazy(self->st, &self->st->parse_body_arguments,
                         "pyfastloop.httputil", "parse_body_arguments");
    if (headers != NULL && arguments != NULL && files != NULL && parse != NULL)
        type = PyObject_CallMethod(headers, "get", "ss", "Content-Type", "");
    if (type != NULL)
        done = PyObject_CallFunctionObjArgs(parse, type, self->body, arguments, files,
                                            headers, NULL);
    if (done != NULL && self->arguments != NULL && PyDict_Check(self->arguments) &&
        PyDict_Check(arguments) && extend_lists(self->arguments, arguments) < 0)
        Py_CLEAR(done);
    Py_XDECREF(type);
    Py_XDECREF(headers);
    Py_XDECREF(arguments);
    Py_XDECREF(files);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- methods ---- */

static PyObject *
request_parse_body(PyObject *self, PyObject *unused)
{
    (void)unused;
    if (parse_body(request_cast(self)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
request_full_url(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = request_cast(op);
    PyObject *protocol = request_get(self, &self->protocol, make_protocol);
    PyObject *host = request_get(self, &self->host, make_host);
    PyObject *uri = request_get(self, &self->uri, make_uri);
    PyObject *url = NULL;

    (void)unused;
    if (protocol != NULL && host != NULL && uri != NULL)
        url = PyUnicode_FromFormat("%S://%S%S", protocol, host, uri);
    Py_XDECREF(protocol);
    Py_XDECREF(host);
    Py_XDECREF(uri);
    return url;
}

static PyObject *
request_time(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = request_cast(op);
    uint64_t end = self->finished ? self->finished : fl_clock_monotonic();

    (void)unused;
    return PyFloat_FromDouble((double)(end - self->started) / 1e9);
}

static PyObject *
request_supports_1_1(PyObject *op, PyObject *unused)
{
    FlHTTPServerRequest *self = request_cast(op);
    PyObject *version = request_get(self, &self->version, make_version);
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
    FlHTTPServerRequest *self = request_cast(op);
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
    FlHTTPServerRequest *self = request_cast(op);
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
    FlHTTPServerRequest *self = request_cast(op);

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
    PyObject *(*make)(FlHTTPServerRequest *);
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
    FlHTTPServerRequest *self = request_cast(op);
    PyObject **slot = field_slot(self, field);

    if (field->make == NULL)
        return Py_NewRef(*slot == NULL ? Py_None : *slot);
    return request_get(self, slot, field->make);
}

static int
field_set(PyObject *op, PyObject *value, void *closure)
{
    const request_field *field = closure;
    PyObject **slot = field_slot(request_cast(op), field);

    if (value == NULL && *slot == NULL && field->make == NULL) {
        PyErr_SetString(PyExc_AttributeError, "the attribute is not set");
        return -1;
    }
    if (field->make == NULL && value == Py_None)
        value = NULL;
    if (slot == &request_cast(op)->body)
        request_cast(op)->form_read = false;
    Py_XSETREF(*slot, Py_XNewRef(value));
    return 0;
}

static PyObject *
get_start_time(PyObject *op, void *closure)
{
    FlHTTPServerRequest *self = request_cast(op);
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
    FlHTTPServerRequest *self = request_cast(op);
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
    FlHTTPServerRequest *self = request_cast(op);

    (void)closure;
    if (self->finished == 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(wall_seconds() -
                              (double)(fl_clock_monotonic() - self->finished) / 1e9);
}

#define FIELDS(X)                   \
    X(method, make_method)          \
    X(uri, make_uri)                \
    X(version, make_version)        \
    X(path, make_path)              \
    X(query, make_query)            \
    X(headers, make_headers)        \
    X(body, make_body)              \
    X(host, make_host)              \
    X(host_name, make_host_name)    \
    X(remote_ip, make_remote_ip)    \
    X(protocol, make_protocol)      \
    X(arguments, make_arguments)    \
    X(query_arguments, parse_query) \
    X(body_arguments, make_dict)    \
    X(files, make_dict)             \
    X(connection, NULL)             \
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
        {offsetof(FlHTTPServerRequest, cookies), make_cookies},
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
     PyDoc_STR("The URL this request was made for.")},
    {"request_time", request_time, METH_NOARGS,
     PyDoc_STR("Seconds this request took, or has taken so far.")},
    {"supports_http_1_1", request_supports_1_1, METH_NOARGS,
     PyDoc_STR("Whether the peer speaks HTTP/1.1.")},
    {"get_ssl_certificate", (PyCFunction)(void (*)(void))request_certificate,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("The peer's certificate as SSLSocket.getpeercert gives it.")},
    {"write", (PyCFunction)(void (*)(void))request_write, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Write to the connection (Tornado 4).")},
    {"finish", request_finish, METH_NOARGS,
     PyDoc_STR("End the answer of the connection (Tornado 4).")},
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
    {Py_tp_doc, "One HTTP request, made of its head when its parts are asked for."},
    {Py_tp_new, request_new},
    {Py_tp_init, request_init},
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
