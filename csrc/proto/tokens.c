/* tokens.c -- the character classes of HTTP and the header names that everybody sends.
 *
 * A name is looked up by a hash of its first four bytes, its last four and its length, with
 * a multiplier under which no two of the known names collide (tests/c/test_tokens.c looks
 * after that), then compared eight bytes at a time.
 *
 * Layer: proto. Threads: any; constant data and pure functions.
 */
#include "proto/tokens.h"

/* A row is 16 bytes; each entry is an or of FL_C_*: 01 token, 02 value, 04 hex, 08 digit,
 * 10 target, 20 host, 40 cookie, 80 unreserved. */
/* clang-format off */
const uint8_t fl_char_class[256] = {
    /* 00 */ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    /* 10 */ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    /* 20 */ 0x02, 0x73, 0x12, 0x43, 0x73, 0x73, 0x73, 0x73, 0x72, 0x72, 0x73, 0x73, 0x32, 0xF3, 0xF3, 0x52,
    /* 30 */ 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x52, 0x32, 0x52, 0x72, 0x52, 0x52,
    /* 40 */ 0x52, 0xF7, 0xF7, 0xF7, 0xF7, 0xF7, 0xF7, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3,
    /* 50 */ 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0x52, 0x12, 0x52, 0x53, 0xF3,
    /* 60 */ 0x53, 0xF7, 0xF7, 0xF7, 0xF7, 0xF7, 0xF7, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3,
    /* 70 */ 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0xF3, 0x52, 0x53, 0x52, 0xF3, 0x00,
    /* 80 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* 90 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* A0 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* B0 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* C0 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* D0 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* E0 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12,
    /* F0 */ 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12, 0x12
};
/* clang-format on */

bool
fl_span_all(fl_span s, int classes)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!fl_is(s.p[i], classes)) {
            return false;
        }
    }
    return true;
}

#define LONGEST_NAME 25 /* Upgrade-Insecure-Requests */

typedef struct {
    char name[LONGEST_NAME + 1];
    uint8_t n;
} known_name;

