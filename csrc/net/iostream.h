/* iostream.h -- the IOStream family as other C files meet it.
 *
 * An IOStream is a channel, at most one read that is pending on it, and the futures
 * of the writes that are under way. It is its channel's owner always, and its
 * consumer until somebody borrows it (an HTTP connection): then the stream's own
 * reads are refused, its writes, close and close callback work on.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_IOSTREAM_H
#define FL_NET_IOSTREAM_H

#include <Python.h>
#include <stdbool.h>

#include "core/state.h"
#include "net/channel.h"

/* The channel of any stream of the family (plain, pipe, TLS, a Python subclass with
 * its own read_from_fd: the channel's io hides which), or NULL without an exception
 * when `stream` is none of ours or was not initialised. Borrowed from the stream. */
FlChannel *FlIOStream_Channel(FlState *st, PyObject *stream);

/* A new IOStream (of pyfastloop.iostream.IOStream) on an accepted, non-blocking
 * descriptor, which it takes over, on failure too. No Python socket object is made
 * until `.socket` is asked for. New reference or NULL. */
PyObject *FlIOStream_FromFd(FlState *st, FlLoop *loop, int fd,
                            Py_ssize_t max_buffer_size, Py_ssize_t read_chunk_size);

/* Becomes the stream's consumer: its bytes go to ops. Fails with RuntimeError while
 * a read is pending. 0 or -1. The tail is not offered before FlChannel_Resume. */
int FlIOStream_Borrow(PyObject *stream, const FlChannelOps *ops, void *self);

/* Gives the stream back to its own reads, the rest of the bytes with it (see
 * FlChannel_Took). 0 or -1. */
int FlIOStream_GiveBack(PyObject *stream);

/* What write() does with bytes: sends or queues them and gives the future. NULL with
 * StreamClosedError or MemoryError. escapes */
PyObject *FlIOStream_WriteBytes(PyObject *stream, PyObject *bytes);

/* The futures of writes that the close cuts off fail with this class (borrowed; it takes
 * a message) instead of StreamClosedError. */
void FlIOStream_SetClosedError(PyObject *stream, PyObject *type);

/* For a stream that will be idle for long: frees what it has room for. */
void FlIOStream_Trim(PyObject *stream);

/* The stream's close callback stays its own while it is borrowed; max_buffer_size as
 * given. */
Py_ssize_t FlIOStream_MaxBuffer(PyObject *stream);

#endif
