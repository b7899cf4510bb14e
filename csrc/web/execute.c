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
#include "web/handler.h"

#include <string.h>

#include "core/task.h"
#include "web/arguments.h"
#include "web/json.h"
#include "web/route.h"

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

/* Settings under which a request does more than C does. */
static bool
settings_plain(FlState *st, PyObject *settings)
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

/* What must be original for C to run a handler at all. */
#define SEQUENCE                                                                       \
    (FL_HOOK_BIT(__new__) | FL_HOOK_BIT(__getattribute__) | FL_HOOK_BIT(__setattr__) | \
     FL_HOOK_BIT(_begin) | FL_HOOK_BIT(_method) | FL_HOOK_BIT(_tell_prepared) |        \
     FL_HOOK_BIT(_handle_failure) | FL_HOOK_BIT(_stream_request_body) |                \
     FL_HOOK_BIT(_check_cross_origin) | FL_HOOK_BIT(__init__) |                        \
     FL_HOOK_BIT(_execute) | FL_HOOK_BIT(SUPPORTED_METHODS))

/* Whether C may make and run a handler of this class. 1, 0 or -1. */
static int
sequence_original(FlHooks *hooks)
{
    if (FlHooks_Verify(hooks) < 0)
        return -1;
    return (hooks->replaced & SEQUENCE) == 0 &&
           Py_TYPE(hooks->type)->tp_call == PyType_Type.tp_call &&
           !PyType_HasFeature(hooks->type, Py_TPFLAGS_IS_ABSTRACT);
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
    if (routes == NULL || !settings_plain(st, FlRoutes_Settings(routes)) ||
        !others_original(st)) {
        PyErr_Clear(); /* looking at odd objects: Python's way tells it better */
        return 0;
    }
    Py_INCREF(routes);
    answer = FlRoutes_Match(routes, conn->block, match);
    hooks = (FlHooks *)match[0];
    if (answer == FL_ROUTE_FOUND) {
        int original = sequence_original(hooks);

        if (original < 0)
            answer = FL_ROUTE_ERROR;
        else if (!original || hooks->methods[method] == NULL)
            answer = FL_ROUTE_PYTHON;
    }
    if (answer == FL_ROUTE_FOUND) {
        conn->request =
            FlHTTPServerRequest_FromBlock(st, conn->block, (PyObject *)conn,
                                          (PyObject *)server, FlLoop_Now(conn->loop));
        if (conn->request == NULL)
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

/* Calls a method by name; *result new reference. 0 or -1. */
static int
call_method(FlRequestHandler *self, PyObject *name, PyObject **result)
{
    *result = PyObject_CallMethodNoArgs((PyObject *)self, name);
    return *result == NULL ? -1 : 0;
}

/* RequestHandler.__init__ for an instance as tp_new made it. */
static int
init_handler(FlRequestHandler *self, PyObject *kwargs)
{
    PyObject *method, *done;

    if (FlRequestHandler_Original(self, FL_HOOK_clear)) {
        if (FlRequestHandler_Clear(self) < 0)
            return -1;
    } else if (call_method(self, self->st->str_clear, &done) < 0) {
        return -1;
    } else {
        Py_DECREF(done);
    }
    if (FlRequestHandler_Original(self, FL_HOOK_initialize) && kwargs == NULL)
        return 0;
    method = PyObject_GetAttr((PyObject *)self, self->st->str_initialize);
    done = method == NULL ? NULL : PyObject_Call(method, self->st->empty_tuple, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static PyObject *
new_handler(FlHTTP1Connection *conn, PyObject *application, PyObject *request)
{
    FlHooks *hooks = (FlHooks *)conn->match[0];
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
        err = init_handler(self, kwargs);
    }
    Py_XDECREF(kwargs);
    if (err < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* One group of the path as decode_argument gives it. New reference. */
static PyObject *
decoded(FlRequestHandler *self, PyObject *raw, PyObject *name)
{
    return raw == Py_None ? Py_NewRef(raw) : FlRequestHandler_Decode(self, raw, name);
}

static int
decode_path(FlRequestHandler *self, PyObject *groups)
{
    PyObject *name, *raw, *text;
    Py_ssize_t at = 0;
    int err;

    if (groups == NULL)
        return 0;
    if (PyTuple_Check(groups)) {
        if (self->path_args == NULL && (self->path_args = PyList_New(0)) == NULL)
            return -1;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(groups); i++) {
            text = decoded(self, PyTuple_GET_ITEM(groups, i), NULL);
            err = text == NULL ? -1 : PyList_Append(self->path_args, text);
            Py_XDECREF(text);
            if (err < 0)
                return -1;
        }
        return 0;
    }
    if (self->path_kwargs == NULL && (self->path_kwargs = PyDict_New()) == NULL)
        return -1;
    while (PyDict_Next(groups, &at, &name, &raw)) {
        text = decoded(self, raw, name);
        err = text == NULL ? -1 : PyDict_SetItem(self->path_kwargs, name, text);
        Py_XDECREF(text);
        if (err < 0)
            return -1;
    }
    return 0;
}

/* XSRF and origin checks, where the application asks for them and the method may change
 * something: Python does them. */
static int
check_forgery(FlRequestHandler *self, int method)
{
    PyObject *const settings[] = {self->st->str_xsrf_cookies,
                                  self->st->str_cross_origin_protection};
    PyObject *dict = NULL, *begin, *done;
    bool wanted = false;

    if (method == FL_METHOD_GET || method == FL_METHOD_HEAD ||
        method == FL_METHOD_OPTIONS)
        return 0;
    dict = PyObject_GetAttr((PyObject *)self, self->st->str_settings);
    if (dict == NULL)
        return -1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(settings); i++) {
        PyObject *value =
            PyDict_Check(dict) ? PyDict_GetItem(dict, settings[i]) : Py_True;

        if (value != NULL && PyObject_IsTrue(value) != 0)
            wanted = true;
    }
    Py_DECREF(dict);
    if (!wanted)
        return 0;
    begin = PyObject_GetAttrString((PyObject *)self, "_check_forgery");
    done = begin == NULL ? NULL : PyObject_CallNoArgs(begin);
    Py_XDECREF(begin);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

#define FEW_GROUPS 4

/* Whether the arguments of the method are at most a few by position. */
static bool
plain_arguments(FlRequestHandler *self)
{
    if (self->path_kwargs != NULL && (!PyDict_CheckExact(self->path_kwargs) ||
                                      PyDict_GET_SIZE(self->path_kwargs) > 0))
        return false;
    return self->path_args == NULL || (PyList_CheckExact(self->path_args) &&
                                       PyList_GET_SIZE(self->path_args) <= FEW_GROUPS);
}

static PyObject *
call_by_name(FlRequestHandler *self, const char *name)
{
    PyObject *bound = PyObject_GetAttrString((PyObject *)self, name);
    PyObject *groups = Py_XNewRef(self->path_args);
    PyObject *args =
        groups == NULL ? Py_NewRef(self->st->empty_tuple) : PySequence_Tuple(groups);
    PyObject *keywords = Py_XNewRef(self->path_kwargs), *result = NULL;

    if (keywords != NULL && !PyDict_Check(keywords))
        PyErr_Format(PyExc_TypeError, "path_kwargs must be a dict, not %.100s",
                     Py_TYPE(keywords)->tp_name);
    else if (bound != NULL && args != NULL)
        result = PyObject_Call(bound, args, keywords);
    Py_XDECREF(bound);
    Py_XDECREF(groups);
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    return result;
}

/* The user's method with the groups of the path. New reference. */
static PyObject *
call_user(FlRequestHandler *self, int method)
{
    static const char *const names[FL_HOOK_METHODS] = {
        NULL, "get", "head", "post", "put", "delete", "patch", "options"};
    FlHooks *hooks = self->hooks;
    PyObject *function = NULL, *result;
    bool own = self->dict != NULL && PyDict_GET_SIZE(self->dict) > 0;

    if (FlHooks_Verify(hooks) < 0)
        return NULL;
    if (!own && Py_IS_TYPE(self, hooks->type))
        function = Py_XNewRef(hooks->methods[method]);
    if (function != NULL && plain_arguments(self)) {
        PyObject *args[1 + FEW_GROUPS];
        Py_ssize_t n = self->path_args == NULL ? 0 : PyList_GET_SIZE(self->path_args);

        args[0] = (PyObject *)self;
        for (Py_ssize_t i = 0; i < n; i++)
            args[i + 1] = Py_NewRef(PyList_GET_ITEM(self->path_args, i));
        result = PyObject_Vectorcall(function, args, (size_t)n + 1, NULL);
        for (Py_ssize_t i = 0; i < n; i++)
            Py_DECREF(args[i + 1]);
        Py_DECREF(function);
        return result;
    }
    Py_XDECREF(function);
    return call_by_name(self, names[method]);
}

/* What came of the sequence so far. */
typedef enum { RUN_FAILED = -1, RUN_DONE = 0, RUN_AWAIT = 1 } run_answer;

/* _execute, up to the first awaitable: *awaited (new reference) and whether the method
 * was called already. */
static run_answer
run_sequence(FlRequestHandler *self, int method, PyObject *groups, PyObject **awaited,
             bool *called)
{
    PyObject *result;

    *called = false;
    if (decode_path(self, groups) < 0 || check_forgery(self, method) < 0)
        return RUN_FAILED;
    if (!FlRequestHandler_Original(self, FL_HOOK_prepare)) {
        if (call_method(self, self->st->str_prepare, &result) < 0)
            return RUN_FAILED;
        if (result != Py_None) {
            *awaited = result;
            return RUN_AWAIT;
        }
        Py_DECREF(result);
    }
    if (self->finished)
        return RUN_DONE;
    result = call_user(self, method);
    if (result == NULL)
        return RUN_FAILED;
    if (result != Py_None) {
        *awaited = result;
        *called = true;
        return RUN_AWAIT;
    }
    Py_DECREF(result);
    if (!self->auto_finish || self->finished)
        return RUN_DONE;
    if (FlRequestHandler_Original(self, FL_HOOK_finish))
        return FlRequestHandler_Finish(self, NULL) < 0 ? RUN_FAILED : RUN_DONE;
    if (call_method(self, self->st->str_finish, &result) < 0)
        return RUN_FAILED;
    Py_DECREF(result);
    return RUN_DONE;
}

/* The current exception ends the request: 0, or -1 when it goes on (fatal, cancelled). */
static int
handle_failure(FlRequestHandler *self)
{
    PyObject *error, *done;
    bool passes;

    if (FlError_IsFatal())
        return -1;
    error = PyErr_GetRaisedException();
    passes = PyErr_GivenExceptionMatches(error, self->st->CancelledError);
    done = PyObject_CallMethodOneArg((PyObject *)self, self->st->str__handle_failure,
                                     error);
    if (done == NULL) {
        Py_DECREF(error);
        return -1;
    }
    Py_DECREF(done);
    if (!passes) {
        Py_DECREF(error);
        return 0;
    }
    PyErr_SetRaisedException(error);
    return -1;
}

/* Hands the rest to the task: the coroutine _go_on. 0 or -1. */
static int
go_on_in_task(FlRequestHandler *self, PyObject *task, PyObject *awaited, bool called)
{
    PyObject *coroutine =
        PyObject_CallMethodObjArgs((PyObject *)self, self->st->str__go_on, awaited,
                                   called ? Py_True : Py_False, NULL);
    PyObject *report, *done;
    int err;

    if (coroutine == NULL)
        return -1;
    err = FlTask_Adopt(task, coroutine);
    Py_DECREF(coroutine);
    if (err < 0)
        return -1;
    report = FlState_Lazy(self->st, &self->st->web_report, "pyfastloop.web.application",
                          "_report");
    if (report == NULL)
        return -1;
    if (FlFuture_Done(task) && FlFuture_Exception(task) == NULL)
        return 0;
    done = PyObject_CallMethodOneArg(task, self->st->str_add_done_callback, report);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* What _execute consists of, as the handler has it now: `initialize` may have set it. */
static bool
still_original(FlRequestHandler *self)
{
    return FlRequestHandler_Original(self, FL_HOOK__execute) &&
           FlRequestHandler_Original(self, FL_HOOK__begin) &&
           FlRequestHandler_Original(self, FL_HOOK__method) &&
           FlRequestHandler_Original(self, FL_HOOK_SUPPORTED_METHODS);
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
    int method = conn->block->head.method;
    PyObject *awaited = NULL, *previous, *groups;
    FlRequestHandler *self;
    run_answer answer;
    bool called = false;
    int err = 0;

    if (FlTask_Enter(task, &previous) < 0)
        return -1;
    self = (FlRequestHandler *)new_handler(conn, application, request);
    if (self == NULL) {
        FlTask_Leave(task, previous);
        return -1;
    }
    groups = Py_XNewRef(conn->match[2]);
    if (!still_original(self)) {
        FlTask_Leave(task, previous);
        err = run_in_python(conn->st, application, request, (PyObject *)self, NULL,
                            groups);
        Py_XDECREF(groups);
        Py_DECREF(self);
        return err;
    }
    answer = run_sequence(self, method, groups, &awaited, &called);
    Py_XDECREF(groups);
    if (answer == RUN_FAILED)
        err = handle_failure(self);
    FlTask_Leave(task, previous);
    if (err < 0 && PyErr_ExceptionMatches(self->st->CancelledError))
        err = FlTask_Finish(task, NULL); /* answered; the task tells who asks */
    if (err == 0 && answer == RUN_AWAIT)
        err = go_on_in_task(self, task, awaited, called);
    Py_XDECREF(awaited);
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

    if (routes != NULL && settings_plain(st, FlRoutes_Settings(routes)) &&
        others_original(st) && sequence_original(hooks) > 0)
        return true;
    PyErr_Clear();
    return false;
}

static int
web_whole(FlHTTP1Connection *conn)
{
    PyObject *request = conn->request, *application = conn->handler, *task;
    FlHTTPServerRequest *r = (FlHTTPServerRequest *)request;
    int err;

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
    err = FlHTTPServerRequest_ParseBody(r);
    if (err == 0 && conn->match[0] != NULL && !still_ours(conn)) {
        PyObject *type = Py_NewRef((PyObject *)((FlHooks *)conn->match[0])->type);
        PyObject *keywords = Py_XNewRef(conn->match[1]);
        PyObject *groups = Py_XNewRef(conn->match[2]);

        err = run_in_python(conn->st, application, request, type, keywords, groups);
        Py_DECREF(type);
        Py_XDECREF(keywords);
        Py_XDECREF(groups);
        goto done;
    }
    task = err < 0 ? NULL : FlTask_NewBare(conn->st, conn->loop, NULL);
    if (task == NULL)
        err = -1;
    else
        err = run_handler(conn, application, request, task);
    if (task != NULL && err == 0 && !FlFuture_Done(task) &&
        ((FlTask *)task)->coro == NULL && ((FlTask *)task)->waiting == NULL)
        err = FlTask_Finish(task, Py_None);
    Py_XDECREF(task);
done:
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

static const FlHTTP1Target execute_target = {web_head, web_whole, web_gone};

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
