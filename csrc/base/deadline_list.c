/* deadline_list.c -- a sorted list that sorts itself: see deadline_list.h.
 *
 * Layer: base. Threads: none; owned by one loop.
 */
#include "base/deadline_list.h"

void
fl_deadlines_init(fl_deadlines *list, uint64_t delay)
{
    list->head.prev = list->head.next = &list->head;
    list->head.when = 0;
    list->delay = delay;
}

static void
unlink_node(fl_deadline *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
}

/* A sum past the end of time means never, not soon. */
static uint64_t
add_saturating(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void
fl_deadlines_touch(fl_deadlines *list, fl_deadline *node, uint64_t now)
{
    if (fl_deadline_armed(node)) {
        unlink_node(node);
    }
    fl_deadline *tail = list->head.prev;
    node->when = add_saturating(now, list->delay);
    node->prev = tail;
    node->next = &list->head;
    tail->next = node;
    list->head.prev = node;
}

void
fl_deadlines_remove(fl_deadline *node)
{
    if (fl_deadline_armed(node)) {
        unlink_node(node);
        node->prev = node->next = NULL;
    }
}

fl_deadline *
fl_deadlines_pop_due(fl_deadlines *list, uint64_t now)
{
    fl_deadline *first = fl_deadlines_first(list);
    if (first == NULL || first->when > now) {
        return NULL;
    }
    fl_deadlines_remove(first);
    return first;
}

void
fl_deadlines_set_delay(fl_deadlines *list, uint64_t delay)
{
    for (fl_deadline *d = list->head.next; d != &list->head; d = d->next) {
        if (delay >= list->delay) {
            d->when = add_saturating(d->when, delay - list->delay);
        } else {
            uint64_t less = list->delay - delay;
            d->when = d->when > less ? d->when - less : 0;
        }
    }
    list->delay = delay;
}
