/* sockets.h -- the socket calls of the core: restarted after EINTR, giving 0 or -errno.
 *
 * Every descriptor made here is close-on-exec and non-blocking from birth. Sending never
 * raises SIGPIPE. What moves bytes gives their count. (The file is not called socket.h:
 * the folder is on the include path and would hide the system's <sys/socket.h>.)
 *
 * Layer: sys. Threads: none of its own; a descriptor belongs to its loop's thread.
 */
#ifndef FL_SYS_SOCKETS_H
#define FL_SYS_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* A peer's or a socket's own address with its true length. */
typedef struct {
    struct sockaddr_storage addr;
    socklen_t len;
} fl_address;

/* Bytes received (0 = the peer ended its side), -EAGAIN when there are none yet, or
 * -errno. */
ssize_t fl_socket_recv(int fd, void *buf, size_t n);

/* Whether a receive would give something: bytes, the peer's end or an error. Takes
 * nothing. */
bool fl_socket_has_news(int fd);

/* Bytes sent, possibly fewer than given; -EAGAIN when the kernel takes none; -errno. */
ssize_t fl_socket_send(int fd, const void *buf, size_t n);
ssize_t fl_socket_sendv(int fd, const struct iovec *iov, int n);

/* The same for what something will follow at once: TCP may wait for it. */
ssize_t fl_socket_send_more(int fd, const struct iovec *iov, int n);

/* Datagrams: bytes received and who sent them (peer->len 0: nobody said); bytes sent, to
 * `to` or (NULL) the connected peer. */
ssize_t fl_socket_recvfrom(int fd, void *buf, size_t n, fl_address *peer);
ssize_t fl_socket_sendto(int fd, const void *buf, size_t n, const fl_address *to);

/* The same three for what is no socket: pipes, FIFOs, terminals. */
ssize_t fl_pipe_read(int fd, void *buf, size_t n);
ssize_t fl_pipe_write(int fd, const void *buf, size_t n);
ssize_t fl_pipe_writev(int fd, const struct iovec *iov, int n);

/* The new descriptor and its peer, or -errno. */
int fl_socket_accept(int fd, fl_address *peer);

/* The error the kernel keeps for the socket (and forgets by being asked): 0, errno as a
 * positive number, or -errno when the question itself failed. */
int fl_socket_error(int fd);

/* 0 or -errno. TCP_NODELAY on what is not TCP gives -EOPNOTSUPP; callers ignore it. */
int fl_socket_nodelay(int fd, bool on);
int fl_socket_shutdown_write(int fd);
int fl_set_nonblocking(int fd);

/* Makes close() reset the connection instead of ending it. 0 or -errno. */
int fl_socket_reset_on_close(int fd);

/* The socket's own address, its peer's. 0 or -errno (-ENOTCONN). */
int fl_socket_name(int fd, fl_address *own);
int fl_socket_peer(int fd, fl_address *peer);

/* An IPv4 or IPv6 address as text, without port and scope; text. */
enum { FL_ADDRESS_TEXT = 64 };
const char *fl_address_text(const fl_address *address, char text[FL_ADDRESS_TEXT]);

/* The address of a numeric host: family AF_INET or AF_INET6 (flow and scope for the
 * latter). Whether it could be read. */
bool fl_address_parse(int family, const char *host, uint16_t port, uint32_t flow,
                      uint32_t scope, fl_address *address);

/* Closes fd. EINTR counts as closed, as Linux has it. 0 or -errno. */
int fl_close(int fd);

#endif
