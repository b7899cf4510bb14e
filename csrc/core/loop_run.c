/* loop_run.c -- one tick, and ticks until stop().
 *
 *     signals -> inbox -> epoll (events handled at once) -> due timers -> ring
 *
 * While callbacks are ready or timers due epoll is asked only every BUSY_TICKS or
 * BUSY_NS: a tick that asks costs several times one that does not. What the ring gets
 * while it runs waits for the next tick, so a callback that schedules itself starves
 * nobody.
 *
 * A tick hands out events until RECEIVED_LEAST bytes were received; the other events wait
 * for the next one, before epoll is asked again. So what came is worked on, and answered,
 * while it stands in the cache.
 *
 * Before it asks epoll, a tick with nothing to do looks at the two channels that were heard
 * of longest ago among the last few: between ends that answer each other in this process,
 * or faster than the loop comes round, each message goes without epoll. Where that gives
 * nothing it becomes rare at once, the sooner the more a look costs (a TLS stream's is an
 * exception in Python), where epoll tells of many at a time it is not done, and
 * epoll is asked at least every BUSY_TICKS or GUESS_NS.
 *
 * The GIL is released only where the wait can block, and once per RELEASE_NS
 * while it never does; a loop whose last wait did not sleep looks before it lets go. That
 * is some times the interpreter's switch interval (5 ms): a thread that waits for the GIL
 * demands it only after an interval in which nobody let it go, and one that is merely
 * released for a microsecond it does not get.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/loop.h"

#include <errno.h>
#include <signal.h>

#include "core/asyncio_bridge.h"
#include "core/loop_methods.h"
#include "core/task_parts.h"

#define BUSY_TICKS 64
#define BUSY_NS (50 * FL_NS_PER_US)
#define RELEASE_NS (20 * FL_NS_PER_MS) /* see above */
#define PROMPT_NS (4 * FL_NS_PER_US)   /* a wait that was shorter did not sleep */
#define RECEIVED_LEAST ((uint64_t)128 * 1024)

/* Channels looked at in one tick, and events of epoll after which they are; and how rare
 * such ticks become (1 in 2 to the power of it) where that is in vain. */
#define GUESSES 2
#define MOST_VAIN 6
#define GUESS_NS (200 * FL_NS_PER_US)

/* The watch was heard of: it becomes the latest. */
static void
heard_of(FlLoop *loop, const fl_watch *watch)
{
    fl_heard one = {.fd = watch->fd, .generation = watch->generation};
    unsigned i = 0;

    while (i < loop->heard_n && loop->heard[i].generation != one.generation)
        i++;
    if (i == FL_HEARD)
        i = 0; /* nobody of them: the oldest goes */
    else if (i == loop->heard_n)
        loop->heard_n++;
    for (; i + 1 < loop->heard_n; i++)
        loop->heard[i] = loop->heard[i + 1];
    loop->heard[i] = one;
}

/* Looks for itself: 1 that gave something to do, 0, -1 fatal. The latest is left out, whose
 * peer has only just been answered. */
static int
run_guesses(FlLoop *loop)
{
    unsigned tried = 0, cost = 0;

    if (loop->guess_spared > 0) {
        loop->guess_spared--;
        return 0;
    }
    for (unsigned i = 0; i + 1 < loop->heard_n && tried < GUESSES; i++) {
        fl_watch *watch = fl_poller_find(&loop->poller, loop->heard[i].fd);
        uint64_t before = loop->stats.bytes_read;
        fl_watch latest;
        PyObject *owner;
        int err;

        if (watch == NULL || watch->generation != loop->heard[i].generation ||
            !(watch->events & EPOLLIN))
            continue;
        tried++;
        cost = cost > watch->guess ? cost : watch->guess;
        latest = *watch;
        owner = Py_XNewRef((PyObject *)watch->owner);
        err = watch->ready(loop, watch, 0);
        Py_XDECREF(owner);
        if (err < 0)
            return -1;
        if (loop->stats.bytes_read == before && loop->ring_head == loop->ring_tail &&
            !loop->stopping)
            continue;
        loop->stats.events++;
        loop->vain_guesses -= loop->vain_guesses > 0;
        heard_of(loop, &latest);
        return 1;
    }
    if (tried > 0) {
        cost += loop->vain_guesses;
        loop->vain_guesses = (uint8_t)(cost < MOST_VAIN ? cost : MOST_VAIN);
        loop->guess_spared = (uint8_t)((1u << loop->vain_guesses) - 1);
    }
    return 0;
}

/* Each event asks again for its watch, and for what the watch wants now: an earlier
 * handler may have closed, changed or reused the descriptor. */
