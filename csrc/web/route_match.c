/* route_match.c -- which route of the table a path belongs to, and its groups.
 *
 * The first route that matches wins; where it leads to a router that has none for the
 * request, the next one is asked. Pieces are compared with the path's bytes in the head
 * block, or with the host's; a regular expression gets either as text. Both ways the
 * groups of a path come out as bytes with their escapes decoded.
 *
 * Invariant: no route, matched or passed over, is believed unless its rule still says what
 * the route was made of; Python gets the request otherwise.
 *
 * Layer: web. Threads: none.
 */
#include "web/route_parts.h"

#include <string.h>

#include "proto/uri.h"

/* ---- does the rule still say it? ---- */

/* Whether object.name is `expected`. */
static bool
still(PyObject *object, PyObject *name, PyObject *expected)
{
    PyObject *value;
    bool same;

    if (PyObject_GetOptionalAttr(object, name, &value) <= 0) {
        PyErr_Clear();
        return false;
    }
    same = value == expected;
    Py_DECREF(value);
    return same;
}

static bool
unhidden(FlHooks *hooks)
{
    if (FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    return hooks->replaced == 0;
}

/* One request that looks for its route. */
typedef struct {
    FlRoutes *routes;
    FlHTTPServerRequest *request; /* borrowed */
    fl_span path;
    PyObject *text;       /* owned: the path as text, once it was needed */
    PyObject *host;       /* owned: the host's name, likewise */
    PyObject **match;     /* see FlRoutes_Match */
    const FlHooks *asked; /* rule_hooks found true, and those of ... */
    uint8_t asked_kind;   /* ... the matcher, since code of anybody last ran; NULL */
} route_search;

static bool
route_current(route_search *s, FlRoute *r)
{
    FlState *st = s->routes->st;

    if (r->facts.count > 0 &&
        ((r->rule_hooks == s->asked && r->kind == s->asked_kind) ||
         (unhidden(r->rule_hooks) && unhidden(s->routes->matcher_hooks[r->kind]))) &&
        FlFacts_True(&r->facts)) {
        s->asked = r->rule_hooks;
        s->asked_kind = r->kind;
        return true;
    }
    s->asked = NULL;
    return r->kind == FL_ROUTE_PATH && r->inner == NULL &&
           still(r->rule, st->str_matcher, r->matcher) &&
           still(r->rule, st->str_target, r->target) &&
           still(r->rule, st->str_target_kwargs, r->kwargs) &&
           still(r->matcher, st->str_regex, r->regex);
}

/* ---- matching ---- */

/* A path is latin-1 text to Python, and what is not ASCII in it UTF-8 once it is a group.
 */
static PyObject *
group_bytes(fl_span raw)
{
    PyObject *text, *utf8 = NULL, *bytes;

    for (size_t i = 0; i < raw.n && utf8 == NULL; i++) {
        if ((unsigned char)raw.p[i] < 128)
            continue;
        text = PyUnicode_DecodeLatin1(raw.p, (Py_ssize_t)raw.n, NULL);
        utf8 = text == NULL ? NULL : PyUnicode_AsUTF8String(text);
        Py_XDECREF(text);
        if (utf8 == NULL)
            return NULL;
    }
    if (utf8 != NULL)
        raw = fl_span_make(PyBytes_AS_STRING(utf8), (size_t)PyBytes_GET_SIZE(utf8));
    if (memchr(raw.p, '%', raw.n) == NULL)
        return utf8 != NULL ? utf8
                            : PyBytes_FromStringAndSize(raw.p, (Py_ssize_t)raw.n);
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)raw.n);
    if (bytes != NULL) {
        size_t n = fl_percent_decode(PyBytes_AS_STRING(bytes), raw, false);

        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    }
    Py_XDECREF(utf8);
    return bytes;
}

/* Puts a group's bytes (taken over; NULL: an exception is set) where its name or its
 * place is; clears *all after a failure. */
static void
put_group(const FlRoute *r, PyObject **all, Py_ssize_t i, PyObject *bytes)
{
    if (bytes == NULL) {
        Py_CLEAR(*all);
    } else if (r->names == NULL) {
        PyTuple_SET_ITEM(*all, i, bytes);
    } else {
        if (PyDict_SetItem(*all, PyTuple_GET_ITEM(r->names, i), bytes) < 0)
            Py_CLEAR(*all);
        Py_DECREF(bytes);
    }
}

/* The groups that pieces found, as match[2]. */
static int
take_groups(FlRoute *r, const fl_span *groups, int count, PyObject **out)
{
    PyObject *all;

    if (count == 0)
        return 0;
    all = r->names != NULL ? PyDict_New() : PyTuple_New(count);
    for (int i = 0; all != NULL && i < count; i++)
        put_group(r, &all, i, group_bytes(groups[i]));
    *out = all;
    return all == NULL ? -1 : 0;
}

static bool
match_pieces(const FlRoute *r, fl_span path, fl_span *groups, int *count)
{
    size_t at = 0;

    for (int i = 0; i < r->count; i++) {
        const FlRoutePiece *p = &r->pieces[i];
        size_t from = at;

        if (!p->group) {
            if (path.n - at < p->length ||
                memcmp(path.p + at, r->text + p->at, p->length) != 0)
                return false;
            at += p->length;
            continue;
        }
        while (at < path.n && FlRoutePiece_Has(p, (unsigned char)path.p[at]))
            at++;
        if (at - from < p->least)
            return false;
        groups[(*count)++] = fl_span_make(path.p + from, at - from);
    }
    return at == path.n;
}

