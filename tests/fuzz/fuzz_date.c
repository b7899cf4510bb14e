/* fuzz_date.c -- HTTP dates and numbers.
 *
 * A date is written as libc's calendar has it, one without a four-digit year as the
 * nearest that has; the number formats agree with printf, and are read back.
 */
#include "fuzz.h"

#include <inttypes.h>
#include <time.h>

#include "base/format.h"

static void
check_number(uint64_t v)
{
    char got[FL_FMT_U64_MAX], want[32];
    uint64_t back = ~v;
    snprintf(want, sizeof(want), "%" PRIu64, v);
    fl_span s = fl_span_make(got, fl_fmt_u64(got, v));
    MUST(fl_span_eq(s, fl_span_make(want, strlen(want))));
    MUST(fl_parse_u64(s, &back) ? back == v : s.n == FL_FMT_U64_MAX);
    snprintf(want, sizeof(want), "%" PRIx64, v);
    s = fl_span_make(got, fl_fmt_hex(got, v));
    MUST(fl_span_eq(s, fl_span_make(want, strlen(want))));
}

static void
check_seconds(int64_t t)
{
    char got[FL_HTTP_DATE_LEN], want[64];
    time_t within = t < FL_HTTP_DATE_FIRST  ? FL_HTTP_DATE_FIRST
                    : t > FL_HTTP_DATE_LAST ? FL_HTTP_DATE_LAST
                                            : t;
    struct tm tm;
    MUST(gmtime_r(&within, &tm) != NULL);
    size_t n = strftime(want, sizeof(want), "%a, %d %b ", &tm);
    snprintf(want + n, sizeof(want) - n, "%04d %02d:%02d:%02d GMT", tm.tm_year + 1900,
             tm.tm_hour, tm.tm_min, tm.tm_sec);
    MUST(fl_fmt_http_date(got, t) == strlen(want));
    MUST(memcmp(got, want, sizeof(got)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    uint64_t number;
    if (n >= sizeof(number)) {
        memcpy(&number, bytes, sizeof(number));
        check_number(number);
        check_number(number >> number % 64);
        check_seconds((int64_t)number);
        check_seconds((int64_t)number >> number % 40);
    }
    fl_parse_u64(fl_span_make((const char *)bytes, n), &number);
    return 0;
}
