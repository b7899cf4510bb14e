/* view.h -- C memory shown to Python for the time of a call.
 *
 * A view refers to memory that is not Python's: whoever makes one ends it before the
 * memory goes. A program that has kept it finds it released then.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_VIEW_H
#define FL_CORE_VIEW_H

#include <Python.h>

/* Ends a view (stolen, nullable). The current exception stays. escapes */
void FlView_End(PyObject *view);

#endif
