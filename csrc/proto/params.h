/* params.h -- values with parameters: `form-data; name="a"; filename="b"` (RFC 9110
 * section 5.6.6).
 *
 * The first piece is the value, the others are name=value with a token or a quoted
 * string. Used for Content-Type, Content-Disposition and Sec-WebSocket-Extensions. One
 * pass, no allocation.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_PARAMS_H
#define FL_PROTO_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

typedef struct {
    fl_span rest;
} fl_params;

typedef struct {
    fl_span name;  /* raw, without white space; compare with fl_span_ieq */
    fl_span value; /* raw, between the quotes when quoted; empty without '=' */
    bool quoted;
    bool escaped; /* the value holds backslashes: run fl_param_unescape */
    bool has_equals;
} fl_param;

/* Begins; returns the value before the first ';', trimmed. */
fl_span fl_params_init(fl_params *ps, fl_span header);

/* The next parameter that is not empty; false at the end. A ';' inside quotes does not
 * separate; an unclosed quote runs to the end. */
bool fl_params_next(fl_params *ps, fl_param *out);

/* Removes quoting backslashes: only before '"' and '\', because browsers send Windows
 * paths bare. dst has room for value.n and may be value.p. Returns the length. */
size_t fl_param_unescape(char *dst, fl_span value);

#endif
