/* context.h -- the context that a callback will run in, made only where it holds
 * something.
 *
 * A callback runs in a copy of the context that it was scheduled in. Where no context
 * variable is set, as in most threads and callbacks, nothing need be kept for it: NULL
 * stands for an empty context, and one spare context serves such callbacks in turn. A
 * spare that a callback set something in, or that anybody else holds, is not used
 * again.
 *
 * Without this, every callback in flight is an object that the collector counts: a
 * thousand of them start it.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_CONTEXT_H
#define FL_CORE_CONTEXT_H

#include "core/state.h"

/* *context: a copy of the current context (new reference), or NULL where that is empty.
 * 0, or -1 with MemoryError. */
int FlContext_Snapshot(FlState *st, PyObject **context);

/* An empty context that nobody else holds: new reference, or NULL with MemoryError. */
PyObject *FlContext_TakeEmpty(FlState *st);

/* Takes one from TakeEmpty back after its use: true when the reference was taken, false
 * when the context is not as it was, and stays the caller's. */
bool FlContext_GiveEmpty(FlState *st, PyObject *context);

#endif
