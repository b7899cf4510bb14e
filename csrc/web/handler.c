/* handler.c -- RequestHandler's C base: the type and its fields.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include "core/args.h"
#include "web/arguments.h"
#include "web/run.h"

bool
FlRequestHandler_AskOriginal(FlRequestHandler *self, int hook)
{
    FlHooks *hooks = self->hooks;
    int set;

    if (hooks == NULL || !Py_IS_TYPE(self, hooks->type))
        return false;
    if (FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    if ((hooks->replaced >> hook & 1) != 0)
        return false;
    if (!FlHooks_MayHave(self->st, self->dict, &self->clean, FL_NAME_HOOK))
        return true;
    set = PyDict_Contains(self->dict, PyTuple_GET_ITEM(hooks->names, hook));
    if (set < 0)
        PyErr_Clear();
    return set == 0;
}

PyObject *
FlRequestHandler_CallHook(FlRequestHandler *self, int function, PyObject *name)
{
    FlHooks *hooks = self->hooks;
    PyObject *own = NULL, *done;

    if (hooks != NULL && Py_IS_TYPE(self, hooks->type) && FlHooks_Unchanged(hooks) &&
        (hooks->replaced & FL_HOOK_BIT(__getattribute__)) == 0 &&
        !FlHooks_MayHave(self->st, self->dict, &self->clean, FL_NAME_HOOK))
        own = Py_XNewRef(hooks->functions[function]);
    if (own == NULL)
        return PyObject_CallMethodNoArgs((PyObject *)self, name);
    done = PyObject_Vectorcall(own, (PyObject *[]){(PyObject *)self}, 1, NULL);
    Py_DECREF(own);
    return done;
}

FlHTTPServerRequest *
FlHandler_Request(FlRequestHandler *self)
{
    return self->request != NULL && FlHTTPServerRequest_Check(self->st, self->request)
               ? (FlHTTPServerRequest *)self->request
               : NULL;
}

PyObject *
FlHandler_RequestAttribute(FlRequestHandler *self, const char *name)
{
    PyObject *request = PyObject_GetAttrString((PyObject *)self, "request");
    PyObject *value = request == NULL ? NULL : PyObject_GetAttrString(request, name);

    Py_XDECREF(request);
    return value;
}

PyObject *
FlHandler_AnyHeaders(FlRequestHandler *self)
{
    return PyObject_GetAttrString((PyObject *)self, "_headers");
}

int
FlHandler_Call(FlRequestHandler *self, PyObject *name)
{
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)self, name);

    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
FlHandler_CallHook(FlRequestHandler *self, int function, PyObject *name)
{
    PyObject *done = FlRequestHandler_CallHook(self, function, name);

    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- the type ---- */

static PyObject *
handler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlRequestHandler *self;

    (void)args;
    (void)kwargs;
    if (PyType_HasFeature(type, Py_TPFLAGS_IS_ABSTRACT)) {
        PyObject *none = PyTuple_New(0);
        PyObject *refused =
            none == NULL ? NULL : PyBaseObject_Type.tp_new(type, none, NULL);

        Py_XDECREF(none); /* TypeError: it names the abstract methods */
        return refused;
    }
    self = (FlRequestHandler *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = FlState_OfType(type);
    self->auto_finish = true;
    self->status = 200;
    if (self->st == NULL) {
        Py_CLEAR(self);
    } else if (self->st->web_making != NULL) {
        FlHooks *hooks = (FlHooks *)self->st->web_making;

        if (hooks->type == type) {
            self->hooks = hooks;
            self->st->web_making = NULL;
        }
    }
    return (PyObject *)self;
}

/* _execute(transforms, *args, **kwargs) as one awaitable; None where a part of it was
 * replaced. */
static PyObject *
handler_sequence(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    FlRequestHandler *self = FlHandler_Cast(op);
    PyObject *groups;

    if (nargs != 2 || !PyTuple_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_sequence() takes a tuple and a dict");
        return NULL;
    }
    groups = PyDict_GET_SIZE(args[1]) > 0 ? args[1] : args[0];
    if ((PyDict_GET_SIZE(args[1]) > 0 && PyTuple_GET_SIZE(args[0]) > 0) ||
        !FlRun_Possible(self))
        Py_RETURN_NONE;
    return FlRun_New(self, groups);
}

