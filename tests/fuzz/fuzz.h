/* fuzz.h -- what the fuzz targets share.
 *
 * A target is LLVMFuzzerTestOneInput; a broken invariant prints which one and aborts,
 * so that libFuzzer keeps the input. Inputs are plain bytes of the format under test,
 * without control bytes in front: a corpus file can be read and written by hand. Where
 * a target needs a choice (how to cut the input) it derives it from the input itself.
 */
#ifndef FL_TESTS_FUZZ_FUZZ_H
#define FL_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scan.h"
#include "base/span.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define MUST(condition)                                                     \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* A heap block of exactly n bytes, so that the first byte too far is seen. */
static inline char *
copy_of(const void *p, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);
    MUST(copy != NULL);
    if (n > 0) {
        memcpy(copy, p, n);
    }
    return copy;
}

/* Numbers that depend on the input alone. */
typedef struct {
    uint64_t state;
} choices;

static inline choices
choices_from(const char *p, size_t n)
{
    choices c = {UINT64_C(0xCBF29CE484222325)};
    for (size_t i = 0; i < n; i++) {
        c.state = (c.state ^ (uint8_t)p[i]) * UINT64_C(0x100000001B3);
    }
    return c;
}

static inline size_t
choose(choices *c, size_t below)
{
    c->state ^= c->state >> 12;
    c->state ^= c->state << 25;
    c->state ^= c->state >> 27;
    return (size_t)(c->state * UINT64_C(0x2545F4914F6CDD1D) >> 33) % below;
}

/* Runs what follows once for each set of scanning functions this machine has. */
static const char *const cpu_sets[] = {"scalar", "sse2", "avx2", "neon"};

#define FOR_EACH_CPU_SET(i)                                             \
    for (size_t i = 0; i < sizeof(cpu_sets) / sizeof(cpu_sets[0]); i++) \
        if (fl_cpu_use(cpu_sets[i]))

#endif
