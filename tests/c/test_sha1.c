/* test_sha1.c -- base/sha1.h: the digests that RFC 3174 and FIPS 180 give, and the same
 * answer from every set of functions, on blocks of their exact size on the heap. */
#include "base/sha1.h"

#include "base/scan.h"
#include "check.h"

static const char *const sets[] = {"scalar", "sse2", "avx2", "neon"};
#define SETS (sizeof(sets) / sizeof(sets[0]))

static void
hex_of(const char *p, size_t n, char hex[2 * FL_SHA1_SIZE + 1])
{
    uint8_t digest[FL_SHA1_SIZE];

    fl_sha1(p, n, digest);
    for (int i = 0; i < FL_SHA1_SIZE; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)digest[i]);
}

static void
check_digest(const char *text, size_t times, const char *expected)
{
    size_t n = strlen(text), all = n * times;
    char *p = malloc(all + (all == 0)), hex[2 * FL_SHA1_SIZE + 1];

    for (size_t i = 0; i < times; i++)
        memcpy(p + i * n, text, n);
    hex_of(p, all, hex);
    CHECK(strcmp(hex, expected) == 0);
    free(p);
}

static void
check_known(void)
{
    check_digest("", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check_digest("abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d");
    check_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                 "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    check_digest("01234567", 80, "dea356a2cddd90c7a7ecedc5ebb563934f460452");
    check_digest("a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}

static void
check_same(size_t n)
{
    char *p = malloc(n + (n == 0)), first[2 * FL_SHA1_SIZE + 1];
    char hex[2 * FL_SHA1_SIZE + 1];

    for (size_t i = 0; i < n; i++)
        p[i] = (char)random_below(256);
    for (size_t s = 0; s < SETS; s++) {
        if (!fl_cpu_use(sets[s]))
            continue;
        hex_of(p, n, s == 0 ? first : hex);
        if (s > 0)
            CHECK(strcmp(hex, first) == 0);
    }
    free(p);
}

int
main(void)
{
    for (size_t s = 0; s < SETS; s++) {
        if (fl_cpu_use(sets[s]))
            check_known();
    }
    for (size_t n = 0; n < 400; n++)
        check_same(n);
    fl_cpu_init();
    check_known();
    return check_done();
}