/* Runs the rule's own regular expression. 1, 0, or -1. */
static int
match_regex(FlRoute *r, PyObject *path, PyObject **out)
{
    PyObject *found = PyObject_CallMethod(r->regex, "match", "O", path);
    PyObject *groups, *all;
    Py_ssize_t n;

    if (found == NULL || found == Py_None) {
        Py_XDECREF(found);
        return found == NULL ? -1 : 0;
    }
    groups = PyObject_CallMethod(found, "groups", NULL);
    Py_DECREF(found);
    if (groups == NULL)
        return -1;
    n = PyTuple_GET_SIZE(groups);
    if (n == 0) {
        Py_DECREF(groups);
        return 1;
    }
    all = r->names != NULL ? PyDict_New() : PyTuple_New(n);
    for (Py_ssize_t i = 0; all != NULL && i < n; i++) {
        PyObject *text = PyTuple_GET_ITEM(groups, i), *bytes;

        if (text == Py_None)
            bytes = Py_NewRef(Py_None);
        else
            bytes = group_bytes(fl_span_make((const char *)PyUnicode_1BYTE_DATA(text),
                                             (size_t)PyUnicode_GET_LENGTH(text)));
        put_group(r, &all, i, bytes);
    }
    Py_DECREF(groups);
    *out = all;
    return all == NULL ? -1 : 1;
}

/* Whether the path matches; the groups go to match[2]. 1, 0 or -1. */
static int
match_path(route_search *s, FlRoute *r)
{
    fl_span groups[FL_ROUTE_PIECES];
    int count = 0;

    if (r->pieces != NULL) {
        if (!match_pieces(r, s->path, groups, &count))
            return 0;
        s->asked = NULL; /* making the groups may run the collector */
        return take_groups(r, groups, count, &s->match[2]) < 0 ? -1 : 1;
    }
    s->asked = NULL;
    if (s->text == NULL)
        s->text = PyUnicode_DecodeLatin1(s->path.p, (Py_ssize_t)s->path.n, NULL);
    return s->text == NULL ? -1 : match_regex(r, s->text, &s->match[2]);
}

static int
match_host(route_search *s, FlRoute *r)
{
    fl_span groups[FL_ROUTE_PIECES];
    PyObject *found;
    int count = 0;

    s->asked = NULL;
    if (s->host == NULL)
        s->host = FlHTTPServerRequest_HostName(s->request);
    if (s->host == NULL)
        return -1;
    if (r->pieces != NULL && PyUnicode_KIND(s->host) == PyUnicode_1BYTE_KIND)
        return match_pieces(r,
                            fl_span_make((const char *)PyUnicode_1BYTE_DATA(s->host),
                                         (size_t)PyUnicode_GET_LENGTH(s->host)),
                            groups, &count);
    found = PyObject_CallMethod(r->regex, "match", "O", s->host);
    Py_XDECREF(found);
    return found == NULL ? -1 : found != Py_None;
}

/* 1, 0 or -1. escapes, where a regular expression runs */
static int
match_route(route_search *s, FlRoute *r)
{
    fl_span proxied;

    switch (r->kind) {
    case FL_ROUTE_PATH:
        return match_path(s, r);
    case FL_ROUTE_HOST:
        return match_host(s, r);
    case FL_ROUTE_DEFAULT_HOST:
        return r->holds &&
               !FlHTTPServerRequest_Field(s->request, FL_H_X_REAL_IP, &proxied);
    default:
        return 1;
    }
}

#define NO_ROUTE 2 /* beside FlRouteAnswer: the list has none for the request */

static int
match_list(route_search *s, const FlRouteList *list)
{
    for (Py_ssize_t i = 0; i < list->count; i++) {
        FlRoute *r = &list->routes[i];
        int found, answer;

        if (r->hooks == NULL && r->inner == NULL)
            return FL_ROUTE_PYTHON;
        found = match_route(s, r);
        if (found < 0)
            return FL_ROUTE_ERROR;
        if (!FlRoute_Always(r) &&
            !route_current(s, r)) /* what it matches now is Python's to find out */
            return FL_ROUTE_PYTHON;
        if (!found)
            continue;
        if (r->inner == NULL) {
            s->match[0] = Py_NewRef((PyObject *)r->hooks);
            s->match[1] = PyDict_GET_SIZE(r->kwargs) > 0 ? Py_NewRef(r->kwargs) : NULL;
            return FL_ROUTE_FOUND;
        }
        Py_CLEAR(s->match[2]); /* the way to a router has no say in its arguments */
        answer = match_list(s, r->inner);
        if (answer != NO_ROUTE)
            return answer;
    }
    return NO_ROUTE;
}

FlRouteAnswer
FlRoutes_Match(FlRoutes *self, FlHTTPServerRequest *request, PyObject *match[3])
{
    route_search s = {.routes = self, .request = request, .match = match};
    int answer;

    s.path = FlHeadBlock_Span(request->block, request->block->head.path);
    if (s.path.n == 0)
        s.path = FL_SPAN("/");
    answer = match_list(&s, &self->root);
    if (answer == NO_ROUTE)
        answer = FL_ROUTE_PYTHON;
    if (answer != FL_ROUTE_FOUND)
        Py_CLEAR(match[2]);
    Py_XDECREF(s.text);
    Py_XDECREF(s.host);
    return (FlRouteAnswer)answer;
}
