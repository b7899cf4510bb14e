/* check.h -- the smallest thing that lets a C test say what it expected.
 *
 * A failed check prints where and what and is counted; the program goes on, and
 * check_done gives its exit status. Inputs are copied to heap blocks of their exact
 * size (copy_of), so that AddressSanitizer sees the first byte too far.
 */
#ifndef FL_TESTS_C_CHECK_H
#define FL_TESTS_C_CHECK_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/span.h"

static int check_failures;
static int check_count;

#define MAX_REPORTS 20

__attribute__((format(printf, 3, 4))) static inline bool
check_report(bool ok, int line, const char *format, ...)
{
    check_count++;
    if (ok) {
        return true;
    }
    if (++check_failures <= MAX_REPORTS) {
        va_list args;
        va_start(args, format);
        fprintf(stderr, "line %d: ", line);
        vfprintf(stderr, format, args);
        fprintf(stderr, "\n");
        va_end(args);
    }
    return false;
}

#define CHECK(condition) check_report((condition), __LINE__, "%s", #condition)

/* Signed comparison of whole numbers, printing both. */
#define CHECK_INT(got, want) check_int((int64_t)(got), (int64_t)(want), __LINE__, #got)

static inline bool
check_int(int64_t got, int64_t want, int line, const char *what)
{
    return check_report(got == want, line, "%s is %" PRId64 ", want %" PRId64, what,
                        got, want);
}

#define CHECK_SPAN(got, want) check_span((got), (want), __LINE__, #got)

static inline bool
check_span(fl_span got, const char *want, int line, const char *what)
{
    return check_report(
        got.n == strlen(want) && (got.n == 0 || memcmp(got.p, want, got.n) == 0), line,
        "%s is \"%.*s\", want \"%s\"", what, (int)got.n, got.n > 0 ? got.p : "", want);
}

static inline int
check_done(void)
{
    if (check_failures > 0) {
        fprintf(stderr, "%d of %d checks failed\n", check_failures, check_count);
        return 1;
    }
    printf("%d checks\n", check_count);
    return check_count > 0 ? 0 : 1;
}

/* Programs are linked with --wrap=malloc and --wrap=realloc: the allocation after as
 * many as are left fails, and so do all that follow, until the count is negative again.
 */
static long check_allocations_left = -1;

void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_realloc(void *p, size_t n);

static inline bool
check_may_allocate(void)
{
    if (check_allocations_left < 0) {
        return true;
    }
    if (check_allocations_left == 0) {
        return false;
    }
    check_allocations_left--;
    return true;
}

void *
__wrap_malloc(size_t n)
{
    return check_may_allocate() ? __real_malloc(n) : NULL;
}

void *
__wrap_realloc(void *p, size_t n)
{
    return check_may_allocate() ? __real_realloc(p, n) : NULL;
}

/* A heap block of exactly n bytes; the caller frees it. */
static inline char *
copy_of(const void *p, size_t n)
{
    char *copy = malloc(n);
    if (copy == NULL && n > 0) {
        abort();
    }
    if (n > 0) {
        memcpy(copy, p, n);
    }
    return copy;
}

/* A small generator with a fixed seed: the same numbers at every run. */
static uint64_t check_seed = UINT64_C(0x9E3779B97F4A7C15);

static inline uint64_t
random64(void)
{
    check_seed ^= check_seed << 13;
    check_seed ^= check_seed >> 7;
    check_seed ^= check_seed << 17;
    return check_seed;
}

static inline size_t
random_below(size_t n)
{
    return (size_t)(random64() % n);
}

#endif
