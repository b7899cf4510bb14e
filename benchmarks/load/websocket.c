/* websocket.c -- many WebSocket clients in one process: echoes, a fan-out, idle ones.
 *
 *     websocket PORT PATH CONNECTIONS MODE FRAME_FILE [EXTENSIONS]
 *
 * All connections are made first, then "ready" is printed. A line with a number of seconds
 * on standard input begins a round, whose counts are printed as a line of JSON; the end of
 * the input ends the program. So whoever started it can look at the server's clock at both
 * ends of a round, with no handshake and no close in between.
 *
 *   echo    every connection sends the frame (masked already, from the file) and sends it
 *           again as soon as a whole message has come back
 *   fanout  the first connection sends it, again as soon as all have got a message
 *   idle    in a round every connection sends it once, and the round ends when each has
 *           its answer, whatever the seconds say
 *
 * What the messages say is checked elsewhere, before; here their heads are followed. The
 * process polls without sleeping during a round: waking it, which clients elsewhere would
 * not need, is then no part of what a server's send costs. It should have a core of its own.
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
#include <time.h>

enum {
    MAX_CONNECTIONS = 20000,
    EVENTS_A_TURN = 256,
    RECEIVE_SIZE = 1024 * 1024,
    HEAD_MOST = 10, /* two bytes and eight of length */
    GIVE_UP_SECONDS = 60,
};

typedef struct {
    int fd;
    size_t left;   /* bytes of the payload to come */
    unsigned kept; /* bytes of a head that is not whole */
    bool last;     /* the frame ends a message */
    size_t unsent; /* bytes of the frame that are still to be sent */
    uint8_t head[HEAD_MOST];
} connection;

static connection connections[MAX_CONNECTIONS];
static int count, epoll;
static char *frame;
static size_t frame_length;
static uint64_t messages, bytes;

