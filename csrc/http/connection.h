/* connection.h -- HTTP/1 on one stream: the server's side of a connection, and one exchange of either side.
 *
 *   FlHTTP1ServerConnection   lives as long as the stream. It is the channel's consumer between requests, owns stream,
 *                             parameters, context and delegate, and holds the one deadline.
 *   FlHTTP1Connection         one request and its answer (or, as client, the other way round). Programs know it as
 *                             `request.connection`. When the exchange is over and nobody else holds it, it is wiped and
 *                             serves the next one; when somebody kept it, it is cut off from the stream and a new one is
 *                             made: a late write never lands in another request's answer.
 *
 * Reading, one exchange                            Writing
 *
 *   HEAD ──► (100?) ──► BODY_LENGTH ─┐              none ──► head ──► body ──► finished
 *     │                 BODY_CHUNKED ┼──► DONE                (Content-Length counted down, or chunked, or until close)
 *     │                 BODY_CLOSE ──┘     │
 *     └──► error answer ──► LINGER ──► closed └── both done: keep-alive? next HEAD : close
 *
 * While an answer is being made the next request's bytes stay in the channel's tail (at most one head's worth, then
 * reading rests); the peer's FIN is seen all the same and told at once. Answers to requests that arrived in
 * one read are corked into one send.
 *
 * A request goes, once its head is whole, to `st->http_target` (web/, when it wants it) and otherwise to the Python
 * delegates: start_request, headers_received, data_received…, then exactly one of finish and on_connection_close; what
 * headers_received and data_received return is awaited before more is read.
 *
 * Deadlines: one timer node a connection, armed lazily. `deadline` moves with every phase by a store; the node is
 * touched only when the new deadline is earlier than what is armed, or when it fires and finds the deadline
 * further away. A request on a busy connection thus never touches the heap.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#ifndef FL_HTTP_CONNECTION_H
#define FL_HTTP_CONNECTION_H

#include "http/request.h"

#include "net/channel.h"

/* The numbers of a server or a client, shared by its connections and read live. Negative: not set. */
typedef struct {
    PyObject_HEAD
    bool no_keep_alive;
    bool decompress;
    int64_t chunk_size;        /* bytes handed to data_received at most */
    int64_t max_header_size;   /* 64 KiB */
    int64_t max_body_size;     /* of one message; not set: the stream's max_buffer_size */
    double header_timeout;     /* seconds for a whole head */
    double body_timeout;       /* seconds for a whole body */
    double idle_timeout;       /* seconds between requests */
    double first_byte_timeout; /* seconds of silence on a new connection */
    double body_gap_timeout;   /* seconds between two reads of a body */
    double write_timeout;      /* seconds without progress of an answer */
    double half_closed_timeout; /* seconds an answer may still take after the peer's FIN */
    int64_t min_body_rate;     /* bytes a second after min_rate_grace seconds */
    double min_rate_grace;
} FlHTTP1Parameters;

typedef enum {
    FL_HTTP1_IDLE,         /* nothing of the next message has come */
    FL_HTTP1_HEAD,         /* part of a head has */
    FL_HTTP1_AWAIT_HEADERS, /* headers_received is being awaited */
    FL_HTTP1_BODY_LENGTH,
    FL_HTTP1_BODY_CHUNKED,
    FL_HTTP1_BODY_CLOSE, /* client: until the peer closes */
    FL_HTTP1_AWAIT_DATA, /* data_received is being awaited */
    FL_HTTP1_DONE,       /* the message was read whole */
    FL_HTTP1_DEAD,       /* cut off: detached, closed, or the exchange is over */
} FlHTTP1ReadPhase;

struct FlHTTP1ServerConnection;

typedef struct FlHTTP1Connection FlHTTP1Connection;
typedef struct FlHTTP1ServerConnection FlHTTP1ServerConnection;

/* How web/ takes a request before the Python delegates are asked. Hung on the state, so that http/ needs not know web/. */
typedef struct {
    /* The head is whole. 1: taken, `body` follows once it is read; 0: not mine; -1: exception. escapes */
    int (*head)(FlHTTP1Connection *conn);
    /* Everything of the request is read. 0, or -1 with an exception that ends the connection. escapes */
    int (*whole)(FlHTTP1Connection *conn);
    /* The peer left while the answer was being made. escapes */
    void (*gone)(FlHTTP1Connection *conn);
} FlHTTP1Target;

/* One answer as one block: status line, Date and Server as given by the map, the map's lines, a body of chunks. Adds
 * Transfer-Encoding and Connection where they are due. 0, or -1 with an exception (nothing was written). escapes */
int
FlHTTP1_Respond(FlHTTP1Connection *conn, int status, PyObject *reason, FlHTTPHeaders *headers,
                PyObject *const *chunks, Py_ssize_t count);

int
FlHTTP1_AddTypes(PyObject *module, FlState *st);

#endif
