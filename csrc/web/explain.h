/* explain.h -- tells Python what the C path would do, for `pyfastloop doctor`.
 *
 * Layer: web. Threads: none.
 */
#ifndef FL_WEB_EXPLAIN_H
#define FL_WEB_EXPLAIN_H

#include "core/state.h"

int FlExplain_AddType(PyObject *module, FlState *st);

#endif
