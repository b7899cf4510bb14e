/* channel_io.c -- how bytes move through a pipe; what channels on sockets share.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/channel_internal.h"

#include <errno.h>

#include "sys/sockets.h"

ssize_t
fl_channel_socket_send(FlChannel *ch, const struct iovec *iov, int n)
{
    if (ch->more)
        return fl_socket_send_more(ch->watch.fd, iov, n);
    if (n == 1)
        return fl_socket_send(ch->watch.fd, iov->iov_base, iov->iov_len);
    return fl_socket_sendv(ch->watch.fd, iov, n);
}

int
fl_channel_known_fileno(FlChannel *ch)
{
    (void)ch;
    PyErr_SetString(PyExc_OSError, "the descriptor is closed");
    return -1;
}

int
fl_channel_socket_error(FlChannel *ch)
{
    return fl_socket_error(ch->watch.fd);
}

static void
pipe_close(FlChannel *ch)
{
    if (ch->watch.fd >= 0)
        (void)fl_close(ch->watch.fd);
}

static ssize_t
pipe_recv(FlChannel *ch, char *buf, size_t n)
{
    ssize_t got = fl_pipe_read(ch->watch.fd, buf, n);

    /* The writing end of a pipe is never readable; its end comes as EPOLLERR. */
    return got == -EBADF ? -EAGAIN : got;
}

ssize_t
fl_channel_pipe_send(FlChannel *ch, const struct iovec *iov, int n)
{
    if (n == 1)
        return fl_pipe_write(ch->watch.fd, iov->iov_base, iov->iov_len);
    return fl_pipe_writev(ch->watch.fd, iov, n);
}

int
fl_channel_pipe_error(FlChannel *ch)
{
    (void)ch;
    return 0;
}

const FlChannelIO FlChannelIO_Pipe = {
    .recv = pipe_recv,
    .send = fl_channel_pipe_send,
    .fileno = fl_channel_known_fileno,
    .error = fl_channel_pipe_error,
    .close = pipe_close,
    .guess = 1,
};
