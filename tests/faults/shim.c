/* shim.c -- lets one system call, or realloc, fail, or do less than it was asked to.
 *
 * LD_PRELOAD; the program arms it: fl_fault(CALL, n, error), and asks fl_fault_hits()
 * afterwards. The n-th call of that name (1, 2, ...; 0: every one) fails with error; with
 * SHORT it moves one byte at most; calls before and after are the system's. The eight
 * bytes of an eventfd are interrupted at worst.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORT (-1)

static char name[32];
static long nth, seen, hits;
static int error;

void
fl_fault(const char *call, long n, int err)
{
    strncpy(name, call, sizeof name - 1);
    nth = n;
    error = err;
    seen = hits = 0;
}

long
fl_fault_hits(void)
{
    return hits;
}

static int
due(const char *call)
{
    if (name[0] == '\0' || strcmp(call, name) != 0)
        return 0;
    seen++;
    if (nth != 0 && seen != nth)
        return 0;
    hits++;
    return 1;
}

#define REAL(call) ((__typeof__(&call))dlsym(RTLD_NEXT, #call))
#define FAIL(call)               \
    int hit = due(#call);        \
    if (hit && error != SHORT) { \
        errno = error;           \
        return -1;               \
    }

void *
realloc(void *p, size_t n)
{
    if (due("realloc")) {
        errno = ENOMEM;
        return NULL;
    }
    return REAL(realloc)(p, n);
}

ssize_t
read(int fd, void *buf, size_t n)
{
    if (n == 8 && error != EINTR)
        return REAL(read)(fd, buf, n);
    FAIL(read)
    return REAL(read)(fd, buf, hit && n > 1 ? 1 : n);
}

ssize_t
write(int fd, const void *buf, size_t n)
{
    if (n == 8 && error != EINTR)
        return REAL(write)(fd, buf, n);
    FAIL(write)
    return REAL(write)(fd, buf, hit && n > 1 ? 1 : n);
}

ssize_t
recv(int fd, void *buf, size_t n, int flags)
{
    FAIL(recv)
    return REAL(recv)(fd, buf, hit && n > 1 ? 1 : n, flags);
}

ssize_t
send(int fd, const void *buf, size_t n, int flags)
{
    FAIL(send)
    return REAL(send)(fd, buf, hit && n > 1 ? 1 : n, flags);
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
    FAIL(sendmsg)
    if (hit && message->msg_iovlen > 0) {
        struct msghdr less = *message;
        struct iovec first = message->msg_iov[0];

        if (first.iov_len > 1)
            first.iov_len = 1;
        less.msg_iov = &first;
        less.msg_iovlen = 1;
        return REAL(sendmsg)(fd, &less, flags);
    }
    return REAL(sendmsg)(fd, message, flags);
}

ssize_t
sendfile(int out, int in, off_t *offset, size_t n)
{
    FAIL(sendfile)
    return REAL(sendfile)(out, in, offset, hit && n > 1 ? 1 : n);
}

int
accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    FAIL(accept4)
    return REAL(accept4)(fd, address, len, flags);
}

int
epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    FAIL(epoll_ctl)
    return REAL(epoll_ctl)(epfd, op, fd, event);
}

int
epoll_create1(int flags)
{
    FAIL(epoll_create1)
    return REAL(epoll_create1)(flags);
}

int
eventfd(unsigned int value, int flags)
{
    FAIL(eventfd)
    return ((int (*)(unsigned int, int))dlsym(RTLD_NEXT, "eventfd"))(value, flags);
}

/* An early epoll_wait gives no event. */
int
epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
    FAIL(epoll_wait)
    return hit ? 0 : REAL(epoll_wait)(epfd, events, max, timeout);
}

/* The loop's exact wait goes by number. */
long
syscall(long number, ...)
{
    va_list args;
    long a[6];

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
#ifdef SYS_epoll_pwait2
    if (number == SYS_epoll_pwait2) {
        FAIL(epoll_wait)
        if (hit)
            return 0;
    }
#endif
    return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, a[0], a[1], a[2],
                                                              a[3], a[4], a[5]);
}

int
getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    FAIL(getsockopt)
    return REAL(getsockopt)(fd, level, option, value, len);
}
