/* format.c -- numbers and HTTP dates to bytes, numbers back.
 *
 * The calendar is arithmetic over a year that begins in March, where the leap day is
 * the last day and the lengths of months follow one formula; 400 years are one cycle of
 * 146,097 days.
 *
 * Layer: base. Threads: any; pure functions.
 */
#include "base/format.h"

#define SECONDS_A_DAY 86400
#define DAYS_IN_CYCLE 146097 /* 400 Gregorian years */
#define DAYS_TO_EPOCH 719468 /* from 0000-03-01 to 1970-01-01 */
#define U64_SAFE_DIGITS 19   /* 10^19 - 1 fits in 64 bits */

static const char two_digits[] = "00010203040506070809"
                                 "10111213141516171819"
                                 "20212223242526272829"
                                 "30313233343536373839"
                                 "40414243444546474849"
                                 "50515253545556575859"
                                 "60616263646566676869"
                                 "70717273747576777879"
                                 "80818283848586878889"
                                 "90919293949596979899";

static const char day_names[] = "SunMonTueWedThuFriSat";
static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

size_t
fl_fmt_u64(char *out, uint64_t v)
{
    char tmp[FL_FMT_U64_MAX];
    size_t at = sizeof(tmp);
    while (v >= 100) {
        at -= 2;
        memcpy(tmp + at, two_digits + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10) {
        at -= 2;
        memcpy(tmp + at, two_digits + v * 2, 2);
    } else {
        tmp[--at] = (char)('0' + v);
    }
    size_t len = sizeof(tmp) - at;
    memcpy(out, tmp + at, len);
    return len;
}

size_t
fl_fmt_hex(char *out, uint64_t v)
{
    size_t len = 1;
    for (uint64_t rest = v >> 4; rest != 0; rest >>= 4) {
        len++;
    }
    for (size_t i = len; i-- > 0; v >>= 4) {
        out[i] = "0123456789abcdef"[v & 15];
    }
    return len;
}

/* Four bytes at a time: each half of a byte in a byte of its own, the first in the lowest,
 * and '0' or, from ten on, 'a' - 10 added to all eight at once. */
void
fl_fmt_bytes(char *out, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t halves = UINT64_C(0x000f000f000f000f);

    for (; n >= 4; n -= 4, p += 4, out += 8) {
        uint64_t v = (uint64_t)p[0] | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 32 |
                     (uint64_t)p[3] << 48;
        uint64_t d = (v >> 4 & halves) | (v & halves) << 8;
        uint64_t letters = (d + 6 * ones) >> 4 & ones;

        d += '0' * ones + letters * ('a' - '0' - 10);
        for (int i = 0; i < 8; i++) {
            out[i] = (char)(d >> 8 * i);
        }
    }
    for (; n > 0; n--, p++) {
        *out++ = digits[*p >> 4];
        *out++ = digits[*p & 15];
    }
}

bool
fl_parse_u64(fl_span s, uint64_t *out)
{
    if (s.n == 0 || s.n > U64_SAFE_DIGITS) {
        return false;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = v;
    return true;
}

/* ---------------------------------------------------------------- the calendar */

void
fl_civil_from_days(int64_t days, int64_t *year, int *month, int *day)
{
    int64_t z = days + DAYS_TO_EPOCH;
    int64_t cycle = (z >= 0 ? z : z - (DAYS_IN_CYCLE - 1)) / DAYS_IN_CYCLE;
    int64_t day_of_cycle = z - cycle * DAYS_IN_CYCLE;
    /* 1460 days lack one leap day, 36524 have one too many, 146096 is the last day. */
    int64_t year_of_cycle = (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36524 -
                             day_of_cycle / 146096) /
                            365;
    int64_t day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    *day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    *month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *year = cycle * 400 + year_of_cycle + (*month <= 2 ? 1 : 0);
}

/* ---------------------------------------------------------------- HTTP dates */

static void
put_two(char *out, int64_t v)
{
    memcpy(out, two_digits + v * 2, 2);
}

size_t
fl_fmt_http_date(char out[FL_HTTP_DATE_LEN], int64_t unix_seconds)
{
    if (unix_seconds < FL_HTTP_DATE_FIRST) {
        unix_seconds = FL_HTTP_DATE_FIRST;
    }
    if (unix_seconds > FL_HTTP_DATE_LAST) {
        unix_seconds = FL_HTTP_DATE_LAST;
    }
    int64_t days = unix_seconds / SECONDS_A_DAY;
    int64_t second = unix_seconds % SECONDS_A_DAY;
    if (second < 0) {
        second += SECONDS_A_DAY;
        days--;
    }
    int64_t year;
    int month, day;
    fl_civil_from_days(days, &year, &month, &day);
    int64_t weekday = (days % 7 + 7 + 4) % 7; /* 1970-01-01 was a Thursday */

    memcpy(out, "Ddd, 00 Mmm 0000 00:00:00 GMT", FL_HTTP_DATE_LEN);
    memcpy(out, day_names + weekday * 3, 3);
    put_two(out + 5, day);
    memcpy(out + 8, month_names + (month - 1) * 3, 3);
    put_two(out + 12, year / 100);
    put_two(out + 14, year % 100);
    put_two(out + 17, second / 3600);
    put_two(out + 20, second / 60 % 60);
    put_two(out + 23, second % 60);
    return FL_HTTP_DATE_LEN;
}
