/* outgoing.c -- what goes out for a request, remembered for a plain one.
 *
 * Making the head of a request and checking that it agrees with its body is Python's
 * (pyfastloop/simple_httpclient/outgoing.py). Most fetches are a GET of a URL that was
 * fetched before, by a request that sets nothing, or nothing that has a say in what is
 * sent. Then the URL and the few values in DECIDING that the request sets decide
 * everything, and they are the key under which a client's pool remembers the Outgoing:
 * the URL alone, or (URL, name, value, ...).
 *
 * Invariant: all that is remembered was made with the defaults and the `keep_alive` that
 * the client has now: when one of them is another object, everything is forgotten.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

enum { PLANS = 1024 /* remembered by one client */ };

bool
FlOutgoing_Check(FlState *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->Outgoing_type);
}

static PyObject *
python(FlState *st, PyObject **slot, const char *name)
{
    return FlState_Lazy(st, slot, "pyfastloop.simple_httpclient.outgoing", name);
}

/* ---- what is remembered ---- */

/* Whether `seen`, a tuple of names and values, is what the client's defaults say. */
static bool
same_defaults(PyObject *seen, PyObject *defaults)
{
    PyObject *name, *value;
    Py_ssize_t at = 0, i = 1;

    if (PyTuple_GET_SIZE(seen) != 2 * PyDict_GET_SIZE(defaults) + 1)
        return false;
    while (PyDict_Next(defaults, &at, &name, &value)) {
        if (PyTuple_GET_ITEM(seen, i) != name || PyTuple_GET_ITEM(seen, i + 1) != value)
            return false;
        i += 2;
    }
    return true;
}

/* (keep_alive, name, value, ...); new tuple or NULL. */
static PyObject *
list_defaults(PyObject *keep, PyObject *defaults)
{
    PyObject *seen = PyTuple_New(2 * PyDict_GET_SIZE(defaults) + 1), *name, *value;
    Py_ssize_t at = 0, i = 1;

    if (seen == NULL)
        return NULL;
    PyTuple_SET_ITEM(seen, 0, Py_NewRef(keep));
    while (PyDict_Next(defaults, &at, &name, &value)) {
        PyTuple_SET_ITEM(seen, i++, Py_NewRef(name));
        PyTuple_SET_ITEM(seen, i++, Py_NewRef(value));
    }
    return seen;
}

/* Makes the pool's plans those of the client as it is now. 1: they may be used, 0: the
 * defaults are more than plain, -1. */
static int
plans_are_true(FlPool *pool, PyObject *keep, PyObject *defaults, PyObject *plain)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    int yes = 1;

    if (pool->seen != NULL && PyTuple_GET_ITEM(pool->seen, 0) == keep &&
        same_defaults(pool->seen, defaults))
        return 1;
    PyDict_Clear(pool->plans);
    Py_CLEAR(pool->seen);
    while (yes == 1 && PyDict_Next(defaults, &at, &name, &value))
        yes = PySet_Contains(plain, name);
    if (yes != 1)
        return yes;
    pool->seen = list_defaults(keep, defaults);
    return pool->seen == NULL ? -1 : 1;
}

/* ---- what a request sets ---- */

/* What one attribute of a request adds to the key: 1: it is plain, 0: it is not, -1. */
static int
add_given(FlState *st, PyObject *name, PyObject *value, PyObject *plain,
          PyObject *deciding, PyObject **more)
{
    int yes;

    if (name == st->str_url || name == st->str_start_time || value == Py_None)
        return 1;
    if (name == st->str_method)
        return PyUnicode_Check(value) &&
               PyUnicode_CompareWithASCIIString(value, "GET") == 0;
    if (name == st->str__headers) { /* an empty map says nothing */
        yes = PyObject_IsTrue(value);
        return yes < 0 ? -1 : !yes;
    }
    yes = PySet_Contains(plain, name);
    if (yes != 1)
        return yes;
    yes = PySet_Contains(deciding, name);
    if (yes != 1)
        return yes < 0 ? -1 : 1;
    if (*more == NULL && (*more = PyList_New(0)) == NULL)
        return -1;
    return PyList_Append(*more, name) < 0 || PyList_Append(*more, value) < 0 ? -1 : 1;
}

/* The key of a plain request: new reference; NULL where there is more to it, or with an
 * exception. */
static PyObject *
plain_key(FlExchange *self, PyObject *url, PyObject *plain)
{
    FlState *st = self->st;
    PyObject *type =
        FlState_Lazy(st, &st->HTTPRequest, "pyfastloop.httpclient", "HTTPRequest");
    PyObject *deciding = python(st, &st->http_deciding, "DECIDING");
    PyObject *given, *name, *value, *more = NULL, *key = NULL;
    Py_ssize_t at = 0;
    int yes = 1;

    if (type == NULL || deciding == NULL ||
        !Py_IS_TYPE(self->given, (PyTypeObject *)type) || !PyUnicode_CheckExact(url))
        return NULL;
    given = PyObject_GenericGetDict(self->given, NULL);
    if (given == NULL)
        return NULL;
    while (yes == 1 && PyDict_Next(given, &at, &name, &value))
        yes = add_given(st, name, value, plain, deciding, &more);
    Py_DECREF(given);
    if (yes == 1 && more == NULL)
        return Py_NewRef(url);
    if (yes == 1 && PyList_Append(more, url) == 0)
        key = PyList_AsTuple(more);
    Py_XDECREF(more);
    return key;
}

/* ---- the plan ---- */

