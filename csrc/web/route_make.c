/* route_make.c -- the rules of a router become the routes of a table.
 *
 * A route that leads to a handler (it has hooks) or to another router of the application
 * (it has inner routes) is matched in C, by its pieces or else by its rule's own `re`; any
 * other (its pattern is of another library, say) is Python's business, and so are all
 * behind it.
 *
 * Invariant: each route that `count` includes is made or zeroed, so a table whose making
 * has failed can be cleared like any other.
 *
 * Layer: web. Threads: none.
 */
#include "web/route_parts.h"

#define DEEPEST 8 /* routers in routers */

static PyObject *
attribute(PyObject *object, PyObject *name)
{
    PyObject *value;

    if (PyObject_GetOptionalAttr(object, name, &value) == 0)
        return Py_NewRef(Py_None);
    return value;
}

/* 1; 0 when only some of the groups have names; -1. */
static int
group_names(FlRoute *r)
{
    PyObject *index = PyObject_GetAttrString(r->regex, "groupindex");
    PyObject *names = index == NULL ? NULL : PySequence_Tuple(index);

    Py_XDECREF(index);
    PyObject *groups =
        names == NULL ? NULL : PyObject_GetAttrString(r->regex, "groups");
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names), all;

    all = groups == NULL ? -1 : PyLong_AsSsize_t(groups);
    Py_XDECREF(groups);
    if (all < 0 || named == 0)
        Py_CLEAR(names);
    r->names = names; /* in the order of the groups: all are named or none */
    if (all < 0)
        return -1;
    return named == 0 || named == all;
}

/* The kind of a matcher, or -1: none of ours. */
static int
kind_of(FlState *st, PyObject *matcher)
{
    PyObject *const classes[FL_ROUTE_KINDS] = {
        [FL_ROUTE_PATH] = st->web_path_matches,
        [FL_ROUTE_HOST] = st->web_host_matches,
        [FL_ROUTE_DEFAULT_HOST] = st->web_default_host_matches,
        [FL_ROUTE_ANY] = st->web_any_matches,
    };

    for (int kind = 0; kind < FL_ROUTE_KINDS; kind++) {
        if (Py_IS_TYPE(matcher, (PyTypeObject *)classes[kind]))
            return kind;
    }
    return -1;
}

/* Takes the pattern apart where C can match it. 1, 0: a rule for Python, -1. */
static int
read_pattern(FlState *st, FlRoute *r)
{
    PyObject *re_pattern = FlState_Lazy(st, &st->re_pattern, "re", "Pattern");
    PyObject *pattern = NULL, *flags = NULL;
    Py_ssize_t n;
    const char *s;
    int ok = -1, simple;

    if (re_pattern == NULL)
        return -1;
    if (!Py_IS_TYPE(r->regex, (PyTypeObject *)re_pattern))
        return 0;
    pattern = PyObject_GetAttrString(r->regex, "pattern");
    flags = PyObject_GetAttrString(r->regex, "flags");
    if (pattern == NULL || flags == NULL)
        goto done;
    ok = r->kind == FL_ROUTE_PATH ? group_names(r) : 1;
    if (ok <= 0 || !PyUnicode_Check(pattern) || !PyLong_Check(flags) ||
        PyLong_AsLong(flags) != 32) /* re.UNICODE, nothing else */
        goto done;
    s = PyUnicode_AsUTF8AndSize(pattern, &n);
    simple = s == NULL ? -1 : FlRoute_ParsePattern(r, s, n);
    if (simple <= 0) {
        PyMem_Free(r->pieces);
        r->pieces = NULL;
    }
    if (simple < 0)
        ok = -1;
done:
    Py_XDECREF(pattern);
    Py_XDECREF(flags);
    return ok;
}

/* Whether the application's default host matches: it is a fact, too. 1, 0: a rule for
 * Python, -1. */
static int
ask_default_host(FlRoutes *self, FlRoute *r)
{
    PyObject *application = attribute(r->matcher, self->st->str_application);
    PyObject *host = NULL, *found = NULL;
    int ok = application == NULL ? -1 : application == self->application;

    if (ok > 0 && FlRoutes_NoteApplication(self, self->st->str_default_host, &host) < 0)
        ok = -1;
    if (ok > 0 && (host == NULL || !PyUnicode_CheckExact(host)))
        ok = 0;
    if (ok > 0) {
        found = PyObject_CallMethod(r->regex, "match", "O", host);
        r->holds = found != Py_None;
        ok = found == NULL ? -1 : 1;
    }
    Py_XDECREF(application);
    Py_XDECREF(host);
    Py_XDECREF(found);
    return ok;
}

static int make_list(FlRoutes *self, FlRouteList *list, int depth);

