/* server_parts.h -- what the files of HTTP1ServerConnection share with no one else.
 *
 *   server_connection.c  serving: one exchange after the other, from start to end
 *   server_deadline.c    the one deadline
 *   server_refuse.c      refusals, lingering, close
 *   server_type.c        the type, as Python sees it
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#ifndef FL_HTTP_SERVER_PARTS_H
#define FL_HTTP_SERVER_PARTS_H

#include "http/connection.h"

static inline FlHTTP1ServerConnection *
FlHTTP1Server_Cast(PyObject *self)
{
    return (FlHTTP1ServerConnection *)self;
}

static inline bool
FlHTTP1Server_IsOpen(const FlHTTP1ServerConnection *server)
{
    return server->channel != NULL && !FlChannel_Closed(server->channel);
}

/* ---- server_connection.c ---- */

/* What a served connection is for its channel: `self` is the server. */
extern const FlChannelOps FlHTTP1Server_Ops;

/* ---- server_deadline.c ---- */

/* The timer's function; 0 always. escapes */
int FlHTTP1Server_TimerFired(FlLoop *loop, fl_loop_timer *timer);

/* ---- server_refuse.c ---- */

/* Closes the channel where it is open. escapes */
void FlHTTP1Server_CloseNow(FlHTTP1ServerConnection *server);

/* Reads on and drops, so that a peer that is still sending sees the answer. escapes */
void FlHTTP1Server_Linger(FlHTTP1ServerConnection *server);

/* A time for the peer to end its side; looked at again while there is an answer to
 * read. */
void FlHTTP1Server_LingerOn(FlHTTP1ServerConnection *server);

/* Whether a part of the answer is still on its way to a peer that reads. */
bool FlHTTP1Server_StillReading(const FlHTTP1ServerConnection *server, uint64_t now);

/* The reason phrase of a status that refuses; static. */
const char *FlHTTP1Server_StatusPhrase(int status);

#endif
