/* scan_x86.c -- scanning with SSE2, which every x86-64 has, and with AVX2.
 *
 * Classes of bytes are found with AVX2 by two table look-ups in registers: one by the
 * low nibble gives the set of high nibbles with which that byte is in the class, one by
 * the high nibble gives its bit in that set. Bytes from 80 on have the sign bit set,
 * for which PSHUFB gives 0: in no set. SSE2 has no such look-up and compares ranges.
 *
 * Functions with target("avx2") are reached through fl_cpu alone, so the rest of the
 * project is compiled for the baseline.
 *
 * Layer: base. Threads: any; pure functions.
 */
#include "base/scan_sets.h"
#include "base/sha1.h"

#ifdef FL_SCAN_X86

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

bool
fl_scan_have_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") != 0;
}

/* ---------------------------------------------------------------- SSE2 */

static inline __m128i
load16(const char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline unsigned
bits16(__m128i v)
{
    return (unsigned)_mm_movemask_epi8(v);
}

/* Lanes in [lowest, highest], compared without sign. */
static inline __m128i
in_range16(__m128i v, uint8_t lowest, uint8_t highest)
{
    __m128i shifted = _mm_sub_epi8(v, _mm_set1_epi8((char)lowest));
    __m128i width = _mm_set1_epi8((char)(highest - lowest));
    return _mm_cmpeq_epi8(_mm_min_epu8(shifted, width), shifted);
}

static inline __m128i
equal16(__m128i v, uint8_t c)
{
    return _mm_cmpeq_epi8(v, _mm_set1_epi8((char)c));
}

static inline unsigned
not_value16(__m128i v)
{
    __m128i control = _mm_andnot_si128(equal16(v, '\t'), in_range16(v, 0x00, 0x1F));
    return bits16(_mm_or_si128(control, equal16(v, 0x7F)));
}

static inline unsigned
not_token16(__m128i v)
{
    __m128i lower = in_range16(v, 0x5E, 0x7A); /* ^ _ ` a-z */
    __m128i upper = in_range16(v, 'A', 'Z');
    __m128i digit = in_range16(v, '0', '9');
    __m128i middle = in_range16(v, '#', '\'');
    __m128i star = in_range16(v, '*', '+');
    __m128i dash = in_range16(v, '-', '.');
    __m128i rest =
        _mm_or_si128(equal16(v, '!'), _mm_or_si128(equal16(v, '|'), equal16(v, '~')));
    __m128i letters = _mm_or_si128(_mm_or_si128(lower, upper), digit);
    __m128i marks = _mm_or_si128(_mm_or_si128(middle, star), _mm_or_si128(dash, rest));
    return bits16(_mm_or_si128(letters, marks)) ^ 0xFFFF;
}

static inline unsigned
not_target16(__m128i v)
{
    __m128i low = in_range16(v, 0x00, ' ');
    __m128i marks = _mm_or_si128(equal16(v, '#'), equal16(v, '?'));
    return bits16(_mm_or_si128(_mm_or_si128(low, marks), equal16(v, 0x7F)));
}

/* The last block of each scan ends at p + n: it overlaps the one before, where nothing
 * was found. */
static size_t
token_end_sse2(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        unsigned stop = not_token16(load16(p + i));
        if (stop != 0) {
            return i + (size_t)__builtin_ctz(stop);
        }
    }
    if (i < n && n >= 16) {
        unsigned stop = not_token16(load16(p + n - 16));
        return stop != 0 ? n - 16 + (size_t)__builtin_ctz(stop) : n;
    }
    return i + fl_scan_token_end_scalar(p + i, n - i);
}

static size_t
value_end_sse2(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        unsigned stop = not_value16(load16(p + i));
        if (stop != 0) {
            return i + (size_t)__builtin_ctz(stop);
        }
    }
    if (i < n && n >= 16) {
        unsigned stop = not_value16(load16(p + n - 16));
        return stop != 0 ? n - 16 + (size_t)__builtin_ctz(stop) : n;
    }
    return i + fl_scan_value_end_scalar(p + i, n - i);
}

