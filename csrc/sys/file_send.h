/* file_send.h -- file bytes to a socket without passing through the process.
 *
 * Layer: sys. Threads: none.
 */
#ifndef FL_SYS_FILE_SEND_H
#define FL_SYS_FILE_SEND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Sends up to n bytes of file `in` from *offset, advancing *offset by what was sent.
 * Gives that count (0 = the file ends here), -EAGAIN when the socket takes none, -EINVAL
 * where the file cannot be sent this way, or -errno. */
ssize_t fl_sendfile(int out, int in, int64_t *offset, size_t n);

/* Reads up to n bytes at offset: the count (0 = end) or -errno. For what cannot be sent a
 * file directly (TLS). */
ssize_t fl_file_read_at(int fd, void *buf, size_t n, int64_t offset);

#endif
