/* scan.c -- the scalar twins, and the choice of a set at run time.
 *
 * The scalar functions are the definition of what each scan means; SIMD ones finish
 * their last few bytes with them.
 *
 * Layer: base. Threads: any, once fl_cpu_init has returned.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* memmem */
#endif
#include "base/scan.h"

#include "base/scan_sets.h"
#include "base/sha1.h"

/* False hits that fl_scan_find takes before it leaves the rest to memmem. */
#define FIND_TRIES 16

/* Bits of the class table below. */
enum { TOKEN = 1, VALUE = 2, TARGET = 4 };

#define X8(c) c, c, c, c, c, c, c, c
#define X16(c) X8(c), X8(c)

/* T: tchar (it is fine in values and targets too). P: other printable. */
#define T (TOKEN | VALUE | TARGET)
#define P (VALUE | TARGET)
static const uint8_t classes[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, VALUE, 0, 0, 0, 0, 0, 0, /* 00-0F: HTAB */
    X16(0),                                             /* 10-1F */
    /* SP ! " # $ % & '  ( ) * + , - . / */
    VALUE, T, P, TOKEN | VALUE, T, T, T, T, P, P, T, T, P, T, T, P,
    /* 0-9 : ; < = > ? */
    X8(T), T, T, P, P, P, P, P, VALUE,
    /* @ A-O */
    P, T, T, T, T, T, T, T, X8(T),
    /* P-Z [ \ ] ^ _ */
    X8(T), T, T, T, P, P, P, T, T,
    /* ` a-o */
    X16(T),
    /* p-z { | } ~ DEL */
    X8(T), T, T, T, P, T, P, T, 0,
    /* 80-FF */
    X16(P), X16(P), X16(P), X16(P), X16(P), X16(P), X16(P), X16(P)};
#undef T
#undef P
#undef X8
#undef X16

static size_t
class_end(const char *p, size_t n, uint8_t class_bit)
{
    size_t i = 0;
    while (i < n && (classes[(uint8_t)p[i]] & class_bit) != 0) {
        i++;
    }
    return i;
}

size_t
fl_scan_token_end_scalar(const char *p, size_t n)
{
    return class_end(p, n, TOKEN);
}

size_t
fl_scan_value_end_scalar(const char *p, size_t n)
{
    return class_end(p, n, VALUE);
}

size_t
fl_scan_target_end_scalar(const char *p, size_t n)
{
    return class_end(p, n, TARGET);
}

size_t
fl_scan_head_end_scalar(const char *p, size_t n, size_t from)
{
    for (size_t i = from > 3 ? from - 3 : 0; i + 4 <= n;) {
        /* The last byte of a candidate tells how far the next one may be. */
        char last = p[i + 3];
        if (last == '\n') {
            if (memcmp(p + i, "\r\n\r", 3) == 0) {
                return i + 4;
            }
            i += 2;
        } else {
            i += last == '\r' ? 1 : 4;
        }
    }
    return 0;
}

/* Marks of up to 64 bytes. */
static void
marks_of_word(const char *p, size_t n, uint64_t *not_token, uint64_t *not_value)
{
    *not_token = *not_value = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t class = classes[(uint8_t)p[i]];
        *not_token |= (uint64_t)((class & TOKEN) == 0) << i;
        *not_value |= (uint64_t)((class & VALUE) == 0) << i;
    }
}

void
fl_scan_marks_scalar(const char *p, size_t n, fl_marks *out)
{
    size_t full = n / 64;
    uint64_t not_token, not_value;
    for (size_t w = 0; w < full; w++) {
        marks_of_word(p + w * 64, 64, &out->not_token[w], &out->not_value[w]);
    }
    marks_of_word(p + full * 64, n % 64, &not_token, &not_value);
    fl_marks_finish(out, full, n % 64, not_token, not_value);
}

void
fl_mask_xor_scalar(char *p, size_t n, const uint8_t key[4], size_t phase)
{
    uint8_t turned[8];
    for (size_t i = 0; i < sizeof(turned); i++) {
        turned[i] = key[(phase + i) % 4];
    }
    uint64_t mask;
    memcpy(&mask, turned, sizeof(mask));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, sizeof(word));
        word ^= mask;
        memcpy(p + i, &word, sizeof(word));
    }
    for (; i < n; i++) {
        p[i] = (char)((uint8_t)p[i] ^ turned[i % 4]);
    }
}

