/* files.h -- regular files as a server needs them: opened below a folder, sent, and asked
 * whether their bytes are in memory.
 *
 * A disk blocks whatever O_NONBLOCK says, so each call that may touch it has a form that
 * does not: a path that is in the kernel's name cache (RESOLVE_CACHED), bytes that are in
 * its page cache (RWF_NOWAIT).
 *
 * Layer: sys. Threads: none.
 */
#ifndef FL_SYS_FILES_H
#define FL_SYS_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens `path` (relative) for reading below the folder `root`, whatever links and `..`
 * are met on the way, never waiting for a peer of a pipe. The descriptor, or -EXDEV
 * where the path leads out of root, -EAGAIN where `cached` was asked and a disk would
 * have to be read, -ENOSYS where the kernel cannot promise any of this, or -errno. */
int fl_file_open_beneath(const char *root, const char *path, bool cached);

/* Opens `path` for reading wherever it leads: the descriptor or -errno. */
int fl_file_open(const char *path);

typedef struct {
    int64_t size;
    int64_t mtime_ns;
    bool regular, folder;
} fl_file_facts;

/* 0 or -errno. */
int fl_file_look(int fd, fl_file_facts *facts);

/* Sends up to n bytes of file `in` from *offset, advancing *offset by what was sent.
 * Gives that count (0 = the file ends here), -EAGAIN when the socket takes none, -EINVAL
 * where the file cannot be sent this way, or -errno. */
ssize_t fl_sendfile(int out, int in, int64_t *offset, size_t n);

/* Reads up to n bytes at offset: the count (0 = end) or -errno. */
ssize_t fl_file_read_at(int fd, void *buf, size_t n, int64_t offset);

/* The same of what is in memory: -EAGAIN where it is not. Where the file system cannot
 * tell, it is read. */
ssize_t fl_file_read_cached(int fd, void *buf, size_t n, int64_t offset);

#endif
