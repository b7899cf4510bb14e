/* test_buf.c -- base/buf.h against a plain array, and what it promises about memory. */
#include "base/buf.h"

#include <errno.h>

#include "check.h"

static void
a_new_buffer_is_empty(void)
{
    fl_buf b;
    fl_buf_init(&b);
    CHECK_INT(fl_buf_len(&b), 0);
    CHECK(fl_buf_ptr(&b) == NULL);
    CHECK_INT(fl_buf_append(&b, NULL, 0), 0);
    fl_buf_truncate(&b, fl_buf_len(&b));
    fl_buf_clear(&b);
    fl_buf_free(&b);
}

static void
bytes_come_out_as_they_went_in(void)
{
    enum { TOTAL = 200000 };
    fl_buf b;
    fl_buf_init(&b);
    uint8_t in = 0, out = 0;
    size_t written = 0, read = 0;
    while (read < TOTAL) {
        size_t n = random_below(700);
        char *to = fl_buf_reserve(&b, n);
        CHECK(to != NULL);
        for (size_t i = 0; i < n; i++) {
            to[i] = (char)in++;
        }
        fl_buf_commit(&b, n);
        written += n;
        CHECK_INT(fl_buf_len(&b), written - read);
        size_t take = random_below(fl_buf_len(&b) + 1);
        const char *p = fl_buf_ptr(&b);
        bool same = true;
        for (size_t i = 0; i < take; i++) {
            same &= (uint8_t)p[i] == out++;
        }
        CHECK(same);
        fl_buf_consume(&b, take);
        read += take;
    }
    fl_buf_free(&b);
}

/* A queue that stays short must not grow, however much passes through it. */
static void
memory_follows_the_contents_not_the_traffic(void)
{
    fl_buf b;
    fl_buf_init(&b);
    char piece[100] = {0};
    for (int i = 0; i < 100000; i++) {
        CHECK_INT(fl_buf_append(&b, piece, sizeof(piece)), 0);
        if (i >= 5) {
            fl_buf_consume(&b, sizeof(piece));
        }
    }
    CHECK_INT(fl_buf_len(&b), 500);
    CHECK(b.cap <= 4096);
    fl_buf_consume(&b, 500);
    CHECK_INT(b.start, 0);
    fl_buf_free(&b);
    CHECK(b.data == NULL);
    CHECK_INT(b.cap, 0);
}

static void
too_much_is_refused_and_the_contents_kept(void)
{
    fl_buf b;
    fl_buf_init(&b);
    CHECK_INT(fl_buf_append(&b, "kept", 4), 0);
    CHECK(fl_buf_reserve(&b, SIZE_MAX) == NULL);
    CHECK(fl_buf_reserve(&b, SIZE_MAX / 2) == NULL);
    CHECK_SPAN(fl_buf_span(&b), "kept");
    fl_buf_free(&b);
}

static void
without_memory_the_contents_are_kept(void)
{
    fl_buf b;
    char block[1000] = {0};
    fl_buf_init(&b);
    check_allocations_left = 0;
    CHECK_INT(fl_buf_append(&b, "x", 1), -ENOMEM);
    check_allocations_left = 1;
    CHECK_INT(fl_buf_append(&b, "kept", 4), 0);
    CHECK_INT(fl_buf_append(&b, block, sizeof(block)), -ENOMEM); /* in place */
    fl_buf_consume(&b, 1);
    CHECK_INT(fl_buf_append(&b, block, sizeof(block)), -ENOMEM); /* elsewhere */
    CHECK_SPAN(fl_buf_span(&b), "ept");
    check_allocations_left = -1;
    fl_buf_free(&b);
}

int
main(void)
{
    a_new_buffer_is_empty();
    bytes_come_out_as_they_went_in();
    memory_follows_the_contents_not_the_traffic();
    too_much_is_refused_and_the_contents_kept();
    without_memory_the_contents_are_kept();
    return check_done();
}
