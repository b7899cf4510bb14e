/* test_chunked.c -- proto/chunked.h: chunked bodies good and bad, cut anyhow. */
#include "proto/chunked.h"

#include "base/scan.h"
#include "check.h"
#include "proto/http1_head.h"

typedef struct {
    int rc;
    size_t used;
    fl_buf body, trailers, extensions;
} outcome;

static void
outcome_free(outcome *o)
{
    fl_buf_free(&o->body);
    fl_buf_free(&o->trailers);
    fl_buf_free(&o->extensions);
}

/* Feeds text in pieces of up to `most` bytes, each in a block of its own. */
static void
feed(const char *text, size_t n, size_t most, const fl_chunked_limits *limits,
     outcome *o)
{
    fl_chunked c;
    size_t at = 0;
    memset(o, 0, sizeof(*o));
    fl_chunked_init(&c, limits, &o->trailers, &o->extensions);
    o->rc = FL_CHUNK_MORE;
    while (at < n && (o->rc == FL_CHUNK_MORE || o->rc == FL_CHUNK_DATA)) {
        size_t piece = 1 + random_below(most);
        piece = piece < n - at ? piece : n - at;
        char *p = copy_of(text + at, piece);
        size_t done = 0;
        do {
            fl_span data;
            size_t used;
            o->rc = fl_chunked_feed(&c, p + done, piece - done, &data, &used);
            CHECK(used <= piece - done);
            if (o->rc == FL_CHUNK_DATA) {
                CHECK(data.p >= p + done && data.p + data.n == p + done + used);
                CHECK_INT(fl_buf_append(&o->body, data.p, data.n), 0);
            }
            done += used;
        } while (o->rc == FL_CHUNK_DATA && done < piece);
        at += done;
        CHECK(o->rc != FL_CHUNK_MORE || done == piece);
        free(p);
    }
    o->used = at;
    /* What is over stays over. */
    if (o->rc < 0 || o->rc == FL_CHUNK_END) {
        fl_span data;
        size_t used = 9;
        CHECK_INT(fl_chunked_feed(&c, "x", 1, &data, &used), o->rc);
        CHECK_INT(used, 0);
    }
}

static bool
same(const outcome *a, const outcome *b)
{
    return a->rc == b->rc && (a->rc < 0 || a->used == b->used) &&
           fl_span_eq(fl_buf_span(&a->body), fl_buf_span(&b->body)) &&
           (a->rc < 0 ||
            (fl_span_eq(fl_buf_span(&a->trailers), fl_buf_span(&b->trailers)) &&
             fl_span_eq(fl_buf_span(&a->extensions), fl_buf_span(&b->extensions))));
}

/* The outcome whole, which every other cut must have too. */
static void
run(const char *text, size_t n, const fl_chunked_limits *limits, outcome *o)
{
    feed(text, n, n + 1, limits, o);
    for (size_t i = 0; i < 5; i++) {
        outcome other;
        feed(text, n, i == 0 ? 1 : 1 + random_below(n), limits, &other);
        check_report(same(o, &other), __LINE__, "in pieces %d, whole %d: %.60s",
                     other.rc, o->rc, text);
        outcome_free(&other);
    }
}

static const struct {
    const char *text, *body, *trailers, *extensions;
} good[] = {
    {"0\r\n\r\n", "", "", ""},
    {"000\r\n\r\n", "", "", ""},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", "", ""},
    {"1\r\na\r\n0002\r\nbc\r\n0\r\n\r\n", "abc", "", ""},
    {"a\r\n0123456789\r\n0\r\n\r\n", "0123456789", "", ""},
    {"A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n\r\n\r\n\r\n", "", ""},
    {"0000000000000001\r\na\r\n0\r\n\r\n", "a", "", ""},
    {"1;x\r\na\r\n0\r\n\r\n", "a", "", ";x\r\n"},
    {"1;x=y;z=\"q;\\\" \"\r\na\r\n0;end\r\n\r\n", "a", "",
     ";x=y;z=\"q;\\\" \"\r\n;end\r\n"},
    {"1 \t ;x\r\na\r\n0\t ; y = z\r\n\r\n", "a", "", ";x\r\n; y = z\r\n"},
    {"0\r\nA: b\r\n\r\n", "", "A: b\r\n", ""},
    {"1\r\na\r\n0\r\nA:\r\nX-B: \tc d\x80 \r\n\r\n", "a", "A:\r\nX-B: \tc d\x80 \r\n",
     ""},
};

