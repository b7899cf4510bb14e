/* websocket.c -- the least a WebSocket server on epoll can do, as the floor of the tables.
 *
 * One thread, one epoll, one recv and one send for whatever a connection has sent. It
 * answers the one key that the load asks with, unmasks whole messages of one frame where
 * they lie and sends them back, or to everybody; inflates and deflates them by zlib with
 * the settings that the others have. No fragments, no control frames, no UTF-8, no limits,
 * no Python: what a server spends above this is its own.
 *
 *     websocket PORT echo|deflate|fanout
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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

enum {
    RECEIVE_SIZE = 256 * 1024,
    EVENTS_A_TURN = 256,
    MAX_FD = 32768,
    LEVEL = 6,
    MEMORY = 8,
    WINDOW = 15,
};

static const char ANSWER[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

typedef struct {
    int fd;
    bool open; /* the handshake is over */
    uint8_t *in, *out;
    size_t in_n, in_room, out_at, out_n, out_room;
    z_stream inflate, deflate;
} connection;

static connection *everybody[MAX_FD];
static int highest;
static bool compressed, fanout;

static void
die(const char *what)
{
    perror(what);
    exit(1);
}

static uint8_t *
room(uint8_t *p, size_t *have, size_t want)
{
    if (want <= *have)
        return p;
    *have = want < 4096 ? 4096 : want * 2;
    p = realloc(p, *have);
    if (p == NULL)
        die("realloc");
    return p;
}

static void
drop(int epoll, connection *c)
{
    (void)epoll;
    everybody[c->fd] = NULL;
    close(c->fd);
    if (c->open && compressed) {
        inflateEnd(&c->inflate);
        deflateEnd(&c->deflate);
    }
    free(c->in);
    free(c->out);
    free(c);
}

static void
append(connection *c, const uint8_t *p, size_t n)
{
    c->out = room(c->out, &c->out_room, c->out_n + n);
    memcpy(c->out + c->out_n, p, n);
    c->out_n += n;
}

static void
send_out(int epoll, connection *c)
{
    bool waited = c->out_at > 0;

    while (c->out_at < c->out_n) {
        ssize_t k = send(c->fd, c->out + c->out_at, c->out_n - c->out_at,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0)
            break;
        c->out_at += (size_t)k;
    }
    if (c->out_at == c->out_n)
        c->out_at = c->out_n = 0;
    if (c->out_n > 0 || waited) {
        struct epoll_event event = {
            .events = c->out_n > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.fd = c->fd};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    }
}

static size_t
write_head(uint8_t head[10], uint8_t first, size_t n)
{
    size_t more = n < 126 ? 0 : n < 65536 ? 2 : 8;

    head[0] = first;
    head[1] = (uint8_t)(more == 0 ? n : more == 2 ? 126 : 127);
    for (size_t i = more; i > 0; i--)
        head[1 + i] = (uint8_t)(n >> 8 * (more - i));
    return 2 + more;
}

/* The payload again by way of zlib; gives its new length. */
static size_t
recompress(connection *c, uint8_t *p, size_t n, uint8_t **result)
{
    static uint8_t plain[RECEIVE_SIZE], packed[RECEIVE_SIZE];

    memcpy(p + n, "\0\0\xff\xff", 4);
    c->inflate.next_in = p;
    c->inflate.avail_in = (uInt)n + 4;
    c->inflate.next_out = plain;
    c->inflate.avail_out = sizeof plain;
    inflate(&c->inflate, Z_SYNC_FLUSH);
    c->deflate.next_in = plain;
    c->deflate.avail_in = (uInt)(sizeof plain - c->inflate.avail_out);
    c->deflate.next_out = packed;
    c->deflate.avail_out = sizeof packed;
    deflate(&c->deflate, Z_SYNC_FLUSH);
    *result = packed;
    return sizeof packed - c->deflate.avail_out - 4;
}

static void
unmask(uint8_t *p, size_t n, const uint8_t key[4])
{
    uint64_t wide;
    size_t i = 0;

    memcpy(&wide, key, 4);
    memcpy((uint8_t *)&wide + 4, key, 4);
    for (; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        v ^= wide;
        memcpy(p + i, &v, 8);
    }
    for (; i < n; i++)
        p[i] ^= key[i & 3];
}

