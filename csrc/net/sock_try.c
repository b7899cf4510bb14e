/* sock_try.c -- the operations of loop.sock_*, each tried once.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/sock_call.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "net/listener.h"

int
FlSockCall_Descriptor(PyObject *sock)
{
    int fd = PyObject_AsFileDescriptor(sock);

    if (fd < 0 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear();
        errno = EBADF;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return fd;
}

/* A socket object on a descriptor, which it takes over, non-blocking. New reference or
 * NULL (then fd is closed). */
static PyObject *
socket_from_fd(FlState *st, int fd)
{
    PyObject *type = FlState_Lazy(st, &st->Socket, "socket", "socket");
    PyObject *number = type == NULL ? NULL : PyLong_FromLong(fd);
    PyObject *names = number == NULL ? NULL : PyTuple_Pack(1, st->str_fileno);
    PyObject *sock = NULL, *done;

    if (names != NULL)
        sock = PyObject_Vectorcall(type, &number, 0, names);
    Py_XDECREF(number);
    Py_XDECREF(names);
    if (sock == NULL) {
        (void)fl_close(fd);
        return NULL;
    }
    done = PyObject_CallMethod(sock, "setblocking", "O", Py_False);
    if (done == NULL)
        Py_CLEAR(sock);
    Py_XDECREF(done);
    return sock;
}

static bool
parse_unix(PyObject *path, fl_address *out)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;
    const char *p;
    Py_ssize_t n;

    if (PyBytes_Check(path)) {
        p = PyBytes_AS_STRING(path);
        n = PyBytes_GET_SIZE(path);
    } else if (PyUnicode_Check(path) && PyUnicode_IS_ASCII(path)) {
        p = (const char *)PyUnicode_1BYTE_DATA(path);
        n = PyUnicode_GET_LENGTH(path);
    } else {
        return false;
    }
    if (n == 0 || (size_t)n >= sizeof un->sun_path)
        return false;
    memset(out, 0, sizeof *out);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, p, (size_t)n);
    /* A path ends with a NUL, an abstract name with its last byte. */
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n +
                           (p[0] != '\0'));
    return true;
}

int
FlAddress_FromPython(int family, PyObject *address, fl_address *out)
{
    Py_ssize_t parts = PyTuple_Check(address) ? PyTuple_GET_SIZE(address) : 0;
    unsigned long number[4] = {0};
    PyObject *host;

    if (family == AF_UNIX)
        return parse_unix(address, out);
    if ((family != AF_INET || parts != 2) &&
        (family != AF_INET6 || parts < 2 || parts > 4))
        return 0;
    host = PyTuple_GET_ITEM(address, 0);
    if (!PyUnicode_Check(host) || !PyUnicode_IS_ASCII(host))
        return 0;
    for (Py_ssize_t i = 1; i < parts; i++) {
        PyObject *item = PyTuple_GET_ITEM(address, i);

        if (!PyLong_Check(item))
            return 0;
        number[i] = PyLong_AsUnsignedLong(item);
        if (number[i] == (unsigned long)-1 && PyErr_Occurred()) {
            PyErr_Clear(); /* whoever takes it next says what is wrong */
            return 0;
        }
        if (number[i] > (i == 1 ? UINT16_MAX : UINT32_MAX))
            return 0;
    }
    return fl_address_parse(family, (const char *)PyUnicode_1BYTE_DATA(host),
                            (uint16_t)number[1], (uint32_t)number[2],
                            (uint32_t)number[3], out);
}

/* ---- the outcome of a system call ---- */

static bool
would_block(ssize_t got)
{
    return got == -EAGAIN || got == -EWOULDBLOCK;
}

/* 0 when it would block, else -1 with OSError. */
static int
blocked_or_failed(ssize_t got)
{
    if (would_block(got))
        return 0;
    errno = (int)-got;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int
number_done(ssize_t n, PyObject **result)
{
    *result = PyLong_FromSsize_t(n);
    return *result == NULL ? -1 : 1;
}

/* (first, address): first is stolen. */
static int
with_address(PyObject *first, const fl_address *peer, PyObject **result)
{
    PyObject *address = NULL;

    if (first != NULL) {
        if (peer->len == 0 || peer->len > sizeof peer->addr)
            address = Py_NewRef(Py_None);
        else
            address = FlAddress_ToPython(peer);
    }
    *result = address == NULL ? NULL : PyTuple_Pack(2, first, address);
    Py_XDECREF(first);
    Py_XDECREF(address);
    return *result == NULL ? -1 : 1;
}

/* ---- receiving ---- */

static int
try_recv(FlSockCall *call, int fd, PyObject **result)
{
    bool from = call->op == FL_SOCK_RECVFROM;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)call->n);
    fl_address peer;
    ssize_t got;

    if (bytes == NULL)
        return -1;
    got = from ? fl_socket_recvfrom(fd, PyBytes_AS_STRING(bytes), call->n, &peer)
               : fl_socket_recv(fd, PyBytes_AS_STRING(bytes), call->n);
    if (got < 0) {
        Py_DECREF(bytes);
        return blocked_or_failed(got);
    }
    if ((size_t)got < call->n && _PyBytes_Resize(&bytes, got) < 0)
        return -1;
    if (from)
        return with_address(bytes, &peer, result);
    *result = bytes;
    return 1;
}

