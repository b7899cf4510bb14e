/* access_log.h -- lines about finished requests, written by C.
 *
 * The logging module costs several microseconds a line. This writer puts a line
 * together in a buffer of its own and writes the buffer once a turn of the loop. It is
 * a callable for Application's setting `log_function`; an unchanged handler's finish
 * calls it without Python in between.
 *
 * Nothing that a peer sent reaches the file unescaped: bytes outside of printable ASCII,
 * quotes and backslashes are written as \xHH (JSON: \u00HH), so no request can forge a
 * line or move a terminal's cursor.
 *
 * Layer: web. Threads: none; under the GIL.
 */
#ifndef FL_WEB_ACCESS_LOG_H
#define FL_WEB_ACCESS_LOG_H

#include "web/handler.h"

/* Whether it is one whose call nobody has replaced. */
bool FlAccessLog_Check(FlState *st, PyObject *object);

/* Adds the line of a finished request; 0 or -1. escapes */
int FlAccessLog_Add(PyObject *log, FlRequestHandler *handler);

int FlAccessLog_AddType(PyObject *module, FlState *st);

#endif