/* Makes it in Python. New reference or NULL. escapes */
static PyObject *
make_plan(FlExchange *self, PyObject *url, PyObject *keep)
{
    FlState *st = self->st;
    PyObject *parse = FlState_Lazy(st, &st->http_parse_url,
                                   "pyfastloop.simple_httpclient.target", "parse_url");
    PyObject *make = python(st, &st->http_plan, "plan");
    PyObject *target, *made = NULL, *proxy;

    if (parse == NULL || make == NULL)
        return NULL;
    target = PyObject_CallOneArg(parse, url);
    proxy = target == NULL ? NULL : FlExchange_Proxy(self);
    if (proxy != NULL)
        made = PyObject_CallFunctionObjArgs(make, proxy, target, keep, NULL);
    Py_XDECREF(target);
    if (made != NULL && !FlOutgoing_Check(st, made)) {
        PyErr_Format(PyExc_TypeError, "plan() gives an Outgoing, not %.100s",
                     Py_TYPE(made)->tp_name);
        Py_CLEAR(made);
    }
    return made;
}

/* The plan of an exchange whose client remembers. New reference or NULL. escapes */
static PyObject *
remembered_plan(FlExchange *self, PyObject *url, PyObject *keep)
{
    FlPool *pool = self->pool;
    PyObject *plain = python(self->st, &self->st->http_plain, "PLAIN");
    PyObject *key, *made;
    int usable = 0;

    if (plain == NULL)
        return NULL;
    if (self->defaults != NULL && PyDict_CheckExact(self->defaults))
        usable = plans_are_true(pool, keep, self->defaults, plain);
    key = usable == 1 ? plain_key(self, url, plain) : NULL;
    if (key == NULL)
        return PyErr_Occurred() ? NULL : make_plan(self, url, keep);
    made = Py_XNewRef(PyDict_GetItemWithError(pool->plans, key));
    if (made == NULL && !PyErr_Occurred()) {
        made = make_plan(self, url, keep);
        if (PyDict_GET_SIZE(pool->plans) >= PLANS)
            PyDict_Clear(pool->plans);
        if (made != NULL && PyDict_SetItem(pool->plans, key, made) < 0)
            Py_CLEAR(made);
    }
    Py_DECREF(key);
    return made;
}

FlOutgoing *
FlOutgoing_Of(FlExchange *self)
{
    FlState *st = self->st;
    PyObject *url = PyObject_GetAttr(self->given, st->str_url), *keep = NULL;
    PyObject *made = NULL;

    if (url == NULL)
        return NULL;
    if (self->pool == NULL) {
        made = make_plan(self, url, Py_False);
    } else {
        keep = PyObject_GetAttr(self->client, st->str_keep_alive);
        if (keep != NULL)
            made = remembered_plan(self, url, keep);
    }
    Py_DECREF(url);
    Py_XDECREF(keep);
    return (FlOutgoing *)made;
}

/* ---- the Python type ---- */

static PyObject *
outgoing_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"url",   "head", "body",       "key",
                            "flags", "keep", "decompress", NULL};
    PyObject *url, *head, *body, *key;
    int flags, keep, decompress;
    FlOutgoing *self;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "USOOipp:Outgoing", names, &url,
                                     &head, &body, &key, &flags, &keep, &decompress))
        return NULL;
    if (body != Py_None && !PyBytes_Check(body)) {
        PyErr_SetString(PyExc_TypeError, "the body is bytes or None");
        return NULL;
    }
    self = (FlOutgoing *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->url = Py_NewRef(url);
    self->head = Py_NewRef(head);
    self->body = body == Py_None ? NULL : Py_NewRef(body);
    self->key = Py_NewRef(key);
    self->flags = flags;
    self->keep = keep != 0;
    self->decompress = decompress != 0;
    return (PyObject *)self;
}

static int
outgoing_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((FlOutgoing *)op)->key);
    return 0;
}

static int
outgoing_clear(PyObject *op)
{
    FlOutgoing *self = (FlOutgoing *)op;

    Py_CLEAR(self->url);
    Py_CLEAR(self->head);
    Py_CLEAR(self->body);
    Py_CLEAR(self->key);
    return 0;
}

static void
outgoing_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    outgoing_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMemberDef outgoing_members[] = {
    {"url", T_OBJECT, offsetof(FlOutgoing, url), READONLY, "Where it goes."},
    {"head", T_OBJECT, offsetof(FlOutgoing, head), READONLY, "The head's bytes."},
    {"body", T_OBJECT, offsetof(FlOutgoing, body), READONLY, "The body, or None."},
    {"key", T_OBJECT, offsetof(FlOutgoing, key), READONLY, "The key of its links."},
    {"flags", T_INT, offsetof(FlOutgoing, flags), READONLY, "Of ClientLink.start."},
    {"keep", T_BOOL, offsetof(FlOutgoing, keep), READONLY,
     "The connection may be used again."},
    {"decompress", T_BOOL, offsetof(FlOutgoing, decompress), READONLY,
     "The content coding of the answer is undone."},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(outgoing_doc,
             "Outgoing(url, head, body, key, flags, keep, decompress)\n--\n\n"
             "A request, ready to be sent.");

static PyType_Slot outgoing_slots[] = {
    {Py_tp_doc, (void *)outgoing_doc},
    {Py_tp_new, outgoing_new},
    {Py_tp_dealloc, outgoing_dealloc},
    {Py_tp_traverse, outgoing_traverse},
    {Py_tp_clear, outgoing_clear},
    {Py_tp_members, outgoing_members},
    {0, NULL},
};

static PyType_Spec outgoing_spec = {
    .name = "pyfastloop._core.Outgoing",
    .basicsize = sizeof(FlOutgoing),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = outgoing_slots,
};

int
FlOutgoing_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Outgoing_type, &outgoing_spec, NULL, false);
}
