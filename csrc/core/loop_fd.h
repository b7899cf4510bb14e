/* loop_fd.h -- descriptors whose handlers are Python's.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_LOOP_FD_H
#define FL_CORE_LOOP_FD_H

#include "core/handle.h"

/* One registered descriptor: either a handler of IOLoop.add_handler, or reader and
 * writer of asyncio. The loop owns it while it is registered. */
typedef struct FlWatch {
    PyObject_HEAD
    fl_watch watch;
    FlLoop *loop;      /* owned */
    FlHandle *reader;  /* owned, or NULL */
    FlHandle *writer;  /* owned, or NULL */
    PyObject *file;    /* owned; what add_handler was given, else NULL */
    PyObject *handler; /* owned; of add_handler */
    PyObject *context; /* owned; of add_handler */
} FlWatch;

/* IOLoop.add_handler: handler(file, events) whenever one of events (EPOLL*) comes. 0 or
 * -1.
 */
int FlWatch_AddHandler(FlLoop *loop, int fd, PyObject *file, PyObject *handler,
                       uint32_t events);

/* 0 or -1: ValueError when the descriptor has no handler. */
int FlWatch_UpdateHandler(FlLoop *loop, int fd, uint32_t events);

/* Forgets the handler of a descriptor: what add_handler was given as file (new
 * reference), or NULL without an exception when there was none. */
PyObject *FlWatch_RemoveHandler(FlLoop *loop, int fd);

/* {fd: (file, handler)} of every handler; new reference. */
PyObject *FlWatch_Handlers(FlLoop *loop);

/* The descriptor of an int or of an object with fileno(); -1 with an exception. */
int FlWatch_Descriptor(PyObject *file); /* escapes */

#endif
