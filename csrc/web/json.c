/* json.c -- what write(dict) sends, made in one pass.
 *
 * escape.json_encode is json.dumps with "</" written "<\/". For values whose JSON depends
 * on nothing but themselves (exactly dict with str keys, list, tuple, str, int, float,
 * bool, None) this file writes the very same text. Everything else, and every value
 * while json_encode, json.dumps or the encoder behind it is not the original, is
 * json_encode's own business: FlWeb_Json says so by giving None.
 *
 * No code of Python runs in here, so nothing that is walked can change.
 *
 * Layer: web. Threads: none; under the GIL.
 */
#include "web/json.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/format.h"

/* Deeper values go to json_encode, which knows what to say of cycles. */
#define DEEPEST 64

/* A value that json_encode must do; as an answer beside 0 and -1. */
#define NOT_OURS 1

/* ---- text ---- */

static const char hex_digits[] = "0123456789abcdef";

static char *
put_unit(char *to, unsigned unit)
{
    *to++ = '\\';
    *to++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *to++ = hex_digits[unit >> shift & 15];
    return to;
}

static char *
put_escaped(char *to, Py_UCS4 c)
{
    static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (size_t i = 0; i + 1 < sizeof(short_forms); i += 2) {
        if ((Py_UCS4)(unsigned char)short_forms[i] == c) {
            *to++ = '\\';
            *to++ = short_forms[i + 1];
            return to;
        }
    }
    if (c < 0x10000)
        return put_unit(to, (unsigned)c);
    c -= 0x10000;
    to = put_unit(to, 0xd800 | (unsigned)(c >> 10));
    return put_unit(to, 0xdc00 | (unsigned)(c & 0x3ff));
}

static bool
is_plain(Py_UCS4 c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* How many of p[0..n) go out as they are. */
static size_t
plain_run(const unsigned char *p, size_t n)
{
    size_t i = 0;

    while (i < n && is_plain(p[i]) && p[i] != '/')
        i++;
    return i;
}

static int
put_text(fl_buf *out, PyObject *text)
{
    size_t n = (size_t)PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    size_t widest = kind == PyUnicode_4BYTE_KIND ? 12 : 6; /* \ud83d\ude00, \u00e9 */
    Py_UCS4 before = 0;
    char *start, *to;

    if (n > (SIZE_MAX - 2) / widest ||
        (start = fl_buf_reserve(out, n * widest + 2)) == NULL)
        return -1;
    to = start;
    *to++ = '"';
    for (size_t i = 0; i < n;) {
        Py_UCS4 c;

        if (kind == PyUnicode_1BYTE_KIND) {
            const unsigned char *p = (const unsigned char *)data + i;
            size_t run = plain_run(p, n - i);

            if (run > 0) {
                memcpy(to, p, run);
                to += run;
                i += run;
                before = to[-1];
                continue;
            }
        }
        c = PyUnicode_READ(kind, data, i);
        if (c == '/' && before == '<')
            *to++ = '\\';
        if (is_plain(c))
            *to++ = (char)c;
        else
            to = put_escaped(to, c);
        before = c;
        i++;
    }
    *to++ = '"';
    fl_buf_commit(out, (size_t)(to - start));
    return 0;
}

/* ---- numbers ---- */

static int
put_int(fl_buf *out, PyObject *value)
{
    char digits[1 + FL_FMT_U64_MAX];
    int overflow, err;
    long long n = PyLong_AsLongLongAndOverflow(value, &overflow);
    PyObject *text;

    if (!overflow) {
        uint64_t size = n < 0 ? -(uint64_t)n : (uint64_t)n;

        digits[0] = '-';
        return fl_buf_append(out, digits + (n >= 0),
                             (n < 0) + fl_fmt_u64(digits + 1, size));
    }
    text = PyObject_Str(value);
    if (text == NULL) {
        PyErr_Clear(); /* too long for a decimal: json_encode raises it */
        return NOT_OURS;
    }
    err = fl_buf_append(out, (const char *)PyUnicode_1BYTE_DATA(text),
                        (size_t)PyUnicode_GET_LENGTH(text));
    Py_DECREF(text);
    return err;
}

static int
put_float(fl_buf *out, double value)
{
    char *digits;
    int err;

    if (isnan(value))
        return fl_buf_append(out, "NaN", 3);
    if (isinf(value))
        return value > 0 ? fl_buf_append(out, "Infinity", 8)
                         : fl_buf_append(out, "-Infinity", 9);
    digits = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL)
        return -1;
    err = fl_buf_append(out, digits, strlen(digits));
    PyMem_Free(digits);
    return err;
}

/* ---- values: 0, -1 for no memory, NOT_OURS ---- */

static int put_value(fl_buf *out, PyObject *value, int depth);

static int
put_dict(fl_buf *out, PyObject *dict, int depth)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    bool first = true;
    int err = fl_buf_append(out, "{", 1);

    while (err == 0 && PyDict_Next(dict, &at, &key, &value)) {
        if (!PyUnicode_CheckExact(key))
            return NOT_OURS;
        if (!first)
            err = fl_buf_append(out, ", ", 2);
        first = false;
        if (err == 0)
            err = put_text(out, key);
        if (err == 0)
            err = fl_buf_append(out, ": ", 2);
        if (err == 0)
            err = put_value(out, value, depth + 1);
    }
    return err != 0 ? err : fl_buf_append(out, "}", 1);
}

