/* fast_clock.c -- a clock that is FAST_CLOCK times as fast as the machine, preloaded.
 *
 *   gcc -O1 -shared -fPIC -o fast_clock.so tests/fast_clock.c -ldl
 *   FAST_CLOCK=30 PYFASTLOOP_TEST_SECONDS=20000 LD_PRELOAD=$PWD/fast_clock.so pytest ...
 *
 * For what it preloads, the machine is that much slower: a time limit of 50 ms is over
 * after a few of them, without load on anybody else. A test that fails so either takes
 * its limit's time on a machine as slow, or has a race between a limit and what must
 * come before. All clocks run from when the first process began, those of its children
 * too. Waits with a limit of the kernel's (SO_RCVTIMEO, timerfd) are as ever.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static double factor;
static int64_t begun[2]; /* of CLOCK_REALTIME, CLOCK_MONOTONIC */

/* syscall() is among what is preloaded, for the loop's epoll_pwait2. */
static long
ask(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return result;
}

static int64_t
nanoseconds(const struct timespec *ts)
{
    return ts->tv_sec * SECOND + ts->tv_nsec;
}

static struct timespec
timespec_of(int64_t ns)
{
    ns = ns < 0 ? 0 : ns;
    return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

static int64_t
kernels(clockid_t clock)
{
    struct timespec ts;
    ask(SYS_clock_gettime, clock, (long)&ts, 0, 0, 0, 0);
    return nanoseconds(&ts);
}

__attribute__((constructor)) static void
begin(void)
{
    if (factor != 0) {
        return;
    }
    const char *given = getenv("FAST_CLOCK"), *since = getenv("FAST_CLOCK_SINCE");
    long long first[2];
    factor = given == NULL ? 1 : strtod(given, NULL);
    factor = factor < 1 ? 1 : factor;
    begun[0] = kernels(CLOCK_REALTIME);
    begun[1] = kernels(CLOCK_MONOTONIC);
    if (since != NULL && sscanf(since, "%lld,%lld", &first[0], &first[1]) == 2) {
        begun[0] = first[0];
        begun[1] = first[1];
        return;
    }
    char text[64];
    snprintf(text, sizeof text, "%lld,%lld", (long long)begun[0], (long long)begun[1]);
    setenv("FAST_CLOCK_SINCE", text, 1);
}

/* When a clock's time began to be told; NULL for what counts no time of day. */
static const int64_t *
start_of(clockid_t clock)
{
    begin();
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return &begun[0];
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        return &begun[1];
    default:
        return NULL;
    }
}

static int64_t
told(clockid_t clock)
{
    const int64_t *start = start_of(clock);
    int64_t now = kernels(clock);
    return start == NULL ? now : *start + (int64_t)((double)(now - *start) * factor);
}

/* The kernel's time of a deadline, and of a span. */
static struct timespec
deadline(clockid_t clock, const struct timespec *when)
{
    const int64_t *start = start_of(clock);
    int64_t ns = nanoseconds(when);
    return timespec_of(
        start == NULL ? ns : *start + (int64_t)((double)(ns - *start) / factor));
}

static struct timespec
span(double ns)
{
    begin();
    return timespec_of((int64_t)(ns / factor));
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
    *ts = timespec_of(told(clock));
    return 0;
}

time_t
time(time_t *result)
{
    time_t now = told(CLOCK_REALTIME) / SECOND;
    if (result != NULL) {
        *result = now;
    }
    return now;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    int64_t now = told(CLOCK_REALTIME);
    (void)zone;
    *tv = (struct timeval){.tv_sec = now / SECOND, .tv_usec = now % SECOND / 1000};
    return 0;
}

int
epoll_pwait(int fd, struct epoll_event *events, int max, int ms, const sigset_t *mask)
{
    struct timespec ts = span(ms * 1e6);
    return (int)ask(SYS_epoll_pwait2, fd, (long)events, max, ms < 0 ? 0 : (long)&ts,
                    (long)mask, _NSIG / 8);
}

