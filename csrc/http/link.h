/* link.h -- a stream that somebody else reads, and the body that its bytes make up.
 *
 * What the client's connection and a WebSocket share: both borrow a stream as its
 * channel's consumer, put together bodies whose length a peer has promised (link.c says
 * what a promise is worth) and let the channel receive into that memory.
 *
 * Invariant: `channel` is NULL from the moment on that the stream is given back; the
 * lent memory is kept by a reference of its own, whatever happens to the body.
 *
 * Layer: http. Threads: the loop's.
 */
#ifndef FL_HTTP_LINK_H
#define FL_HTTP_LINK_H

#include "core/state.h"

#include "net/channel.h"
#include "net/iostream.h"

typedef struct {
    PyObject *stream;   /* owned; NULL before FlLink_Open and after FlLink_Release */
    FlChannel *channel; /* borrowed from stream; NULL once it was given back */
    PyObject *body;     /* owned bytes, NULL: none yet; `used` of it are filled */
    PyObject *lent;     /* owned: the body whose memory the channel receives into */
    Py_ssize_t used;
} FlLink;

/* Becomes the consumer of `stream`. 0, or -1: TypeError for what is no stream,
 * RuntimeError while it is read by somebody else. */
int FlLink_Open(FlLink *link, FlState *st, PyObject *stream, const FlChannelOps *ops,
                void *self);

/* Gives the stream back to its own reads; it stays known as `stream`. escapes */
void FlLink_GiveBack(FlLink *link);

/* The same, and forgets it; new reference to the stream, or NULL. escapes */
PyObject *FlLink_Release(FlLink *link);

/* Adds n bytes to a body of which `limit` bytes may come in all. 0 or -1 with
 * MemoryError. */
int FlLink_Add(FlLink *link, const char *p, size_t n, uint64_t limit);

/* The body as bytes of its exact size, and none is left; NULL with MemoryError. */
PyObject *FlLink_TakeBody(FlLink *link);

/* Memory of the body, once it has begun, for at most `most` (> 0) bytes to come; NULL,
 * perhaps with MemoryError. */
char *FlLink_Lend(FlLink *link, size_t *n, uint64_t most);

/* n bytes came into lent memory. Where they stand in the body, which has grown by them,
 * or NULL when the body is another by now. */
char *FlLink_Returned(FlLink *link, size_t n);

/* What keeps the memory lent where it is: new reference, or NULL without an exception. */
PyObject *FlLink_Keeper(FlLink *link);

/* No body any more. */
void FlLink_Forget(FlLink *link);

/* Tells of the current exception, which has nowhere to go. */
void FlLink_Report(FlState *st, PyObject *about, const char *what);

#endif
