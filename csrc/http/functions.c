/* functions.c -- what httputil and escape ask of the pure parsers.
 *
 * Layer: http. Threads: none; under the GIL.
 */
#include "http/functions.h"

#include <string.h>

#include "core/args.h"
#include "http/headers.h"
#include "base/format.h"
#include "proto/cookie.h"
#include "proto/multipart.h"
#include "proto/params.h"
#include "proto/query.h"
#include "proto/signed_value.h"
#include "proto/uri.h"

/* A name or value, decoded to latin-1 text or to bytes. New reference. */
static PyObject *
decoded(fl_span raw, bool encoded, bool text)
{
    char small[256];
    char *room = small;
    PyObject *made;
    size_t n = raw.n;

    if (!encoded)
        return text ? PyUnicode_DecodeLatin1(raw.p, (Py_ssize_t)n, NULL)
                    : PyBytes_FromStringAndSize(raw.p, (Py_ssize_t)n);
    if (n > sizeof(small)) {
        room = PyMem_Malloc(n);
        if (room == NULL)
            return PyErr_NoMemory();
    }
    n = fl_percent_decode(room, raw, true);
    made = text ? PyUnicode_DecodeLatin1(room, (Py_ssize_t)n, NULL)
                : PyBytes_FromStringAndSize(room, (Py_ssize_t)n);
    if (room != small)
        PyMem_Free(room);
    return made;
}