static int
run_events(FlLoop *loop)
{
    struct epoll_event stray;
    bool strayed = false;
    uint64_t enough = loop->stats.bytes_read + RECEIVED_LEAST;
    bool few = loop->events_n <= GUESSES; /* else epoll is worth its call */
    int err = 0;

    if (!few)
        loop->heard_n = 0;
    while (FlLoop_HasEvents(loop) && err == 0 && loop->stats.bytes_read < enough) {
        const struct epoll_event *event = &loop->events[loop->events_at++];
        fl_watch *watch = fl_poller_event_watch(&loop->poller, event);
        uint32_t ready;
        PyObject *owner;

        if (watch == NULL) {
            stray = *event;
            strayed = true;
            continue;
        }
        ready = event->events & (watch->events | EPOLLERR | EPOLLHUP);
        if (ready == 0)
            continue;
        loop->stats.events++;
        if (few && watch->guess)
            heard_of(loop, watch);
        owner = Py_XNewRef((PyObject *)watch->owner);
        err = watch->ready(loop, watch, ready);
        Py_XDECREF(owner);
    }
    if (strayed && err == 0 && !loop->closed)
        err = FlLoop_Stray(loop, &stray);
    return err;
}

static int64_t
run_timeout(FlLoop *loop)
{
    fl_timer *next = fl_timers_peek(&loop->timers);

    if (next == NULL)
        return -1;
    if (next->when <= loop->now)
        return 0;
    return next->when - loop->now > INT64_MAX ? -1 : (int64_t)(next->when - loop->now);
}

/* Asks epoll: how many events, or -errno. Where the last wait was none, it asks first
 * without letting the GIL go. */
static int
run_wait_events(FlLoop *loop, int64_t timeout)
{
    bool due = loop->now - loop->last_release > RELEASE_NS;
    int n = 0;

    if (!due && (timeout == 0 || loop->prompt))
        n = fl_poller_wait(&loop->poller, loop->events, FL_EVENTS, 0);
    if (n != 0 || (timeout == 0 && !due))
        return n;
    Py_BEGIN_ALLOW_THREADS;
    n = fl_poller_wait(&loop->poller, loop->events, FL_EVENTS, timeout);
    Py_END_ALLOW_THREADS;
    loop->last_release = fl_clock_monotonic();
    loop->prompt = n > 0 && loop->last_release - loop->now < PROMPT_NS;
    loop->now = loop->last_release;
    return n;
}

static int
run_poll(FlLoop *loop, int64_t timeout)
{
    int n;

    FlAsyncio_LeaveNow(loop);
    loop->stats.polls++;
    loop->ticks_unpolled = 0;
    n = run_wait_events(loop, timeout);
    loop->last_poll = loop->now;
    loop->events_at = 0;
    loop->events_n = n > 0 ? n : 0;
    if (n >= 0)
        return run_events(loop);
    errno = -n;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

/* Events of the last time, or decides whether epoll is asked, and for how long. */
static int
run_wait(FlLoop *loop, bool block)
{
    fl_timer *next = fl_timers_peek(&loop->timers);
    bool busy = loop->ring_head != loop->ring_tail;
    int64_t timeout = 0;

    loop->now = fl_clock_monotonic();
    if (FlLoop_HasEvents(loop)) {
        FlAsyncio_LeaveNow(loop);
        return run_events(loop);
    }
    if (next != NULL && next->when <= loop->now)
        busy = true;
    if (busy || loop->stopping || !block) {
        if (busy && !loop->stopping && ++loop->ticks_unpolled < BUSY_TICKS &&
            loop->now - loop->last_poll < BUSY_NS)
            return 0;
    } else {
        FlAsyncio_LeaveNow(loop);
        if (loop->heard_n > 1 && loop->ticks_unpolled < BUSY_TICKS &&
            loop->now - loop->last_poll < GUESS_NS) {
            int guessed = run_guesses(loop);

            if (guessed != 0) {
                loop->ticks_unpolled++;
                return guessed < 0 ? -1 : 0;
            }
        }
        timeout = run_timeout(loop);
        if (timeout != 0 && !FlLoop_SleepIfEmpty(loop))
            timeout = 0;
    }
    int err = run_poll(loop, timeout);
    if (loop->host == NULL)
        loop->sleeping = false;
    return err;
}

static int
run_timers(FlLoop *loop)
{
    fl_timer *node;
    int err = 0;

    if (fl_timers_peek(&loop->timers)->when <= loop->now)
        FlAsyncio_LeaveNow(loop);
    loop->firing = true;
    while (err == 0 && (node = fl_timers_pop_due(&loop->timers, loop->now)) != NULL) {
        fl_loop_timer *timer = (fl_loop_timer *)node;
        PyObject *owner = timer->owner;

        loop->stats.timers++;
        err = timer->fire(loop, timer);
        Py_XDECREF(owner);
    }
    loop->firing = false;
    return err;
}

static int
run_ring(FlLoop *loop)
{
    size_t todo = loop->ring_tail - loop->ring_head;
    int err = 0;

    loop->stats.callbacks += todo;
    while (todo-- > 0 && err == 0 && loop->ring_head != loop->ring_tail) {
        FlReady entry = loop->ring[loop->ring_head++ & loop->ring_mask];

        if (loop->stepped != NULL && entry.run != FlTask_RingStep)
            FlAsyncio_LeaveNow(loop);
        err = entry.run(loop, entry.obj);
        Py_XDECREF(entry.obj);
    }
    return err;
}

int
FlLoop_RunOnce(FlLoop *loop, bool block)
{
    loop->stats.ticks++;
    loop->costly = 0;
    if (PyErr_CheckSignals() < 0)
        return -1;
    if (loop->inbox_len != 0 && FlLoop_TakeInbox(loop) < 0)
        return -1;
    if (run_wait(loop, block) < 0)
        return -1;
    if (loop->inbox_len != 0 && FlLoop_TakeInbox(loop) < 0)
        return -1;
    if (loop->timers.n > 0 && run_timers(loop) < 0)
        return -1;
    return run_ring(loop);
}

/* ---- run and stop ---- */

static int
run_check(FlLoop *loop)
{
    if (FlLoop_CheckOpen(loop) < 0)
        return -1;
    if (loop->host != NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "This loop is a guest: the asyncio loop around it runs it");
        return -1;
    }
    if (fl_poller_forked(&loop->poller)) {
        PyErr_Format(
            PyExc_RuntimeError,
            "This loop was made in process %d and cannot run in its fork: make "
            "loops after forking, in each child its own",
            loop->poller.process);
        return -1;
    }
    if (loop->running) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return -1;
    }
    return 0;
}

