/* test_timers.c -- base/timers.h and base/deadline_list.h against a sorted array. */
#include "base/deadline_list.h"
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

static void
a_touched_deadline_goes_to_the_end(void)
{
    fl_deadlines list;
    fl_deadline a, b, c;
    fl_deadlines_init(&list, 10);
    fl_deadline_init(&a);
    fl_deadline_init(&b);
    fl_deadline_init(&c);
    fl_deadlines_remove(&a);
    CHECK(fl_deadlines_first(&list) == NULL);
    CHECK(fl_deadlines_pop_due(&list, UINT64_MAX) == NULL);
    fl_deadlines_touch(&list, &a, 1);
    fl_deadlines_touch(&list, &b, 2);
    fl_deadlines_touch(&list, &c, 3);
    fl_deadlines_touch(&list, &a, 4);
    CHECK(fl_deadlines_first(&list) == &b);
    CHECK_INT(b.when, 12);
    CHECK(fl_deadlines_pop_due(&list, 11) == NULL);
    CHECK(fl_deadlines_pop_due(&list, 12) == &b);
    CHECK(!fl_deadline_armed(&b));
    fl_deadlines_remove(&c);
    CHECK(fl_deadlines_first(&list) == &a);
    fl_deadlines_touch(&list, &a, 5); /* alone in the list */
    CHECK(fl_deadlines_pop_due(&list, 15) == &a);
    CHECK(fl_deadlines_first(&list) == NULL);
}

static void
another_delay_moves_every_deadline(void)
{
    fl_deadlines list;
    fl_deadline a, b;
    fl_deadlines_init(&list, 10);
    fl_deadline_init(&a);
    fl_deadline_init(&b);
    fl_deadlines_touch(&list, &a, 1);
    fl_deadlines_touch(&list, &b, 30);
    fl_deadlines_set_delay(&list, 100);
    CHECK_INT(a.when, 101);
    CHECK_INT(b.when, 130);
    fl_deadlines_set_delay(&list, 5);
    CHECK_INT(a.when, 6);
    CHECK_INT(b.when, 35);
    fl_deadlines_touch(&list, &a, 0);
    fl_deadlines_set_delay(&list, 4);
    CHECK_INT(a.when, 4);
    b.when = 2; /* a time before the delay itself */
    fl_deadlines_set_delay(&list, 1);
    CHECK_INT(b.when, 0);
    fl_deadlines_set_delay(&list, UINT64_MAX);
    CHECK(a.when == UINT64_MAX);
    fl_deadlines_touch(&list, &a, 7);
    CHECK(a.when == UINT64_MAX);
}

int
main(void)
{
    equal_deadlines_fire_in_arming_order();
    cancelling_leaves_nothing_behind();
    the_soonest_comes_first();
    without_memory_nothing_is_armed_and_moving_still_works();
    a_touched_deadline_goes_to_the_end();
    another_delay_moves_every_deadline();
    return check_done();
}
