/* test_timers.c -- base/timers.h against a sorted array. */
#include "base/timers.h"

#include <errno.h>

#include "check.h"

static bool
heap_is_sound(const fl_timers *t)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->heap[i]->slot != i) {
            return false;
        }
        const fl_timer *parent = t->heap[i == 0 ? 0 : (i - 1) / 4];
        if (parent->when > t->heap[i]->when) {
            return false;
        }
    }
    return true;
}

static void
equal_deadlines_fire_in_arming_order(void)
{
    enum { COUNT = 100 };
    fl_timers t;
    fl_timer nodes[COUNT];
    fl_timers_init(&t);
    for (int i = 0; i < COUNT; i++) {
        fl_timer_init(&nodes[i]);
        CHECK_INT(fl_timers_arm(&t, &nodes[i], 7), 0);
    }
    /* Armed again for the same time: behind all others. */
    CHECK_INT(fl_timers_arm(&t, &nodes[3], 7), 0);
    CHECK(fl_timers_pop_due(&t, 6) == NULL);
    for (int i = 0; i < COUNT; i++) {
        if (i != 3) {
            CHECK(fl_timers_pop_due(&t, 7) == &nodes[i]);
        }
    }
    CHECK(fl_timers_pop_due(&t, 7) == &nodes[3]);
    CHECK(fl_timers_pop_due(&t, UINT64_MAX) == NULL);
    fl_timers_free(&t);
}

static void
cancelling_leaves_nothing_behind(void)
{
    fl_timers t;
    fl_timer a, b;
    fl_timers_init(&t);
    fl_timer_init(&a);
    fl_timer_init(&b);
    fl_timers_cancel(&t, &a);
    CHECK(fl_timers_peek(&t) == NULL);
    CHECK_INT(fl_timers_arm(&t, &a, 1), 0);
    CHECK_INT(fl_timers_arm(&t, &b, 2), 0);
    CHECK(fl_timer_armed(&a));
    fl_timers_cancel(&t, &a);
    CHECK(!fl_timer_armed(&a));
    fl_timers_cancel(&t, &a);
    CHECK_INT(t.n, 1);
    CHECK(fl_timers_peek(&t) == &b);
    fl_timers_free(&t);
    CHECK(!fl_timer_armed(&b));
}

/* Random arming, moving, cancelling and popping; the array is the truth. */
static void
the_soonest_comes_first(void)
{
    enum { COUNT = 200, STEPS = 20000 };
    fl_timers t;
    fl_timer nodes[COUNT];
    uint64_t order[COUNT] = {0}; /* 0: idle; else when << 32 | arming number */
    uint64_t armings = 0;
    fl_timers_init(&t);
    for (int i = 0; i < COUNT; i++) {
        fl_timer_init(&nodes[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        size_t i = random_below(COUNT);
        size_t what = random_below(10);
        if (what < 6) {
            uint64_t when = 1 + random_below(50);
            CHECK_INT(fl_timers_arm(&t, &nodes[i], when), 0);
            order[i] = when << 32 | ++armings;
        } else if (what < 8) {
            fl_timers_cancel(&t, &nodes[i]);
            order[i] = 0;
        } else {
            size_t best = COUNT;
            for (size_t k = 0; k < COUNT; k++) {
                if (order[k] != 0 && (best == COUNT || order[k] < order[best])) {
                    best = k;
                }
            }
            uint64_t now = random_below(60);
            bool due = best < COUNT && order[best] >> 32 <= now;
            CHECK(fl_timers_pop_due(&t, now) == (due ? &nodes[best] : NULL));
            if (due) {
                order[best] = 0;
            }
        }
        CHECK(heap_is_sound(&t));
    }
    fl_timers_free(&t);
}

static void
without_memory_nothing_is_armed_and_moving_still_works(void)
{
    fl_timers t;
    fl_timer nodes[17];
    fl_timers_init(&t);
    for (int i = 0; i < 17; i++) {
        fl_timer_init(&nodes[i]);
    }
    check_allocations_left = 1;
    int armed = 0;
    while (armed < 17 && fl_timers_arm(&t, &nodes[armed], 9) == 0) {
        armed++;
    }
    CHECK_INT(armed, 16);
    CHECK_INT(fl_timers_arm(&t, &nodes[16], 1), -ENOMEM);
    CHECK(!fl_timer_armed(&nodes[16]));
    CHECK_INT(fl_timers_arm(&t, &nodes[15], 1), 0);
    CHECK(fl_timers_peek(&t) == &nodes[15]);
    check_allocations_left = -1;
    fl_timers_free(&t);
}

int
main(void)
{
    equal_deadlines_fire_in_arming_order();
    cancelling_leaves_nothing_behind();
    the_soonest_comes_first();
    without_memory_nothing_is_armed_and_moving_still_works();
    return check_done();
}
