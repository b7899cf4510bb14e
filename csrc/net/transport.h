/* transport.h -- asyncio's transports over a channel: what the files of them share.
 *
 *      channel --data()--> FlTransport --data_received(bytes)--> protocol
 *      protocol --write(bytes)--> FlTransport --FlChannel_Write--> channel
 *
 * One struct serves three Python types: Transport (sockets), ReadPipeTransport and
 * WritePipeTransport, whose bases are asyncio's. The methods of the protocol are looked
 * up once, when it is set, and called inside the transport's context: a copy of the one
 * it was made in.
 *
 * Order of a life: connection_made, then any number of data_received, at most one
 * eof_received, connection_lost exactly once and last, each from the loop. close() and
 * failures close the channel; connection_lost follows in a later callback.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_TRANSPORT_H
#define FL_NET_TRANSPORT_H

#include <Python.h>
#include <stdbool.h>

#include "net/channel.h"
#include "sys/sockets.h"

typedef struct FlAcceptor FlAcceptor;
typedef struct FlTransport FlTransport;
typedef struct FlTls FlTls;

enum FlTransportKind { FL_TRANSPORT_SOCKET, FL_TRANSPORT_READ, FL_TRANSPORT_WRITE };

/* A file on its way through the transport, and who waits for it. */
typedef struct {
    PyObject *future; /* owned; NULL: nobody waits */
    uint64_t target;  /* of channel.total_sent */
} FlTransportSent;

struct FlTransport {
    PyObject_HEAD
    PyObject *extra; /* owned: asyncio.BaseTransport's one field; checked at import */
    FlState *st;     /* borrowed */
    FlChannel ch;
    PyObject *protocol;   /* owned; NULL after connection_lost */
    PyObject *on_data;    /* owned: data_received or buffer_updated; or NULL */
    PyObject *get_buffer; /* owned: of a BufferedProtocol, else NULL */
    PyObject *context;    /* owned */
    PyObject *file;       /* owned: socket or pipe object; NULL: the bare descriptor */
    FlTls *tls;           /* owned; NULL: plain. See transport_tls.h */
    PyObject *face;       /* owned: TransportSocket, made when asked for */
    PyObject *peername;   /* owned; NULL until asked for */
    PyObject *sockname;   /* owned; NULL until asked for */
    FlAcceptor *acceptor; /* owned: the server it belongs to, or NULL */
    FlTransport *next;    /* borrowed: the acceptor's list */
    FlTransport **at;     /* where the list points to this one; NULL: not in it */
    FlTransportSent sent; /* a file, or everything */
    Py_buffer lent;       /* of get_buffer(); .obj NULL when there is none */
    PyObject *landing;    /* owned: bytes being received into, or NULL */
    size_t expected;      /* room for the next bytes; 0: the shared buffer */
    fl_address peer, own; /* .len 0: not known yet */
    uint8_t kind;         /* enum FlTransportKind */
    bool fifo;            /* FL_TRANSPORT_WRITE: nothing can be read from it */
    bool watches;         /* FL_TRANSPORT_WRITE: hears of its reader's end */
    bool started;         /* connection_made was called */
    bool closing;         /* no more reading; connection_lost comes */
    bool paused;          /* pause_reading() */
    bool writing_paused;  /* pause_writing() was called */
    bool ended;           /* write_eof() */
    unsigned writes_lost; /* writes after the connection was */
    size_t high, low;     /* water marks */
    PyObject *dict;       /* owned */
    PyObject *weakrefs;
};

/* What a transport starts with. */
typedef struct {
    enum FlTransportKind kind;
    int fd;             /* taken over unless file is set */
    PyObject *file;     /* borrowed, nullable: the object that owns the descriptor */
    PyObject *protocol; /* borrowed */
    PyObject *context;  /* borrowed, nullable: a copy of the current one */
    const fl_address *peer; /* nullable */
    FlAcceptor *acceptor;   /* borrowed, nullable */
} FlTransportStart;

/* A transport that has not called its protocol yet; takes over start->fd, on failure
 * too. New reference or NULL. escapes */
