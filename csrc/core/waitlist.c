/* waitlist.c -- futures in the order in which they came, to be let go one by one.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/waitlist.h"

#include <stdlib.h>

#define FIRST_RING 4
#define FIRST_SWEEP 64

void
FlWaiting_Drop(FlWaiting *w)
{
    Py_DECREF(w->future);
    Py_XDECREF(w->beside);
}

/* A ring of twice the length, or, where enough of them are done, of what still waits.
 * What is dropped may run anything: the list is whole by then. */
static int
waitlist_renew(FlWaitlist *list)
{
    FlWaitlist old = *list;
    size_t n = old.tail - old.head, cap = old.ring ? old.mask + 1 : 0;
    FlWaiting *done = NULL;
    size_t n_done = 0;

    if (n == cap)
        cap = cap ? cap * 2 : FIRST_RING;
    FlWaiting *ring = malloc(cap * sizeof *ring);
    if (ring != NULL && n >= FIRST_SWEEP)
        done = malloc(n * sizeof *done);
    if (ring == NULL || (n >= FIRST_SWEEP && done == NULL)) {
        free(ring);
        PyErr_NoMemory();
        return -1;
    }
    *list = (FlWaitlist){.ring = ring, .mask = cap - 1};
    for (size_t i = old.head; i != old.tail; i++) {
        FlWaiting w = old.ring[i & old.mask];

        if (done != NULL && FlFuture_Done(w.future))
            done[n_done++] = w;
        else
            ring[list->tail++] = w;
    }
    list->sweep_at = 2 * list->tail > FIRST_SWEEP ? 2 * list->tail : FIRST_SWEEP;
    free(old.ring);
    for (size_t i = 0; i < n_done; i++)
        FlWaiting_Drop(&done[i]);
    free(done);
    return 0;
}

/* Puts future (ours) behind the others; takes references. 0 or -1. escapes */
static int
waitlist_add(FlWaitlist *list, PyObject *future, PyObject *beside)
{
    size_t n = list->tail - list->head;

    if ((list->ring == NULL || n > list->mask || n >= list->sweep_at) &&
        waitlist_renew(list) < 0)
        return -1;
    /* Dropping the old ones may have added others: there is room for one at least, or
     * it is made. */
    if (list->ring == NULL || list->tail - list->head > list->mask)
        return waitlist_add(list, future, beside);
    list->ring[list->tail++ & list->mask] =
        (FlWaiting){Py_NewRef(future), Py_XNewRef(beside)};
    return 0;
}

int
FlWaitlist_Pop(FlWaitlist *list, FlWaiting *first)
{
    while (list->head != list->tail) {
        *first = list->ring[list->head++ & list->mask];
        if (!FlFuture_Done(first->future))
            return 1;
        FlWaiting_Drop(first);
    }
    *first = (FlWaiting){0};
    return 0;
}

void
FlWaitlist_Return(FlWaitlist *list, FlWaiting *first)
{
    /* Where it was there is room, unless others came meanwhile. */
    if (list->ring != NULL && list->tail - list->head <= list->mask) {
        list->ring[--list->head & list->mask] = *first;
        return;
    }
    PyObject *exc = PyErr_GetRaisedException();
    if (waitlist_add(list, first->future, first->beside) < 0)
        PyErr_WriteUnraisable(first->future);
    if (exc != NULL)
        PyErr_SetRaisedException(exc);
    FlWaiting_Drop(first);
}

Py_ssize_t
FlWaitlist_Count(const FlWaitlist *list)
{
    Py_ssize_t n = 0;

    for (size_t i = list->head; i != list->tail; i++)
        n += !FlFuture_Done(list->ring[i & list->mask].future);
    return n;
}

int
FlWaitlist_Traverse(FlWaitlist *list, visitproc visit, void *arg)
{
    for (size_t i = list->head; i != list->tail; i++) {
        Py_VISIT(list->ring[i & list->mask].future);
        Py_VISIT(list->ring[i & list->mask].beside);
    }
    return 0;
}

void
FlWaitlist_Clear(FlWaitlist *list)
{
    FlWaitlist old = *list;

    *list = (FlWaitlist){0};
    for (size_t i = old.head; i != old.tail; i++)
        FlWaiting_Drop(&old.ring[i & old.mask]);
    free(old.ring);
}

int
FlWaitlist_Await(FlWaitlist *list, PyObject *future, PyObject *beside,
                 PyObject *timeout, const char *message)
{
    if (timeout != NULL && timeout != Py_None) {
        PyObject *hook = ((FlFuture *)future)->st->hook_at_timeout, *res = NULL;
        PyObject *text = message ? PyUnicode_FromString(message) : Py_NewRef(Py_None);

        if (text != NULL)
            res = PyObject_CallFunctionObjArgs(hook, future, timeout, text, NULL);
        Py_XDECREF(text);
        Py_XDECREF(res);
        if (res == NULL)
            return -1;
    }
    return waitlist_add(list, future, beside);
}

PyObject *
FlWaitlist_Wait(FlWaitlist *list, FlState *st, PyObject *beside, PyObject *timeout,
                const char *message)
{
    PyObject *future = FlFuture_New(st, NULL);

    if (future != NULL && FlWaitlist_Await(list, future, beside, timeout, message) < 0)
        Py_CLEAR(future);
    return future;
}

int
FlWaitlist_Timeout(const char *method, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kw, PyObject **timeout)
{
    Py_ssize_t named = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);

    *timeout = NULL;
    if (nargs + named > 1) {
        PyErr_Format(PyExc_TypeError, "%s() takes one timeout at most", method);
        return -1;
    }
    if (named == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kw, 0), "timeout") != 0) {
        PyErr_Format(PyExc_TypeError, "%s() takes no keyword but 'timeout', got %R",
                     method, kw);
        return -1;
    }
    if (nargs + named == 1)
        *timeout = args[0];
    return 0;
}
