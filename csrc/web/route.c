/* route.c -- from path to handler class.
 *
 * Layer: web. Threads: none.
 */
#include "web/route.h"

#include <string.h>

#include "proto/uri.h"

#define PIECES 9 /* literal, group, literal ...: up to four groups */

typedef struct {
    uint32_t at, length; /* literal: of the route's text */
    uint8_t least;       /* group: 0 for *, 1 for + */
    bool group;
    uint8_t set[32]; /* group: bit for each character */
} piece;

typedef struct {
    PyObject *rule, *matcher, *regex, *target; /* owned: what it was made of */
    PyObject *kwargs;                          /* owned dict or NULL */
    FlHooks *hooks;                            /* owned; NULL: Python's business */
    PyObject *names; /* owned tuple of the groups' names, or NULL: by position */
    char *text;      /* owned: the literals */
    piece *pieces;   /* owned; NULL: run regex */
    int count;
} route;

struct FlRoutes {
    PyObject_HEAD FlState *st; /* borrowed */
    PyObject *default_router, *wildcard; /* owned */
    PyObject *default_rules, *rules;     /* owned lists */
    PyObject *any_rule;                  /* owned */
    route *routes;                       /* owned */
    Py_ssize_t count;
};

/* ---- patterns ---- */

static bool
set_has(const piece *p, unsigned char c)
{
    return (p->set[c >> 3] >> (c & 7) & 1) != 0;
}

/* Asks `re` which single characters of latin-1 a class has. 0 or -1. */
static int
fill_set(piece *p, PyObject *source)
{
    PyObject *re = PyImport_ImportModule("re");
    PyObject *compiled =
        re == NULL ? NULL : PyObject_CallMethod(re, "compile", "O", source);
    int err = compiled == NULL ? -1 : 0;

    memset(p->set, 0, sizeof(p->set));
    for (int c = 0; err == 0 && c < 256; c++) {
        PyObject *text = PyUnicode_FromOrdinal(c);
        PyObject *found =
            text == NULL ? NULL : PyObject_CallMethod(compiled, "fullmatch", "O", text);

        if (found == NULL)
            err = -1;
        else if (found != Py_None)
            p->set[c >> 3] |= (uint8_t)(1u << (c & 7));
        Py_XDECREF(text);
        Py_XDECREF(found);
    }
    Py_XDECREF(re);
    Py_XDECREF(compiled);
    return err;
}

/* The length of one class at s: "[...]", "\d", "."; 0 when it is none we take. */
static Py_ssize_t
class_length(const char *s, Py_ssize_t n)
{
    Py_ssize_t i = 1;

    if (n > 0 && s[0] == '.')
        return 1;
    if (n > 1 && s[0] == '\\' && strchr("dwsDWS", s[1]) != NULL)
        return 2;
    if (n < 3 || s[0] != '[')
        return 0;
    if (s[i] == '^')
        i++;
    if (i < n && s[i] == ']')
        i++;
    for (; i < n && s[i] != ']'; i++) {
        if (s[i] == '\\')
            i++;
    }
    return i < n ? i + 1 : 0;
}

/* "(class+)" or "(?P<name>class*)" at s. 1 and *used, 0: no, -1. */
static int
parse_group(const char *s, Py_ssize_t n, piece *p, Py_ssize_t *used)
{
    Py_ssize_t at = 1, length;
    PyObject *source;
    int err;

    if (n > 3 && s[1] == '?') {
        if (s[2] != 'P' || s[3] != '<')
            return 0;
        for (at = 4; at < n && s[at] != '>'; at++)
            continue;
        at++;
    }
    if (at >= n)
        return 0;
    length = class_length(s + at, n - at);
    if (length == 0 || at + length + 1 >= n)
        return 0;
    if ((s[at + length] != '+' && s[at + length] != '*') || s[at + length + 1] != ')')
        return 0;
    p->group = true;
    p->least = s[at + length] == '+';
    source = PyUnicode_FromStringAndSize(s + at, length);
    err = source == NULL ? -1 : fill_set(p, source);
    Py_XDECREF(source);
    *used = at + length + 2;
    return err < 0 ? -1 : 1;
}

/* One literal character at s: how many bytes of pattern, 0: no. */
static int
literal_length(const char *s, Py_ssize_t n, char *out)
{
    unsigned char c = (unsigned char)s[0];

    if (c == '\\') {
        if (n < 2 || (unsigned char)s[1] >= 128 || Py_ISALNUM(s[1]))
            return 0;
        *out = s[1];
        return 2;
    }
    if (c >= 128 || strchr(".^$*+?{}[]|()\\ \t\n#", c) != NULL)
        return 0;
    *out = s[0];
    return 1;
}

