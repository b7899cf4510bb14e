/* scan_neon.c -- scanning with NEON, which every arm64 has.
 *
 * The same two look-ups by nibble as with AVX2 (scan_x86.c); TBL gives 0 for an index
 * past its table, so bytes from 80 on are in no set. NEON has no movemask: a shift that
 * narrows leaves four bits of each lane, enough to find the first; bit masks of 64
 * bytes are added up from lanes that hold their own bit.
 *
 * Layer: base. Threads: any; pure functions.
 */
#include "base/scan_sets.h"
#include "base/sha1.h"

#ifdef FL_SCAN_NEON

#include <arm_neon.h>

static const uint8_t token_by_low[16] = {0xE8, 0xFC, 0xF8, 0xFC, 0xFC, 0xFC,
                                         0xFC, 0xFC, 0xF8, 0xF8, 0xF4, 0x54,
                                         0xD0, 0x54, 0xF4, 0x70};
static const uint8_t stop_by_low[16] = {3, 3, 3, 3, 3, 3, 3, 3,
                                        3, 2, 3, 3, 3, 3, 3, 0x83};
static const uint8_t bit_by_high[16] = {1, 2, 4, 8, 16, 32, 64, 128};
static const uint8_t bit_of_lane[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                        1, 2, 4, 8, 16, 32, 64, 128};

static inline uint8x16_t
load16(const char *p)
{
    return vld1q_u8((const uint8_t *)p);
}

static inline uint8x16_t
in_class(const uint8_t by_low[16], uint8x16_t v)
{
    uint8x16_t low = vandq_u8(v, vdupq_n_u8(0x0F));
    uint8x16_t bit = vqtbl1q_u8(vld1q_u8(bit_by_high), vshrq_n_u8(v, 4));
    return vtstq_u8(vqtbl1q_u8(vld1q_u8(by_low), low), bit);
}

static inline uint8x16_t
not_token(uint8x16_t v)
{
    return vmvnq_u8(in_class(token_by_low, v));
}

static inline uint8x16_t
not_value(uint8x16_t v)
{
    return in_class(stop_by_low, v);
}

static inline uint8x16_t
not_target(uint8x16_t v)
{
    uint8x16_t low = vcleq_u8(v, vdupq_n_u8(' '));
    uint8x16_t marks =
        vorrq_u8(vceqq_u8(v, vdupq_n_u8('#')), vceqq_u8(v, vdupq_n_u8('?')));
    return vorrq_u8(vorrq_u8(low, marks), vceqq_u8(v, vdupq_n_u8(0x7F)));
}

/* Four bits for each lane of a comparison's result. */
static inline uint64_t
nibbles(uint8x16_t hit)
{
    uint8x8_t narrow = vshrn_n_u16(vreinterpretq_u16_u8(hit), 4);
    return vget_lane_u64(vreinterpret_u64_u8(narrow), 0);
}

static inline size_t
first_lane(uint64_t hits)
{
    return (size_t)__builtin_ctzll(hits) / 4;
}

static size_t
token_end_neon(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint64_t stop = nibbles(not_token(load16(p + i)));
        if (stop != 0) {
            return i + first_lane(stop);
        }
    }
    return i + fl_scan_token_end_scalar(p + i, n - i);
}

static size_t
value_end_neon(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint64_t stop = nibbles(not_value(load16(p + i)));
        if (stop != 0) {
            return i + first_lane(stop);
        }
    }
    return i + fl_scan_value_end_scalar(p + i, n - i);
}

static size_t
target_end_neon(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint64_t stop = nibbles(not_target(load16(p + i)));
        if (stop != 0) {
            return i + first_lane(stop);
        }
    }
    return i + fl_scan_target_end_scalar(p + i, n - i);
}

static size_t
head_end_neon(const char *p, size_t n, size_t from)
{
    size_t i = from > 3 ? from - 3 : 0;
    for (; i + 18 <= n; i += 16) {
        uint8x16_t first = vceqq_u8(load16(p + i), vdupq_n_u8('\n'));
        uint8x16_t second = vceqq_u8(load16(p + i + 2), vdupq_n_u8('\n'));
        uint64_t hits = nibbles(vandq_u8(first, second));
        while (hits != 0) {
            size_t lane = first_lane(hits);
            size_t lf = i + lane;
            if (lf > 0 && p[lf - 1] == '\r' && p[lf + 1] == '\r') {
                return lf + 3;
            }
            hits &= ~(UINT64_C(0xF) << lane * 4);
        }
    }
    return fl_scan_head_end_scalar(p, n, i + 2);
}

/* 64 comparison results to 64 bits. */
static inline uint64_t
bits64(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d)
{
    uint8x16_t bit = vld1q_u8(bit_of_lane);
    uint8x16_t ab = vpaddq_u8(vandq_u8(a, bit), vandq_u8(b, bit));
    uint8x16_t cd = vpaddq_u8(vandq_u8(c, bit), vandq_u8(d, bit));
    uint8x16_t abcd = vpaddq_u8(ab, cd);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(abcd, abcd)), 0);
}

static inline void
marks_of_word(const char *p, uint64_t *token_row, uint64_t *value_row)
{
    uint8x16_t a = load16(p), b = load16(p + 16), c = load16(p + 32),
               d = load16(p + 48);
    *token_row = bits64(not_token(a), not_token(b), not_token(c), not_token(d));
    *value_row = bits64(not_value(a), not_value(b), not_value(c), not_value(d));
}

static void
marks_neon(const char *p, size_t n, fl_marks *out)
{
    size_t full = n / 64, here = n % 64;
    for (size_t w = 0; w < full; w++) {
        marks_of_word(p + w * 64, &out->not_token[w], &out->not_value[w]);
    }
    char padded[64] = {0};
    uint64_t token_row, value_row;
    if (here > 0) {
        memcpy(padded, p + full * 64, here);
    }
    marks_of_word(padded, &token_row, &value_row);
    fl_marks_finish(out, full, here, token_row, value_row);
}

static void
mask_xor_neon(char *p, size_t n, const uint8_t key[4], size_t phase)
{
    uint8_t turned[16];
    for (size_t i = 0; i < sizeof(turned); i++) {
        turned[i] = key[(phase + i) % 4];
    }
    uint8x16_t mask = vld1q_u8(turned);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vst1q_u8((uint8_t *)p + i, veorq_u8(load16(p + i), mask));
    }
    fl_mask_xor_scalar(p + i, n - i, key, phase + i);
}

/* ASCII is skipped a block at a time; anything else goes byte by byte for one block. */
static fl_utf8_state
utf8_neon(fl_utf8_state state, const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n && state != FL_UTF8_BAD; i += 16) {
        if (state != FL_UTF8_START || vmaxvq_u8(load16(p + i)) >= 0x80) {
            state = fl_utf8_validate_scalar(state, p + i, 16);
        }
    }
    return fl_utf8_validate_scalar(state, p + i, n - i);
}

const fl_cpu_table fl_scan_neon = {.head_end = head_end_neon,
                                   .token_end = token_end_neon,
                                   .value_end = value_end_neon,
                                   .target_end = target_end_neon,
                                   .marks = marks_neon,
                                   .mask_xor = mask_xor_neon,
                                   .utf8 = utf8_neon,
                                   .sha1_blocks = fl_sha1_blocks_scalar,
                                   .name = "neon"};

#else
/* An empty translation unit is no C. */
typedef int fl_scan_neon_is_elsewhere;
#endif
