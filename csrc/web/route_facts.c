/* route_facts.c -- what a table of routes relies on: noted when it is made, asked later.
 *
 * Server, application, routers and rules are looked at once: classes by hooks (hooks.h),
 * attributes of instances as facts (facts.h). A request asks whether all that is still
 * true, which costs a few comparisons while nothing was touched.
 *
 * Invariant: what C skips at a request it skips because a fact or a hook here says that
 * nobody has replaced it.
 *
 * Layer: web. Threads: none.
 */
#include "web/route_parts.h"

/* ---- of the rules ---- */

/* Hooks that say whether a class has any of these attributes itself: it should not.
 * New reference. */
static FlHooks *
absent_hooks(FlState *st, PyTypeObject *type, PyObject *const *names, Py_ssize_t count)
{
    PyObject *keys = PyTuple_New(count), *nothing = PyTuple_New(count);
    FlHooks *hooks = NULL;

    for (Py_ssize_t i = 0; keys != NULL && nothing != NULL && i < count; i++) {
        PyTuple_SET_ITEM(keys, i, Py_NewRef(names[i]));
        PyTuple_SET_ITEM(nothing, i, Py_NewRef(Py_None));
    }
    if (keys != NULL && nothing != NULL)
        hooks = FlHooks_New(st, type, keys, nothing);
    Py_XDECREF(keys);
    Py_XDECREF(nothing);
    return hooks;
}

/* Notes that the object's own dict has these attributes; 1, 0 where it has not, -1. */
static int
note_own(FlState *st, FlFacts *facts, PyObject *object, PyObject *const *names,
         PyObject *const *values, int count)
{
    PyObject *dict = PyObject_GenericGetDict(object, NULL);
    int ok = dict != NULL && PyDict_Check(dict);

    PyErr_Clear(); /* it may have none */
    for (int i = 0; ok > 0 && i < count; i++) {
        PyObject *value = NULL;

        if (FlFacts_Note(facts, st, dict, object, names[i], &value) < 0)
            ok = -1;
        else if (value != values[i])
            ok = 0;
        Py_XDECREF(value);
    }
    Py_XDECREF(dict);
    return ok;
}

int
FlRoutes_NoteRule(FlRoutes *self, FlRoute *r, const FlRoute *before)
{
    FlState *st = self->st;
    PyObject *const names[] = {st->str_matcher, st->str_target, st->str_target_kwargs};
    PyObject *const values[] = {r->matcher, r->target, r->kwargs};
    PyTypeObject *type = Py_TYPE(r->rule);
    int ok;

    if (type->tp_getattro != PyObject_GenericGetAttr)
        return 0;
    if (before != NULL && before->rule_hooks != NULL &&
        before->rule_hooks->type == type)
        r->rule_hooks = (FlHooks *)Py_NewRef(before->rule_hooks);
    else
        r->rule_hooks = absent_hooks(st, type, names, Py_ARRAY_LENGTH(names));
    if (self->matcher_hooks == NULL)
        self->matcher_hooks =
            absent_hooks(st, (PyTypeObject *)st->web_path_matches, &st->str_regex, 1);
    if (r->rule_hooks == NULL || self->matcher_hooks == NULL)
        return -1;
    ok = note_own(st, &r->facts, r->rule, names, values, Py_ARRAY_LENGTH(names));
    if (ok > 0)
        ok = note_own(st, &r->facts, r->matcher, &st->str_regex, &r->regex, 1);
    if (ok <= 0)
        FlFacts_Clear(&r->facts);
    return ok < 0 ? -1 : 0;
}

/* ---- of server, application and routers ---- */

static int
note_fact(FlRoutes *self, PyObject *dict, PyObject *owner, PyObject *name,
          PyObject **value)
{
    return FlFacts_Note(&self->facts, self->st, dict, owner, name, value);
}

/* The dict of an instance whose class is exactly this one, untouched; *dict new. The
 * hooks that an instance could shadow become facts: all must be absent. 1, 0 or -1. */
static int
plain_instance(FlRoutes *self, PyObject *object, FlHooks *hooks, PyObject **dict)
{
    *dict = NULL;
    if (!Py_IS_TYPE(object, hooks->type))
        return 0;
    if (FlHooks_Verify(hooks) < 0)
        return -1;
    if (hooks->replaced != 0)
        return 0;
    *dict = PyObject_GenericGetDict(object, NULL);
    if (*dict == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < hooks->count; i++) {
        PyObject *name = PyTuple_GET_ITEM(hooks->names, i), *value;

        if (PyUnicode_READ_CHAR(name, 0) == '_' && PyUnicode_READ_CHAR(name, 1) == '_')
            continue; /* those are looked up on classes only */
        if (note_fact(self, *dict, object, name, &value) < 0)
            return -1;
        if (value != NULL) {
            Py_DECREF(value);
            return 0;
        }
    }
    return 1;
}

