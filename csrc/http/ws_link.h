/* ws_link.h -- one WebSocket connection, as the files that make it up see it.
 *
 *   ws_link.c   reading: frames, messages, what a program's hook gave back
 *   ws_send.c   sending: frames, messages, one frame to many
 *   ws_type.c   the Python type
 *
 * WebSocketLink is the C base of WebSocketProtocol13: what every message needs is here,
 * what happens once in a connection's life is there. An idle connection is this object
 * and its stream; no buffer, task, timer or dict of its own.
 *
 * Layer: http. Threads: the loop's.
 */
#ifndef FL_HTTP_WS_LINK_H
#define FL_HTTP_WS_LINK_H

#include "http/link.h"

#include "base/scan.h"
#include "proto/ws_frame.h"

typedef enum { WS_HEAD, WS_PAYLOAD, WS_DONE } FlWebSocketState;

typedef struct {
    PyObject_HEAD
    FlState *st; /* borrowed */
    FlLink link; /* open between _attach and the end of the connection */
    /* All owned and nullable. */
    PyObject *handler; /* whose on_message is called */
    PyObject *context; /* ... in this contextvars.Context */
    PyObject *params;
    PyObject *deflater, *inflater;
    PyObject *close_code, *close_reason;
    PyObject *dict, *weakrefs;
    fl_ws_rules rules;
    fl_ws_frame frame; /* PAYLOAD: the one that is being read */
    uint64_t left;     /* PAYLOAD: its bytes to come */
    uint64_t max_message;
    int64_t max_write; /* bytes that may wait for the peer; -1: any */
    fl_utf8_state utf8;
    uint8_t state;   /* FlWebSocketState */
    uint8_t opcode;  /* of the message in progress, 0: none */
    bool compressed; /* that message's first frame had RSV1 */
    bool paused;     /* the program is busy with a message */
    bool deferred;   /* a resume stands in the ring */
    bool corked;     /* answers to what is in hand leave together */
    bool lost;       /* _on_lost was called */
    bool client_terminated;
    bool server_terminated;
    bool mask_outgoing;
    bool waiting; /* messages wait in Python for a slow peer: _slow */
} FlWebSocketLink;

extern const FlChannelOps FlWebSocket_Ops;

static inline FlWebSocketLink *
FlWebSocket_Cast(PyObject *op)
{
    return (FlWebSocketLink *)op;
}

/* Whether a field that Python may set says something. */
static inline bool
FlWebSocket_Given(const PyObject *field)
{
    return field != NULL && field != Py_None;
}

/* Sends what was held together while more messages stood in hand. escapes */
void FlWebSocket_Uncork(FlWebSocketLink *self);

/* Whether nothing may be sent or will be read any more. */
bool FlWebSocket_Closing(const FlWebSocketLink *self);

/* Sets WebSocketClosedError; NULL always. */
PyObject *FlWebSocket_RaiseClosed(FlState *st);

/* A frame as bytes; key: four bytes, or NULL. `data` is str or a contiguous buffer. */
PyObject *FlWebSocket_Frame(int opcode, PyObject *data, long flags, const char *key);

/* The methods of sending; see ws_type.c. */
PyObject *FlWebSocket_WriteMessage(PyObject *op, PyObject *const *args,
                                   Py_ssize_t nargs, PyObject *names);
PyObject *FlWebSocket_WriteEncoded(PyObject *op, PyObject *frame);
PyObject *FlWebSocket_Publish(PyObject *type, PyObject *const *args, Py_ssize_t nargs);

#endif
