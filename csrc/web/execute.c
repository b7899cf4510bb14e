/* execute.c -- a request's way through an unchanged Application, without leaving C.
 *
 * execute_target is asked for each request of each server (connection.h). It takes the
 * request when server, application, routers and their classes are what they were born
 * as, and a route of the table matches; else the delegates of Python get it, whose work
 * is abbreviated: here HTTPServer.start_request, _RoutingDelegate and find_handler, in
 * execute_handler.c what follows. originals.c says whether all those are untouched.
 *
 * Invariant: what web_head found original is asked again before the handler runs, if a
 * body came in between.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/execute_parts.h"

#include "core/task.h"
#include "web/accept.h"
#include "web/route.h"

/* The table for a server, which says that nothing was replaced; borrowed from the
 * connection, or NULL (maybe with an exception): Python's way. */
static FlRoutes *
routes_of(FlState *st, FlHTTP1ServerConnection *server)
{
    FlRoutes *routes = (FlRoutes *)server->target;

    if (routes != NULL && FlRoutes_Current(routes, server->delegate))
        return routes;
    if (st->web_server == NULL || st->web_handler == NULL ||
        FlWeb_ApplicationHooks(st) == NULL || FlWeb_RouterHooks(st) == NULL)
        return NULL;
    /* Other connections of this server may have made it already. */
    routes = FlRoutes_OfServer(st, server->delegate);
    Py_XSETREF(server->target, (PyObject *)routes);
    return routes;
}

/* ---- what a proxy says ---- */

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

/* ---- the target ---- */

/* Whether the body is coded: what undoes that (decompress_request) hands pieces to the
 * delegates of Python, and takes turns while it does. */
static bool
has_coding(const FlHTTP1Connection *conn)
{
    return (conn->block->head.seen >> FL_H_CONTENT_ENCODING & 1) != 0;
}

static int
web_head(FlHTTP1Connection *conn)
{
    FlState *st = conn->st;
    FlHTTP1ServerConnection *server = conn->server;
    int method = conn->block->head.method;
    PyObject *match[3] = {NULL, NULL, NULL};
    FlRouteAnswer answer = FL_ROUTE_PYTHON;
    FlHTTPServerRequest *request;
    FlRoutes *routes;
    FlHooks *hooks;

    if (method == FL_METHOD_OTHER || method > FL_METHOD_OPTIONS ||
        (conn->params->decompress && has_coding(conn)))
        return 0;
    routes = routes_of(st, server);
    if (routes == NULL || !FlWeb_SettingsPlain(st, FlRoutes_Settings(routes)) ||
        !FlWeb_OthersOriginal(st)) {
        PyErr_Clear(); /* looking at odd objects: Python's way tells it better */
        return 0;
    }
    Py_INCREF(routes);
    request = (FlHTTPServerRequest *)FlHTTPServerRequest_FromBlock(
        st, conn->block, (PyObject *)conn, (PyObject *)server, FlLoop_Now(conn->loop));
    answer = request == NULL ? FL_ROUTE_ERROR : FlRoutes_Match(routes, request, match);
    hooks = (FlHooks *)match[0];
    if (answer == FL_ROUTE_FOUND) {
        int original = FlWeb_SequenceOriginal(hooks);

        if (original < 0)
            answer = FL_ROUTE_ERROR;
        else if (!original || hooks->functions[method] == NULL)
            answer = FL_ROUTE_PYTHON;
    }
    if (answer == FL_ROUTE_FOUND) {
        Py_XSETREF(conn->request, Py_NewRef((PyObject *)request));
        if (FlRoutes_TrustsHeaders(routes) && follow_proxy(conn) < 0)
            answer = FL_ROUTE_ERROR;
    }
    Py_XDECREF(request);
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

/* Whether the answer of web_head still holds: a body may have been long in coming. */
static bool
still_ours(FlHTTP1Connection *conn)
{
    FlState *st = conn->st;
    FlHooks *hooks = (FlHooks *)conn->match[0];
    FlRoutes *routes = conn->server == NULL ? NULL : routes_of(st, conn->server);

    if (routes != NULL && FlWeb_SettingsPlain(st, FlRoutes_Settings(routes)) &&
        FlWeb_OthersOriginal(st) && FlWeb_SequenceOriginal(hooks) > 0)
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

        err =
            FlExecute_InPython(conn->st, application, request, type, keywords, groups);
        Py_DECREF(type);
        Py_XDECREF(keywords);
        Py_XDECREF(groups);
        goto done;
    }
    task = FlTask_NewBare(conn->st, conn->loop, NULL);
    err = task == NULL ? -1 : FlExecute_Handler(conn, application, request, task);
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
    {"set_web", (PyCFunction)(void (*)(void))FlWeb_set_web,
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"set_web_server", FlWeb_set_web_server, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int
FlWebFunctions_AddType(PyObject *module, FlState *st)
{
    st->http_target = &execute_target;
    return PyModule_AddFunctions(module, web_functions);
}
