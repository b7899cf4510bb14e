/* connection.h -- HTTP/1 on one stream: a server's connection, and one exchange of either
 * side.
 *
 *   FlHTTP1ServerConnection  lives as long as its stream. It is the channel's consumer,
 *                            owns stream, parameters, context and delegate, and holds
 *                            the one deadline.
 *   FlHTTP1Connection        one request and its answer (for a client the other way
 *                            round); programs know it as `request.connection`. A server
 *                            makes it (of a free list) for the first byte of a request
 *                            and lets it go with the last of the answer, so an idle
 *                            connection has none; who kept it holds one that is cut off
 *                            from the stream: a late write never lands in another
 *                            request's answer.
 *
 * Reading                                         Writing
 *
 *   IDLE -> HEAD -> WAIT_HEADERS -> body ...         none -> head -> body -> finished
 *   body: LENGTH, CHUNKED or UNTIL_CLOSE,            body: counted against
 *         each with WAIT_DATA in between             Content-Length, or chunked, or
 *   ... -> DONE                                      until close
 *
 *   both done: the next IDLE, or close.  An error: one answer, then LINGER until the
 *   peer has read it.
 *
 * While an answer is being made, the next request's bytes stay in the channel's tail (no
 * more than a head's worth, then reading rests); the peer's FIN is seen all the same.
 * Answers to requests that came in one read leave in one send.
 *
 * Who hears of a request: first `target` of the state (web/), when it wants it, else the
 * Python delegates: start_request, headers_received, data_received ..., then exactly one
 * of finish and on_connection_close. What headers_received and data_received return is
 * awaited before more is read.
 *
 * Deadlines: one timer a connection, armed lazily. A new deadline is one store; the heap
 * is touched only when it is earlier than what is armed, or when the timer fires and
 * finds that the deadline has moved on. A busy connection never touches the heap.
 *
 * Layer: http. Threads: none; owned by one loop.
 */
#ifndef FL_HTTP_CONNECTION_H
#define FL_HTTP_CONNECTION_H

#include "http/request.h"

#include <netinet/in.h>

#include "base/buf.h"
#include "net/channel.h"
#include "proto/chunked.h"
#include "sys/sockets.h"

/* The numbers of a server or client; its connections read them live. Negative: none. */
typedef struct {
    PyObject_HEAD
    bool no_keep_alive;
    bool decompress;
    int64_t chunk_size;       /* bytes handed to data_received at most */
    int64_t max_header_size;  /* of a head */
    int64_t max_body_size;    /* of one message; none: the stream's max_buffer_size */
    int64_t max_header_lines; /* of a head; none: 256, more where max_header_size is */
    int64_t max_chunk_line;   /* bytes of a chunk's size line */
    int64_t max_chunk_overhead; /* bytes of framing beyond what plain chunks need */
    int64_t max_trailer_size;   /* bytes */
    int64_t max_trailer_lines;
    int64_t max_inflate_ratio; /* of a decompressed body to what came */
    int64_t max_gzip_members;
    int64_t write_high_mark; /* queued bytes above which no request is read */
    int64_t write_low_mark;  /* ... and at which reading goes on */
    bool keep_chunk_extensions;
    double header_timeout;      /* s, for a whole head */
    double body_timeout;        /* s, for a whole body */
    double idle_timeout;        /* s between requests */
    double first_timeout;       /* s of silence on a new connection */
    double body_gap_timeout;    /* s between two reads of a body */
    double write_timeout;       /* s without progress of an answer */
    double half_closed_timeout; /* s for an answer after the peer's FIN */
    double linger_timeout;      /* s that a refused peer may go on sending */
    int64_t min_body_rate;      /* bytes/s of a body after rate_grace */
    double rate_grace;          /* s */
    PyObject *dict;
} FlHTTP1Parameters;

enum FlHTTP1Phase {
    FL_HTTP1_IDLE,         /* nothing of the next message has come */
    FL_HTTP1_HEAD,         /* a part of its head has */
    FL_HTTP1_WAIT_HEADERS, /* headers_received is awaited */
    FL_HTTP1_LENGTH,
    FL_HTTP1_CHUNKED,
    FL_HTTP1_UNTIL_CLOSE,
    FL_HTTP1_DONE, /* the message was read whole */
    FL_HTTP1_DEAD, /* detached, closed, or cut off */
};

