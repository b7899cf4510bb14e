/* handler_init.c -- RequestHandler.__init__: clear, close callback, initialize.
 *
 * execute_handler.c makes the handlers of unchanged classes and goes to FlHandler_Begin;
 * `_init` is what the method of Python consists of, for classes that wrap or extend it.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

/* `initialize`, where there is one or it is given something. 0 or -1. escapes */
static int
call_initialize(FlRequestHandler *self, PyObject *kwargs)
{
    PyObject *method, *done;

    if (kwargs == NULL || PyDict_GET_SIZE(kwargs) == 0)
        return ORIGINAL(self, initialize)
                   ? 0
                   : FlHandler_CallHook(self, FL_FUNCTION_INITIALIZE,
                                        self->st->str_initialize);
    method = PyObject_GetAttr((PyObject *)self, self->st->str_initialize);
    done = method == NULL ? NULL : PyObject_Call(method, self->st->empty_tuple, kwargs);
    Py_XDECREF(method);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
call_clear(FlRequestHandler *self)
{
    return ORIGINAL(self, clear) ? FlRequestHandler_Clear(self)
                                 : FlHandler_Call(self, self->st->str_clear);
}

int
FlHandler_Begin(FlRequestHandler *self, PyObject *kwargs)
{
    return call_clear(self) < 0 ? -1 : call_initialize(self, kwargs);
}

/* ---- by way of Python's __init__ ---- */

/* super().__init__(), where a class behind RequestHandler has one. 0 or -1. escapes */
static int
call_next_init(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *super, *done;

    if (!FlHooks_InitBehind(st, Py_TYPE(self)))
        return 0;
    super = PyObject_CallFunctionObjArgs((PyObject *)&PySuper_Type, st->web_handler,
                                         (PyObject *)self, NULL);
    done = super == NULL ? NULL : PyObject_CallMethod(super, "__init__", NULL);
    Py_XDECREF(super);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* application and request as attributes: 0 or -1. escapes where a class has them as
 * something else, or stores attributes in its own way */
static int
take_parts(FlRequestHandler *self, PyObject *application, PyObject *request)
{
    PyObject *op = (PyObject *)self;

    if (ORIGINAL(self, __setattr__) && ORIGINAL(self, application) &&
        ORIGINAL(self, request)) {
        Py_XSETREF(self->application, Py_NewRef(application));
        Py_XSETREF(self->request, Py_NewRef(request));
        return 0;
    }
    if (PyObject_SetAttrString(op, "application", application) < 0)
        return -1;
    return PyObject_SetAttrString(op, "request", request);
}

/* Who hears that the peer has left: the connection knows a handler that was made for it
 * (execute_handler.c); else its close callback is set. 0 or -1. escapes */
static int
watch_connection(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = FlHandler_Request(self);
    FlState *st = self->st;
    FlHTTP1Connection *conn;

    if (self->hooks != NULL && request != NULL && request->connection != NULL &&
        Py_IS_TYPE(request->connection, st->HTTP1Connection_type)) {
        conn = (FlHTTP1Connection *)request->connection;
        if (conn->web && conn->handler == NULL && conn->close_callback == NULL &&
            (conn->dict == NULL || PyDict_GET_SIZE(conn->dict) == 0) &&
            FlWeb_ConnectionOriginal(st)) {
            conn->handler = Py_NewRef((PyObject *)self);
            return 0;
        }
    }
    return FlHandler_Call(self, st->str__watch_connection);
}

PyObject *
FlHandler_init(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    FlRequestHandler *self = FlHandler_Cast(op);

    if (nargs != 3 || !PyDict_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError,
                        "_init() takes an application, a request and a dict");
        return NULL;
    }
    if (call_next_init(self) < 0 || take_parts(self, args[0], args[1]) < 0)
        return NULL;
    Py_CLEAR(self->path_args);
    Py_CLEAR(self->path_kwargs);
    Py_CLEAR(self->transforms);
    Py_CLEAR(self->prepared_future);
    self->headers_written = false;
    self->finished = false;
    self->auto_finish = true;
    if (call_clear(self) < 0 || watch_connection(self) < 0 ||
        call_initialize(self, args[2]) < 0)
        return NULL;
    Py_RETURN_NONE;
}