/* Between two bytes of a character the state says how many are missing and the range
 * that the next one must lie in (only the first continuation has a narrow one):
 *      missing << 16 | lowest << 8 | highest */
fl_utf8_state
fl_utf8_validate_scalar(fl_utf8_state state, const char *p, size_t n)
{
    if (state == FL_UTF8_BAD) {
        return state;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)p[i];
        if (state != FL_UTF8_START) {
            uint32_t missing = state >> 16;
            if (c < (state >> 8 & 0xFF) || c > (state & 0xFF)) {
                return FL_UTF8_BAD;
            }
            state = missing == 1 ? FL_UTF8_START : (missing - 1) << 16 | 0x80BF;
        } else if (c < 0x80) {
            continue;
        } else if (c >= 0xC2 && c <= 0xDF) {
            state = 1 << 16 | 0x80BF;
        } else if (c >= 0xE0 && c <= 0xEF) {
            uint32_t range = c == 0xE0 ? 0xA0BF : c == 0xED ? 0x809F : 0x80BF;
            state = 2 << 16 | range;
        } else if (c >= 0xF0 && c <= 0xF4) {
            uint32_t range = c == 0xF0 ? 0x90BF : c == 0xF4 ? 0x808F : 0x80BF;
            state = 3 << 16 | range;
        } else {
            return FL_UTF8_BAD;
        }
    }
    return state;
}

/* The needle's last byte is looked for, which memchr does many at a time and which finds
 * the end of a line at once; memmem goes one by one there (lines of 64 bytes by
 * read_until: benchmarks streams). Data in which that byte is frequent is left to memmem,
 * which stays linear. */
size_t
fl_scan_find(const char *p, size_t n, const char *needle, size_t m)
{
    if (m == 0) {
        return 0;
    }
    if (m > n) {
        return n;
    }
    size_t start = 0;
    for (int tries = 0; tries < FIND_TRIES; tries++) {
        const char *last =
            memchr(p + start + m - 1, (uint8_t)needle[m - 1], n - start - (m - 1));
        if (last == NULL) {
            return n;
        }
        start = (size_t)(last - p) - (m - 1);
        if (memcmp(p + start, needle, m - 1) == 0) {
            return start;
        }
        if (++start + m > n) {
            return n;
        }
    }
    const char *hit = memmem(p + start, n - start, needle, m);
    return hit == NULL ? n : (size_t)(hit - p);
}

/* ---------------------------------------------------------------- the choice */

#define SCALAR_SET                            \
    {.head_end = fl_scan_head_end_scalar,     \
     .token_end = fl_scan_token_end_scalar,   \
     .value_end = fl_scan_value_end_scalar,   \
     .target_end = fl_scan_target_end_scalar, \
     .marks = fl_scan_marks_scalar,           \
     .mask_xor = fl_mask_xor_scalar,          \
     .utf8 = fl_utf8_validate_scalar,         \
     .sha1_blocks = fl_sha1_blocks_scalar,    \
     .name = "scalar"}

static const fl_cpu_table scalar_set = SCALAR_SET;

/* The scalar set until fl_cpu_init: right on every machine. */
fl_cpu_table fl_cpu = SCALAR_SET;

void
fl_cpu_init(void)
{
#if defined(FL_SCAN_X86)
    fl_cpu = fl_scan_have_avx2() ? fl_scan_avx2 : fl_scan_sse2;
#elif defined(FL_SCAN_NEON)
    fl_cpu = fl_scan_neon;
#endif
    fl_cpu.sha1_blocks = fl_sha1_best();
}

bool
fl_cpu_use(const char *name)
{
    if (strcmp(name, "scalar") == 0) {
        fl_cpu = scalar_set;
        return true;
    }
#if defined(FL_SCAN_X86)
    if (strcmp(name, "sse2") == 0) {
        fl_cpu = fl_scan_sse2;
        return true;
    }
    if (strcmp(name, "avx2") == 0 && fl_scan_have_avx2()) {
        fl_cpu = fl_scan_avx2;
        fl_cpu.sha1_blocks = fl_sha1_best();
        return true;
    }
#elif defined(FL_SCAN_NEON)
    if (strcmp(name, "neon") == 0) {
        fl_cpu = fl_scan_neon;
        return true;
    }
#endif
    return false;
}
