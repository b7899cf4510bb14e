/* pool.h -- connections that have answered and wait for the next request.
 *
 * Layer: http. Threads: the loop's.
 */
#ifndef FL_HTTP_POOL_H
#define FL_HTTP_POOL_H

#include "http/client_link.h"

typedef struct {
    PyObject_HEAD
    FlState *st;          /* borrowed */
    FlLoop *loop;         /* owned; NULL once closed */
    PyObject *tops;       /* owned: {key: the newest idle link of that key} */
    FlClientLink *oldest; /* owned, as is every one that follows by `newer` */
    FlClientLink *newest;
    Py_ssize_t count;
    Py_ssize_t max_idle;
    uint64_t timeout; /* ns */
    fl_loop_timer timer;
    PyObject *plans; /* owned dict; outgoing.c's, as is ... */
    PyObject *seen;  /* owned tuple or NULL */
    PyObject *weakrefs;
} FlPool;

bool FlPool_Check(FlState *st, PyObject *obj);

/* An idle, open link of that key: new reference; NULL when there is none, or with an
 * exception. escapes */
FlClientLink *FlPool_Take(FlPool *pool, PyObject *key);

/* Keeps a link whose exchange is over and that is reusable, or closes it. 0 or -1.
 * escapes */
int FlPool_Put(FlPool *pool, FlClientLink *link);

#endif
