/* functions.h -- what httputil and escape ask of the pure parsers: queries, cookies,
 * parameters, multipart bodies.
 *
 * Layer: http. Threads: none; under the GIL.
 */
#ifndef FL_HTTP_FUNCTIONS_H
#define FL_HTTP_FUNCTIONS_H

#include "core/state.h"
#include "base/span.h"

/* Fields of a query or form as escape.parse_qs_bytes gives them: {str in latin-1:
 * [bytes, …]}. New dict, or NULL with MemoryError. The caller has bounded the count. */
PyObject *FlHTTP_ParseQuery(fl_span query, bool keep_blank);

/* {name: value} of a Cookie header in latin-1 text; new dict or NULL. */
PyObject *FlHTTP_ParseCookie(PyObject *header);

int FlHTTPFunctions_AddType(PyObject *module, FlState *st);

#endif
