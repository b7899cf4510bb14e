/* floor.c -- the least an HTTP/1.1 server on epoll can do, as the floor of the tables.
 *
 * One thread, one epoll, one recv and one send for whatever a connection has sent. It finds
 * where each request's head ends, skips a body of the given Content-Length, and answers with
 * one fixed answer, read from a file at start (the harness writes there the very bytes that
 * pyfastloop answers), whose Date is renewed once a second. No routes, no limits, no errors,
 * no Python: what a server spends above this is its own.
 *
 *     floor PORT ANSWER_FILE [close]
 *
 * All answers being equal, what a connection still has to be sent is two numbers: how many
 * answers and how many bytes of the first have left. `block` holds the answer many times
 * over, so that the answers of pipelined requests leave in one send without being copied.
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    RECEIVE_SIZE = 256 * 1024,
    BLOCK_TARGET = 64 * 1024,
    EVENTS_A_TURN = 256,
    DATE_LENGTH = 29, /* Sun, 06 Nov 1994 08:49:37 GMT */
};

typedef struct {
    int fd;
    bool watching_out;
    size_t owed;    /* answers not wholly sent */
    size_t sent;    /* bytes of the first of them that left */
    size_t to_skip; /* bytes of a request body still to come */
    size_t kept;    /* bytes of a head that is not whole yet */
    char head[16 * 1024];
} connection;

typedef struct {
    int epoll;
    bool close_each;
    size_t answer_length;
    size_t answers_in_block;
    char *block;
    size_t date_offset; /* 0: the answer has no Date */
    time_t date_of;
    char receive[RECEIVE_SIZE];
} server;

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static void
renew_date(server *s)
{
    time_t now = time(NULL);
    struct tm tm;
    char date[64];

    if (s->date_offset == 0 || now == s->date_of)
        return;
    s->date_of = now;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    for (size_t i = 0; i < s->answers_in_block; i++)
        memcpy(s->block + i * s->answer_length + s->date_offset, date, DATE_LENGTH);
}

static void
load_answer(server *s, const char *path)
{
    FILE *file = fopen(path, "rb");
    char *answer, *date;
    long length;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        die(path);
    length = ftell(file);
    rewind(file);
    s->answer_length = (size_t)length;
    s->answers_in_block = BLOCK_TARGET / s->answer_length;
    if (s->answers_in_block == 0)
        s->answers_in_block = 1;
    answer = malloc(s->answer_length);
    s->block = malloc(s->answer_length * s->answers_in_block);
    if (answer == NULL || s->block == NULL)
        die("malloc");
    if (fread(answer, 1, s->answer_length, file) != s->answer_length)
        die(path);
    fclose(file);
    for (size_t i = 0; i < s->answers_in_block; i++)
        memcpy(s->block + i * s->answer_length, answer, s->answer_length);
    date = memmem(answer, s->answer_length, "\r\nDate: ", 8);
    s->date_offset = date == NULL ? 0 : (size_t)(date - answer) + 8;
    free(answer);
}

static void
drop(connection *c)
{
    close(c->fd);
    free(c);
}

/* The Content-Length of a head, 0 where there is none. Only asked for POST and PUT. */
static size_t
body_length(const char *head, size_t n)
{
    const char name[] = "\ncontent-length:";

    for (size_t i = 0; i + sizeof name < n; i++)
        if (head[i] == '\n' && strncasecmp(head + i, name, sizeof name - 1) == 0)
            return strtoul(head + i + sizeof name - 1, NULL, 10);
    return 0;
}

/* Counts the requests that p[0..n) ends and keeps an unfinished head. false: too long. */
static bool
take(connection *c, const char *p, size_t n)
{
    while (n > 0) {
        const char *end;
        size_t head_length;

        if (c->to_skip > 0) {
            size_t k = c->to_skip < n ? c->to_skip : n;
            c->to_skip -= k;
            p += k;
            n -= k;
            c->owed += c->to_skip == 0;
            continue;
        }
        end = memmem(p, n, "\r\n\r\n", 4);
        if (end == NULL)
            break;
        head_length = (size_t)(end - p) + 4;
        if (p[0] == 'P')
            c->to_skip = body_length(p, head_length);
        c->owed += c->to_skip == 0;
        p += head_length;
        n -= head_length;
    }
    if (n > sizeof c->head)
        return false;
    memmove(c->head, p, n);
    c->kept = n;
    return true;
}

/* Sends what is owed. false: the connection is gone. */
static bool
give(server *s, connection *c)
{
    while (c->owed > 0) {
        size_t answers = c->owed < s->answers_in_block ? c->owed : s->answers_in_block;
        size_t length = answers * s->answer_length - c->sent;
        ssize_t k = send(c->fd, s->block + c->sent, length, MSG_NOSIGNAL);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && errno != EAGAIN)
            return false;
        if (k < 0)
            break;
        c->sent += (size_t)k;
        c->owed -= c->sent / s->answer_length;
        c->sent %= s->answer_length;
    }
    if (c->watching_out != (c->owed > 0)) {
        struct epoll_event event = {.data.ptr = c};
        c->watching_out = c->owed > 0;
        event.events = c->watching_out ? EPOLLIN | EPOLLOUT : EPOLLIN;
        epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
    return !(s->close_each && c->owed == 0);
}

/* false: the connection is gone. */
static bool
serve(server *s, connection *c, uint32_t events)
{
    size_t kept = c->kept;
    ssize_t k;

    if ((events & EPOLLOUT) && !give(s, c))
        return false;
    if (!(events & ~(uint32_t)EPOLLOUT))
        return true;
    k = recv(c->fd, s->receive + kept, RECEIVE_SIZE - kept, 0);
    if (k < 0)
        return errno == EAGAIN || errno == EINTR;
    if (k == 0)
        return false;
    if (kept > 0)
        memcpy(s->receive, c->head, kept);
    if (!take(c, s->receive, kept + (size_t)k))
        return false;
    return c->owed == 0 || give(s, c);
}

static void
accept_all(server *s, int listener)
{
    for (int i = 0; i < 64; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        int one = 1;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        connection *c;

        if (fd < 0)
            return;
        if (!s->close_each)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c = malloc(sizeof *c);
        if (c == NULL)
            die("malloc");
        memset(c, 0, offsetof(connection, head));
        c->fd = fd;
        /* A client's first request is mostly there already. */
        if (!serve(s, c, EPOLLIN)) {
            drop(c);
            continue;
        }
        event.data.ptr = c;
        if (c->watching_out)
            event.events |= EPOLLOUT;
        if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
            drop(c);
    }
}

static int
listen_on(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, 4096) < 0)
        die("bind");
    return fd;
}

int
main(int argc, char **argv)
{
    static server s;
    struct epoll_event events[EVENTS_A_TURN];
    struct epoll_event event = {.events = EPOLLIN};
    int listener;

    if (argc < 3) {
        fprintf(stderr, "usage: floor PORT ANSWER_FILE [close]\n");
        return 2;
    }
    load_answer(&s, argv[2]);
    s.close_each = argc > 3 && strcmp(argv[3], "close") == 0;
    listener = listen_on(atoi(argv[1]));
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s.epoll < 0 || epoll_ctl(s.epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(s.epoll, events, EVENTS_A_TURN, -1);

        renew_date(&s);
        for (int i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            if (c == NULL)
                accept_all(&s, listener);
            else if (!serve(&s, c, events[i].events))
                drop(c);
        }
    }
}
