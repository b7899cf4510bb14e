/* client_request.c -- HTTPRequest(...): what a request sets of its many arguments.
 *
 * Most requests have a URL and little else. So the class has a default for every
 * attribute (pyfastloop/httpclient), and the constructor stores only what was given: an
 * object of it is as small as what it says.
 *
 * Layer: http. Threads: none; under the GIL.
 */
#include "http/exchange.h"

#include <string.h>

/* The arguments, in the order in which they may be given by position. */
/* clang-format off */
#define ARGUMENTS(X)                                                                   \
    X(url) X(method) X(headers) X(body) X(auth_username) X(auth_password) X(auth_mode) \
    X(connect_timeout) X(request_timeout) X(if_modified_since) X(follow_redirects)     \
    X(max_redirects) X(user_agent) X(use_gzip) X(network_interface)                    \
    X(streaming_callback) X(header_callback) X(prepare_curl_callback) X(proxy_host)    \
    X(proxy_port) X(proxy_username) X(proxy_password) X(proxy_auth_mode)               \
    X(allow_nonstandard_methods) X(validate_cert) X(ca_certs) X(allow_ipv6)            \
    X(client_key) X(client_cert) X(body_producer) X(expect_100_continue)               \
    X(decompress_response) X(ssl_options)
/* clang-format on */

enum {
#define X(name) AT_##name,
    ARGUMENTS(X)
#undef X
        BY_POSITION,
    AT_inactivity_timeout = BY_POSITION,
    ALL_ARGUMENTS,
};

/* Their names, interned: borrowed tuple or NULL. */
static PyObject *
argument_names(FlState *st)
{
    static const char *const texts[] = {
#define X(name) #name,
        ARGUMENTS(X)
#undef X
            "inactivity_timeout",
    };
    PyObject *names;

    if (st->http_request_names != NULL)
        return st->http_request_names;
    names = PyTuple_New(ALL_ARGUMENTS);
    for (Py_ssize_t i = 0; names != NULL && i < ALL_ARGUMENTS; i++) {
        PyObject *name = PyUnicode_InternFromString(texts[i]);

        if (name == NULL)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, i, name);
    }
    st->http_request_names = names;
    return names;
}

/* Where a keyword stands among the names; -1 with TypeError, or another exception. */
static Py_ssize_t
place_of(PyObject *names, PyObject *word)
{
    for (Py_ssize_t i = 0; i < ALL_ARGUMENTS; i++) {
        if (PyTuple_GET_ITEM(names, i) == word)
            return i;
    }
    for (Py_ssize_t i = 0; i < ALL_ARGUMENTS; i++) {
        int equal = PyUnicode_Compare(PyTuple_GET_ITEM(names, i), word);

        if (equal == 0)
            return PyErr_Occurred() ? -1 : i;
    }
    PyErr_Format(PyExc_TypeError,
                 "HTTPRequest.__init__() got an unexpected keyword argument '%U'",
                 word);
    return -1;
}

/* The arguments by place, borrowed, NULL for what is not there. 0 or -1. */
static int
place_arguments(PyObject *names, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
                PyObject **out)
{
    Py_ssize_t words = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);

    if (nargs > BY_POSITION) {
        PyErr_Format(PyExc_TypeError,
                     "HTTPRequest takes %d arguments by position at most, got %zd",
                     BY_POSITION, nargs);
        return -1;
    }
    memset(out, 0, ALL_ARGUMENTS * sizeof *out);
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    for (Py_ssize_t i = 0; i < words; i++) {
        Py_ssize_t at = place_of(names, PyTuple_GET_ITEM(kw, i));

        if (at < 0)
            return -1;
        if (out[at] != NULL) {
            PyErr_Format(PyExc_TypeError,
                         "HTTPRequest.__init__() got two values for '%U'",
                         PyTuple_GET_ITEM(names, at));
            return -1;
        }
        out[at] = args[nargs + i];
    }
    if (out[AT_url] == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "HTTPRequest.__init__() missing a required argument: 'url'");
        return -1;
    }
    return 0;
}

static bool
given(PyObject *value)
{
    return value != NULL && value != Py_None;
}

