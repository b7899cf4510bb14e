/* datagram_io.c -- how datagrams come and go.
 *
 * What a protocol raises about one datagram is told, and the endpoint goes on: no peer
 * may end a server of many by a datagram that its protocol trips over.
 *
 * They are received into the loop's buffer and handed on one by one, a bounded number an
 * event. Sending is tried at once; what the kernel refuses waits in a list, in order.
 * The last peer's address is kept in both forms, so that who answers it pays for no
 * conversion.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/datagram.h"

#include <errno.h>
#include <string.h>

#include "net/listener.h"
#include "net/sock_call.h"

/* Datagrams an event, once there was more than one. */
#define BURST 32

/* How often an event looks for a second one though the last had none. */
#define LOOK_EVERY 16

/* Sends to a closed transport are counted, and told from this one on. */
#define LOST_SENDS_TOLD 5

void
FlDatagrams_DropQueue(FlDatagrams *self)
{
    while (self->first != NULL) {
        FlOutgoing *out = self->first;

        self->first = out->next;
        Py_DECREF(out->data);
        Py_XDECREF(out->address);
        PyMem_Free(out);
    }
    self->last = &self->first;
    self->queued = 0;
}

/* ---- receiving ---- */

/* The kernel reports what became of earlier datagrams: the protocol hears of it. 0 or
 * -1 (fatal). */
static int
tell_error(FlDatagrams *self, int error)
{
    PyObject *exc, *res;

    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    exc = PyErr_GetRaisedException();
    res = FlDatagrams_Call(self, self->st->str_error_received, exc);
    Py_DECREF(exc);
    if (res == NULL)
        return FlDatagrams_Report(self, "protocol.error_received() failed");
    Py_DECREF(res);
    return 0;
}

/* The sender as Python sees it; borrowed. */
static PyObject *
sender(FlDatagrams *self, const fl_address *from)
{
    PyObject *address;

    if (self->peer != NULL && from->len == self->peer_raw.len && from->len > 0 &&
        memcmp(&from->addr, &self->peer_raw.addr, from->len) == 0)
        return self->peer;
    address = from->len == 0 ? Py_NewRef(Py_None) : FlAddress_ToPython(from);
    if (address == NULL)
        return NULL;
    Py_XSETREF(self->peer, address);
    self->peer_raw = *from;
    return address;
}

/* One datagram: 1, 0 when there was none, -1 fatal. */
static int
receive_one(FlDatagrams *self)
{
    PyObject *args[3] = {NULL, NULL, NULL}, *res;
    fl_address from;
    size_t room;
    char *buffer = FlLoop_TakeBuffer(self->loop, &room);
    ssize_t got;

    if (buffer == NULL)
        return FlDatagrams_Fail(self, "Fatal error: no memory to receive into");
    got = fl_socket_recvfrom(self->watch.fd, buffer, room, &from);
    if (got >= 0)
        args[1] = PyBytes_FromStringAndSize(buffer, got);
    FlLoop_GiveBuffer(self->loop, buffer);
    if (got == -EAGAIN || got == -EWOULDBLOCK)
        return 0;
    if (got < 0)
        return tell_error(self, (int)-got) < 0 ? -1 : 0;
    self->loop->stats.bytes_read += (uint64_t)got;
    if (args[1] != NULL)
        args[2] = Py_XNewRef(sender(self, &from));
    res = args[2] == NULL
              ? NULL
              : FlTransport_CallIn(self->loop, self->context, (PyObject *)self,
                                   self->on_data, args, 2);
    Py_XDECREF(args[1]);
    Py_XDECREF(args[2]);
    if (res == NULL)
        return FlDatagrams_Report(self, "protocol.datagram_received() failed") < 0 ? -1
                                                                                   : 1;
    Py_DECREF(res);
    return 1;
}

static int
receive(FlDatagrams *self)
{
    int most = self->burst || self->looks++ % LOOK_EVERY == 0 ? BURST : 1;
    int got = 0, one = 1;

    while (got < most && one > 0 && !self->closing) {
        one = receive_one(self);
        got += one > 0;
    }
    if (most > 1)
        self->burst = got > 1;
    return one < 0 ? -1 : 0;
}

/* ---- sending ---- */

