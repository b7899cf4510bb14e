/* execute_parts.h -- what the files share that take a request through an Application.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_EXECUTE_PARTS_H
#define FL_WEB_EXECUTE_PARTS_H

#include "web/handler.h"

/* ---- originals.c ---- */

/* The hooks of Application and of its routers as they were born, made when first asked
 * for; borrowed, or NULL with an exception. */
FlHooks *FlWeb_ApplicationHooks(FlState *st);
FlHooks *FlWeb_RouterHooks(FlState *st);

/* Whether routing, delegates and requests are what they were born as. Leaves no
 * exception. escapes where something has changed */
bool FlWeb_OthersOriginal(FlState *st);

/* Functions of the module. */
PyObject *FlWeb_set_web(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *FlWeb_set_web_server(PyObject *module, PyObject *type);

/* ---- execute_handler.c ---- */

/* Everything from the whole request to its answer, inside the task. 0, or -1: an
 * exception that the caller's loop is told. escapes */
int FlExecute_Handler(FlHTTP1Connection *conn, PyObject *application, PyObject *request,
                      PyObject *task);

/* Calls application.py's _run with the request's parts, of which the last three are
 * nullable: 0 or -1. escapes */
int FlExecute_InPython(FlState *st, PyObject *first, PyObject *second, PyObject *third,
                       PyObject *keywords, PyObject *groups);

#endif
