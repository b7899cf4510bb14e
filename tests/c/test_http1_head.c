/* test_http1_head.c -- proto/http1_head.h: which heads are accepted, which are refused
 * and why, and that the outcome does not depend on how the bytes were cut. */
#include "proto/http1_head.h"

#include "base/scan.h"
#include "check.h"

#define FIELDS 256

typedef int parse_fn(const char *, size_t, size_t *, const fl_head_limits *, fl_head *);

typedef struct {
    int rc;
    fl_head head;
    fl_field fields[FIELDS];
} outcome;

static const fl_head_limits limits = {65536, FIELDS};

/* One call with all n bytes, in a block of their exact size. */
static void
feed_whole(parse_fn *parse, const char *text, size_t n, outcome *out)
{
    size_t scanned = 0;
    char *p = copy_of(text, n);
    out->head = (fl_head){.fields = out->fields, .cap_fields = FIELDS};
    out->rc = parse(p, n, &scanned, &limits, &out->head);
    free(p);
}

/* Calls with growing prefixes, each in a new block; stops at the first that is not
 * partial. */
static void
feed_cut(parse_fn *parse, const char *text, size_t n, size_t most, outcome *out)
{
    size_t scanned = 0, have = 0;
    out->rc = 0;
    while (out->rc == 0 && have < n) {
        have += 1 + random_below(most);
        have = have < n ? have : n;
        char *p = copy_of(text, have);
        out->head = (fl_head){.fields = out->fields, .cap_fields = FIELDS};
        out->rc = parse(p, have, &scanned, &limits, &out->head);
        free(p);
    }
}

static bool
same_outcome(const outcome *a, const outcome *b)
{
    if (a->rc != b->rc || a->rc <= 0) {
        return a->rc == b->rc;
    }
    fl_head x = a->head, y = b->head;
    bool fields = x.nfields == y.nfields;
    for (uint32_t i = 0; fields && i < x.nfields; i++) {
        const fl_field *f = &a->fields[i], *g = &b->fields[i];
        fields = f->name.off == g->name.off && f->name.len == g->name.len &&
                 f->value.off == g->value.off && f->value.len == g->value.len &&
                 f->id == g->id;
    }
    return fields && x.method == y.method && x.minor_version == y.minor_version &&
           x.flags == y.flags && x.status == y.status && x.seen == y.seen &&
           x.content_length == y.content_length && x.target.off == y.target.off &&
           x.target.len == y.target.len && x.path.len == y.path.len &&
           x.query.len == y.query.len && x.host.off == y.host.off &&
           x.host.len == y.host.len && x.reason.len == y.reason.len;
}

/* The outcome whole; all other ways of feeding are held equal to it. */
static int
feed(parse_fn *parse, const char *text, size_t n, outcome *out)
{
    static outcome other;
    feed_whole(parse, text, n, out);
    for (int i = 0; i < 4; i++) {
        feed_cut(parse, text, n, i == 0 ? 1 : 1 + n / 4, &other);
        check_report(same_outcome(out, &other), __LINE__,
                     "in pieces %d, whole %d: \"%.60s\"", other.rc, out->rc, text);
    }
    return out->rc;
}

typedef struct {
    const char *section; /* of RFC 9112, unless it says otherwise */
    int reason;          /* FL_OK: a head, all of the text */
    const char *text;
} head_case;

#define GET "GET / HTTP/1.1\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"