FlTransport *FlTransport_New(FlState *st, FlLoop *loop, const FlTransportStart *start);

/* Calls connection_made and begins to read: the fl_run_fn that follows New. */
int FlTransport_Begin(FlLoop *loop, PyObject *transport); /* escapes */

/* Looks up the methods of protocol and puts it in place; 0 or -1. escapes */
int FlTransport_SetProtocol(FlTransport *tr, PyObject *protocol);

/* method(args[1..n]) inside the transport's context, args[0] spare. New reference or
 * NULL. escapes */
PyObject *FlTransport_Call(FlTransport *tr, PyObject *method, PyObject **args,
                           size_t n);

/* The same of anything that has a context; who is named if it takes long. */
PyObject *FlTransport_CallIn(FlLoop *loop, PyObject *context, PyObject *who,
                             PyObject *method, PyObject **args, size_t n);

/* The current exception to the loop's exception handler, for any transport. 0, or -1:
 * it is fatal and stays set. escapes */
int FlTransport_ReportOf(FlLoop *loop, PyObject *who, PyObject *protocol,
                         const char *message);

/* set_write_buffer_limits(high=None, low=None) as asyncio reads it; 0 or -1. */
int FlTransport_ParseLimits(PyObject *args, PyObject *kwargs, size_t *high,
                            size_t *low);

/* asyncio's marks: 64 KiB, and a quarter of it. */
#define FL_TRANSPORT_HIGH ((size_t)64 * 1024)
#define FL_TRANSPORT_LOW (FL_TRANSPORT_HIGH / 4)

/* Whether asyncio's class `base` has just the one field that the structs here begin
 * with; 0, or -1 with ImportError. */
int FlTransport_CheckBase(PyObject *base);

/* Takes the current exception to the loop's exception handler, together with transport
 * and protocol. 0, or -1: it is fatal and stays set. escapes */
int FlTransport_Report(FlTransport *tr, const char *message);

/* The same, then ends the transport with it; an OSError is reported in debug mode only.
 * 0 or -1 (fatal). escapes */
int FlTransport_Fail(FlTransport *tr, const char *message);

/* No more reading; connection_lost(NULL) once everything was sent. escapes */
void FlTransport_Close(FlTransport *tr);

/* Drops what is queued; connection_lost(exc). escapes */
void FlTransport_Abort(FlTransport *tr, PyObject *exc);

/* Lets the channel read exactly while the transport is started, not paused, and open. 0
 * or -1. */
int FlTransport_SettleReading(FlTransport *tr);

/* One bytes object to data_received(). 0 or -1 (fatal). escapes */
int FlTransport_Received(FlTransport *tr, PyObject *bytes);

/* The memory of a BufferedProtocol, which stays valid until Filled or GiveBack; NULL with
 * an exception. escapes */
char *FlTransport_Lend(FlTransport *tr, size_t *n);
int FlTransport_Filled(FlTransport *tr, size_t n); /* 0 or -1 (fatal). escapes */
void FlTransport_GiveBack(FlTransport *tr);

/* Calls eof_received(): whether it wants to go on, or -1 with an exception. escapes */
int FlTransport_TellEof(FlTransport *tr);

/* Bytes written and not yet sent. */
size_t FlTransport_Waiting(const FlTransport *tr);

/* After something was sent that the channel has not counted: resume_writing() where the
 * water is low. 0 or -1 (fatal). escapes */
int FlTransport_WaterMoved(FlTransport *tr);

/* After a write: pause_writing() where the water is high. 0 or -1 (fatal). escapes */
int FlTransport_WaterRose(FlTransport *tr);

/* Keeps the names of a socket that is about to be closed. */
void FlTransport_KeepNames(FlTransport *tr);

/* A transport of the acceptor is over. escapes */
void FlAcceptor_Detach(FlTransport *tr);

/* The method table that the three types share by kind. */
extern PyMethodDef FlTransport_SocketMethods[];
extern PyMethodDef FlTransport_ReadMethods[];
extern PyMethodDef FlTransport_WriteMethods[];

#endif
