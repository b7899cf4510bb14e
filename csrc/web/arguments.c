/* arguments.c -- RequestHandler's arguments and cookies: from the request to text.
 *
 * get_argument and its kin ask the request for a dict of lists of bytes, decode what
 * stands under a name and clean it. Each step that a program may replace (_get_argument,
 * _get_arguments, decode_argument, the regular expression of what is cleaned) is called
 * by name where it is no longer the original.
 *
 * get_cookie looks for one pair in the field as it came; a SimpleCookie is made only
 * where the pair is one that http.cookies has an opinion on.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/arguments.h"

#include <string.h>

#include "proto/cookie.h"
#include "proto/tokens.h"

#define ORIGINAL(self, name) FlRequestHandler_Original(self, FL_HOOK_##name)

static FlRequestHandler *
handler_cast(PyObject *self)
{
    return (FlRequestHandler *)self;
}

/* ---- parameters ---- */

/* Fills out[] from positional and keyword arguments by these names: 0, or -1 with
 * TypeError. What was not given stays as it is. */
static int
take_arguments(const char *function, PyObject *const names[], int count, int needed,
               PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
               PyObject **out)
{
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);

    if (nargs > count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)",
                     function, count, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, k);
        int i = 0;

        while (i < count && key != names[i] && PyUnicode_Compare(key, names[i]) != 0)
            i++;
        if (i == count || i < nargs) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected argument '%U'",
                         function, key);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    for (int i = 0; i < needed; i++) {
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() misses the argument '%U'", function,
                         names[i]);
            return -1;
        }
    }
    return 0;
}

/* ---- one value ---- */

static bool
is_blank(Py_UCS4 c)
{
    return Py_UNICODE_ISSPACE(c);
}

/* C0 controls but tab, line feed, vertical tab, form feed, return. */
static bool
has_controls(PyObject *text)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);

    for (Py_ssize_t i = 0; i < n; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);

        if (c < 0x20 && !(c >= 0x09 && c <= 0x0d))
            return true;
    }
    return false;
}

/* The steals of text below: each gives the next form of it, or NULL. */

static PyObject *
without_controls(FlRequestHandler *self, PyObject *text)
{
    PyObject *regex, *clean;

    if (!PyUnicode_Check(text) || (ORIGINAL(self, _remove_control_chars_regex) &&
                                   PyUnicode_CheckExact(text) && !has_controls(text)))
        return text;
    regex =
        PyObject_GetAttr((PyObject *)self, self->st->str__remove_control_chars_regex);
    clean = regex == NULL ? NULL : PyObject_CallMethod(regex, "sub", "sO", " ", text);
    Py_XDECREF(regex);
    Py_DECREF(text);
    return clean;
}

static PyObject *
stripped(PyObject *text)
{
    PyObject *inner;

    if (PyUnicode_CheckExact(text)) {
        Py_ssize_t n = PyUnicode_GET_LENGTH(text);

        if (n == 0 || (!is_blank(PyUnicode_READ_CHAR(text, 0)) &&
                       !is_blank(PyUnicode_READ_CHAR(text, n - 1))))
            return text;
    }
    inner = PyObject_CallMethod(text, "strip", NULL);
    Py_DECREF(text);
    return inner;
}

PyObject *
FlRequestHandler_Decode(FlRequestHandler *self, PyObject *raw, PyObject *name)
{
    FlState *st = self->st;
    PyObject *args[3] = {(PyObject *)self, raw, name};

    if (PyBytes_Check(raw) && ORIGINAL(self, decode_argument)) {
        PyObject *text =
            PyUnicode_DecodeUTF8(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), NULL);

        if (text != NULL || !PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return text;
        PyErr_Clear(); /* the original says it better */
    }
    if (name == NULL)
        return PyObject_VectorcallMethod(st->str_decode_argument, args, 2, NULL);
    if (st->web_name_keyword == NULL)
        st->web_name_keyword = PyTuple_Pack(1, st->str_name);
    if (st->web_name_keyword == NULL)
        return NULL;
    return PyObject_VectorcallMethod(st->str_decode_argument, args, 2,
                                     st->web_name_keyword);
}

static PyObject *
clean_value(FlRequestHandler *self, PyObject *raw, PyObject *name, bool strip)
{
    PyObject *text = FlRequestHandler_Decode(self, raw, name);

    if (text != NULL)
        text = without_controls(self, text);
    if (text != NULL && strip)
        text = stripped(text);
    return text;
}

/* ---- all values, the last value ---- */

/* What the request sent for a name: a new reference, NULL without an exception for
 * nothing. */