/* The target's hooks, or its routes. 0 (maybe neither) or -1. */
static int
make_target(FlRoutes *self, FlRoute *r, int depth)
{
    FlState *st = self->st;
    PyObject *rules;
    int ok;

    if (PyType_Check(r->target) &&
        PyType_IsSubtype((PyTypeObject *)r->target, (PyTypeObject *)st->web_handler)) {
        r->hooks = FlHooks_New(st, (PyTypeObject *)r->target, st->web_names,
                               st->web_originals);
        return r->hooks == NULL ? -1 : 0;
    }
    if (depth >= DEEPEST || !Py_IS_TYPE(r->target, (PyTypeObject *)st->web_router))
        return 0;
    ok = FlRoutes_NoteRouter(self, r->target, &rules);
    if (ok <= 0)
        return ok;
    r->inner = PyMem_Calloc(1, sizeof(FlRouteList));
    if (r->inner == NULL) {
        Py_DECREF(rules);
        PyErr_NoMemory();
        return -1;
    }
    r->inner->rules = rules;
    return make_list(self, r->inner, depth + 1);
}

static void
free_inner(FlRoute *r)
{
    FlRouteList *inner = r->inner;

    r->inner = NULL;
    if (inner == NULL)
        return;
    FlRouteList_Clear(inner);
    PyMem_Free(inner);
}

static int
make_route(FlRoutes *self, FlRoute *r, PyObject *rule, const FlRoute *before, int depth)
{
    FlState *st = self->st;
    int kind, ok;

    r->rule = Py_NewRef(rule);
    r->matcher = attribute(rule, st->str_matcher);
    r->target = attribute(rule, st->str_target);
    r->kwargs = attribute(rule, st->str_target_kwargs);
    if (r->matcher == NULL || r->target == NULL || r->kwargs == NULL)
        return -1;
    kind = kind_of(st, r->matcher);
    if (kind < 0 || !PyDict_CheckExact(r->kwargs))
        return 0;
    r->kind = (uint8_t)kind;
    r->regex = kind == FL_ROUTE_ANY ? Py_NewRef(Py_None)
                                    : attribute(r->matcher, kind == FL_ROUTE_PATH
                                                                ? st->str_regex
                                                                : st->str_host_pattern);
    if (r->regex == NULL)
        return -1;
    ok = kind == FL_ROUTE_ANY ? 1 : read_pattern(st, r);
    if (ok > 0 && kind == FL_ROUTE_DEFAULT_HOST)
        ok = ask_default_host(self, r);
    if (ok <= 0)
        return ok;
    if (make_target(self, r, depth) < 0)
        return -1;
    ok = FlRoutes_NoteRule(self, r, before);
    if (ok < 0)
        return -1;
    if (ok == 0 && (kind != FL_ROUTE_PATH || r->inner != NULL)) {
        Py_CLEAR(r->hooks); /* asking each time is for what most programs have */
        free_inner(r);
    }
    return 0;
}

static int
make_list(FlRoutes *self, FlRouteList *list, int depth)
{
    Py_ssize_t count = PyList_GET_SIZE(list->rules);

    list->routes = PyMem_Calloc((size_t)count + 1, sizeof(FlRoute));
    list->seen = PyMem_Calloc((size_t)count + 1, sizeof(PyObject *));
    if (list->routes == NULL || list->seen == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count && i < PyList_GET_SIZE(list->rules); i++) {
        PyObject *rule = Py_NewRef(PyList_GET_ITEM(list->rules, i));
        const FlRoute *before = i > 0 ? &list->routes[i - 1] : NULL;
        int err;

        list->count++;
        list->seen[i] = rule;
        err = make_route(self, &list->routes[i], rule, before, depth);
        list->nested = list->nested || list->routes[i].inner != NULL;
        Py_DECREF(rule);
        if (err < 0)
            return -1;
    }
    return 0;
}

int
FlRoutes_MakeRoutes(FlRoutes *self)
{
    return make_list(self, &self->root, 0);
}

void
FlRouteList_Clear(FlRouteList *list)
{
    FlRouteList old = *list;

    list->rules = NULL; /* what follows may run anything */
    list->routes = NULL;
    list->seen = NULL;
    list->count = 0;
    for (Py_ssize_t i = 0; i < old.count; i++) {
        FlRoute *r = &old.routes[i];

        Py_CLEAR(r->rule);
        Py_CLEAR(r->matcher);
        Py_CLEAR(r->regex);
        Py_CLEAR(r->target);
        Py_CLEAR(r->kwargs);
        Py_CLEAR(r->hooks);
        Py_CLEAR(r->rule_hooks);
        FlFacts_Clear(&r->facts);
        Py_CLEAR(r->names);
        PyMem_Free(r->text);
        PyMem_Free(r->pieces);
        free_inner(r);
    }
    PyMem_Free(old.routes);
    PyMem_Free(old.seen);
    Py_XDECREF(old.rules);
}
