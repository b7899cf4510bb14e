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

#include <string.h>

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
    PyObject *const of_path[] = {st->str_regex};
    PyObject *const of_host[] = {st->str_host_pattern, st->str_application};
    PyObject *const of_matcher[] = {r->regex, self->application};
    static const int counts[FL_ROUTE_KINDS] = {
        [FL_ROUTE_PATH] = 1, [FL_ROUTE_HOST] = 1, [FL_ROUTE_DEFAULT_HOST] = 2};
    PyObject *const *its_names = r->kind == FL_ROUTE_PATH ? of_path : of_host;
    FlFacts *facts = FlRoute_Always(r) ? &self->facts : &r->facts;
    FlHooks **matcher_hooks = &self->matcher_hooks[r->kind];
    PyTypeObject *type = Py_TYPE(r->rule);
    int ok;

    if (type->tp_getattro != PyObject_GenericGetAttr)
        return 0;
    if (before != NULL && before->rule_hooks != NULL &&
        before->rule_hooks->type == type)
        r->rule_hooks = (FlHooks *)Py_NewRef(before->rule_hooks);
    else
        r->rule_hooks = absent_hooks(st, type, names, Py_ARRAY_LENGTH(names));
    if (*matcher_hooks == NULL)
        *matcher_hooks =
            absent_hooks(st, Py_TYPE(r->matcher), its_names, counts[r->kind]);
    if (r->rule_hooks == NULL || *matcher_hooks == NULL)
        return -1;
    ok = note_own(st, facts, r->rule, names, values, Py_ARRAY_LENGTH(names));
    if (ok > 0)
        ok = note_own(st, facts, r->matcher, its_names, of_matcher, counts[r->kind]);
    if (ok <= 0)
        FlFacts_Clear(&r->facts);
    return ok;
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
FlRoutes_NoteRouter(FlRoutes *self, PyObject *router, PyObject **rules)
{
    PyObject *dict = NULL, *found = NULL;
    int ok = plain_instance(self, router, self->hooks[2], &dict);

    if (ok > 0 && note_fact(self, dict, router, self->st->str_rules, &found) < 0)
        ok = -1;
    Py_XDECREF(dict);
    if (ok > 0 && (found == NULL || !PyList_CheckExact(found)))
        ok = 0;
    if (ok > 0)
        *rules = found;
    else
        Py_XDECREF(found);
    return ok;
}

int
FlRoutes_NoteApplication(FlRoutes *self, PyObject *name, PyObject **value)
{
    PyObject *dict = PyObject_GenericGetDict(self->application, NULL);
    int err = dict == NULL ? -1 : note_fact(self, dict, self->application, name, value);

    Py_XDECREF(dict);
    return err;
}

int
FlRoutes_LookAround(FlRoutes *self, PyObject *server)
{
    FlState *st = self->st;
    PyObject *dict = NULL, *xheaders = NULL;
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
                   note_fact(self, dict, self->application, st->str_transforms,
                             &self->transforms) < 0))
        ok = -1;
    Py_CLEAR(dict);
    if (ok > 0 && (self->settings == NULL || self->default_router == NULL ||
                   self->transforms == NULL || !PyList_CheckExact(self->transforms)))
        ok = 0;
    return ok > 0 ? FlRoutes_NoteRouter(self, self->default_router, &self->root.rules)
                  : ok;
}

/* ---- is it still true? ---- */

/* Whether the routers still have these rules, and no others. */
static bool
list_current(const FlRouteList *list)
{
    if (PyList_GET_SIZE(list->rules) != list->count)
        return false;
    if (list->count > 0 && memcmp(PySequence_Fast_ITEMS(list->rules), list->seen,
                                  (size_t)list->count * sizeof(PyObject *)) != 0)
        return false;
    for (Py_ssize_t i = 0; list->nested && i < list->count; i++) {
        const FlRouteList *inner = list->routes[i].inner;

        if (inner != NULL && !list_current(inner))
            return false;
    }
    return true;
}

bool
FlRoutes_Current(FlRoutes *self, PyObject *server)
{
    if (server != self->server)
        return false;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->hooks); i++) {
        if (FlHooks_Verify(self->hooks[i]) < 0 || self->hooks[i]->replaced != 0)
            return false;
    }
    return FlFacts_True(&self->facts) && list_current(&self->root);
}