static const head_case requests[] = {
    /* request line */
    {"3", FL_OK, GET HOST END},
    {"3", FL_OK, "get / HTTP/1.1\r\n" HOST END},
    {"3.1", FL_OK, "!#$%&'*+-.^_`|~09aZ / HTTP/1.1\r\n" HOST END},
    {"2.2", FL_OK, "\r\n" GET HOST END},
    {"2.2", FL_OK, "\r\n\r\n" GET HOST END},
    {"2.2", FL_BAD_REQUEST_LINE, "\r\n\r\n\r\n" GET HOST END},
    {"2.2", FL_BAD_LINE_END, "\n" GET HOST END},
    {"3", FL_BAD_METHOD, " GET / HTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_METHOD, " / HTTP/1.1\r\n" HOST END},
    {"3.1", FL_BAD_METHOD, "G\tET / HTTP/1.1\r\n" HOST END},
    {"3.1", FL_BAD_METHOD, "G(T / HTTP/1.1\r\n" HOST END},
    {"3.1", FL_BAD_METHOD, "G\xC3\x89T / HTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_METHOD, "GET\t/ HTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_REQUEST_LINE, "GET\r\n" HOST END},
    {"3", FL_BAD_REQUEST_LINE, "GET \r\n" HOST END},
    {"3", FL_BAD_REQUEST_LINE, "GET /\r\n"},
    {"3", FL_BAD_REQUEST_LINE, "GET / \r\n"},
    {"3", FL_BAD_REQUEST_LINE, "GET  / HTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_TARGET, "GET /  HTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_TARGET, "GET /\tHTTP/1.1 HTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_REQUEST_LINE, "GET / HTTP/1.1 \r\n" HOST END},
    {"3", FL_BAD_REQUEST_LINE, "GET /\tHTTP/1.1\r\n" HOST END},
    {"3", FL_BAD_REQUEST_LINE, "GET HTTP/1.1\r\n" HOST END},
    {"3.2", FL_BAD_TARGET, "GET /a b HTTP/1.1\r\n" HOST END},
    /* version */
    {"2.3", FL_OK, "GET / HTTP/1.0\r\n" END},
    {"2.3", FL_BAD_VERSION, "GET / HTTP/1.2\r\n" HOST END},
    {"2.3", FL_BAD_VERSION, "GET / HTTP/2.0\r\n" HOST END},
    {"2.3", FL_BAD_VERSION, "GET / HTTP/0.9\r\n" HOST END},
    {"RFC 9113 3.4", FL_BAD_VERSION, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / http/1.1\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / HTTP/1.10\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / HTTP/11.1\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / HTTP/1,1\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / HTTP/1.\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / HTTP/+.1\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / HTP/1.1\r\n" HOST END},
    {"2.3", FL_BAD_REQUEST_LINE, "GET / ICY/1.1\r\n" HOST END},
    /* targets */
    {"3.2.1", FL_OK, "GET /a/b;c=d?e=f&g=%20?h/i HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_OK, "GET //a HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_OK, "GET /{}|\\^`\"<> HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_OK, "GET /\xC3\xA9 HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_BAD_TARGET, "GET /a#b HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_BAD_TARGET, "GET /a?b#c HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_BAD_TARGET_FORM, "GET a HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_BAD_TARGET_FORM, "GET ?a HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_BAD_BYTE, "GET /a\x01 HTTP/1.1\r\n" HOST END},
    {"3.2.1", FL_BAD_BYTE, "GET /a\x7F HTTP/1.1\r\n" HOST END},
    {"3.2.2", FL_OK, "GET http://b/c HTTP/1.1\r\n" HOST END},
    {"3.2.2", FL_OK, "GET HTTPS://b:443?c HTTP/1.1\r\n" HOST END},
    {"3.2.2", FL_OK, "GET http://b HTTP/1.1\r\n" HOST END},
    {"3.2.2", FL_BAD_TARGET_FORM, "GET ftp://b/ HTTP/1.1\r\n" HOST END},
    {"3.2.2", FL_BAD_TARGET_FORM, "GET http:/b/ HTTP/1.1\r\n" HOST END},
    {"RFC 9110 4.2.1", FL_BAD_TARGET, "GET http:///c HTTP/1.1\r\n" HOST END},
    {"RFC 9110 4.2.1", FL_BAD_TARGET, "GET http://:80/c HTTP/1.1\r\n" HOST END},
    {"RFC 9110 4.2.4", FL_BAD_TARGET, "GET http://u@b/c HTTP/1.1\r\n" HOST END},
    {"RFC 9110 4.2.4", FL_BAD_TARGET, "GET http://u:p@b/c HTTP/1.1\r\n" HOST END},
    {"3.2.2", FL_BAD_HOST_MISSING, "GET http://b/c HTTP/1.1\r\n" END},
    {"3.2.3", FL_OK, "CONNECT a:443 HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_OK, "CONNECT [::1]:443 HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_BAD_TARGET_FORM, "CONNECT a HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_BAD_TARGET_FORM, "CONNECT a: HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_BAD_TARGET_FORM, "CONNECT :443 HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_BAD_TARGET_FORM, "CONNECT / HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_BAD_TARGET_FORM, "CONNECT http://a:1 HTTP/1.1\r\n" HOST END},
    {"3.2.3", FL_BAD_TARGET_FORM, "GET a:443 HTTP/1.1\r\n" HOST END},
    {"3.2.4", FL_OK, "OPTIONS * HTTP/1.1\r\n" HOST END},
    {"3.2.4", FL_BAD_TARGET_FORM, "GET * HTTP/1.1\r\n" HOST END},
    {"3.2.4", FL_BAD_TARGET_FORM, "OPTIONS ** HTTP/1.1\r\n" HOST END},
    /* line ends and bytes */
    {"2.2", FL_BAD_LINE_END, "GET / HTTP/1.1\nHost: a\n\n"},
    {"2.2", FL_BAD_LINE_END, GET "Host: a\n\r\n"},
    {"2.2", FL_BAD_LINE_END, GET HOST "\n"},
    {"2.2", FL_BAD_LINE_END, GET HOST "\rX"},
    {"2.2", FL_BAD_LINE_END, GET HOST "X: a\rb\r\n\r\n"},
    {"2.2", FL_BAD_LINE_END, GET HOST "X: a\r\r\n\r\n"},
    {"2.2", FL_BAD_LINE_END, GET HOST "X: a\r\n\r\r\n"},
    {"2.2", FL_BAD_LINE_END, "GET / HTTP/1.1\r" HOST END},
    {"2.2", FL_BAD_LINE_END, "GET / HTTP/1.1\r\r\n" HOST END},
    {"RFC 9110 5.5", FL_BAD_BYTE, GET HOST "X: a\x01\r\n\r\n"},
    {"RFC 9110 5.5", FL_BAD_BYTE, GET HOST "X: \x7F\r\n\r\n"},
    {"RFC 9110 5.5", FL_BAD_BYTE, GET HOST "X: a\x0B\r\n\r\n"},
    {"RFC 9110 5.5", FL_BAD_BYTE, GET HOST "X: a\x0C\r\n\r\n"},
    {"2.2", FL_BAD_BYTE, "\x16\x03\x01\x02"}, /* a TLS hello */
    {"2.2", FL_BAD_METHOD, "\x80\x80\x01\x03\x01"},
    /* field lines */
    {"5", FL_OK, GET HOST "X:\r\n\r\n"},
    {"5", FL_OK, GET HOST "X:a\r\n\r\n"},
    {"5", FL_OK, GET HOST "X: \t a \t \r\n\r\n"},
    {"5", FL_OK, GET HOST "X: a\tb \x80\xFF:;\"\r\n\r\n"},
    {"5", FL_OK, GET HOST "!#$%&'*+-.^_`|~09aZ: x\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_SPACE, GET HOST "X : a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_SPACE, GET HOST "X\t: a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_SPACE, GET "Host : a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_NAME, GET HOST ": a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_NAME, GET HOST "X Y: a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_NAME, GET HOST "X(Y): a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_NAME, GET HOST "X\xC3\xA9: a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_NAME, GET HOST "\"X\": a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_NAME, GET HOST "X@: a\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_LINE, GET HOST "X\r\n\r\n"},
    {"5.1", FL_BAD_FIELD_LINE, GET "Host\r\n\r\n"},
    {"5.2", FL_BAD_FIELD_FOLD, GET HOST "X: a\r\n b\r\n\r\n"},
    {"5.2", FL_BAD_FIELD_FOLD, GET HOST "X: a\r\n\tb\r\n\r\n"},
    {"5.2", FL_BAD_FIELD_FOLD, GET " X: a\r\n" HOST END},
    {"5.2", FL_BAD_FIELD_FOLD, GET HOST " \r\n\r\n"},
    {"5.2", FL_BAD_FIELD_FOLD, GET HOST "X:\r\n Transfer-Encoding: chunked\r\n\r\n"},
    /* Host */
    {"3.2", FL_OK, GET "Host:\r\n\r\n"},
    {"3.2", FL_OK, GET "hOST: a.example:8080\r\n\r\n"},
    {"3.2", FL_OK, GET "Host: [2001:db8::1]:80\r\n\r\n"},
    {"3.2", FL_OK, GET "Host: a_b.%41\r\n\r\n"},
    {"3.2", FL_BAD_HOST_MISSING, GET "\r\n"},
    {"3.2", FL_BAD_HOST_MISSING, GET "X-Host: a\r\n\r\n"},
    {"3.2", FL_BAD_HOST_REPEATED, GET HOST HOST END},
    {"3.2", FL_BAD_HOST_REPEATED, GET HOST "Host: b\r\n\r\n"},
    {"3.2", FL_BAD_HOST_REPEATED, "GET / HTTP/1.0\r\n" HOST HOST END},
    {"3.2", FL_BAD_HOST, GET "Host: a b\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a,b\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a, b\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a/b\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: u@a\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: http://a\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a:b\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a:80:80\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a:65536\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: :80\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: [::1\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: [a]\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: \xC3\xA9\r\n\r\n"},
    {"3.2", FL_BAD_HOST, GET "Host: a%4\r\n\r\n"},
    {"3.2", FL_BAD_HOST, "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"},
    /* Content-Length */
    {"6.2", FL_OK, GET HOST "Content-Length: 0\r\n\r\n"},
    {"6.2", FL_OK, GET HOST "Content-Length: 0042\r\n\r\n"},
    {"6.2", FL_OK, GET HOST "Content-Length:\t9999999999999999 \r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 10000000000000000\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 18446744073709551616\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length:\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: +1\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: -1\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 1_0\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 0x1\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 1 0\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 1.0\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: \"1\"\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: \xB2\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 1, 1\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, GET HOST "Content-Length: 1,\r\n\r\n"},
    {"6.3", FL_BAD_LENGTH_REPEATED,
     GET HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"},
    {"6.3", FL_BAD_LENGTH_REPEATED,
     GET HOST "Content-Length: 1\r\nContent-length: 2\r\n\r\n"},
    /* Transfer-Encoding */
    {"6.1", FL_OK, GET HOST "Transfer-Encoding: chunked\r\n\r\n"},
    {"6.1", FL_OK, GET HOST "transfer-encoding:\tCHUNKED \r\n\r\n"},
    {"6.1", FL_BAD_CODING_VERSION,
     "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"6.3", FL_BAD_LENGTH_AND_CODING,
     GET HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"6.3", FL_BAD_LENGTH_AND_CODING,
     GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"},
    {"6.1", FL_BAD_CODING_UNKNOWN, GET HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING_UNKNOWN,
     GET HOST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"6.3", FL_BAD_CODING, GET HOST "Transfer-Encoding: gzip\r\n\r\n"},
    {"6.3", FL_BAD_CODING, GET HOST "Transfer-Encoding: identity\r\n\r\n"},
    {"6.3", FL_BAD_CODING, GET HOST "Transfer-Encoding: chunked, gzip\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: chunked, chunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING,
     GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding:\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: ,chunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: chunked,\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: chunked;q=1\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: \"chunked\"\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: xchunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING, GET HOST "Transfer-Encoding: chunkedx\r\n\r\n"},
    {"6.1", FL_BAD_BYTE,
     GET HOST "Transfer-Encoding: \x0B"
              "chunked\r\n\r\n"},
};

static const head_case responses[] = {
    {"4", FL_OK, "HTTP/1.1 200 OK\r\n\r\n"},
    {"4", FL_OK, "HTTP/1.1 200 \r\n\r\n"},
    {"4", FL_OK, "HTTP/1.1 200\r\n\r\n"},
    {"4", FL_OK, "HTTP/1.0 999 \x80 a\tb\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1 20 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1 2000 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1 099 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1 +20 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1  200 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "HTTP/1.1 200\tOK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "ICY 200 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "http/1.1 200 OK\r\n\r\n"},
    {"4", FL_BAD_STATUS_LINE, "\r\nHTTP/1.1 200 OK\r\n\r\n"},
    {"2.3", FL_BAD_VERSION, "HTTP/2.0 200 OK\r\n\r\n"},
    {"2.2", FL_BAD_LINE_END, "HTTP/1.1 200 OK\n\n"},
    {"2.2", FL_BAD_BYTE, "HTTP/1.1 200 \x01\r\n\r\n"},
    {"5.2", FL_BAD_FIELD_FOLD, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"},
    {"6.2", FL_OK, "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"},
    {"6.2", FL_OK, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n"},
    {"6.2", FL_BAD_LENGTH, "HTTP/1.1 200 OK\r\nContent-Length: 5, x\r\n\r\n"},
    {"6.3", FL_BAD_LENGTH_REPEATED, "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n"},
    {"6.3", FL_BAD_LENGTH_AND_CODING,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
    {"6.1", FL_OK, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING_VERSION,
     "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"6.1", FL_BAD_CODING_UNKNOWN,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
    {"3.2", FL_OK, "HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\n\r\n"},
};

static void
check_table(parse_fn *parse, const head_case *cases, size_t count)
{
    static outcome out;
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(cases[i].text);
        int want = cases[i].reason == FL_OK ? (int)n : -cases[i].reason;
        int got = feed(parse, cases[i].text, n, &out);
        check_report(got == want, __LINE__, "%s: %s, want %s: \"%s\"", cases[i].section,
                     got > 0    ? "a head"
                     : got == 0 ? "partial"
                                : fl_reason_text(-got),
                     fl_reason_text(cases[i].reason), cases[i].text);
        if (cases[i].reason == FL_OK) {
            /* What follows a head is not looked at, and without its end it is
             * partial. */
            char longer[512];
            memcpy(longer, cases[i].text, n);
            memcpy(longer + n, "\x01\n rest", 7);
            CHECK_INT(feed(parse, longer, n + 7, &out), n);
            CHECK_INT(feed(parse, longer, n - 1, &out), 0);
        }
    }
}

static void
nul_is_refused_everywhere(void)
{
    static outcome out;
    const char text[] = "GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n";
    size_t n = sizeof(text) - 1;
    for (size_t i = 0; i < n; i++) {
        char copy[sizeof(text)];
        memcpy(copy, text, n);
        copy[i] = '\0';
        CHECK(feed(fl_http1_request, copy, n, &out) < 0);
    }
}

#define FLAGS_OF(text) flags_of(fl_http1_request, text)

static unsigned
flags_of(parse_fn *parse, const char *text)
{
    static outcome out;
    CHECK_INT(feed(parse, text, strlen(text), &out), strlen(text));
    return out.head.flags;
}

static void
connection_options_decide_what_follows(void)
{
    const unsigned alive = FL_HEAD_KEEP_ALIVE, close = FL_HEAD_CLOSE;
    const unsigned said = FL_HEAD_SAID_KEEP_ALIVE;
    CHECK_INT(FLAGS_OF(GET HOST END), alive);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: close\r\n\r\n"), close);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: CLOSE\r\n\r\n"), close);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: x, Close ,y\r\n\r\n"), close);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: x\r\nConnection: close\r\n\r\n"), close);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: closed\r\n\r\n"), alive);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: ,,\r\n\r\n"), alive);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: keep-alive\r\n\r\n"), alive | said);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: keep-alive, close\r\n\r\n"), said | close);
    CHECK_INT(FLAGS_OF("GET / HTTP/1.0\r\n\r\n"), 0);
    CHECK_INT(FLAGS_OF("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
              alive | said);
    CHECK_INT(flags_of(fl_http1_response, "HTTP/1.1 200 OK\r\n\r\n"), alive);
    CHECK_INT(flags_of(fl_http1_response, "HTTP/1.0 200 OK\r\n\r\n"), 0);
}

static void
expect_and_upgrade_need_http_1_1(void)
{
    const unsigned alive = FL_HEAD_KEEP_ALIVE, up = FL_HEAD_UPGRADE | alive;
    const unsigned expect = FL_HEAD_EXPECT_CONTINUE | alive;
    CHECK_INT(FLAGS_OF(GET HOST "Expect: 100-continue\r\n\r\n"), expect);
    CHECK_INT(FLAGS_OF(GET HOST "expect: 100-Continue\r\n\r\n"), expect);
    CHECK_INT(FLAGS_OF(GET HOST "Expect: something\r\n\r\n"), alive);
    CHECK_INT(FLAGS_OF("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), 0);
    CHECK_INT(FLAGS_OF(GET HOST "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
              up);
    CHECK_INT(
        FLAGS_OF(GET HOST "Connection: keep-alive, upgrade\r\nUpgrade: x\r\n\r\n"),
        up | FL_HEAD_SAID_KEEP_ALIVE);
    CHECK_INT(FLAGS_OF(GET HOST "Upgrade: websocket\r\n\r\n"), alive);
    CHECK_INT(FLAGS_OF(GET HOST "Connection: upgrade\r\n\r\n"), alive);
    CHECK_INT(FLAGS_OF("GET / HTTP/1.0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
              0);
}

static void
responses_without_a_body_say_so(void)
{
    const unsigned alive = FL_HEAD_KEEP_ALIVE, none = FL_HEAD_NO_BODY | alive;
    CHECK_INT(flags_of(fl_http1_response, "HTTP/1.1 100 Continue\r\n\r\n"), none);
    CHECK_INT(flags_of(fl_http1_response, "HTTP/1.1 204 No Content\r\n\r\n"), none);
    CHECK_INT(flags_of(fl_http1_response,
                       "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
              none | FL_HEAD_HAS_LENGTH);
    CHECK_INT(flags_of(fl_http1_response, "HTTP/1.1 205 Reset\r\n\r\n"), alive);
}

static void
slices_name_the_pieces(void)
{
    static outcome out;
    const char *text = "\r\nPATCH /a/b?c=d?e HTTP/1.1\r\nhOsT:  h:1 \r\n"
                       "Content-Length: 12\r\nX-One:\tv \t w\t\r\nX-Empty: \r\n\r\n";
    CHECK_INT(feed(fl_http1_request, text, strlen(text), &out), strlen(text));
    const fl_head *h = &out.head;
    CHECK_INT(h->method, FL_METHOD_PATCH);
    CHECK_INT(h->minor_version, 1);
    CHECK_SPAN(fl_slice_span(text, h->method_name), "PATCH");
    CHECK_SPAN(fl_slice_span(text, h->target), "/a/b?c=d?e");
    CHECK_SPAN(fl_slice_span(text, h->path), "/a/b");
    CHECK_SPAN(fl_slice_span(text, h->query), "c=d?e");
    CHECK_SPAN(fl_slice_span(text, h->host), "h:1");
    CHECK_INT(h->flags, FL_HEAD_KEEP_ALIVE | FL_HEAD_HAS_LENGTH | FL_HEAD_QUERY);
    CHECK_INT(h->content_length, 12);
    CHECK_INT(h->nfields, 4);
    CHECK_SPAN(fl_slice_span(text, h->fields[2].name), "X-One");
    CHECK_SPAN(fl_slice_span(text, h->fields[2].value), "v \t w");
    CHECK_INT(h->fields[2].id, FL_H_OTHER);
    CHECK_SPAN(fl_slice_span(text, h->fields[3].value), "");
    CHECK(fl_head_find(h, FL_H_HOST) == &h->fields[0]);
    CHECK(fl_head_find(h, FL_H_CONTENT_LENGTH) == &h->fields[1]);
    CHECK(fl_head_find(h, FL_H_COOKIE) == NULL);
    CHECK(fl_head_find(h, FL_H_SEC_GPC) == NULL);

    text = "HTTP/1.0 404 Not  Found\r\nServer: s\r\n\r\n";
    CHECK_INT(feed(fl_http1_response, text, strlen(text), &out), strlen(text));
    CHECK_INT(h->status, 404);
    CHECK_INT(h->minor_version, 0);
    CHECK_SPAN(fl_slice_span(text, h->reason), "Not  Found");
}

static void
a_target_with_authority_gives_host_and_path(void)
{
    static outcome out;
    static const char *const cases[][5] = {
        /* method, target, host, path, query */
        {"GET", "http://b:1/c?d", "b:1", "/c", "d"},
        {"GET", "http://b", "b", "", ""},
        {"GET", "https://b?q", "b", "", "q"},
        {"CONNECT", "c:443", "c:443", "", ""},
        {"OPTIONS", "*", "a", "*", ""},
        {"GET", "/", "a", "/", ""},
        {"GET", "/?", "a", "/", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[200];
        snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: a\r\n\r\n", cases[i][0],
                 cases[i][1]);
        CHECK_INT(feed(fl_http1_request, text, strlen(text), &out), strlen(text));
        CHECK_SPAN(fl_slice_span(text, out.head.target), cases[i][1]);
        CHECK_SPAN(fl_slice_span(text, out.head.host), cases[i][2]);
        CHECK_SPAN(fl_slice_span(text, out.head.path), cases[i][3]);
        CHECK_SPAN(fl_slice_span(text, out.head.query), cases[i][4]);
        bool query = strchr(cases[i][1], '?') != NULL;
        CHECK_INT((out.head.flags & FL_HEAD_QUERY) != 0, query);
        bool absolute = cases[i][1][0] == 'h';
        CHECK_INT((out.head.flags & FL_HEAD_ABSOLUTE) != 0, absolute);
    }
}

static int
with_limits(const char *text, size_t n, uint32_t max_head, uint32_t max_fields)
{
    static outcome whole, pieces;
    fl_head_limits tight = {max_head, max_fields};
    size_t scanned = 0, have = 0;
    whole.head = (fl_head){.fields = whole.fields, .cap_fields = FIELDS};
    whole.rc = fl_http1_request(text, n, &scanned, &tight, &whole.head);
    pieces.rc = 0;
    for (scanned = 0; pieces.rc == 0 && have < n;) {
        have++;
        pieces.head = (fl_head){.fields = pieces.fields, .cap_fields = FIELDS};
        pieces.rc = fl_http1_request(text, have, &scanned, &tight, &pieces.head);
    }
    CHECK(same_outcome(&whole, &pieces));
    return whole.rc;
}

static void
limits_are_told_apart(void)
{
    const char *text = "GET /1234567890 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    size_t n = strlen(text);
    CHECK_INT(with_limits(text, n, (uint32_t)n, 2), n);
    CHECK_INT(with_limits(text, n, 0, 0), n);
    CHECK_INT(with_limits(text, n, UINT32_MAX, UINT32_MAX), n);
    CHECK_INT(with_limits(text, n, (uint32_t)n - 1, 2), -FL_BAD_HEAD_LONG);
    CHECK_INT(with_limits(text, n, 26, 2), -FL_BAD_HEAD_LONG);
    CHECK_INT(with_limits(text, n, 25, 2), -FL_BAD_TARGET_LONG);
    CHECK_INT(with_limits(text, n, 1, 2), -FL_BAD_TARGET_LONG);
    CHECK_INT(with_limits(text, n, 65536, 1), -FL_BAD_FIELD_COUNT);
    CHECK_INT(with_limits(text, 0, 65536, 1), 0);
    CHECK_INT(fl_reason_status(FL_BAD_TARGET_LONG), 414);
    CHECK_INT(fl_reason_status(FL_BAD_HEAD_LONG), 431);
    CHECK_INT(fl_reason_status(FL_BAD_FIELD_COUNT), 431);
    CHECK_INT(fl_reason_status(FL_BAD_CODING_UNKNOWN), 501);
    CHECK_INT(fl_reason_status(FL_BAD_VERSION), 505);
    CHECK_INT(fl_reason_status(FL_BAD_HOST), 400);
    CHECK_INT(fl_reason_status(-1), 400);
    CHECK_INT(fl_reason_status(FL_REASON_COUNT), 400);
    for (int i = 0; i < FL_REASON_COUNT; i++) {
        CHECK(fl_reason_text(i) != NULL && fl_reason_status(i) >= 400);
    }
}

/* Lines of every length: marks begin and end everywhere. */
static void
lines_of_every_length_are_read(void)
{
    static outcome out;
    static char text[5000];
    for (size_t len = 0; len < 700; len++) {
        size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\nX-");
        memset(text + n, 'n', len % 190);
        n += len % 190;
        text[n++] = ':';
        memset(text + n, 'v', len);
        n += len;
        n += (size_t)sprintf(text + n, "\r\nLast: one\r\n\r\n");
        feed_whole(fl_http1_request, text, n, &out);
        CHECK_INT(out.rc, n);
        CHECK_INT(out.head.nfields, 3);
        CHECK_INT(out.head.fields[1].value.len, len);
        CHECK_SPAN(fl_slice_span(text, out.head.fields[2].value), "one");
    }
}

/* Good heads with bytes changed, taken out and doubled: cut anyhow, the same
 * outcome. */
static void
damaged_heads_have_one_outcome(void)
{
    static outcome whole, pieces;
    static const char good[] =
        "POST /p/a?q=1 HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive\r\n"
        "Content-Length: 10\r\nAccept: */*\r\nTransfer-Encoding: chunked\r\n\r\nbody";
    static const char spice[] = "\r\n\r\n :\t\0,;?#aZ0\x7F\x80";
    for (int round = 0; round < 30000; round++) {
        char text[sizeof(good) + 8];
        size_t n = sizeof(good) - 1;
        memcpy(text, good, n);
        for (size_t edits = random_below(3); edits > 0; edits--) {
            size_t at = random_below(n - 1);
            switch (random_below(3)) {
            case 0:
                text[at] = spice[random_below(sizeof(spice) - 1)];
                break;
            case 1:
                memmove(text + at, text + at + 1, n - at - 1);
                n--;
                break;
            default:
                memmove(text + at + 1, text + at, n - at);
                n++;
            }
        }
        parse_fn *parse = round % 8 == 0 ? fl_http1_response : fl_http1_request;
        feed_whole(parse, text, n, &whole);
        feed_cut(parse, text, n, 1 + random_below(30), &pieces);
        CHECK(same_outcome(&whole, &pieces));
    }
}

static int
fields_of(const char *text, uint32_t cap, fl_field *fields)
{
    size_t n = strlen(text);
    char *p = copy_of(text, n);
    int rc = fl_http1_fields(p, n, fields, cap);
    free(p);
    return rc;
}

static void
field_lines_alone_are_read_as_strictly(void)
{
    fl_field f[3];
    CHECK_INT(fields_of("", 3, f), 0);
    CHECK_INT(fields_of("A: b\r\nEtag:c\r\n", 3, f), 2);
    CHECK_INT(f[1].id, FL_H_ETAG);
    CHECK_INT(fl_http1_fields("A: b\r\n", (size_t)FL_HEAD_MAX + 1, f, 3),
              -FL_BAD_HEAD_LONG);
    CHECK_INT(fields_of("A: b\r\nC:d\r\n", 1, f), -FL_BAD_FIELD_COUNT);
    CHECK_INT(fields_of("A: b", 3, f), -FL_BAD_FIELD_LINE);
    CHECK_INT(fields_of("A: b\r\n\r\n", 3, f), -FL_BAD_FIELD_LINE);
    CHECK_INT(fields_of("A: b\n", 3, f), -FL_BAD_LINE_END);
    CHECK_INT(fields_of("A : b\r\n", 3, f), -FL_BAD_FIELD_SPACE);
    CHECK_INT(fields_of("A: b\x01\r\n", 3, f), -FL_BAD_BYTE);
}

static void
lists_are_split_at_commas(void)
{
    CHECK(fl_list_has(FL_SPAN("a, B ,\tc"), FL_SPAN("b")));
    CHECK(fl_list_has(FL_SPAN("c"), FL_SPAN("C")));
    CHECK(!fl_list_has(FL_SPAN("ab, bc"), FL_SPAN("b")));
    CHECK(!fl_list_has(FL_SPAN(""), FL_SPAN("b")));
    CHECK(!fl_list_has(FL_SPAN(", ,"), FL_SPAN("b")));
}

static void
methods_are_found_by_their_names(void)
{
    static const char *const names[FL_METHOD_COUNT] = {
        [FL_METHOD_GET] = "GET",         [FL_METHOD_HEAD] = "HEAD",
        [FL_METHOD_POST] = "POST",       [FL_METHOD_PUT] = "PUT",
        [FL_METHOD_DELETE] = "DELETE",   [FL_METHOD_PATCH] = "PATCH",
        [FL_METHOD_OPTIONS] = "OPTIONS", [FL_METHOD_CONNECT] = "CONNECT",
        [FL_METHOD_TRACE] = "TRACE",
    };
    for (int i = FL_METHOD_OTHER + 1; i < FL_METHOD_COUNT; i++) {
        CHECK_INT(fl_method_lookup(fl_span_make(names[i], strlen(names[i]))), i);
    }
    CHECK_INT(fl_method_lookup(FL_SPAN("get")), FL_METHOD_OTHER);
    CHECK_INT(fl_method_lookup(FL_SPAN("GETS")), FL_METHOD_OTHER);
    CHECK_INT(fl_method_lookup(FL_SPAN("")), FL_METHOD_OTHER);
}

int
main(void)
{
    static const char *const sets[] = {"scalar", "sse2", "avx2", "neon"};
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        if (!fl_cpu_use(sets[i])) {
            continue;
        }
        check_table(fl_http1_request, requests, sizeof(requests) / sizeof(requests[0]));
        check_table(fl_http1_response, responses,
                    sizeof(responses) / sizeof(responses[0]));
        nul_is_refused_everywhere();
        connection_options_decide_what_follows();
        expect_and_upgrade_need_http_1_1();
        responses_without_a_body_say_so();
        slices_name_the_pieces();
        a_target_with_authority_gives_host_and_path();
        limits_are_told_apart();
        lines_of_every_length_are_read();
        damaged_heads_have_one_outcome();
        field_lines_alone_are_read_as_strictly();
    }
    lists_are_split_at_commas();
    methods_are_found_by_their_names();
    return check_done();
}