int
epoll_wait(int fd, struct epoll_event *events, int max, int ms)
{
    return epoll_pwait(fd, events, max, ms, NULL);
}

int
ppoll(struct pollfd *fds, nfds_t n, const struct timespec *limit, const sigset_t *mask)
{
    struct timespec ts = span(limit == NULL ? 0 : (double)nanoseconds(limit));
    return (int)ask(SYS_ppoll, (long)fds, (long)n, limit == NULL ? 0 : (long)&ts,
                    (long)mask, _NSIG / 8, 0);
}

int
poll(struct pollfd *fds, nfds_t n, int ms)
{
    struct timespec ts = timespec_of(ms * 1000000LL);
    return ppoll(fds, n, ms < 0 ? NULL : &ts, NULL);
}

int
select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *limit)
{
    struct timespec ts =
        span(limit == NULL ? 0 : (double)limit->tv_sec * 1e9 + limit->tv_usec * 1e3);
    return (int)ask(SYS_pselect6, n, (long)r, (long)w, (long)x,
                    limit == NULL ? 0 : (long)&ts, 0);
}

long
syscall(long number, ...)
{
    va_list rest;
    long a[6];
    struct timespec ts;
    va_start(rest, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(rest, long);
    }
    va_end(rest);
    if (number == SYS_epoll_pwait2 && a[3] != 0) {
        ts = span((double)nanoseconds((const struct timespec *)a[3]));
        a[3] = (long)&ts;
    }
    return ask(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int
clock_nanosleep(clockid_t clock, int flags, const struct timespec *until,
                struct timespec *left)
{
    struct timespec ts = flags & TIMER_ABSTIME ? deadline(clock, until)
                                               : span((double)nanoseconds(until));
    int failed =
        (int)ask(SYS_clock_nanosleep, clock, flags, (long)&ts, (long)left, 0, 0);
    return failed ? errno : 0;
}

int
nanosleep(const struct timespec *until, struct timespec *left)
{
    errno = clock_nanosleep(CLOCK_MONOTONIC, 0, until, left);
    return errno == 0 ? 0 : -1;
}

int
setitimer(__itimer_which_t which, const struct itimerval *wanted, struct itimerval *old)
{
    struct itimerval faster;
    if (wanted != NULL) {
        const struct timeval *from[2] = {&wanted->it_value, &wanted->it_interval};
        struct timeval *to[2] = {&faster.it_value, &faster.it_interval};
        for (int i = 0; i < 2; i++) {
            struct timespec ts =
                span((double)from[i]->tv_sec * 1e9 + (double)from[i]->tv_usec * 1e3);
            long us = ts.tv_nsec / 1000;
            int some = from[i]->tv_sec != 0 || from[i]->tv_usec != 0;
            to[i]->tv_sec = ts.tv_sec;
            to[i]->tv_usec = some && ts.tv_sec == 0 && us == 0 ? 1 : us;
        }
    }
    return (int)ask(SYS_setitimer, which, wanted == NULL ? 0 : (long)&faster, (long)old,
                    0, 0, 0);
}

int
sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until)
{
    int (*real)(sem_t *, clockid_t, const struct timespec *);
    *(void **)&real = dlsym(RTLD_NEXT, "sem_clockwait");
    struct timespec ts = deadline(clock, until);
    return real(sem, clock, &ts);
}

int
sem_timedwait(sem_t *sem, const struct timespec *until)
{
    return sem_clockwait(sem, CLOCK_REALTIME, until);
}

int
pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                       const struct timespec *until)
{
    int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t,
                const struct timespec *);
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_cond_clockwait");
    struct timespec ts = deadline(clock, until);
    return real(cond, mutex, clock, &ts);
}

/* The clock is an attribute of the condition; it is one that the deadline is near to. */
int
pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                       const struct timespec *until)
{
    begin();
    bool of_day = nanoseconds(until) > (begun[0] + begun[1]) / 2;
    clockid_t clock = of_day ? CLOCK_REALTIME : CLOCK_MONOTONIC;
    return pthread_cond_clockwait(cond, mutex, clock, until);
}
