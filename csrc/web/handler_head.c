/* handler_head.c -- status and headers of an answer, as a handler sets them.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include "core/args.h"

#define REASON_OK "OK"

/* A str that stays the same; borrowed. */
PyObject *
FlHandler_Constant(PyObject **slot, const char *text)
{
    if (*slot == NULL)
        *slot = PyUnicode_InternFromString(text);
    return *slot;
}

int
FlRequestHandler_Clear(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *ok = FlHandler_Constant(&st->web_ok, REASON_OK);

    if (ok == NULL || FlHandler_PlainValues(st) < 0)
        return -1;
    FlHandler_SetPlain(self, FL_PLAIN_HTML);
    if (!ORIGINAL(self, set_default_headers) &&
        FlHandler_CallHook(self, FL_FUNCTION_SET_DEFAULT_HEADERS,
                           st->str_set_default_headers) < 0)
        return -1;
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->chunk);
    self->status = 200;
    Py_XSETREF(self->reason, Py_NewRef(ok));
    return 0;
}

PyObject *
FlHandler_clear(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (FlRequestHandler_Clear(FlHandler_Cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The phrase of a status; new reference. */
static PyObject *
phrase_of(FlState *st, int status)
{
    PyObject *table = FlState_Lazy(st, &st->responses, "http.client", "responses");
    PyObject *number, *phrase;

    if (table == NULL)
        return NULL;
    number = PyLong_FromLong(status);
    if (number == NULL)
        return NULL;
    phrase = Py_XNewRef(PyDict_GetItemWithError(table, number));
    Py_DECREF(number);
    if (phrase == NULL && !PyErr_Occurred())
        phrase = PyUnicode_FromString("Unknown");
    return phrase;
}

/* RFC 9112 section 4, and no angle brackets: error pages repeat it. */
static bool
phrase_ok(PyObject *reason)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(reason);

    if (n == 0 || !FlHTTPHeaders_ValueOk(reason, false))
        return false;
    return PyUnicode_FindChar(reason, '<', 0, n, 1) < 0 &&
           PyUnicode_FindChar(reason, '>', 0, n, 1) < 0;
}

static int
set_status(FlRequestHandler *self, int status, PyObject *reason)
{
    PyObject *text;

    if (reason == NULL || reason == Py_None)
        text = phrase_of(self->st, status);
    else if (PyBytes_Check(reason))
        text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(reason), PyBytes_GET_SIZE(reason),
                                    NULL);
    else if (PyUnicode_Check(reason))
        text = Py_NewRef(reason);
    else
        text = PyErr_Format(PyExc_TypeError,
                            "reason must be str, bytes or None, not "
                            "%.100s",
                            Py_TYPE(reason)->tp_name);
    if (text == NULL)
        return -1;
    if (!phrase_ok(text))
        Py_SETREF(text, PyUnicode_FromString("Unknown"));
    if (text == NULL)
        return -1;
    self->status = status;
    Py_XSETREF(self->reason, text);
    return 0;
}

PyObject *
FlHandler_set_status(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"status_code", "reason", NULL};
    PyObject *reason = Py_None;
    int status;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|O:set_status", names, &status,
                                     &reason) ||
        set_status(FlHandler_Cast(op), status, reason) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
FlHandler_get_status(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(FlHandler_Cast(op)->status);
}

/* ---- headers ---- */

/* A header's value as text; new reference or NULL with ValueError, TypeError. */
static PyObject *
convert_value(FlState *st, PyObject *value)
{
    PyObject *text, *odd;

    if (PyUnicode_Check(value)) {
        text = Py_NewRef(value);
    } else if (PyBytes_Check(value)) {
        text = PyUnicode_DecodeLatin1(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
                                      NULL);
    } else if (PyLong_Check(value)) {
        return PyObject_Str(value);
    } else {
        odd = FlState_Lazy(st, &st->convert_odd_value, "pyfastloop.web.response",
                           "_convert_odd_value");
        text = odd == NULL ? NULL : PyObject_CallOneArg(odd, value);
    }
    if (text != NULL && !FlHTTPHeaders_ValueOk(text, false)) {
        PyErr_Format(PyExc_ValueError, "Unsafe header value %R", text);
        Py_CLEAR(text);
    }
    return text;
}

PyObject *
FlHandler_convert(PyObject *op, PyObject *value)
{
    return convert_value(FlHandler_Cast(op)->st, value);
}

PyObject *
FlHandler_Converted(FlRequestHandler *self, PyObject *value)
{
    if (self->hooks == NULL || !ORIGINAL(self, _convert_header_value))
        return PyObject_CallMethodOneArg((PyObject *)self,
                                         self->st->str__convert_header_value, value);
    return convert_value(self->st, value);
}

/* 0 or -1. escapes */
static int
put_header(FlRequestHandler *self, PyObject *name, PyObject *value, bool add)
{
    PyObject *text = FlHandler_Converted(self, value), *headers, *done = NULL;
    int err = 0;

    if (text == NULL)
        return -1;
    if (self->plain != FL_PLAIN_NOT)
        err = FlHandler_PutBeside(self, name, text, add);
    if (err != 0) {
        err = err < 0 ? -1 : 0;
    } else if (FlHandler_HasMap(self)) {
        err = add ? FlHTTPHeaders_Add(FlHandler_Map(self), name, text)
                  : FlHTTPHeaders_Set(FlHandler_Map(self), name, text);
    } else if ((headers = FlHandler_AnyHeaders(self)) != NULL) {
        if (add) {
            done = PyObject_CallMethod(headers, "add", "OO", name, text);
            err = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        } else {
            err = PyObject_SetItem(headers, name, text);
        }
        Py_DECREF(headers);
    } else {
        err = -1;
    }
    Py_DECREF(text);
    return err;
}

static const char *const header_names[] = {"name", "value"};
#define HEADER_NAMES Py_ARRAY_LENGTH(header_names)

/* 1 with both by position, 0 where names have to be looked at, -1 with TypeError. */
static int
both_given(const char *method, Py_ssize_t nargs, PyObject *kw)
{
    Py_ssize_t all = nargs + (kw == NULL ? 0 : PyTuple_GET_SIZE(kw));

    if (nargs == HEADER_NAMES && all == nargs)
        return 1;
    if (all <= (Py_ssize_t)HEADER_NAMES && nargs < (Py_ssize_t)HEADER_NAMES)
        return 0;
    PyErr_Format(PyExc_TypeError, "%s() takes a name and a value (%zd given)", method,
                 all);
    return -1;
}

PyObject *
FlHandler_set_header(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kw)
{
    int both = both_given("set_header", nargs, kw);

    if (both == 0)
        return FlArgs_Retry("set_header", op, args, nargs, kw, FlHandler_set_header,
                            header_names, HEADER_NAMES);
    if (both < 0 || put_header(FlHandler_Cast(op), args[0], args[1], false) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
FlHandler_add_header(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kw)
{
    int both = both_given("add_header", nargs, kw);

    if (both == 0)
        return FlArgs_Retry("add_header", op, args, nargs, kw, FlHandler_add_header,
                            header_names, HEADER_NAMES);
    if (both < 0 || put_header(FlHandler_Cast(op), args[0], args[1], true) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
FlHandler_clear_header(PyObject *op, PyObject *name)
{
    PyObject *headers = FlHandler_AnyHeaders(FlHandler_Cast(op));
    int there = headers == NULL ? -1 : PySequence_Contains(headers, name);

    if (there > 0 && PyObject_DelItem(headers, name) < 0)
        there = -1;
    Py_XDECREF(headers);
    if (there < 0)
        return NULL;
    Py_RETURN_NONE;
}