static int
try_recv_into(FlSockCall *call, int fd, PyObject **result)
{
    bool from = call->op == FL_SOCK_RECVFROM_INTO;
    fl_address peer;
    Py_buffer view;
    ssize_t got;
    size_t n;

    if (PyObject_GetBuffer(call->data, &view, PyBUF_WRITABLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_BufferError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_TypeError, "a writable buffer was expected, got %R",
                         call->data);
        }
        return -1;
    }
    n = call->n == 0 ? (size_t)view.len : call->n;
    if (n > (size_t)view.len) {
        PyBuffer_Release(&view);
        PyErr_Format(PyExc_ValueError,
                     "nbytes is greater than the length of the buffer: %zu, but there "
                     "is room for %zd",
                     n, view.len);
        return -1;
    }
    got = from ? fl_socket_recvfrom(fd, view.buf, n, &peer)
               : fl_socket_recv(fd, view.buf, n);
    PyBuffer_Release(&view);
    if (got < 0)
        return blocked_or_failed(got);
    if (from)
        return with_address(PyLong_FromSsize_t(got), &peer, result);
    return number_done(got, result);
}

static int
try_accept(FlSockCall *call, int fd, PyObject **result)
{
    fl_address peer;
    int got = fl_socket_accept(fd, &peer);

    if (got < 0)
        return blocked_or_failed(got);
    if (peer.len == 0)
        peer.addr.ss_family = AF_UNIX;
    PyObject *sock = socket_from_fd(call->st, got);
    PyObject *address = sock == NULL ? NULL : FlAddress_ToPython(&peer);

    *result = address == NULL ? NULL : PyTuple_Pack(2, sock, address);
    Py_XDECREF(sock);
    Py_XDECREF(address);
    return *result == NULL ? -1 : 1;
}

/* ---- sending ---- */

static int
try_sendall(FlSockCall *call, int fd, PyObject **result)
{
    while (call->done < (size_t)call->view.len) {
        ssize_t sent = fl_socket_send(fd, (const char *)call->view.buf + call->done,
                                      (size_t)call->view.len - call->done);

        if (sent < 0)
            return blocked_or_failed(sent);
        call->done += (size_t)sent;
    }
    *result = Py_NewRef(Py_None);
    return 1;
}

/* The socket's own method, for addresses that need a look-up. */
static int
sendto_by_python(FlSockCall *call, PyObject **result)
{
    *result =
        PyObject_CallMethod(call->sock, "sendto", "OO", call->data, call->address);
    if (*result != NULL)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return -1;
    PyErr_Clear();
    return 0;
}

static int
try_sendto(FlSockCall *call, int fd, PyObject **result)
{
    fl_address own, to;
    ssize_t sent;
    int err = fl_socket_name(fd, &own);

    if (err < 0)
        return blocked_or_failed(err);
    err = FlAddress_FromPython(own.addr.ss_family, call->address, &to);
    if (err < 0)
        return -1;
    if (err == 0)
        return sendto_by_python(call, result);
    sent = fl_socket_sendto(fd, call->view.buf, (size_t)call->view.len, &to);
    return sent < 0 ? blocked_or_failed(sent) : number_done(sent, result);
}

int
FlSockCall_Try(FlSockCall *call, PyObject **result)
{
    int fd = FlSockCall_Descriptor(call->sock);

    *result = NULL;
    if (fd < 0)
        return -1;
    switch ((enum FlSockOp)call->op) {
    case FL_SOCK_RECV:
    case FL_SOCK_RECVFROM:
        return try_recv(call, fd, result);
    case FL_SOCK_RECV_INTO:
    case FL_SOCK_RECVFROM_INTO:
        return try_recv_into(call, fd, result);
    case FL_SOCK_ACCEPT:
        return try_accept(call, fd, result);
    case FL_SOCK_SENDALL:
        return try_sendall(call, fd, result);
    case FL_SOCK_SENDTO:
        return try_sendto(call, fd, result);
    case FL_SOCK_READABLE:
    case FL_SOCK_WRITABLE:
        break;
    }
    *result = call->waited ? Py_NewRef(Py_None) : NULL;
    return call->waited;
}