#define NAME(id, text) [id] = {text, sizeof(text) - 1}
static const known_name known[FL_H_COUNT] = {
    NAME(FL_H_HOST, "Host"),
    NAME(FL_H_CONNECTION, "Connection"),
    NAME(FL_H_CONTENT_LENGTH, "Content-Length"),
    NAME(FL_H_CONTENT_TYPE, "Content-Type"),
    NAME(FL_H_TRANSFER_ENCODING, "Transfer-Encoding"),
    NAME(FL_H_EXPECT, "Expect"),
    NAME(FL_H_UPGRADE, "Upgrade"),
    NAME(FL_H_COOKIE, "Cookie"),
    NAME(FL_H_ACCEPT, "Accept"),
    NAME(FL_H_ACCEPT_ENCODING, "Accept-Encoding"),
    NAME(FL_H_IF_NONE_MATCH, "If-None-Match"),
    NAME(FL_H_IF_MODIFIED_SINCE, "If-Modified-Since"),
    NAME(FL_H_USER_AGENT, "User-Agent"),
    NAME(FL_H_X_FORWARDED_FOR, "X-Forwarded-For"),
    NAME(FL_H_X_REAL_IP, "X-Real-Ip"),
    NAME(FL_H_X_FORWARDED_PROTO, "X-Forwarded-Proto"),
    NAME(FL_H_X_SCHEME, "X-Scheme"),
    NAME(FL_H_RANGE, "Range"),
    NAME(FL_H_ORIGIN, "Origin"),
    NAME(FL_H_SEC_WEBSOCKET_KEY, "Sec-Websocket-Key"),
    NAME(FL_H_SEC_WEBSOCKET_VERSION, "Sec-Websocket-Version"),
    NAME(FL_H_SEC_WEBSOCKET_PROTOCOL, "Sec-Websocket-Protocol"),
    NAME(FL_H_SEC_WEBSOCKET_EXTENSIONS, "Sec-Websocket-Extensions"),
    NAME(FL_H_SEC_WEBSOCKET_ACCEPT, "Sec-Websocket-Accept"),
    NAME(FL_H_SEC_WEBSOCKET_ORIGIN, "Sec-Websocket-Origin"),
    NAME(FL_H_ACCEPT_LANGUAGE, "Accept-Language"),
    NAME(FL_H_ACCEPT_CHARSET, "Accept-Charset"),
    NAME(FL_H_AUTHORIZATION, "Authorization"),
    NAME(FL_H_CACHE_CONTROL, "Cache-Control"),
    NAME(FL_H_PRAGMA, "Pragma"),
    NAME(FL_H_REFERER, "Referer"),
    NAME(FL_H_DATE, "Date"),
    NAME(FL_H_SERVER, "Server"),
    NAME(FL_H_ETAG, "Etag"),
    NAME(FL_H_VARY, "Vary"),
    NAME(FL_H_LOCATION, "Location"),
    NAME(FL_H_LAST_MODIFIED, "Last-Modified"),
    NAME(FL_H_EXPIRES, "Expires"),
    NAME(FL_H_CONTENT_ENCODING, "Content-Encoding"),
    NAME(FL_H_CONTENT_DISPOSITION, "Content-Disposition"),
    NAME(FL_H_CONTENT_RANGE, "Content-Range"),
    NAME(FL_H_CONTENT_LANGUAGE, "Content-Language"),
    NAME(FL_H_SET_COOKIE, "Set-Cookie"),
    NAME(FL_H_TRAILER, "Trailer"),
    NAME(FL_H_TE, "Te"),
    NAME(FL_H_KEEP_ALIVE, "Keep-Alive"),
    NAME(FL_H_IF_RANGE, "If-Range"),
    NAME(FL_H_IF_MATCH, "If-Match"),
    NAME(FL_H_IF_UNMODIFIED_SINCE, "If-Unmodified-Since"),
    NAME(FL_H_UPGRADE_INSECURE_REQUESTS, "Upgrade-Insecure-Requests"),
    NAME(FL_H_X_REQUESTED_WITH, "X-Requested-With"),
    NAME(FL_H_X_XSRFTOKEN, "X-Xsrftoken"),
    NAME(FL_H_X_CSRFTOKEN, "X-Csrftoken"),
    NAME(FL_H_PROXY_CONNECTION, "Proxy-Connection"),
    NAME(FL_H_WWW_AUTHENTICATE, "Www-Authenticate"),
    NAME(FL_H_ALLOW, "Allow"),
    NAME(FL_H_ACCEPT_RANGES, "Accept-Ranges"),
    NAME(FL_H_DNT, "Dnt"),
    NAME(FL_H_VIA, "Via"),
    NAME(FL_H_FORWARDED, "Forwarded"),
    NAME(FL_H_PRIORITY, "Priority"),
    NAME(FL_H_X_REQUEST_ID, "X-Request-Id"),
    NAME(FL_H_TRACEPARENT, "Traceparent"),
    NAME(FL_H_SEC_FETCH_SITE, "Sec-Fetch-Site"),
    NAME(FL_H_SEC_FETCH_MODE, "Sec-Fetch-Mode"),
    NAME(FL_H_SEC_FETCH_DEST, "Sec-Fetch-Dest"),
    NAME(FL_H_SEC_FETCH_USER, "Sec-Fetch-User"),
    NAME(FL_H_SEC_CH_UA, "Sec-Ch-Ua"),
    NAME(FL_H_SEC_CH_UA_MOBILE, "Sec-Ch-Ua-Mobile"),
    NAME(FL_H_SEC_CH_UA_PLATFORM, "Sec-Ch-Ua-Platform"),
    NAME(FL_H_SEC_GPC, "Sec-Gpc")};
#undef NAME

#define HASH_MULTIPLIER 0xAEDC1239U
#define HASH_SHIFT 24