static PyObject *
values_of(PyObject *source, PyObject *name)
{
    PyObject *found;

    if (PyDict_CheckExact(source)) {
        (void)PyDict_GetItemRef(source, name, &found);
        return found;
    }
    found = PyObject_CallMethod(source, "get", "O", name);
    if (found == Py_None)
        Py_CLEAR(found);
    return found;
}

/* New list of the clean values, or NULL. */
static PyObject *
clean_values(FlRequestHandler *self, PyObject *name, PyObject *source, bool strip)
{
    PyObject *found = values_of(source, name), *raws, *values;

    if (found == NULL)
        return PyErr_Occurred() ? NULL : PyList_New(0);
    raws = PySequence_Tuple(found); /* user code may change the list meanwhile */
    Py_DECREF(found);
    values = raws == NULL ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; values != NULL && i < PyTuple_GET_SIZE(raws); i++) {
        PyObject *text = clean_value(self, PyTuple_GET_ITEM(raws, i), name, strip);

        if (text == NULL || PyList_Append(values, text) < 0)
            Py_CLEAR(values);
        Py_XDECREF(text);
    }
    Py_XDECREF(raws);
    return values;
}

/* What _get_argument gives where nothing was sent. */
static PyObject *
default_or_raise(FlState *st, PyObject *name, PyObject *fallback)
{
    PyObject *marker = FlState_Lazy(st, &st->web_arg_default,
                                    "pyfastloop.web.arguments", "_ARG_DEFAULT");
    PyObject *type, *error;

    if (marker == NULL)
        return NULL;
    if (fallback != NULL && fallback != marker)
        return Py_NewRef(fallback);
    type = FlState_Lazy(st, &st->web_missing_argument, "pyfastloop.web.errors",
                        "MissingArgumentError");
    error = type == NULL ? NULL : PyObject_CallOneArg(type, name);
    if (error != NULL) {
        PyErr_SetObject(type, error);
        Py_DECREF(error);
    }
    return NULL;
}

/* Each of the next two runs the C form or what replaced it. */

static PyObject *
get_values(FlRequestHandler *self, PyObject *name, PyObject *source, PyObject *strip)
{
    if (ORIGINAL(self, _get_arguments)) {
        int on = PyObject_IsTrue(strip);

        return on < 0 ? NULL : clean_values(self, name, source, on);
    }
    return PyObject_CallMethodObjArgs((PyObject *)self, self->st->str__get_arguments,
                                      name, source, strip, NULL);
}

static PyObject *
last_value(FlRequestHandler *self, PyObject *name, PyObject *fallback, PyObject *source,
           PyObject *strip)
{
    PyObject *found, *values, *value = NULL;
    Py_ssize_t n;

    if (ORIGINAL(self, _get_arguments) && PyDict_CheckExact(source)) {
        found = values_of(source, name);
        if (found == NULL && PyErr_Occurred())
            return NULL;
        /* By far most often one. */
        if (found != NULL && PyList_CheckExact(found) && PyList_GET_SIZE(found) == 1) {
            PyObject *raw = Py_NewRef(PyList_GET_ITEM(found, 0));
            int on = PyObject_IsTrue(strip);

            Py_DECREF(found);
            value = on < 0 ? NULL : clean_value(self, raw, name, on);
            Py_DECREF(raw);
            return value;
        }
        Py_XDECREF(found);
        if (found == NULL)
            return default_or_raise(self->st, name, fallback);
    }
    values = get_values(self, name, source, strip);
    n = values == NULL ? -1 : PyObject_Size(values);
    if (n > 0)
        value = PySequence_GetItem(values, n - 1);
    else if (n == 0)
        value = default_or_raise(self->st, name, fallback);
    Py_XDECREF(values);
    return value;
}

/* ---- methods ---- */

/* Which of the request's dicts; new reference. */
static PyObject *
source_of(FlRequestHandler *self, PyObject *which)
{
    PyObject *request = Py_XNewRef(self->request), *source;

    if (request == NULL) /* a property of the class may stand in its place */
        request = PyObject_GetAttrString((PyObject *)self, "request");
    source = request == NULL ? NULL : PyObject_GetAttr(request, which);
    Py_XDECREF(request);
    return source;
}

static PyObject *
one_argument(FlRequestHandler *self, const char *function, PyObject *which,
             PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    FlState *st = self->st;
    PyObject *const names[] = {st->str_name, st->str_default, st->str_strip};
    PyObject *given[3] = {NULL, NULL, Py_True}, *source, *marker, *value;

    if (take_arguments(function, names, 3, 1, args, nargs, kwnames, given) < 0)
        return NULL;
    source = source_of(self, which);
    if (source == NULL)
        return NULL;
    if (ORIGINAL(self, _get_argument)) {
        value = last_value(self, given[0], given[1], source, given[2]);
    } else {
        marker = FlState_Lazy(st, &st->web_arg_default, "pyfastloop.web.arguments",
                              "_ARG_DEFAULT");
        value = marker == NULL
                    ? NULL
                    : PyObject_CallMethodObjArgs(
                          (PyObject *)self, st->str__get_argument, given[0],
                          given[1] == NULL ? marker : given[1], source, given[2], NULL);
    }
    Py_DECREF(source);
    return value;
}

