/* request_fields.c -- what each attribute of a request is made of on first reading.
 *
 * A maker looks at the head block, at other attributes, or at the connection's context,
 * and gives a new reference, which FlRequest_Get stores. A request that a program made
 * has no block: where an attribute was deleted, its maker gives what an empty request
 * would have.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/request_parts.h"

#include "http/functions.h"
#include "proto/host.h"

static PyObject *
block_text(const FlHeadBlock *block, fl_slice slice)
{
    return PyUnicode_DecodeLatin1(block->bytes + slice.off, slice.len, NULL);
}

PyObject *
FlRequest_MakeMethod(FlHTTPServerRequest *self)
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

PyObject *
FlRequest_MakeURI(FlHTTPServerRequest *self)
{
    return self->block == NULL ? PyUnicode_FromString("/")
                               : block_text(self->block, self->block->head.target);
}

PyObject *
FlRequest_MakeVersion(FlHTTPServerRequest *self)
{
    bool newer = self->block != NULL && self->block->head.minor_version == 1;

    return PyUnicode_FromString(newer ? "HTTP/1.1" : "HTTP/1.0");
}

PyObject *
FlRequest_MakePath(FlHTTPServerRequest *self)
{
    if (self->block == NULL || self->block->head.path.len == 0)
        return PyUnicode_FromString("/");
    return block_text(self->block, self->block->head.path);
}

PyObject *
FlRequest_MakeQuery(FlHTTPServerRequest *self)
{
    return self->block == NULL ? PyUnicode_FromString("")
                               : block_text(self->block, self->block->head.query);
}

PyObject *
FlRequest_MakeHeaders(FlHTTPServerRequest *self)
{
    return self->block == NULL ? FlHTTPHeaders_New(self->st)
                               : FlHTTPHeaders_FromBlock(self->st, self->block);
}

PyObject *
FlRequest_MakeBody(FlHTTPServerRequest *self)
{
    (void)self;
    return PyBytes_FromStringAndSize(NULL, 0);
}

PyObject *
FlRequest_MakeHost(FlHTTPServerRequest *self)
{
    if (self->block == NULL || ((self->block->head.seen >> FL_H_HOST & 1) == 0 &&
                                self->block->head.host.len == 0))
        return PyUnicode_FromString("127.0.0.1");
    return block_text(self->block, self->block->head.host);
}

PyObject *
FlRequest_MakeHostName(FlHTTPServerRequest *self)
{
    PyObject *host = FlRequest_Get(self, &self->host, FlRequest_MakeHost);
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

PyObject *
FlRequest_MakeRemoteIP(FlHTTPServerRequest *self)
{
    return context_attribute(self, self->st->str_remote_ip, Py_None);
}

PyObject *
FlRequest_MakeProtocol(FlHTTPServerRequest *self)
{
    return context_attribute(self, self->st->str_protocol, self->st->str_http);
}

PyObject *
FlRequest_MakeDict(FlHTTPServerRequest *self)
{
    (void)self;
    return PyDict_New();
}

PyObject *
FlRequest_MakeQueryArguments(FlHTTPServerRequest *self)
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

PyObject *
FlRequest_MakeArguments(FlHTTPServerRequest *self)
{
    PyObject *dict = FlRequest_MakeQueryArguments(self);

    if (dict != NULL && self->body_arguments != NULL &&
        PyDict_Check(self->body_arguments) &&
        extend_lists(dict, self->body_arguments) < 0)
        Py_CLEAR(dict);
    return dict;
}

/* A SimpleCookie: a peer's pair that it does not take is left out. */
PyObject *
FlRequest_MakeCookies(FlHTTPServerRequest *self)
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

int
FlRequest_ParseBody(FlHTTPServerRequest *self)
{
    PyObject *type = NULL, *headers, *arguments, *files, *parse, *done = NULL;

    if (!FlHTTPServerRequest_HasForm(self))
        return 0;
    self->form_read = true;
    headers = FlHTTPServerRequest_Headers(self);
    arguments = FlRequest_Get(self, &self->body_arguments, FlRequest_MakeDict);
    files = FlRequest_Get(self, &self->files, FlRequest_MakeDict);
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