static int
handler_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    Py_VISIT(self->application);
    Py_VISIT(self->request);
    Py_VISIT(self->headers);
    Py_VISIT(self->buffer);
    Py_VISIT(self->chunk); /* subclasses of bytes and str may hold anything */
    Py_VISIT(self->reason);
    Py_VISIT(self->transforms);
    Py_VISIT(self->path_args);
    Py_VISIT(self->path_kwargs);
    Py_VISIT(self->prepared_future);
    Py_VISIT(self->hooks);
    return 0;
}

static int
handler_clear_refs(PyObject *op)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    Py_CLEAR(self->dict);
    Py_CLEAR(self->application);
    Py_CLEAR(self->request);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->chunk);
    Py_CLEAR(self->reason);
    Py_CLEAR(self->transforms);
    Py_CLEAR(self->path_args);
    Py_CLEAR(self->path_kwargs);
    Py_CLEAR(self->prepared_future);
    Py_CLEAR(self->hooks);
    return 0;
}

static void
handler_dealloc(PyObject *op)
{
    FlRequestHandler *self = FlHandler_Cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    handler_clear_refs(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
get_buffer(PyObject *op, void *closure)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    (void)closure;
    if (self->buffer == NULL) {
        self->buffer = PyList_New(self->chunk != NULL);
        if (self->buffer == NULL)
            return NULL;
        if (self->chunk != NULL)
            PyList_SET_ITEM(self->buffer, 0, self->chunk);
        self->chunk = NULL;
    }
    return Py_NewRef(self->buffer);
}

static int
set_buffer(PyObject *op, PyObject *value, void *closure)
{
    FlRequestHandler *self = FlHandler_Cast(op);
    PyObject *list;

    (void)closure;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_write_buffer cannot be deleted");
        return -1;
    }
    list = PyList_CheckExact(value) ? Py_NewRef(value) : PySequence_List(value);
    if (list == NULL)
        return -1;
    Py_CLEAR(self->chunk);
    Py_XSETREF(self->buffer, list);
    return 0;
}

#define OBJECT(name, field) \
    {name, T_OBJECT_EX, offsetof(FlRequestHandler, field), 0, NULL}

static PyMemberDef handler_members[] = {
    OBJECT("application", application),
    OBJECT("request", request),
    OBJECT("_reason", reason),
    {"_transforms", T_OBJECT, offsetof(FlRequestHandler, transforms), 0, NULL},
    {"_prepared_future", T_OBJECT, offsetof(FlRequestHandler, prepared_future), 0,
     NULL},
    {"_status_code", T_INT, offsetof(FlRequestHandler, status), 0, NULL},
    {"_headers_written", T_BOOL, offsetof(FlRequestHandler, headers_written), 0, NULL},
    {"_finished", T_BOOL, offsetof(FlRequestHandler, finished), 0, NULL},
    {"_auto_finish", T_BOOL, offsetof(FlRequestHandler, auto_finish), 0, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlRequestHandler, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlRequestHandler, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};
#undef OBJECT

static PyObject *
get_path_args(PyObject *op, void *closure)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    (void)closure;
    if (self->path_args == NULL)
        self->path_args = PyList_New(0);
    return Py_XNewRef(self->path_args);
}

static PyObject *
get_path_kwargs(PyObject *op, void *closure)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    (void)closure;
    if (self->path_kwargs == NULL)
        self->path_kwargs = PyDict_New();
    return Py_XNewRef(self->path_kwargs);
}

static int
set_path_args(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    Py_XSETREF(FlHandler_Cast(op)->path_args, Py_XNewRef(value));
    return 0;
}

static int
set_path_kwargs(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    Py_XSETREF(FlHandler_Cast(op)->path_kwargs, Py_XNewRef(value));
    return 0;
}

static PyObject *
get_headers(PyObject *op, void *closure)
{
    (void)closure;
    return Py_XNewRef(FlRequestHandler_Headers(FlHandler_Cast(op)));
}

static int
set_headers(PyObject *op, PyObject *value, void *closure)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    (void)closure;
    if (value == NULL && self->plain == FL_PLAIN_NOT && self->headers == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_headers");
        return -1;
    }
    self->plain = FL_PLAIN_NOT;
    Py_XSETREF(self->headers, Py_XNewRef(value));
    return 0;
}

