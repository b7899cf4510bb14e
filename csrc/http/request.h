/* request.h -- one HTTP request: a head block and what became of it.
 *
 * On arrival a request is one copied head block and a handful of numbers. `method`,
 * `uri`, `path`, `query`, `headers`, `arguments`, `cookies` and the rest become Python
 * objects when somebody asks, and stay what they were then; assigning to one replaces
 * it. What must be refused early (Host, the number of query fields) is checked before a
 * handler exists: lazy never means late.
 *
 *      head block --> method uri version path query headers   (on demand, each once)
 *      connection --> remote_ip protocol                      (of its context)
 *      body       --> body_arguments files                    (_parse_body)
 *
 * The request owns its connection; the connection never owns the request: no cycle.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#ifndef FL_HTTP_REQUEST_H
#define FL_HTTP_REQUEST_H

#include "http/headers.h"

/* Query fields of one request (the limit on form fields is httputil's). */
#define FL_REQUEST_QUERY_FIELDS 1000

typedef struct {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    FlHeadBlock *block; /* owned; NULL when a program made the request */
    PyObject *dict;     /* owned, nullable: attributes of the program's own */
    PyObject *weakrefs;
    /* each owned, NULL until asked for */
    PyObject *method, *uri, *version, *path, *query;
    PyObject *headers;
    PyObject *body; /* NULL reads as b"" */
    PyObject *host, *host_name, *remote_ip, *protocol;
    PyObject *arguments, *query_arguments, *body_arguments, *files;
    PyObject *cookies;
    PyObject *connection;        /* owned, nullable */
    PyObject *server_connection; /* owned, nullable */
    PyObject *start_time; /* owned, nullable: `_start_time` as a program set it */
    uint64_t started;     /* monotonic ns */
    uint64_t finished;    /* 0: not yet */
    bool form_read;       /* this body was parsed: its fields are in the dicts */
} FlHTTPServerRequest;

/* New request of a parsed head; NULL with HTTPInputError for too many query fields.
 * connection may be NULL. */
PyObject *FlHTTPServerRequest_FromBlock(FlState *st, FlHeadBlock *block,
                                        PyObject *connection,
                                        PyObject *server_connection, uint64_t now);

bool FlHTTPServerRequest_Check(FlState *st, PyObject *object);

/* The first field with this id, from the map when one was made, else from the block;
 * false when there is none (or it is not latin-1). */
bool FlHTTPServerRequest_Field(FlHTTPServerRequest *self, uint8_t id, fl_span *out);

/* New references. */
PyObject *FlHTTPServerRequest_Headers(FlHTTPServerRequest *self);
PyObject *FlHTTPServerRequest_HostName(FlHTTPServerRequest *self);

/* Whether there is a body that may be a form and was not looked at. */
bool FlHTTPServerRequest_HasForm(FlHTTPServerRequest *self);

/* Takes remote_ip and protocol from the context as it is now. 0 or -1. escapes */
int FlHTTPServerRequest_TakePeer(FlHTTPServerRequest *self);

int FlHTTPServerRequest_AddType(PyObject *module, FlState *st);

#endif
