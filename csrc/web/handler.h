/* handler.h -- what every RequestHandler carries, and the sequence every request runs through.
 *
 * FlRequestHandler is the C base of pyfastloop.web.RequestHandler. The fields that each request touches are C members, visible
 * as the attributes that programs know (`_headers`, `_status_code`, `_write_buffer`, `_finished` …); everything else
 * goes to the instance's dict, which most requests never need.
 *
 * The sequence (DESIGN "How a request runs"), with the hooks asked again after each arrow:
 *
 *   allocate ──► clear ──► set_default_headers ──► initialize ──► method known? ──► decode path args ──► XSRF?
 *      ──► prepare ──► the user's method ──► finish (ETag, 304) ──► one block to the connection ──► log ──► on_finish
 *
 * Whatever returns an awaitable hands the rest of the sequence to the request's Task; the sequence itself is a
 * small state number in the handler and goes on from there.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_HANDLER_H
#define FL_WEB_HANDLER_H

#include "http/connection.h"
#include "web/route.h"

typedef struct {
    PyObject_HEAD
    FlState *st; /* borrowed */
    PyObject *dict, *weakrefs;
    PyObject *application, *request; /* owned */
    PyObject *headers;               /* owned FlHTTPHeaders: `_headers` */
    PyObject *reason;                /* owned str: `_reason` */
    PyObject *write_buffer;          /* owned list, or NULL: empty and not asked for */
    PyObject *first_chunk;           /* owned bytes: the only chunk while write_buffer is NULL */
    PyObject *transforms;            /* owned list or None */
    PyObject *path_args, *path_kwargs;
    PyObject *prepared_future; /* `_prepared_future` */
    PyObject *new_cookies;     /* `_new_cookie` */
    FlHooks *hooks;            /* borrowed from the state's table */
    int status;
    bool headers_written, finished, auto_finish, logged;
    uint8_t step; /* where the sequence stands */
} FlRequestHandler;

int
FlRequestHandler_AddType(PyObject *module, FlState *st);

#endif