static size_t
target_end_sse2(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        unsigned stop = not_target16(load16(p + i));
        if (stop != 0) {
            return i + (size_t)__builtin_ctz(stop);
        }
    }
    if (i < n && n >= 16) {
        unsigned stop = not_target16(load16(p + n - 16));
        return stop != 0 ? n - 16 + (size_t)__builtin_ctz(stop) : n;
    }
    return i + fl_scan_target_end_scalar(p + i, n - i);
}

/* Whether CR LF CR LF stands around p[lf], its first LF, where p[lf + 2] is its
 * second. */
static inline bool
ends_head(const char *p, size_t lf)
{
    return lf > 0 && p[lf - 1] == '\r' && p[lf + 1] == '\r';
}

static size_t
head_end_sse2(const char *p, size_t n, size_t from)
{
    size_t i = from > 3 ? from - 3 : 0;
    for (; i + 18 <= n; i += 16) {
        __m128i first = equal16(load16(p + i), '\n');
        __m128i second = equal16(load16(p + i + 2), '\n');
        for (unsigned hits = bits16(_mm_and_si128(first, second)); hits != 0;
             hits &= hits - 1) {
            size_t lf = i + (size_t)__builtin_ctz(hits);
            if (ends_head(p, lf)) {
                return lf + 3;
            }
        }
    }
    return fl_scan_head_end_scalar(p, n, i + 2);
}

static void
marks_sse2(const char *p, size_t n, fl_marks *out)
{
    size_t full = n / 64, here = n % 64;
    uint64_t not_token, not_value;
    for (size_t w = 0; w < full; w++) {
        not_token = not_value = 0;
        for (size_t i = 0; i < 64; i += 16) {
            __m128i v = load16(p + w * 64 + i);
            not_token |= (uint64_t)not_token16(v) << i;
            not_value |= (uint64_t)not_value16(v) << i;
        }
        out->not_token[w] = not_token;
        out->not_value[w] = not_value;
    }
    char padded[64] = {0};
    if (here > 0) {
        memcpy(padded, p + full * 64, here);
    }
    not_token = not_value = 0;
    for (size_t i = 0; i < here; i += 16) {
        __m128i v = load16(padded + i);
        not_token |= (uint64_t)not_token16(v) << i;
        not_value |= (uint64_t)not_value16(v) << i;
    }
    fl_marks_finish(out, full, here, not_token, not_value);
}

static inline uint32_t
turned_key(const uint8_t key[4], size_t phase)
{
    uint8_t turned[4];
    for (size_t i = 0; i < 4; i++) {
        turned[i] = key[(phase + i) % 4];
    }
    uint32_t word;
    memcpy(&word, turned, sizeof(word));
    return word;
}

static void
mask_xor_sse2(char *p, size_t n, const uint8_t key[4], size_t phase)
{
    __m128i mask = _mm_set1_epi32((int)turned_key(key, phase));
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m128i v = _mm_xor_si128(load16(p + i), mask);
        _mm_storeu_si128((__m128i *)(void *)(p + i), v);
    }
    fl_mask_xor_scalar(p + i, n - i, key, phase + i);
}

/* ASCII is skipped a block at a time; anything else goes byte by byte for one block. */
static fl_utf8_state
utf8_sse2(fl_utf8_state state, const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n && state != FL_UTF8_BAD; i += 16) {
        if (state != FL_UTF8_START || bits16(load16(p + i)) != 0) {
            state = fl_utf8_validate_scalar(state, p + i, 16);
        }
    }
    return fl_utf8_validate_scalar(state, p + i, n - i);
}

const fl_cpu_table fl_scan_sse2 = {.head_end = head_end_sse2,
                                   .token_end = token_end_sse2,
                                   .value_end = value_end_sse2,
                                   .target_end = target_end_sse2,
                                   .marks = marks_sse2,
                                   .mask_xor = mask_xor_sse2,
                                   .utf8 = utf8_sse2,
                                   .sha1_blocks = fl_sha1_blocks_scalar,
                                   .name = "sse2"};

