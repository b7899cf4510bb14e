/* waitlist.h -- futures in the order in which they came, to be let go one by one.
 *
 * What locks and queues are made of. A future that timed out or was cancelled stays
 * where it is until it is the first, or until the list has doubled: forgetting it costs
 * O(1) in the long run. Each may have something beside it, which is kept as long.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_WAITLIST_H
#define FL_CORE_WAITLIST_H

#include "core/future.h"

typedef struct FlWaiting {
    PyObject *future; /* owned; ours */
    PyObject *beside; /* owned; may be NULL */
} FlWaiting;

typedef struct FlWaitlist {
    FlWaiting *ring; /* owned; mask + 1 slots, NULL: none yet */
    size_t mask;
    size_t head; /* the first; both count up for ever */
    size_t tail;
    size_t sweep_at; /* look for those that are done at this length */
} FlWaitlist;

/* Takes the first out that is not done: 1 with both references the caller's, or 0 where
 * there is none. */
int FlWaitlist_Pop(FlWaitlist *list, FlWaiting *first); /* escapes */

/* Puts what Pop gave in front again; takes its references. */
void FlWaitlist_Return(FlWaitlist *list, FlWaiting *first);

/* Lets go of what Pop gave. escapes */
void FlWaiting_Drop(FlWaiting *waiting);

/* How many are not done. */
Py_ssize_t FlWaitlist_Count(const FlWaitlist *list);

int FlWaitlist_Traverse(FlWaitlist *list, visitproc visit, void *arg);

void FlWaitlist_Clear(FlWaitlist *list); /* escapes */

/* A future behind the others; it fails with message (NULL: ends with False) at timeout,
 * unless that is NULL or None. New reference. escapes */
PyObject *FlWaitlist_Wait(FlWaitlist *list, FlState *st, PyObject *beside,
                          PyObject *timeout, const char *message);

/* The same for a future (ours) that is there. 0 or -1. escapes */
int FlWaitlist_Await(FlWaitlist *list, PyObject *future, PyObject *beside,
                     PyObject *timeout, const char *message);

/* The one argument `timeout` of a method, by position or name, borrowed; NULL where it
 * is not given. 0, or -1 with TypeError. */
int FlWaitlist_Timeout(const char *method, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kw, PyObject **timeout);

#endif
