/* query.h -- fields of a query string or a form body
 * (application/x-www-form-urlencoded).
 *
 * What urllib.parse.parse_qsl documents with '&' as the only separator: empty pieces
 * are skipped, the first '=' splits, and a field without '=' or with an empty value is
 * blank: the caller keeps or drops it. Names and values are handed out raw, with
 * whether they need decoding. Count before iterating: a limit on fields must cost
 * nothing to enforce.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_QUERY_H
#define FL_PROTO_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

typedef struct {
    fl_span name, value; /* raw; of the iterated bytes */
    bool has_equals;     /* "a=" has one, "a" has none */
    bool name_encoded;   /* has '%' or '+': run fl_percent_decode(…, true) */
    bool value_encoded;
} fl_query_field;

typedef struct {
    fl_span rest;
} fl_query;

static inline void
fl_query_init(fl_query *q, fl_span s)
{
    q->rest = s;
}

/* Separators plus one, as parse_qsl counts for max_num_fields; 0 for an empty string.
 * An upper bound of what fl_query_next gives. */
size_t fl_query_count(fl_span s);

/* The next field that is not an empty piece; false at the end. */
bool fl_query_next(fl_query *q, fl_query_field *out);

#endif
