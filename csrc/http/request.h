/* request.h -- one HTTP request: a head block and what became of it.
 *
 * On arrival a request is one copied head block and a handful of numbers. `method`, `uri`, `path`, `query`, `headers`,
 * `arguments`, `cookies`, `body` and the rest become Python objects when somebody asks, and stay what they were
 * then; assigning to one replaces it. What must be refused early (Host, the number of query fields) is checked
 * before a handler exists: lazy never means late.
 *
 *      head block ──► method uri version headers        (made on demand, each once)
 *      connection ──► remote_ip protocol host            (of the connection's context)
 *      body       ──► body_arguments files               (parsed when asked; errors stay HTTPInputError)
 *
 * The request owns its connection; the connection never owns the request: no cycle.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#ifndef FL_HTTP_REQUEST_H
#define FL_HTTP_REQUEST_H

#include "http/headers.h"

struct FlHTTP1Connection;

typedef struct {
    PyObject_HEAD
    FlState *st; /* borrowed */
    FlHeadBlock *block; /* owned; NULL when a program made the request */
    PyObject *dict;     /* owned, nullable: attributes of the program's own */
    PyObject *weakrefs;
    /* each owned, NULL until asked for */
    PyObject *method, *uri, *version, *path, *query;
    PyObject *headers;
    PyObject *body; /* bytes; NULL reads as b"" */
    PyObject *host, *host_name, *remote_ip, *protocol;
    PyObject *arguments, *query_arguments, *body_arguments, *files;
    PyObject *cookies;
    PyObject *connection;        /* owned, nullable */
    PyObject *server_connection; /* owned, nullable */
    uint64_t started;            /* monotonic ns */
    uint64_t finished;           /* 0: not yet */
    double start_time;           /* seconds since the epoch, 0: derive it from `started` */
    bool body_parsed;            /* body_arguments and files hold what the body said */
} FlHTTPServerRequest;

/* New request of a parsed head. Checks Host and the number of query fields: NULL with HTTPInputError. */
PyObject *
FlHTTPServerRequest_FromBlock(FlState *st, FlHeadBlock *block, PyObject *connection,
                              PyObject *server_connection, uint64_t now);

int
FlHTTPServerRequest_Check(FlState *st, PyObject *object);

/* The first field of this name (lower case), from the map when one was made, else from the block. */
bool
FlHTTPServerRequest_Field(FlHTTPServerRequest *self, const char *name, size_t length,
                          const char **p, size_t *n);

/* New references. */
PyObject *
FlHTTPServerRequest_Headers(FlHTTPServerRequest *self);
PyObject *
FlHTTPServerRequest_Arguments(FlHTTPServerRequest *self); /* escapes */

extern PyType_Spec FlHTTPServerRequest_spec;
int
FlHTTPServerRequest_AddType(PyObject *module, FlState *st);

#endif
