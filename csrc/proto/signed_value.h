/* signed_value.h -- the parts of a signed cookie of Tornado's version 2.
 *
 *     2|1:0|10:1760000000|4:user|8:YWxpY2U=|<64 hexadecimal digits>
 *       │   │             │      │          └ HMAC-SHA256 of all before it
 *       │   │             │      └ value, base64
 *       │   │             └ name
 *       │   └ seconds since 1970
 *       └ number of the key
 *
 * Each part but the last says how long it is, so there is one way to read it. Whether
 * the signature holds is the caller's to ask.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_SIGNED_VALUE_H
#define FL_PROTO_SIGNED_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define FL_SIGNATURE_V2 64 /* lower-case hexadecimal digits */

typedef struct {
    int64_t key_version;
    int64_t timestamp;
    fl_span name;
    fl_span value;     /* characters of base64, not checked any further */
    fl_span signature; /* FL_SIGNATURE_V2 digits */
    fl_span covered;   /* what the signature is over */
} fl_signed_value;

/* Splits text; false when it does not have this shape to its last byte. Numbers are
 * ASCII digits, at most 18; the key's may be negative. */
bool fl_signed_value_split(fl_span text, fl_signed_value *out);

#endif
