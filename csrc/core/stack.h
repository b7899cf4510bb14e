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
PyObject *FlStack_Wrap(FlState *st, PyObject *callable); /* escapes where one is open */

/* The contexts that are open, to compare by identity: new reference. NULL without an
 * exception where the module was never imported. */
PyObject *FlStack_Get(FlState *st);

/* The same contexts as `before` are open (either may be NULL); else -1 with
 * StackContextInconsistentError. */
int FlStack_Check(FlState *st, PyObject *before);

#endif
