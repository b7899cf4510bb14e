/* streams.c -- the least that echoes and bulk transfers over TCP can cost: recv and send.
 *
 *     streams bulk PIECE BYTES    one way, sent and received in pieces
 *     streams echo SIZE N         N messages there and back
 *     streams serve SIZE N        answers N messages and ends
 *     streams ask SIZE PORT       sends messages and awaits each one's echo, for ever
 *
 * bulk and echo have both ends in their one thread, without epoll: each sends, or
 * receives, until the kernel says EAGAIN, as the ends of an event loop do. serve prints
 * the port it listens on, and is the floor of the servers that ask loads from
 * CONNECTIONS connections at once.
 * What arrives is compared before anything is timed. The last line is the CPU
 * nanoseconds of this process for what was timed.
 *
 * Layer: none; a program of its own. Threads: one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 16, WARM = 64 * CONNECTIONS };

static void
need(bool fine, const char *what)
{
    if (fine)
        return;
    perror(what);
    exit(1);
}

/* A listening socket on loopback, and where it stands. */
static int
listening(struct sockaddr_in *at)
{
    socklen_t len = sizeof *at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    *at = (struct sockaddr_in){.sin_family = AF_INET};
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(bind(listener, (struct sockaddr *)at, len) == 0, "bind");
    need(listen(listener, CONNECTIONS) == 0, "listen");
    need(getsockname(listener, (struct sockaddr *)at, &len) == 0, "getsockname");
    return listener;
}

static int
without_delay(int fd)
{
    int on = 1;

    need(fd >= 0, "accept");
    need(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "setsockopt");
    return fd;
}

static int
connected(const struct sockaddr_in *at)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    need(connect(fd, (const struct sockaddr *)at, sizeof *at) == 0, "connect");
    return without_delay(fd);
}

/* What went of n bytes: 0 when the kernel takes or has none now. */
static size_t
moved(ssize_t n, const char *what)
{
    if (n > 0)
        return (size_t)n;
    need(n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK), what);
    return 0;
}

/* total bytes from one end to the other, piece by piece; `back` is where they land. */
static void
carry(int from, int to, const char *piece, char *back, size_t size, size_t total,
      bool check)
{
    size_t sent = 0, got = 0;

    while (got < total) {
        size_t k = 1;

        for (; k > 0 && sent < total; sent += k) {
            size_t at = sent % size, n = size - at;

            n = n < total - sent ? n : total - sent;
            k = moved(send(from, piece + at, n, MSG_DONTWAIT), "send");
        }
        for (k = 1; k > 0 && got < total; got += k) {
            size_t in = got % size;

            k = moved(recv(to, back + in, size - in, MSG_DONTWAIT), "recv");
            if (check)
                need(memcmp(back + in, piece + in, k) == 0, "what was received");
        }
    }
}

static double
cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void
both_ends(bool echo, size_t size, size_t many)
{
    char *piece = malloc(size), *back = malloc(size);
    struct sockaddr_in at;
    int listener = listening(&at), here = connected(&at);
    int there = without_delay(accept(listener, NULL, NULL));
    double start;

    need(piece != NULL && back != NULL, "malloc");
    for (size_t i = 0; i < size; i++)
        piece[i] = (char)(i * 2654435761u >> 7);
    carry(here, there, piece, back, size, 4 * size, true);
    carry(there, here, piece, back, size, 4 * size, true);
    start = cpu_ns();
    if (!echo)
        carry(here, there, piece, back, size, many, false);
    for (size_t i = 0; echo && i < many; i++) {
        carry(here, there, piece, back, size, size, false);
        carry(there, here, back, piece, size, size, false);
    }
    printf("%.0f\n", cpu_ns() - start);
}

/* One connection's message: received up to `got`, then sent up to `sent`. */
struct end {
    int fd;
    size_t got, sent;
    char *message;
};

static void
watch(int poller, struct end *end, int fd, size_t size)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};

    *end = (struct end){.fd = without_delay(fd), .message = malloc(size)};
    need(end->message != NULL, "malloc");
    need(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* Sends what the kernel takes of the message; the rest when there is room. */
static void
send_on(int poller, struct end *end, size_t size)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    size_t before = end->sent;

    end->sent += moved(
        send(end->fd, end->message + before, size - before, MSG_DONTWAIT), "send");
    if (end->sent < size)
        event.events = EPOLLOUT;
    if (end->sent < size || before > 0)
        need(epoll_ctl(poller, EPOLL_CTL_MOD, end->fd, &event) == 0, "epoll_ctl");
    if (end->sent == size)
        end->got = end->sent = 0;
}

/* Whether a whole message is there. */
static bool
receive_on(struct end *end, size_t size)
{
    ssize_t n = recv(end->fd, end->message + end->got, size - end->got, MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno == ECONNRESET))
        exit(0); /* the other side has had enough */
    end->got += moved(n, "recv");
    return end->got == size;
}

static void
serve(size_t size, size_t many)
{
    struct epoll_event events[CONNECTIONS];
    struct end ends[CONNECTIONS];
    struct sockaddr_in at;
    int listener = listening(&at), poller = epoll_create1(0);
    size_t answered = 0;
    double start = 0;

    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (int i = 0; i < CONNECTIONS; i++)
        watch(poller, &ends[i], accept(listener, NULL, NULL), size);
    while (answered < WARM + many) {
        int n = epoll_wait(poller, events, CONNECTIONS, -1);

        for (int i = 0; i < n; i++) {
            struct end *end = events[i].data.ptr;

            if (end->got < size && !receive_on(end, size))
                continue;
            answered += end->sent == 0;
            send_on(poller, end, size);
            if (answered == WARM && start == 0)
                start = cpu_ns();
        }
    }
    printf("%.0f\n", cpu_ns() - start);
}

static void
ask(size_t size, int port)
{
    struct epoll_event events[CONNECTIONS];
    struct end ends[CONNECTIONS];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int poller = epoll_create1(0);
    char *message = malloc(size);

    need(message != NULL, "malloc");
    for (size_t i = 0; i < size; i++)
        message[i] = (char)(i * 2654435761u >> 7);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < CONNECTIONS; i++) {
        watch(poller, &ends[i], connected(&at), size);
        memcpy(ends[i].message, message, size);
        send_on(poller, &ends[i], size);
    }
    for (size_t checked = 0;;) {
        int n = epoll_wait(poller, events, CONNECTIONS, -1);

        for (int i = 0; i < n; i++) {
            struct end *end = events[i].data.ptr;

            if ((events[i].events & EPOLLOUT) == 0 && !receive_on(end, size))
                continue;
            if (end->got == size && checked++ < WARM)
                need(memcmp(end->message, message, size) == 0, "the echo");
            send_on(poller, end, size);
        }
    }
}

int
main(int argc, char **argv)
{
    size_t size, many;

    if (argc != 4)
        return 2;
    size = strtoull(argv[2], NULL, 10);
    many = strtoull(argv[3], NULL, 10);
    if (strcmp(argv[1], "bulk") == 0 || strcmp(argv[1], "echo") == 0)
        both_ends(argv[1][0] == 'e', size, many);
    else if (strcmp(argv[1], "serve") == 0)
        serve(size, many);
    else
        ask(size, (int)many);
    return 0;
}
