/* headers_type.c -- httputil.HTTPHeaders: the header map as Python sees it.
 *
 * What MutableMapping gives for free (pop, update, setdefault, items and so on) is its
 * own functions, put onto the type once; they come back through the methods below, and
 * so through a subclass's.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/headers.h"

#include <string.h>

static FlHTTPHeaders *
headers_cast(PyObject *self)
{
    return (FlHTTPHeaders *)self;
}

/* The bytes of a look-up key: false for what cannot be a name (no exception). */
static bool
key_span(PyObject *key, fl_span *out)
{
    Py_ssize_t n;
    const char *p;

    if (!PyUnicode_Check(key) || !PyUnicode_IS_ASCII(key))
        return false;
    p = (const char *)PyUnicode_1BYTE_DATA(key);
    n = PyUnicode_GET_LENGTH(key);
    *out = fl_span_make(p, (size_t)n);
    return true;
}

static int32_t
headers_find(PyObject *self, PyObject *key)
{
    fl_span name;

    return key_span(key, &name) ? FlHTTPHeaders_Find(headers_cast(self), name) : -1;
}

static PyObject *
headers_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlHTTPHeaders *self = (FlHTTPHeaders *)type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self == NULL)
        return NULL;
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static bool
is_exact(FlHTTPHeaders *self)
{
    return Py_IS_TYPE(self, self->st->HTTPHeaders_type);
}

/* A value somebody set: text as it is, bytes as latin-1, else str(). New reference. */
static PyObject *
value_text(PyObject *value)
{
    if (PyUnicode_Check(value))
        return Py_NewRef(value);
    if (PyBytes_Check(value))
        return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
                                      NULL);
    if (value == Py_None) {
        PyErr_SetString(PyExc_TypeError, "header value must be str, not None");
        return NULL;
    }
    return PyObject_Str(value);
}

