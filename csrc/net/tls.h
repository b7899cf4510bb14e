/* tls.h -- a TLS engine: Python's SSLObject between two MemoryBIOs, driven from C.
 *
 *      socket --received--> incoming --[ SSLObject ]--> plain text
 *      socket <---sent----- outgoing <--[ SSLObject ]-- plain (written, not encrypted yet)
 *
 * The program's own SSLContext makes the SSLObject, so all its settings hold and OpenSSL's
 * fixes are the interpreter's. The engine knows nothing of sockets or transports; its user
 * feeds what it received and sends what `FlTls_Drain` gives.
 *
 * Why MemoryBIO and not an SSLSocket on the descriptor (what SSLIOStream drives): OpenSSL
 * asks a socket twice for each record, for the head and for the body, and writes each
 * record by itself. An echo of 64 KiB costs 16 system calls more that way; the two copies
 * through the BIOs cost 4 us. What asyncio documents needs the SSLObject besides.
 *
 * What the C saves over asyncio's protocol: no exception for "not yet" (`records` knows
 * when there is nothing to decrypt), plain text lands in the object that the protocol
 * gets, and small writes become one record. What is small passes as a bytes object: the
 * one that was written, or a copy, which costs less than a memoryview.
 *
 * Ownership: memory lent to the SSLObject belongs to the caller or the engine for the
 * whole call, whatever runs inside it (a context may have callbacks): `plain` is taken out
 * of the engine while it is being encrypted. The SSLObject is never entered twice: `busy`
 * says that a call is under way, and every function here asks it first.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_TLS_H
#define FL_NET_TLS_H

#include <Python.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/loop.h"
#include "proto/tls_records.h"

enum FlTlsState {
    FL_TLS_HANDSHAKE, /* nothing of the program's goes either way yet */
    FL_TLS_OPEN,
    FL_TLS_SHUTTING, /* no more is delivered; close_notify goes out and is waited for */
    FL_TLS_OVER      /* the engine has done its part */
};

/* What calls on the engine can give beside counts, as the tables of FlChannelIO do. */
enum { FL_TLS_RAISED = -100000 };

/* Plain text that was written: p[at .. end). One write stays in its own object, several
 * are put together in memory of ours. */
typedef struct {
    char *p;
    PyObject *lone; /* owned: bytes, the only write, which p is of; NULL: p is owned */
    size_t at, end, room;
} fl_tls_plain;

typedef struct FlTls FlTls;

struct FlTls {
    PyObject *object;   /* owned: ssl.SSLObject */
    PyObject *context;  /* owned: the SSLContext that it was made by */
    PyObject *incoming; /* owned: ssl.MemoryBIO */
    PyObject *outgoing; /* owned: ssl.MemoryBIO */
    PyObject *feed;     /* owned: incoming.write */
    PyObject *drain;    /* owned: outgoing.read */
    PyObject *read;     /* owned: object.read */
    PyObject *write;    /* owned: object.write */
    PyObject *waiter;   /* owned, nullable: the future of the handshake */
    uint64_t handshake_ns, shutdown_ns;
    fl_loop_timer timer; /* of the handshake, then of the shutdown */
    fl_tls_records records;
    size_t whole;       /* at most so many whole records wait to be decrypted */
    size_t held;        /* at most so many bytes of records, the unfinished one too */
    fl_tls_plain plain; /* written and not encrypted */
    uint8_t state;      /* enum FlTlsState */
    bool busy;          /* inside the SSLObject */
    bool inside;   /* the last read filled its memory: the SSLObject may hold more */
    bool shook;    /* the handshake has succeeded */
    bool eof;      /* the peer's connection has ended */
    bool notified; /* our close_notify is in `outgoing` */
    bool told_eof; /* eof_received() was called */
    bool turning;  /* a turn is under way: what is written goes out at its end */
    bool turn_due; /* a turn stands on the ring */
};

/* parts: (SSLObject, SSLContext, incoming, outgoing, handshake seconds, shutdown seconds).
 * NULL with an exception. escapes */
FlTls *FlTls_New(FlState *st, PyObject *parts);

/* Frees it; the timer must not be armed. escapes */
void FlTls_Free(FlTls *tls);
int FlTls_Traverse(FlTls *tls, visitproc visit, void *arg);

/* n bytes came from the peer. 0 or -1. escapes */
int FlTls_Feed(FlState *st, FlTls *tls, const char *p, size_t n);

/* How many bytes of plain text a read may give at most; 0: none can be had now. -1 with an
 * exception. escapes */
Py_ssize_t FlTls_Available(FlState *st, FlTls *tls);

/* Whether just one whole record waits. */
static inline bool
FlTls_HoldsOne(const FlTls *tls)
{
    return tls->whole == 1 && !tls->inside && !tls->records.odd;
}

/* Decrypts into buf, which stays valid whatever is called. Count, 0: the peer has said
 * close_notify, -EAGAIN, FL_TLS_RAISED. escapes */
ssize_t FlTls_Read(FlState *st, FlTls *tls, char *buf, size_t n);

/* The same, at most n bytes into an object of their own: *bytes, new, where the count is
 * more than 0. escapes */
ssize_t FlTls_ReadBytes(FlState *st, FlTls *tls, size_t n, PyObject **bytes);

/* One step of the handshake: 1 done, 0 not yet, -1 with an exception. escapes */
int FlTls_Handshake(FlState *st, FlTls *tls);

/* Encrypts of p[0..n), which stays valid, as much as goes. Count, -EAGAIN,
 * FL_TLS_RAISED. escapes */
ssize_t FlTls_Write(FlState *st, FlTls *tls, const char *p, size_t n);

/* Keeps n bytes to be encrypted later. owner: what they are of, or NULL. 0 or -1 with
 * MemoryError. */
int FlTls_Keep(FlTls *tls, const char *p, size_t n, PyObject *owner);

static inline size_t
FlTls_Kept(const FlTls *tls)
{
    return tls->plain.end - tls->plain.at;
}

/* Encrypts what was kept, as much as goes. 0 or -1. escapes */
int FlTls_Encrypt(FlState *st, FlTls *tls);

/* What has to be sent: bytes (new), or NULL, with an exception or because there is
 * nothing. escapes */
PyObject *FlTls_Drain(FlTls *tls);

/* Our close_notify, once everything kept was encrypted. 1: the peer's is there too, 0: not
 * yet, -1 with an exception. escapes */
int FlTls_Notify(FlState *st, FlTls *tls);

/* method(bytes of p[0..n)): where these are all of owner (nullable), a bytes, then owner
 * itself; few are copied, which costs less than a view; else a view. New reference or
 * NULL. escapes */
PyObject *FlTls_CallWithBytes(PyObject *method, PyObject *owner, const char *p,
                              size_t n);

/* method(count, view). New reference or NULL. escapes */
static inline PyObject *
FlTls_CallTwo(PyObject *method, PyObject *count, PyObject *view)
{
    PyObject *args[3] = {NULL, count, view};

    return PyObject_Vectorcall(method, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               NULL);
}

/* method([count,] view of p[0..n)), the view released afterwards: nobody may keep one of
 * memory that is not Python's. New reference or NULL. escapes */
PyObject *FlTls_CallWithView(PyObject *method, PyObject *count, char *p, size_t n,
                             int flags);

#endif