typedef struct FlHTTP1ServerConnection FlHTTP1ServerConnection;

/* What a chunked message needs besides. */
typedef struct {
    fl_chunked decoder;
    fl_buf joined; /* small chunks of one read */
    fl_buf trailers;
    fl_buf extensions; /* of its chunks, where the parameters keep them */
} FlHTTP1Chunks;

typedef struct FlHTTP1Connection {
    PyObject_HEAD
    FlState *st;                     /* borrowed */
    FlLoop *loop;                    /* owned */
    PyObject *stream;                /* owned; NULL once detached or cut off */
    FlChannel *channel;              /* borrowed from stream; NULL with it */
    FlHTTP1ServerConnection *server; /* borrowed; NULL for clients and when cut off */
    FlHTTP1Parameters *params;       /* owned */
    PyObject *context;               /* owned, nullable */
    PyObject *delegate;              /* owned, nullable: the message delegate */
    PyObject *reading;               /* owned, nullable: read_response's future */
    PyObject *close_callback;        /* owned, nullable */
    PyObject *handler;     /* owned, nullable: what web/ made of the request */
    PyObject *request;     /* owned, nullable: web/'s request, until handled */
    PyObject *match[3];    /* owned, nullable: what web/ found for it */
    PyObject *waiting;     /* owned, nullable: the future being awaited */
    FlHeadBlock *block;    /* owned, nullable */
    FlHTTP1Chunks *chunks; /* owned; NULL unless the message is chunked */
    PyObject *body;        /* owned bytes under construction (web/), body_used of it */
    size_t body_used;
    uint64_t left;         /* of a body of known length */
    uint64_t received;     /* bytes of this body */
    uint64_t body_since;   /* when reading it began */
    int64_t max_body;      /* set_max_body_size; -1: the parameters' */
    double body_timeout;   /* set_body_timeout; NaN: the parameters' */
    size_t scanned;        /* of the head, for the parser */
    size_t base;           /* inside data(): bytes of this call before this exchange */
    int64_t expected;      /* bytes of body that Content-Length still allows; -1: any */
    uint8_t phase;         /* enum FlHTTP1Phase */
    uint8_t informational; /* 1xx answers seen by a client */
    bool is_client;
    bool no_keep_alive;
    bool waiting_data;  /* data_received is being awaited */
    bool in_data;       /* the channel's data() is on the stack */
    bool owes_delegate; /* finish or on_connection_close is due */
    bool web;           /* web/ took this request */
    bool collects;      /* the body is for nobody before it is whole: see its rate */
    bool proxied;       /* ... and the context follows its headers meanwhile */
    bool keep_alive;    /* both sides are willing */
    bool peer_stays;    /* ... the peer, as its version and Connection say */
    bool head_request;  /* the method is HEAD */
    bool http10;        /* the peer speaks HTTP/1.0 */
    bool headers_written;
    bool chunking;
    bool write_finished;
    bool close_when_finished;
    bool gone;            /* the peer has left or its FIN came; told */
    bool ended;           /* the peer's FIN came */
    bool borrowed_stream; /* client: we are the stream's consumer */
    PyObject *dict;
    PyObject *weakrefs;
} FlHTTP1Connection;

enum FlHTTP1Deadline {
    FL_DEADLINE_NONE,
    FL_DEADLINE_SILENT, /* close without a word */
    FL_DEADLINE_HEAD,   /* 408 */
    FL_DEADLINE_BODY,   /* 408; looks at the rate, too */
    FL_DEADLINE_WRITE,  /* close, unless some bytes were sent meanwhile */
    FL_DEADLINE_CLOSE,  /* lingering, half closed: close */
};

