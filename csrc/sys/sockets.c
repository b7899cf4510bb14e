/* sockets.c -- the socket calls of the core: restarted after EINTR, giving 0 or -errno.
 *
 * Layer: sys. Threads: none of its own.
 */
#include "sys/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

ssize_t
fl_socket_recv(int fd, void *buf, size_t n)
{
    for (;;) {
        ssize_t got = recv(fd, buf, n, MSG_DONTWAIT);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return -errno;
    }
}

bool
fl_socket_has_news(int fd)
{
    char first;

    for (;;) {
        if (recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
            return true;
        if (errno != EINTR)
            return errno != EAGAIN && errno != EWOULDBLOCK;
    }
}

ssize_t
fl_socket_send(int fd, const void *buf, size_t n)
{
    for (;;) {
        ssize_t sent = send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0)
            return sent;
        if (errno != EINTR)
            return -errno;
    }
}

static ssize_t
send_vector(int fd, const struct iovec *iov, int n, int flags)
{
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
    for (;;) {
        ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | flags);
        if (sent >= 0)
            return sent;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t
fl_socket_sendv(int fd, const struct iovec *iov, int n)
{
    return send_vector(fd, iov, n, 0);
}

ssize_t
fl_socket_send_more(int fd, const struct iovec *iov, int n)
{
    return send_vector(fd, iov, n, MSG_MORE);
}

ssize_t
fl_socket_recvfrom(int fd, void *buf, size_t n, fl_address *peer)
{
    for (;;) {
        peer->len = sizeof peer->addr;
        ssize_t got = recvfrom(fd, buf, n, MSG_DONTWAIT, (struct sockaddr *)&peer->addr,
                               &peer->len);
        if (got >= 0) {
            if (peer->len > sizeof peer->addr)
                peer->len = sizeof peer->addr;
            return got;
        }
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t
fl_socket_sendto(int fd, const void *buf, size_t n, const fl_address *to)
{
    const struct sockaddr *addr =
        to == NULL ? NULL : (const struct sockaddr *)&to->addr;

    for (;;) {
        ssize_t sent = sendto(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL, addr,
                              to == NULL ? 0 : to->len);
        if (sent >= 0)
            return sent;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t
fl_pipe_read(int fd, void *buf, size_t n)
{
    for (;;) {
        ssize_t got = read(fd, buf, n);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t
fl_pipe_write(int fd, const void *buf, size_t n)
{
    for (;;) {
        ssize_t sent = write(fd, buf, n);
        if (sent >= 0)
            return sent;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t
fl_pipe_writev(int fd, const struct iovec *iov, int n)
{
    for (;;) {
        ssize_t sent = writev(fd, iov, n);
        if (sent >= 0)
            return sent;
        if (errno != EINTR)
            return -errno;
    }
}

int
fl_socket_accept(int fd, fl_address *peer)
{
    for (;;) {
        peer->len = sizeof peer->addr;
        int taken = accept4(fd, (struct sockaddr *)&peer->addr, &peer->len,
                            SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (taken >= 0) {
            if (peer->len > sizeof peer->addr)
                peer->len = sizeof peer->addr;
            return taken;
        }
        if (errno != EINTR)
            return -errno;
    }
}

int
fl_socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    return error;
}

int
fl_socket_nodelay(int fd, bool on)
{
    int value = on;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value) < 0)
        return -errno;
    return 0;
}

int
fl_socket_shutdown_write(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

int
fl_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK)
        return 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int
fl_socket_reset_on_close(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0)
        return -errno;
    return 0;
}

int
fl_socket_name(int fd, fl_address *own)
{
    own->len = sizeof own->addr;
    if (getsockname(fd, (struct sockaddr *)&own->addr, &own->len) < 0)
        return -errno;
    return 0;
}

int
fl_socket_peer(int fd, fl_address *peer)
{
    peer->len = sizeof peer->addr;
    if (getpeername(fd, (struct sockaddr *)&peer->addr, &peer->len) < 0)
        return -errno;
    return 0;
}

const char *
fl_address_text(const fl_address *address, char text[FL_ADDRESS_TEXT])
{
    int family = address->addr.ss_family;
    const void *bytes =
        family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)&address->addr)->sin_addr
            : (const void *)&((const struct sockaddr_in6 *)&address->addr)->sin6_addr;

    if (inet_ntop(family, bytes, text, FL_ADDRESS_TEXT) == NULL)
        text[0] = '\0';
    return text;
}

bool
fl_address_parse(int family, const char *host, uint16_t port, uint32_t flow,
                 uint32_t scope, fl_address *address)
{
    memset(address, 0, sizeof *address);
    if (family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&address->addr;

        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        address->len = sizeof *in;
        return inet_pton(AF_INET, host, &in->sin_addr) == 1;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->addr;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_flowinfo = htonl(flow);
    in6->sin6_scope_id = scope;
    address->len = sizeof *in6;
    return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1;
}

int
fl_close(int fd)
{
    if (close(fd) < 0 && errno != EINTR)
        return -errno;
    return 0;
}
