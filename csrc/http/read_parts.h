/* read_parts.h -- what the files of an exchange's receiving side share with no one else.
 *
 *   read.c       the steps, one after the other; going on after user code
 *   read_head.c  the head, who hears of it, what it says comes next
 *   read_body.c  bodies
 *   read_end.c   how reading a message ends
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#ifndef FL_HTTP_READ_PARTS_H
#define FL_HTTP_READ_PARTS_H

#include "http/connection.h"

/* Tells the channel that the step has got k bytes far, before user code runs. */
static inline void
FlHTTP1_Took(FlHTTP1Connection *conn, size_t k)
{
    if (conn->in_data && conn->channel != NULL)
        FlChannel_Took(conn->channel, conn->base + k);
}

/* The server's deadline; a client has none here. */
static inline void
FlHTTP1_SetDeadline(FlHTTP1Connection *conn, uint8_t kind, double seconds)
{
    if (conn->server != NULL)
        FlHTTP1Server_Deadline(conn->server, kind, seconds);
}

/* Nothing is awaited of the peer. */
static inline void
FlHTTP1_NoDeadline(FlHTTP1Connection *conn)
{
    if (conn->server != NULL && !conn->server->lingering)
        conn->server->deadline_kind = FL_DEADLINE_NONE;
}

/* Some of a body came, or may come: the next of it is waited for. */
static inline void
FlHTTP1_BodyProgress(FlHTTP1Connection *conn)
{
    FlHTTP1_SetDeadline(conn, FL_DEADLINE_BODY, conn->params->body_gap_timeout);
}

/* ---- read.c ---- */

/* Takes the result of what was awaited: 0, or -1 with its exception. */
int FlHTTP1_TakeWaited(FlHTTP1Connection *conn);

/* The tail once more: what was waited for is over. 0 or -1 (fatal). escapes */
int FlHTTP1_GoOn(FlHTTP1Connection *conn);

/* ---- read_head.c, read_body.c ---- */

/* The steps: n bytes at p, `at` of this feed before them. They give what they took, or
 * -1 (fatal). All escape. */
Py_ssize_t FlHTTP1_FeedHead(FlHTTP1Connection *conn, const char *p, size_t n,
                            size_t at);
Py_ssize_t FlHTTP1_FeedLength(FlHTTP1Connection *conn, const char *p, size_t n,
                              size_t at);
Py_ssize_t FlHTTP1_FeedChunked(FlHTTP1Connection *conn, const char *p, size_t n,
                               size_t at);
Py_ssize_t FlHTTP1_FeedUntilClose(FlHTTP1Connection *conn, const char *p, size_t n,
                                  size_t at);

/* Bytes that a body may have. */
int64_t FlHTTP1_BodyLimit(FlHTTP1Connection *conn);

/* A chunked body follows: 0 or -1 (fatal). escapes */
int FlHTTP1_BeginChunked(FlHTTP1Connection *conn);

/* ---- read_end.c ---- */

/* The message was read whole: 0 or -1 (fatal). escapes */
int FlHTTP1_MessageDone(FlHTTP1Connection *conn);

/* Ends the exchange at once: stream closed, everybody told. escapes */
void FlHTTP1_Abandon(FlHTTP1Connection *conn);

/* A message that is none: the status goes out when a server has not answered yet.
 * escapes */
void FlHTTP1_Refuse(FlHTTP1Connection *conn, int status, const char *why);

/* User code has failed: the current exception decides. 0, or -1 when it is fatal.
 * escapes */
int FlHTTP1_UserFailed(FlHTTP1Connection *conn);

#endif