/* Takes the whole frames of p[0..n); gives how many bytes they were. */
static size_t
take(int epoll, connection *c, uint8_t *p, size_t n)
{
    size_t at = 0;

    while (n - at >= 6) {
        size_t length = p[at + 1] & 0x7F, more = length == 126   ? 2
                                                 : length == 127 ? 8
                                                                 : 0;
        size_t payload = at + 2 + more + 4, sent;
        uint8_t head[10], first = p[at], kept[4], *data;

        if (n < payload)
            break;
        if (more > 0)
            length = 0;
        for (size_t i = 0; i < more; i++)
            length = length << 8 | p[at + 2 + i];
        if (n - payload < length)
            break;
        data = p + payload;
        unmask(data, length, data - 4);
        at = payload + length;
        sent = length;
        memcpy(kept, data + length, 4); /* recompress writes the tail there */
        if (compressed)
            sent = recompress(c, p + payload, length, &data);
        for (int fd = fanout ? 0 : c->fd; fd <= (fanout ? highest : c->fd); fd++) {
            connection *to = everybody[fd];
            if (to == NULL || !to->open)
                continue;
            append(to, head, write_head(head, first, sent));
            append(to, data, sent);
            if (fanout)
                send_out(epoll, to);
        }
        if (compressed)
            memcpy(p + payload + length, kept, 4);
    }
    return at;
}

static void
open_up(connection *c)
{
    append(c, (const uint8_t *)ANSWER, sizeof ANSWER - 1);
    if (compressed) {
        const char *agreed = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        append(c, (const uint8_t *)agreed, strlen(agreed));
        if (inflateInit2(&c->inflate, -WINDOW) != Z_OK ||
            deflateInit2(&c->deflate, LEVEL, Z_DEFLATED, -WINDOW, MEMORY,
                         Z_DEFAULT_STRATEGY) != Z_OK)
            die("zlib");
    }
    append(c, (const uint8_t *)"\r\n", 2);
    c->open = true;
}

static void
readable(int epoll, connection *c)
{
    static uint8_t shared[RECEIVE_SIZE + 8];
    uint8_t *p = shared;
    size_t n, used = 0;
    ssize_t k;

    if (c->in_n > 0) {
        c->in = room(c->in, &c->in_room, c->in_n + RECEIVE_SIZE + 8);
        k = recv(c->fd, c->in + c->in_n, RECEIVE_SIZE, MSG_DONTWAIT);
        p = c->in;
    } else {
        k = recv(c->fd, shared, RECEIVE_SIZE, MSG_DONTWAIT);
    }
    if (k < 0 && errno == EAGAIN)
        return;
    if (k <= 0) {
        drop(epoll, c);
        return;
    }
    n = c->in_n + (size_t)k;
    if (!c->open) {
        uint8_t *end = memmem(p, n, "\r\n\r\n", 4);
        if (end != NULL) {
            used = (size_t)(end - p) + 4;
            open_up(c);
        }
    }
    if (c->open)
        used += take(epoll, c, p + used, n - used);
    if (c->out_n > 0)
        send_out(epoll, c);
    c->in_n = n - used;
    if (c->in_n > 0) {
        if (p == shared)
            c->in = room(c->in, &c->in_room, c->in_n);
        memmove(c->in, p + used, c->in_n);
    } else if (c->in != NULL) {
        free(c->in);
        c->in = NULL;
        c->in_room = 0;
    }
}

int
main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS_A_TURN], event = {.events = EPOLLIN};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC), one = 1;

    if (argc != 3) {
        fprintf(stderr, "usage: websocket PORT echo|deflate|fanout\n");
        return 2;
    }
    compressed = strcmp(argv[2], "deflate") == 0;
    fanout = strcmp(argv[2], "fanout") == 0;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0)
        die("listen");
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_A_TURN, -1);
        for (int i = 0; i < n; i++) {
            connection *c;
            int fd = events[i].data.fd;

            if (fd != listener) {
                if (events[i].events & EPOLLOUT)
                    send_out(epoll, everybody[fd]);
                if (events[i].events & ~(uint32_t)EPOLLOUT)
                    readable(epoll, everybody[fd]);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
                   0) {
                if (fd >= MAX_FD || (c = calloc(1, sizeof *c)) == NULL)
                    die("too many connections");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                c->fd = fd;
                everybody[fd] = c;
                highest = fd > highest ? fd : highest;
                event.events = EPOLLIN;
                event.data.fd = fd;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
