/* datagram.h -- what the files of datagram transports share.
 *
 * The loop keeps the transport alive while its descriptor is watched: until close().
 * `closing` says that nothing more is received, `ended` that nothing is asked of the
 * kernel any more and connection_lost is certain to come.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_DATAGRAM_H
#define FL_NET_DATAGRAM_H

#include "net/transport.h"

/* A datagram that waits for room. */
typedef struct FlOutgoing {
    struct FlOutgoing *next; /* owned */
    PyObject *data;          /* owned: bytes */
    PyObject *address;       /* owned; NULL: the connected peer */
} FlOutgoing;

typedef struct FlDatagrams {
    PyObject_HEAD
    PyObject *extra; /* owned: asyncio.BaseTransport's one field */
    FlState *st;     /* borrowed */
    FlLoop *loop;    /* owned */
    fl_watch watch;
    PyObject *sock;      /* owned */
    PyObject *protocol;  /* owned; NULL after connection_lost */
    PyObject *on_data;   /* owned: datagram_received; NULL with it */
    PyObject *context;   /* owned */
    PyObject *remote;    /* owned: what remote_addr resolved to, or NULL */
    PyObject *peer;      /* owned: the last sender as Python sees it, or NULL */
    fl_address peer_raw; /* the same for the kernel */
    FlOutgoing *first;   /* owned list */
    FlOutgoing **last;   /* where the next one goes */
    size_t queued;       /* bytes in it */
    size_t high, low;    /* water marks */
    int family;
    unsigned looks; /* events seen, for LOOK_EVERY */
    unsigned lost;  /* sends after the end */
    bool burst;     /* the last look found a second datagram */
    bool connected; /* to a peer: sent without an address */
    bool started;
    bool closing;
    bool ended; /* connection_lost is under way or over */
    bool writing_paused;
    PyObject *error; /* owned: what connection_lost will be told */
    PyObject *dict;  /* owned */
    PyObject *weakrefs;
} FlDatagrams;

/* protocol.<name>(arg), arg NULL: without one; None once there is no protocol. New
 * reference or NULL. escapes */
PyObject *FlDatagrams_Call(FlDatagrams *self, PyObject *name, PyObject *arg);

/* The current exception to the loop's exception handler; 0, or -1: it is fatal. escapes */
int FlDatagrams_Report(FlDatagrams *self, const char *message);

/* The same, then ends the transport with it; 0 or -1 (fatal). escapes */
int FlDatagrams_Fail(FlDatagrams *self, const char *message);

/* Out of epoll; connection_lost comes from the loop. escapes */
void FlDatagrams_End(FlDatagrams *self);

/* Asks of epoll what is needed now; 0, or -1 with OSError. escapes */
int FlDatagrams_Watch(FlDatagrams *self);

/* ---- datagram_io.c ---- */

/* What the descriptor's watch calls. */
int FlDatagrams_Ready(FlLoop *loop, fl_watch *watch, uint32_t events); /* escapes */

/* Sends now, or keeps it until there is room; 0 or -1. escapes */
int FlDatagrams_Send(FlDatagrams *self, PyObject *data, PyObject *address);

/* pause_writing() where too much is queued; 0 or -1 (fatal). escapes */
int FlDatagrams_WaterRose(FlDatagrams *self);

/* Forgets what was not sent. */
void FlDatagrams_DropQueue(FlDatagrams *self);

#endif