struct FlHTTP1ServerConnection {
    PyObject_HEAD
    FlState *st;               /* borrowed */
    FlLoop *loop;              /* owned */
    PyObject *stream;          /* owned; NULL once detached or closed */
    FlChannel *channel;        /* borrowed from stream; NULL with it */
    FlHTTP1Parameters *params; /* owned */
    PyObject *context;         /* owned, nullable; see FlHTTP1Server_Context */
    PyObject *delegate;        /* owned; NULL before start_serving and after close */
    FlHTTP1Connection *conn;   /* owned: the exchange under way; NULL between two */
    PyObject *closing;         /* owned, nullable: the future that close() gave */
    PyObject *target;          /* owned, nullable: web/'s table for this server */
    fl_loop_timer timer;
    uint64_t deadline;        /* monotonic ns */
    uint64_t armed_at;        /* what the timer is armed for */
    uint64_t sent;            /* total_sent when the write deadline was set */
    uint64_t progress;        /* lingering: when some of the answer was last sent */
    uint64_t requests;        /* heads seen */
    struct sockaddr_in6 peer; /* or sockaddr_in: of whom no context was made yet */
    uint8_t peer_size;        /* 0: there is none to be made */
    uint8_t deadline_kind;
    bool serving;   /* holds a reference to itself */
    bool in_data;   /* on the stack */
    bool lingering; /* everything that comes is dropped */
    bool eof;
    bool paused;   /* reading rests: too much ahead, or too much queued */
    bool corked;   /* the answers of this data() are held together */
    bool deferred; /* server_continue is on the ring */
    bool told;     /* delegate.on_close was called */
    PyObject *dict;
    PyObject *weakrefs;
};

/* How web/ takes requests before the Python delegates are asked: hung on the state as
 * http_target, so that http/ need not know web/. All escape. */
typedef struct {
    /* The head is whole (conn->block). 1: taken, `whole` follows once the body is in
     * conn->body; 0: not mine; -1: an exception. */
    int (*head)(FlHTTP1Connection *conn);
    /* 0, or -1 with an exception that ends the connection. */
    int (*whole)(FlHTTP1Connection *conn);
    /* The peer left while the answer was being made. */
    void (*gone)(FlHTTP1Connection *conn);
    /* The connection is over. 1: its delegate knows; 0: tell it by on_close. */
    int (*closed)(FlHTTP1ServerConnection *server, PyObject *delegate);
} FlHTTP1Target;

/* ---- read.c ---- */

/* Feeds bytes to an exchange; how many were taken, or -1 with a fatal exception. escapes */
Py_ssize_t FlHTTP1_Feed(FlHTTP1Connection *conn, const char *p, size_t n);

/* The peer ended its side: 0, or -1 with a fatal exception. escapes */
int FlHTTP1_Ended(FlHTTP1Connection *conn);

/* ---- read_body.c ---- */

/* Where the bytes of a body that web/ waits for should land; NULL: nowhere. */
char *FlHTTP1_BodyRoom(FlHTTP1Connection *conn, size_t *n);
int FlHTTP1_BodyFilled(FlHTTP1Connection *conn, size_t n); /* escapes */

/* ---- read_end.c ---- */

/* The stream was closed (exc nullable, borrowed). Tells the delegate, the close callback
 * and whoever waits, each once. escapes */
void FlHTTP1_Lost(FlHTTP1Connection *conn, PyObject *exc);

/* Tells close callback and web/ that nobody waits for the answer. escapes */
void FlHTTP1_TellGone(FlHTTP1Connection *conn);

/* ---- write.c ---- */

/* The head of an answer: a map, or, without one, lines that need no look. */
typedef struct {
    int status;
    PyObject *reason;       /* borrowed str */
    FlHTTPHeaders *headers; /* borrowed; NULL: what follows */
    fl_span lines;          /* whole field lines, none of which concerns the framing */
    fl_span etag;           /* the value of Etag; empty: none */
    FlHTTPHeaders *beside;  /* borrowed, nullable: more lines, no such field either */
    int64_t length;         /* Content-Length; of an answer that may have a body */
} FlHTTP1Head;

/* One answer as one block: status line, the head's lines, a body of `count` bytes
 * objects; adds Transfer-Encoding and Connection where they are due and finishes. 0, or
 * -1 with an exception (nothing was written). */
int FlHTTP1_Respond(FlHTTP1Connection *conn, const FlHTTP1Head *head,
                    PyObject *const *chunks, Py_ssize_t count);

/* The same pieces as connection methods; new reference to a future, or NULL. */
PyObject *FlHTTP1_WriteHeaders(FlHTTP1Connection *conn, PyObject *start_line,
                               FlHTTPHeaders *headers, PyObject *chunk);
PyObject *FlHTTP1_Write(FlHTTP1Connection *conn, PyObject *chunk);
int FlHTTP1_Finish(FlHTTP1Connection *conn);

/* What is written next ends the answer: if that comes before the request was read, the
 * connection ends with it, and a head that is still to be written says so. */
