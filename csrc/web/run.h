/* run.h -- RequestHandler._execute in C; see run.c for its stages.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_RUN_H
#define FL_WEB_RUN_H

#include "web/handler.h"

/* Runs a handler, inside its task, as far as it goes without waiting; what fails is
 * answered. groups: of the path, a tuple, a dict or NULL. 0: *run (new reference) is
 * what the task has to step from now on, or NULL where the request is over. -1: an
 * exception that the task ends with. escapes */
int FlRun_Begin(FlRequestHandler *handler, PyObject *groups, PyObject **run);

/* Whether C may run the handler's whole sequence: nothing it consists of was replaced,
 * and the method is one that it has. */
bool FlRun_Possible(FlRequestHandler *handler);

/* The whole of it as an awaitable; new reference or NULL. */
PyObject *FlRun_New(FlRequestHandler *handler, PyObject *groups);

int FlRun_AddType(PyObject *module, FlState *st);

#endif
