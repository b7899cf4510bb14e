/* transport_type.c -- Transport, ReadPipeTransport, WritePipeTransport: the Python types.
 *
 * One struct and one set of slots under three names; they differ in their methods
 * (transport_methods.c) and in the class of asyncio that is their base.
 *
 * Invariant: tp_clear keeps context, face and file, which closing the channel may need;
 * dealloc lets them go last.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport.h"

#include "net/transport_tls.h"

static int
transport_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlTransport *tr = (FlTransport *)obj;

    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(tr->extra);
    Py_VISIT(tr->protocol);
    Py_VISIT(tr->on_data);
    Py_VISIT(tr->get_buffer);
    Py_VISIT(tr->context);
    Py_VISIT(tr->file);
    Py_VISIT(tr->face);
    Py_VISIT(tr->peername);
    Py_VISIT(tr->sockname);
    Py_VISIT((PyObject *)tr->acceptor);
    Py_VISIT(tr->sent.future);
    Py_VISIT(tr->dict);
    if (tr->tls != NULL) {
        int stop = FlTls_Traverse(tr->tls, visit, arg);

        if (stop != 0)
            return stop;
    }
    return FlChannel_Traverse(&tr->ch, visit, arg);
}

static int
transport_clear(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;

    Py_CLEAR(tr->extra);
    Py_CLEAR(tr->on_data);
    Py_CLEAR(tr->get_buffer);
    Py_CLEAR(tr->protocol);
    Py_CLEAR(tr->sent.future);
    Py_CLEAR(tr->peername);
    Py_CLEAR(tr->sockname);
    Py_CLEAR(tr->dict);
    return 0;
}

static void
transport_finalize(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    PyObject *pending;

    if (tr->ch.loop == NULL || tr->ch.closed)
        return;
    pending = PyErr_GetRaisedException();
    if (PyErr_ResourceWarning(obj, 1, "unclosed transport %R", obj) < 0)
        PyErr_WriteUnraisable(obj);
    if (tr->file != NULL) { /* while that is whole: the collector may empty it next */
        tr->closing = tr->ch.told = true;
        FlChannel_Close(&tr->ch, NULL);
    }
    FlAcceptor_Detach(tr); /* so is the server */
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static void
transport_dealloc(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    if (PyObject_CallFinalizerFromDealloc(obj) < 0)
        return;
    PyObject_GC_UnTrack(obj);
    if (tr->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    FlAcceptor_Detach(tr); /* nobody may find it in that list from here on */
    FlTransport_GiveBack(tr);
    FlChannel_Clear(&tr->ch); /* closes by tr->file */
    if (tr->tls != NULL)
        FlTls_Free(tr->tls);
    tr->tls = NULL;
    (void)transport_clear(obj);
    Py_CLEAR(tr->context);
    Py_CLEAR(tr->face);
    Py_CLEAR(tr->file);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyObject *
transport_repr(PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;
    const char *state = tr->ch.loop == NULL || tr->ch.closed ? "closed"
                        : tr->closing                        ? "closing"
                        : !tr->started                       ? "not begun"
                        : tr->paused                         ? "paused"
                                                             : "open";

    return PyUnicode_FromFormat("<%s fd=%d %s queued=%zu>", Py_TYPE(obj)->tp_name,
                                tr->ch.watch.fd, state, tr->ch.queued);
}

static PyObject *
transport_get_loop(PyObject *obj, void *Py_UNUSED(closure))
{
    FlTransport *tr = (FlTransport *)obj;

    return Py_NewRef(tr->ch.loop == NULL ? Py_None : (PyObject *)tr->ch.loop);
}

/* Programs (aiohttp) ask whether start_tls() may be called on it. */
static PyObject *
transport_can_start_tls(PyObject *obj, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((FlTransport *)obj)->kind == FL_TRANSPORT_SOCKET);
}

static PyGetSetDef transport_getset[] = {
    {"_start_tls_compatible", transport_can_start_tls, NULL, NULL, NULL},
    {"_loop", transport_get_loop, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef transport_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlTransport, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlTransport, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* The base's one field must stand where the struct has it. */
int
FlTransport_CheckBase(PyObject *base)
{
    if (((PyTypeObject *)base)->tp_basicsize == offsetof(FlTransport, st))
        return 0;
    PyErr_Format(PyExc_ImportError,
                 "%R takes %zd bytes, %zu were expected: this CPython has changed "
                 "asyncio's transports and needs a newer pyfastloop",
                 base, ((PyTypeObject *)base)->tp_basicsize, offsetof(FlTransport, st));
    return -1;
}

static int
add_type(PyObject *module, PyTypeObject **slot, const char *name, const char *doc,
         PyMethodDef *methods, PyObject *base)
{
    PyType_Slot slots[] = {
        {Py_tp_doc, (void *)doc},           {Py_tp_traverse, transport_traverse},
        {Py_tp_clear, transport_clear},     {Py_tp_finalize, transport_finalize},
        {Py_tp_dealloc, transport_dealloc}, {Py_tp_repr, transport_repr},
        {Py_tp_methods, methods},           {Py_tp_getset, transport_getset},
        {Py_tp_members, transport_members}, {0, NULL},
    };
    PyType_Spec spec = {
        .name = name,
        .basicsize = sizeof(FlTransport),
        .flags =
            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = slots,
    };

    if (FlTransport_CheckBase(base) < 0)
        return -1;
    return FlState_AddType(module, slot, &spec, base, false);
}

int
FlTransport_AddType(PyObject *module, FlState *st)
{
    return add_type(module, &st->Transport_type, "pyfastloop._core.Transport",
                    "A connected socket, as protocols of asyncio use it.",
                    FlTransport_SocketMethods, st->AsyncioTransport);
}

int
FlReadPipeTransport_AddType(PyObject *module, FlState *st)
{
    return add_type(module, &st->ReadPipeTransport_type,
                    "pyfastloop._core.ReadPipeTransport", "The reading end of a pipe.",
                    FlTransport_ReadMethods, st->AsyncioReadTransport);
}

int
FlWritePipeTransport_AddType(PyObject *module, FlState *st)
{
    return add_type(module, &st->WritePipeTransport_type,
                    "pyfastloop._core.WritePipeTransport", "The writing end of a pipe.",
                    FlTransport_WriteMethods, st->AsyncioWriteTransport);
}
