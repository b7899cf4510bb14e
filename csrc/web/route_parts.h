/* route_parts.h -- the table of routes, for the files that make it and match with it.
 *
 * Layer: web. Threads: none; owned by its Application's server connections.
 */
#ifndef FL_WEB_ROUTE_PARTS_H
#define FL_WEB_ROUTE_PARTS_H

#include "web/route.h"

/* What a rule's matcher goes by. */
enum FlRouteKind {
    FL_ROUTE_PATH,
    FL_ROUTE_HOST,
    FL_ROUTE_DEFAULT_HOST, /* the application's, for requests of no proxy */
    FL_ROUTE_ANY,
    FL_ROUTE_KINDS
};

typedef struct FlRouteList FlRouteList;

#define FL_ROUTE_PIECES 9 /* literal, group, literal ...: up to four groups */

typedef struct {
    uint32_t at, length; /* literal: of the route's text */
    uint8_t least;       /* group: 0 for *, 1 for + */
    bool group;
    uint8_t set[32]; /* group: bit for each character */
} FlRoutePiece;

typedef struct {
    PyObject *rule, *matcher, *target; /* owned: what it was made of */
    PyObject *regex;      /* owned: of path or host; None for FL_ROUTE_ANY */
    PyObject *kwargs;     /* owned dict or NULL */
    FlHooks *rule_hooks;  /* owned: nothing on the rule's class hides its attributes */
    FlFacts facts;        /* what rule and matcher have; none: ask them each time */
    FlHooks *hooks;       /* owned: of the handler's class, */
    FlRouteList *inner;   /* ... or owned: the routes of a router; neither: Python's */
    PyObject *names;      /* owned tuple of the groups' names, or NULL: by position */
    char *text;           /* owned: the literals */
    FlRoutePiece *pieces; /* owned; NULL: run regex */
    int count;
    uint8_t kind; /* enum FlRouteKind */
    bool holds;   /* DEFAULT_HOST: whether the pattern matches */
} FlRoute;

/* The routes of one router. */
struct FlRouteList {
    PyObject *rules; /* owned list */
    FlRoute *routes; /* owned */
    PyObject **seen; /* owned array: the rules of the routes, each theirs */
    Py_ssize_t count;
    bool nested; /* some of the routes lead to routers */
};

struct FlRoutes {
    PyObject_HEAD
    FlState *st;                            /* borrowed */
    PyObject *server;                       /* borrowed: only compared */
    PyObject *application, *settings;       /* owned */
    PyObject *default_router;               /* owned */
    bool xheaders;                          /* of the server */
    PyObject *transforms;                   /* owned list */
    FlHooks *hooks[3];                      /* owned: of server, application, router */
    FlHooks *matcher_hooks[FL_ROUTE_KINDS]; /* owned: nothing on the matchers' classes
                                       hides their attributes; NULL: not asked for */
    FlFacts facts;                  /* what server, application and routers have */
    FlFacts quiet[FL_QUIET_LEVELS]; /* why a request of the application is not logged */
    FlRouteList root;               /* of the default router */
};

/* Whether each request of its list that comes so far goes to its router: what it relies on
 * is the table's business, which is asked in front. */
static inline bool
FlRoute_Always(const FlRoute *r)
{
    return r->kind == FL_ROUTE_ANY && r->inner != NULL;
}

static inline bool
FlRoutePiece_Has(const FlRoutePiece *p, unsigned char c)
{
    return (p->set[c >> 3] >> (c & 7) & 1) != 0;
}

/* ---- route_pattern.c ---- */

/* Takes a pattern apart into the route's text and pieces. 1: they are there; 0: too
 * clever for us; -1. escapes */
int FlRoute_ParsePattern(FlRoute *r, const char *s, Py_ssize_t n);

/* ---- route_make.c ---- */

/* Makes the routes of the root's rules, and of the routers in there; 0 or -1. escapes */
int FlRoutes_MakeRoutes(FlRoutes *self);

/* Frees what the list has. escapes */
void FlRouteList_Clear(FlRouteList *list);

/* ---- route_facts.c ---- */

/* Notes everything but the routes. 1: untouched, 0: not, -1. escapes */
int FlRoutes_LookAround(FlRoutes *self, PyObject *server);

/* Notes that a router is untouched: 1 and *rules (new reference to its list), 0: it is
 * not, -1. escapes */
int FlRoutes_NoteRouter(FlRoutes *self, PyObject *router, PyObject **rules);

/* Notes an attribute of the application; *value is a new reference, or NULL: it has none.
 * 0 or -1. escapes */
int FlRoutes_NoteApplication(FlRoutes *self, PyObject *name, PyObject **value);

/* What the route is made of as facts, so that each request need not look it up; `before`
 * is the route in front of it or NULL. 1; 0: they cannot be had; -1. escapes */
int FlRoutes_NoteRule(FlRoutes *self, FlRoute *r, const FlRoute *before);

#endif
