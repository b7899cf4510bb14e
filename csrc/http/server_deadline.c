/* server_deadline.c -- the one deadline of a server's connection.
 *
 * What is waited for (a head, a body, the peer's reading) names its kind and its
 * seconds; the timer is armed lazily. A later deadline is one store, and the timer, when
 * it fires too early, is armed again for what is left. While a body is counted the timer
 * fires now and then before its deadline, to look at the rate.
 *
 *   SILENT, CLOSE --> close      WRITE --> close, unless some bytes left meanwhile
 *   HEAD, BODY    --> 408, see server_refuse.c
 *
 * At most one deadline stands at a time, and none once the connection serves no more.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#include "http/server_parts.h"

#define RATE_LOOK_LEAST 0.01         /* s between two looks at a body's rate */
#define FOR_EVER ((uint64_t)1 << 61) /* ns */

/* Whether the rate at which a body comes is looked at now and then. */
static bool
rate_counts(const FlHTTP1ServerConnection *server)
{
    return server->deadline_kind == FL_DEADLINE_BODY && server->conn != NULL &&
           server->conn->collects && server->params->min_body_rate > 0;
}

/* Has the timer fire by the deadline, or before it to look at the rate. 0 or -1. */
static int
arm(FlHTTP1ServerConnection *server, uint64_t now)
{
    uint64_t when = server->deadline;

    if (rate_counts(server)) {
        double look = server->params->rate_grace;

        if (look < RATE_LOOK_LEAST)
            look = RATE_LOOK_LEAST;
        if (look < 1e9 && now + (uint64_t)(look * 1e9) < when)
            when = now + (uint64_t)(look * 1e9);
    }
    if (FlLoop_Armed(&server->timer) && server->armed_at <= when)
        return 0;
    server->armed_at = when;
    return FlLoop_Arm(server->loop, &server->timer, when);
}

void
FlHTTP1Server_Deadline(FlHTTP1ServerConnection *server, uint8_t kind, double seconds)
{
    uint64_t now = FlLoop_Now(server->loop);
    FlHTTP1Connection *conn = server->conn;

    if (server->lingering && kind != FL_DEADLINE_CLOSE)
        return;
    server->deadline_kind = kind;
    if (kind == FL_DEADLINE_BODY && conn != NULL) {
        double whole = conn->body_timeout == conn->body_timeout
                           ? conn->body_timeout
                           : server->params->body_timeout;
        double spent = (double)(now - conn->body_since) / 1e9;

        if (whole >= 0 && (seconds < 0 || whole - spent < seconds))
            seconds = whole > spent ? whole - spent : 0;
    }
    if (kind == FL_DEADLINE_NONE ||
        ((seconds < 0 || seconds > 1e9) && !rate_counts(server))) {
        server->deadline_kind = FL_DEADLINE_NONE;
        return;
    }
    server->deadline =
        seconds < 0 || seconds > 1e9 ? now + FOR_EVER : now + (uint64_t)(seconds * 1e9);
    if (arm(server, now) < 0)
        FlHTTP_LogUncaught(server->loop);
}

void
FlHTTP1Server_AllSent(FlHTTP1ServerConnection *server)
{
    if (server->deadline_kind != FL_DEADLINE_WRITE)
        return;
    if (server->conn == NULL)
        FlHTTP1Server_Deadline(server, FL_DEADLINE_SILENT,
                               server->params->idle_timeout);
    else
        server->deadline_kind = FL_DEADLINE_NONE; /* it is the handler's turn */
}

int
FlHTTP1Server_TimerFired(FlLoop *loop, fl_loop_timer *timer)
{
    FlHTTP1ServerConnection *server =
        (FlHTTP1ServerConnection *)((char *)timer -
                                    offsetof(FlHTTP1ServerConnection, timer));
    FlHTTP1Connection *conn = server->conn;
    uint8_t kind = server->deadline_kind;
    uint64_t now = FlLoop_Now(loop);

    if (kind == FL_DEADLINE_NONE || !FlHTTP1Server_IsOpen(server))
        return 0;
    if (rate_counts(server)) {
        double spent = (double)(now - conn->body_since) / 1e9;

        if (spent > server->params->rate_grace &&
            (double)conn->received < spent * (double)server->params->min_body_rate)
            server->deadline = now;
    }
    if (now < server->deadline)
        return arm(server, now);
    if (server->lingering && FlHTTP1Server_StillReading(server, now)) {
        FlHTTP1Server_LingerOn(server);
        return 0;
    }
    if (kind == FL_DEADLINE_WRITE && server->sent != server->channel->total_sent) {
        server->sent = server->channel->total_sent;
        FlHTTP1Server_Deadline(server, kind, server->params->write_timeout);
        return 0;
    }
    Py_INCREF(server);
    if (kind == FL_DEADLINE_HEAD)
        FlHTTP1Server_Refuse(server, 408, "no whole head in time");
    else if (kind == FL_DEADLINE_BODY)
        FlHTTP1Server_Refuse(server, 408, "Timeout reading body");
    else
        FlHTTP1Server_CloseNow(server);
    Py_DECREF(server);
    return 0;
}
