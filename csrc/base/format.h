/* format.h -- numbers and dates to bytes, numbers back, without locale or libc's time.
 *
 * Nothing here writes a terminating NUL; every writer returns the length.
 *
 * Layer: base. Threads: any; pure functions.
 */
#ifndef FL_BASE_FORMAT_H
#define FL_BASE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define FL_FMT_U64_MAX 20 /* 18446744073709551615 */
#define FL_FMT_HEX_MAX 16
#define FL_HTTP_DATE_LEN 29 /* Sun, 06 Nov 1994 08:49:37 GMT */

/* Seconds from 1970 that have a four-digit year: 0000-01-01 to 9999-12-31. */
#define FL_HTTP_DATE_FIRST INT64_C(-62167219200)
#define FL_HTTP_DATE_LAST INT64_C(253402300799)

/* Decimal digits at out (room for FL_FMT_U64_MAX). */
size_t fl_fmt_u64(char *out, uint64_t v);

/* Lower-case hexadecimal digits without leading zeros (room for FL_FMT_HEX_MAX). */
size_t fl_fmt_hex(char *out, uint64_t v);

/* Two lower-case hexadecimal digits for each of n bytes. */
void fl_fmt_bytes(char *out, const uint8_t *p, size_t n);

/* Exactly 1*DIGIT of at most 19 digits (no sign, no space, no overflow): false leaves
 * *out. */
bool fl_parse_u64(fl_span s, uint64_t *out);

/* IMF-fixdate of RFC 9110 section 5.6.7; times outside of the four-digit years are
 * clamped to the nearest end. Returns FL_HTTP_DATE_LEN. */
size_t fl_fmt_http_date(char out[FL_HTTP_DATE_LEN], int64_t unix_seconds);

/* The proleptic Gregorian date so many days after 1970-01-01; month 1-12, day 1-31. */
void fl_civil_from_days(int64_t days, int64_t *year, int *month, int *day);

#endif
