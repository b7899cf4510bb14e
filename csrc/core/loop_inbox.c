/* loop_inbox.c -- what other threads hand to a loop.
 *
 *     producer: lock, push, ring the eventfd if the loop sleeps, unlock
 *     loop: lock, swap the two arrays, unlock, move what came onto the ring
 *
 * The eventfd is written once for each sleep, never while the loop is awake.
 *
 * A producer that has filled the inbox hands the interpreter over: it waits, without
 * the GIL, until the loop has taken what is there. Without that it would go on for a
 * whole switch interval, tens of thousands of callbacks that are cold and counted by the
 * collector when they run at last. It waits for one such interval at most, then no more
 * until the loop has come: a loop that is busy elsewhere, or waits for this very thread,
 * holds nobody up.
 *
 * Layer: core. Threads: any; taking is the loop's own.
 */
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>

#include "core/loop_methods.h"

#define FIRST_INBOX 16
#define FULL 512   /* fewer than the handles that are kept for reuse */
#define LARGE 4096 /* an array that grew past this is not kept */
#define PATIENCE_NS (5 * FL_NS_PER_MS) /* the interpreter's switch interval */

void
FlLoop_InitInbox(FlLoop *loop)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&loop->inbox_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&loop->inbox_taken, &monotonic);
    pthread_condattr_destroy(&monotonic);
    loop->inbox_patience = true;
}

void
FlLoop_CloseInbox(FlLoop *loop)
{
    pthread_mutex_lock(&loop->inbox_lock);
    loop->closed = true;
    pthread_cond_broadcast(&loop->inbox_taken);
    pthread_mutex_unlock(&loop->inbox_lock);
}

void
FlLoop_ClearInbox(FlLoop *loop)
{
    while (loop->inbox_len > 0) {
        PyObject *obj = loop->inbox[--loop->inbox_len].obj;

        Py_XDECREF(obj);
    }
}

void
FlLoop_FreeInbox(FlLoop *loop)
{
    free(loop->inbox);
    free(loop->inbox_spare);
    loop->inbox = loop->inbox_spare = NULL;
    loop->inbox_cap = loop->inbox_spare_cap = 0;
}

/* ---- producers ---- */

/* Under the lock. */
static int
inbox_push(FlLoop *loop, fl_run_fn run, PyObject *obj)
{
    if (loop->inbox_len == loop->inbox_cap) {
        size_t cap = loop->inbox_cap ? loop->inbox_cap * 2 : FIRST_INBOX;
        FlReady *inbox = realloc(loop->inbox, cap * sizeof *inbox);

        if (inbox == NULL)
            return -ENOMEM;
        loop->inbox = inbox;
        loop->inbox_cap = cap;
    }
    loop->inbox[loop->inbox_len++] = (FlReady){.run = run, .obj = Py_XNewRef(obj)};
    return 0;
}

int
FlLoop_DeferThreadsafe(FlLoop *loop, fl_run_fn run, PyObject *obj)
{
    int err;

    pthread_mutex_lock(&loop->inbox_lock);
    if (loop->closed) {
        pthread_mutex_unlock(&loop->inbox_lock);
        return FlLoop_CheckOpen(loop);
    }
    err = inbox_push(loop, run, obj);
    if (loop->sleeping)
        fl_wakeup_ring(&loop->wakeup);
    loop->sleeping = false;
    pthread_mutex_unlock(&loop->inbox_lock);
    if (err == 0)
        return 0;
    PyErr_NoMemory();
    return -1;
}

/* Without the GIL: until the loop has come, or patience ends. */
static void
inbox_wait(FlLoop *loop)
{
    uint64_t until = fl_clock_monotonic() + PATIENCE_NS;
    struct timespec deadline = {
        .tv_sec = (time_t)(until / FL_NS_PER_S),
        .tv_nsec = (long)(until % FL_NS_PER_S),
    };

    pthread_mutex_lock(&loop->inbox_lock);
    while (loop->inbox_len >= FULL && loop->inbox_patience && !loop->closed) {
        if (pthread_cond_timedwait(&loop->inbox_taken, &loop->inbox_lock, &deadline) !=
            0)
            loop->inbox_patience = false;
    }
    pthread_mutex_unlock(&loop->inbox_lock);
}

void
FlLoop_HandOver(FlLoop *loop)
{
    if (loop->inbox_len < FULL || !loop->inbox_patience || loop->thread_id == 0 ||
        loop->thread_id == PyThread_get_thread_ident())
        return;
    Py_INCREF(loop);
    Py_BEGIN_ALLOW_THREADS;
    inbox_wait(loop);
    Py_END_ALLOW_THREADS;
    Py_DECREF(loop);
}

/* ---- the loop ---- */

/* The array of an inbox that was emptied serves again. */
static void
inbox_keep(FlLoop *loop, FlReady *inbox, size_t cap)
{
    if (loop->inbox_spare != NULL || loop->closed || cap > LARGE) {
        free(inbox);
        return;
    }
    loop->inbox_spare = inbox;
    loop->inbox_spare_cap = cap;
}

int
FlLoop_TakeInbox(FlLoop *loop)
{
    FlReady *inbox;
    size_t n, cap;

    pthread_mutex_lock(&loop->inbox_lock);
    n = loop->inbox_len;
    if (FlLoop_ReserveRing(loop, n) < 0) {
        pthread_mutex_unlock(&loop->inbox_lock);
        return -1;
    }
    inbox = loop->inbox;
    cap = loop->inbox_cap;
    loop->inbox = loop->inbox_spare;
    loop->inbox_cap = loop->inbox_spare_cap;
    loop->inbox_spare = NULL;
    loop->inbox_spare_cap = loop->inbox_len = 0;
    if (n >= FULL)
        pthread_cond_broadcast(&loop->inbox_taken);
    loop->inbox_patience = true;
    pthread_mutex_unlock(&loop->inbox_lock);
    for (size_t i = 0; i < n; i++)
        loop->ring[loop->ring_tail++ & loop->ring_mask] = inbox[i];
    inbox_keep(loop, inbox, cap);
    return n > 0 && loop->host != NULL ? FlLoop_GuestPump(loop) : 0;
}

bool
FlLoop_SleepIfEmpty(FlLoop *loop)
{
    bool empty;

    pthread_mutex_lock(&loop->inbox_lock);
    empty = loop->inbox_len == 0;
    loop->sleeping = empty;
    pthread_mutex_unlock(&loop->inbox_lock);
    return empty;
}
