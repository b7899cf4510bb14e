/* route_make.c -- the rules of a router become the routes of a table.
 *
 * A route with hooks is matched in C, by its pieces or else by its rule's own `re`; one
 * without (its pattern is of another library, say) is Python's business, and so are all
 * behind it.
 *
 * Invariant: each route that `count` includes is made or zeroed, so a table whose making
 * has failed can be cleared like any other.
 *
 * Layer: web. Threads: none.
 */
#include "web/route_parts.h"

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

static int
make_route(FlState *st, FlRoute *r, PyObject *rule)
{
    PyObject *pattern = NULL, *flags = NULL, *re_pattern;
    Py_ssize_t n;
    const char *s;
    int simple = -1, named;

    r->rule = Py_NewRef(rule);
    r->matcher = attribute(rule, st->str_matcher);
    r->target = attribute(rule, st->str_target);
    r->kwargs = attribute(rule, st->str_target_kwargs);
    if (r->matcher == NULL || r->target == NULL || r->kwargs == NULL)
        return -1;
    r->regex = attribute(r->matcher, st->str_regex);
    re_pattern = FlState_Lazy(st, &st->re_pattern, "re", "Pattern");
    if (r->regex == NULL || re_pattern == NULL)
        return -1;
    if (!Py_IS_TYPE(r->regex, (PyTypeObject *)re_pattern) ||
        !Py_IS_TYPE(r->matcher, (PyTypeObject *)st->web_path_matches) ||
        !PyType_Check(r->target) ||
        !PyType_IsSubtype((PyTypeObject *)r->target, (PyTypeObject *)st->web_handler) ||
        !PyDict_CheckExact(r->kwargs))
        return 0;
    pattern = PyObject_GetAttrString(r->regex, "pattern");
    flags = PyObject_GetAttrString(r->regex, "flags");
    named = pattern == NULL || flags == NULL ? -1 : group_names(r);
    if (named <= 0) {
        simple = named; /* 0: a rule for Python, and so are those behind it */
        goto done;
    }
    simple = 0;
    if (PyUnicode_Check(pattern) && PyLong_Check(flags) &&
        PyLong_AsLong(flags) == 32 /* re.UNICODE, nothing else */) {
        s = PyUnicode_AsUTF8AndSize(pattern, &n);
        simple = s == NULL ? -1 : FlRoute_ParsePattern(r, s, n);
    }
    if (simple == 0) {
        PyMem_Free(r->pieces);
        r->pieces = NULL;
    }
    if (simple >= 0) {
        r->hooks = FlHooks_New(st, (PyTypeObject *)r->target, st->web_names,
                               st->web_originals);
        if (r->hooks == NULL)
            simple = -1;
    }
done:
    Py_XDECREF(pattern);
    Py_XDECREF(flags);
    return simple < 0 ? -1 : 0;
}

int
FlRoutes_MakeRoutes(FlRoutes *self)
{
    Py_ssize_t count = PyList_GET_SIZE(self->rules);

    self->routes = PyMem_Calloc((size_t)count + 1, sizeof(FlRoute));
    if (self->routes == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count && i < PyList_GET_SIZE(self->rules); i++) {
        PyObject *rule = Py_NewRef(PyList_GET_ITEM(self->rules, i));
        int err;

        self->count++;
        err = make_route(self->st, &self->routes[i], rule);
        if (err == 0 && self->routes[i].hooks != NULL)
            err = FlRoutes_NoteRule(self, &self->routes[i],
                                    i > 0 ? &self->routes[i - 1] : NULL);
        Py_DECREF(rule);
        if (err < 0)
            return -1;
    }
    return 0;
}
