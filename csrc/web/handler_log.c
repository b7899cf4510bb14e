/* handler_log.c -- the access log of a finished request: usually, that nobody listens.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include "web/access_log.h"

/* Whether tornado.access would take a line of this status; wrong only in the safe
 * direction. The logger's own cache is asked, so that no frame of Python runs. */
static bool
access_enabled(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *method = self->status < 400   ? st->str_info
                       : self->status < 500 ? st->str_warning
                                            : st->str_error;
    PyObject *dict, *cache, *level, *found;
    bool on = true;

    if (st->web_access_log == NULL)
        return true;
    dict = PyObject_GenericGetDict(st->web_access_log, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return true;
    }
    if (PyDict_GetItem(dict, st->str_disabled) == Py_False &&
        PyDict_GetItem(dict, method) == NULL &&
        PyDict_GetItem(dict, st->str_isEnabledFor) == NULL &&
        (cache = PyDict_GetItem(dict, st->str__cache)) != NULL && PyDict_Check(cache)) {
        level = PyLong_FromLong(self->status < 400 ? 20 : self->status < 500 ? 30 : 40);
        found = level == NULL ? NULL : PyDict_GetItem(cache, level);
        on = found != Py_False;
        if (found == NULL && level != NULL) {
            PyObject *enabled =
                PyObject_CallMethod(st->web_access_log, "isEnabledFor", "O", level);

            on = enabled != Py_False;
            Py_XDECREF(enabled);
        }
        Py_XDECREF(level);
    }
    Py_DECREF(dict);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return true;
    }
    return on;
}

/* Whether `_log` would do nothing but ask a logger that is not listening. */
static bool
log_is_silent(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *dict, *settings;
    bool silent = false;

    if (!ORIGINAL(self, _log) || !ORIGINAL(self, get_status) ||
        !ORIGINAL(self, _request_summary) || self->application == NULL ||
        !Py_IS_TYPE(self->application, (PyTypeObject *)st->web_application))
        return false;
    dict = PyObject_GenericGetDict(self->application, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return false;
    }
    settings = PyDict_GetItem(dict, st->str_settings);
    if (PyDict_GetItem(dict, st->str_log_request) == NULL && settings != NULL &&
        PyDict_Check(settings) &&
        PyDict_GetItem(settings, st->str_log_function) == NULL)
        silent = FlWeb_LogOriginal(st) && !access_enabled(self);
    Py_DECREF(dict);
    return silent;
}

/* The C writer of lines, where the setting log_function is one and everything between
 * is original; borrowed, or NULL. */
static PyObject *
line_log(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *dict, *settings, *log = NULL;

    if (!ORIGINAL(self, _log) || !ORIGINAL(self, get_status) ||
        self->application == NULL ||
        !Py_IS_TYPE(self->application, (PyTypeObject *)st->web_application))
        return NULL;
    dict = PyObject_GenericGetDict(self->application, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return NULL;
    }
    settings = PyDict_GetItem(dict, st->str_settings);
    if (PyDict_GetItem(dict, st->str_log_request) == NULL && settings != NULL &&
        PyDict_Check(settings))
        log = PyDict_GetItem(settings, st->str_log_function);
    Py_DECREF(dict);
    return log != NULL && FlAccessLog_Check(st, log) && FlWeb_LogOriginal(st) ? log
                                                                              : NULL;
}

/* 0 or -1. escapes */
int
FlHandler_LogFinished(FlRequestHandler *self)
{
    PyObject *log = line_log(self);
    int err;

    if (log == NULL)
        return log_is_silent(self) ? 0 : FlHandler_Call(self, self->st->str__log);
    Py_INCREF(log);
    err = FlAccessLog_Add(log, self);
    Py_DECREF(log);
    return err;
}
