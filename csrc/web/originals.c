/* originals.c -- are the classes between the socket and a handler what they were born as?
 *
 * Python hands its classes in once they are made (set_web, set_web_server). What their
 * methods are at that moment is what "original" means from then on: kept as hooks
 * (hooks.h), and asked before C does the work of any of them.
 *
 * Invariant: a question that cannot be answered is answered no: then Python's way is
 * taken, which tells it better. Only of SequenceOriginal and SettingsPlain may an
 * exception be left.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/execute_parts.h"

#include "web/accept.h"
#include "web/json.h"

/* ---- what Python handed in ---- */

static int
other_hooks(FlState *st, PyObject *others)
{
    PyObject *list = PyList_New(0), *type, *names;
    Py_ssize_t at = 0;

    while (list != NULL && PyDict_Next(others, &at, &type, &names)) {
        PyObject *keys = PySequence_Tuple(names), *values = NULL;
        Py_ssize_t n = keys == NULL ? 0 : PyTuple_GET_SIZE(keys);
        FlHooks *hooks = NULL;

        if (keys != NULL)
            values = PyTuple_New(n);
        for (Py_ssize_t i = 0; values != NULL && i < n; i++) {
            PyObject *value = PyObject_GetAttr(type, PyTuple_GET_ITEM(keys, i));

            if (value == NULL)
                Py_CLEAR(values);
            else
                PyTuple_SET_ITEM(values, i, value);
        }
        if (values != NULL)
            hooks = FlHooks_New(st, (PyTypeObject *)type, keys, values);
        if (hooks == NULL || PyList_Append(list, (PyObject *)hooks) < 0)
            Py_CLEAR(list);
        Py_XDECREF(hooks);
        Py_XDECREF(keys);
        Py_XDECREF(values);
    }
    Py_XSETREF(st->web_others, list);
    return list == NULL ? -1 : 0;
}

/* _core.set_web(handler=..., application=..., ...): the classes, once they are made.
 * others: {class: names} of whatever else stands between the socket and a handler. */
PyObject *
FlWeb_set_web(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handler",
                            "application",
                            "router",
                            "path_matches",
                            "host_matches",
                            "default_host_matches",
                            "any_matches",
                            "access_log",
                            "server_header",
                            "others",
                            NULL};
    FlState *st = FlState_OfModule(module);
    PyObject *handler, *application, *router, *path, *host, *default_host, *any, *log;
    PyObject *header, *others, *originals;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOOOOOOOUO!:set_web", names, &handler, &application, &router,
            &path, &host, &default_host, &any, &log, &header, &PyDict_Type, &others))
        return NULL;
    originals = PyTuple_New(FL_HOOK_COUNT);
    if (originals == NULL)
        return NULL;
    Py_XSETREF(st->web_names, PyTuple_New(FL_HOOK_COUNT));
