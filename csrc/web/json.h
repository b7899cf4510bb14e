/* json.h -- what write(dict) sends, where json_encode would give just that.
 *
 * Layer: web. Threads: none; under the GIL.
 */
#ifndef FL_WEB_JSON_H
#define FL_WEB_JSON_H

#include "web/hooks.h"

/* json_encode(value) as bytes; None where Python has to do it. New reference, or NULL
 * with MemoryError. */
PyObject *FlWeb_Json(FlState *st, PyObject *value);

/* What json_encode is made of now is the original. 0 or -1. */
int FlWeb_RememberJson(FlState *st);

#endif