static bool
pieces_simple(const route *r)
{
    for (int i = 0; i + 1 < r->count; i++) {
        if (!r->pieces[i].group)
            continue;
        if (r->pieces[i + 1].group || set_has(&r->pieces[i],
                                              (unsigned char)
                                                  r->text[r->pieces[i + 1].at]))
            return false;
    }
    return true;
}

/* Takes a pattern apart. 1: pieces are there; 0: too clever for us; -1. */
static int
parse_pattern(route *r, const char *s, Py_ssize_t n)
{
    uint32_t length = 0;

    r->text = PyMem_Malloc((size_t)n + 1);
    r->pieces = PyMem_Calloc(PIECES, sizeof(piece));
    if (r->text == NULL || r->pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (n == 0 || s[n - 1] != '$' || (n > 1 && s[n - 2] == '\\'))
        return 0;
    n--;
    if (n > 0 && s[0] == '^') {
        s++;
        n--;
    }
    while (n > 0) {
        piece *last = r->count > 0 ? &r->pieces[r->count - 1] : NULL;
        Py_ssize_t used;

        if (s[0] == '(') {
            int ok = r->count < PIECES
                         ? parse_group(s, n, &r->pieces[r->count], &used)
                         : 0;

            if (ok <= 0)
                return ok;
            r->count++;
        } else {
            used = literal_length(s, n, &r->text[length]);
            if (used == 0)
                return 0;
            if (used < n && strchr("*+?{", s[used]) != NULL)
                return 0;
            if (last == NULL || last->group) {
                if (r->count == PIECES)
                    return 0;
                last = &r->pieces[r->count++];
                last->at = length;
            }
            last->length++;
            length++;
        }
        s += used;
        n -= used;
    }
    return pieces_simple(r);
}

/* ---- making ---- */

static PyObject *
attribute(PyObject *object, PyObject *name)
{
    PyObject *value;

    if (PyObject_GetOptionalAttr(object, name, &value) == 0)
        return Py_NewRef(Py_None);
    return value;
}

static int
group_names(route *r)
{
    PyObject *index = PyObject_GetAttrString(r->regex, "groupindex");
    PyObject *names = index == NULL ? NULL : PySequence_Tuple(index);

    Py_XDECREF(index);
    if (names == NULL)
        return -1;
    if (PyTuple_GET_SIZE(names) == 0)
        Py_CLEAR(names);
    r->names = names; /* in the order of the groups: all are named or none */
    return 0;
}

static int
make_route(FlState *st, route *r, PyObject *rule)
{
    PyObject *pattern = NULL, *flags = NULL;
    Py_ssize_t n;
    const char *s;
    int simple = -1;

    r->rule = Py_NewRef(rule);
    r->matcher = attribute(rule, st->str_matcher);
    r->target = attribute(rule, st->str_target);
    r->kwargs = attribute(rule, st->str_target_kwargs);
    if (r->matcher == NULL || r->target == NULL || r->kwargs == NULL)
        return -1;
    r->regex = attribute(r->matcher, st->str_regex);
    if (r->regex == NULL)
        return -1;
    if (!Py_IS_TYPE(r->matcher, (PyTypeObject *)st->web_path_matches) ||
        !PyType_Check(r->target) ||
        !PyType_IsSubtype((PyTypeObject *)r->target, (PyTypeObject *)st->web_handler) ||
        !PyDict_CheckExact(r->kwargs))
        return 0;
    pattern = PyObject_GetAttrString(r->regex, "pattern");
    flags = PyObject_GetAttrString(r->regex, "flags");
    if (pattern == NULL || flags == NULL || group_names(r) < 0)
        goto done;
    simple = 0;
    if (PyUnicode_Check(pattern) && PyLong_Check(flags) &&
        PyLong_AsLong(flags) == 32 /* re.UNICODE, nothing else */) {
        s = PyUnicode_AsUTF8AndSize(pattern, &n);
        simple = s == NULL ? -1 : parse_pattern(r, s, n);
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

FlRoutes *
FlRoutes_New(FlState *st, PyObject *application)
{
    FlRoutes *self = PyObject_GC_New(FlRoutes, st->Routes_type);
    PyObject *matcher = NULL, *target = NULL;

    if (self == NULL)
        return NULL;
    memset((char *)self + offsetof(FlRoutes, st), 0,
           sizeof(FlRoutes) - offsetof(FlRoutes, st));
    self->st = st;
    PyObject_GC_Track(self);
    self->default_router = attribute(application, st->str_default_router);
    self->wildcard = attribute(application, st->str_wildcard_router);
    if (self->default_router == NULL || self->wildcard == NULL)
        goto fail;
    self->default_rules = attribute(self->default_router, st->str_rules);
    self->rules = attribute(self->wildcard, st->str_rules);
    if (self->default_rules == NULL || self->rules == NULL)
        goto fail;
    if (!PyList_CheckExact(self->rules) || !PyList_CheckExact(self->default_rules) ||
        PyList_GET_SIZE(self->default_rules) != 1)
        return self; /* hosts: all of it is Python's */
    self->any_rule = Py_NewRef(PyList_GET_ITEM(self->default_rules, 0));
    matcher = attribute(self->any_rule, st->str_matcher);
    target = attribute(self->any_rule, st->str_target);
    if (matcher == NULL || target == NULL)
        goto fail;
    if (Py_IS_TYPE(matcher, (PyTypeObject *)st->web_any_matches) &&
        target == self->wildcard) {
        Py_ssize_t count = PyList_GET_SIZE(self->rules);

        self->routes = PyMem_Calloc((size_t)count + 1, sizeof(route));
        if (self->routes == NULL) {
            PyErr_NoMemory();
            goto fail;
        }
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *rule;
            int err;

            if (i >= PyList_GET_SIZE(self->rules))
                break;
            rule = Py_NewRef(PyList_GET_ITEM(self->rules, i));
            self->count++;
            err = make_route(st, &self->routes[i], rule);
            Py_DECREF(rule);
            if (err < 0)
                goto fail;
        }
    }
    Py_DECREF(matcher);
    Py_DECREF(target);
    return self;
fail:
    Py_XDECREF(matcher);
    Py_XDECREF(target);
    Py_DECREF(self);
    return NULL;
}

/* ---- is it still so ---- */

/* Whether object.name is `expected`; objects with a plain dict, as ours have. */
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

bool
FlRoutes_Current(FlRoutes *self, PyObject *application)
{
    FlState *st = self->st;

    if (!still(application, st->str_default_router, self->default_router) ||
        !still(application, st->str_wildcard_router, self->wildcard) ||
        !still(self->default_router, st->str_rules, self->default_rules) ||
        !still(self->wildcard, st->str_rules, self->rules))
        return false;
    if (self->routes == NULL)
        return !PyList_CheckExact(self->default_rules) ||
               PyList_GET_SIZE(self->default_rules) != 1;
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

static bool
route_current(FlState *st, route *r)
{
    return still(r->rule, st->str_matcher, r->matcher) &&
           still(r->rule, st->str_target, r->target) &&
           still(r->rule, st->str_target_kwargs, r->kwargs) &&
           still(r->matcher, st->str_regex, r->regex);
}

/* ---- matching ---- */

static PyObject *
group_bytes(fl_span raw)
{
    PyObject *bytes;

    if (memchr(raw.p, '%', raw.n) == NULL) {
        /* A path is latin-1 text to Python, whose encode() makes UTF-8 of it. */
        for (size_t i = 0; i < raw.n; i++) {
            if ((unsigned char)raw.p[i] >= 128) {
                PyObject *text = PyUnicode_DecodeLatin1(raw.p, (Py_ssize_t)raw.n, NULL);

                bytes = text == NULL ? NULL : PyUnicode_AsUTF8String(text);
                Py_XDECREF(text);
                return bytes;
            }
        }
        return PyBytes_FromStringAndSize(raw.p, (Py_ssize_t)raw.n);
    }
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)raw.n);
    if (bytes != NULL) {
        size_t n = fl_percent_decode(PyBytes_AS_STRING(bytes), raw, false);

        _PyBytes_Resize(&bytes, (Py_ssize_t)n);
    }
    return bytes;
}

/* The groups that pieces found, as match[2]. */
static int
take_groups(route *r, const fl_span *groups, int count, PyObject **out)
{
    PyObject *all;

    if (count == 0)
        return 0;
    all = r->names != NULL ? PyDict_New() : PyTuple_New(count);
    for (int i = 0; all != NULL && i < count; i++) {
        PyObject *bytes = group_bytes(groups[i]);

        if (bytes == NULL) {
            Py_CLEAR(all);
        } else if (r->names == NULL) {
            PyTuple_SET_ITEM(all, i, bytes);
        } else {
            if (PyDict_SetItem(all, PyTuple_GET_ITEM(r->names, i), bytes) < 0)
                Py_CLEAR(all);
            Py_DECREF(bytes);
        }
    }
    *out = all;
    return all == NULL ? -1 : 0;
}

static bool
match_pieces(const route *r, fl_span path, fl_span *groups, int *count)
{
    size_t at = 0;

    for (int i = 0; i < r->count; i++) {
        const piece *p = &r->pieces[i];
        size_t from = at;

        if (!p->group) {
            if (path.n - at < p->length ||
                memcmp(path.p + at, r->text + p->at, p->length) != 0)
                return false;
            at += p->length;
            continue;
        }
        while (at < path.n && set_has(p, (unsigned char)path.p[at]))
            at++;
        if (at - from < p->least)
            return false;
        groups[(*count)++] = fl_span_make(path.p + from, at - from);
    }
    return at == path.n;
}

/* Runs the rule's own regular expression. 1, 0, or -1. */
static int
match_regex(route *r, PyObject *path, PyObject **out)
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
        if (bytes == NULL) {
            Py_CLEAR(all);
        } else if (r->names == NULL) {
            PyTuple_SET_ITEM(all, i, bytes);
        } else {
            if (PyDict_SetItem(all, PyTuple_GET_ITEM(r->names, i), bytes) < 0)
                Py_CLEAR(all);
            Py_DECREF(bytes);
        }
    }
    Py_DECREF(groups);
    *out = all;
    return all == NULL ? -1 : 1;
}

