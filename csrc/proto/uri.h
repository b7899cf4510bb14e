/* uri.h -- request targets and percent-encoding (RFC 3986).
 *
 * Decoding is what urllib.parse documents: "%XX" becomes a byte, a '%' without two
 * hexadecimal digits stands for itself, and '+' is a space only where the caller says
 * so. Text decoding (UTF-8, latin-1) is the caller's.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_URI_H
#define FL_PROTO_URI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

/* The authority of a target in absolute form (RFC 9112 section 3.2.2), http://authority
 * or https://authority and maybe more: returns where that begins; 0: the target has
 * another form. Whether the authority is a valid one is the caller's question. */
size_t fl_uri_authority(fl_span target, fl_span *authority);

/* Decodes to dst (room for s.n bytes; may be s.p itself); returns the length. */
size_t fl_percent_decode(char *dst, fl_span s, bool plus);

#endif
