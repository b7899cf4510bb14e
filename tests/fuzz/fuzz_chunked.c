/* fuzz_chunked.c -- chunked bodies.
 *
 * Whole and in pieces: the same body, trailers, extensions and end. What was accepted
 * can be written as one chunk and read back; trailers are field lines.
 */
#include "fuzz.h"

#include "proto/chunked.h"
#include "proto/http1_head.h"

typedef struct {
    int rc;
    size_t used;
    fl_buf body, trailers, extensions;
} outcome;

static void
clear(outcome *o)
{
    fl_buf_free(&o->body);
    fl_buf_free(&o->trailers);
    fl_buf_free(&o->extensions);
}

static void
feed(const char *p, size_t n, size_t most, choices *c, outcome *o)
{
    fl_chunked d;
    size_t at = 0;
    memset(o, 0, sizeof(*o));
    fl_chunked_init(&d, &FL_CHUNKED_LIMITS, &o->trailers, &o->extensions);
    while (at < n && o->rc == FL_CHUNK_MORE) {
        size_t piece = most == 1 ? 1 : 1 + choose(c, most);
        piece = piece < n - at ? piece : n - at;
        char *copy = copy_of(p + at, piece);
        size_t done = 0;
        do {
            fl_span data;
            size_t used;
            o->rc = fl_chunked_feed(&d, copy + done, piece - done, &data, &used);
            MUST(used <= piece - done);
            if (o->rc == FL_CHUNK_DATA) {
                MUST(data.n > 0 && data.p >= copy + done);
                MUST(data.p + data.n == copy + done + used);
                MUST(fl_buf_append(&o->body, data.p, data.n) == 0);
            }
            done += used;
        } while (o->rc == FL_CHUNK_DATA);
        MUST(o->rc != FL_CHUNK_MORE || done == piece);
        at += done;
        free(copy);
    }
    o->used = at;
}

static void
check_same(const outcome *a, const outcome *b)
{
    MUST(a->rc == b->rc);
    MUST(fl_span_eq(fl_buf_span(&a->body), fl_buf_span(&b->body)));
    if (a->rc >= 0) {
        MUST(a->used == b->used);
        MUST(fl_span_eq(fl_buf_span(&a->trailers), fl_buf_span(&b->trailers)));
        MUST(fl_span_eq(fl_buf_span(&a->extensions), fl_buf_span(&b->extensions)));
    }
}

static void
check_accepted(const outcome *o)
{
    static fl_field fields[32];
    choices c = {1};
    fl_span trailers = fl_buf_span(&o->trailers);
    fl_span body = fl_buf_span(&o->body);
    MUST(fl_http1_fields(trailers.p, trailers.n, fields, 32) >= 0);
    fl_buf text = {0};
    char head[FL_CHUNK_HEAD_MAX];
    if (body.n > 0) {
        MUST(fl_buf_append(&text, head, fl_chunk_head(head, body.n)) == 0);
        MUST(fl_buf_append(&text, body.p, body.n) == 0);
        MUST(fl_buf_append(&text, "\r\n", 2) == 0);
    }
    MUST(fl_buf_append(&text, "0\r\n", 3) == 0);
    MUST(fl_buf_append(&text, trailers.p, trailers.n) == 0);
    MUST(fl_buf_append(&text, "\r\n", 2) == 0);
    outcome again;
    feed(fl_buf_ptr(&text), fl_buf_len(&text), SIZE_MAX / 2, &c, &again);
    MUST(again.rc == FL_CHUNK_END && again.used == fl_buf_len(&text));
    MUST(fl_span_eq(fl_buf_span(&again.body), body));
    MUST(fl_span_eq(fl_buf_span(&again.trailers), trailers));
    clear(&again);
    fl_buf_free(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *p = (const char *)bytes;
    choices c = choices_from(p, n);
    outcome whole, other;
    fl_cpu_use("scalar");
    feed(p, n, SIZE_MAX / 2, &c, &whole);
    FOR_EACH_CPU_SET(i)
    {
        feed(p, n, 1, &c, &other);
        check_same(&whole, &other);
        clear(&other);
        feed(p, n, 1 + choose(&c, n + 1), &c, &other);
        check_same(&whole, &other);
        clear(&other);
    }
    if (whole.rc == FL_CHUNK_END) {
        check_accepted(&whole);
    }
    clear(&whole);
    return 0;
}
