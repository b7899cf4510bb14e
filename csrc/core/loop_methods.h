/* loop_methods.h -- what the files of the loop share with each other and with no one
 * else: the Python methods of Loop and the seams of the guest.
 *
 * Layer: core. Threads: the loop's own, unless said otherwise.
 */
#ifndef FL_CORE_LOOP_METHODS_H
#define FL_CORE_LOOP_METHODS_H

#include "core/loop.h"

/* A line of a method table for a function that takes its arguments as they come. */
#define FL_FAST(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, doc}

/* loop_call.c */
PyObject *FlLoop_call_soon(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kw);
PyObject *FlLoop_call_soon_threadsafe(PyObject *self, PyObject *const *args,
                                      Py_ssize_t nargs, PyObject *kw);
PyObject *FlLoop_call_later(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kw);
PyObject *FlLoop_call_at(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kw);
PyObject *FlLoop_time(PyObject *self, PyObject *ignored);
PyObject *FlLoop_create_future(PyObject *self, PyObject *ignored);

/* loop_task.c */
PyObject *FlLoop_create_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kw);

/* loop_run.c */
PyObject *FlLoop_run(PyObject *self, PyObject *ignored);
PyObject *FlLoop_stop(PyObject *self, PyObject *ignored);

PyObject *FlLoop_open_signals(PyObject *self, PyObject *ignored);

/* loop_fd.c */
PyObject *FlLoop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *FlLoop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *FlLoop_remove_reader(PyObject *self, PyObject *fd);
PyObject *FlLoop_remove_writer(PyObject *self, PyObject *fd);

/* loop_guest.c: something is on the ring, in the heap, in epoll: see that the host
 * looks. 0 or -1. */
int FlLoop_GuestPump(FlLoop *loop);
int FlLoop_GuestTimer(FlLoop *loop);
int FlLoop_GuestWatch(FlLoop *loop);
/* The host does not look any more, until FlLoop_GuestWatch. */
void FlLoop_GuestUnwatch(FlLoop *loop);
/* The guest is being closed: nothing of it stays with the host. */
void FlLoop_GuestDetach(FlLoop *loop);

/* RuntimeError when the loop is closed, or when this process is a fork of the one that
 * made it: 0 or -1. */
int FlLoop_CheckOpen(FlLoop *loop);

/* In debug mode: RuntimeError when the loop runs in another thread. 0 or -1. */
int FlLoop_CheckThread(FlLoop *loop);

/* Room for n more entries on the ring; 0, or -1 with MemoryError. */
int FlLoop_ReserveRing(FlLoop *loop, size_t n);

/* An event came that no watch knows; epoll is made anew where it would come for ever. 0
 * or -1. */
int FlLoop_Stray(FlLoop *loop, const struct epoll_event *event);

/* Frees a buffer and ends its view. */
void FlLoop_FreeBuffer(FlLoop *loop, char *buffer);

/* loop_inbox.c */
void FlLoop_InitInbox(FlLoop *loop);
/* Marks the loop as closed: nobody pushes or waits any more. */
void FlLoop_CloseInbox(FlLoop *loop);
void FlLoop_ClearInbox(FlLoop *loop); /* escapes */
void FlLoop_FreeInbox(FlLoop *loop);

/* Empties the inbox onto the ring; 0, or -1 with what was there still there. */
int FlLoop_TakeInbox(FlLoop *loop);

/* True when the inbox is empty; then whoever fills it rings the wake-up: nothing may
 * block between this and epoll. */
bool FlLoop_SleepIfEmpty(FlLoop *loop);

/* After a push: where the inbox is full the loop's thread gets the interpreter. */
void FlLoop_HandOver(FlLoop *loop); /* escapes */

#endif
