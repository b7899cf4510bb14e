/* gen_task.h -- gen.Task: a function that takes a callback, as a future.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_GEN_TASK_H
#define FL_CORE_GEN_TASK_H

#include "core/state.h"

/* _core.gen_task(function, *args, **kwargs): gen.Task. */
PyObject *FlGenTask_Function(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kw); /* escapes */

/* Whether obj is the callback of a gen.Task. */
bool FlGenTask_IsCallback(FlState *st, PyObject *obj);

#endif
