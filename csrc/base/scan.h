/* scan.h -- looking at many bytes at once.
 *
 * Each function exists as a portable scalar one (`_scalar`) and as SIMD ones; fl_cpu
 * holds the set in use. It starts out with what every machine of the architecture has
 * (SSE2 on x86-64, NEON on arm64, scalar elsewhere), so nothing depends on fl_cpu_init
 * having run; fl_cpu_init looks at the processor and may exchange the set for AVX2.
 * This table is the one mutable static of the project, written once, before threads.
 *
 * Invariant: nothing outside of [p, p + n) is read, not even within the same page or
 * word; and every set gives the same answers (tests/c/test_scan.c).
 *
 * Layer: base. Threads: any, once fl_cpu_init has returned.
 */
#ifndef FL_BASE_SCAN_H
#define FL_BASE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Two bits for each byte of a block: whether it ends a token and whether it ends a
 * field value (fl_scan_marks). Words of 64 bytes each, lowest bit first, and room for
 * two more that are all ones: a reader may always look at the word after. */
#define FL_MARKS_BYTES ((size_t)1024)
#define FL_MARKS_WORDS (FL_MARKS_BYTES / 64 + 2)

typedef struct {
    uint64_t not_token[FL_MARKS_WORDS]; /* not a tchar, RFC 9110 section 5.6.2 */
    uint64_t not_value[FL_MARKS_WORDS]; /* not HTAB, SP-~, 80-FF: CR, LF, controls */
} fl_marks;

/* State of UTF-8 validation between two pieces: 0 is "between characters". Opaque
 * otherwise. */
typedef uint32_t fl_utf8_state;
#define FL_UTF8_START 0u
#define FL_UTF8_BAD UINT32_MAX

typedef struct {
    size_t (*head_end)(const char *p, size_t n, size_t from);
    size_t (*token_end)(const char *p, size_t n);
    size_t (*value_end)(const char *p, size_t n);
    size_t (*target_end)(const char *p, size_t n);
    void (*marks)(const char *p, size_t n, fl_marks *out);
    void (*mask_xor)(char *p, size_t n, const uint8_t key[4], size_t phase);
    fl_utf8_state (*utf8)(fl_utf8_state state, const char *p, size_t n);
    void (*sha1_blocks)(uint32_t state[5], const char *p, size_t blocks); /* sha1.h */
    const char *name; /* "scalar", "sse2", "avx2", "neon" */
} fl_cpu_table;

extern fl_cpu_table fl_cpu;

/* Picks the best set this processor can run. Call once, before the first thread. */
void fl_cpu_init(void);

/* Picks a set by name, for tests and benchmarks; false when this machine cannot run
 * it. */
bool fl_cpu_use(const char *name);

/* The offset just past the first CR LF CR LF, or 0 when there is none yet. `from` is
 * how many bytes an earlier call has seen without finding it (0 at first): only they
 * less 3 are looked at again. */
static inline size_t
fl_scan_head_end(const char *p, size_t n, size_t from)
{
    return fl_cpu.head_end(p, n, from);
}

/* Index of the first byte c, or n. */
static inline size_t
fl_scan_byte(const char *p, size_t n, char c)
{
    const char *hit = n > 0 ? memchr(p, c, n) : NULL;
    return hit == NULL ? n : (size_t)(hit - p);
}

/* Index of the first occurrence of needle[0..m), or n when there is none; an empty
 * needle is found at 0. Linear in n + m in the worst case. */
size_t fl_scan_find(const char *p, size_t n, const char *needle, size_t m);

/* Index of the first byte that is no tchar (RFC 9110 section 5.6.2), or n. */
static inline size_t
fl_scan_token_end(const char *p, size_t n)
{
    return fl_cpu.token_end(p, n);
}

/* Index of the first byte that may not stand in a field value, or n. HTAB, SP-~ and
 * 80-FF may. */
static inline size_t
fl_scan_value_end(const char *p, size_t n)
{
    return fl_cpu.value_end(p, n);
}

/* Index of the first byte that ends a path or query inside a request target, or n:
 * controls, SP, DEL, '#' and '?'. */
static inline size_t
fl_scan_target_end(const char *p, size_t n)
{
    return fl_cpu.target_end(p, n);
}

/* Fills marks for p[0..n), n at most FL_MARKS_BYTES; the bits at and after n are set,
 * up to the end of the word after the one that holds bit n. */
static inline void
fl_scan_marks(const char *p, size_t n, fl_marks *out)
{
    fl_cpu.marks(p, n, out);
}

/* p[i] ^= key[(phase + i) % 4]: RFC 6455 section 5.3, in place, from any phase. */
static inline void
fl_mask_xor(char *p, size_t n, const uint8_t key[4], size_t phase)
{
    fl_cpu.mask_xor(p, n, key, phase);
}

/* Feeds n bytes; returns the state after them, FL_UTF8_BAD from the first byte on that
 * no continuation can make valid (RFC 3629: no overlong forms, no surrogates, at most
 * U+10FFFF). A whole text is valid when the state after it is FL_UTF8_START. */
static inline fl_utf8_state
fl_utf8_validate(fl_utf8_state state, const char *p, size_t n)
{
    return fl_cpu.utf8(state, p, n);
}

/* The scalar twins. */
size_t fl_scan_head_end_scalar(const char *p, size_t n, size_t from);
size_t fl_scan_token_end_scalar(const char *p, size_t n);
size_t fl_scan_value_end_scalar(const char *p, size_t n);
size_t fl_scan_target_end_scalar(const char *p, size_t n);
void fl_scan_marks_scalar(const char *p, size_t n, fl_marks *out);
void fl_mask_xor_scalar(char *p, size_t n, const uint8_t key[4], size_t phase);
fl_utf8_state fl_utf8_validate_scalar(fl_utf8_state state, const char *p, size_t n);

#endif
