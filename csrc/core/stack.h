/* stack.h -- the contexts of stack_context, as C meets them.
 *
 * Nothing is asked before the Python module was imported, and nothing is paid but one
 * look at a context variable while no context is open.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_STACK_H
#define FL_CORE_STACK_H

#include "core/state.h"

/* callable inside the contexts that are open, itself where none is; new reference. */
PyObject *FlStack_Wrap(FlState *st, PyObject *callable);

/* The same for the contexts that are open in context. New reference. */
PyObject *FlStack_WrapIn(FlState *st, PyObject *callable,
                         PyObject *context); /* escapes where one is open */

/* Whether callable (which may be NULL) brings its contexts: FlStack_Wrap made it, or it
 * is the callback of a gen.Task. */
bool FlStack_IsWrapped(FlState *st, PyObject *callable);

/* _core.wrap(callable). */
PyObject *FlStack_WrapFunction(PyObject *module, PyObject *callable);

/* The contexts that are open, to compare by identity: new reference. NULL without an
 * exception where the module was never imported. */
PyObject *FlStack_Get(FlState *st);

/* A callback raised the current exception: the handlers of the contexts (NULL: those
 * that are open now) see it, the innermost first. 1 when one settled it, and no
 * exception is left; 0 when it is still to be told, or another that a handler raised.
 * What `wrap` made has asked them itself. */
int FlStack_Settle(FlState *st, PyObject *callable, PyObject *contexts); /* escapes */

/* Sets *context to a copy of the current one in which no context is open (new
 * reference), or NULL where none is anyway; 0 or -1. */
int FlStack_Leave(FlState *st, PyObject **context);

/* The same contexts as `before` are open (either may be NULL); else -1 with
 * StackContextInconsistentError. */
int FlStack_Check(FlState *st, PyObject *before);

#endif
