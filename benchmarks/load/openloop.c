/* openloop.c -- requests at a fixed rate, whatever the server does, and how late they were.
 *
 *     openloop PORT RATE SECONDS CONNECTIONS REQUEST_FILE
 *
 * A client that waits for an answer before it asks again asks less often while the server
 * is slow, and so leaves out the very latencies that it was to measure (coordinated
 * omission). Here request number k is due at start + k / RATE. It leaves on a connection
 * that has no answer outstanding; where all have one, it waits in line, and its latency
 * counts from when it was due. The process polls without sleeping, so that its own wake-up
 * is no part of what it measures; it should have a core of its own.
 *
 * Answers are told apart by Content-Length. Latencies go into buckets of 1/64 of their
 * size; one line of JSON with percentiles in microseconds is printed at the end.
 *
 * Layer: none; a program of its own. Threads: one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 4096,
    EVENTS_A_TURN = 256,
    FINE_BITS = 6, /* buckets for each doubling: 2^6 */
    BUCKETS = 64 << FINE_BITS,
    GRACE_SECONDS = 10, /* for the last answers */
};

typedef struct {
    int fd;
    uint64_t due;   /* of the request that is out */
    size_t to_come; /* bytes of the answer's body */
    size_t kept;    /* bytes of an answer's head so far */
    char head[8192];
} connection;

static connection connections[MAX_CONNECTIONS];
static int idle[MAX_CONNECTIONS];
static int idle_count;
static uint64_t buckets[BUCKETS];
static uint64_t answered, worst;

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Bucket of a latency: exact below 2^FINE_BITS ns, then 2^FINE_BITS a doubling. */
static unsigned
bucket_of(uint64_t ns)
{
    unsigned bits = 63u - (unsigned)__builtin_clzll(ns | 1);

    if (bits < FINE_BITS)
        return (unsigned)ns;
    return ((bits - FINE_BITS + 1) << FINE_BITS) +
           (unsigned)((ns >> (bits - FINE_BITS)) & ((1u << FINE_BITS) - 1));
}

static double
bucket_us(unsigned bucket)
{
    unsigned doubling = bucket >> FINE_BITS;
    uint64_t fine = bucket & ((1u << FINE_BITS) - 1);

    if (doubling == 0)
        return (double)fine / 1000;
    return (double)(((UINT64_C(1) << FINE_BITS) + fine) << (doubling - 1)) / 1000;
}

static double
percentile(double share)
{
    uint64_t wanted = (uint64_t)((double)answered * share), seen = 0;

    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > wanted)
            return bucket_us(i);
    }
    return (double)worst / 1000;
}

static void
finish(connection *c)
{
    uint64_t late = now_ns() - c->due;

    buckets[bucket_of(late)]++;
    answered++;
    if (late > worst)
        worst = late;
    idle[idle_count++] = (int)(c - connections);
}

static size_t
content_length(const char *head, size_t n)
{
    const char name[] = "\ncontent-length:";

    for (size_t i = 0; i + sizeof name < n; i++)
        if (head[i] == '\n' && strncasecmp(head + i, name, sizeof name - 1) == 0)
            return strtoul(head + i + sizeof name - 1, NULL, 10);
    fprintf(stderr, "openloop: an answer without Content-Length\n");
    exit(1);
}

static void
take(connection *c)
{
    static char buffer[256 * 1024];
    ssize_t k = recv(c->fd, buffer, sizeof buffer, 0);
    char *p = buffer;
    size_t n, used, head_length;
    char *end;

    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (k <= 0) {
        fprintf(stderr, "openloop: the server closed a connection\n");
        exit(1);
    }
    n = (size_t)k;
    if (c->to_come == 0) {
        used = n < sizeof c->head - c->kept ? n : sizeof c->head - c->kept;
        memcpy(c->head + c->kept, p, used);
        end = memmem(c->head, c->kept + used, "\r\n\r\n", 4);
        if (end == NULL) {
            c->kept += used;
            return;
        }
        head_length = (size_t)(end - c->head) + 4;
        c->to_come = content_length(c->head, head_length);
        p += head_length - c->kept;
        n -= head_length - c->kept;
        c->kept = 0;
        if (c->to_come == 0) {
            finish(c);
            return;
        }
    }
    c->to_come -= n < c->to_come ? n : c->to_come;
    if (c->to_come == 0)
        finish(c);
}

static int
connect_to(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int
main(int argc, char **argv)
{
    struct epoll_event events[EVENTS_A_TURN];
    static char request[65536];
    size_t length;
    double rate;
    uint64_t start, total, next = 0, deadline;
    int epoll, count;
    FILE *file;

    if (argc != 6) {
        fprintf(stderr, "usage: openloop PORT RATE SECONDS CONNECTIONS REQUEST_FILE\n");
        return 2;
    }
    rate = atof(argv[2]);
    total = (uint64_t)(rate * atof(argv[3]));
    count = atoi(argv[4]) < MAX_CONNECTIONS ? atoi(argv[4]) : MAX_CONNECTIONS;
    file = fopen(argv[5], "rb");
    if (file == NULL)
        die(argv[5]);
    length = fread(request, 1, sizeof request, file);
    fclose(file);
    epoll = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        connections[i].fd = connect_to(atoi(argv[1]));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) < 0)
            die("epoll_ctl");
        idle[idle_count++] = i;
    }
    start = now_ns();
    deadline = start + (uint64_t)((atof(argv[3]) + GRACE_SECONDS) * 1e9);
    while (answered < total && now_ns() < deadline) {
        uint64_t now = now_ns();
        int n;

        while (next < total && idle_count > 0) {
            uint64_t due = start + (uint64_t)((double)next * 1e9 / rate);
            connection *c;
            if (due > now)
                break;
            c = &connections[idle[--idle_count]];
            c->due = due;
            next++;
            if (send(c->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
                die("send");
        }
        n = epoll_wait(epoll, events, EVENTS_A_TURN, 0);
        for (int i = 0; i < n; i++)
            take(&connections[events[i].data.u32]);
    }
    printf("{\"asked\": %llu, \"answered\": %llu, \"p50\": %.1f, \"p90\": %.1f, "
           "\"p99\": %.1f, \"p999\": %.1f, \"worst\": %.1f}\n",
           (unsigned long long)total, (unsigned long long)answered, percentile(0.50),
           percentile(0.90), percentile(0.99), percentile(0.999), (double)worst / 1000);
    return 0;
}