void FlHTTP1_Ending(FlHTTP1Connection *conn);

/* Head and body of an answer, the body being n bytes of an open file (net/open_file.h)
 * from offset, as its Content-Length says. New reference to a future of when all of it
 * was sent, or NULL. */
PyObject *FlHTTP1_SendFile(FlHTTP1Connection *conn, int status, PyObject *reason,
                           FlHTTPHeaders *headers, PyObject *file, int64_t offset,
                           int64_t n);

/* ---- server_connection.c ---- */

/* The answer of the current exchange is complete; goes on with the next request, now or
 * from the ring, or closes. */
void FlHTTP1Server_Answered(FlHTTP1ServerConnection *server); /* escapes */

/* The current exchange's stream goes to somebody else. */
void FlHTTP1Server_Detached(FlHTTP1ServerConnection *server); /* escapes */

/* Offers the tail again; from the ring, not from inside user code. 0, or -1 (fatal).
 * escapes */
int FlHTTP1Server_Continue(FlHTTP1ServerConnection *server);

/* More requests stand behind the one in hand: their answers leave together. */
void FlHTTP1Server_Cork(FlHTTP1ServerConnection *server);

/* What is written in this turn of the loop leaves together, at its end. */
void FlHTTP1Server_Hold(FlHTTP1ServerConnection *server);

/* start_serving: 0 or -1. escapes */
int FlHTTP1Server_Start(FlHTTP1ServerConnection *server, PyObject *delegate);

/* ---- server_deadline.c ---- */

/* Sets the deadline, in the place of the one before. Negative seconds: no limit, but for
 * those of a whole body and its rate. */
void FlHTTP1Server_Deadline(FlHTTP1ServerConnection *server, uint8_t kind,
                            double seconds);

/* Everything written has left: the peer is not awaited for its reading any more. */
void FlHTTP1Server_AllSent(FlHTTP1ServerConnection *server);

/* ---- server_refuse.c ---- */

/* A bad message: logs, answers with the status if nothing was answered yet, lingers. */
void FlHTTP1Server_Refuse(FlHTTP1ServerConnection *server, int status,
                          const char *why); /* escapes */

/* ---- server_type.c ---- */

/* A connection of an accepted stream, whose context is made when somebody asks for it
 * (`peer` of the family AF_INET or AF_INET6). New reference or NULL. */
PyObject *FlHTTP1Server_New(FlState *st, PyObject *stream, FlHTTP1Parameters *params,
                            const fl_address *peer);

/* The context, made now where it was put off; borrowed, or NULL: there is none. escapes */
PyObject *FlHTTP1Server_Context(FlHTTP1ServerConnection *server);

/* ---- connection.c ---- */

/* A new exchange on a server's connection. New reference or NULL. */
FlHTTP1Connection *FlHTTP1Connection_ForServer(FlHTTP1ServerConnection *server);

/* Cuts it off: it has no stream any more. */
void FlHTTP1Connection_Cut(FlHTTP1Connection *conn); /* escapes */

/* Waits for what user code returned. 1: nothing to wait for; 0: run(loop, owner) comes
 * when *future (new reference) is done; -1: it has failed. Steals nothing. escapes */
int FlHTTP_Await(FlState *st, FlLoop *loop, PyObject *returned, fl_run_fn run,
                 PyObject *owner, PyObject **future);

/* Takes the current exception and logs "Uncaught exception" to tornado.application. */
void FlHTTP_LogUncaught(FlLoop *loop); /* escapes */

/* "Malformed HTTP message from <context>: <why>" to tornado.general, level INFO. */
void FlHTTP_LogMalformed(FlState *st, PyObject *context, const char *why); /* escapes */

/* Whether the current exception is httputil.HTTPInputError. */
bool FlHTTP_IsInputError(FlState *st);

/* What a connection is made with: the stream's channel (borrowed) and *params (new
 * reference; the usual ones where None was given), or NULL with TypeError. escapes */
FlChannel *FlHTTP1Parameters_Seat(FlState *st, PyObject *stream, PyObject *given,
                                  FlHTTP1Parameters **params);

int FlHTTP1Parameters_AddType(PyObject *module, FlState *st);
int FlHTTP1Connection_AddType(PyObject *module, FlState *st);
int FlHTTP1ServerConnection_AddType(PyObject *module, FlState *st);

#endif
