/* poller.h -- descriptors and who wants to hear of them.
 *
 * A table indexed by descriptor points to the watch that its owner embeds, so a lookup
 * is one load and cost per event does not grow with what is registered. Every
 * registration gets a new generation, which travels through epoll: an event that was
 * fetched before its descriptor was closed, or closed and reused, no longer finds a
 * watch.
 *
 * A descriptor that somebody closed without a word, while a duplicate of it lives on (in
 * a forked child, say), stays in epoll and can no longer be taken out. Its events, which
 * nobody knows, would come for ever: epoll is made anew then (fl_poller_stray).
 *
 * Level-triggered. Layer: sys. Threads: the loop's own.
 */
#ifndef FL_SYS_POLLER_H
#define FL_SYS_POLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct FlLoop; /* sys never looks inside */
typedef struct fl_watch fl_watch;

/* Called for every event of a watch; escapes. 0, or -1 when a fatal exception is set
 * and the loop must be left. No event at all is a guess: see `guess`. */
typedef int (*fl_ready_fn)(struct FlLoop *loop, fl_watch *watch, uint32_t events);

struct fl_watch {
    int fd;              /* set before adding; borrowed: closing is the owner's */
    uint32_t events;     /* what is asked of epoll now */
    uint32_t generation; /* 0: not registered */
    fl_ready_fn ready;   /* set before adding */
    void *owner; /* what the loop keeps alive while registered; may be NULL; sys never
                    looks at it */
    /* `ready` may be called without an event, to look for itself: how much a look in
     * vain counts, one of recv() being 1. 0: it may not. */
    uint8_t guess;
    bool idle; /* kept registered though nobody waits: whoever wants the descriptor
                    takes its place */
};

typedef struct fl_poller {
    int epfd;
    int process; /* who made it: a forked child shares the descriptor and must not touch
                    it */
    uint32_t last_gen; /* the newest generation handed out */
    uint32_t count;    /* watches registered */
    uint64_t stray;    /* the last event that nobody knew */
    size_t size;       /* slots in table */
    fl_watch **table;  /* by descriptor; the pointers are borrowed */
} fl_poller;

/* 0 or -errno. */
int fl_poller_init(fl_poller *p);

/* Closes epoll and frees the table; watches still registered are forgotten. */
void fl_poller_free(fl_poller *p);

/* Whether this process is a fork of the one that made the poller. */
int fl_poller_forked(const fl_poller *p);

/* Registers w->fd; 0, -EEXIST when the descriptor has a watch already, or -errno of
 * epoll_ctl. */
int fl_poller_add(fl_poller *p, fl_watch *w, uint32_t events);

/* Changes what a registered watch asks for; 0 or -errno. */
int fl_poller_change(fl_poller *p, fl_watch *w, uint32_t events);

/* Forgets a watch; nothing happens when it is not registered, or when its descriptor
 * was closed before. */
void fl_poller_remove(fl_poller *p, fl_watch *w);

/* Forgets a watch in the table only: what a forked child does, whose epoll is the
 * parent's.
 */
void fl_poller_forget(fl_poller *p, fl_watch *w);

/* The watch of a descriptor, borrowed, or NULL. */
fl_watch *fl_poller_find(const fl_poller *p, int fd);

/* The watch an event belongs to, or NULL when that registration is gone. */
fl_watch *fl_poller_event_watch(const fl_poller *p, const struct epoll_event *ev);

/* Notes an event whose watch is gone: true when the same one came before. The first time
 * it may just have been fetched together with what ended its registration. */
bool fl_poller_stray(fl_poller *p, const struct epoll_event *ev);

/* Registers all watches with a new epoll of the same number; 0 or -errno: all is as it
 * was. */
int fl_poller_renew(fl_poller *p);

/* Waits at most timeout_ns (-1: without limit); number of events, 0 also for EINTR, or
 * -errno. */
int fl_poller_wait(fl_poller *p, struct epoll_event *events, int max,
                   int64_t timeout_ns);

#endif
