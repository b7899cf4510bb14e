/* arguments.h -- RequestHandler's arguments and cookies, beside its other methods.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_ARGUMENTS_H
#define FL_WEB_ARGUMENTS_H

#include "web/handler.h"

/* decode_argument(raw, name=name), name nullable; new reference or NULL. escapes where
 * it is not the original */
PyObject *FlRequestHandler_Decode(FlRequestHandler *self, PyObject *raw,
                                  PyObject *name);

/* Puts get_argument and its kin on RequestHandlerBase; 0 or -1. */
int FlRequestHandler_AddArguments(FlState *st);

#endif