/* headers, with if_modified_since among them. 0 or -1. escapes */
static int
store_headers(FlState *st, PyObject *self, PyObject *headers, PyObject *since)
{
    PyObject *dated;
    int yes = given(since) ? PyObject_IsTrue(since) : 0;

    if (yes < 0)
        return -1;
    if (!yes)
        return given(headers) ? PyObject_SetAttr(self, st->str__headers, headers) : 0;
    dated =
        FlState_Lazy(st, &st->http_dated, "pyfastloop.httpclient.request", "_dated");
    if (dated == NULL)
        return -1;
    return FlHTTP_SetNew(self, st->str__headers,
                         PyObject_CallFunctionObjArgs(
                             dated, headers == NULL ? Py_None : headers, since, NULL));
}

static int
store_body(FlState *st, PyObject *self, PyObject *body)
{
    PyObject *utf8;

    if (!given(body))
        return 0;
    if (PyBytes_CheckExact(body))
        return PyObject_SetAttr(self, st->str__body, body);
    utf8 = FlState_Lazy(st, &st->http_utf8, "pyfastloop.escape", "utf8");
    return utf8 == NULL
               ? -1
               : FlHTTP_SetNew(self, st->str__body, PyObject_CallOneArg(utf8, body));
}

static PyObject *
request_init(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    FlState *st = FlState_OfType(Py_TYPE(self));
    PyObject *names = st == NULL ? NULL : argument_names(st);
    PyObject *at[ALL_ARGUMENTS];

    if (names == NULL || place_arguments(names, args, nargs, kw, at) < 0)
        return NULL;
    if (PyObject_SetAttr(self, st->str_url, at[AT_url]) < 0 ||
        (at[AT_method] != NULL &&
         PyObject_SetAttr(self, st->str_method, at[AT_method]) < 0) ||
        store_headers(st, self, at[AT_headers], at[AT_if_modified_since]) < 0 ||
        store_body(st, self, at[AT_body]) < 0)
        return NULL;
    if (!given(at[AT_decompress_response]))
        at[AT_decompress_response] = at[AT_use_gzip];
    if (given(at[AT_expect_100_continue])) {
        int yes = PyObject_IsTrue(at[AT_expect_100_continue]);

        if (yes < 0)
            return NULL;
        if (!yes)
            at[AT_expect_100_continue] = NULL;
    }
    for (Py_ssize_t i = AT_auth_username; i < ALL_ARGUMENTS; i++) {
        if (!given(at[i]) || i == AT_if_modified_since || i == AT_use_gzip)
            continue;
        if (PyObject_SetAttr(self, PyTuple_GET_ITEM(names, i), at[i]) < 0)
            return NULL;
    }
    if (FlHTTP_SetNew(self, st->str_start_time,
                      PyFloat_FromDouble((double)fl_clock_wall() * 1e-9)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    request_init_doc,
    "__init__($self, /, url, method='GET', headers=None, body=None,\n"
    "         auth_username=None, auth_password=None, auth_mode=None,\n"
    "         connect_timeout=None, request_timeout=None, if_modified_since=None,\n"
    "         follow_redirects=None, max_redirects=None, user_agent=None,\n"
    "         use_gzip=None, network_interface=None, streaming_callback=None,\n"
    "         header_callback=None, prepare_curl_callback=None, proxy_host=None,\n"
    "         proxy_port=None, proxy_username=None, proxy_password=None,\n"
    "         proxy_auth_mode=None, allow_nonstandard_methods=None,\n"
    "         validate_cert=None, ca_certs=None, allow_ipv6=None, client_key=None,\n"
    "         client_cert=None, body_producer=None, expect_100_continue=False,\n"
    "         decompress_response=None, ssl_options=None, *,\n"
    "         inactivity_timeout=None)\n--\n\n"
    "Store what is given; see the class.");

static PyMethodDef request_methods[] = {
    {"__init__", (PyCFunction)(void (*)(void))request_init,
     METH_FASTCALL | METH_KEYWORDS, request_init_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot request_slots[] = {
    {Py_tp_doc, "The constructor of httpclient.HTTPRequest; see client_request.c."},
    {Py_tp_methods, request_methods},
    {0, NULL},
};

static PyType_Spec request_spec = {
    .name = "pyfastloop._core.HTTPRequestBase",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = request_slots,
};

int
FlHTTPRequestBase_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTPRequestBase_type, &request_spec, NULL,
                           false);
}
