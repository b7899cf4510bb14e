/* host.h -- the authority of a request: Host, absolute-form and authority-form.
 *
 * Grammar of RFC 3986 section 3.2 without userinfo: a name or IPv4 address (reg-name),
 * or an IP literal in brackets, and maybe a port of up to five digits and at most
 * 65535. One byte of reg-name is refused: ',' is what two Host lines look like once
 * they were joined.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_HOST_H
#define FL_PROTO_HOST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

/* Splits "name", "name:80", "[::1]:80"; *host keeps its brackets, *port is -1 without
 * one (also for "name:"). false when s is no valid authority, an empty host is valid.
 * Either out may be NULL. */
bool fl_host_split(fl_span s, fl_span *host, int *port);

static inline bool
fl_host_valid(fl_span s)
{
    return fl_host_split(s, NULL, NULL);
}

#endif