static void
good_bodies_are_read(void)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char text[200];
        size_t n = strlen(good[i].text);
        outcome o;
        memcpy(text, good[i].text, n);
        memcpy(text + n, "next", 4);
        run(text, n + 4, &FL_CHUNKED_LIMITS, &o);
        CHECK_INT(o.rc, FL_CHUNK_END);
        CHECK_INT(o.used, n);
        CHECK_SPAN(fl_buf_span(&o.body), good[i].body);
        CHECK_SPAN(fl_buf_span(&o.trailers), good[i].trailers);
        CHECK_SPAN(fl_buf_span(&o.extensions), good[i].extensions);
        outcome_free(&o);
        for (size_t cut = 1; cut < n; cut++) {
            feed(text, cut, 1 << 20, &FL_CHUNKED_LIMITS, &o);
            CHECK(o.rc == FL_CHUNK_MORE || o.rc == FL_CHUNK_DATA);
            outcome_free(&o);
        }
    }
}

static const struct {
    int reason;
    const char *text;
} bad[] = {
    /* sizes: RFC 9112 section 7.1, 1*HEXDIG */
    {FL_BAD_CHUNK_SIZE, "\r\n"},
    {FL_BAD_CHUNK_SIZE, ";x\r\n"},
    {FL_BAD_CHUNK_SIZE, " 1\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "+1\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "-1\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "0x1\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "1_0\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "1g\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "\xEF\xBC\x91\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "00000000000000001\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "ffffffffffffffff\r\na\r\n"},
    {FL_BAD_CHUNK_SIZE, "8000000000000000\r\na\r\n"},
    /* line ends */
    {FL_BAD_CHUNK_LINE, "1\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1\r\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1\rX\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1 \r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1 2\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1\t\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1;x\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1;x\ry\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1;x\x01\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1;\"\n\"\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1;\x7F\r\na\r\n"},
    {FL_BAD_CHUNK_LINE, "1\x0B\r\na\r\n"},
    /* data */
    {FL_BAD_CHUNK_END, "1\r\nab\r\n"},
    {FL_BAD_CHUNK_END, "1\r\na\n"},
    {FL_BAD_CHUNK_END, "1\r\na\rX"},
    {FL_BAD_CHUNK_END, "1\r\naXX1\r\n"},
    {FL_BAD_CHUNK_END, "1\r\na0\r\n\r\n"},
    /* trailers */
    {FL_BAD_TRAILER, "0\r\n\n"},
    {FL_BAD_TRAILER, "0\r\n\rX"},
    {FL_BAD_TRAILER, "0\r\nA\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\nA : b\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\n A: b\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\nA: b\r\n c\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\n: b\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\nA: b\n\r\n"},
    {FL_BAD_TRAILER, "0\r\nA: b\rc\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\nA: \x01\r\n\r\n"},
    {FL_BAD_TRAILER, "0\r\n\x80: b\r\n\r\n"},
};

static void
bad_bodies_are_refused(void)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        outcome o;
        run(bad[i].text, strlen(bad[i].text), &FL_CHUNKED_LIMITS, &o);
        check_report(o.rc == -bad[i].reason, __LINE__, "%s, want %s: %s",
                     o.rc < 0 ? fl_reason_text(-o.rc) : "accepted",
                     fl_reason_text(bad[i].reason), bad[i].text);
        outcome_free(&o);
    }
}

/* NUL cannot stand in the tables above. */
static void
nul_is_refused_outside_of_data(void)
{
    static const char text[] = "3;e\r\nabc\r\n0\r\nT: v\r\n\r\n";
    size_t n = sizeof(text) - 1;
    for (size_t i = 0; i < n; i++) {
        char copy[sizeof(text)];
        outcome o;
        memcpy(copy, text, n);
        copy[i] = '\0';
        run(copy, n, &FL_CHUNKED_LIMITS, &o);
        bool in_data = i >= 5 && i < 8;
        CHECK(in_data ? o.rc == FL_CHUNK_END : o.rc < 0);
        outcome_free(&o);
    }
}

