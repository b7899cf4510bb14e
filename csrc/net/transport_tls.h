/* transport_tls.h -- the TLS of an asyncio transport: what its other files call.
 *
 *      channel --data()--> FlTls --plain text--> protocol
 *      protocol --write()--> FlTls --FlChannel_Write--> channel
 *
 * A transport has an FlTls (`tr->tls`) from the first byte of its handshake on and keeps
 * it to its end; the channel below moves encrypted bytes and knows nothing of it.
 *
 *   HANDSHAKE --done--> OPEN --close(), close_notify or the peer's end--> SHUTTING --> OVER
 *
 * connection_made comes when the handshake is done, so never before plain text; a
 * transport that start_tls() turned has had it already. In SHUTTING the protocol hears of
 * no more data; connection_lost(None) follows when close_notify has gone both ways and
 * everything is sent, connection_lost(TimeoutError) when that takes too long. A peer that
 * ends its connection without close_notify has ended it all the same, as asyncio sees it.
 *
 * The invariant: everything that enters the SSLObject runs from the loop (an op of the
 * channel, a timer, or a **turn** on the ring), except the encryption of large writes;
 * write() and close() themselves only note what is due. So what is written in one turn
 * leaves in one send, and what user code raises inside the SSLObject reaches the loop.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_TRANSPORT_TLS_H
#define FL_NET_TRANSPORT_TLS_H

#include "net/tls.h"
#include "net/transport.h"

/* asyncio's marks of TLS: 512 KiB, and a quarter of it. */
#define FL_TRANSPORT_TLS_HIGH ((size_t)512 * 1024)

/* Gives tr its TLS: parts as FlTls_New takes them; waiter (nullable) is the future of the
 * handshake. FlTransport_TlsBegin must follow. 0 or -1. escapes */
int FlTransport_TlsAttach(FlTransport *tr, PyObject *parts, PyObject *waiter);

/* Begins the handshake. 0 or -1 (fatal). escapes */
int FlTransport_TlsBegin(FlTransport *tr);

/* n encrypted bytes. 0 or -1 (fatal). escapes */
int FlTransport_TlsData(FlTransport *tr, const char *p, size_t n);

/* The peer's end. 0 or -1 (fatal). escapes */
int FlTransport_TlsEof(FlTransport *tr);

/* Writes of the program. 0 or -1. escapes */
int FlTransport_TlsWrite(FlTransport *tr, const fl_chunk *chunks, size_t n);

/* close(); connection_lost follows. escapes */
void FlTransport_TlsClose(FlTransport *tr);

/* The channel is closed: who waits for the handshake learns it. escapes */
void FlTransport_TlsLost(FlTransport *tr, PyObject *exc);

/* Reading was resumed: what was kept back is delivered from the loop. 0 or -1. */
int FlTransport_TlsResume(FlTransport *tr);

/* Sends what was written until now. 0 or -1. escapes */
int FlTransport_TlsFlush(FlTransport *tr);

/* Ends the connection with the current exception, which the peer hears of by an alert if
 * there is room. 0, or -1: it is fatal and stays set. escapes */
int FlTransport_TlsFail(FlTransport *tr);

/* The peer has ended its side: the protocol is told once, then we end ours. 0 or -1
 * (fatal). escapes */
int FlTransport_TlsPeerEnded(FlTransport *tr);

/* Plain text to the protocol, while it is open, wants some and there is some. 0 or -1
 * (fatal). escapes */
int FlTransport_TlsDeliver(FlTransport *tr);

/* Whether encrypted bytes are wanted of the channel. */
bool FlTransport_TlsReads(const FlTransport *tr);

/* get_extra_info() of TLS: new reference, or NULL without an exception when the name means
 * nothing here. escapes */
PyObject *FlTransport_TlsInfo(FlTransport *tr, PyObject *name);

/* transport._start_tls(protocol, parts, waiter, early). */
PyObject *FlTransport_StartTls(PyObject *transport, PyObject *args); /* escapes */

#endif