/* ---------------------------------------------------------------- AVX2 */

#define BLOCK 32

/* For each low nibble: bit h is set when the byte (h << 4 | nibble) is in the class. */
static const uint8_t token_by_low[16] = {0xE8, 0xFC, 0xF8, 0xFC, 0xFC, 0xFC,
                                         0xFC, 0xFC, 0xF8, 0xF8, 0xF4, 0x54,
                                         0xD0, 0x54, 0xF4, 0x70};
static const uint8_t stop_by_low[16] = {3, 3, 3, 3, 3, 3, 3, 3,
                                        3, 2, 3, 3, 3, 3, 3, 0x83};
/* For each high nibble its bit; none from 8 on. */
static const uint8_t bit_by_high[16] = {1, 2, 4, 8, 16, 32, 64, 128};

AVX2 static inline __m256i
load32(const char *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 static inline uint32_t
bits32(__m256i v)
{
    return (uint32_t)_mm256_movemask_epi8(v);
}

AVX2 static inline __m256i
equal32(__m256i v, uint8_t c)
{
    return _mm256_cmpeq_epi8(v, _mm256_set1_epi8((char)c));
}

AVX2 static inline __m256i
look_up32(const uint8_t table[16], __m256i by)
{
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(half), by);
}

AVX2 static inline __m256i
high_bits32(__m256i v)
{
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0F));
    return look_up32(bit_by_high, high);
}

AVX2 static inline uint32_t
not_token32(__m256i v, __m256i high_bits)
{
    __m256i in = _mm256_and_si256(look_up32(token_by_low, v), high_bits);
    return bits32(_mm256_cmpeq_epi8(in, _mm256_setzero_si256()));
}

AVX2 static inline uint32_t
not_value32(__m256i v, __m256i high_bits)
{
    __m256i in = _mm256_and_si256(look_up32(stop_by_low, v), high_bits);
    return ~bits32(_mm256_cmpeq_epi8(in, _mm256_setzero_si256()));
}

AVX2 static inline uint32_t
not_target32(__m256i v)
{
    __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(' ')), v);
    __m256i marks = _mm256_or_si256(equal32(v, '#'), equal32(v, '?'));
    return bits32(_mm256_or_si256(_mm256_or_si256(low, marks), equal32(v, 0x7F)));
}

AVX2 static size_t
token_end_avx2(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        __m256i v = load32(p + i);
        uint32_t stop = not_token32(v, high_bits32(v));
        if (stop != 0) {
            return i + (size_t)__builtin_ctz(stop);
        }
    }
    if (i < n && n >= BLOCK) {
        __m256i v = load32(p + n - BLOCK);
        uint32_t stop = not_token32(v, high_bits32(v));
        return stop != 0 ? n - BLOCK + (size_t)__builtin_ctz(stop) : n;
    }
    return i + token_end_sse2(p + i, n - i);
}

AVX2 static size_t
value_end_avx2(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        __m256i v = load32(p + i);
        uint32_t stop = not_value32(v, high_bits32(v));
        if (stop != 0) {
            return i + (size_t)__builtin_ctz(stop);
        }
    }
    if (i < n && n >= BLOCK) {
        __m256i v = load32(p + n - BLOCK);
        uint32_t stop = not_value32(v, high_bits32(v));
        return stop != 0 ? n - BLOCK + (size_t)__builtin_ctz(stop) : n;
    }
    return i + value_end_sse2(p + i, n - i);
}

AVX2 static size_t
target_end_avx2(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        uint32_t stop = not_target32(load32(p + i));
        if (stop != 0) {
            return i + (size_t)__builtin_ctz(stop);
        }
    }
    if (i < n && n >= BLOCK) {
        uint32_t stop = not_target32(load32(p + n - BLOCK));
        return stop != 0 ? n - BLOCK + (size_t)__builtin_ctz(stop) : n;
    }
    return i + target_end_sse2(p + i, n - i);
}

