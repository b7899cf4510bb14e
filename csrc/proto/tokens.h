/* tokens.h -- the character classes of HTTP and the header names that everybody sends.
 *
 * One table of 256 bytes answers every "may this byte stand here". Well-known header
 * names have small ids, so that the rest of the code compares numbers; FL_H_OTHER is
 * any other.
 *
 * Layer: proto. Threads: any; constant data and pure functions.
 */
#ifndef FL_PROTO_TOKENS_H
#define FL_PROTO_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

enum {
    FL_C_TOKEN = 1 << 0,  /* tchar, RFC 9110 section 5.6.2 */
    FL_C_VALUE = 1 << 1,  /* HTAB, SP-~, 80-FF: field-value, section 5.5 */
    FL_C_HEX = 1 << 2,    /* 0-9 a-f A-F */
    FL_C_DIGIT = 1 << 3,  /* 0-9 */
    FL_C_TARGET = 1 << 4, /* 21-7E and 80-FF but '#': a request target */
    FL_C_HOST = 1 << 5,   /* of a host's name: see host.h */
    FL_C_COOKIE = 1 << 6  /* cookie-octet, RFC 6265 section 4.1.1 */
};

extern const uint8_t fl_char_class[256];

static inline bool
fl_is(char c, int classes)
{
    return (fl_char_class[(uint8_t)c] & classes) != 0;
}

/* 0-15, or -1 when c is no hexadecimal digit. */
static inline int
fl_hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether all bytes are of the class; true for an empty span. */
bool fl_span_all(fl_span s, int classes);

/* Whether s is a token: not empty, tchars only. */
static inline bool
fl_is_token(fl_span s)
{
    return s.n > 0 && fl_span_all(s, FL_C_TOKEN);
}

/* Those below 64 fit in one uint64_t that says which were seen (fl_head.seen). */
enum fl_header_id {
    FL_H_OTHER = 0,
    /* These decide about the message itself (fl_is_decisive in http1_parts.h). */
    FL_H_HOST,
    FL_H_CONNECTION,
    FL_H_CONTENT_LENGTH,
    FL_H_CONTENT_TYPE,
    FL_H_TRANSFER_ENCODING,
    FL_H_EXPECT,
    FL_H_UPGRADE,
    /* The others. */
    FL_H_COOKIE,
    FL_H_ACCEPT,
    FL_H_ACCEPT_ENCODING,
    FL_H_IF_NONE_MATCH,
    FL_H_IF_MODIFIED_SINCE,
    FL_H_USER_AGENT,
    FL_H_X_FORWARDED_FOR,
    FL_H_X_REAL_IP,
    FL_H_X_FORWARDED_PROTO,
    FL_H_X_SCHEME,
    FL_H_RANGE,
    FL_H_ORIGIN,
    FL_H_SEC_WEBSOCKET_KEY,
    FL_H_SEC_WEBSOCKET_VERSION,
    FL_H_SEC_WEBSOCKET_PROTOCOL,
    FL_H_SEC_WEBSOCKET_EXTENSIONS,
    FL_H_SEC_WEBSOCKET_ACCEPT,
    FL_H_SEC_WEBSOCKET_ORIGIN,
    FL_H_ACCEPT_LANGUAGE,
    FL_H_ACCEPT_CHARSET,
    FL_H_AUTHORIZATION,
    FL_H_CACHE_CONTROL,
    FL_H_PRAGMA,
    FL_H_REFERER,
    FL_H_DATE,
    FL_H_SERVER,
    FL_H_ETAG,
    FL_H_VARY,
    FL_H_LOCATION,
    FL_H_LAST_MODIFIED,
    FL_H_EXPIRES,
    FL_H_CONTENT_ENCODING,
    FL_H_CONTENT_DISPOSITION,
    FL_H_CONTENT_RANGE,
    FL_H_CONTENT_LANGUAGE,
    FL_H_SET_COOKIE,
    FL_H_TRAILER,
    FL_H_TE,
    FL_H_KEEP_ALIVE,
    FL_H_IF_RANGE,
    FL_H_IF_MATCH,
    FL_H_IF_UNMODIFIED_SINCE,
    FL_H_UPGRADE_INSECURE_REQUESTS,
    FL_H_X_REQUESTED_WITH,
    FL_H_X_XSRFTOKEN,
    FL_H_X_CSRFTOKEN,
    FL_H_PROXY_CONNECTION,
    FL_H_WWW_AUTHENTICATE,
    FL_H_ALLOW,
    FL_H_ACCEPT_RANGES,
    FL_H_DNT,
    FL_H_VIA,
    FL_H_FORWARDED,
    FL_H_PRIORITY,
    FL_H_X_REQUEST_ID,
    FL_H_TRACEPARENT,
    /* From 64 on: known by name, but without a bit in fl_head.seen. */
    FL_H_SEC_FETCH_SITE,
    FL_H_SEC_FETCH_MODE,
    FL_H_SEC_FETCH_DEST,
    FL_H_SEC_FETCH_USER,
    FL_H_SEC_CH_UA,
    FL_H_SEC_CH_UA_MOBILE,
    FL_H_SEC_CH_UA_PLATFORM,
    FL_H_SEC_GPC,
    FL_H_COUNT
};

/* The id of a name in any case, FL_H_OTHER when it is not one of the above. */
uint8_t fl_header_lookup(fl_span name);

/* The same for a name that is known to be a token. */
uint8_t fl_header_lookup_token(fl_span name);

/* The canonical spelling ("Content-Type", "Etag"), as fl_header_normalize would write
 * it; empty for FL_H_OTHER. */
fl_span fl_header_name(int id);

/* Writes name as Http-Header-Case to dst (name.n bytes; may be name.p itself): each
 * part between '-' begins with a capital, the rest is lower. */
void fl_header_normalize(char *dst, fl_span name);

/* Whether it is written so already. */
bool fl_header_is_normal(fl_span name);

#endif