PyObject *
FlHTTP_ParseQuery(fl_span query, bool keep_blank)
{
    PyObject *dict = PyDict_New();
    fl_query_field field;
    fl_query q;

    if (dict == NULL)
        return NULL;
    fl_query_init(&q, query);
    while (fl_query_next(&q, &field)) {
        PyObject *name, *value, *list, *fresh = NULL;
        int err = -1;

        if (field.value.n == 0 && !keep_blank)
            continue;
        name = decoded(field.name, field.name_encoded, true);
        value = decoded(field.value, field.value_encoded, false);
        if (name != NULL && value != NULL) {
            list = PyDict_GetItemWithError(dict, name); /* borrowed */
            if (list != NULL) {
                err = PyList_Append(list, value);
            } else if (!PyErr_Occurred() && (fresh = PyList_New(1)) != NULL) {
                PyList_SET_ITEM(fresh, 0, Py_NewRef(value));
                err = PyDict_SetItem(dict, name, fresh);
            }
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        Py_XDECREF(fresh);
        if (err < 0) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

/* A str or bytes as bytes in latin-1; *hold is a new reference that keeps them. */
static int
latin1_span(PyObject *source, fl_span *out, PyObject **hold)
{
    if (PyBytes_Check(source)) {
        *hold = Py_NewRef(source);
    } else if (PyUnicode_Check(source)) {
        *hold = PyUnicode_AsLatin1String(source);
        if (*hold == NULL)
            return -1;
    } else {
        PyErr_Format(PyExc_TypeError, "expected str or bytes, not %.100s",
                     Py_TYPE(source)->tp_name);
        return -1;
    }
    *out = fl_span_make(PyBytes_AS_STRING(*hold), (size_t)PyBytes_GET_SIZE(*hold));
    return 0;
}

static PyObject *
core_parse_query(PyObject *module, PyObject *args)
{
    PyObject *source, *hold, *most = Py_None, *dict = NULL;
    int keep_blank = 0;
    fl_span span;

    (void)module;
    if (!PyArg_ParseTuple(args, "O|pO:parse_query", &source, &keep_blank, &most) ||
        latin1_span(source, &span, &hold) < 0)
        return NULL;
    if (most != Py_None) {
        Py_ssize_t limit = PyNumber_AsSsize_t(most, NULL);

        if (limit == -1 && PyErr_Occurred())
            goto done;
        if (limit < 0 || fl_query_count(span) > (size_t)limit) {
            PyErr_SetString(PyExc_ValueError, "Max number of fields exceeded");
            goto done;
        }
    }
    dict = FlHTTP_ParseQuery(span, keep_blank);
done:
    Py_DECREF(hold);
    return dict;
}

/* ---- cookies ---- */

/* Text of a header is latin-1, one character a byte; only what a program made up itself
 * can hold more, and is then read as UTF-8. */
static PyObject *
cookie_text(const char *p, size_t n, bool latin)
{
    return latin ? PyUnicode_DecodeLatin1(p, (Py_ssize_t)n, NULL)
                 : PyUnicode_DecodeUTF8(p, (Py_ssize_t)n, "replace");
}

PyObject *
FlHTTP_ParseCookie(PyObject *header)
{
    bool latin = PyUnicode_KIND(header) == PyUnicode_1BYTE_KIND;
    PyObject *dict = PyDict_New();
    Py_ssize_t length = PyUnicode_GET_LENGTH(header);
    const char *p = latin ? (const char *)PyUnicode_1BYTE_DATA(header)
                          : PyUnicode_AsUTF8AndSize(header, &length);
    char *room = p == NULL ? NULL : PyMem_Malloc((size_t)length + 1);
    fl_span name, value;
    fl_cookies cookies;
    bool quoted;

    if (dict == NULL || room == NULL) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        Py_XDECREF(dict);
        PyMem_Free(room);
        return NULL;
    }
    fl_cookies_init(&cookies, fl_span_make(p, (size_t)length));
    while (fl_cookies_next(&cookies, &name, &value, &quoted)) {
        PyObject *key = cookie_text(name.p, name.n, latin);
        PyObject *text;

        if (quoted) {
            size_t n = fl_cookie_unquote(room, value);

            text = cookie_text(room, n, latin);
        } else {
            text = cookie_text(value.p, value.n, latin);
        }
        if (key == NULL || text == NULL || PyDict_SetItem(dict, key, text) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(text);
        if (dict == NULL)
            break;
    }
    PyMem_Free(room);
    return dict;
}

static PyObject *
core_parse_cookie(PyObject *module, PyObject *header)
{
    (void)module;
    if (!PyUnicode_Check(header))
        return PyErr_Format(PyExc_TypeError, "cookie must be str, not %.100s",
                            Py_TYPE(header)->tp_name);
    return FlHTTP_ParseCookie(header);
}

/* ---- parameters ---- */

static PyObject *
lower_text(fl_span s)
{
    PyObject *text = PyUnicode_DecodeUTF8(s.p, (Py_ssize_t)s.n, "replace");
    PyObject *lower = NULL;

    if (text != NULL)
        lower = PyObject_CallMethod(text, "lower", NULL);
    Py_XDECREF(text);
    return lower;
}

/* A raw parameter value as text. New reference. */
static PyObject *
param_text(fl_span value, bool escaped)
{
    PyObject *text;
    char *room;
    size_t n;

    if (!escaped)
        return PyUnicode_DecodeUTF8(value.p, (Py_ssize_t)value.n, "replace");
    room = PyMem_Malloc(value.n + 1);
    if (room == NULL)
        return PyErr_NoMemory();
    n = fl_param_unescape(room, value);
    text = PyUnicode_DecodeUTF8(room, (Py_ssize_t)n, "replace");
    PyMem_Free(room);
    return text;
}

static PyObject *
core_split_params(PyObject *module, PyObject *line)
{
    PyObject *pairs = PyList_New(0), *first = NULL;
    Py_ssize_t length;
    const char *p;
    fl_params params;
    fl_param param;
    fl_span value;

    (void)module;
    if (pairs == NULL)
        return NULL;
    p = PyUnicode_AsUTF8AndSize(line, &length);
    if (p == NULL)
        goto fail;
    value = fl_params_init(&params, fl_span_make(p, (size_t)length));
    first = PyUnicode_DecodeUTF8(value.p, (Py_ssize_t)value.n, "replace");
    if (first == NULL)
        goto fail;
    while (fl_params_next(&params, &param)) {
        PyObject *name, *text, *pair;
        int err;

        if (!param.has_equals)
            continue;
        name = lower_text(param.name);
        text = param_text(param.value, param.escaped);
        pair = name == NULL || text == NULL ? NULL : PyTuple_Pack(2, name, text);
        err = pair == NULL ? -1 : PyList_Append(pairs, pair);
        Py_XDECREF(name);
        Py_XDECREF(text);
        Py_XDECREF(pair);
        if (err < 0)
            goto fail;
    }
    return Py_BuildValue("NN", first, pairs);
fail:
    Py_XDECREF(first);
    Py_DECREF(pairs);
    return NULL;
}

/* ---- multipart ---- */

static PyObject *
core_multipart_boundary(PyObject *module, PyObject *content_type)
{
    Py_ssize_t length;
    const char *p = PyUnicode_AsUTF8AndSize(content_type, &length);
    fl_span boundary;

    (void)module;
    if (p == NULL)
        return NULL;
    if (fl_multipart_boundary(fl_span_make(p, (size_t)length), &boundary) < 0)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(boundary.p, (Py_ssize_t)boundary.n);
}

static const char *
multipart_text(int reason)
{
    switch (reason) {
    case FL_BAD_BOUNDARY:
        return "multipart boundary not found";
    case FL_BAD_MULTIPART:
        return "Invalid multipart/form-data: no final boundary found";
    case FL_BAD_PART_HEAD:
        return "multipart/form-data missing headers";
    case FL_BAD_PART_HEAD_LONG:
        return "multipart/form-data part header too large";
    case FL_BAD_PART_COUNT:
        return "multipart/form-data has too many parts";
    case FL_BAD_PART_DISPOSITION:
        return "multipart/form-data missing name in Content-Disposition";
    default:
        return fl_reason_text(reason);
    }
}

/* (name, filename or None, content type, data, extended disposition or None) */
static PyObject *
part_tuple(const fl_part *part)
{
    PyObject *name = param_text(part->name, part->name_escaped);
    PyObject *filename = part->has_filename
                             ? param_text(part->filename, part->filename_escaped)
                             : Py_NewRef(Py_None);
    PyObject *type = part->content_type.p == NULL
                         ? PyUnicode_FromString("application/unknown")
                         : param_text(part->content_type, false);
    PyObject *data = PyBytes_FromStringAndSize(part->data.p, (Py_ssize_t)part->data.n);
    PyObject *extended = part->extended.p == NULL ? Py_NewRef(Py_None)
                                                  : param_text(part->extended, false);

    if (name == NULL || filename == NULL || type == NULL || data == NULL ||
        extended == NULL) {
        Py_XDECREF(name);
        Py_XDECREF(filename);
        Py_XDECREF(type);
        Py_XDECREF(data);
        Py_XDECREF(extended);
        return NULL;
    }
    return Py_BuildValue("NNNNN", name, filename, type, data, extended);
}

static PyObject *
core_multipart_parts(PyObject *module, PyObject *args)
{
    FlState *st = FlState_OfModule(module);
    PyObject *list = NULL;
    Py_buffer boundary = {0}, body = {0};
    unsigned int max_parts, max_head;
    fl_multipart_limits limits;
    fl_multipart parser;
    fl_part part;
    int r;

    if (!PyArg_ParseTuple(args, "y*y*II:multipart_parts", &boundary, &body, &max_parts,
                          &max_head))
        return NULL;
    limits = (fl_multipart_limits){max_parts, max_head};
    r = fl_multipart_init(&parser, fl_span_make(boundary.buf, (size_t)boundary.len),
                          fl_span_make(body.buf, (size_t)body.len), &limits);
    if (r == 0)
        list = PyList_New(0);
    while (list != NULL && (r = fl_multipart_next(&parser, &part)) > 0) {
        PyObject *tuple = part_tuple(&part);

        if (tuple == NULL || PyList_Append(list, tuple) < 0)
            Py_CLEAR(list);
        Py_XDECREF(tuple);
    }
    if (r < 0 && !PyErr_Occurred()) {
        Py_CLEAR(list);
        FlHTTP_InputError(st, "%s", multipart_text(-r));
    }
    PyBuffer_Release(&boundary);
    PyBuffer_Release(&body);
    return list;
}

static PyObject *
bytes_of(fl_span s)
{
    return PyBytes_FromStringAndSize(s.p, (Py_ssize_t)s.n);
}

static PyObject *
core_split_signed_value(PyObject *Py_UNUSED(module), PyObject *text)
{
    fl_signed_value value;
    PyObject *tuple;

    if (!PyBytes_Check(text)) {
        PyErr_Format(PyExc_TypeError, "split_signed_value(text: bytes), got %.100s",
                     Py_TYPE(text)->tp_name);
        return NULL;
    }
    if (!fl_signed_value_split(
            fl_span_make(PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)),
            &value))
        Py_RETURN_NONE;
    tuple = PyTuple_New(6);
    if (tuple == NULL)
        return NULL;
    PyTuple_SET_ITEM(tuple, 0, PyLong_FromLongLong(value.key_version));
    PyTuple_SET_ITEM(tuple, 1, PyLong_FromLongLong(value.timestamp));
    PyTuple_SET_ITEM(tuple, 2, bytes_of(value.name));
    PyTuple_SET_ITEM(tuple, 3, bytes_of(value.value));
    PyTuple_SET_ITEM(tuple, 4, bytes_of(value.signature));
    PyTuple_SET_ITEM(tuple, 5, bytes_of(value.covered));
    for (Py_ssize_t i = 0; i < 6; i++) {
        if (PyTuple_GET_ITEM(tuple, i) == NULL) {
            Py_DECREF(tuple);
            return NULL;
        }
    }
    return tuple;
}

static PyObject *
core_http_date(PyObject *module, PyObject *seconds)
{
    char text[FL_HTTP_DATE_LEN];
    long long unix_seconds = PyLong_AsLongLong(seconds);

    (void)module;
    if (unix_seconds == -1 && PyErr_Occurred())
        return NULL;
    return PyUnicode_FromStringAndSize(
        text, (Py_ssize_t)fl_fmt_http_date(text, unix_seconds));
}

FL_ONE_ARGUMENT(core_parse_cookie, "parse_cookie", "cookie")

static PyMethodDef http_functions[] = {
    {"http_date", core_http_date, METH_O,
     PyDoc_STR("Seconds since the epoch as RFC 9110 section 5.6.7 writes them.")},
    {"parse_query", core_parse_query, METH_VARARGS, NULL},
    {"parse_cookie", FL_ONE_ARGUMENT_METHOD(core_parse_cookie),
     PyDoc_STR("parse_cookie($module, cookie)\n--\n\n"
               "The pairs of a Cookie header as a dict; later ones win.")},
    {"split_params", core_split_params, METH_O, NULL},
    {"multipart_boundary", core_multipart_boundary, METH_O, NULL},
    {"multipart_parts", core_multipart_parts, METH_VARARGS, NULL},
    {"split_signed_value", core_split_signed_value, METH_O,
     PyDoc_STR("The parts of a signed value of version 2 as (key version, time, name,\n"
               "base64 value, signature, what was signed); None: it is none.")},
    {NULL, NULL, 0, NULL},
};

int
FlHTTPFunctions_AddType(PyObject *module, FlState *st)
{
    (void)st;
    return PyModule_AddFunctions(module, http_functions);
}
