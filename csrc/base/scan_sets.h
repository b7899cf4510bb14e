/* scan_sets.h -- the sets of functions that scan.c chooses from. Private to base/.
 *
 * Layer: base. Threads: any; constant data.
 */
#ifndef FL_BASE_SCAN_SETS_H
#define FL_BASE_SCAN_SETS_H

#include "base/scan.h"

#if defined(__x86_64__)
#define FL_SCAN_X86 1
extern const fl_cpu_table fl_scan_sse2;
extern const fl_cpu_table fl_scan_avx2; /* only where fl_scan_have_avx2() */
bool fl_scan_have_avx2(void);
#elif defined(__aarch64__)
#define FL_SCAN_NEON 1
extern const fl_cpu_table fl_scan_neon;
#endif

/* Sets the last, partial word of both rows (bits at and after `here` of it, here < 64)
 * and the word after it. */
static inline void
fl_marks_finish(fl_marks *out, size_t word, size_t here, uint64_t not_token,
                uint64_t not_value)
{
    out->not_token[word] = not_token | ~UINT64_C(0) << here;
    out->not_value[word] = not_value | ~UINT64_C(0) << here;
    out->not_token[word + 1] = ~UINT64_C(0);
    out->not_value[word + 1] = ~UINT64_C(0);
}

#endif
