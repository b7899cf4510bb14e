/* route.c -- from path to handler class.
 *
 * Layer: web. Threads: none.
 */
#include "web/route.h"

#include <string.h>

#include "proto/uri.h"
#include "web/facts.h"

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
    FlHooks *rule_hooks; /* owned: nothing on the rule's class hides its attributes */
    FlFacts facts;       /* what rule and matcher have; none: ask them each time */
    FlHooks *hooks;      /* owned; NULL: Python's business */
    PyObject *names;     /* owned tuple of the groups' names, or NULL: by position */
    char *text;          /* owned: the literals */
    piece *pieces;       /* owned; NULL: run regex */
    int count;
} route;

struct FlRoutes {
    PyObject_HEAD
    FlState *st;                         /* borrowed */
    PyObject *server;                    /* borrowed: only compared */
    PyObject *application, *settings;    /* owned */
    PyObject *default_router, *wildcard; /* owned */
    PyObject *default_rules, *rules;     /* owned lists */
    bool xheaders;                       /* of the server */
    PyObject *any_rule;                  /* owned */
    PyObject *transforms;                /* owned list */
    FlHooks *hooks[3];                   /* owned: of server, application, router */
    FlHooks *matcher_hooks;         /* owned: nothing on PathMatches hides `regex` */
    FlFacts facts;                  /* what server, application and routers have */
    FlFacts quiet[FL_QUIET_LEVELS]; /* why a request of the application is not logged */
    route *routes;                  /* owned */
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
        if (r->pieces[i + 1].group ||
            set_has(&r->pieces[i], (unsigned char)r->text[r->pieces[i + 1].at]))
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
            int ok =
                r->count < PIECES ? parse_group(s, n, &r->pieces[r->count], &used) : 0;

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

/* 1; 0 when only some of the groups have names; -1. */
static int
group_names(route *r)
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

/* What the route is made of as facts, so that each request need not look it up. 0 (maybe
 * without facts) or -1. */
static int
note_rule(FlRoutes *self, route *r, const route *before)
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

static int
make_route(FlState *st, route *r, PyObject *rule)
{
    PyObject *pattern = NULL, *flags = NULL;
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
    if (r->regex == NULL)
        return -1;
    if (!Py_IS_TYPE(r->matcher, (PyTypeObject *)st->web_path_matches) ||
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

/* Everything but the routes. 1: untouched, 0: not, -1. */
static int
look_around(FlRoutes *self, PyObject *server)
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

static int
make_routes(FlRoutes *self)
{
    Py_ssize_t count = PyList_GET_SIZE(self->rules);

    self->routes = PyMem_Calloc((size_t)count + 1, sizeof(route));
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
            err =
                note_rule(self, &self->routes[i], i > 0 ? &self->routes[i - 1] : NULL);
        Py_DECREF(rule);
        if (err < 0)
            return -1;
    }
    return 0;
}

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
    ok = look_around(self, server);
    if (ok > 0 && make_routes(self) < 0)
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

PyObject *
FlRoutes_Explain(FlRoutes *routes)
{
    PyObject *list = PyList_New(0);
    bool ours = true;

    for (Py_ssize_t i = 0; list != NULL && i < routes->count; i++) {
        const route *r = &routes->routes[i];
        PyObject *line;

        ours = ours && r->hooks != NULL; /* behind a rule for Python all are */
        line = Py_BuildValue("(OOO)", r->rule, ours ? Py_True : Py_False,
                             ours && r->pieces != NULL ? Py_True : Py_False);
        if (line == NULL || PyList_Append(list, line) < 0)
            Py_CLEAR(list);
        Py_XDECREF(line);
    }
    return list;
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

static bool
route_current(FlRoutes *self, route *r)
{
    FlState *st = self->st;

    if (r->facts.count > 0 && unhidden(r->rule_hooks) &&
        unhidden(self->matcher_hooks) && FlFacts_True(&r->facts))
        return true;
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
        if (found == 0 && route_current(self, r))
            continue;
        if (found == 0) /* what it matches now is Python's to find out */
            break;
        if (found < 0) {
            answer = FL_ROUTE_ERROR;
        } else if (route_current(self, r)) {
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
    Py_VISIT(self->application);
    Py_VISIT(self->settings);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->hooks); i++)
        Py_VISIT(self->hooks[i]);
    Py_VISIT(self->default_router);
    Py_VISIT(self->wildcard);
    Py_VISIT(self->default_rules);
    Py_VISIT(self->rules);
    Py_VISIT(self->any_rule);
    Py_VISIT(self->transforms);
    Py_VISIT(self->matcher_hooks);
    if (FlFacts_Traverse(&self->facts, visit, arg) != 0)
        return 1;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->quiet); i++) {
        if (FlFacts_Traverse(&self->quiet[i], visit, arg) != 0)
            return 1;
    }
    for (Py_ssize_t i = 0; i < self->count; i++) {
        Py_VISIT(self->routes[i].rule);
        Py_VISIT(self->routes[i].matcher);
        Py_VISIT(self->routes[i].regex);
        Py_VISIT(self->routes[i].target);
        Py_VISIT(self->routes[i].kwargs);
        Py_VISIT(self->routes[i].hooks);
        Py_VISIT(self->routes[i].rule_hooks);
        if (FlFacts_Traverse(&self->routes[i].facts, visit, arg) != 0)
            return 1;
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
        Py_CLEAR(self->routes[i].rule_hooks);
        FlFacts_Clear(&self->routes[i].facts);
        Py_CLEAR(self->routes[i].names);
        PyMem_Free(self->routes[i].text);
        PyMem_Free(self->routes[i].pieces);
    }
    PyMem_Free(self->routes);
    self->routes = NULL;
    FlFacts_Clear(&self->facts);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->quiet); i++)
        FlFacts_Clear(&self->quiet[i]);
    Py_CLEAR(self->matcher_hooks);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(self->hooks); i++)
        Py_CLEAR(self->hooks[i]);
    Py_CLEAR(self->application);
    Py_CLEAR(self->settings);
    Py_CLEAR(self->default_router);
    Py_CLEAR(self->wildcard);
    Py_CLEAR(self->default_rules);
    Py_CLEAR(self->rules);
    Py_CLEAR(self->any_rule);
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
