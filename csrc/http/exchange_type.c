/* exchange_type.c -- an exchange as Python sees it: the class below _HTTPConnection.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/exchange.h"

bool
FlExchange_Check(FlState *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->Exchange_type);
}

static PyObject *
exchange_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlExchange *self = st == NULL ? NULL : (FlExchange *)type->tp_alloc(type, 0);

    if (self == NULL)
        return NULL;
    self->st = st;
    FlLoop_InitTimer(&self->deadline, FlExchange_Expired, NULL);
    return (PyObject *)self;
}

static int
exchange_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlExchange *self = (FlExchange *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->pool);
    Py_VISIT(self->client);
    Py_VISIT(self->given);
    Py_VISIT(self->defaults);
    Py_VISIT(self->proxy);
    Py_VISIT(self->original_request);
    Py_VISIT(self->future);
    Py_VISIT(self->final_callback);
    Py_VISIT(self->release_callback);
    Py_VISIT(self->out);
    Py_VISIT(self->link);
    Py_VISIT(self->opened);
    Py_VISIT(self->headers);
    return 0;
}

static int
exchange_clear(PyObject *op)
{
    FlExchange *self = (FlExchange *)op;
    FlLoop *loop = self->loop;

    self->loop = NULL;
    if (loop != NULL) {
        FlLoop_Disarm(loop, &self->deadline);
        Py_DECREF(loop);
    }
    Py_CLEAR(self->link);
    Py_CLEAR(self->pool);
    Py_CLEAR(self->client);
    Py_CLEAR(self->given);
    Py_CLEAR(self->defaults);
    Py_CLEAR(self->proxy);
    Py_CLEAR(self->original_request);
    Py_CLEAR(self->future);
    Py_CLEAR(self->final_callback);
    Py_CLEAR(self->release_callback);
    Py_CLEAR(self->out);
    Py_CLEAR(self->opened);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->reason);
    return 0;
}

static void
exchange_dealloc(PyObject *op)
{
    FlExchange *self = (FlExchange *)op;
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    exchange_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* ---- from Python ---- */

static PyObject *
none_unless(int err)
{
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
exchange_begin(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_unless(FlExchange_Begin((FlExchange *)op));
}

static PyObject *
exchange_start(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_unless(FlFetch_Start((FlExchange *)op));
}

static PyObject *
exchange_go(PyObject *op, PyObject *link)
{
    FlExchange *self = (FlExchange *)op;

    if (!FlClientLink_Check(self->st, link) || self->out == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "a ClientLink is needed, and a plan before it");
        return NULL;
    }
    return none_unless(FlExchange_Go(self, (FlClientLink *)link));
}

static PyObject *
exchange_give_back(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return none_unless(FlExchange_GiveBack((FlExchange *)op));
}

static PyObject *
exchange_complete(PyObject *op, PyObject *body)
{
    if (!PyBytes_Check(body)) {
        PyErr_SetString(PyExc_TypeError, "the body is bytes");
        return NULL;
    }
    return none_unless(FlExchange_Complete((FlExchange *)op, body));
}

static PyObject *
exchange_settle(PyObject *op, PyObject *response)
{
    return none_unless(FlExchange_Settle((FlExchange *)op, response, false));
}

static PyObject *
exchange_let_go(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    FlExchange *self = (FlExchange *)op;

    Py_CLEAR(self->future);
    Py_CLEAR(self->final_callback);
    Py_RETURN_NONE;
}

