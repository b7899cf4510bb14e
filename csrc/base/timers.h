/* timers.h -- pending deadlines, soonest first.
 *
 * A 4-ary min-heap of intrusive nodes: the caller embeds an fl_timer, so arming stores
 * one pointer. Every node knows its slot, so cancelling is O(log n) and leaves no dead
 * entry behind. Equal deadlines fire in arming order (`seq`): programs rely on it.
 *
 * `when` is a monotonic time in nanoseconds; the heap only compares it.
 *
 * Layer: base. Threads: none; owned by one loop.
 */
#ifndef FL_BASE_TIMERS_H
#define FL_BASE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FL_TIMER_IDLE UINT32_MAX

typedef struct fl_timer {
    uint64_t when;
    uint64_t seq;  /* set by arm */
    uint32_t slot; /* place in the heap, FL_TIMER_IDLE when not armed */
} fl_timer;

typedef struct {
    fl_timer **heap; /* owned array of borrowed nodes */
    size_t n, cap;
    uint64_t next_seq;
} fl_timers;

void fl_timers_init(fl_timers *t);

/* Marks every node that is still armed idle and frees the array. The nodes belong to
 * the callers. */
void fl_timers_free(fl_timers *t);

/* A node must be made idle once before its first use. */
static inline void
fl_timer_init(fl_timer *node)
{
    node->when = 0;
    node->seq = 0;
    node->slot = FL_TIMER_IDLE;
}

static inline bool
fl_timer_armed(const fl_timer *node)
{
    return node->slot != FL_TIMER_IDLE;
}

/* Arms node for `when`; one that is armed moves there, behind its equals. The heap
 * borrows the node until it is popped or cancelled. 0, or -ENOMEM with nothing changed
 * (moving one that is armed never fails). */
int fl_timers_arm(fl_timers *t, fl_timer *node, uint64_t when);

/* No-op when node is idle. */
void fl_timers_cancel(fl_timers *t, fl_timer *node);

/* The soonest, or NULL. It stays armed. */
static inline fl_timer *
fl_timers_peek(const fl_timers *t)
{
    return t->n > 0 ? t->heap[0] : NULL;
}

/* Takes out and returns the soonest when its time is at or before `now`, otherwise
 * NULL. A caller that runs what it pops collects first: one that re-arms itself for now
 * would come again and again. */
fl_timer *fl_timers_pop_due(fl_timers *t, uint64_t now);

#endif
