/* route_parts.h -- the table of routes, for the files that make it and match with it.
 *
 * Layer: web. Threads: none; owned by its Application's server connections.
 */
#ifndef FL_WEB_ROUTE_PARTS_H
#define FL_WEB_ROUTE_PARTS_H

#include "web/route.h"

#define FL_ROUTE_PIECES 9 /* literal, group, literal ...: up to four groups */

typedef struct {
    uint32_t at, length; /* literal: of the route's text */
    uint8_t least;       /* group: 0 for *, 1 for + */
    bool group;
    uint8_t set[32]; /* group: bit for each character */
} FlRoutePiece;

typedef struct {
    PyObject *rule, *matcher, *regex, *target; /* owned: what it was made of */
    PyObject *kwargs;                          /* owned dict or NULL */
    FlHooks *rule_hooks;  /* owned: nothing on the rule's class hides its attributes */
    FlFacts facts;        /* what rule and matcher have; none: ask them each time */
    FlHooks *hooks;       /* owned; NULL: Python's business */
    PyObject *names;      /* owned tuple of the groups' names, or NULL: by position */
    char *text;           /* owned: the literals */
    FlRoutePiece *pieces; /* owned; NULL: run regex */
    int count;
} FlRoute;

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
    FlRoute *routes;                /* owned */
    Py_ssize_t count;
};

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

/* Makes the routes of `rules`; 0 or -1. escapes */
int FlRoutes_MakeRoutes(FlRoutes *self);

/* ---- route_facts.c ---- */

/* Notes everything but the routes. 1: untouched, 0: not, -1. escapes */
int FlRoutes_LookAround(FlRoutes *self, PyObject *server);

/* What the route is made of as facts, so that each request need not look it up; `before`
 * is the route in front of it or NULL. 0 (maybe without facts) or -1. escapes */
int FlRoutes_NoteRule(FlRoutes *self, FlRoute *r, const FlRoute *before);

#endif
