/* client_head.c -- the bytes of a request's head, from the map that keeps its values free
 * of CR, LF and NUL.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/client_link.h"

#include "base/buf.h"

static bool
bytes_ok(const char *p, Py_ssize_t n)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] <= ' ' || (unsigned char)p[i] >= 0x7F)
            return false;
    }
    return n > 0;
}

/* Appends one header line; 0 or -1. */
static int
head_line(fl_buf *out, FlHTTPHeaders *headers, int32_t at)
{
    PyObject *name = FlHTTPHeaders_Name(headers, at);
    fl_span value;
    Py_ssize_t n;
    const char *p = name == NULL ? NULL : PyUnicode_AsUTF8AndSize(name, &n);
    int err = 0;

    if (p == NULL)
        return -1;
    if (!FlHTTPHeaders_ValueSpan(headers, at, &value)) {
        PyErr_Format(PyExc_ValueError,
                     "the header %U has a character that latin-1 does not have", name);
        return -1;
    }
    err |= fl_buf_append(out, p, (size_t)n);
    err |= fl_buf_append(out, ": ", 2);
    err |= fl_buf_append(out, value.p, value.n);
    err |= fl_buf_append(out, "\r\n", 2);
    if (err != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

PyObject *
FlClientLink_RequestHead(PyObject *type, PyObject *const *args, Py_ssize_t nargs)
{
    FlState *st = FlState_OfType((PyTypeObject *)type);
    FlHTTPHeaders *headers;
    const char *method, *target;
    Py_ssize_t method_n, target_n;
    PyObject *result = NULL;
    fl_buf out;
    int err = 0;

    if (st == NULL)
        return NULL;
    if (nargs != 3 || !FlHTTPHeaders_Check(st, args[2])) {
        PyErr_SetString(PyExc_TypeError,
                        "request_head(method: str, target: str, headers: HTTPHeaders)");
        return NULL;
    }
    headers = (FlHTTPHeaders *)args[2];
    method = PyUnicode_AsUTF8AndSize(args[0], &method_n);
    target = method == NULL ? NULL : PyUnicode_AsUTF8AndSize(args[1], &target_n);
    if (target == NULL)
        return NULL;
    if (!bytes_ok(method, method_n) || !bytes_ok(target, target_n)) {
        PyErr_Format(PyExc_ValueError,
                     "method %R or target %R has characters that may not stand in a "
                     "request line",
                     args[0], args[1]);
        return NULL;
    }
    fl_buf_init(&out);
    err |= fl_buf_append(&out, method, (size_t)method_n);
    err |= fl_buf_append(&out, " ", 1);
    err |= fl_buf_append(&out, target, (size_t)target_n);
    err |= fl_buf_append(&out, " HTTP/1.1\r\n", 11);
    if (err != 0)
        PyErr_NoMemory();
    for (int32_t i = 0; err == 0 && i < headers->count; i++)
        err = head_line(&out, headers, i);
    if (err == 0) {
        err = fl_buf_append(&out, "\r\n", 2);
        if (err != 0)
            PyErr_NoMemory();
    }
    if (err == 0)
        result =
            PyBytes_FromStringAndSize(fl_buf_ptr(&out), (Py_ssize_t)fl_buf_len(&out));
    fl_buf_free(&out);
    return result;
}
