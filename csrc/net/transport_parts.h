/* transport_parts.h -- what the files of a transport's life share with no one else.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_TRANSPORT_PARTS_H
#define FL_NET_TRANSPORT_PARTS_H

#include "net/transport.h"

/* ---- transport_protocol.c ---- */

/* protocol.<name>(arg), arg NULL: without one. New reference or NULL. escapes */
PyObject *FlTransport_CallByName(FlTransport *tr, PyObject *name, PyObject *arg);

/* ---- transport_read.c: FlChannelOps of what is received. escapes, all ---- */

Py_ssize_t FlTransport_OnData(FlChannel *ch, const char *p, size_t n);
char *FlTransport_OnBuffer(FlChannel *ch, size_t *n);
int FlTransport_OnFilled(FlChannel *ch, size_t n);
int FlTransport_OnEof(FlChannel *ch);

#endif
