/* listener.h -- a listening socket in the loop.
 *
 * Accepts up to FL_ACCEPT_BATCH connections an event, so that a flood of connects
 * leaves the others their turn, and watches with EPOLLEXCLUSIVE, so that one process
 * of several wakes. Where the process has no descriptor left (EMFILE, ENFILE,
 * ENOBUFS, ENOMEM) it logs one line, leaves epoll and rests until a channel of this
 * loop closes or a quarter of a second went by; it says nothing more until an accept
 * has succeeded again.
 *
 * Python: `_core.Listener(socket, handler)` calls handler(fd, address) with a
 * descriptor that handler owns and the address as socket.accept() would give it. An
 * exception of a handler is logged and the listener goes on.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_LISTENER_H
#define FL_NET_LISTENER_H

#include <Python.h>

#include "core/loop.h"
#include "core/state.h"
#include "sys/sockets.h"

enum { FL_ACCEPT_BATCH = 64 };

typedef struct FlListener FlListener;

/* A connection came. Takes over fd, always. escapes. 0, or -1 with an exception,
 * which the listener logs. `self` is what FlListener_New was given; it may stop the
 * listener. */
typedef int (*fl_accept_fn)(FlListener *listener, PyObject *self, int fd,
                            const fl_address *peer);

/* Starts accepting on `socket` (an object with fileno(); kept, not closed). self is
 * kept until the stop. New reference or NULL. */
PyObject *FlListener_New(FlState *st, FlLoop *loop, PyObject *socket,
                         fl_accept_fn accept, PyObject *self);

/* Leaves the loop; twice is harmless. */
void FlListener_Stop(FlListener *listener);

FlLoop * /* borrowed */
FlListener_Loop(FlListener *listener);

/* The address as Python's socket module gives it: (host, port), (host, port, flow,
 * scope), str or bytes. New. */
PyObject *FlAddress_ToPython(const fl_address *address);

/* A descriptor became free: wakes the listeners of this loop that rest. */
void FlListener_DescriptorFreed(FlLoop *loop);

#endif
