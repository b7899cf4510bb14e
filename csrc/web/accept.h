/* accept.h -- HTTPServer's connections, from accept to on_close, without Python.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_ACCEPT_H
#define FL_WEB_ACCEPT_H

#include "http/connection.h"

/* FlHTTP1Target.closed: whether the server forgot the connection, as its on_close would
 * have done. */
int FlWeb_ConnectionClosed(FlHTTP1ServerConnection *connection, PyObject *server);

/* Notes what HTTPServer was born with. 0 or -1. */
int FlWeb_RememberServer(FlState *st, PyObject *type);

int FlAccept_AddType(PyObject *module, FlState *st);

#endif