static int
add_through(FlHTTPHeaders *self, PyObject *name, PyObject *value)
{
    PyObject *done;

    if (is_exact(self))
        return FlHTTPHeaders_Add(self, name, value);
    done = PyObject_CallMethod((PyObject *)self, "add", "OO", name, value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Copies from another map, which user code may change meanwhile. */
static int
headers_extend(FlHTTPHeaders *self, FlHTTPHeaders *from)
{
    for (int32_t i = 0; i < from->count; i++) {
        if (from->entries[i].last < 0)
            continue;
        for (int32_t at = i; at >= 0 && at < from->count; at = from->entries[at].next) {
            PyObject *name = Py_XNewRef(FlHTTPHeaders_Name(from, at));
            PyObject *value = Py_XNewRef(FlHTTPHeaders_Value(from, at));
            int err = name == NULL || value == NULL ? -1 : 0;

            if (err == 0)
                err = add_through(self, name, value);
            Py_XDECREF(name);
            Py_XDECREF(value);
            if (err < 0)
                return -1;
            if (i >= from->count)
                return 0;
        }
    }
    return 0;
}

static int
headers_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    FlHTTPHeaders *self = headers_cast(op);
    bool plain = kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0;
    PyObject *update, *done;

    if (PyTuple_GET_SIZE(args) == 0 && plain)
        return 0;
    if (PyTuple_GET_SIZE(args) == 1 && plain &&
        FlHTTPHeaders_Check(self->st, PyTuple_GET_ITEM(args, 0)))
        return headers_extend(self, (FlHTTPHeaders *)PyTuple_GET_ITEM(args, 0));
    update = PyObject_GetAttrString(op, "update");
    if (update == NULL)
        return -1;
    done = PyObject_Call(update, args, kwargs);
    Py_DECREF(update);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
headers_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHTTPHeaders *self = headers_cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    return 0;
}

static int
headers_clear_refs(PyObject *op)
{
    Py_CLEAR(headers_cast(op)->dict);
    return 0;
}

static void
headers_drop_entries(FlHTTPHeaders *self)
{
    for (int32_t i = 0; i < self->count; i++) {
        Py_XDECREF(self->entries[i].name);
        Py_XDECREF(self->entries[i].value);
    }
    self->count = 0;
    self->leaders = 0;
}

static void
headers_dealloc(PyObject *op)
{
    FlHTTPHeaders *self = headers_cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    headers_drop_entries(self);
    PyMem_Free(self->entries);
    FlHeadBlock_Release(self->block);
    Py_CLEAR(self->dict);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- mapping ---- */

static Py_ssize_t
headers_length(PyObject *self)
{
    return headers_cast(self)->leaders;
}

/* KeyError with the name as it would be kept. */
static void
set_key_error(PyObject *key)
{
    PyObject *name;
    fl_span span;

    if (!key_span(key, &span)) {
        PyErr_SetObject(PyExc_KeyError, key);
        return;
    }
    name = PyUnicode_New((Py_ssize_t)span.n, 127);
    if (name == NULL)
        return;
    fl_header_normalize((char *)PyUnicode_1BYTE_DATA(name), span);
    PyErr_SetObject(PyExc_KeyError, name);
    Py_DECREF(name);
}

static PyObject *
headers_getitem(PyObject *self, PyObject *key)
{
    int32_t at = headers_find(self, key);

    if (at >= 0)
        return FlHTTPHeaders_Joined(headers_cast(self), at);
    set_key_error(key);
    return NULL;
}

static int
headers_setitem(PyObject *self, PyObject *key, PyObject *value)
{
    PyObject *text;
    fl_span name;
    int err;

    if (value == NULL) {
        if (key_span(key, &name) && FlHTTPHeaders_Remove(headers_cast(self), name) > 0)
            return 0;
        set_key_error(key);
        return -1;
    }
    text = value_text(value);
    if (text == NULL)
        return -1;
    err = FlHTTPHeaders_Set(headers_cast(self), key, text);
    Py_DECREF(text);
    return err;
}

static int
headers_contains(PyObject *self, PyObject *key)
{
    return headers_find(self, key) >= 0;
}

static PyObject *
names_list(FlHTTPHeaders *self)
{
    PyObject *list = PyList_New(self->leaders);
    Py_ssize_t n = 0;

    for (int32_t i = 0; list != NULL && i < self->count; i++) {
        PyObject *name;

        if (self->entries[i].last < 0)
            continue;
        name = FlHTTPHeaders_Name(self, i);
        if (name == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, n++, Py_NewRef(name));
    }
    return list;
}

static PyObject *
headers_iter(PyObject *self)
{
    PyObject *list = names_list(headers_cast(self));
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);

    Py_XDECREF(list);
    return iterator;
}

/* [(name, value), …], grouped by name; joined: one pair a name. */
static PyObject *
pairs_list(FlHTTPHeaders *self, bool joined)
{
    PyObject *list = PyList_New(0);

    for (int32_t i = 0; list != NULL && i < self->count; i++) {
        if (self->entries[i].last < 0)
            continue;
        for (int32_t at = i; at >= 0; at = self->entries[at].next) {
            PyObject *name = FlHTTPHeaders_Name(self, at);
            PyObject *value = joined ? FlHTTPHeaders_Joined(self, at)
                                     : Py_XNewRef(FlHTTPHeaders_Value(self, at));
            PyObject *pair =
                name == NULL || value == NULL ? NULL : PyTuple_Pack(2, name, value);
            int err = pair == NULL ? -1 : PyList_Append(list, pair);

            Py_XDECREF(value);
            Py_XDECREF(pair);
            if (err < 0) {
                Py_DECREF(list);
                return NULL;
            }
            if (joined)
                break;
        }
    }
    return list;
}

static PyObject *
headers_get_all(PyObject *self, PyObject *unused)
{
    PyObject *list = pairs_list(headers_cast(self), false);
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);

    (void)unused;
    Py_XDECREF(list);
    return iterator;
}

static PyObject *
headers_get_list(PyObject *op, PyObject *name)
{
    FlHTTPHeaders *self = headers_cast(op);
    PyObject *list = PyList_New(0);

    for (int32_t at = headers_find(op, name); list != NULL && at >= 0;
         at = self->entries[at].next) {
        PyObject *value = FlHTTPHeaders_Value(self, at);

        if (value == NULL || PyList_Append(list, value) < 0)
            Py_CLEAR(list);
    }
    return list;
}

static PyObject *
headers_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *fallback = Py_None;
    int32_t at;

    if (kwnames != NULL && PyTuple_GET_SIZE(kwnames) == 1 && nargs == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "default") == 0)
        fallback = args[1];
    else if (nargs < 1 || nargs > 2 ||
             (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)) {
        PyErr_SetString(PyExc_TypeError, "get() takes a name and optionally a default");
        return NULL;
    }
    if (nargs == 2)
        fallback = args[1];
    if (!is_exact(headers_cast(self))) {
        PyObject *found = PyObject_GetItem(self, args[0]);

        if (found != NULL || !PyErr_ExceptionMatches(PyExc_KeyError))
            return found;
        PyErr_Clear();
        return Py_NewRef(fallback);
    }
    at = headers_find(self, args[0]);
    return at < 0 ? Py_NewRef(fallback) : FlHTTPHeaders_Joined(headers_cast(self), at);
}