static PyGetSetDef handler_getset[] = {
    {"_headers", get_headers, set_headers, NULL, NULL},
    {"path_args", get_path_args, set_path_args, NULL, NULL},
    {"path_kwargs", get_path_kwargs, set_path_kwargs, NULL, NULL},
    {"_write_buffer", get_buffer, set_buffer, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

FL_ONE_ARGUMENT(FlHandler_clear_header, "clear_header", "name")
FL_ONE_ARGUMENT(FlHandler_write, "write", "chunk")

static PyMethodDef handler_methods[] = {
    {"_init", (PyCFunction)(void (*)(void))FlHandler_init, METH_FASTCALL, NULL},
    {"clear", FlHandler_clear, METH_NOARGS,
     PyDoc_STR("clear($self)\n--\n\n"
               "Forgets all headers, the status and what was written.")},
    {"set_status", (PyCFunction)(void (*)(void))FlHandler_set_status,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("set_status($self, status_code, reason=None)\n--\n\n"
               "Sets the status; a phrase that could not be sent becomes Unknown.")},
    {"_send_file", FlHandler_send_file, METH_VARARGS, NULL},
    {"get_status", FlHandler_get_status, METH_NOARGS,
     PyDoc_STR("get_status($self)\n--\n\n"
               "The status of the response.")},
    {"set_header", (PyCFunction)(void (*)(void))FlHandler_set_header,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("set_header($self, name, value)\n--\n\n"
               "Sets a header, replacing what it had. ValueError for what would break\n"
               "out of it.")},
    {"add_header", (PyCFunction)(void (*)(void))FlHandler_add_header,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("add_header($self, name, value)\n--\n\n"
               "Adds a header beside others of its name.")},
    {"clear_header", FL_ONE_ARGUMENT_METHOD(FlHandler_clear_header),
     PyDoc_STR("clear_header($self, name)\n--\n\n"
               "Undoes set_header and add_header; nothing where unset.")},
    {"_convert_header_value", FlHandler_convert, METH_O, NULL},
    {"write", FL_ONE_ARGUMENT_METHOD(FlHandler_write),
     PyDoc_STR("write($self, chunk)\n--\n\n"
               "Adds bytes, text (as UTF-8) or a dict (as JSON) to the response.")},
    {"finish", (PyCFunction)(void (*)(void))FlHandler_finish,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("finish($self, chunk=None)\n--\n\n"
               "Ends the response, after writing chunk where given. A future of when\n"
               "all of it was sent; nobody needs to await it.")},
    {"_complete_head", FlHandler_complete_head, METH_NOARGS, NULL},
    {"_sequence", (PyCFunction)(void (*)(void))handler_sequence, METH_FASTCALL, NULL},
    {"compute_etag", FlHandler_compute_etag, METH_NOARGS,
     PyDoc_STR("compute_etag($self)\n--\n\n"
               "The response's ETag in quotes, by default the SHA-1 of what was\n"
               "written; None for no ETag.")},
    {"set_etag_header", FlHandler_set_etag_header, METH_NOARGS,
     PyDoc_STR("set_etag_header($self)\n--\n\n"
               "Sets Etag to compute_etag, where that gives one.")},
    {"check_etag_header", FlHandler_check_etag_header, METH_NOARGS,
     PyDoc_STR("check_etag_header($self)\n--\n\n"
               "Whether If-None-Match names the Etag set so far (the answer is 304).")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handler_slots[] = {
    {Py_tp_doc, "The C base of pyfastloop.web.RequestHandler."},
    {Py_tp_new, handler_new},
    {Py_tp_dealloc, handler_dealloc},
    {Py_tp_traverse, handler_traverse},
    {Py_tp_clear, handler_clear_refs},
    {Py_tp_methods, handler_methods},
    {Py_tp_members, handler_members},
    {Py_tp_getset, handler_getset},
    {0, NULL},
};

static PyType_Spec handler_spec = {
    .name = "pyfastloop._core.RequestHandlerBase",
    .basicsize = sizeof(FlRequestHandler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = handler_slots,
};

int
FlRequestHandler_AddType(PyObject *module, FlState *st)
{
    if (FlState_AddType(module, &st->RequestHandler_type, &handler_spec, NULL, false) <
        0)
        return -1;
    return FlRequestHandler_AddArguments(st);
}
