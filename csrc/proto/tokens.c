/* tokens.c -- the character classes of HTTP and the header names that everybody sends.
 *
 * A name is looked up by a hash of its first bytes, its last ones and its length, with
 * a multiplier under which no two of the known names collide (tests/c/test_tokens.c
 * looks after that), then compared eight bytes at a time. Setting bit 5 folds the case
 * of letters; the only other byte that it makes equal to one of a known name is CR,
 * equal to '-'.
 *
 * Layer: proto. Threads: any; constant data and pure functions.
 */
#include "proto/tokens.h"

/* A row is 16 bytes; each entry is an or of FL_C_*: 01 token, 02 value, 04 hex, 08
 * digit, 10 target, 20 host, 40 cookie. */
/* clang-format off */
const uint8_t fl_char_class[256] = {
    /* 00 */ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    /* 10 */ 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    /* 20 */ 0x02, 0x73, 0x12, 0x43, 0x73, 0x53, 0x73, 0x73, 0x72, 0x72, 0x73, 0x73, 0x12, 0x73, 0x73, 0x52,
    /* 30 */ 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x52, 0x32, 0x52, 0x72, 0x52, 0x52,
    /* 40 */ 0x52, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73,
    /* 50 */ 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x52, 0x12, 0x52, 0x53, 0x73,
    /* 60 */ 0x53, 0x77, 0x77, 0x77, 0x77, 0x77, 0x77, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73,
    /* 70 */ 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x73, 0x52, 0x53, 0x52, 0x73, 0x00,
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

typedef struct {
    char name[31]; /* Upgrade-Insecure-Requests has 25 */
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

#define HASH_MULTIPLIER UINT64_C(0xEF86F0552C351C1F)
#define HASH_SHIFT 56

static const uint8_t id_of_hash[256] = {[0] = FL_H_PRAGMA,
                                        [2] = FL_H_SEC_FETCH_USER,
                                        [8] = FL_H_EXPECT,
                                        [11] = FL_H_REFERER,
                                        [21] = FL_H_COOKIE,
                                        [29] = FL_H_SET_COOKIE,
                                        [30] = FL_H_SEC_CH_UA_MOBILE,
                                        [33] = FL_H_X_REQUEST_ID,
                                        [35] = FL_H_ACCEPT,
                                        [37] = FL_H_TRAILER,
                                        [48] = FL_H_CONTENT_LANGUAGE,
                                        [50] = FL_H_IF_UNMODIFIED_SINCE,
                                        [52] = FL_H_UPGRADE_INSECURE_REQUESTS,
                                        [53] = FL_H_SEC_WEBSOCKET_VERSION,
                                        [56] = FL_H_TRACEPARENT,
                                        [58] = FL_H_VARY,
                                        [59] = FL_H_ALLOW,
                                        [61] = FL_H_SEC_CH_UA,
                                        [71] = FL_H_X_FORWARDED_PROTO,
                                        [72] = FL_H_X_REQUESTED_WITH,
                                        [78] = FL_H_KEEP_ALIVE,
                                        [79] = FL_H_CONTENT_ENCODING,
                                        [80] = FL_H_LAST_MODIFIED,
                                        [81] = FL_H_FORWARDED,
                                        [82] = FL_H_SEC_FETCH_MODE,
                                        [83] = FL_H_SEC_WEBSOCKET_KEY,
                                        [88] = FL_H_RANGE,
                                        [102] = FL_H_CONTENT_LENGTH,
                                        [105] = FL_H_IF_NONE_MATCH,
                                        [115] = FL_H_HOST,
                                        [125] = FL_H_PRIORITY,
                                        [127] = FL_H_PROXY_CONNECTION,
                                        [131] = FL_H_SEC_WEBSOCKET_PROTOCOL,
                                        [139] = FL_H_X_SCHEME,
                                        [141] = FL_H_IF_MODIFIED_SINCE,
                                        [144] = FL_H_ACCEPT_CHARSET,
                                        [145] = FL_H_USER_AGENT,
                                        [153] = FL_H_SEC_CH_UA_PLATFORM,
                                        [156] = FL_H_ACCEPT_RANGES,
                                        [157] = FL_H_WWW_AUTHENTICATE,
                                        [160] = FL_H_SEC_WEBSOCKET_ACCEPT,
                                        [167] = FL_H_AUTHORIZATION,
                                        [173] = FL_H_IF_RANGE,
                                        [175] = FL_H_CONTENT_RANGE,
                                        [177] = FL_H_CACHE_CONTROL,
                                        [179] = FL_H_IF_MATCH,
                                        [180] = FL_H_X_XSRFTOKEN,
                                        [183] = FL_H_ACCEPT_LANGUAGE,
                                        [187] = FL_H_UPGRADE,
                                        [188] = FL_H_X_FORWARDED_FOR,
                                        [190] = FL_H_ORIGIN,
                                        [191] = FL_H_CONTENT_TYPE,
                                        [193] = FL_H_DATE,
                                        [195] = FL_H_CONNECTION,
                                        [200] = FL_H_SERVER,
                                        [207] = FL_H_CONTENT_DISPOSITION,
                                        [208] = FL_H_SEC_WEBSOCKET_EXTENSIONS,
                                        [212] = FL_H_SEC_FETCH_DEST,
                                        [215] = FL_H_EXPIRES,
                                        [223] = FL_H_ETAG,
                                        [227] = FL_H_LOCATION,
                                        [228] = FL_H_SEC_WEBSOCKET_ORIGIN,
                                        [245] = FL_H_SEC_GPC,
                                        [246] = FL_H_X_REAL_IP,
                                        [248] = FL_H_SEC_FETCH_SITE,
                                        [252] = FL_H_ACCEPT_ENCODING,
                                        [253] = FL_H_X_CSRFTOKEN,
                                        [255] = FL_H_TRANSFER_ENCODING};

#define FOLD UINT64_C(0x2020202020202020)

/* Little-endian whatever the machine: the hash must not depend on it. */
static inline uint64_t
folded32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return FOLD | b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
           (uint32_t)b[3] << 24;
}

static inline uint64_t
folded64(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return FOLD | b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 |
           (uint64_t)b[3] << 24 | (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 |
           (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

/* The hash reads four bytes at both ends. */
__attribute__((noinline)) static uint8_t
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
fl_header_lookup_token(fl_span name)
{
    const char *p = name.p;
    size_t n = name.n;
    if (n < 4) {
        return look_up_short(name);
    }
    uint64_t first = n < 8 ? folded32(p) : folded64(p);
    uint64_t last = n < 8 ? folded32(p + n - 4) : folded64(p + n - 8);
    uint64_t mixed = first + last * 3 + n;
    uint8_t id = id_of_hash[mixed * HASH_MULTIPLIER >> HASH_SHIFT];
    const known_name *k = &known[id];
    if (k->n != n) {
        return FL_H_OTHER;
    }
    if (n < 8) {
        bool same = first == folded32(k->name) && last == folded32(k->name + n - 4);
        return same ? id : FL_H_OTHER;
    }
    if (first != folded64(k->name) || last != folded64(k->name + n - 8)) {
        return FL_H_OTHER;
    }
    if (n > 16 && (folded64(p + 8) != folded64(k->name + 8) ||
                   folded64(p + n - 16) != folded64(k->name + n - 16))) {
        return FL_H_OTHER;
    }
    return id;
}

uint8_t
fl_header_lookup(fl_span name)
{
    uint8_t id = fl_header_lookup_token(name);
    bool folded_dash = id != FL_H_OTHER && memchr(name.p, '\r', name.n) != NULL;
    return folded_dash ? FL_H_OTHER : id;
}

fl_span
fl_header_name(int id)
{
    if (id <= FL_H_OTHER || id >= FL_H_COUNT) {
        return fl_span_make("", 0);
    }
    return fl_span_make(known[id].name, known[id].n);
}

bool
fl_header_is_normal(fl_span name)
{
    bool capital = true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (capital ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') {
            return false;
        }
        capital = c == '-';
    }
    return true;
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
