/* sha1.c -- SHA-1 (RFC 3174) of a short block, at once.
 *
 * Layer: base. Threads: any, once fl_cpu_init has returned.
 */
#include "base/sha1.h"

#include <string.h>

#include "base/scan.h"

#define BLOCK 64

static uint32_t
rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static uint32_t
load_word(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static void
store_word(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

/* Section 5: the function and the constant of a quarter of the rounds. */
#define CHOOSE (d ^ (b & (c ^ d)))
#define PARITY (b ^ c ^ d)
#define MAJORITY ((b & c) | (d & (b | c)))

#define ROUNDS(from, f, k)                                  \
    for (int t = from; t < from + 20; t++) {                \
        uint32_t sum = rotate(a, 5) + (f) + e + w[t] + (k); \
                                                            \
        e = d;                                              \
        d = c;                                              \
        c = rotate(b, 30);                                  \
        b = a;                                              \
        a = sum;                                            \
    }

void
fl_sha1_blocks_scalar(uint32_t state[5], const char *p, size_t blocks)
{
    uint32_t w[80];

    for (; blocks > 0; blocks--, p += BLOCK) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

        for (int t = 0; t < 16; t++)
            w[t] = load_word(p + 4 * t);
        for (int t = 16; t < 80; t++)
            w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
        ROUNDS(0, CHOOSE, 0x5A827999u)
        ROUNDS(20, PARITY, 0x6ED9EBA1u)
        ROUNDS(40, MAJORITY, 0x8F1BBCDCu)
        ROUNDS(60, PARITY, 0xCA62C1D6u)
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
    }
}

#undef ROUNDS
#undef CHOOSE
#undef PARITY
#undef MAJORITY

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define SHA __attribute__((target("sha,sse4.1")))

/* Four words of the message after the last four: w[0] is the oldest of the four groups
 * before. */
SHA static inline __m128i
next_words(const __m128i w[4])
{
    return _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w[0], w[1]), w[2]),
                              w[3]);
}

/* Five groups of four rounds each; the first of all adds E as it is. The quarter is an
 * immediate operand, so this is a macro. */
#define QUARTER(quarter)                                                               \
    for (int g = 5 * (quarter); g < 5 * (quarter) + 5; g++) {                          \
        __m128i e =                                                                    \
            g == 0 ? _mm_add_epi32(saved_e, w[0]) : _mm_sha1nexte_epu32(before, w[g]); \
                                                                                       \
        before = abcd;                                                                 \
        abcd = _mm_sha1rnds4_epu32(abcd, e, (quarter));                                \
    }

SHA static void
blocks_sha(uint32_t state[5], const char *p, size_t blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i abcd = _mm_loadu_si128((const __m128i *)(const void *)state);
    __m128i e4 = _mm_set_epi32((int)state[4], 0, 0, 0), w[20];

    abcd = _mm_shuffle_epi32(abcd, 0x1B);
    for (; blocks > 0; blocks--, p += BLOCK) {
        const __m128i saved = abcd, saved_e = e4;
        __m128i before = abcd;

        for (int g = 0; g < 4; g++)
            w[g] = _mm_shuffle_epi8(
                _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * g)), swap);
        for (int g = 4; g < 20; g++)
            w[g] = next_words(&w[g - 4]);
        QUARTER(0)
        QUARTER(1)
        QUARTER(2)
        QUARTER(3)
        e4 = _mm_sha1nexte_epu32(before, saved_e);
        abcd = _mm_add_epi32(abcd, saved);
    }
    abcd = _mm_shuffle_epi32(abcd, 0x1B);
    _mm_storeu_si128((__m128i *)(void *)state, abcd);
    state[4] = (uint32_t)_mm_extract_epi32(e4, 3);
}

#undef QUARTER

#define LEAF_FEATURES 7
#define EBX_SHA (1u << 29)

void (*fl_sha1_best(void))(uint32_t state[5], const char *p, size_t blocks)
{
    unsigned a, b = 0, c, d;

    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.1") &&
        __get_cpuid_count(LEAF_FEATURES, 0, &a, &b, &c, &d) && (b & EBX_SHA) != 0)
        return blocks_sha;
    return fl_sha1_blocks_scalar;
}

#else

void (*fl_sha1_best(void))(uint32_t state[5], const char *p, size_t blocks)
{
    return fl_sha1_blocks_scalar;
}

#endif

void
fl_sha1(const char *p, size_t n, uint8_t digest[FL_SHA1_SIZE])
{
    uint32_t state[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u,
                         0xC3D2E1F0u};
    char last[2 * BLOCK]; /* what is left, a one bit, zeros, the length in bits */
    size_t whole = n / BLOCK, left = n % BLOCK, blocks = left < BLOCK - 8 ? 1 : 2;
    uint64_t bits = (uint64_t)n * 8;

    if (whole > 0)
        fl_cpu.sha1_blocks(state, p, whole);
    memset(last, 0, sizeof(last));
    if (left > 0)
        memcpy(last, p + n - left, left);
    last[left] = (char)0x80;
    store_word((uint8_t *)last + blocks * BLOCK - 8, (uint32_t)(bits >> 32));
    store_word((uint8_t *)last + blocks * BLOCK - 4, (uint32_t)bits);
    fl_cpu.sha1_blocks(state, last, blocks);
    for (int i = 0; i < 5; i++)
        store_word(digest + 4 * i, state[i]);
}
