/* test_tls_records.c -- proto/tls_records.h: the ends of records, cut anyhow. */
#include "proto/tls_records.h"

#include "check.h"

/* A record of the given type and body at p; gives its length. */
static size_t
record(char *p, int type, size_t body)
{
    p[0] = (char)type;
    p[1] = 3;
    p[2] = 3;
    p[3] = (char)(body >> 8);
    p[4] = (char)(body & 0xFF);
    memset(p + 5, 'x', body);
    return body + 5;
}

static void
test_records_end_where_their_length_says(void)
{
    static const size_t bodies[] = {1, 0, 16384, 17, 18432, 300};
    char *all = malloc(64 * 1024);
    size_t n = 0;

    if (all == NULL)
        abort();
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        n += record(all + n, 20 + (int)(i % 5), bodies[i]);
    for (int round = 0; round < 300; round++) {
        fl_tls_records r = {0};
        size_t most = round < 100 ? 7 : round < 200 ? 700 : 40000;
        size_t at = 0, ended = 0;

        while (at < n) {
            size_t piece = 1 + random_below(most);
            char *p;

            piece = piece < n - at ? piece : n - at;
            p = copy_of(all + at, piece);
            ended += fl_tls_records_feed(&r, p, piece);
            free(p);
            at += piece;
        }
        CHECK_INT(ended, 6);
        CHECK_INT(r.partial, 0);
        CHECK(!r.odd);
    }
    free(all);
}

static void
test_what_is_missing_of_a_record_is_known(void)
{
    fl_tls_records r = {0};

    CHECK_INT(fl_tls_records_feed(&r, "\x17\x03\x03", 3), 0);
    CHECK_INT(r.partial, 3);
    CHECK_INT(fl_tls_records_feed(&r,
                                  "\x00\x04"
                                  "ab",
                                  4),
              0);
    CHECK_INT(r.partial, 7);
    CHECK_INT(r.missing, 2);
    CHECK_INT(fl_tls_records_feed(&r, "cd\x17", 3), 1);
    CHECK_INT(r.partial, 1);
}

static void
test_what_cannot_be_tls_is_said(void)
{
    static const char *const odd[] = {"GET / HTTP", "\x17\x02\x03\x00\x01z",
                                      "\x19\x03\x03\x00\x01z", "\x13\x03\x03\x00\x01z",
                                      "\x17\x03\x03\x48\x01z"};

    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        fl_tls_records r = {0};
        /* the zero byte inside ends a string, so the length is given */
        size_t n = i == 0 ? 10 : 6;
        char *p = copy_of(odd[i], n);

        CHECK_INT(fl_tls_records_feed(&r, p, n), 0);
        CHECK(r.odd);
        CHECK_INT(fl_tls_records_feed(&r, p, n), 0);
        free(p);
    }
}

int
main(void)
{
    test_records_end_where_their_length_says();
    test_what_is_missing_of_a_record_is_known();
    test_what_cannot_be_tls_is_said();
    return check_done();
}
