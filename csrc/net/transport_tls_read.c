/* transport_tls_read.c -- plain text of a TLS transport on its way to the protocol.
 *
 * What came in one event is decrypted into one object: a bytes of at most its size, made by
 * the SSLObject where it is one record, or the memory of a BufferedProtocol as often as it
 * gives some. Both belong to this file while the SSLObject writes into them, whatever its
 * callbacks do.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport_tls.h"

#include <errno.h>

int
FlTransport_TlsPeerEnded(FlTransport *tr)
{
    int stays = 0;

    if (!tr->tls->told_eof) {
        tr->tls->told_eof = true;
        stays = FlTransport_TellEof(tr);
    }
    if (stays < 0)
        return FlTransport_Fail(tr,
                                "Fatal error: protocol.eof_received() call failed.");
    if (stays > 0) {
        PyObject *done = PyObject_CallMethod(
            tr->st->asyncio_log, "warning", "s",
            "returning true from eof_received() has no effect when using ssl");

        if (done == NULL)
            return FlTransport_Fail(tr, "the logger failed");
        Py_DECREF(done);
    }
    FlTransport_TlsClose(tr);
    return 0;
}

/* What a read that gave no more bytes means: 0 nothing more for now or the end was dealt
 * with, -1 fatal. */
static int
read_ended(FlTransport *tr, ssize_t got)
{
    if (tr->ch.closed || tr->tls->state != FL_TLS_OPEN) {
        if (got == FL_TLS_RAISED && FlError_IsFatal())
            return -1;
        PyErr_Clear();
        return 0;
    }
    if (got == FL_TLS_RAISED)
        return FlTransport_TlsFail(tr);
    return got == 0 ? FlTransport_TlsPeerEnded(tr) : 0;
}

/* Decrypts into memory that stays valid until it is full or nothing more can be had:
 * count; *last is what the read gave that ended it (1: the memory is full). */
static size_t
read_into(FlTransport *tr, char *p, size_t n, ssize_t *last)
{
    size_t got = 0;
    Py_ssize_t more;

    *last = 1;
    do {
        ssize_t k = FlTls_Read(tr->st, tr->tls, p + got, n - got);

        if (k <= 0) {
            *last = k;
            break;
        }
        got += (size_t)k;
        if (got == n)
            break;
        more = FlTls_Available(tr->st, tr->tls);
        if (more <= 0)
            *last = more < 0 ? FL_TLS_RAISED : -EAGAIN;
    } while (*last == 1 && !tr->ch.closed);
    return got;
}

/* After the protocol had what was read: err is what that gave, failure (stolen, nullable)
 * what the last read raised. */
static int
delivered(FlTransport *tr, int err, ssize_t last, PyObject *failure, bool *more)
{
    if (err < 0) {
        Py_XDECREF(failure);
        return -1;
    }
    if (failure != NULL)
        PyErr_SetRaisedException(failure);
    *more = last == 1;
    return last == 1 ? 0 : read_ended(tr, last);
}

/* A bytes object of what there is to data_received(). *more: whether to go on. 0 or -1
 * (fatal). */
static int
deliver_bytes(FlTransport *tr, size_t most, bool *more)
{
    PyObject *bytes, *failure;
    ssize_t last;
    size_t got;
    int err = 0;

    if (FlTls_HoldsOne(tr->tls)) {
        if (most > FL_TLS_PLAIN_MOST + 1) /* one that is full is no reason to ask on */
            most = FL_TLS_PLAIN_MOST + 1;
        last = FlTls_ReadBytes(tr->st, tr->tls, most, &bytes);
        got = last > 0 ? (size_t)last : 0;
        last = last > 0 ? 1 : last;
        failure = PyErr_GetRaisedException();
    } else {
        bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)most);
        if (bytes == NULL)
            return FlTransport_TlsFail(tr);
        got = read_into(tr, PyBytes_AS_STRING(bytes), most, &last);
        failure = PyErr_GetRaisedException();
        if (got > 0 && got < most && _PyBytes_Resize(&bytes, (Py_ssize_t)got) < 0) {
            Py_XDECREF(failure);
            return FlTransport_TlsFail(tr);
        }
    }
    if (got > 0 && !tr->ch.closed)
        err = FlTransport_Received(tr, bytes);
    Py_XDECREF(bytes);
    return delivered(tr, err, last, failure, more);
}

/* The same into the memory of a BufferedProtocol. */
static int
deliver_into(FlTransport *tr, bool *more)
{
    size_t room = 0, got;
    char *memory = FlTransport_Lend(tr, &room);
    PyObject *failure;
    ssize_t last;
    int err = 0;

    if (memory == NULL)
        return FlTransport_TlsFail(tr);
    if (tr->ch.closed || tr->paused || tr->tls->state != FL_TLS_OPEN) {
        FlTransport_GiveBack(tr); /* get_buffer() has closed or paused it */
        return 0;
    }
    got = read_into(tr, memory, room, &last);
    failure = PyErr_GetRaisedException();
    if (got > 0 && !tr->ch.closed)
        err = FlTransport_Filled(tr, got);
    else
        FlTransport_GiveBack(tr);
    return delivered(tr, err, last, failure, more);
}

int
FlTransport_TlsDeliver(FlTransport *tr)
{
    bool more = true;

    while (more && !tr->ch.closed && !tr->paused && tr->tls->state == FL_TLS_OPEN) {
        Py_ssize_t most = FlTls_Available(tr->st, tr->tls);
        int err;

        if (most < 0)
            return FlTransport_TlsFail(tr);
        if (most == 0)
            return 0;
        more = false;
        err = tr->get_buffer != NULL ? deliver_into(tr, &more)
                                     : deliver_bytes(tr, (size_t)most, &more);
        if (err < 0)
            return -1;
    }
    return 0;
}
