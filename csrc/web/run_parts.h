/* run_parts.h -- what the files of a handler's sequence share with no one else.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_RUN_PARTS_H
#define FL_WEB_RUN_PARTS_H

#include "web/run.h"

enum FlRunStage { FL_RUN_START, FL_RUN_PREPARED, FL_RUN_ANSWERED, FL_RUN_OVER };

typedef struct {
    PyObject_HEAD
    FlState *st;               /* borrowed */
    FlRequestHandler *handler; /* owned */
    PyObject *groups;          /* owned, nullable */
    PyObject *inner;           /* owned, nullable: what is being awaited */
    uint8_t stage;             /* enum FlRunStage */
} FlRun;

/* ---- run.c ---- */

/* From a stage to the next thing to await: 1 and *awaited (new reference), 0 at the end,
 * -1 with an exception. escapes */
int FlRun_Advance(FlRequestHandler *self, PyObject *groups, uint8_t *stage,
                  PyObject **awaited);

/* The current exception ends the request: 0, or -1 when it goes on (fatal, cancelled).
 * escapes */
int FlRun_HandleFailure(FlRequestHandler *self);

/* ---- run_type.c ---- */

/* What an await of the object steps; new reference or NULL. escapes */
PyObject *FlRun_Iterator(FlState *st, PyObject *awaited);

#endif
