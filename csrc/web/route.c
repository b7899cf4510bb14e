/* route.c -- a server's table of routes: got, asked what it has, freed.
 *
 * route_make.c makes its routes out of rules whose patterns route_pattern.c reads,
 * route_facts.c says whether it still holds, route_match.c finds the route of a path.
 *
 * Invariant: what a table matches never changes; where what it was made of has
 * changed, the server gets a new one.
 *
 * Layer: web. Threads: none.
 */
#include "web/route_parts.h"

#include <string.h>

/* ---- getting ---- */

static FlRoutes *
routes_new(FlState *st, PyObject *server)
{
    FlRoutes *self = PyObject_GC_New(FlRoutes, st->Routes_type);
    int ok;

    if (self == NULL)
        return NULL;
    memset((char *)self + offsetof(FlRoutes, st), 0,
           sizeof(FlRoutes) - offsetof(FlRoutes, st));
    self->st = st;
    self->server = server;
    PyObject_GC_Track(self);
    ok = FlRoutes_LookAround(self, server);
    if (ok > 0 && FlRoutes_MakeRoutes(self) < 0)
        ok = -1;
    if (ok <= 0)
        Py_CLEAR(self);
    return self;
}

FlRoutes *
FlRoutes_OfServer(FlState *st, PyObject *server)
{
    PyObject *found;
    FlRoutes *routes;

    if (PyObject_GetOptionalAttr(server, st->str__c_routes, &found) < 0)
        return NULL;
    if (found != NULL && Py_IS_TYPE(found, st->Routes_type) &&
        FlRoutes_Current((FlRoutes *)found, server))
        return (FlRoutes *)found;
    Py_XDECREF(found);
    routes = routes_new(st, server);
    if (routes != NULL &&
        PyObject_SetAttr(server, st->str__c_routes, (PyObject *)routes) < 0)
        Py_CLEAR(routes);
    return routes;
}

/* ---- what it has ---- */

PyObject *
FlRoutes_Application(FlRoutes *routes)
{
    return routes->application;
}

PyObject *
FlRoutes_Transforms(FlRoutes *routes)
{
    return routes->transforms;
}

bool
FlRoutes_TrustsHeaders(FlRoutes *routes)
{
    return routes->xheaders;
}

PyObject *
FlRoutes_Settings(FlRoutes *routes)
{
    return routes->settings;
}

FlFacts *
FlRoutes_Quiet(FlRoutes *routes, int level)
{
    return &routes->quiet[level];
}

/* A line for each route, those of a router behind the one that leads there. 0 or -1. */
static int
explain_list(const FlRouteList *routes, PyObject *lines)
{
    bool ours = true;

    for (Py_ssize_t i = 0; i < routes->count; i++) {
        const FlRoute *r = &routes->routes[i];
        bool without_re = r->pieces != NULL || r->kind == FL_ROUTE_ANY;
        PyObject *line;
        int err;

        /* Behind a rule for Python all are. */
        ours = ours && (r->hooks != NULL || r->inner != NULL);
        line = Py_BuildValue("(OOO)", r->rule, ours ? Py_True : Py_False,
                             ours && without_re ? Py_True : Py_False);
        err = line == NULL ? -1 : PyList_Append(lines, line);
        Py_XDECREF(line);
        if (err == 0 && ours && r->inner != NULL)
            err = explain_list(r->inner, lines);
        if (err < 0)
            return -1;
    }
    return 0;
}

PyObject *
FlRoutes_Explain(FlRoutes *routes)
{
    PyObject *list = PyList_New(0);

    if (list != NULL && explain_list(&routes->root, list) < 0)
        Py_CLEAR(list);
    return list;
}

/* ---- the type ---- */

static int
list_traverse(const FlRouteList *list, visitproc visit, void *arg)
{
    Py_VISIT(list->rules);
    for (Py_ssize_t i = 0; i < list->count; i++) {
        FlRoute *r = &list->routes[i];

        Py_VISIT(r->rule);
        Py_VISIT(r->matcher);
        Py_VISIT(r->regex);
        Py_VISIT(r->target);
        Py_VISIT(r->kwargs);
        Py_VISIT(r->hooks);
        Py_VISIT(r->rule_hooks);
        if (FlFacts_Traverse(&r->facts, visit, arg) != 0)
            return 1;
        if (r->inner != NULL && list_traverse(r->inner, visit, arg) != 0)
            return 1;
    }
    return 0;
}

static int
routes_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlRoutes *self = (FlRoutes *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->application);
    Py_VISIT(self->settings);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->hooks); i++)
        Py_VISIT(self->hooks[i]);
    Py_VISIT(self->default_router);
    Py_VISIT(self->transforms);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->matcher_hooks); i++)
        Py_VISIT(self->matcher_hooks[i]);
    if (FlFacts_Traverse(&self->facts, visit, arg) != 0)
        return 1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->quiet); i++) {
        if (FlFacts_Traverse(&self->quiet[i], visit, arg) != 0)
            return 1;
    }
    return list_traverse(&self->root, visit, arg);
}

static int
routes_clear(PyObject *op)
{
    FlRoutes *self = (FlRoutes *)op;

    FlRouteList_Clear(&self->root);
    FlFacts_Clear(&self->facts);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->quiet); i++)
        FlFacts_Clear(&self->quiet[i]);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->matcher_hooks); i++)
        Py_CLEAR(self->matcher_hooks[i]);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->hooks); i++)
        Py_CLEAR(self->hooks[i]);
    Py_CLEAR(self->application);
    Py_CLEAR(self->settings);
    Py_CLEAR(self->default_router);
    Py_CLEAR(self->transforms);
    return 0;
}

static void
routes_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    routes_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyType_Slot routes_slots[] = {
    {Py_tp_dealloc, routes_dealloc},
    {Py_tp_traverse, routes_traverse},
    {Py_tp_clear, routes_clear},
    {0, NULL},
};

static PyType_Spec routes_spec = {
    .name = "pyfastloop._core.Routes",
    .basicsize = sizeof(FlRoutes),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = routes_slots,
};

int
FlRoutes_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Routes_type, &routes_spec, NULL, true);
}