FlRouteAnswer
FlRoutes_Match(FlRoutes *self, FlHeadBlock *block, PyObject *match[3])
{
    fl_span path = FlHeadBlock_Span(block, block->head.path);
    PyObject *text = NULL;
    FlRouteAnswer answer = FL_ROUTE_PYTHON;

    if (path.n == 0)
        path = FL_SPAN("/");
    for (Py_ssize_t i = 0; i < self->count; i++) {
        route *r = &self->routes[i];
        fl_span groups[PIECES];
        int count = 0, found;

        if (r->hooks == NULL)
            break;
        if (r->pieces != NULL) {
            found = match_pieces(r, path, groups, &count);
            if (found)
                found = take_groups(r, groups, count, &match[2]) < 0 ? -1 : 1;
        } else {
            if (text == NULL)
                text = PyUnicode_DecodeLatin1(path.p, (Py_ssize_t)path.n, NULL);
            found = text == NULL ? -1 : match_regex(r, text, &match[2]);
        }
        if (found == 0)
            continue;
        if (found < 0) {
            answer = FL_ROUTE_ERROR;
        } else if (route_current(self->st, r)) {
            match[0] = Py_NewRef((PyObject *)r->hooks);
            match[1] = PyDict_GET_SIZE(r->kwargs) > 0 ? Py_NewRef(r->kwargs) : NULL;
            answer = FL_ROUTE_FOUND;
        }
        break;
    }
    if (answer != FL_ROUTE_FOUND)
        Py_CLEAR(match[2]);
    Py_XDECREF(text);
    return answer;
}