static int
put_items(fl_buf *out, PyObject *const *items, Py_ssize_t n, int depth)
{
    int err = fl_buf_append(out, "[", 1);

    for (Py_ssize_t i = 0; err == 0 && i < n; i++) {
        if (i > 0)
            err = fl_buf_append(out, ", ", 2);
        if (err == 0)
            err = put_value(out, items[i], depth + 1);
    }
    return err != 0 ? err : fl_buf_append(out, "]", 1);
}

static int
put_value(fl_buf *out, PyObject *value, int depth)
{
    if (depth > DEEPEST)
        return NOT_OURS;
    if (PyUnicode_CheckExact(value))
        return put_text(out, value);
    if (value == Py_None)
        return fl_buf_append(out, "null", 4);
    if (value == Py_True)
        return fl_buf_append(out, "true", 4);
    if (value == Py_False)
        return fl_buf_append(out, "false", 5);
    if (PyLong_CheckExact(value))
        return put_int(out, value);
    if (PyFloat_CheckExact(value))
        return put_float(out, PyFloat_AS_DOUBLE(value));
    if (PyDict_CheckExact(value))
        return put_dict(out, value, depth);
    if (PyList_CheckExact(value))
        return put_items(out, PySequence_Fast_ITEMS(value), PyList_GET_SIZE(value),
                         depth);
    if (PyTuple_CheckExact(value))
        return put_items(out, PySequence_Fast_ITEMS(value), PyTuple_GET_SIZE(value),
                         depth);
    return NOT_OURS;
}

/* ---- is json_encode what it was born as? ---- */

/* The facts: (dict, key, value) in a row. The dicts of the modules are read by
 * json_encode itself at each call; those of the encoder say how it writes. */
static int
add_fact(PyObject *facts, PyObject *dict, PyObject *key, PyObject *value)
{
    if (PyList_Append(facts, dict) < 0 || PyList_Append(facts, key) < 0 ||
        PyList_Append(facts, value) < 0)
        return -1;
    return 0;
}

static int
add_module_fact(PyObject *facts, const char *module, const char *name)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *dict = m == NULL ? NULL : PyModule_GetDict(m); /* borrowed */
    PyObject *key = PyUnicode_InternFromString(name);
    PyObject *value =
        dict == NULL || key == NULL ? NULL : PyDict_GetItemWithError(dict, key);
    int err = value == NULL ? -1 : add_fact(facts, dict, key, value);

    Py_XDECREF(key);
    Py_XDECREF(m);
    return err;
}

static int
add_encoder_facts(PyObject *facts, PyObject *encoder)
{
    PyObject *dict = PyObject_GetAttrString(encoder, "__dict__"), *key, *value;
    Py_ssize_t at = 0;
    int err = dict == NULL ? -1 : 0;

    while (err == 0 && PyDict_Next(dict, &at, &key, &value))
        err = add_fact(facts, dict, key, value);
    Py_XDECREF(dict);
    return err;
}

int
FlWeb_RememberJson(FlState *st)
{
    static const char *const names[] = {"encode", "iterencode", "item_separator",
                                        "key_separator", "__getattribute__"};
    PyObject *facts = PyList_New(0), *json = PyImport_ImportModule("json");
    PyObject *encoder =
        json == NULL ? NULL : PyObject_GetAttrString(json, "_default_encoder");
    FlHooks *hooks = NULL;
    int err = -1;

    if (facts == NULL || encoder == NULL ||
        add_module_fact(facts, "pyfastloop.escape", "json_encode") < 0 ||
        add_module_fact(facts, "pyfastloop.escape", "json") < 0 ||
        add_module_fact(facts, "json", "dumps") < 0 ||
        add_module_fact(facts, "json", "_default_encoder") < 0 ||
        add_module_fact(facts, "json.encoder", "c_make_encoder") < 0 ||
        add_module_fact(facts, "json.encoder", "encode_basestring_ascii") < 0 ||
        add_encoder_facts(facts, encoder) < 0)
        goto done;
    hooks = FlHooks_OfClass(st, (PyObject *)Py_TYPE(encoder), names,
                            Py_ARRAY_LENGTH(names));
    if (hooks == NULL)
        goto done;
    Py_XSETREF(st->web_json_hooks, (PyObject *)hooks);
    Py_XSETREF(st->web_json_facts, PyList_AsTuple(facts));
    err = st->web_json_facts == NULL ? -1 : 0;
done:
    if (err < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "json lacks what json_encode is made of");
    Py_XDECREF(facts);
    Py_XDECREF(encoder);
    Py_XDECREF(json);
    return err;
}

static bool
json_original(FlState *st)
{
    FlHooks *hooks = (FlHooks *)st->web_json_hooks;
    PyObject *facts = st->web_json_facts;

    if (hooks == NULL || facts == NULL)
        return false;
    if (FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    if (hooks->replaced != 0)
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(facts); i += 3) {
        if (PyDict_GetItem(PyTuple_GET_ITEM(facts, i),
                           PyTuple_GET_ITEM(facts, i + 1)) !=
            PyTuple_GET_ITEM(facts, i + 2))
            return false;
    }
    return true;
}

PyObject *
FlWeb_Json(FlState *st, PyObject *value)
{
    PyObject *octets = NULL;
    fl_buf out;
    int answer;

    if (!json_original(st))
        Py_RETURN_NONE;
    fl_buf_init(&out);
    answer = put_value(&out, value, 0);
    if (answer == NOT_OURS)
        octets = Py_NewRef(Py_None);
    else if (answer == 0)
        octets =
            PyBytes_FromStringAndSize(fl_buf_ptr(&out), (Py_ssize_t)fl_buf_len(&out));
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    fl_buf_free(&out);
    return octets;
}
