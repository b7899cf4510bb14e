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
    fl_buf_shrink(&b);
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
    fl_buf_shrink(&b);
    CHECK(b.data == NULL);
    CHECK_INT(b.cap, 0);
    fl_buf_free(&b);
}

static void
shrink_returns_what_is_far_too_much(void)
{
    fl_buf b;
    fl_buf_init(&b);
    CHECK(fl_buf_reserve(&b, 1 << 20) != NULL);
    CHECK_INT(fl_buf_append(&b, "hello", 5), 0);
    fl_buf_shrink(&b);
    CHECK(b.cap < 1024);
    CHECK_SPAN(fl_buf_span(&b), "hello");
    fl_buf_consume(&b, 1);
    CHECK_SPAN(fl_buf_span(&b), "ello");
    fl_buf_free(&b);
}

static void
detach_hands_the_memory_over(void)
{
    fl_buf b;
    fl_buf_init(&b);
    size_t n = 9;
    CHECK(fl_buf_detach(&b, &n) == NULL);
    CHECK_INT(n, 0);
    CHECK_INT(fl_buf_append(&b, "xhello", 6), 0);
    fl_buf_consume(&b, 1);
    char *data = fl_buf_detach(&b, &n);
    CHECK_SPAN(fl_span_make(data, n), "hello");
    CHECK_INT(fl_buf_len(&b), 0);
    free(data);
    CHECK_INT(fl_buf_append(&b, "again", 5), 0);
    CHECK_SPAN(fl_buf_span(&b), "again");
    fl_buf_free(&b);
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
    check_allocations_left = 1;
    CHECK(fl_buf_reserve(&b, 100000) != NULL);
    fl_buf_shrink(&b); /* fails, and leaves things as they are */
    CHECK_SPAN(fl_buf_span(&b), "ept");
    CHECK(b.cap > 1000);
    check_allocations_left = -1;
    fl_buf_free(&b);
}

static void
a_buffer_of_fitting_size_is_not_shrunk(void)
{
    fl_buf b;
    char block[1000] = {0};
    fl_buf_init(&b);
    CHECK_INT(fl_buf_append(&b, "a", 1), 0);
    size_t cap = b.cap;
    fl_buf_shrink(&b);
    CHECK_INT(b.cap, cap);
    CHECK_INT(fl_buf_append(&b, block, sizeof(block)), 0);
    cap = b.cap;
    fl_buf_shrink(&b);
    CHECK_INT(b.cap, cap);
    fl_buf_free(&b);
}

int
main(void)
{
    a_new_buffer_is_empty();
    bytes_come_out_as_they_went_in();
    memory_follows_the_contents_not_the_traffic();
    shrink_returns_what_is_far_too_much();
    detach_hands_the_memory_over();
    too_much_is_refused_and_the_contents_kept();
    without_memory_the_contents_are_kept();
    a_buffer_of_fitting_size_is_not_shrunk();
    return check_done();
}
