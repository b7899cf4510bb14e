/* headers_type.c -- httputil.HTTPHeaders: the header map as Python sees it.
 *
 * What MutableMapping gives for free (pop, update, setdefault, items and so on) is its
 * own functions, put onto the type once; they come back through the methods below, and
 * so through a subclass's.
 *
 * Adding and parsing stand in headers_parse.c, printing, copying, comparing and pickling
 * in headers_whole.c.
 *
 * Invariant: while user code runs (a subclass's `add`, str() of a value) the strings in use
 * are owned, and `count` is read again after it.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/headers_parts.h"

/* ---- a map's life ---- */

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

    return key_span(key, &name) ? FlHTTPHeaders_Find(FlHTTPHeaders_Cast(self), name)
                                : -1;
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

    if (FlHTTPHeaders_IsExact(self))
        return FlHTTPHeaders_Add(self, name, value);
    done = PyObject_CallMethod((PyObject *)self, "add", "OO", name, value);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Copies from another map, which user code may change meanwhile. */
static int
headers_extend(FlHTTPHeaders *self, FlHTTPHeaders *from)
{
    if (from == self)
        return 0; /* it would grow under our eyes, without end */
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
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);
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
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    return 0;
}

static int
headers_clear_refs(PyObject *op)
{
    Py_CLEAR(FlHTTPHeaders_Cast(op)->dict);
    return 0;
}

void
FlHTTPHeaders_DropEntries(FlHTTPHeaders *self)
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
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    FlHTTPHeaders_DropEntries(self);
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
    return FlHTTPHeaders_Cast(self)->leaders;
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
        return FlHTTPHeaders_Joined(FlHTTPHeaders_Cast(self), at);
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
        if (key_span(key, &name) &&
            FlHTTPHeaders_Remove(FlHTTPHeaders_Cast(self), name) > 0)
            return 0;
        set_key_error(key);
        return -1;
    }
    text = value_text(value);
    if (text == NULL)
        return -1;
    err = FlHTTPHeaders_Set(FlHTTPHeaders_Cast(self), key, text);
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
    PyObject *list = names_list(FlHTTPHeaders_Cast(self));
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);

    Py_XDECREF(list);
    return iterator;
}

PyObject *
FlHTTPHeaders_Pairs(FlHTTPHeaders *self)
{
    PyObject *list = PyList_New(0);

    for (int32_t i = 0; list != NULL && i < self->count; i++) {
        if (self->entries[i].last < 0)
            continue;
        for (int32_t at = i; at >= 0; at = self->entries[at].next) {
            PyObject *name = FlHTTPHeaders_Name(self, at);
            PyObject *value = FlHTTPHeaders_Value(self, at);
            PyObject *pair =
                name == NULL || value == NULL ? NULL : PyTuple_Pack(2, name, value);
            int err = pair == NULL ? -1 : PyList_Append(list, pair);

            Py_XDECREF(pair);
            if (err < 0) {
                Py_DECREF(list);
                return NULL;
            }
        }
    }
    return list;
}

static PyObject *
headers_get_all(PyObject *self, PyObject *unused)
{
    PyObject *list = FlHTTPHeaders_Pairs(FlHTTPHeaders_Cast(self));
    PyObject *iterator = list == NULL ? NULL : PyObject_GetIter(list);

    (void)unused;
    Py_XDECREF(list);
    return iterator;
}

static PyObject *
headers_get_list(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);
    bool named =
        kwnames != NULL && PyTuple_GET_SIZE(kwnames) == 1 && nargs == 0 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "name") == 0;
    PyObject *list;

    if (!named && (nargs != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0))) {
        PyErr_SetString(PyExc_TypeError, "get_list() takes a name");
        return NULL;
    }
    list = PyList_New(0);
    for (int32_t at = headers_find(op, args[0]); list != NULL && at >= 0;
         at = self->entries[at].next) {
        PyObject *value = FlHTTPHeaders_Value(self, at);

        if (value == NULL || PyList_Append(list, value) < 0)
            Py_CLEAR(list);
    }
    return list;
}

/* `default` of get(name, default) and pop(name, default): *out is borrowed, and as it
 * was where none is given. -1 with TypeError for other arguments. */
static int
read_default(const char *function, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames, PyObject **out)
{
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);

    if (nargs < 1 || nargs + named > 2 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0),
                                                        "default") != 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a name and optionally a default",
                     function);
        return -1;
    }
    if (nargs + named == 2)
        *out = args[1];
    return 0;
}