static PyObject *
headers_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *value;

    if (nargs < 1 || nargs > 2) {
        PyErr_SetString(PyExc_TypeError, "pop() takes a name and maybe a default");
        return NULL;
    }
    value = PyObject_GetItem(self, args[0]);
    if (value == NULL) {
        if (nargs < 2 || !PyErr_ExceptionMatches(PyExc_KeyError))
            return NULL;
        PyErr_Clear();
        return Py_NewRef(args[1]);
    }
    if (PyObject_DelItem(self, args[0]) < 0)
        Py_CLEAR(value);
    return value;
}

/* ---- adding and parsing ---- */

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

static PyObject *
headers_add(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "value", "_chars_are_bytes", NULL};
    PyObject *name, *value;
    int bytes;

    if (!text_arguments(args, kwargs, "OO|$p:add", names, &name, &value, &bytes))
        return NULL;
    if (add_checked(headers_cast(self), name, value, bytes) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Adds the field line text[from, to). */
static int
parse_line_of(PyObject *op, PyObject *text, Py_ssize_t from, Py_ssize_t to, bool bytes)
{
    FlHTTPHeaders *self = headers_cast(op);
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
        if (is_exact(self)) {
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

static PyObject *
headers_parse_line(PyObject *self, PyObject *args, PyObject *kwargs)
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

static PyObject *
headers_parse(PyObject *type, PyObject *args, PyObject *kwargs)
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

/* ---- whole maps ---- */

static PyObject *
headers_str(PyObject *self)
{
    PyObject *list = pairs_list(headers_cast(self), false);
    PyObject *lines, *empty, *text = NULL;

    if (list == NULL)
        return NULL;
    lines = PyList_New(0);
    empty = PyUnicode_FromString("");
    for (Py_ssize_t i = 0; lines != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        PyObject *line = PyUnicode_FromFormat("%U: %U\n", PyTuple_GET_ITEM(pair, 0),
                                              PyTuple_GET_ITEM(pair, 1));

        if (line == NULL || PyList_Append(lines, line) < 0)
            Py_CLEAR(lines);
        Py_XDECREF(line);
    }
    if (lines != NULL && empty != NULL)
        text = PyUnicode_Join(empty, lines);
    Py_XDECREF(lines);
    Py_XDECREF(empty);
    Py_DECREF(list);
    return text;
}

static PyObject *
headers_repr(PyObject *op)
{
    PyObject *list = pairs_list(headers_cast(op), false);
    PyObject *text = NULL;

    if (list != NULL)
        text = PyUnicode_FromFormat("%s(%R)", Py_TYPE(op)->tp_name, list);
    Py_XDECREF(list);
    return text;
}

static PyObject *
headers_copy(PyObject *op, PyObject *unused)
{
    FlHTTPHeaders *self = headers_cast(op);

    (void)unused;
    return PyObject_CallOneArg((PyObject *)self->st->HTTPHeaders_type, op);
}

static PyObject *
headers_compare(PyObject *self, PyObject *other, int op)
{
    FlState *st = headers_cast(self)->st;
    PyObject *mapping, *mine, *list, *theirs = NULL, *answer = NULL;
    int is_mapping;

    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    mapping = FlState_Lazy(st, &st->Mapping, "collections.abc", "Mapping");
    is_mapping = mapping == NULL ? -1 : PyObject_IsInstance(other, mapping);
    if (is_mapping <= 0)
        return is_mapping < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    mine = PyDict_New();
    list = pairs_list(headers_cast(self), true);
    if (mine != NULL && list != NULL && PyDict_MergeFromSeq2(mine, list, 1) == 0) {
        theirs = PyDict_New();
        if (theirs != NULL && PyDict_Update(theirs, other) == 0)
            answer = PyObject_RichCompare(mine, theirs, op);
    }
    Py_XDECREF(mine);
    Py_XDECREF(list);
    Py_XDECREF(theirs);
    return answer;
}

static PyObject *
headers_getstate(PyObject *op, PyObject *unused)
{
    FlHTTPHeaders *self = headers_cast(op);
    PyObject *list = pairs_list(self, false);
    PyObject *state = NULL;

    (void)unused;
    if (list != NULL)
        state = PyTuple_Pack(2, list, self->dict != NULL ? self->dict : Py_None);
    Py_XDECREF(list);
    return state;
}

static PyObject *
headers_reduce(PyObject *op, PyObject *unused)
{
    PyObject *state = headers_getstate(op, unused);

    return state == NULL ? NULL : Py_BuildValue("O()N", Py_TYPE(op), state);
}

static PyObject *
headers_setstate(PyObject *op, PyObject *state)
{
    FlHTTPHeaders *self = headers_cast(op);
    PyObject *list, *dict;

    if (!PyTuple_Check(state) ||
        !PyArg_ParseTuple(state, "O!O", &PyList_Type, &list, &dict))
        return PyErr_Occurred() ? NULL
                                : PyErr_Format(PyExc_TypeError, "not a header state");
    headers_drop_entries(self);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *name, *value;

        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "OO", &name, &value) ||
            FlHTTPHeaders_Add(self, name, value) < 0)
            return NULL;
    }
    if (dict != Py_None)
        Py_XSETREF(self->dict, PyDict_Copy(dict));
    Py_RETURN_NONE;
}

