/* route.h -- from path to handler class without running a regular expression where none is needed.
 *
 * A table is compiled from an Application's rules in order. A rule whose pattern is literal text, or literal text with
 * simple groups ([^/]+ .* \d+ \w+ and [a-z0-9_-] sets, named or not), is matched here; any other PathMatches
 * runs its own compiled `re`; any other matcher sends the request to Python. The first rule that matches wins,
 * exactly as in Python: order is never traded for speed.
 *
 *     "/item/([0-9]+)"  ──►  literal "/item/", group digits+        groups reach the handler url-unescaped
 *
 * The table remembers the rule list it was made of (same list, same length, same rules, same targets) and is
 * compiled again when that has changed.
 *
 * Layer: web. Threads: none; owned by its Application.
 */
#ifndef FL_WEB_ROUTE_H
#define FL_WEB_ROUTE_H

#include "web/hooks.h"

typedef struct FlRoutes FlRoutes;

typedef struct {
    PyObject *handler_class; /* borrowed from the table */
    PyObject *kwargs;        /* borrowed dict or NULL */
    PyObject *path_args;     /* owned list or NULL */
    PyObject *path_kwargs;   /* owned dict or NULL */
} FlRouteMatch;

typedef enum {
    FL_ROUTE_ERROR = -1,
    FL_ROUTE_NONE = 0, /* no rule matches: 404 */
    FL_ROUTE_FOUND = 1,
    FL_ROUTE_PYTHON = 2, /* the rules say more than this table understands */
} FlRouteAnswer;

#endif