static PyMethodDef exchange_methods[] = {
    {"begin", exchange_begin, METH_NOARGS,
     "Send the request, on an idle link if there is one. Raises nothing."},
    {"_start", exchange_start, METH_NOARGS, "Take a slot of the client and begin."},
    {"_go", exchange_go, METH_O, "Send over a link, which is ours from here on."},
    {"_give_back", exchange_give_back, METH_NOARGS,
     "The link has said all: to the pool, or closed."},
    {"_complete", exchange_complete, METH_O, "End with the answer and this body."},
    {"_settle", exchange_settle, METH_O, "End with a response."},
    {"_forget_caller", exchange_let_go, METH_NOARGS, "Nobody waits for the response."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef exchange_members[] = {
    {"original_request", T_OBJECT, offsetof(FlExchange, original_request), 0, NULL},
    {"final_callback", T_OBJECT, offsetof(FlExchange, final_callback), 0, NULL},
    {"release_callback", T_OBJECT, offsetof(FlExchange, release_callback), 0, NULL},
    {"headers", T_OBJECT, offsetof(FlExchange, headers), 0, NULL},
    {"reason", T_OBJECT, offsetof(FlExchange, reason), 0, NULL},
    {"finished", T_BOOL, offsetof(FlExchange, finished), 0, NULL},
    {"start_time", T_DOUBLE, offsetof(FlExchange, start_time), 0, NULL},
    {"start_wall_time", T_DOUBLE, offsetof(FlExchange, start_wall_time), 0, NULL},
    {"_queued_at", T_DOUBLE, offsetof(FlExchange, queued_at), 0, NULL},
    {"_head_at", T_DOUBLE, offsetof(FlExchange, head_at), 0, NULL},
    {"_redirect_seconds", T_DOUBLE, offsetof(FlExchange, redirect_seconds), 0, NULL},
    {"_opened", T_OBJECT, offsetof(FlExchange, opened), 0, NULL},
    {"_extras", T_BOOL, offsetof(FlExchange, extras), 0, NULL},
    {"_future", T_OBJECT, offsetof(FlExchange, future), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlExchange, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
get_code(PyObject *op, void *Py_UNUSED(closure))
{
    int code = ((FlExchange *)op)->code;

    if (code == 0)
        Py_RETURN_NONE;
    return PyLong_FromLong(code);
}

static int
set_code(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    long code = value == NULL || value == Py_None ? 0 : PyLong_AsLong(value);

    if (code == -1 && PyErr_Occurred())
        return -1;
    ((FlExchange *)op)->code = code > 0 && code < 100000 ? (int)code : 0;
    return 0;
}

static PyObject *
get_request(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_XNewRef(FlExchange_Proxy((FlExchange *)op));
}

/* A _RequestProxy: a request with the defaults behind it. */
static int
set_request(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    FlExchange *self = (FlExchange *)op;
    PyObject *given, *defaults;

    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "an exchange has a request");
        return -1;
    }
    given = PyObject_GetAttr(value, self->st->str_request);
    defaults = given == NULL ? NULL : PyObject_GetAttr(value, self->st->str_defaults);
    if (defaults == NULL) {
        Py_XDECREF(given);
        return -1;
    }
    Py_XSETREF(self->given, given);
    Py_XSETREF(self->defaults, defaults);
    Py_XSETREF(self->proxy, Py_NewRef(value));
    if (self->original_request == NULL)
        self->original_request = Py_NewRef(given);
    return 0;
}

static PyObject *
or_none(void *obj)
{
    return Py_NewRef(obj == NULL ? Py_None : (PyObject *)obj);
}

static PyObject *
get_client(PyObject *op, void *Py_UNUSED(closure))
{
    return or_none(((FlExchange *)op)->client);
}

static int
set_client(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Py_XSETREF(((FlExchange *)op)->client, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

static PyObject *
get_link(PyObject *op, void *Py_UNUSED(closure))
{
    return or_none(((FlExchange *)op)->link);
}

static int
set_link(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    FlExchange *self = (FlExchange *)op;

    if (value == NULL || value == Py_None) {
        Py_CLEAR(self->link);
        return 0;
    }
    PyErr_SetString(PyExc_TypeError, "a link begins with _go()");
    return -1;
}

static PyObject *
get_out(PyObject *op, void *Py_UNUSED(closure))
{
    return or_none(((FlExchange *)op)->out);
}

static int
set_out(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    FlExchange *self = (FlExchange *)op;

    if (value == NULL || !FlOutgoing_Check(self->st, value)) {
        PyErr_SetString(PyExc_TypeError, "an Outgoing is needed");
        return -1;
    }
    Py_XSETREF(self->out, (FlOutgoing *)Py_NewRef(value));
    return 0;
}

static PyGetSetDef exchange_getset[] = {
    {"code", get_code, set_code, "The status of the answer; None: none yet.", NULL},
    {"client", get_client, set_client, "The client, or None.", NULL},
    {"request", get_request, set_request, "The request with its defaults.", NULL},
    {"_link", get_link, set_link, "The link that is busy with it, or None.", NULL},
    {"_out", get_out, set_out, "What goes out; None before it is planned.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot exchange_slots[] = {
    {Py_tp_doc, "One fetch: what every one of them goes through; see exchange.c."},
    {Py_tp_new, exchange_new},
    {Py_tp_dealloc, exchange_dealloc},
    {Py_tp_traverse, exchange_traverse},
    {Py_tp_clear, exchange_clear},
    {Py_tp_methods, exchange_methods},
    {Py_tp_members, exchange_members},
    {Py_tp_getset, exchange_getset},
    {0, NULL},
};

static PyType_Spec exchange_spec = {
    .name = "pyfastloop._core.Exchange",
    .basicsize = sizeof(FlExchange),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = exchange_slots,
};

int
FlExchange_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Exchange_type, &exchange_spec, NULL, false);
}
