/* deadline_list.h -- many deadlines of one fixed delay, in O(1).
 *
 * When every member waits equally long, the order of touching is the order of expiry,
 * so a doubly linked list is sorted by construction:
 *
 *      head <-> soonest <-> ... <-> touched last <-> head
 *
 * A hundred thousand idle connections cost their nodes and one timer for the first of
 * them. Invariant: `now` never goes backwards between two touches of one list.
 *
 * Layer: base. Threads: none; owned by one loop.
 */
#ifndef FL_BASE_DEADLINE_LIST_H
#define FL_BASE_DEADLINE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fl_deadline {
    struct fl_deadline *prev, *next; /* borrowed; both NULL while in no list */
    uint64_t when;
} fl_deadline;

typedef struct {
    fl_deadline
        head; /* sentinel: its next is the soonest; it must not move in memory */
    uint64_t delay;
} fl_deadlines;

void fl_deadlines_init(fl_deadlines *list, uint64_t delay);

static inline void
fl_deadline_init(fl_deadline *node)
{
    node->prev = node->next = NULL;
    node->when = 0;
}

static inline bool
fl_deadline_armed(const fl_deadline *node)
{
    return node->next != NULL;
}

/* The node expires at now + delay; moved to the tail, entered when it was in no list.
 * It must not be in another list. */
void fl_deadlines_touch(fl_deadlines *list, fl_deadline *node, uint64_t now);

/* No-op when the node is in no list. */
void fl_deadlines_remove(fl_deadline *node);

/* The soonest, or NULL. It stays in the list. */
static inline fl_deadline *
fl_deadlines_first(const fl_deadlines *list)
{
    return list->head.next == &list->head ? NULL : list->head.next;
}

/* Takes out and returns the first when its time is at or before `now`, else NULL. */
fl_deadline *fl_deadlines_pop_due(fl_deadlines *list, uint64_t now);

/* Another delay for all members: each `when` moves by the difference, the order stays.
 * O(n). */
void fl_deadlines_set_delay(fl_deadlines *list, uint64_t delay);

#endif