static PyObject *
headers_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    headers_drop_entries(headers_cast(self));
    Py_RETURN_NONE;
}

static PyMethodDef headers_methods[] = {
    {"add", (PyCFunction)(void (*)(void))headers_add, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Add a value; those of the same name are kept.")},
    {"get", (PyCFunction)(void (*)(void))headers_get, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("The joined value of a name, or the default.")},
    {"pop", (PyCFunction)(void (*)(void))headers_pop, METH_FASTCALL,
     PyDoc_STR("Remove a name and give its joined value, or the default.")},
    {"get_list", headers_get_list, METH_O,
     PyDoc_STR("All values of a name, one by one.")},
    {"get_all", headers_get_all, METH_NOARGS,
     PyDoc_STR("All (name, value) pairs, repeated names repeated.")},
    {"parse_line", (PyCFunction)(void (*)(void))headers_parse_line,
     METH_VARARGS | METH_KEYWORDS, PyDoc_STR("Add what one field line says.")},
    {"parse", (PyCFunction)(void (*)(void))headers_parse,
     METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     PyDoc_STR("A new map of the field lines in a string.")},
    {"copy", headers_copy, METH_NOARGS, PyDoc_STR("A map of its own.")},
    {"clear", headers_clear, METH_NOARGS, PyDoc_STR("Remove everything.")},
    {"__copy__", headers_copy, METH_NOARGS, NULL},
    {"__unicode__", (PyCFunction)(void (*)(void))headers_str, METH_NOARGS, NULL},
    {"__reduce__", headers_reduce, METH_NOARGS, NULL},
    {"__setstate__", headers_setstate, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef headers_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlHTTPHeaders, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlHTTPHeaders, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef headers_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot headers_slots[] = {
    {Py_tp_doc, "A header map: case-insensitive names, several values a name.\n\n"
                "Reading joins the values of a name with a comma; add and get_list\n"
                "keep them apart (Set-Cookie needs that)."},
    {Py_tp_new, headers_new},
    {Py_tp_init, headers_init},
    {Py_tp_dealloc, headers_dealloc},
    {Py_tp_traverse, headers_traverse},
    {Py_tp_clear, headers_clear_refs},
    {Py_tp_iter, headers_iter},
    {Py_tp_str, headers_str},
    {Py_tp_repr, headers_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_richcompare, headers_compare},
    {Py_tp_methods, headers_methods},
    {Py_tp_members, headers_members},
    {Py_tp_getset, headers_getset},
    {Py_mp_length, headers_length},
    {Py_mp_subscript, headers_getitem},
    {Py_mp_ass_subscript, headers_setitem},
    {Py_sq_contains, headers_contains},
    {0, NULL},
};

static PyType_Spec headers_spec = {
    .name = "pyfastloop.httputil.HTTPHeaders",
    .basicsize = sizeof(FlHTTPHeaders),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_MAPPING,
    .slots = headers_slots,
};

/* The methods a mapping has by being one; and isinstance says so. */
static int
become_mapping(PyTypeObject *type)
{
    static const char *const borrowed[] = {"keys",    "items",  "values",
                                           "popitem", "update", "setdefault"};
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *mapping =
        abc == NULL ? NULL : PyObject_GetAttrString(abc, "MutableMapping");
    PyObject *done = NULL;

    for (size_t i = 0; mapping != NULL && i < Py_ARRAY_LENGTH(borrowed); i++) {
        PyObject *method = PyObject_GetAttrString(mapping, borrowed[i]);
        int err = method == NULL
                      ? -1
                      : PyObject_SetAttrString((PyObject *)type, borrowed[i], method);

        Py_XDECREF(method);
        if (err < 0)
            Py_CLEAR(mapping);
    }
    if (mapping != NULL)
        done = PyObject_CallMethod(mapping, "register", "O", type);
    Py_XDECREF(abc);
    Py_XDECREF(mapping);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
FlHTTPHeaders_AddType(PyObject *module, FlState *st)
{
    if (FlState_AddType(module, &st->HTTPHeaders_type, &headers_spec, NULL, false) < 0)
        return -1;
    return become_mapping(st->HTTPHeaders_type);
}
