/* execute_handler.c -- one request's handler: made, run inside its task, reported.
 *
 * The abbreviation of _HandlerDelegate.execute, RequestHandler.__init__ and the call of
 * _execute. A handler whose class has an __init__ or an _execute of its own gets it
 * called; one whose `initialize` has replaced a part of the sequence goes to Python.
 *
 * Invariant: the task that was entered is left on every way out.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/execute_parts.h"

#include "core/task.h"
#include "web/handler_parts.h"
#include "web/route.h"
#include "web/run.h"

/* ---- making ---- */

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

/* ---- running ---- */

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

int
FlExecute_InPython(FlState *st, PyObject *first, PyObject *second, PyObject *third,
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

int
FlExecute_Handler(FlHTTP1Connection *conn, PyObject *application, PyObject *request,
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
        err = FlExecute_InPython(conn->st, application, request, (PyObject *)self, NULL,
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
