/* fuzz_head.c -- request and response heads.
 *
 * Whole, byte by byte and in other pieces, with every set of scanning functions: one
 * outcome. What is accepted lies within the input, has legal names and values, and
 * means the same when it is written out again from what was read.
 */
#include "fuzz.h"

#include "proto/http1_head.h"

#define FIELDS 64
#define SMALL 250 /* up to here every prefix gets a heap block of its own */

typedef int parse_fn(const char *, size_t, size_t *, const fl_head_limits *, fl_head *);

typedef struct {
    int rc;
    fl_head head;
    fl_field fields[FIELDS];
} outcome;

static const fl_head_limits limits = {8192, FIELDS};

static void
feed_whole(parse_fn *parse, const char *p, size_t n, outcome *out)
{
    size_t scanned = 0;
    memset(&out->head, 0xA5, sizeof(out->head));
    out->head.fields = out->fields;
    out->head.cap_fields = FIELDS;
    out->rc = parse(p, n, &scanned, &limits, &out->head);
}

/* In pieces of up to `most` bytes. */
static void
feed(parse_fn *parse, const char *p, size_t n, size_t most, choices *c, outcome *out)
{
    size_t scanned = 0, have = 0;
    out->rc = 0;
    while (out->rc == 0 && have < n) {
        size_t piece = most == 1 ? 1 : 1 + choose(c, most);
        have = piece < n - have ? have + piece : n;
        char *copy = have <= SMALL ? copy_of(p, have) : NULL;
        memset(&out->head, 0xA5, sizeof(out->head));
        out->head.fields = out->fields;
        out->head.cap_fields = FIELDS;
        out->rc = parse(copy != NULL ? copy : p, have, &scanned, &limits, &out->head);
        free(copy);
    }
}

static bool
same_slice(fl_slice a, fl_slice b)
{
    return a.off == b.off && a.len == b.len;
}

static bool
same(const outcome *a, const outcome *b)
{
    const fl_head *x = &a->head, *y = &b->head;
    if (a->rc != b->rc || a->rc <= 0) {
        return a->rc == b->rc;
    }
    bool equal = x->nfields == y->nfields && x->method == y->method &&
                 x->minor_version == y->minor_version && x->flags == y->flags &&
                 x->status == y->status && x->seen == y->seen &&
                 x->content_length == y->content_length &&
                 same_slice(x->method_name, y->method_name) &&
                 same_slice(x->target, y->target) && same_slice(x->path, y->path) &&
                 same_slice(x->query, y->query) && same_slice(x->host, y->host) &&
                 same_slice(x->reason, y->reason);
    for (uint32_t i = 0; equal && i < x->nfields; i++) {
        equal = same_slice(a->fields[i].name, b->fields[i].name) &&
                same_slice(a->fields[i].value, b->fields[i].value) &&
                a->fields[i].id == b->fields[i].id;
    }
    return equal;
}

static fl_span
within(const char *p, const outcome *o, fl_slice s)
{
    MUST((uint64_t)s.off + s.len <= (uint64_t)o->rc);
    return fl_slice_span(p, s);
}

static void
check_accepted(parse_fn *parse, const char *p, const outcome *o)
{
    const fl_head *h = &o->head;
    within(p, o, h->path);
    within(p, o, h->query);
    within(p, o, h->host);
    fl_span reason = within(p, o, h->reason);
    MUST(fl_span_all(reason, FL_C_VALUE));
    if (parse == fl_http1_request) {
        MUST(fl_is_token(within(p, o, h->method_name)));
        MUST(h->target.len > 0 && fl_span_all(within(p, o, h->target), FL_C_TARGET));
        MUST(h->minor_version == 0 || fl_head_find(h, FL_H_HOST) != NULL);
    } else {
        MUST(h->status >= 100 && h->status <= 999);
    }
    MUST((h->flags & FL_HEAD_CHUNKED) == 0 || (h->flags & FL_HEAD_HAS_LENGTH) == 0);
    MUST((h->flags & FL_HEAD_CHUNKED) == 0 || h->minor_version == 1);
    MUST((h->flags & FL_HEAD_HAS_LENGTH) != 0 || h->content_length == 0);
    MUST((h->flags & FL_HEAD_CLOSE) == 0 || (h->flags & FL_HEAD_KEEP_ALIVE) == 0);
    for (uint32_t i = 0; i < h->nfields; i++) {
        fl_span name = within(p, o, o->fields[i].name);
        fl_span value = within(p, o, o->fields[i].value);
        MUST(fl_is_token(name));
        MUST(fl_span_all(value, FL_C_VALUE));
        MUST(fl_span_trim(value).n == value.n);
        MUST(o->fields[i].id == fl_header_lookup(name));
    }
}

static void
put(char *out, size_t *n, fl_span s)
{
    if (s.n > 0) {
        memcpy(out + *n, s.p, s.n);
    }
    *n += s.n;
}

/* Written out again from its pieces the head means the same. */
static void
check_rewritten(parse_fn *parse, const char *p, const outcome *o)
{
    static outcome again;
    static char text[2 * 8192];
    char status[24];
    size_t n = 0;
    const fl_head *h = &o->head;
    if (parse == fl_http1_request) {
        put(text, &n, fl_slice_span(p, h->method_name));
        put(text, &n, FL_SPAN(" "));
        put(text, &n, fl_slice_span(p, h->target));
        put(text, &n,
            h->minor_version == 1 ? FL_SPAN(" HTTP/1.1") : FL_SPAN(" HTTP/1.0"));
    } else {
        snprintf(status, sizeof(status), "HTTP/1.%d %d ", h->minor_version, h->status);
        put(text, &n, fl_span_make(status, strlen(status)));
        put(text, &n, fl_slice_span(p, h->reason));
    }
    put(text, &n, FL_SPAN("\r\n"));
    for (uint32_t i = 0; i < h->nfields; i++) {
        put(text, &n, fl_slice_span(p, o->fields[i].name));
        put(text, &n, FL_SPAN(":"));
        put(text, &n, fl_slice_span(p, o->fields[i].value));
        put(text, &n, FL_SPAN("\r\n"));
    }
    put(text, &n, FL_SPAN("\r\n"));
    feed_whole(parse, text, n, &again);
    MUST(again.rc == (int)n);
    MUST(again.head.flags == h->flags && again.head.seen == h->seen);
    MUST(again.head.content_length == h->content_length);
    MUST(again.head.nfields == h->nfields && again.head.method == h->method);
    MUST(again.head.host.len == h->host.len && again.head.path.len == h->path.len);
}

static void
check_kind(parse_fn *parse, const char *p, size_t n)
{
    static outcome whole, other;
    choices c = choices_from(p, n);
    fl_cpu_use("scalar");
    feed_whole(parse, p, n, &whole);
    FOR_EACH_CPU_SET(i)
    {
        feed_whole(parse, p, n, &other);
        MUST(same(&whole, &other));
    }
    /* One set for the slow ways of feeding; which one depends on the input. */
    while (!fl_cpu_use(cpu_sets[choose(&c, sizeof(cpu_sets) / sizeof(cpu_sets[0]))])) {}
    feed(parse, p, n, 1, &c, &other);
    MUST(same(&whole, &other));
    feed(parse, p, n, 1 + choose(&c, n + 1), &c, &other);
    MUST(same(&whole, &other));
    MUST(whole.rc <= (int)n);
    if (whole.rc > 0) {
        check_accepted(parse, p, &whole);
        check_rewritten(parse, p, &whole);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    check_kind(fl_http1_request, (const char *)bytes, n);
    check_kind(fl_http1_response, (const char *)bytes, n);
    return 0;
}
