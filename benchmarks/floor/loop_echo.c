/* loop_echo.c -- the least that an echo through one epoll loop costs: both ends of one
 * connection in one process, for each message one epoll_wait, one receive, one send.
 *
 * usage: loop_echo tcp|udp SIZE ROUNDS
 *
 * Prints the CPU seconds that ROUNDS messages there and back took. No loop that waits
 * by epoll for each message can be below it; streams.c of benchmarks/c does without.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST (256 * 1024)

static char buffer[MOST], message[MOST];

static void
check(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static double
cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Two connected sockets by loopback: fds[0] answers, fds[1] asks. */
static void
make_pair(int type, int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1, first = socket(AF_INET, type, 0);

    check(bind(first, (struct sockaddr *)&address, length) == 0, "bind");
    check(getsockname(first, (struct sockaddr *)&address, &length) == 0, "getsockname");
    fds[0] = first;
    if (type == SOCK_STREAM)
        check(listen(first, 1) == 0, "listen");
    fds[1] = socket(AF_INET, type, 0);
    check(connect(fds[1], (struct sockaddr *)&address, length) == 0, "connect");
    if (type != SOCK_STREAM)
        return;
    fds[0] = accept(first, NULL, NULL);
    check(fds[0] >= 0, "accept");
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Receives once; 1 when a whole message has come back to the one that asked. */
static int
serve(const int fds[2], int fd, size_t size, size_t *got)
{
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t n = recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT,
                         (struct sockaddr *)&from, &length);

    check(n > 0, "recv");
    if (fd == fds[0]) {
        const struct sockaddr *to = length > 0 ? (struct sockaddr *)&from : NULL;

        check(sendto(fd, buffer, (size_t)n, MSG_NOSIGNAL, to, length) == n, "send");
        return 0;
    }
    *got += (size_t)n;
    if (*got < size)
        return 0;
    *got = 0;
    return 1;
}

int
main(int argc, char **argv)
{
    struct epoll_event events[2], event = {.events = EPOLLIN};
    size_t size = argc > 3 ? strtoul(argv[2], NULL, 10) : 0, got = 0;
    long left = argc > 3 ? strtol(argv[3], NULL, 10) : 0;
    int epfd = epoll_create1(0), fds[2];
    double before;

    if (size == 0 || size > MOST || left < 1) {
        fprintf(stderr, "usage: loop_echo tcp|udp SIZE ROUNDS\n");
        return 2;
    }
    make_pair(strcmp(argv[1], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM, fds);
    for (int i = 0; i < 2; i++) {
        event.data.fd = fds[i];
        check(epoll_ctl(epfd, EPOLL_CTL_ADD, fds[i], &event) == 0, "epoll_ctl");
    }
    before = cpu_seconds();
    check(send(fds[1], message, size, MSG_NOSIGNAL) == (ssize_t)size, "send");
    while (left > 0) {
        int n = epoll_wait(epfd, events, 2, -1);

        for (int i = 0; i < n; i++) {
            if (!serve(fds, events[i].data.fd, size, &got))
                continue;
            if (--left > 0)
                check(send(fds[1], message, size, MSG_NOSIGNAL) > 0, "send");
        }
    }
    printf("%.9f\n", cpu_seconds() - before);
    return 0;
}