#define X(name)                                                                  \
    {                                                                            \
        PyObject *text = PyUnicode_InternFromString(#name);                      \
        PyObject *found = text == NULL ? NULL : PyObject_GetAttr(handler, text); \
                                                                                 \
        if (found == NULL) {                                                     \
            Py_XDECREF(text);                                                    \
            Py_DECREF(originals);                                                \
            return NULL;                                                         \
        }                                                                        \
        PyTuple_SET_ITEM(st->web_names, FL_HOOK_##name, text);                   \
        PyTuple_SET_ITEM(originals, FL_HOOK_##name, found);                      \
    }
    FL_HANDLER_HOOKS(X)
#undef X
    Py_XSETREF(st->web_originals, originals);
    FlHooks_KnowNames(st);
    Py_XSETREF(st->web_handler, Py_NewRef(handler));
    Py_XSETREF(st->web_application, Py_NewRef(application));
    Py_XSETREF(st->web_router, Py_NewRef(router));
    Py_XSETREF(st->web_path_matches, Py_NewRef(path));
    Py_XSETREF(st->web_host_matches, Py_NewRef(host));
    Py_XSETREF(st->web_default_host_matches, Py_NewRef(default_host));
    Py_XSETREF(st->web_any_matches, Py_NewRef(any));
    Py_XSETREF(st->web_access_log, Py_NewRef(log));
    Py_XSETREF(st->web_server_header, Py_NewRef(header));
    /* As they are now is as they were born. */
    if (FlWeb_ApplicationHooks(st) == NULL || FlWeb_RouterHooks(st) == NULL ||
        other_hooks(st, others) < 0)
        return NULL;
    (void)FlWeb_ConnectionOriginal(st);
    (void)FlWeb_RequestOriginal(st);
    if (FlWeb_RememberJson(st) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
FlWeb_set_web_server(PyObject *module, PyObject *type)
{
    static const char *const names[] = {"start_request"};
    FlState *st = FlState_OfModule(module);
    FlHooks *hooks = FlHooks_OfClass(st, type, names, Py_ARRAY_LENGTH(names));

    if (hooks == NULL)
        return NULL;
    Py_XSETREF(st->web_server, (PyObject *)hooks);
    if (FlWeb_RememberServer(st, type) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the questions ---- */

FlHooks *
FlWeb_ApplicationHooks(FlState *st)
{
    static const char *const names[] = {
        "log_request",          "start_request",    "find_handler", "__call__",
        "get_handler_delegate", "__getattribute__", "__setattr__"};

    if (st->web_application_hooks == NULL)
        st->web_application_hooks = (PyObject *)FlHooks_OfClass(
            st, st->web_application, names, Py_ARRAY_LENGTH(names));
    return (FlHooks *)st->web_application_hooks;
}

FlHooks *
FlWeb_RouterHooks(FlState *st)
{
    static const char *const names[] = {"find_handler", "start_request",
                                        "get_target_delegate", "__getattribute__"};

    if (st->web_router_hooks == NULL)
        st->web_router_hooks = (PyObject *)FlHooks_OfClass(st, st->web_router, names,
                                                           Py_ARRAY_LENGTH(names));
    return (FlHooks *)st->web_router_hooks;
}

bool
FlWeb_OthersOriginal(FlState *st)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(st->web_others); i++) {
        FlHooks *hooks = (FlHooks *)PyList_GET_ITEM(st->web_others, i);

        if (FlHooks_Verify(hooks) < 0) {
            PyErr_Clear();
            return false;
        }
        if (hooks->replaced != 0)
            return false;
    }
    return true;
}

bool
FlWeb_LogOriginal(FlState *st)
{
    FlHooks *hooks = FlWeb_ApplicationHooks(st);

    if (hooks == NULL || FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    return (hooks->replaced & 1) == 0;
}

bool
FlWeb_ConnectionOriginal(FlState *st)
{
    static const char *const names[] = {"write_headers", "write", "finish",
                                        "set_close_callback"};
    FlHooks *hooks;

    if (st->web_connection_hooks == NULL)
        st->web_connection_hooks = (PyObject *)FlHooks_OfClass(
            st, (PyObject *)st->HTTP1Connection_type, names, Py_ARRAY_LENGTH(names));
    hooks = (FlHooks *)st->web_connection_hooks;
    if (hooks == NULL || FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    return hooks->replaced == 0;
}

bool
FlWeb_RequestOriginal(FlState *st)
{
    static const char *const names[] = {"cookies", "__getattribute__"};
    FlHooks *hooks;

    if (st->web_request_hooks == NULL)
        st->web_request_hooks = (PyObject *)FlHooks_OfClass(
            st, (PyObject *)st->HTTPServerRequest_type, names, Py_ARRAY_LENGTH(names));
    hooks = (FlHooks *)st->web_request_hooks;
    if (hooks == NULL || FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    return hooks->replaced == 0;
}

int
FlWeb_SequenceOriginal(FlHooks *hooks)
{
    if (FlHooks_Verify(hooks) < 0)
        return -1;
    return (hooks->replaced & FL_HOOKS_SEQUENCE) == 0 &&
           Py_TYPE(hooks->type)->tp_call == PyType_Type.tp_call &&
           !PyType_HasFeature(hooks->type, Py_TPFLAGS_IS_ABSTRACT);
}

bool
FlWeb_SettingsPlain(FlState *st, PyObject *settings)
{
    PyObject *const names[] = {st->str_compiled_template_cache,
                               st->str_static_hash_cache};

    if (!PyDict_Check(settings))
        return false;
    for (size_t i = 0; PyDict_GET_SIZE(settings) > 0 && i < Py_ARRAY_LENGTH(names);
         i++) {
        PyObject *value = PyDict_GetItem(settings, names[i]);

        if (value != NULL && PyObject_IsTrue(value) != 1)
            return false;
    }
    return true;
}