static int
outcome_of(const char *text, size_t n, fl_chunked_limits limits)
{
    outcome o;
    run(text, n, &limits, &o);
    int rc = o.rc;
    outcome_free(&o);
    return rc;
}

static void
limits_hold_to_the_byte(void)
{
    fl_chunked_limits limits = FL_CHUNKED_LIMITS;
    const char *text = "1;x=yz\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n";
    size_t n = strlen(text);
    limits.line = 8;
    CHECK_INT(outcome_of(text, n, limits), FL_CHUNK_END);
    limits.line = 7;
    CHECK_INT(outcome_of(text, n, limits), -FL_BAD_CHUNK_LINE_LONG);
    limits.line = 2;
    CHECK_INT(outcome_of(text, n, limits), -FL_BAD_CHUNK_LINE_LONG);
    limits = FL_CHUNKED_LIMITS;
    limits.trailer_bytes = 12;
    CHECK_INT(outcome_of(text, n, limits), FL_CHUNK_END);
    limits.trailer_bytes = 11;
    CHECK_INT(outcome_of(text, n, limits), -FL_BAD_TRAILER_LONG);
    limits.trailer_bytes = 8;
    CHECK_INT(outcome_of(text, n, limits), -FL_BAD_TRAILER_LONG);
    limits.trailer_bytes = 0;
    CHECK_INT(outcome_of(text, n, limits), -FL_BAD_TRAILER_LONG);
    CHECK_INT(outcome_of("0\r\n\r\n", 5, limits), FL_CHUNK_END);
    limits = FL_CHUNKED_LIMITS;
    limits.trailer_lines = 2;
    CHECK_INT(outcome_of(text, n, limits), FL_CHUNK_END);
    limits.trailer_lines = 1;
    CHECK_INT(outcome_of(text, n, limits), -FL_BAD_TRAILER_COUNT);
}

/* BUG CLASS: floods of tiny chunks with long extensions. */
static void
overhead_is_bounded_by_the_data(void)
{
    enum { CHUNKS = 400, EXTENSION = 100 };
    static char text[CHUNKS * (EXTENSION + 10) + 10];
    size_t n = 0;
    for (int i = 0; i < CHUNKS; i++) {
        n += (size_t)sprintf(text + n, "1;");
        memset(text + n, 'e', EXTENSION);
        n += EXTENSION;
        n += (size_t)sprintf(text + n, "\r\na\r\n");
    }
    n += (size_t)sprintf(text + n, "0\r\n\r\n");
    CHECK_INT(outcome_of(text, n, FL_CHUNKED_LIMITS), -FL_BAD_CHUNK_OVERHEAD);
    fl_chunked_limits wide = FL_CHUNKED_LIMITS;
    wide.overhead = CHUNKS * EXTENSION;
    CHECK_INT(outcome_of(text, n, wide), FL_CHUNK_END);
}

static void
many_plain_chunks_of_one_byte_are_fine(void)
{
    enum { CHUNKS = 20000 };
    static char text[CHUNKS * 6 + 10];
    size_t n = 0;
    for (int i = 0; i < CHUNKS; i++) {
        n += (size_t)sprintf(text + n, "1\r\na\r\n");
    }
    n += (size_t)sprintf(text + n, "0\r\n\r\n");
    CHECK_INT(outcome_of(text, n, FL_CHUNKED_LIMITS), FL_CHUNK_END);
}

