/* file_send.c -- file bytes to a socket without passing through the process.
 *
 * Layer: sys. Threads: none.
 */
#include "sys/file_send.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <unistd.h>

ssize_t
fl_sendfile(int out, int in, int64_t *offset, size_t n)
{
    for (;;) {
        off_t at = (off_t)*offset;
        ssize_t sent = sendfile(out, in, &at, n);
        if (sent >= 0) {
            *offset = at;
            return sent;
        }
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t
fl_file_read_at(int fd, void *buf, size_t n, int64_t offset)
{
    for (;;) {
        ssize_t got = pread(fd, buf, n, (off_t)offset);
        if (got >= 0)
            return got;
        if (errno != EINTR)
            return -errno;
    }
}