/* ---- the type ---- */

static int
routes_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlRoutes *self = (FlRoutes *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->default_router);
    Py_VISIT(self->wildcard);
    Py_VISIT(self->default_rules);
    Py_VISIT(self->rules);
    Py_VISIT(self->any_rule);
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_VISIT(self->routes[i].rule);
        Py_VISIT(self->routes[i].matcher);
        Py_VISIT(self->routes[i].regex);
        Py_VISIT(self->routes[i].target);
        Py_VISIT(self->routes[i].kwargs);
        Py_VISIT(self->routes[i].hooks);
    }
    return 0;
}

static int
routes_clear(PyObject *op)
{
    FlRoutes *self = (FlRoutes *)op;
    Py_ssize_t count = self->count;

    self->count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_CLEAR(self->routes[i].rule);
        Py_CLEAR(self->routes[i].matcher);
        Py_CLEAR(self->routes[i].regex);
        Py_CLEAR(self->routes[i].target);
        Py_CLEAR(self->routes[i].kwargs);
        Py_CLEAR(self->routes[i].hooks);
        Py_CLEAR(self->routes[i].names);
        PyMem_Free(self->routes[i].text);
        PyMem_Free(self->routes[i].pieces);
    }
    PyMem_Free(self->routes);
    self->routes = NULL;
    Py_CLEAR(self->default_router);
    Py_CLEAR(self->wildcard);
    Py_CLEAR(self->default_rules);
    Py_CLEAR(self->rules);
    Py_CLEAR(self->any_rule);
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
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = routes_slots,
};

int
FlRoutes_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Routes_type, &routes_spec, NULL, true);
}
