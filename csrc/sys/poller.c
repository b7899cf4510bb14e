/* poller.c -- descriptors and who wants to hear of them.
 *
 * An event carries (generation << 32 | fd) through epoll.
 *
 * Layer: sys. Threads: the loop's own.
 */
#include "sys/poller.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "sys/clock.h"

#define FIRST_TABLE 64

int
fl_poller_init(fl_poller *p)
{
    memset(p, 0, sizeof *p);
    p->process = fl_clock_process();
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    return p->epfd < 0 ? -errno : 0;
}

void
fl_poller_free(fl_poller *p)
{
    if (p->epfd >= 0)
        close(p->epfd);
    p->epfd = -1;
    free(p->table);
    p->table = NULL;
    p->size = 0;
    p->count = 0;
}

int
fl_poller_forked(const fl_poller *p)
{
    return p->process != fl_clock_process();
}

static int
poller_reserve(fl_poller *p, int fd)
{
    size_t size = p->size ? p->size : FIRST_TABLE;
    fl_watch **table;

    if (fd < 0)
        return -EBADF;
    if ((size_t)fd < p->size)
        return 0;
    while (size <= (size_t)fd)
        size *= 2;
    table = realloc(p->table, size * sizeof *table);
    if (table == NULL)
        return -ENOMEM;
    memset(table + p->size, 0, (size - p->size) * sizeof *table);
    p->table = table;
    p->size = size;
    return 0;
}

static int
poller_control(fl_poller *p, int op, const fl_watch *w, uint32_t events)
{
    struct epoll_event ev = {
        .events = events,
        .data.u64 = (uint64_t)w->generation << 32 | (uint32_t)w->fd,
    };

    return epoll_ctl(p->epfd, op, w->fd, &ev) < 0 ? -errno : 0;
}

int
fl_poller_add(fl_poller *p, fl_watch *w, uint32_t events)
{
    int err = poller_reserve(p, w->fd);

    if (err < 0)
        return err;
    if (p->table[w->fd] != NULL)
        return -EEXIST;
    if (++p->last_gen == 0)
        p->last_gen = 1;
    w->generation = p->last_gen;
    err = poller_control(p, EPOLL_CTL_ADD, w, events);
    if (err ==
        -EEXIST) /* a duplicate of a closed descriptor kept the old entry alive */
        err = poller_control(p, EPOLL_CTL_MOD, w, events);
    if (err < 0) {
        w->generation = 0;
        return err;
    }
    w->events = events;
    p->table[w->fd] = w;
    p->count++;
    return 0;
}

int
fl_poller_change(fl_poller *p, fl_watch *w, uint32_t events)
{
    int err;

    if (w->generation == 0)
        return -ENOENT;
    if (w->events == events)
        return 0;
    err = poller_control(p, EPOLL_CTL_MOD, w, events);
    if (err == -ENOENT) /* closed and opened again under the same number */
        err = poller_control(p, EPOLL_CTL_ADD, w, events);
    if (err == 0)
        w->events = events;
    return err;
}

void
fl_poller_forget(fl_poller *p, fl_watch *w)
{
    if ((size_t)w->fd < p->size && p->table[w->fd] == w) {
        p->table[w->fd] = NULL;
        p->count--;
    }
    w->generation = 0;
    w->events = 0;
}

void
fl_poller_remove(fl_poller *p, fl_watch *w)
{
    if (w->generation == 0)
        return;
    if (p->epfd >= 0)
        poller_control(p, EPOLL_CTL_DEL, w, 0);
    fl_poller_forget(p, w);
}

fl_watch *
fl_poller_find(const fl_poller *p, int fd)
{
    return fd >= 0 && (size_t)fd < p->size ? p->table[fd] : NULL;
}

fl_watch *
fl_poller_event_watch(const fl_poller *p, const struct epoll_event *ev)
{
    fl_watch *w = fl_poller_find(p, (int)(uint32_t)ev->data.u64);

    return w != NULL && w->generation == (uint32_t)(ev->data.u64 >> 32) ? w : NULL;
}

bool
fl_poller_stray(fl_poller *p, const struct epoll_event *ev)
{
    bool again = p->stray == ev->data.u64;

    p->stray = again ? 0 : ev->data.u64;
    return again;
}

int
fl_poller_renew(fl_poller *p)
{
    fl_poller fresh = *p;
    int err;

    fresh.epfd = epoll_create1(EPOLL_CLOEXEC);
    if (fresh.epfd < 0)
        return -errno;
    for (size_t fd = 0; fd < p->size; fd++) {
        /* What cannot be added was closed: nothing more comes of it. */
        if (p->table[fd] != NULL)
            (void)poller_control(&fresh, EPOLL_CTL_ADD, p->table[fd],
                                 p->table[fd]->events);
    }
    err = dup3(fresh.epfd, p->epfd, O_CLOEXEC) < 0 ? -errno : 0;
    close(fresh.epfd);
    return err;
}

/* epoll_wait knows milliseconds only; epoll_pwait2 (Linux 5.11) keeps the nanoseconds
 * of a deadline. */
static int
poller_wait_exact(fl_poller *p, struct epoll_event *events, int max, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2
    struct timespec ts = {
        .tv_sec = (time_t)(timeout_ns / (int64_t)FL_NS_PER_S),
        .tv_nsec = (long)(timeout_ns % (int64_t)FL_NS_PER_S),
    };
    int n = (int)syscall(SYS_epoll_pwait2, p->epfd, events, max, &ts, NULL, (size_t)0);

    if (n >= 0 || (errno != ENOSYS && errno != EPERM))
        return n;
#endif
    int64_t ms = timeout_ns / (int64_t)FL_NS_PER_MS + 1;
    return epoll_wait(p->epfd, events, max, ms > INT_MAX ? INT_MAX : (int)ms);
}

int
fl_poller_wait(fl_poller *p, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int n;

    if (timeout_ns <= 0)
        n = epoll_wait(p->epfd, events, max, timeout_ns == 0 ? 0 : -1);
    else
        n = poller_wait_exact(p, events, max, timeout_ns);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n;
}
