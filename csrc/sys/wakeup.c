/* wakeup.c -- how another thread, or a signal, ends a loop's wait.
 *
 * Layer: sys. Threads: see the header.
 */
#include "sys/wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int
fl_wakeup_init(fl_wakeup *w)
{
    w->signal_read = w->signal_write = -1;
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return w->event_fd < 0 ? -errno : 0;
}

void
fl_wakeup_free(fl_wakeup *w)
{
    int *fds[] = {&w->event_fd, &w->signal_read, &w->signal_write};

    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

void
fl_wakeup_ring(fl_wakeup *w)
{
    const uint64_t one = 1;
    ssize_t n;

    do
        n = write(w->event_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    /* EAGAIN: the counter is full, so it is readable already. */
}

void
fl_wakeup_quiet(fl_wakeup *w)
{
    uint64_t count;
    ssize_t n;

    do
        n = read(w->event_fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
}

int
fl_wakeup_open_signals(fl_wakeup *w)
{
    int fds[2];

    if (w->signal_read >= 0)
        return 0;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    w->signal_read = fds[0];
    w->signal_write = fds[1];
    return 0;
}

void
fl_wakeup_quiet_signals(fl_wakeup *w)
{
    unsigned char numbers[64];
    ssize_t n;

    do
        n = read(w->signal_read, numbers, sizeof numbers);
    while (n < 0 && errno == EINTR);
}