/* The socket's own method, where the address is not numeric. 1, 0 would block, -1. */
static int
send_by_python(FlDatagrams *self, PyObject *data, PyObject *address)
{
    PyObject *sent = PyObject_CallMethodObjArgs(self->sock, self->st->str_sendto, data,
                                                address, NULL);

    if (sent != NULL) {
        Py_DECREF(sent);
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* 1 sent (or given up: the protocol was told), 0 would block, -1 fatal. */
static int
send_one(FlDatagrams *self, PyObject *data, const char *p, size_t n, PyObject *address)
{
    fl_address parsed;
    const fl_address *to = NULL;
    PyObject *exc, *res;
    ssize_t sent;
    int err = 1;

    if (address != NULL && !self->connected) {
        if (address == self->peer && self->peer_raw.len > 0) {
            to = &self->peer_raw;
        } else {
            err = FlAddress_FromPython(self->family, address, &parsed);
            to = &parsed;
        }
    }
    if (err > 0) {
        sent = fl_socket_sendto(self->watch.fd, p, n, to);
        if (sent >= 0) {
            self->loop->stats.bytes_sent += (uint64_t)sent;
            return 1;
        }
        if (sent == -EAGAIN || sent == -EWOULDBLOCK)
            return 0;
        return tell_error(self, (int)-sent) < 0 ? -1 : 1;
    }
    err = err < 0 ? -1 : send_by_python(self, data, address);
    if (err >= 0)
        return err;
    if (!PyErr_ExceptionMatches(PyExc_OSError))
        return FlDatagrams_Fail(self, "Fatal write error on datagram transport") < 0
                   ? -1
                   : 1;
    exc = PyErr_GetRaisedException();
    res = FlDatagrams_Call(self, self->st->str_error_received, exc);
    Py_DECREF(exc);
    if (res == NULL)
        return FlDatagrams_Report(self, "protocol.error_received() failed") < 0 ? -1
                                                                                : 1;
    Py_DECREF(res);
    return 1;
}

static int
send_queue(FlDatagrams *self)
{
    PyObject *res;
    int sent = 1;

    while (self->first != NULL && !self->ended) {
        FlOutgoing *out = self->first;
        PyObject *data = Py_NewRef(out->data), *address = Py_XNewRef(out->address);

        sent = send_one(self, data, PyBytes_AS_STRING(data),
                        (size_t)PyBytes_GET_SIZE(data), address);
        if (sent > 0 && self->first == out) {
            self->first = out->next;
            if (self->first == NULL)
                self->last = &self->first;
            self->queued -= (size_t)PyBytes_GET_SIZE(data);
            Py_DECREF(out->data);
            Py_XDECREF(out->address);
            PyMem_Free(out);
        }
        Py_DECREF(data);
        Py_XDECREF(address);
        if (sent <= 0)
            break;
    }
    if (sent < 0)
        return -1;
    if (self->writing_paused && self->queued <= self->low && !self->ended) {
        self->writing_paused = false;
        res = FlDatagrams_Call(self, self->st->str_resume_writing, NULL);
        if (res == NULL &&
            FlDatagrams_Report(self, "protocol.resume_writing() failed") < 0)
            return -1;
        Py_XDECREF(res);
    }
    if (self->first == NULL && self->closing)
        FlDatagrams_End(self);
    return 0;
}

int
FlDatagrams_Ready(FlLoop *loop, fl_watch *watch, uint32_t events)
{
    FlDatagrams *self = (FlDatagrams *)((char *)watch - offsetof(FlDatagrams, watch));
    int err = 0;

    (void)loop;
    Py_INCREF(self);
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) && !self->closing)
        err = receive(self);
    if (err == 0 && self->first != NULL && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
        err = send_queue(self);
    if (err == 0 && FlDatagrams_Watch(self) < 0)
        err = FlDatagrams_Fail(self, "Fatal error: the descriptor cannot be watched");
    Py_DECREF(self);
    return err;
}

int
FlDatagrams_WaterRose(FlDatagrams *self)
{
    PyObject *res;

    if (self->writing_paused || self->queued <= self->high || self->protocol == NULL)
        return 0;
    self->writing_paused = true;
    res = PyObject_CallMethodNoArgs(self->protocol, self->st->str_pause_writing);
    if (res == NULL)
        return FlDatagrams_Report(self, "protocol.pause_writing() failed");
    Py_DECREF(res);
    return 0;
}

/* Keeps a datagram until there is room. 0 or -1. */
static int
enqueue(FlDatagrams *self, PyObject *data, const Py_buffer *view, PyObject *address)
{
    FlOutgoing *out = PyMem_Malloc(sizeof *out);
    PyObject *bytes = PyBytes_CheckExact(data)
                          ? Py_NewRef(data)
                          : PyBytes_FromStringAndSize(view->buf, view->len);

    if (out == NULL || bytes == NULL) {
        PyMem_Free(out);
        Py_XDECREF(bytes);
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        return -1;
    }
    *out = (FlOutgoing){.data = bytes, .address = Py_XNewRef(address)};
    *self->last = out;
    self->last = &out->next;
    self->queued += (size_t)view->len;
    if (FlDatagrams_Watch(self) < 0)
        return -1;
    return FlDatagrams_WaterRose(self);
}

static int
check_address(FlDatagrams *self, PyObject **address)
{
    int same;

    if (*address == Py_None)
        *address = NULL;
    if (self->remote == NULL)
        return 0;
    if (*address != NULL) {
        same = PyObject_RichCompareBool(*address, self->remote, Py_EQ);
        if (same < 0)
            return -1;
        if (!same) {
            PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %R",
                         self->remote);
            return -1;
        }
    }
    *address = self->remote;
    return 0;
}

int
FlDatagrams_Send(FlDatagrams *self, PyObject *data, PyObject *address)
{
    Py_buffer view;
    int err = 0;

    if (check_address(self, &address) < 0)
        return -1;
    if (self->closing) {
        if (self->lost++ >= LOST_SENDS_TOLD) {
            PyObject *done = PyObject_CallMethod(self->st->asyncio_log, "warning", "s",
                                                 "socket.send() raised exception.");
            if (done == NULL)
                return -1;
            Py_DECREF(done);
        }
        return 0;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
        return -1;
    if (self->first == NULL)
        err = send_one(self, data, view.buf, (size_t)view.len, address);
    if (err == 0 && !self->ended)
        err = enqueue(self, data, &view, address);
    PyBuffer_Release(&view);
    return err < 0 ? -1 : 0;
}
