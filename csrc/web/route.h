/* route.h -- from path to handler class, without a regular expression where none is
 * needed.
 *
 * A table is made of an Application's rules in order, those for hosts and the routers
 * that rules lead to included. A rule whose pattern is literal text, or literal text with
 * simple groups (one class of characters, + or *), is matched here; any other PathMatches
 * or HostMatches runs its own compiled `re`; anything else sends the request to Python.
 * The first rule that matches wins, exactly as in Python.
 *
 *     "/item/([0-9]+)/edit$"  -->  "/item/"  [0-9]+  "/edit"
 *
 * Which characters a class has is asked of `re` itself, once for each of the 256 that a
 * path can hold. A group is only taken over where the text behind it cannot begin with
 * a character of the group: then greedy matching needs no second try.
 *
 * The table also is what says that server, application and routers are untouched: it
 * remembers each attribute it relies on, of instances, and the hooks of their classes.
 * Where one is another now, the caller makes a new table. From 3.12 on a watcher on the
 * instances' dicts tells that nothing has changed; before, each attribute is looked up.
 *
 * Layer: web. Threads: none; owned by its Application's server connections.
 */
#ifndef FL_WEB_ROUTE_H
#define FL_WEB_ROUTE_H

#include "http/request.h"
#include "web/facts.h"

typedef struct FlRoutes FlRoutes;

typedef enum {
    FL_ROUTE_ERROR = -1,
    FL_ROUTE_PYTHON = 0, /* no rule, or one this table does not understand */
    FL_ROUTE_FOUND = 1,
} FlRouteAnswer;

/* The table for an HTTPServer, kept in its dict under `_c_routes` for all its
 * connections: new reference; NULL where the server, its application or its routers are
 * not what their classes make (maybe with an exception). */
FlRoutes *FlRoutes_OfServer(FlState *st, PyObject *server);

/* Whether the table still says what these objects say. */
bool FlRoutes_Current(FlRoutes *routes, PyObject *server);

/* Borrowed. */
PyObject *FlRoutes_Application(FlRoutes *routes);
PyObject *FlRoutes_Settings(FlRoutes *routes);
PyObject *FlRoutes_Transforms(FlRoutes *routes); /* a list: of the classes */

/* Whether address and scheme are what a proxy's headers say (xheaders). */
bool FlRoutes_TrustsHeaders(FlRoutes *routes);

/* The rule for a request of a parsed head. FOUND: match[0] the FlHooks of the class, [1] the keywords of
 * initialize (dict or NULL), [2] the groups as bytes (tuple, dict or NULL); new
 * references. escapes, where a regular expression runs */
FlRouteAnswer FlRoutes_Match(FlRoutes *routes, FlHTTPServerRequest *request,
                             PyObject *match[3]);

/* The levels at which requests are logged: by status below 400, below 500, and above. */
#define FL_QUIET_LEVELS 3

/* The facts under which requests of the application are not logged at a level, for
 * handler_log.c to note; borrowed. */
FlFacts *FlRoutes_Quiet(FlRoutes *routes, int level);

/* For each rule, until a change: (rule, taken by C, matched without re). New list. */
PyObject *FlRoutes_Explain(FlRoutes *routes);

int FlRoutes_AddType(PyObject *module, FlState *st);

#endif
