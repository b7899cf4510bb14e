/* run.c -- RequestHandler._execute in C: from the groups of the path to finish().
 *
 *     START -> checks, prepare -> PREPARED -> the method -> ANSWERED -> finish
 *
 * FlRun_Advance goes on until something has to be awaited. A request that awaits nothing
 * is over then, and no object was made for it. One that does becomes a Run (run_type.c).
 *
 * Invariant: a stage is left before its user code is called, so that nothing is called
 * twice, whatever that code does.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/run_parts.h"

#include "web/arguments.h"

/* ---- checks ---- */

/* One group of the path as decode_argument gives it. New reference. */
static PyObject *
decoded(FlRequestHandler *self, PyObject *raw, PyObject *name)
{
    return raw == Py_None ? Py_NewRef(raw) : FlRequestHandler_Decode(self, raw, name);
}

/* The arguments of a form; one that cannot be read is the client's error, 400. escapes */
static int
parse_body(FlRequestHandler *self)
{
    PyObject *request = Py_XNewRef(self->request), *done, *error;

    if (request == NULL) /* deleted, or a property of the class stands in its place */
        request = PyObject_GetAttrString((PyObject *)self, "request");
    if (request == NULL)
        PyErr_Clear();
    if (request == NULL || !FlHTTPServerRequest_Check(self->st, request) ||
        !FlHTTPServerRequest_HasForm((FlHTTPServerRequest *)request)) {
        Py_XDECREF(request);
        return 0;
    }
    done = PyObject_CallMethod(request, "_parse_body", NULL);
    Py_DECREF(request);
    if (done == NULL && FlHTTP_IsInputError(self->st)) {
        error = PyErr_GetRaisedException();
        done = PyObject_CallMethod((PyObject *)self, "_refuse_body", "N", error);
    }
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

static int
decode_path(FlRequestHandler *self, PyObject *groups)
{
    PyObject *name, *raw, *text, *made;
    Py_ssize_t at = 0;
    int err = 0;

    /* Both read as empty while NULL. */
    Py_CLEAR(self->path_args);
    Py_CLEAR(self->path_kwargs);
    if (groups == NULL)
        return 0;
    if (PyTuple_Check(groups)) {
        if (PyTuple_GET_SIZE(groups) == 0)
            return 0;
        made = PyList_New(0);
        for (Py_ssize_t i = 0; made != NULL && i < PyTuple_GET_SIZE(groups); i++) {
            text = decoded(self, PyTuple_GET_ITEM(groups, i), NULL);
            err = text == NULL ? -1 : PyList_Append(made, text);
            Py_XDECREF(text);
            if (err < 0)
                Py_CLEAR(made);
        }
        if (made != NULL)
            Py_XSETREF(self->path_args, made);
        return made == NULL ? -1 : 0;
    }
    made = PyDict_New();
    while (made != NULL && PyDict_Next(groups, &at, &name, &raw)) {
        text = decoded(self, raw, name);
        err = text == NULL ? -1 : PyDict_SetItem(made, name, text);
        Py_XDECREF(text);
        if (err < 0)
            Py_CLEAR(made);
    }
    if (made != NULL)
        Py_XSETREF(self->path_kwargs, made);
    return made == NULL ? -1 : 0;
}

/* XSRF and origin checks, where the application asks for them and the method may change
 * something: Python does them. */
static int
check_forgery(FlRequestHandler *self, int method)
{
    PyObject *const settings[] = {self->st->str_xsrf_cookies,
                                  self->st->str_cross_origin_protection};
    PyObject *dict = NULL, *begin, *done;
    int wanted = 0;

    if (method == FL_METHOD_GET || method == FL_METHOD_HEAD ||
        method == FL_METHOD_OPTIONS)
        return 0;
    dict = PyObject_GetAttr((PyObject *)self, self->st->str_settings);
    if (dict == NULL)
        return -1;
    for (size_t i = 0; wanted == 0 && i < Py_ARRAY_LENGTH(settings); i++) {
        PyObject *value = Py_XNewRef(
            PyDict_Check(dict) ? PyDict_GetItem(dict, settings[i]) : Py_True);

        if (value != NULL)
            wanted = PyObject_IsTrue(value);
        Py_XDECREF(value);
    }
    Py_DECREF(dict);
    if (wanted <= 0)
        return wanted;
    begin = PyObject_GetAttrString((PyObject *)self, "_check_forgery");
    done = begin == NULL ? NULL : PyObject_CallNoArgs(begin);
    Py_XDECREF(begin);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* ---- the user's method ---- */

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

/* Calls a bound method with the groups of the path. New reference. */
static PyObject *
call_bound(FlRequestHandler *self, PyObject *bound)
{
    PyObject *groups = Py_XNewRef(self->path_args);
    PyObject *args =
        groups == NULL ? Py_NewRef(self->st->empty_tuple) : PySequence_Tuple(groups);
    PyObject *keywords = Py_XNewRef(self->path_kwargs), *result = NULL;

    if (keywords != NULL && !PyDict_Check(keywords))
        PyErr_Format(PyExc_TypeError, "path_kwargs must be a dict, not %.100s",
                     Py_TYPE(keywords)->tp_name);
    else if (args != NULL)
        result = PyObject_Call(bound, args, keywords);
    Py_XDECREF(groups);
    Py_XDECREF(args);
    Py_XDECREF(keywords);
    return result;
}

/* enum fl_method of the request as it is now: `prepare` may have set another. 0: some
 * other method. */
static int
method_of(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = (FlHTTPServerRequest *)self->request;

    if (request == NULL || !FlHTTPServerRequest_Check(self->st, self->request) ||
        request->block == NULL)
        return 0;
    if (request->method != NULL) {
        Py_ssize_t n;
        const char *p = PyUnicode_Check(request->method)
                            ? PyUnicode_AsUTF8AndSize(request->method, &n)
                            : NULL;

        if (p == NULL) {
            PyErr_Clear();
            return 0;
        }
        return fl_method_lookup(fl_span_make(p, (size_t)n));
    }
    return request->block->head.method;
}

/* The class's own function for the method, where nothing hides it; new reference or
 * NULL, maybe with an exception. */
static PyObject *
plain_function(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *const names[FL_HOOK_METHODS] = {
        NULL,        st->str_get,    st->str_head,  st->str_post,
        st->str_put, st->str_delete, st->str_patch, st->str_options};
    FlHooks *hooks = self->hooks;
    int method = method_of(self);

    if (hooks == NULL || !FlRequestHandler_Original(self, FL_HOOK__method) ||
        method <= 0 || method >= FL_HOOK_METHODS || !plain_arguments(self))
        return NULL;
    if (FlHooks_MayHave(st, self->dict, &self->clean, FL_NAME_METHOD) &&
        PyDict_Contains(self->dict, names[method]) != 0)
        return NULL;
    return Py_XNewRef(hooks->functions[method]);
}

/* The user's method with the groups of the path. New reference. */
static PyObject *
call_user(FlRequestHandler *self)
{
    PyObject *function = plain_function(self), *bound, *result;
    PyObject *args[1 + FEW_GROUPS];
    Py_ssize_t n;

    if (function == NULL) {
        if (PyErr_Occurred())
            return NULL;
        bound = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str__method);
        result = bound == NULL ? NULL : call_bound(self, bound);
        Py_XDECREF(bound);
        return result;
    }
    args[0] = (PyObject *)self;
    n = self->path_args == NULL ? 0 : PyList_GET_SIZE(self->path_args);
    for (Py_ssize_t i = 0; i < n; i++)
        args[i + 1] = Py_NewRef(PyList_GET_ITEM(self->path_args, i));
    result = PyObject_Vectorcall(function, args, (size_t)n + 1, NULL);
    for (Py_ssize_t i = 0; i < n; i++)
        Py_DECREF(args[i + 1]);
    Py_DECREF(function);
    return result;
}

/* ---- the sequence ---- */

/* prepare(): 1 and what has to be awaited, 0, or -1. */
static int
call_prepare(FlRequestHandler *self, PyObject **awaited)
{
    *awaited =
        FlRequestHandler_CallHook(self, FL_FUNCTION_PREPARE, self->st->str_prepare);
    if (*awaited == NULL)
        return -1;
    if (*awaited != Py_None)
        return 1;
    Py_CLEAR(*awaited);
    return 0;
}

static int
finish_answer(FlRequestHandler *self)
{
    PyObject *done;

    if (!self->auto_finish || self->finished)
        return 0;
    if (FlRequestHandler_Original(self, FL_HOOK_finish))
        return FlRequestHandler_Finish(self, NULL);
    done = PyObject_CallMethodNoArgs((PyObject *)self, self->st->str_finish);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
FlRun_Advance(FlRequestHandler *self, PyObject *groups, uint8_t *stage,
              PyObject **awaited)
{
    int answer;

    if (*stage == FL_RUN_START) {
        *stage = FL_RUN_PREPARED;
        if (parse_body(self) < 0 || decode_path(self, groups) < 0 ||
            check_forgery(self, method_of(self)) < 0)
            return -1;
        if (!FlRequestHandler_Original(self, FL_HOOK_prepare)) {
            answer = call_prepare(self, awaited);
            if (answer != 0)
                return answer;
        }
    }
    if (*stage == FL_RUN_PREPARED) {
        *stage = FL_RUN_ANSWERED;
        if (self->finished)
            return 0;
        *awaited = call_user(self);
        if (*awaited == NULL)
            return -1;
        if (*awaited != Py_None)
            return 1;
        Py_CLEAR(*awaited);
    }
    *stage = FL_RUN_OVER;
    return finish_answer(self);
}

int
FlRun_HandleFailure(FlRequestHandler *self)
{
    PyObject *error, *outer, *done;
    bool passes;

    if (!PyErr_ExceptionMatches(PyExc_Exception) &&
        !PyErr_ExceptionMatches(self->st->CancelledError))
        return -1;
    error = PyErr_GetRaisedException();
    passes = PyErr_GivenExceptionMatches(error, self->st->CancelledError);
    /* It is what sys.exc_info() and a bare raise give to the hooks (log_exception,
     * write_error), as in an except clause. */
    outer = PyErr_GetHandledException();
    PyErr_SetHandledException(error);
    done = PyObject_CallMethodOneArg((PyObject *)self, self->st->str__handle_failure,
                                     error);
    PyErr_SetHandledException(outer);
    Py_XDECREF(outer);
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

int
FlRun_Begin(FlRequestHandler *handler, PyObject *groups, PyObject **run)
{
    uint8_t stage = FL_RUN_START;
    PyObject *awaited;
    FlRun *made = NULL;
    int answer = FlRun_Advance(handler, groups, &stage, &awaited);

    *run = NULL;
    if (answer > 0) {
        made = (FlRun *)FlRun_New(handler, groups);
        if (made != NULL) {
            made->stage = stage;
            made->inner = FlRun_Iterator(handler->st, awaited);
        }
        Py_DECREF(awaited);
        if (made == NULL || made->inner == NULL) {
            Py_XDECREF(made);
            answer = -1;
        }
    }
    if (answer < 0)
        return FlRun_HandleFailure(handler);
    *run = (PyObject *)made;
    return 0;
}

bool
FlRun_Possible(FlRequestHandler *handler)
{
    static const uint8_t parts[] = {FL_HOOK__begin,
                                    FL_HOOK__method,
                                    FL_HOOK__tell_prepared,
                                    FL_HOOK__handle_failure,
                                    FL_HOOK_SUPPORTED_METHODS,
                                    FL_HOOK__stream_request_body};
    int method = method_of(handler);

    for (size_t i = 0; i < Py_ARRAY_LENGTH(parts); i++) {
        if (!FlRequestHandler_Original(handler, parts[i]))
            return false;
    }
    return method > 0 && method < FL_HOOK_METHODS;
}
