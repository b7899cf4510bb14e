/* timers.c -- a 4-ary min-heap of intrusive nodes.
 *
 *      parent of i: (i - 1) / 4        children of i: 4i + 1 .. 4i + 4
 *
 * Four children a node halve the depth against a binary heap, and they share a cache
 * line of pointers. Order is (when, seq); seq is taken anew at each arming, so a node
 * that is armed again stands behind its equals.
 *
 * Invariant: heap[i]->slot == i for every i < n.
 *
 * Layer: base. Threads: none; owned by one loop.
 */
#include "base/timers.h"

#include <errno.h>
#include <stdlib.h>

#define ARITY 4
#define FIRST_CAP 16

void
fl_timers_init(fl_timers *t)
{
    t->heap = NULL;
    t->n = t->cap = 0;
    t->next_seq = 0;
}

void
fl_timers_free(fl_timers *t)
{
    for (size_t i = 0; i < t->n; i++) {
        t->heap[i]->slot = FL_TIMER_IDLE;
    }
    free(t->heap);
    fl_timers_init(t);
}

static inline bool
before(const fl_timer *a, const fl_timer *b)
{
    return a->when != b->when ? a->when < b->when : a->seq < b->seq;
}

static inline void
put(fl_timers *t, size_t slot, fl_timer *node)
{
    t->heap[slot] = node;
    node->slot = (uint32_t)slot;
}

/* The hole at `slot` belongs to node: moves the hole up until node fits. */
static void
sift_up(fl_timers *t, size_t slot, fl_timer *node)
{
    while (slot > 0) {
        size_t parent = (slot - 1) / ARITY;
        if (!before(node, t->heap[parent])) {
            break;
        }
        put(t, slot, t->heap[parent]);
        slot = parent;
    }
    put(t, slot, node);
}

/* The hole at `slot` belongs to node: moves the hole down until node fits. */
static void
sift_down(fl_timers *t, size_t slot, fl_timer *node)
{
    for (;;) {
        size_t first = slot * ARITY + 1;
        if (first >= t->n) {
            break;
        }
        size_t last = first + ARITY < t->n ? first + ARITY : t->n;
        size_t best = first;
        for (size_t i = first + 1; i < last; i++) {
            if (before(t->heap[i], t->heap[best])) {
                best = i;
            }
        }
        if (!before(t->heap[best], node)) {
            break;
        }
        put(t, slot, t->heap[best]);
        slot = best;
    }
    put(t, slot, node);
}

static void
settle(fl_timers *t, size_t slot, fl_timer *node)
{
    if (slot > 0 && before(node, t->heap[(slot - 1) / ARITY])) {
        sift_up(t, slot, node);
    } else {
        sift_down(t, slot, node);
    }
}

static int
grow(fl_timers *t)
{
    size_t cap = t->cap == 0 ? FIRST_CAP : t->cap * 2;
    if (cap >= FL_TIMER_IDLE) {
        return -ENOMEM;
    }
    fl_timer **heap = realloc(t->heap, cap * sizeof(*heap));
    if (heap == NULL) {
        return -ENOMEM;
    }
    t->heap = heap;
    t->cap = cap;
    return 0;
}

int
fl_timers_arm(fl_timers *t, fl_timer *node, uint64_t when)
{
    if (!fl_timer_armed(node)) {
        if (t->n == t->cap) {
            int rc = grow(t);
            if (rc < 0) {
                return rc;
            }
        }
        node->when = when;
        node->seq = t->next_seq++;
        t->n++;
        sift_up(t, t->n - 1, node);
        return 0;
    }
    node->when = when;
    node->seq = t->next_seq++;
    settle(t, node->slot, node);
    return 0;
}

void
fl_timers_cancel(fl_timers *t, fl_timer *node)
{
    if (!fl_timer_armed(node)) {
        return;
    }
    size_t slot = node->slot;
    node->slot = FL_TIMER_IDLE;
    t->n--;
    if (slot != t->n) {
        settle(t, slot, t->heap[t->n]);
    }
}

fl_timer *
fl_timers_pop_due(fl_timers *t, uint64_t now)
{
    fl_timer *first = fl_timers_peek(t);
    if (first == NULL || first->when > now) {
        return NULL;
    }
    fl_timers_cancel(t, first);
    return first;
}
