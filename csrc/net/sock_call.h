/* sock_call.h -- loop.sock_*: one call on a socket that has no transport.
 *
 * A call is an awaitable with a coroutine's methods and nothing of a frame: the first
 * send tries the operation at once and mostly ends there. What would block waits for
 * one event of the socket's watch and tries again.
 *
 * A watch stays registered when its last call has ended (`idle`), so that the next
 * wait on the same socket costs no system call; it knows its socket by a weak
 * reference, because the number of a closed descriptor comes back. An event that nobody
 * waits for, another taker of the descriptor, and every cancelled wait end the
 * registration.
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_SOCK_CALL_H
#define FL_NET_SOCK_CALL_H

#include <Python.h>
#include <stdbool.h>

#include "core/loop.h"
#include "sys/sockets.h"

typedef struct FlSockCall FlSockCall;
typedef struct FlSockWatch FlSockWatch;

enum FlSockOp {
    FL_SOCK_RECV,
    FL_SOCK_RECV_INTO,
    FL_SOCK_RECVFROM,
    FL_SOCK_RECVFROM_INTO,
    FL_SOCK_ACCEPT,
    FL_SOCK_READABLE,
    FL_SOCK_SENDALL, /* from here on they wait for room to send */
    FL_SOCK_SENDTO,
    FL_SOCK_WRITABLE,
};

struct FlSockCall {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    FlLoop *loop;       /* owned */
    PyObject *sock;     /* owned */
    PyObject *data;     /* owned: what is sent, or where it is received; or NULL */
    PyObject *address;  /* owned: of sendto; or NULL */
    PyObject *future;   /* owned: what the task waits for; or NULL */
    FlSockWatch *watch; /* owned while it waits */
    FlSockCall *next;   /* borrowed: the watch's list */
    FlSockCall **at;    /* where the list points to this one; NULL: not in it */
    Py_buffer view;     /* of data, while sending; .obj NULL when there is none */
    size_t n;           /* bytes to receive */
    size_t done;        /* bytes sent */
    uint8_t op;         /* enum FlSockOp */
    bool started;
    bool ended;
    bool running; /* inside send() */
    bool waited;  /* one event came */
};

/* Tries once: 1 and a new reference, 0 when it would block, -1. escapes */
int FlSockCall_Try(FlSockCall *call, PyObject **result);

/* Puts the call into its socket's watch, with a future of the next event. 0 or -1. */
int FlSockCall_Wait(FlSockCall *call, int fd);

/* Takes it out; `forget`: the registration too, where nobody else waits. escapes */
void FlSockCall_Leave(FlSockCall *call, bool forget);

/* sock.fileno(); -1 with OSError EBADF for a closed one. */
int FlSockCall_Descriptor(PyObject *sock);

/* The C form of an address whose host is numeric, for a socket of family. 1, 0 when it
 * needs a look-up or is odd, -1. */
int FlAddress_FromPython(int family, PyObject *address, fl_address *out);

#endif