static PyObject *
all_arguments(FlRequestHandler *self, const char *function, PyObject *which,
              PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *const names[] = {self->st->str_name, self->st->str_strip};
    PyObject *given[2] = {NULL, Py_True}, *source, *values;

    if (take_arguments(function, names, 2, 1, args, nargs, kwnames, given) < 0)
        return NULL;
    if (which == self->st->str_arguments && !PyBool_Check(given[1]))
        return PyErr_Format(PyExc_AssertionError,
                            "get_arguments takes (name, strip); strip must be a bool, "
                            "not %R. It has no default argument",
                            given[1]);
    source = source_of(self, which);
    values = source == NULL ? NULL : get_values(self, given[0], source, given[1]);
    Py_XDECREF(source);
    return values;
}

#define METHOD(kind, name, which)                                              \
    static PyObject *handler_##name(PyObject *op, PyObject *const *args,       \
                                    Py_ssize_t nargs, PyObject *kwnames)       \
    {                                                                          \
        FlRequestHandler *self = handler_cast(op);                             \
                                                                               \
        return kind(self, #name, self->st->str_##which, args, nargs, kwnames); \
    }

METHOD(one_argument, get_argument, arguments)
METHOD(one_argument, get_query_argument, query_arguments)
METHOD(one_argument, get_body_argument, body_arguments)
METHOD(all_arguments, get_arguments, arguments)
METHOD(all_arguments, get_query_arguments, query_arguments)
METHOD(all_arguments, get_body_arguments, body_arguments)
#undef METHOD

static PyObject *
handler__get_argument(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    FlState *st = handler_cast(op)->st;
    PyObject *const names[] = {st->str_name, st->str_default, st->str_source,
                               st->str_strip};
    PyObject *given[4] = {NULL, NULL, NULL, Py_True};

    if (take_arguments("_get_argument", names, 4, 3, args, nargs, kwnames, given) < 0)
        return NULL;
    return last_value(handler_cast(op), given[0], given[1], given[2], given[3]);
}

static PyObject *
handler__get_arguments(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    FlState *st = handler_cast(op)->st;
    PyObject *const names[] = {st->str_name, st->str_source, st->str_strip};
    PyObject *given[3] = {NULL, NULL, Py_True};
    int strip;

    if (take_arguments("_get_arguments", names, 3, 2, args, nargs, kwnames, given) < 0)
        return NULL;
    strip = PyObject_IsTrue(given[2]);
    return strip < 0 ? NULL : clean_values(handler_cast(op), given[0], given[1], strip);
}

/* ---- cookies ---- */

/* What http.cookies keeps for attributes; a pair of such a name is left out there. */
static bool
reserved(fl_span name)
{
    static const char *const words[] = {"expires",  "path",       "comment",  "domain",
                                        "max-age",  "secure",     "httponly", "version",
                                        "samesite", "partitioned"};

    for (size_t i = 0; i < Py_ARRAY_LENGTH(words); i++) {
        if (fl_span_ieq(name, fl_span_make(words[i], strlen(words[i]))))
            return true;
    }
    return false;
}

/* The one Cookie field of a map; empty where there is none. */
static bool
cookie_of_map(FlState *st, PyObject *map, fl_span *field)
{
    FlHTTPHeaders *headers = (FlHTTPHeaders *)map;
    int32_t at;

    if (!Py_IS_TYPE(map, st->HTTPHeaders_type))
        return false;
    at = FlHTTPHeaders_FindId(headers, FL_H_COOKIE);
    return at < 0 || (headers->entries[at].next < 0 &&
                      FlHTTPHeaders_ValueSpan(headers, at, field));
}

/* The Cookie field of a request whose jar nobody has seen yet; false: ask the jar. */
static bool
cookie_field(FlRequestHandler *self, fl_span *field)
{
    FlHTTPServerRequest *request = (FlHTTPServerRequest *)self->request;
    const fl_head *head;
    int count = 0;

    *field = fl_span_make("", 0);
    if (request == NULL || !Py_IS_TYPE(request, self->st->HTTPServerRequest_type) ||
        request->cookies != NULL || !FlWeb_RequestOriginal(self->st))
        return false;
    if (request->headers != NULL)
        return cookie_of_map(self->st, request->headers, field);
    if (request->block == NULL)
        return false;
    head = &request->block->head;
    for (uint32_t i = 0; i < head->nfields; i++) {
        if (head->fields[i].id != FL_H_COOKIE)
            continue;
        *field = FlHeadBlock_Span(request->block, head->fields[i].value);
        count++;
    }
    return count <= 1;
}

/* The value of the last pair of a name. 1: *out, 0: there is none, -1: ask the jar. */
static int
find_cookie(fl_span field, fl_span wanted, fl_span *out)
{
    fl_cookies cookies;
    fl_span name, value;
    bool quoted;
    int found = 0;

    fl_cookies_init(&cookies, field);
    while (fl_cookies_next(&cookies, &name, &value, &quoted)) {
        if (!fl_span_eq(name, wanted))
            continue;
        if (!fl_cookie_value_plain(value))
            return -1;
        *out = value;
        found = 1;
    }
    return found;
}

static PyObject *
cookie_of_jar(FlRequestHandler *self, PyObject *name, PyObject *fallback)
{
    PyObject *jar = source_of(self, self->st->str_cookies);
    PyObject *morsel = jar == NULL ? NULL : PyObject_CallMethod(jar, "get", "O", name);
    PyObject *value = NULL;

    Py_XDECREF(jar);
    if (morsel == Py_None)
        value = Py_NewRef(fallback);
    else if (morsel != NULL)
        value = PyObject_GetAttr(morsel, self->st->str_value);
    Py_XDECREF(morsel);
    return value;
}

static PyObject *
handler_get_cookie(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames)
{
    FlRequestHandler *self = handler_cast(op);
    PyObject *const names[] = {self->st->str_name, self->st->str_default};
    PyObject *given[2] = {NULL, Py_None};
    fl_span field, name, value;
    int found;

    if (take_arguments("get_cookie", names, 2, 1, args, nargs, kwnames, given) < 0)
        return NULL;
    if (!PyUnicode_CheckExact(given[0]) || !PyUnicode_IS_ASCII(given[0]) ||
        !cookie_field(self, &field))
        return cookie_of_jar(self, given[0], given[1]);
    name = fl_span_make((const char *)PyUnicode_1BYTE_DATA(given[0]),
                        (size_t)PyUnicode_GET_LENGTH(given[0]));
    if (name.n == 0 || !fl_span_all(name, FL_C_TOKEN) || reserved(name))
        return cookie_of_jar(self, given[0], given[1]);
    found = find_cookie(field, name, &value);
    if (found < 0)
        return cookie_of_jar(self, given[0], given[1]);
    return found == 0 ? Py_NewRef(given[1])
                      : PyUnicode_DecodeLatin1(value.p, (Py_ssize_t)value.n, NULL);
}

#define METHOD(name, args, text)                         \
    {#name, (PyCFunction)(void (*)(void))handler_##name, \
     METH_FASTCALL | METH_KEYWORDS,                      \
     PyDoc_STR(#name "($self, name" args ")\n--\n\n" text)}
#define ONE ", default=..., strip=True"
#define ALL ", strip=True"

static PyMethodDef argument_methods[] = {
    METHOD(get_argument, ONE,
           "The last value sent for name, in the query or the form.\n\n"
           "Without one gives default; where no default is given raises\n"
           "MissingArgumentError (400). strip removes white space around it."),
    METHOD(get_arguments, ALL,
           "All values sent for name, query first; an empty list without any."),
    METHOD(get_query_argument, ONE, "As get_argument, from the query alone."),
    METHOD(get_query_arguments, ALL, "As get_arguments, from the query alone."),
    METHOD(get_body_argument, ONE, "As get_argument, from the body alone."),
    METHOD(get_body_arguments, ALL, "As get_arguments, from the body alone."),
    METHOD(_get_argument, ", default, source, strip=True",
           "What all that give one value ask."),
    METHOD(_get_arguments, ", source, strip=True", "What all that give a list ask."),
    METHOD(get_cookie, ", default=None",
           "The value of the request's cookie name, or default.\n\n"
           "Tells nothing of cookies that set_cookie set for this response."),
    {NULL, NULL, 0, NULL},
};

#undef ALL
#undef ONE
#undef METHOD

int
FlRequestHandler_AddArguments(FlState *st)
{
    PyObject *type = (PyObject *)st->RequestHandler_type;

    for (PyMethodDef *def = argument_methods; def->ml_name != NULL; def++) {
        PyObject *method = PyDescr_NewMethod(st->RequestHandler_type, def);
        int err =
            method == NULL ? -1 : PyObject_SetAttrString(type, def->ml_name, method);

        Py_XDECREF(method);
        if (err < 0)
            return -1;
    }
    return 0;
}
