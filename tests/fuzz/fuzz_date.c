/* fuzz_date.c -- HTTP dates and numbers.
 *
 * A date that is read and written again is read as the same second; the number formats
 * agree with printf.
 */
#include "fuzz.h"

#include <inttypes.h>

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
    char text[FL_HTTP_DATE_LEN], again[FL_HTTP_DATE_LEN];
    int64_t back;
    fl_fmt_http_date(text, t);
    MUST(fl_parse_http_date(fl_span_make(text, sizeof(text)), &back));
    MUST(back == t || t < FL_HTTP_DATE_FIRST || t > FL_HTTP_DATE_LAST);
    fl_fmt_http_date(again, back);
    MUST(memcmp(text, again, sizeof(text)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    fl_span s = fl_span_make((const char *)bytes, n);
    int64_t t, beside;
    uint64_t number;
    bool ok = fl_parse_http_date(s, &t);
    MUST(fl_parse_http_date_at(s, 1700000000, &beside) == ok || n > 29);
    if (ok) {
        check_seconds(t);
    }
    if (n >= sizeof(number)) {
        memcpy(&number, bytes, sizeof(number));
        check_number(number);
        check_number(number >> number % 64);
        check_seconds((int64_t)number);
        check_seconds((int64_t)number >> number % 40);
    }
    fl_parse_u64(s, &number);
    return 0;
}