static const uint8_t id_of_hash[256] = {[3] = FL_H_ORIGIN,
                                        [4] = FL_H_X_FORWARDED_PROTO,
                                        [8] = FL_H_CONTENT_TYPE,
                                        [12] = FL_H_SEC_FETCH_USER,
                                        [15] = FL_H_X_REQUESTED_WITH,
                                        [21] = FL_H_SEC_WEBSOCKET_PROTOCOL,
                                        [22] = FL_H_IF_UNMODIFIED_SINCE,
                                        [28] = FL_H_SEC_GPC,
                                        [30] = FL_H_UPGRADE_INSECURE_REQUESTS,
                                        [35] = FL_H_ACCEPT_ENCODING,
                                        [36] = FL_H_PRIORITY,
                                        [40] = FL_H_COOKIE,
                                        [42] = FL_H_SEC_CH_UA_PLATFORM,
                                        [50] = FL_H_ACCEPT_RANGES,
                                        [55] = FL_H_LAST_MODIFIED,
                                        [60] = FL_H_TRANSFER_ENCODING,
                                        [66] = FL_H_WWW_AUTHENTICATE,
                                        [67] = FL_H_X_CSRFTOKEN,
                                        [70] = FL_H_UPGRADE,
                                        [79] = FL_H_EXPECT,
                                        [88] = FL_H_RANGE,
                                        [89] = FL_H_CONTENT_DISPOSITION,
                                        [93] = FL_H_IF_RANGE,
                                        [104] = FL_H_SEC_WEBSOCKET_VERSION,
                                        [107] = FL_H_X_REQUEST_ID,
                                        [111] = FL_H_SEC_FETCH_DEST,
                                        [113] = FL_H_SEC_FETCH_MODE,
                                        [122] = FL_H_DATE,
                                        [126] = FL_H_CONTENT_RANGE,
                                        [127] = FL_H_SERVER,
                                        [129] = FL_H_SEC_CH_UA_MOBILE,
                                        [130] = FL_H_ACCEPT_LANGUAGE,
                                        [131] = FL_H_IF_NONE_MATCH,
                                        [135] = FL_H_SEC_CH_UA,
                                        [138] = FL_H_CONTENT_LENGTH,
                                        [144] = FL_H_SEC_WEBSOCKET_EXTENSIONS,
                                        [155] = FL_H_SEC_WEBSOCKET_KEY,
                                        [159] = FL_H_HOST,
                                        [160] = FL_H_CONTENT_ENCODING,
                                        [161] = FL_H_KEEP_ALIVE,
                                        [162] = FL_H_CACHE_CONTROL,
                                        [171] = FL_H_X_SCHEME,
                                        [174] = FL_H_SEC_FETCH_SITE,
                                        [176] = FL_H_USER_AGENT,
                                        [177] = FL_H_ACCEPT_CHARSET,
                                        [179] = FL_H_TRAILER,
                                        [182] = FL_H_FORWARDED,
                                        [184] = FL_H_PROXY_CONNECTION,
                                        [188] = FL_H_ACCEPT,
                                        [190] = FL_H_TRACEPARENT,
                                        [194] = FL_H_X_XSRFTOKEN,
                                        [197] = FL_H_SET_COOKIE,
                                        [203] = FL_H_SEC_WEBSOCKET_ORIGIN,
                                        [204] = FL_H_AUTHORIZATION,
                                        [210] = FL_H_EXPIRES,
                                        [215] = FL_H_SEC_WEBSOCKET_ACCEPT,
                                        [221] = FL_H_CONNECTION,
                                        [224] = FL_H_IF_MATCH,
                                        [230] = FL_H_VARY,
                                        [231] = FL_H_REFERER,
                                        [232] = FL_H_PRAGMA,
                                        [234] = FL_H_ETAG,
                                        [240] = FL_H_IF_MODIFIED_SINCE,
                                        [241] = FL_H_ALLOW,
                                        [248] = FL_H_LOCATION,
                                        [252] = FL_H_X_FORWARDED_FOR,
                                        [254] = FL_H_X_REAL_IP,
                                        [255] = FL_H_CONTENT_LANGUAGE};

/* Little-endian whatever the machine: the hash must not depend on it. */
static inline uint32_t
word32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline uint64_t
word64(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

/* Known names hold letters and '-' only, and letters alone have bit 6: shifted to bit 5 it
 * says which bytes may differ in case. */
static inline bool
same_word64(uint64_t w, uint64_t name)
{
    uint64_t fold = (name & UINT64_C(0x4040404040404040)) >> 1;
    return (w | fold) == (name | fold);
}

static inline bool
same_word32(uint32_t w, uint32_t name)
{
    uint32_t fold = (name & 0x40404040U) >> 1;
    return (w | fold) == (name | fold);
}

static bool
same_name(const char *p, const char *name, size_t n)
{
    if (n < 8) {
        return same_word32(word32(p), word32(name)) &&
               same_word32(word32(p + n - 4), word32(name + n - 4));
    }
    for (size_t i = 0; i < n - 8; i += 8) {
        if (!same_word64(word64(p + i), word64(name + i))) {
            return false;
        }
    }
    return same_word64(word64(p + n - 8), word64(name + n - 8));
}

/* The hash reads four bytes at both ends. */
static uint8_t
look_up_short(fl_span name)
{
    if (fl_span_ieq(name, FL_SPAN("te"))) {
        return FL_H_TE;
    }
    if (fl_span_ieq(name, FL_SPAN("dnt"))) {
        return FL_H_DNT;
    }
    return fl_span_ieq(name, FL_SPAN("via")) ? FL_H_VIA : FL_H_OTHER;
}

uint8_t
fl_header_lookup(fl_span name)
{
    if (name.n < 4) {
        return look_up_short(name);
    }
    uint32_t first = word32(name.p) | 0x20202020U;
    uint32_t last = word32(name.p + name.n - 4) | 0x20202020U;
    uint32_t mixed = first + last * 3 + (uint32_t)name.n;
    uint8_t id = id_of_hash[(uint32_t)(mixed * HASH_MULTIPLIER) >> HASH_SHIFT];
    if (known[id].n != name.n || !same_name(name.p, known[id].name, name.n)) {
        return FL_H_OTHER;
    }
    return id;
}

fl_span
fl_header_name(int id)
{
    if (id <= FL_H_OTHER || id >= FL_H_COUNT) {
        return fl_span_make("", 0);
    }
    return fl_span_make(known[id].name, known[id].n);
}

void
fl_header_normalize(char *dst, fl_span name)
{
    bool capital = true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (letter) {
            c = (char)(capital ? c & ~0x20 : c | 0x20);
        }
        capital = c == '-';
        dst[i] = c;
    }
}
