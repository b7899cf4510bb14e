/* test_format.c -- base/format.h: numbers, the calendar, and the three date formats of
 * RFC 9110 section 5.6.7. libc's calendar is the second opinion. */
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
    int64_t back = 0;
    CHECK(fl_parse_http_date(fl_span_make(got, sizeof(got)), &back));
    CHECK_INT(back, seconds);
    strftime(want, sizeof(want), "%a %b %e %H:%M:%S ", &tm);
    snprintf(want + 20, sizeof(want) - 20, "%04d", tm.tm_year + 1900);
    back = 0;
    CHECK(fl_parse_http_date(fl_span_make(want, strlen(want)), &back));
    CHECK_INT(back, seconds);
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
    for (int64_t year = 1890; year < 2110; year++) { /* every turn of a month */
        for (int month = 1; month <= 12; month++) {
            int64_t days = fl_days_from_civil(year, month, 1);
            check_date(days * 86400);
            check_date(days * 86400 - 1);
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

#define NO_DATE INT64_MIN

static int64_t
date(const char *text)
{
    int64_t v = NO_DATE;
    char *copy = copy_of(text, strlen(text));
    bool ok = fl_parse_http_date(fl_span_make(copy, strlen(text)), &v);
    free(copy);
    return ok ? v : NO_DATE;
}

static void
all_three_formats_are_read(void)
{
    CHECK_INT(date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    CHECK_INT(date("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
    CHECK_INT(date("Sun Nov  6 08:49:37 1994"), 784111777);
    CHECK_INT(date("Wednesday, 09-Nov-94 08:49:37 GMT"), 784111777 + 3 * 86400);
    CHECK_INT(date("Sat Dec 31 23:59:60 2016"), 1483228800); /* a leap second */
    CHECK_INT(date("Thu, 29 Feb 2024 00:00:00 GMT"), 1709164800);
    CHECK_INT(date("Friday, 01-Jan-69 00:00:00 GMT"), 3124224000);
    CHECK_INT(date("Thursday, 01-Jan-70 00:00:00 GMT"), 0);
}

/* RFC 9110 section 5.6.7: more than 50 years ahead means the past century. */
static void
a_two_digit_year_is_read_beside_now(void)
{
    fl_span s = FL_SPAN("Sunday, 06-Nov-94 08:49:37 GMT");
    int64_t v = 0, now_1995 = 800000000, now_2050 = 2524608000;
    CHECK(fl_parse_http_date_at(s, now_1995, &v));
    CHECK_INT(v, 784111777);
    CHECK(fl_parse_http_date_at(s, now_2050, &v));
    CHECK_INT(v, 3939871777);
    int64_t now_2010 = 1262304000;
    CHECK(fl_parse_http_date_at(s, now_2010, &v));
    CHECK_INT(v, 784111777);
    CHECK(!fl_parse_http_date_at(FL_SPAN("no date"), now_2010, &v));
    CHECK(fl_parse_http_date_at(FL_SPAN("Sun Nov  6 08:49:37 1994"), now_2050, &v));
    CHECK_INT(v, 784111777);
}

static void
what_is_no_date_is_refused(void)
{
    static const char *const bad[] = {
        "",
        "S",
        "Sun, 06 Nov 1994 08:49:37 GM",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 2023 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994  8:49:37 GMT",
        "Sun, 06 Nov 1994 08-49-37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sundae, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov   6 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        "1994-11-06T08:49:37Z",
        "784111777",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_report(date(bad[i]) == NO_DATE, __LINE__, "accepted \"%s\"", bad[i]);
    }
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
    all_three_formats_are_read();
    a_two_digit_year_is_read_beside_now();
    what_is_no_date_is_refused();
    return check_done();
}