static void
what_is_written_is_read_back(void)
{
    char out[FL_CHUNK_HEAD_MAX];
    CHECK_SPAN(fl_span_make(out, fl_chunk_head(out, 1)), "1\r\n");
    CHECK_SPAN(fl_span_make(out, fl_chunk_head(out, 255)), "ff\r\n");
    CHECK_SPAN(fl_span_make(out, fl_chunk_head(out, UINT64_MAX)),
               "ffffffffffffffff\r\n");
    for (int round = 0; round < 300; round++) {
        static char text[8000], body[4000];
        size_t n = 0, total = 0;
        for (size_t chunks = random_below(5); chunks > 0; chunks--) {
            size_t size = 1 + random_below(700);
            n += fl_chunk_head(text + n, size);
            for (size_t i = 0; i < size; i++) {
                text[n++] = body[total++] = (char)random64();
            }
            n += (size_t)sprintf(text + n, "\r\n");
        }
        n += (size_t)sprintf(text + n, "0\r\n\r\n");
        outcome o;
        run(text, n, &FL_CHUNKED_LIMITS, &o);
        CHECK_INT(o.rc, FL_CHUNK_END);
        CHECK(fl_span_eq(fl_buf_span(&o.body), fl_span_make(body, total)));
        outcome_free(&o);
    }
}

/* Trailers that were accepted are field lines to the head parser too. */
static void
kept_trailers_are_field_lines(void)
{
    outcome o;
    fl_field fields[4];
    const char *text = "0\r\nETag: \"x\"\r\nX-Sum:\tabc \r\n\r\n";
    run(text, strlen(text), &FL_CHUNKED_LIMITS, &o);
    fl_span kept = fl_buf_span(&o.trailers);
    CHECK_INT(fl_http1_fields(kept.p, kept.n, fields, 4), 2);
    CHECK_INT(fields[0].id, FL_H_ETAG);
    CHECK_SPAN(fl_slice_span(kept.p, fields[1].value), "abc");
    outcome_free(&o);
}

static void
nothing_needs_to_be_kept(void)
{
    fl_chunked c;
    fl_span data;
    size_t used;
    const char *text = "0;x\r\nA: b\r\n\r\n";
    fl_chunked_init(&c, &FL_CHUNKED_LIMITS, NULL, NULL);
    CHECK_INT(fl_chunked_feed(&c, text, 0, &data, &used), FL_CHUNK_MORE);
    CHECK_INT(fl_chunked_feed(&c, text, strlen(text), &data, &used), FL_CHUNK_END);
    CHECK_INT(used, strlen(text));
}

/* Keeping trailers and extensions needs memory; the n-th allocation fails. */
static void
without_memory_the_body_is_refused(void)
{
    static char text[1600];
    size_t n = (size_t)sprintf(text, "1;x=");
    memset(text + n, 'y', 200);
    n += 200;
    n += (size_t)sprintf(text + n, "\r\na\r\n0;z\r\nName: ");
    memset(text + n, 'v', 1000);
    n += 1000;
    n += (size_t)sprintf(text + n, "\r\nB: c\r\n\r\n");
    int refused = 0;
    for (long left = 0; left < 10; left++) {
        for (size_t most = 1; most <= n; most += n - 1) {
            fl_buf trailers = {0}, extensions = {0};
            fl_chunked c;
            fl_span data;
            size_t used, at = 0;
            int rc = FL_CHUNK_MORE;
            fl_chunked_init(&c, &FL_CHUNKED_LIMITS, &trailers, &extensions);
            check_allocations_left = left;
            while (at < n && (rc == FL_CHUNK_MORE || rc == FL_CHUNK_DATA)) {
                size_t piece = n - at < most ? n - at : most;
                rc = fl_chunked_feed(&c, text + at, piece, &data, &used);
                at += used;
            }
            check_allocations_left = -1;
            CHECK(rc == FL_CHUNK_END || rc == -FL_BAD_MEMORY);
            refused += rc < 0;
            CHECK(left < 9 || rc == FL_CHUNK_END);
            fl_buf_free(&trailers);
            fl_buf_free(&extensions);
        }
    }
    CHECK(refused > 4);
}

int
main(void)
{
    fl_cpu_init();
    good_bodies_are_read();
    bad_bodies_are_refused();
    nul_is_refused_outside_of_data();
    limits_hold_to_the_byte();
    overhead_is_bounded_by_the_data();
    many_plain_chunks_of_one_byte_are_fine();
    what_is_written_is_read_back();
    kept_trailers_are_field_lines();
    nothing_needs_to_be_kept();
    without_memory_the_body_is_refused();
    return check_done();
}