int
FlRoutes_LookAround(FlRoutes *self, PyObject *server)
{
    FlState *st = self->st;
    PyObject *dict = NULL, *xheaders = NULL, *matcher = NULL, *target = NULL;
    int ok;

    self->hooks[0] = (FlHooks *)Py_NewRef(st->web_server);
    self->hooks[1] = (FlHooks *)Py_NewRef(st->web_application_hooks);
    self->hooks[2] = (FlHooks *)Py_NewRef(st->web_router_hooks);
    ok = plain_instance(self, server, self->hooks[0], &dict);
    if (ok > 0 && (note_fact(self, dict, server, st->str_xheaders, &xheaders) < 0 ||
                   note_fact(self, dict, server, st->str_request_callback,
                             &self->application) < 0))
        ok = -1;
    self->xheaders = xheaders == Py_True;
    if (ok > 0 &&
        ((xheaders != Py_False && xheaders != Py_True) || self->application == NULL))
        ok = 0;
    Py_CLEAR(dict);
    Py_CLEAR(xheaders);
    if (ok > 0)
        ok = plain_instance(self, self->application, self->hooks[1], &dict);
    if (ok > 0 && (note_fact(self, dict, self->application, st->str_settings,
                             &self->settings) < 0 ||
                   note_fact(self, dict, self->application, st->str_default_router,
                             &self->default_router) < 0 ||
                   note_fact(self, dict, self->application, st->str_wildcard_router,
                             &self->wildcard) < 0 ||
                   note_fact(self, dict, self->application, st->str_transforms,
                             &self->transforms) < 0))
        ok = -1;
    if (ok > 0 && (self->settings == NULL || self->default_router == NULL ||
                   self->wildcard == NULL || self->transforms == NULL ||
                   !PyList_CheckExact(self->transforms)))
        ok = 0;
    Py_CLEAR(dict);
    if (ok > 0)
        ok = plain_instance(self, self->default_router, self->hooks[2], &dict);
    if (ok > 0 && note_fact(self, dict, self->default_router, st->str_rules,
                            &self->default_rules) < 0)
        ok = -1;
    Py_CLEAR(dict);
    if (ok > 0)
        ok = plain_instance(self, self->wildcard, self->hooks[2], &dict);
    if (ok > 0 &&
        note_fact(self, dict, self->wildcard, st->str_rules, &self->rules) < 0)
        ok = -1;
    Py_CLEAR(dict);
    if (ok > 0 &&
        (self->rules == NULL || self->default_rules == NULL ||
         !PyList_CheckExact(self->rules) || !PyList_CheckExact(self->default_rules) ||
         PyList_GET_SIZE(self->default_rules) != 1))
        ok = 0; /* routes by host, too: Python's */
    if (ok <= 0)
        return ok;
    self->any_rule = Py_NewRef(PyList_GET_ITEM(self->default_rules, 0));
    dict = PyObject_GenericGetDict(self->any_rule, NULL);
    if (dict == NULL ||
        note_fact(self, dict, self->any_rule, st->str_matcher, &matcher) < 0 ||
        note_fact(self, dict, self->any_rule, st->str_target, &target) < 0)
        ok = -1;
    else if (matcher == NULL ||
             !Py_IS_TYPE(matcher, (PyTypeObject *)st->web_any_matches) ||
             target != self->wildcard)
        ok = 0;
    Py_XDECREF(dict);
    Py_XDECREF(matcher);
    Py_XDECREF(target);
    return ok;
}

/* ---- is it still true? ---- */

bool
FlRoutes_Current(FlRoutes *self, PyObject *server)
{
    if (server != self->server)
        return false;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->hooks); i++) {
        if (FlHooks_Verify(self->hooks[i]) < 0 || self->hooks[i]->replaced != 0)
            return false;
    }
    if (!FlFacts_True(&self->facts))
        return false;
    if (PyList_GET_SIZE(self->default_rules) != 1 ||
        PyList_GET_ITEM(self->default_rules, 0) != self->any_rule ||
        PyList_GET_SIZE(self->rules) != self->count)
        return false;
    for (Py_ssize_t i = 0; i < self->count; i++) {
        if (PyList_GET_ITEM(self->rules, i) != self->routes[i].rule)
            return false;
    }
    return true;
}
