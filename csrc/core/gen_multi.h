/* gen_multi.h -- waiting for all of a list or dict.
 *
 * Layer: core. Threads: the loop's own.
 */
#ifndef FL_CORE_GEN_MULTI_H
#define FL_CORE_GEN_MULTI_H

#include "core/state.h"

/* The future of all futures (a list of any kind of them): a list of their results, or
 * with keys (a list of the same length) a dict. quiet: exception types that are not
 * logged, or NULL. New reference. */
PyObject *FlGen_Multi(FlState *st, PyObject *futures, PyObject *keys, PyObject *quiet);

PyObject *FlGen_MultiFunction(PyObject *module, PyObject *args);

#endif