static PyObject *
headers_get(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *fallback = Py_None;
    int32_t at;

    if (read_default("get", args, nargs, kwnames, &fallback) < 0)
        return NULL;
    if (!FlHTTPHeaders_IsExact(FlHTTPHeaders_Cast(self))) {
        PyObject *found = PyObject_GetItem(self, args[0]);

        if (found != NULL || !PyErr_ExceptionMatches(PyExc_KeyError))
            return found;
        PyErr_Clear();
        return Py_NewRef(fallback);
    }
    at = headers_find(self, args[0]);
    return at < 0 ? Py_NewRef(fallback)
                  : FlHTTPHeaders_Joined(FlHTTPHeaders_Cast(self), at);
}

static PyObject *
headers_pop(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *fallback = NULL, *value;

    if (read_default("pop", args, nargs, kwnames, &fallback) < 0)
        return NULL;
    value = PyObject_GetItem(self, args[0]);
    if (value == NULL) {
        if (fallback == NULL || !PyErr_ExceptionMatches(PyExc_KeyError))
            return NULL;
        PyErr_Clear();
        return Py_NewRef(fallback);
    }
    if (PyObject_DelItem(self, args[0]) < 0)
        Py_CLEAR(value);
    return value;
}

static PyObject *
headers_clear(PyObject *self, PyObject *unused)
{
    (void)unused;
    FlHTTPHeaders_DropEntries(FlHTTPHeaders_Cast(self));
    Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyMethodDef headers_methods[] = {
    {"add", (PyCFunction)(void (*)(void))FlHTTPHeaders_add,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("add($self, name, value, *, _chars_are_bytes=True)\n--\n\n"
               "Add a value; those of the same name are kept.")},
    {"get", (PyCFunction)(void (*)(void))headers_get, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("The joined value of a name, or the default.")},
    {"pop", (PyCFunction)(void (*)(void))headers_pop, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("Remove a name and give its joined value, or the default.")},
    {"get_list", (PyCFunction)(void (*)(void))headers_get_list,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("get_list($self, name)\n--\n\n"
               "All values of a name, one by one.")},
    {"get_all", headers_get_all, METH_NOARGS,
     PyDoc_STR("get_all($self)\n--\n\n"
               "All (name, value) pairs, repeated names repeated.")},
    {"parse_line", (PyCFunction)(void (*)(void))FlHTTPHeaders_parse_line,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("parse_line($self, line, *, _chars_are_bytes=True)\n--\n\n"
               "Add what one field line says.")},
    {"parse", (PyCFunction)(void (*)(void))FlHTTPHeaders_parse,
     METH_VARARGS | METH_KEYWORDS | METH_CLASS,
     PyDoc_STR("parse($type, headers, *, _chars_are_bytes=True)\n--\n\n"
               "A new map of the field lines in a string.")},
    {"copy", FlHTTPHeaders_copy, METH_NOARGS,
     PyDoc_STR("copy($self)\n--\n\n"
               "A map of its own.")},
    {"clear", headers_clear, METH_NOARGS,
     PyDoc_STR("clear($self)\n--\n\n"
               "Remove everything.")},
    {"__copy__", FlHTTPHeaders_copy, METH_NOARGS,
     PyDoc_STR("__copy__($self)\n--\n\nA map of its own.")},
    {"__unicode__", (PyCFunction)(void (*)(void))FlHTTPHeaders_str, METH_NOARGS,
     PyDoc_STR("__unicode__($self)\n--\n\nAs str().")},
    {"__reduce__", FlHTTPHeaders_reduce, METH_NOARGS, NULL},
    {"__setstate__", FlHTTPHeaders_setstate, METH_O, NULL},
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
    {Py_tp_doc, "HTTPHeaders(*args, **kwargs)\n--\n\n"
                "A header map: case-insensitive names, several values a name.\n\n"
                "Reading joins the values of a name with a comma; add and get_list\n"
                "keep them apart (Set-Cookie needs that)."},
    {Py_tp_new, headers_new},
    {Py_tp_init, headers_init},
    {Py_tp_dealloc, headers_dealloc},
    {Py_tp_traverse, headers_traverse},
    {Py_tp_clear, headers_clear_refs},
    {Py_tp_iter, headers_iter},
    {Py_tp_str, FlHTTPHeaders_str},
    {Py_tp_repr, FlHTTPHeaders_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_richcompare, FlHTTPHeaders_compare},
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
