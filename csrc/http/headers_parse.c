/* headers_parse.c -- HTTPHeaders.add, parse_line and parse: values that are checked.
 *
 * A field line is text, one character for each byte unless _chars_are_bytes says
 * otherwise. Folded lines are refused, as RFC 9112, section 5.2 allows.
 *
 * Invariant: what parsing finds comes in by `add`, by a subclass's where it has one.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/headers_parts.h"

/* Reads (text, *, _chars_are_bytes=True) or (name, value, *, …). */
static int
text_arguments(PyObject *args, PyObject *kwargs, const char *format, char **names,
               PyObject **first, PyObject **second, int *bytes)
{
    *bytes = 1;
    if (second == NULL)
        return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, first, bytes);
    return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, first, second,
                                       bytes);
}

/* With _chars_are_bytes a character stands for a byte, and white space around a value is
 * no part of it. */
static int
add_checked(FlHTTPHeaders *self, PyObject *name, PyObject *value, bool bytes)
{
    PyObject *text = NULL;
    int err = -1;

    if (PyUnicode_Check(value))
        text = Py_NewRef(value);
    else if (PyBytes_Check(value))
        text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
                                    NULL);
    else
        PyErr_Format(PyExc_TypeError, "header value must be str or bytes, not %.100s",
                     Py_TYPE(value)->tp_name);
    if (text == NULL)
        return -1;
    if (bytes) {
        Py_ssize_t n = PyUnicode_GET_LENGTH(text);
        Py_UCS4 head = n > 0 ? PyUnicode_READ_CHAR(text, 0) : 'x';
        Py_UCS4 tail = n > 0 ? PyUnicode_READ_CHAR(text, n - 1) : 'x';

        if (head == ' ' || head == '\t' || tail == ' ' || tail == '\t' ||
            !FlHTTPHeaders_ValueOk(text, false)) {
            FlHTTP_InputError(self->st, "Invalid header value %R", text);
            goto done;
        }
    }
    err = FlHTTPHeaders_Add(self, name, text);
done:
    Py_DECREF(text);
    return err;
}

PyObject *
FlHTTPHeaders_add(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "value", "_chars_are_bytes", NULL};
    PyObject *name, *value;
    int bytes;

    if (!text_arguments(args, kwargs, "OO|$p:add", names, &name, &value, &bytes))
        return NULL;
    if (add_checked(FlHTTPHeaders_Cast(self), name, value, bytes) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Adds the field line text[from, to). */
static int
parse_line_of(PyObject *op, PyObject *text, Py_ssize_t from, Py_ssize_t to, bool bytes)
{
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    PyObject *name, *value;
    Py_ssize_t colon;
    int err = -1;

    if (to > from && PyUnicode_READ(kind, data, to - 1) == '\n') {
        to--;
        if (to > from && PyUnicode_READ(kind, data, to - 1) == '\r')
            to--;
    }
    if (from == to)
        return 0;
    if (PyUnicode_READ(kind, data, from) == ' ' ||
        PyUnicode_READ(kind, data, from) == '\t') {
        FlHTTP_InputError(self->st, "header line cannot start with whitespace, "
                                    "folding not supported");
        return -1;
    }
    colon = PyUnicode_FindChar(text, ':', from, to, 1);
    if (colon < 0) {
        FlHTTP_InputError(self->st, "no colon in header line");
        return -1;
    }
    name = PyUnicode_Substring(text, from, colon);
    for (colon++; colon < to && (PyUnicode_READ(kind, data, colon) == ' ' ||
                                 PyUnicode_READ(kind, data, colon) == '\t');)
        colon++;
    while (to > colon && (PyUnicode_READ(kind, data, to - 1) == ' ' ||
                          PyUnicode_READ(kind, data, to - 1) == '\t'))
        to--;
    value = PyUnicode_Substring(text, colon, to);
    if (name != NULL && value != NULL) {
        if (FlHTTPHeaders_IsExact(self)) {
            err = add_checked(self, name, value, bytes);
        } else {
            PyObject *done = PyObject_CallMethod(op, "add", "OO", name, value);

            err = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        }
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
    return err;
}

PyObject *
FlHTTPHeaders_parse_line(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"line", "_chars_are_bytes", NULL};
    PyObject *line;
    int bytes;

    if (!text_arguments(args, kwargs, "U|$p:parse_line", names, &line, NULL, &bytes))
        return NULL;
    if (parse_line_of(self, line, 0, PyUnicode_GET_LENGTH(line), bytes) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
FlHTTPHeaders_parse(PyObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"headers", "_chars_are_bytes", NULL};
    PyObject *text, *self;
    Py_ssize_t n;
    int bytes;

    if (!text_arguments(args, kwargs, "U|$p:parse", names, &text, NULL, &bytes))
        return NULL;
    self = PyObject_CallNoArgs(type);
    if (self == NULL)
        return NULL;
    if (!PyObject_TypeCheck(self, (PyTypeObject *)type)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_TypeError, "the class made something else");
        return NULL;
    }
    n = PyUnicode_GET_LENGTH(text);
    for (Py_ssize_t from = 0; from < n;) {
        Py_ssize_t end = PyUnicode_FindChar(text, '\n', from, n, 1);

        end = end < 0 ? n : end + 1;
        if (parse_line_of(self, text, from, end, bytes) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        from = end;
    }
    return self;
}