AVX2 static size_t
head_end_avx2(const char *p, size_t n, size_t from)
{
    size_t i = from > 3 ? from - 3 : 0;
    for (; i + BLOCK + 2 <= n; i += BLOCK) {
        __m256i first = equal32(load32(p + i), '\n');
        __m256i second = equal32(load32(p + i + 2), '\n');
        for (uint32_t hits = bits32(_mm256_and_si256(first, second)); hits != 0;
             hits &= hits - 1) {
            size_t lf = i + (size_t)__builtin_ctz(hits);
            if (ends_head(p, lf)) {
                return lf + 3;
            }
        }
    }
    return head_end_sse2(p, n, i + 2);
}

/* The marks of the last n % 64 bytes. Blocks that end at p + n overlap what was done
 * before; only when there are not even 32 bytes are they copied. */
AVX2 static void
marks_tail_avx2(const char *p, size_t n, fl_marks *out)
{
    size_t full = n / 64, here = n % 64;
    uint64_t not_token = 0, not_value = 0;
    char padded[BLOCK];
    if (here > BLOCK) {
        __m256i v = load32(p + full * 64);
        __m256i high_bits = high_bits32(v);
        not_token = not_token32(v, high_bits);
        not_value = not_value32(v, high_bits);
    }
    if (here > 0) {
        const char *last = p + n - BLOCK;
        if (n < BLOCK) {
            _mm256_storeu_si256((__m256i *)(void *)padded, _mm256_setzero_si256());
            memcpy(padded + BLOCK - n, p, n);
            last = padded;
        }
        __m256i v = load32(last);
        __m256i high_bits = high_bits32(v);
        /* The block's last byte is bit here - 1 of the word. */
        uint64_t token_bits = (uint64_t)not_token32(v, high_bits) << 32;
        uint64_t value_bits = (uint64_t)not_value32(v, high_bits) << 32;
        not_token |= token_bits >> (64 - here);
        not_value |= value_bits >> (64 - here);
    }
    fl_marks_finish(out, full, here, not_token, not_value);
}

AVX2 static void
marks_avx2(const char *p, size_t n, fl_marks *out)
{
    for (size_t w = 0; w < n / 64; w++) {
        __m256i a = load32(p + w * 64);
        __m256i b = load32(p + w * 64 + BLOCK);
        __m256i a_high = high_bits32(a);
        __m256i b_high = high_bits32(b);
        out->not_token[w] = not_token32(a, a_high) | (uint64_t)not_token32(b, b_high)
                                                         << 32;
        out->not_value[w] = not_value32(a, a_high) | (uint64_t)not_value32(b, b_high)
                                                         << 32;
    }
    marks_tail_avx2(p, n, out);
}

AVX2 static void
mask_xor_avx2(char *p, size_t n, const uint8_t key[4], size_t phase)
{
    __m256i mask = _mm256_set1_epi32((int)turned_key(key, phase));
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        __m256i v = _mm256_xor_si256(load32(p + i), mask);
        _mm256_storeu_si256((__m256i *)(void *)(p + i), v);
    }
    mask_xor_sse2(p + i, n - i, key, phase + i);
}

AVX2 static fl_utf8_state
utf8_avx2(fl_utf8_state state, const char *p, size_t n)
{
    size_t i = 0;
    for (; i + BLOCK <= n && state != FL_UTF8_BAD; i += BLOCK) {
        if (state != FL_UTF8_START || bits32(load32(p + i)) != 0) {
            state = fl_utf8_validate_scalar(state, p + i, BLOCK);
        }
    }
    return utf8_sse2(state, p + i, n - i);
}

const fl_cpu_table fl_scan_avx2 = {.head_end = head_end_avx2,
                                   .token_end = token_end_avx2,
                                   .value_end = value_end_avx2,
                                   .target_end = target_end_avx2,
                                   .marks = marks_avx2,
                                   .mask_xor = mask_xor_avx2,
                                   .utf8 = utf8_avx2,
                                   .sha1_blocks = fl_sha1_blocks_scalar,
                                   .name = "avx2"};

#else
/* An empty translation unit is no C. */
typedef int fl_scan_x86_is_elsewhere;
#endif
