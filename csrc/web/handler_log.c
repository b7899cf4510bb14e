/* handler_log.c -- the access log of a finished request: usually, that nobody listens.
 *
 * Why a request is not logged is noted once as facts (facts.h): the application has no
 * log_request or log_function of its own, and the logger's cache of levels says that
 * this one is off. While they are true nothing is asked.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include "web/access_log.h"
#include "web/route.h"

/* What Application.log_request goes by, in the order of FlRoutes_Quiet. */
typedef struct {
    int index;
    int level;        /* of logging */
    PyObject *method; /* of the logger; borrowed */
} log_level;

static log_level
level_of(FlRequestHandler *self)
{
    FlState *st = self->st;

    if (self->status < 400)
        return (log_level){0, 20, st->str_info};
    if (self->status < 500)
        return (log_level){1, 30, st->str_warning};
    return (log_level){2, 40, st->str_error};
}

/* ---- is anybody listening? ---- */

/* Notes a key of a dict and says whether it has the value (NULL: is absent). 1, 0, -1. */
static int
note(FlFacts *facts, FlState *st, PyObject *dict, PyObject *owner, PyObject *name,
     PyObject *wanted)
{
    PyObject *value;

    if (FlFacts_Note(facts, st, dict, owner, name, &value) < 0)
        return -1;
    Py_XDECREF(value);
    return value == wanted;
}

/* The logger's part: not disabled, nothing of it set on the instance, and its cache of
 * levels says no. 1, 0 or -1. escapes, where the cache has no answer yet */
static int
note_logger(FlFacts *facts, FlState *st, log_level at)
{
    PyObject *log = st->web_access_log, *dict = PyObject_GenericGetDict(log, NULL);
    PyObject *cache = NULL, *level = NULL, *enabled;
    int ok = dict == NULL ? -1 : note(facts, st, dict, log, st->str_disabled, Py_False);

    if (ok > 0)
        ok = note(facts, st, dict, log, at.method, NULL);
    if (ok > 0)
        ok = note(facts, st, dict, log, st->str_isEnabledFor, NULL);
    if (ok > 0)
        ok = FlFacts_Note(facts, st, dict, log, st->str__cache, &cache) < 0
                 ? -1
                 : cache != NULL && PyDict_CheckExact(cache);
    if (ok > 0) {
        level = PyLong_FromLong(at.level);
        ok = level == NULL ? -1 : 1;
    }
    if (ok > 0 && PyDict_GetItemWithError(cache, level) == NULL) {
        ok = PyErr_Occurred() ? -1 : 1;
        enabled = ok < 0 ? NULL
                         : PyObject_CallMethodOneArg(st->web_access_log,
                                                     st->str_isEnabledFor, level);
        if (enabled == NULL)
            ok = -1;
        Py_XDECREF(enabled);
    }
    if (ok > 0)
        ok = note(facts, st, cache, NULL, level, Py_False);
    Py_XDECREF(level);
    Py_XDECREF(cache);
    Py_XDECREF(dict);
    return ok;
}

/* 1; 0 where a line would be written, or might; -1. escapes */
static int
note_quiet(FlFacts *facts, FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *application = Py_NewRef(self->application), *settings = NULL;
    PyObject *dict = PyObject_GenericGetDict(application, NULL);
    int ok = dict == NULL
                 ? -1
                 : note(facts, st, dict, application, st->str_log_request, NULL);

    if (ok > 0)
        ok = FlFacts_Note(facts, st, dict, application, st->str_settings, &settings) < 0
                 ? -1
                 : settings != NULL && PyDict_CheckExact(settings);
    if (ok > 0)
        ok = note(facts, st, settings, NULL, st->str_log_function, NULL);
    if (ok > 0)
        ok = note_logger(facts, st, level_of(self));
    Py_XDECREF(settings);
    Py_XDECREF(dict);
    Py_DECREF(application);
    return ok;
}

/* The table of the server that the request came to, where it is for this application;
 * new reference or NULL. */
static FlRoutes *
table_of(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = FlHandler_Request(self);
    FlHTTP1Connection *conn;
    FlRoutes *routes;

    if (request == NULL || request->connection == NULL ||
        !Py_IS_TYPE(request->connection, self->st->HTTP1Connection_type))
        return NULL;
    conn = (FlHTTP1Connection *)request->connection;
    routes = conn->server == NULL ? NULL : (FlRoutes *)conn->server->target;
    if (routes == NULL || FlRoutes_Application(routes) != self->application)
        return NULL;
    return (FlRoutes *)Py_NewRef((PyObject *)routes);
}

/* Whether everything that `_log` consists of is original. */
static bool
log_original(FlRequestHandler *self)
{
    FlState *st = self->st;

    return ORIGINAL(self, _log) && ORIGINAL(self, get_status) &&
           self->application != NULL &&
           Py_IS_TYPE(self->application, (PyTypeObject *)st->web_application) &&
           FlWeb_LogOriginal(st);
}

/* Whether it was quiet when last looked at, and nothing has changed. */
static bool
still_quiet(FlRequestHandler *self)
{
    FlRoutes *routes = table_of(self);
    FlFacts *facts;
    bool quiet;

    if (routes == NULL)
        return false;
    facts = FlRoutes_Quiet(routes, level_of(self).index);
    quiet = facts->count > 0 && FlFacts_True(facts);
    Py_DECREF(routes);
    return quiet;
}

/* Whether the logger is not listening; wrong only in the safe direction. escapes */
static bool
is_quiet(FlRequestHandler *self)
{
    FlFacts facts = {0}, *kept;
    FlRoutes *routes;
    int ok = self->st->web_access_log == NULL ? 0 : note_quiet(&facts, self);

    if (ok < 0)
        PyErr_Clear(); /* looking at an odd logger: it is asked for real */
    routes = ok > 0 ? table_of(self) : NULL;
    if (routes != NULL) {
        FlFacts old;

        kept = FlRoutes_Quiet(routes, level_of(self).index);
        old = *kept;
        *kept = facts;
        facts = old;
    }
    FlFacts_Clear(&facts);
    Py_XDECREF(routes);
    return ok > 0;
}

/* ---- the line ---- */

/* The C writer of lines, where the setting log_function is one; borrowed, or NULL. */
static PyObject *
line_log(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *dict = PyObject_GenericGetDict(self->application, NULL);
    PyObject *settings, *log = NULL;

    if (dict == NULL) {
        PyErr_Clear();
        return NULL;
    }
    settings = PyDict_GetItem(dict, st->str_settings);
    if (PyDict_GetItem(dict, st->str_log_request) == NULL && settings != NULL &&
        PyDict_Check(settings))
        log = PyDict_GetItem(settings, st->str_log_function);
    Py_DECREF(dict);
    return log != NULL && FlAccessLog_Check(st, log) ? log : NULL;
}

int
FlHandler_LogFinished(FlRequestHandler *self)
{
    if (log_original(self)) {
        bool summary = ORIGINAL(self, _request_summary);
        PyObject *log;
        int err;

        if (summary && still_quiet(self))
            return 0;
        log = Py_XNewRef(line_log(self));
        if (log != NULL) {
            err = FlAccessLog_Add(log, self);
            Py_DECREF(log);
            return err;
        }
        if (summary && is_quiet(self))
            return 0;
    }
    return FlHandler_Call(self, self->st->str__log);
}
