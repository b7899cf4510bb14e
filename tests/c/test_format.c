/* test_format.c -- base/format.h: numbers, and dates as RFC 9110 section 5.6.7 writes
 * them. libc's calendar is the second opinion. */
#include "base/format.h"

#include <time.h>

#include "check.h"

static void
check_u64(uint64_t v)
{
    char want[32], got[FL_FMT_U64_MAX + 1];
    snprintf(want, sizeof(want), "%" PRIu64, v);
    CHECK_SPAN(fl_span_make(got, fl_fmt_u64(got, v)), want);
    snprintf(want, sizeof(want), "%" PRIx64, v);
    CHECK_SPAN(fl_span_make(got, fl_fmt_hex(got, v)), want);
}

static void
numbers_are_written_as_printf_does(void)
{
    uint64_t power = 1;
    for (int i = 0; i < 20; i++, power *= 10) {
        check_u64(power - 1);
        check_u64(power);
        check_u64(power + 1);
    }
    check_u64(UINT64_MAX);
    for (int i = 0; i < 10000; i++) {
        check_u64(random64() >> random_below(64));
    }
}

static bool
parses(const char *text, uint64_t want)
{
    uint64_t v = 0;
    char *copy = copy_of(text, strlen(text));
    bool ok = fl_parse_u64(fl_span_make(copy, strlen(text)), &v);
    free(copy);
    return ok && v == want;
}

static void
numbers_are_read_strictly(void)
{
    CHECK(parses("0", 0));
    CHECK(parses("007", 7));
    CHECK(parses("9999999999999999999", UINT64_C(9999999999999999999)));
    static const char *const bad[] = {
        "", "+1", "-1", " 1", "1 ", "1_", "0x", "1.0", "\xB2", "10000000000000000000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(!parses(bad[i], 0) && !parses(bad[i], 1));
    }
}

static void
check_date(int64_t seconds)
{
    char got[FL_HTTP_DATE_LEN], want[64];
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(want, sizeof(want), "%a, %d %b ", &tm);
    snprintf(want + 12, sizeof(want) - 12, "%04d %02d:%02d:%02d GMT", tm.tm_year + 1900,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
    CHECK_INT(fl_fmt_http_date(got, seconds), FL_HTTP_DATE_LEN);
    CHECK_SPAN(fl_span_make(got, sizeof(got)), want);
}

static void
dates_agree_with_libc(void)
{
    check_date(784111777); /* the example of RFC 9110 */
    check_date(0);
    check_date(-1);
    check_date(FL_HTTP_DATE_FIRST);
    check_date(FL_HTTP_DATE_LAST);
    uint64_t span = (uint64_t)(FL_HTTP_DATE_LAST - FL_HTTP_DATE_FIRST);
    for (int i = 0; i < 20000; i++) {
        check_date(FL_HTTP_DATE_FIRST + (int64_t)(random64() % span));
    }
    for (int year = 1890; year < 2110; year++) { /* every turn of a month */
        for (int month = 0; month < 12; month++) {
            struct tm tm = {.tm_year = year - 1900, .tm_mon = month, .tm_mday = 1};
            int64_t first = timegm(&tm);
            check_date(first);
            check_date(first - 1);
        }
    }
}

static void
times_without_a_four_digit_year_are_clamped(void)
{
    char got[FL_HTTP_DATE_LEN];
    fl_fmt_http_date(got, INT64_MAX);
    CHECK_SPAN(fl_span_make(got, sizeof(got)), "Fri, 31 Dec 9999 23:59:59 GMT");
    fl_fmt_http_date(got, INT64_MIN);
    CHECK_SPAN(fl_span_make(got, sizeof(got)), "Sat, 01 Jan 0000 00:00:00 GMT");
}

static void
bytes_are_written_as_printf_does(void)
{
    uint8_t all[256];
    char out[512], expected[3];

    for (int i = 0; i < 256; i++) {
        all[i] = (uint8_t)(i * 167 + 5); /* each once, out of order */
    }
    for (size_t n = 0; n <= 256; n += n < 10 ? 1 : 41) {
        fl_fmt_bytes(out, all, n);
        for (size_t i = 0; i < n; i++) {
            snprintf(expected, sizeof(expected), "%02x", all[i]);
            CHECK(memcmp(out + 2 * i, expected, 2) == 0);
        }
    }
}

int
main(void)
{
    bytes_are_written_as_printf_does();
    numbers_are_written_as_printf_does();
    numbers_are_read_strictly();
    dates_agree_with_libc();
    times_without_a_four_digit_year_are_clamped();
    return check_done();
}
