/* files.c -- regular files as a server needs them: opened below a folder, sent, and asked
 * whether their bytes are in memory.
 *
 * Layer: sys. Threads: none.
 */
#include "sys/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* As <linux/openat2.h> has them, which older build machines lack. */
struct open_how_v0 {
    uint64_t flags, mode, resolve;
};
#define NO_MAGICLINKS 0x02u
#define BENEATH 0x08u
#define CACHED 0x20u
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

#define READ_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define RACES_MOST 16 /* walks begun again because something was renamed meanwhile */

static int
open_how(int folder, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how_v0 how = {.flags = flags, .resolve = resolve};
    int races = 0;

    for (;;) {
        long fd = syscall(SYS_openat2, folder, path, &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        if (errno == EINVAL && (how.resolve & CACHED) != 0) {
            how.resolve &= ~(uint64_t)CACHED; /* Linux before 5.12 */
            continue;
        }
        if (errno == EAGAIN && (how.resolve & CACHED) == 0 && races++ < RACES_MOST)
            continue;
        if (errno == EPERM) /* a sandbox that does not know the call */
            return -ENOSYS;
        if (errno != EINTR)
            return -errno;
    }
}

int
fl_file_open_beneath(const char *root, const char *path, bool cached)
{
    uint64_t resolve = cached ? CACHED : 0;
    int folder = open_how(AT_FDCWD, root, O_PATH | O_DIRECTORY | O_CLOEXEC, resolve);
    int fd;

    if (folder < 0)
        return folder;
    fd = open_how(folder, path, READ_FLAGS, BENEATH | NO_MAGICLINKS | resolve);
    (void)close(folder);
    return fd;
}

int
fl_file_open(const char *path)
{
    for (;;) {
        int fd = open(path, READ_FLAGS);

        if (fd >= 0)
            return fd;
        if (errno != EINTR)
            return -errno;
    }
}

int
fl_file_look(int fd, fl_file_facts *facts)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -errno;
    facts->size = status.st_size;
    facts->mtime_ns =
        (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    facts->regular = S_ISREG(status.st_mode);
    facts->folder = S_ISDIR(status.st_mode);
    return 0;
}

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

ssize_t
fl_file_read_cached(int fd, void *buf, size_t n, int64_t offset)
{
    struct iovec iov = {.iov_base = buf, .iov_len = n};

    for (;;) {
        ssize_t got = preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT);

        if (got >= 0)
            return got;
        if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
            return fl_file_read_at(fd, buf, n, offset);
        if (errno != EINTR)
            return -errno;
    }
}
