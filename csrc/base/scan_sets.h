/* scan_sets.h -- the sets of scanning functions that scan.c chooses from. Private to base/.
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

/* Bits for the bytes before n of a word are kept, the others set: the end stops every scan. */
static inline uint64_t
fl_marks_cut(uint64_t bits, size_t n)
{
    return n >= 64 ? bits : bits | ~UINT64_C(0) << n;
}

#endif
