/* cookie.h -- the Cookie header of requests (RFC 6265 section 4.2), read leniently as
 * servers do.
 *
 * Pieces are split at ';'. The first '=' splits name and value, white space around both
 * goes; a piece without '=' is a value with an empty name; a piece that is empty
 * altogether is skipped. Later pairs of one name override earlier ones: that is the
 * caller's dictionary. A value in double quotes is unquoted by fl_cookie_unquote in one
 * pass: \ooo is an octet, \x is x.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_COOKIE_H
#define FL_PROTO_COOKIE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

typedef struct {
    fl_span rest;
} fl_cookies;

static inline void
fl_cookies_init(fl_cookies *c, fl_span header)
{
    c->rest = header;
}

/* The next pair, raw; *quoted: the value stands in double quotes and wants
 * fl_cookie_unquote. false at the end. */
bool fl_cookies_next(fl_cookies *c, fl_span *name, fl_span *value, bool *quoted);

/* Unquotes a value that fl_cookies_next called quoted to dst (room for value.n; may be
 * value.p); returns the length. A value that is not in quotes is copied as it is. */
size_t fl_cookie_unquote(char *dst, fl_span value);

/* Whether value can be sent as it is (cookie-octets only), without quotes. */
bool fl_cookie_value_plain(fl_span value);

#endif