/* Who answers and stops the loop has answered: what is held back for the next tick leaves
 * before there is none. The entries stay, and find nothing to do. */
static int
run_lets_go(FlLoop *loop)
{
    size_t end = loop->ring_tail;
    int err = 0;

    for (size_t at = loop->ring_head; at < end && err == 0; at++) {
        FlReady entry;

        if (at < loop->ring_head || at >= loop->ring_tail)
            break; /* somebody has run or dropped it meanwhile */
        entry = loop->ring[at & loop->ring_mask];
        if (entry.run != loop->lets_go)
            continue;
        Py_XINCREF(entry.obj);
        err = entry.run(loop, entry.obj);
        Py_XDECREF(entry.obj);
    }
    return err;
}

/* asyncio is told which loop runs; what ran around us (a private loop inside a handler)
 * comes back afterwards. */
PyObject *
FlLoop_run(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlLoop *self = (FlLoop *)obj;
    FlState *st = self->st;
    PyObject *outer, *res, *exc;
    void *outer_c = PyThread_tss_get(&st->running);
    int err = 0;

    if (run_check(self) < 0)
        return NULL;
    outer = PyObject_CallNoArgs(st->get_running_loop);
    if (outer == NULL)
        return NULL;
    res = PyObject_CallOneArg(st->set_running_loop, obj);
    if (res == NULL) {
        Py_DECREF(outer);
        return NULL;
    }
    Py_DECREF(res);
    PyThread_tss_set(&st->running, self);
    self->running = true;
    self->thread_id = PyThread_get_thread_ident();
    do
        err = FlLoop_RunOnce(self, true);
    while (err == 0 && !self->stopping);
    if (err == 0 && self->lets_go != NULL)
        err = run_lets_go(self);
    self->running = self->stopping = false;
    self->events_n = 0; /* epoll tells of them again, if they still hold */
    self->thread_id = 0;
    PyThread_tss_set(&st->running, outer_c);
    exc = PyErr_GetRaisedException();
    FlAsyncio_LeaveNow(self);
    res = PyObject_CallOneArg(st->set_running_loop, outer);
    if (res == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        /* Without it no loop could run in this thread any more: try once again. */
        PyErr_Clear();
        res = PyObject_CallOneArg(st->set_running_loop, outer);
    }
    Py_DECREF(outer);
    Py_XDECREF(res);
    if (exc == NULL)
        return res == NULL ? NULL : Py_NewRef(Py_None);
    PyErr_SetRaisedException(exc);
    return NULL;
}

PyObject *
FlLoop_stop(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    ((FlLoop *)self)->stopping = true;
    Py_RETURN_NONE;
}

/* ---- signals ---- */

/* A signal has ended the wait: its handler runs now. */
static int
run_signals(FlLoop *loop, fl_watch *Py_UNUSED(watch), uint32_t Py_UNUSED(events))
{
    fl_wakeup_quiet_signals(&loop->wakeup);
    return PyErr_CheckSignals();
}

PyObject *
FlLoop_open_signals(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlLoop *self = (FlLoop *)obj;
    int err;

    if (FlLoop_CheckOpen(self) < 0)
        return NULL;
    err = fl_wakeup_open_signals(&self->wakeup);
    if (err < 0) {
        errno = -err;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (!FlLoop_Watched(&self->signal_watch)) {
        self->signal_watch =
            (fl_watch){.fd = self->wakeup.signal_read, .ready = run_signals};
        if (FlLoop_Watch(self, &self->signal_watch, EPOLLIN) < 0)
            return NULL;
    }
    return PyLong_FromLong(self->wakeup.signal_write);
}
