/* execute.c -- a request's way through an unchanged Application, without leaving C.
 *
 * execute_target is asked for each request of each server (connection.h). It takes the
 * request when server, application, routers and their classes are what they were born
 * as, and a route of the table matches; else the delegates of Python get it, whose work
 * this file abbreviates: HTTPServer.start_request, _RoutingDelegate, find_handler,
 * _HandlerDelegate.execute, RequestHandler.__init__ and _execute.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include <string.h>

#include "core/task.h"
#include "web/accept.h"
#include "web/json.h"
#include "web/route.h"
#include "web/run.h"

/* ---- what Python handed in ---- */

static FlHooks *application_hooks(FlState *st);
static FlHooks *router_hooks(FlState *st);
static int other_hooks(FlState *st, PyObject *others);

/* _core.set_web(handler=..., application=..., ...): the classes, once they are made.
 * others: {class: names} of whatever else stands between the socket and a handler. */
static PyObject *
set_web(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handler",       "application", "router",
                            "path_matches",  "any_matches", "access_log",
                            "server_header", "others",      NULL};
    FlState *st = FlState_OfModule(module);
    PyObject *handler, *application, *router, *path, *any, *log, *header, *others;
    PyObject *originals;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOUO!:set_web", names, &handler,
                                     &application, &router, &path, &any, &log, &header,
                                     &PyDict_Type, &others))
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
    Py_XSETREF(st->web_any_matches, Py_NewRef(any));
    Py_XSETREF(st->web_access_log, Py_NewRef(log));
    Py_XSETREF(st->web_server_header, Py_NewRef(header));
    /* As they are now is as they were born. */
    if (application_hooks(st) == NULL || router_hooks(st) == NULL ||
        other_hooks(st, others) < 0)
        return NULL;
    (void)FlWeb_ConnectionOriginal(st);
    (void)FlWeb_RequestOriginal(st);
    if (FlWeb_RememberJson(st) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
set_web_server(PyObject *module, PyObject *type)
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

static FlHooks *
application_hooks(FlState *st)
{
    static const char *const names[] = {
        "log_request",          "start_request",    "find_handler", "__call__",
        "get_handler_delegate", "__getattribute__", "__setattr__"};

    if (st->web_application_hooks == NULL)
        st->web_application_hooks = (PyObject *)FlHooks_OfClass(
            st, st->web_application, names, Py_ARRAY_LENGTH(names));
    return (FlHooks *)st->web_application_hooks;
}

static FlHooks *
router_hooks(FlState *st)
{
    static const char *const names[] = {"find_handler", "start_request",
                                        "get_target_delegate", "__getattribute__"};

    if (st->web_router_hooks == NULL)
        st->web_router_hooks = (PyObject *)FlHooks_OfClass(st, st->web_router, names,
                                                           Py_ARRAY_LENGTH(names));
    return (FlHooks *)st->web_router_hooks;
}

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

/* Whether routing, delegates and requests are what they were born as. */
static bool
others_original(FlState *st)
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
    FlHooks *hooks = application_hooks(st);

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

/* ---- is everything between the socket and the handler original? ---- */

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

/* The table for a server, which says that nothing was replaced; borrowed from the
 * connection, or NULL (maybe with an exception): Python's way. */
static FlRoutes *
routes_of(FlState *st, FlHTTP1ServerConnection *server)
{
    FlRoutes *routes = (FlRoutes *)server->target;

    if (routes != NULL && FlRoutes_Current(routes, server->delegate))
        return routes;
    if (st->web_server == NULL || st->web_handler == NULL ||
        application_hooks(st) == NULL || router_hooks(st) == NULL)
        return NULL;
    /* Other connections of this server may have made it already. */
    routes = FlRoutes_OfServer(st, server->delegate);
    Py_XSETREF(server->target, (PyObject *)routes);
    return routes;
}

/* ---- the sequence ---- */

int
FlWeb_SequenceOriginal(FlHooks *hooks)
{
    if (FlHooks_Verify(hooks) < 0)
        return -1;
    return (hooks->replaced & FL_HOOKS_SEQUENCE) == 0 &&
           Py_TYPE(hooks->type)->tp_call == PyType_Type.tp_call &&
           !PyType_HasFeature(hooks->type, Py_TPFLAGS_IS_ABSTRACT);
}

/* Lets context and request say what a proxy's headers say: HTTPServer's xheaders. 0 or
 * -1. escapes */
static int
follow_proxy(FlHTTP1Connection *conn)
{
    PyObject *request = Py_NewRef(conn->request);
    PyObject *context = PyObject_GetAttr((PyObject *)conn, conn->st->str_context);
    PyObject *headers = NULL, *done = NULL;
    int err = -1;

    if (context != NULL)
        headers = FlHTTPServerRequest_Headers((FlHTTPServerRequest *)request);
    if (headers != NULL)
        done = PyObject_CallMethod(context, "_apply_xheaders", "O", headers);
    if (done != NULL) {
        conn->proxied = true;
        err = FlHTTPServerRequest_TakePeer((FlHTTPServerRequest *)request);
    }
    Py_XDECREF(done);
    Py_XDECREF(headers);
    Py_XDECREF(context);
    Py_DECREF(request);
    return err;
}

/* The next request of the connection may be another client's. */
static void
leave_proxy(FlHTTP1Connection *conn)
{
    PyObject *pending, *context, *done = NULL;

    if (!conn->proxied)
        return;
    conn->proxied = false;
    pending = PyErr_GetRaisedException();
    context = PyObject_GetAttr((PyObject *)conn, conn->st->str_context);
    if (context == Py_None) /* a handler has detached the connection */
        done = Py_NewRef(Py_None);
    else if (context != NULL)
        done = PyObject_CallMethod(context, "_unapply_xheaders", NULL);
    if (done == NULL)
        FlHTTP_LogUncaught(conn->loop);
    Py_XDECREF(done);
    Py_XDECREF(context);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

static int
web_head(FlHTTP1Connection *conn)
{
    FlState *st = conn->st;
    FlHTTP1ServerConnection *server = conn->server;
    int method = conn->block->head.method;
    PyObject *match[3] = {NULL, NULL, NULL};
    FlRouteAnswer answer = FL_ROUTE_PYTHON;
    FlRoutes *routes;
    FlHooks *hooks;

    if (conn->params->decompress || method == FL_METHOD_OTHER ||
        method > FL_METHOD_OPTIONS)
        return 0;
    routes = routes_of(st, server);
    if (routes == NULL || !FlWeb_SettingsPlain(st, FlRoutes_Settings(routes)) ||
        !others_original(st)) {
        PyErr_Clear(); /* looking at odd objects: Python's way tells it better */
        return 0;
    }
    Py_INCREF(routes);
    answer = FlRoutes_Match(routes, conn->block, match);
    hooks = (FlHooks *)match[0];
    if (answer == FL_ROUTE_FOUND) {
        int original = FlWeb_SequenceOriginal(hooks);

        if (original < 0)
            answer = FL_ROUTE_ERROR;
        else if (!original || hooks->methods[method] == NULL)
            answer = FL_ROUTE_PYTHON;
    }
    if (answer == FL_ROUTE_FOUND) {
        conn->request =
            FlHTTPServerRequest_FromBlock(st, conn->block, (PyObject *)conn,
                                          (PyObject *)server, FlLoop_Now(conn->loop));
        if (conn->request == NULL ||
            (FlRoutes_TrustsHeaders(routes) && follow_proxy(conn) < 0))
            answer = FL_ROUTE_ERROR;
    }
    for (int i = 0; i < 3; i++) {
        if (answer == FL_ROUTE_FOUND)
            Py_XSETREF(conn->match[i], match[i]);
        else
            Py_XDECREF(match[i]);
    }
    if (answer == FL_ROUTE_FOUND) /* in the place of the handler, until there is one */
        Py_XSETREF(conn->handler, Py_NewRef(FlRoutes_Application(routes)));
    Py_DECREF(routes);
    return (int)answer;
}

/* A handler whose class has an __init__ of its own, or a say in what __init__ sets: the
 * class is called. tp_new gives it its hooks, so that what __init__ calls is C where it
 * is original. */
static PyObject *
call_class(FlHTTP1Connection *conn, PyObject *application, PyObject *request)
{
    FlState *st = conn->st;
    PyObject *type = Py_NewRef((PyObject *)((FlHooks *)conn->match[0])->type);
    PyObject *args = PyTuple_Pack(2, application, request), *self = NULL;
    PyObject *kwargs = Py_XNewRef(conn->match[1]);

    if (args != NULL) {
        Py_XSETREF(st->web_making, Py_NewRef(conn->match[0]));
        self = PyObject_Call(type, args, kwargs);
        Py_CLEAR(st->web_making);
    }
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    if (self != NULL && !PyObject_TypeCheck(self, st->RequestHandler_type)) {
        PyErr_Format(PyExc_TypeError, "%R made a %.100s, which is no RequestHandler",
                     type, Py_TYPE(self)->tp_name);
        Py_CLEAR(self);
    }
    Py_DECREF(type);
    return self;
}

static PyObject *
new_handler(FlHTTP1Connection *conn, PyObject *application, PyObject *request)
{
    FlHooks *hooks = (FlHooks *)conn->match[0];

    if ((hooks->replaced & FL_HOOKS_INIT) != 0 || hooks->init_behind)
        return call_class(conn, application, request);

    FlRequestHandler *self = (FlRequestHandler *)hooks->type->tp_alloc(hooks->type, 0);
    PyObject *kwargs = Py_XNewRef(conn->match[1]);
    int err = -1;

    if (self != NULL) {
        self->st = conn->st;
        self->status = 200;
        self->auto_finish = true;
        self->hooks = (FlHooks *)Py_NewRef(hooks);
        self->application = Py_NewRef(application);
        self->request = Py_NewRef(request);
        Py_XSETREF(conn->handler, Py_NewRef((PyObject *)self));
        err = FlHandler_Begin(self, kwargs);
    }
    Py_XDECREF(kwargs);
    if (err < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Tells the log of what a task lets out. 0 or -1. escapes */
static int
report_failure(FlState *st, PyObject *task)
{
    PyObject *report, *done;

    if (FlFuture_Done(task) && FlFuture_Exception(task) == NULL)
        return 0;
    report = FlState_Lazy(st, &st->web_report, "pyfastloop.web.application", "_report");
    if (report == NULL)
        return -1;
    done = PyObject_CallMethodOneArg(task, st->str_add_done_callback, report);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* What _execute consists of, as the handler has it now: `initialize` may have set it. */
static bool
parts_original(FlRequestHandler *self)
{
    return self->hooks != NULL && FlRequestHandler_Original(self, FL_HOOK__begin) &&
           FlRequestHandler_Original(self, FL_HOOK__method) &&
           FlRequestHandler_Original(self, FL_HOOK_SUPPORTED_METHODS);
}

/* The application's transforms, each for this request, as a new list; *list is NULL where
 * there are none and `plain` needs none. 0 or -1. escapes */
static int
make_transforms(FlHTTP1Connection *conn, PyObject *request, bool plain, PyObject **list)
{
    FlRoutes *routes = conn->server == NULL ? NULL : (FlRoutes *)conn->server->target;
    PyObject *classes = routes == NULL ? NULL : FlRoutes_Transforms(routes);

    *list = NULL;
    if (plain && (classes == NULL || PyList_GET_SIZE(classes) == 0))
        return 0;
    *list = PyList_New(0);
    Py_XINCREF(classes);
    for (Py_ssize_t i = 0;
         *list != NULL && classes != NULL && i < PyList_GET_SIZE(classes); i++) {
        PyObject *type = Py_NewRef(PyList_GET_ITEM(classes, i));
        PyObject *made = PyObject_CallOneArg(type, request);

        if (made == NULL || PyList_Append(*list, made) < 0)
            Py_CLEAR(*list);
        Py_XDECREF(made);
        Py_DECREF(type);
    }
    Py_XDECREF(classes);
    return *list == NULL ? -1 : 0;
}

/* A replaced _execute gets the groups as arguments; what it gives is awaited. 0 or -1.
 * escapes */
static int
execute_by_name(FlRequestHandler *self, PyObject *task, PyObject *groups,
                PyObject *transforms)
{
    FlState *st = self->st;
    bool named = groups != NULL && PyDict_Check(groups);
    Py_ssize_t n = groups == NULL || named ? 0 : PyTuple_GET_SIZE(groups);
    PyObject *args = PyTuple_New(n + 1);
    PyObject *execute = NULL, *awaited = NULL;
    int err = -1;

    if (args != NULL) {
        PyTuple_SET_ITEM(args, 0, Py_NewRef(transforms));
        for (Py_ssize_t i = 0; i < n; i++)
            PyTuple_SET_ITEM(args, i + 1, Py_NewRef(PyTuple_GET_ITEM(groups, i)));
        execute = PyObject_GetAttr((PyObject *)self,
                                   PyTuple_GET_ITEM(st->web_names, FL_HOOK__execute));
    }
    if (execute != NULL)
        awaited = PyObject_Call(execute, args, named ? groups : NULL);
    if (awaited != NULL)
        err = awaited == Py_None ? 0 : FlTask_Adopt(task, awaited);
    Py_XDECREF(args);
    Py_XDECREF(execute);
    Py_XDECREF(awaited);
    return err;
}

/* Calls a function of application.py with the request's parts: 0 or -1. */
static int
run_in_python(FlState *st, PyObject *first, PyObject *second, PyObject *third,
              PyObject *keywords, PyObject *groups)
{
    PyObject *run =
        FlState_Lazy(st, &st->web_run, "pyfastloop.web.application", "_run");
    PyObject *done = run == NULL
                         ? NULL
                         : PyObject_CallFunctionObjArgs(
                               run, first, second, third == NULL ? Py_None : third,
                               keywords == NULL ? Py_None : keywords,
                               groups == NULL ? Py_None : groups, NULL);

    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Everything from the whole request to its answer, inside the task. */
static int
run_handler(FlHTTP1Connection *conn, PyObject *application, PyObject *request,
            PyObject *task)
{
    PyObject *run = NULL, *previous, *groups, *transforms;
    FlRequestHandler *self;
    bool plain;
    int err;

    if (FlTask_Enter(task, &previous) < 0)
        return -1;
    self = (FlRequestHandler *)new_handler(conn, application, request);
    if (self == NULL) {
        FlTask_Leave(task, previous);
        return -1;
    }
    groups = Py_XNewRef(conn->match[2]);
    plain = FlRequestHandler_Original(self, FL_HOOK__execute);
    err = make_transforms(conn, request, plain, &transforms);
    if (err < 0) {
        ; /* told below */
    } else if (!plain) {
        err = execute_by_name(self, task, groups, transforms);
        if (err == 0)
            err = report_failure(conn->st, task);
    } else if (!parts_original(self)) {
        FlTask_Leave(task, previous);
        err = run_in_python(conn->st, application, request, (PyObject *)self, NULL,
                            groups);
        Py_XDECREF(transforms);
        Py_XDECREF(groups);
        Py_DECREF(self);
        return err;
    } else {
        if (transforms != NULL)
            Py_XSETREF(self->transforms, Py_NewRef(transforms));
        err = FlRun_Begin(self, groups, &run);
        if (err == 0 && run != NULL)
            err = FlTask_Run(task, run);
        if (err == 0 && run != NULL)
            err = report_failure(conn->st, task);
    }
    FlTask_Leave(task, previous);
    if (err < 0 && PyErr_ExceptionMatches(conn->st->CancelledError))
        err = FlTask_Finish(task, NULL); /* answered; the task tells who asks */
    Py_XDECREF(run);
    Py_XDECREF(groups);
    Py_XDECREF(transforms);
    Py_DECREF(self);
    return err;
}

/* Whether the answer of web_head still holds: a body may have been long in coming. */
static bool
still_ours(FlHTTP1Connection *conn)
{
    FlState *st = conn->st;
    FlHooks *hooks = (FlHooks *)conn->match[0];
    FlRoutes *routes = conn->server == NULL ? NULL : routes_of(st, conn->server);

    if (routes != NULL && FlWeb_SettingsPlain(st, FlRoutes_Settings(routes)) &&
        others_original(st) && FlWeb_SequenceOriginal(hooks) > 0)
        return true;
    PyErr_Clear();
    return false;
}

/* Without a body nothing ran between web_head and web_whole. */
static bool
has_body(FlHTTP1Connection *conn)
{
    return (conn->block->head.flags & (FL_HEAD_HAS_LENGTH | FL_HEAD_CHUNKED)) != 0;
}

static int
web_whole(FlHTTP1Connection *conn)
{
    PyObject *request = conn->request, *application = conn->handler, *task;
    FlHTTPServerRequest *r = (FlHTTPServerRequest *)request;
    int err = 0;

    conn->request = NULL;
    conn->handler = NULL;
    if (request == NULL || application == NULL) {
        Py_XDECREF(request);
        Py_XDECREF(application);
        return 0;
    }
    Py_INCREF(conn);
    if (conn->body != NULL) {
        Py_XSETREF(r->body, conn->body);
        conn->body = NULL;
    }
    if (has_body(conn) && conn->match[0] != NULL && !still_ours(conn)) {
        PyObject *type = Py_NewRef((PyObject *)((FlHooks *)conn->match[0])->type);
        PyObject *keywords = Py_XNewRef(conn->match[1]);
        PyObject *groups = Py_XNewRef(conn->match[2]);

        err = run_in_python(conn->st, application, request, type, keywords, groups);
        Py_DECREF(type);
        Py_XDECREF(keywords);
        Py_XDECREF(groups);
        goto done;
    }
    task = FlTask_NewBare(conn->st, conn->loop, NULL);
    err = task == NULL ? -1 : run_handler(conn, application, request, task);
    if (task != NULL && err == 0 && !FlFuture_Done(task) &&
        ((FlTask *)task)->coro == NULL && ((FlTask *)task)->waiting == NULL)
        err = FlTask_Finish(task, Py_None);
    Py_XDECREF(task);
done:
    leave_proxy(conn);
    Py_DECREF(application);
    Py_DECREF(request);
    Py_DECREF(conn);
    return err;
}

static void
web_gone(FlHTTP1Connection *conn)
{
    FlRequestHandler *handler = (FlRequestHandler *)conn->handler;
    PyObject *done;

    if (handler == NULL || !PyObject_TypeCheck(handler, conn->st->RequestHandler_type))
        return;
    if (FlRequestHandler_Original(handler, FL_HOOK_on_connection_close))
        return;
    Py_INCREF(handler);
    done = PyObject_CallMethodNoArgs((PyObject *)handler,
                                     conn->st->str_on_connection_close);
    if (done == NULL)
        FlHTTP_LogUncaught(conn->loop);
    Py_XDECREF(done);
    Py_DECREF(handler);
}

static const FlHTTP1Target execute_target = {web_head, web_whole, web_gone,
                                             FlWeb_ConnectionClosed};

static PyMethodDef web_functions[] = {
    {"set_web", (PyCFunction)(void (*)(void))set_web, METH_VARARGS | METH_KEYWORDS,
     NULL},
    {"set_web_server", set_web_server, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
FlWebFunctions_AddType(PyObject *module, FlState *st)
{
    st->http_target = &execute_target;
    return PyModule_AddFunctions(module, web_functions);
}
