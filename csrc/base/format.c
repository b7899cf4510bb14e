/* format.c -- numbers and HTTP dates to bytes and back.
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

int64_t
fl_days_from_civil(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t cycle = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_cycle = y - cycle * 400;
    int64_t month_from_march = month > 2 ? month - 3 : month + 9;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    int64_t day_of_cycle =
        year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    return cycle * DAYS_IN_CYCLE + day_of_cycle - DAYS_TO_EPOCH;
}

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

static int
days_in_month(int64_t year, int month)
{
    static const int8_t length[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : length[month - 1];
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

/* A date being read: `at` moves on, `ok` falls once and for all. */
typedef struct {
    fl_span s;
    size_t at;
    bool ok;
} reader;

static void
want(reader *r, const char *literal, size_t n)
{
    if (r->s.n - r->at < n || memcmp(r->s.p + r->at, literal, n) != 0) {
        r->ok = false;
        return;
    }
    r->at += n;
}

static int
want_digits(reader *r, size_t n)
{
    int v = 0;
    if (r->s.n - r->at < n) {
        r->ok = false;
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        char c = r->s.p[r->at + i];
        if (c < '0' || c > '9') {
            r->ok = false;
            return 0;
        }
        v = v * 10 + (c - '0');
    }
    r->at += n;
    return v;
}

/* Which of `count` three-letter names stands here; 0-based. */
static int
want_name(reader *r, const char *names, int count)
{
    if (r->s.n - r->at >= 3) {
        for (int i = 0; i < count; i++) {
            if (memcmp(r->s.p + r->at, names + i * 3, 3) == 0) {
                r->at += 3;
                return i;
            }
        }
    }
    r->ok = false;
    return 0;
}

typedef struct {
    int64_t year;
    int month, day, hour, minute, second;
} fields;

static void
want_time(reader *r, fields *f)
{
    f->hour = want_digits(r, 2);
    want(r, ":", 1);
    f->minute = want_digits(r, 2);
    want(r, ":", 1);
    f->second = want_digits(r, 2);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static void
read_imf_fixdate(reader *r, fields *f)
{
    want_name(r, day_names, 7);
    want(r, ", ", 2);
    f->day = want_digits(r, 2);
    want(r, " ", 1);
    f->month = want_name(r, month_names, 12) + 1;
    want(r, " ", 1);
    f->year = want_digits(r, 4);
    want(r, " ", 1);
    want_time(r, f);
    want(r, " GMT", 4);
}

/* Sunday, 06-Nov-94 08:49:37 GMT */
static void
read_rfc850(reader *r, fields *f)
{
    static const char *const rest[7] = {"day",   "day", "sday", "nesday",
                                        "rsday", "day", "urday"};
    const char *tail = rest[want_name(r, day_names, 7)];
    want(r, tail, strlen(tail));
    want(r, ", ", 2);
    f->day = want_digits(r, 2);
    want(r, "-", 1);
    f->month = want_name(r, month_names, 12) + 1;
    want(r, "-", 1);
    f->year = want_digits(r, 2);
    want(r, " ", 1);
    want_time(r, f);
    want(r, " GMT", 4);
}

/* Sun Nov  6 08:49:37 1994 */
static void
read_asctime(reader *r, fields *f)
{
    want_name(r, day_names, 7);
    want(r, " ", 1);
    f->month = want_name(r, month_names, 12) + 1;
    want(r, " ", 1);
    if (r->at < r->s.n && r->s.p[r->at] == ' ') {
        r->at++;
        f->day = want_digits(r, 1);
    } else {
        f->day = want_digits(r, 2);
    }
    want(r, " ", 1);
    want_time(r, f);
    want(r, " ", 1);
    f->year = want_digits(r, 4);
}

static bool
to_seconds(const fields *f, int64_t *out)
{
    if (f->day < 1 || f->day > days_in_month(f->year, f->month) || f->hour > 23 ||
        f->minute > 59 || f->second > 60) { /* 60: a leap second */
        return false;
    }
    *out = fl_days_from_civil(f->year, f->month, f->day) * SECONDS_A_DAY +
           f->hour * 3600 + f->minute * 60 + f->second;
    return true;
}

/* Reads any of the three; *two_digit_year tells that the century is open. */
static bool
read_date(fl_span s, fields *f, bool *two_digit_year)
{
    static void (*const formats[])(reader *, fields *) = {read_imf_fixdate, read_rfc850,
                                                          read_asctime};
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        reader r = {s, 0, true};
        formats[i](&r, f);
        if (r.ok && r.at == s.n) {
            *two_digit_year = formats[i] == read_rfc850;
            return true;
        }
    }
    return false;
}

bool
fl_parse_http_date_at(fl_span s, int64_t now, int64_t *out)
{
    fields f;
    bool two_digit_year;
    if (!read_date(s, &f, &two_digit_year)) {
        return false;
    }
    if (two_digit_year) {
        int64_t this_year;
        int month, day;
        fl_civil_from_days(now / SECONDS_A_DAY, &this_year, &month, &day);
        f.year += this_year - this_year % 100;
        if (f.year > this_year + 50) {
            f.year -= 100;
        }
    }
    return to_seconds(&f, out);
}

bool
fl_parse_http_date(fl_span s, int64_t *out)
{
    fields f;
    bool two_digit_year;
    if (!read_date(s, &f, &two_digit_year)) {
        return false;
    }
    if (two_digit_year) {
        f.year += f.year < 70 ? 2000 : 1900;
    }
    return to_seconds(&f, out);
}