static void
die(const char *what)
{
    fprintf(stderr, "websocket load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t
now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

static void
watch(connection *c, uint32_t events, int how)
{
    struct epoll_event event = {.events = events,
                                .data.u32 = (uint32_t)(c - connections)};
    if (epoll_ctl(epoll, how, c->fd, &event) < 0)
        die("epoll_ctl");
}

static void
send_rest(connection *c)
{
    while (c->unsent > 0) {
        ssize_t k = send(c->fd, frame + frame_length - c->unsent, c->unsent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && errno == EAGAIN)
            return;
        if (k < 0)
            die("send");
        c->unsent -= (size_t)k;
    }
}

static void
send_frame(connection *c)
{
    c->unsent = frame_length;
    send_rest(c);
    if (c->unsent > 0)
        watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

/* A head is whole: its length, and whether it ends a message of the program. */
static void
take_head(connection *c)
{
    unsigned length = c->head[1] & 0x7F, more = c->kept - 2;

    if (c->head[1] & 0x80 || (c->head[0] & 0x0F) == 8) {
        fprintf(stderr, "websocket load: the server closes, or masks its frames\n");
        exit(1);
    }
    c->left = more == 0 ? length : 0;
    for (unsigned i = 0; i < more; i++)
        c->left = c->left << 8 | c->head[2 + i];
    c->last = (c->head[0] & 0x80) != 0 && (c->head[0] & 0x08) == 0;
    c->kept = 0;
}

/* Follows the frames in p[0..n); gives how many messages ended. */
static unsigned
follow(connection *c, const uint8_t *p, size_t n)
{
    unsigned ended = 0;

    bytes += n;
    while (n > 0) {
        size_t k;

        if (c->left == 0) {
            unsigned want = 2;

            c->head[c->kept++] = *p++;
            n--;
            if (c->kept >= 2)
                want += (c->head[1] & 0x7F) == 126   ? 2
                        : (c->head[1] & 0x7F) == 127 ? 8
                                                     : 0;
            if (c->kept < 2 || c->kept < want)
                continue;
            take_head(c);
            ended += c->left == 0 && c->last;
            continue;
        }
        k = c->left < n ? c->left : n;
        c->left -= k;
        p += k;
        n -= k;
        ended += c->left == 0 && c->last;
    }
    return ended;
}

static void
shake_hands(connection *c, int port, const char *path, const char *extensions)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    char text[2048];
    int one = 1, length;
    size_t have = 0;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    length = snprintf(text, sizeof text,
                      "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%s\r\n",
                      path, port, *extensions ? "Sec-WebSocket-Extensions: " : "",
                      extensions, *extensions ? "\r\n" : "");
    if (send(c->fd, text, (size_t)length, MSG_NOSIGNAL) != length)
        die("send");
    while (have < 4 || memcmp(text + have - 4, "\r\n\r\n", 4) != 0) {
        if (have == sizeof text - 1 || recv(c->fd, text + have, 1, 0) != 1)
            die("handshake");
        have++;
    }
    text[have] = '\0';
    if (strstr(text, " 101 ") == NULL ||
        (*extensions && strcasestr(text, "permessage-deflate") == NULL)) {
        fprintf(stderr, "websocket load: no handshake: %s\n", text);
        exit(1);
    }
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

static void
run_round(const char *mode, double seconds)
{
    static uint8_t buffer[RECEIVE_SIZE];
    struct epoll_event events[EVENTS_A_TURN];
    bool echo = strcmp(mode, "echo") == 0, idle = strcmp(mode, "idle") == 0;
    uint64_t begun = now_us(), until = begun + (uint64_t)(seconds * 1e6);
    uint64_t give_up = until + GIVE_UP_SECONDS * UINT64_C(1000000);
    uint64_t owed = 0; /* messages that must come before the round may end */
    bool open = true;

    messages = bytes = 0;
    for (int i = 0; i < (echo || idle ? count : 1); i++) {
        send_frame(&connections[i]);
        owed++;
    }
    if (!echo && !idle)
        owed = (uint64_t)count;
    while (owed > 0 && now_us() < give_up) {
        int n = epoll_wait(epoll, events, EVENTS_A_TURN, idle ? 1000 : 0);

        open = !idle && now_us() < until;
        for (int i = 0; i < n; i++) {
            connection *c = &connections[events[i].data.u32];
            unsigned ended;
            ssize_t k;

            if (events[i].events & EPOLLOUT) {
                send_rest(c);
                if (c->unsent == 0)
                    watch(c, EPOLLIN, EPOLL_CTL_MOD);
            }
            if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                continue;
            k = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
            if (k < 0 && errno == EAGAIN)
                continue;
            if (k <= 0)
                die("the server closed a connection");
            ended = follow(c, buffer, (size_t)k);
            messages += ended;
            owed -= ended;
            if (echo && ended > 0 && open) {
                owed++;
                send_frame(c);
            }
        }
        if (!echo && owed == 0 && open) {
            owed = (uint64_t)count;
            send_frame(&connections[0]);
        }
    }
    if (owed > 0) {
        fprintf(stderr, "websocket load: %llu messages never came\n",
                (unsigned long long)owed);
        exit(1);
    }
    printf("{\"messages\": %llu, \"microseconds\": %llu, \"bytes\": %llu}\n",
           (unsigned long long)messages, (unsigned long long)(now_us() - begun),
           (unsigned long long)bytes);
    fflush(stdout);
}

int
main(int argc, char **argv)
{
    char line[64];
    FILE *file;
    long length;

    if (argc < 6) {
        fprintf(stderr, "usage: websocket PORT PATH CONNECTIONS echo|fanout|idle "
                        "FRAME_FILE [EXTENSIONS]\n");
        return 2;
    }
    count = atoi(argv[3]);
    if (count < 1 || count > MAX_CONNECTIONS)
        die("CONNECTIONS");
    file = fopen(argv[5], "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (length = ftell(file)) < 0)
        die(argv[5]);
    rewind(file);
    frame_length = (size_t)length;
    frame = malloc(frame_length);
    if (frame == NULL || fread(frame, 1, frame_length, file) != frame_length)
        die(argv[5]);
    fclose(file);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++)
        shake_hands(&connections[i], atoi(argv[1]), argv[2], argc > 6 ? argv[6] : "");
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL)
        run_round(argv[4], atof(line));
    return 0;
}
