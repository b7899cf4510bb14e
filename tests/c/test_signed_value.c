/* test_signed_value.c -- proto/signed_value.h. */
#include "proto/signed_value.h"

#include "check.h"

#define HEX16 "0123456789abcdef"
#define SIGNATURE HEX16 HEX16 HEX16 HEX16

/* Whether text, in a block of its exact size, has the shape. */
static bool
splits(const char *text, size_t n)
{
    char *copy = copy_of(text, n);
    fl_signed_value value;
    bool ok = fl_signed_value_split(fl_span_make(copy, n), &value);

    free(copy);
    return ok;
}

#define SPLITS(text) splits("" text, sizeof(text) - 1)

static void
parts_are_found_by_their_lengths(void)
{
    const char *text = "2|1:7|10:1760000000|7:a|b:c|d|8:YWxpY2U=|" SIGNATURE;
    fl_signed_value value;

    CHECK(fl_signed_value_split(fl_span_make(text, strlen(text)), &value));
    CHECK_INT(value.key_version, 7);
    CHECK_INT(value.timestamp, 1760000000);
    CHECK_SPAN(value.name, "a|b:c|d");
    CHECK_SPAN(value.value, "YWxpY2U=");
    CHECK_SPAN(value.signature, SIGNATURE);
    CHECK_INT(value.covered.n, strlen(text) - FL_SIGNATURE_V2);
}

static void
parts_may_be_empty_but_not_numbers(void)
{
    CHECK(SPLITS("2|1:0|1:1|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|0:|1:1|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|0:|0:|0:|" SIGNATURE));
}

static void
only_the_key_may_be_negative(void)
{
    CHECK(SPLITS("2|2:-1|1:1|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:-|1:1|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|2:-1|0:|0:|" SIGNATURE));
}

static void
numbers_are_digits_and_bounded(void)
{
    CHECK(SPLITS("2|1:0|18:123456789012345678|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|19:1234567890123456789|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|2:+1|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|2: 1|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|3:1_0|0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|+0:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|9999999999:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|:|0:|" SIGNATURE));
}

static void
lengths_must_fit(void)
{
    CHECK(!SPLITS("2|1:0|1:1|1:|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|1:ab|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|999999999:a|0:|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|0:|0:" SIGNATURE));
}

static void
values_are_base64_and_signatures_hexadecimal(void)
{
    CHECK(SPLITS("2|1:0|1:1|0:|4:aA+/|" SIGNATURE));
    CHECK(SPLITS("2|1:0|1:1|0:|4:aA==|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|0:|4:a===|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|0:|4:a=bc|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|0:|4:a-_c|" SIGNATURE));
    CHECK(!SPLITS("2|1:0|1:1|0:|0:|" HEX16));
    CHECK(!SPLITS("2|1:0|1:1|0:|0:|" SIGNATURE "0"));
    CHECK(!SPLITS("2|1:0|1:1|0:|0:|" HEX16 HEX16 HEX16 "0123456789abcdeF"));
}

static void
every_piece_of_one_is_refused(void)
{
    const char *text = "2|1:7|10:1760000000|4:user|8:YWxpY2U=|" SIGNATURE;

    CHECK(splits(text, strlen(text)));
    for (size_t n = 0; n < strlen(text); n++)
        CHECK(!splits(text, n));
    CHECK(!SPLITS("1|1:0|1:1|0:|0:|" SIGNATURE));
}

int
main(void)
{
    parts_are_found_by_their_lengths();
    parts_may_be_empty_but_not_numbers();
    only_the_key_may_be_negative();
    numbers_are_digits_and_bounded();
    lengths_must_fit();
    values_are_base64_and_signatures_hexadecimal();
    every_piece_of_one_is_refused();
    return check_done();
}
