/* explain.c -- tells Python what the C path would do, for `pyfastloop doctor`.
 *
 * It asks the same bits and the same table that a request asks, so what it says is what
 * happens; nothing here is used while serving.
 *
 * Layer: web. Threads: none.
 */
#include "web/explain.h"

#include "web/handler.h"
#include "web/route.h"

/* The names among hooks' whose bit is in `bits`. New tuple. */
static PyObject *
names_of(FlHooks *hooks, uint64_t bits)
{
    PyObject *list = PyList_New(0), *tuple;

    for (Py_ssize_t i = 0; list != NULL && i < hooks->count; i++) {
        if ((bits >> i & 1) != 0 &&
            PyList_Append(list, PyTuple_GET_ITEM(hooks->names, i)) < 0)
            Py_CLEAR(list);
    }
    tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

/* explain_handler(class) -> (names replaced, those of them for which the whole request
 * is Python's, whether C runs its handlers at all) */
static PyObject *
explain_handler(PyObject *module, PyObject *type)
{
    FlState *st = FlState_OfModule(module);
    PyObject *replaced = NULL, *stopping = NULL, *result = NULL;
    FlHooks *hooks;
    int runs;

    if (st->web_handler == NULL || !PyType_Check(type) ||
        !PyType_IsSubtype((PyTypeObject *)type, (PyTypeObject *)st->web_handler)) {
        PyErr_SetString(PyExc_TypeError, "expected a subclass of web.RequestHandler");
        return NULL;
    }
    hooks = FlHooks_New(st, (PyTypeObject *)type, st->web_names, st->web_originals);
    runs = hooks == NULL ? -1 : FlWeb_SequenceOriginal(hooks);
    if (runs >= 0) {
        replaced = names_of(hooks, hooks->replaced);
        stopping = names_of(hooks, hooks->replaced & FL_HOOKS_SEQUENCE);
    }
    if (replaced != NULL && stopping != NULL)
        result = Py_BuildValue("(OOO)", replaced, stopping, runs ? Py_True : Py_False);
    Py_XDECREF(replaced);
    Py_XDECREF(stopping);
    Py_XDECREF(hooks);
    return result;
}

/* Appends (class, name) for each replaced hook of a class. 0 or -1. */
static int
add_replaced(PyObject *list, FlHooks *hooks)
{
    PyObject *names, *pair;
    int err;

    if (FlHooks_Verify(hooks) < 0)
        return -1;
    names = names_of(hooks, hooks->replaced);
    err = names == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; err == 0 && i < PyTuple_GET_SIZE(names); i++) {
        pair = Py_BuildValue("(OO)", hooks->type, PyTuple_GET_ITEM(names, i));
        err = pair == NULL ? -1 : PyList_Append(list, pair);
        Py_XDECREF(pair);
    }
    Py_XDECREF(names);
    return err;
}

/* explain_server(server) -> (list of (rule, taken by C, without re), or None where C
 * has no table for it; whether its settings allow C; (class, name) of what was replaced
 * on the classes between the socket and a handler) */
static PyObject *
explain_server(PyObject *module, PyObject *server)
{
    FlState *st = FlState_OfModule(module);
    PyObject *replaced = PyList_New(0), *rules = NULL, *result = NULL;
    FlHooks *const classes[] = {(FlHooks *)st->web_server,
                                (FlHooks *)st->web_application_hooks,
                                (FlHooks *)st->web_router_hooks};
    FlRoutes *routes = NULL;
    int err = replaced == NULL ? -1 : 0, plain = 1;

    if (st->web_server == NULL || st->web_others == NULL) {
        Py_XDECREF(replaced);
        PyErr_SetString(PyExc_RuntimeError, "pyfastloop.web is not loaded");
        return NULL;
    }
    for (size_t i = 0; err == 0 && i < Py_ARRAY_LENGTH(classes); i++)
        err = add_replaced(replaced, classes[i]);
    for (Py_ssize_t i = 0; err == 0 && i < PyList_GET_SIZE(st->web_others); i++)
        err = add_replaced(replaced, (FlHooks *)PyList_GET_ITEM(st->web_others, i));
    if (err == 0) {
        routes = FlRoutes_OfServer(st, server);
        err = routes == NULL && PyErr_Occurred() ? -1 : 0;
    }
    if (err == 0 && routes != NULL) {
        plain = FlWeb_SettingsPlain(st, FlRoutes_Settings(routes));
        rules = FlRoutes_Explain(routes);
    } else if (err == 0)
        rules = Py_NewRef(Py_None);
    if (rules != NULL)
        result = Py_BuildValue("(OOO)", rules, plain ? Py_True : Py_False, replaced);
    Py_XDECREF(rules);
    Py_XDECREF(routes);
    Py_XDECREF(replaced);
    return result;
}

static PyMethodDef explain_functions[] = {
    {"explain_handler", explain_handler, METH_O, NULL},
    {"explain_server", explain_server, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
FlExplain_AddType(PyObject *module, FlState *st)
{
    (void)st;
    return PyModule_AddFunctions(module, explain_functions);
}
