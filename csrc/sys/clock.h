/* clock.h -- the two clocks a loop reads.
 *
 * Deadlines are monotonic nanoseconds, the clock of asyncio's loop.time(); the wall
 * clock serves IOLoop.time() and dates.
 *
 * Layer: sys. Threads: any.
 */
#ifndef FL_SYS_CLOCK_H
#define FL_SYS_CLOCK_H

#include <stdint.h>

#define FL_NS_PER_S UINT64_C(1000000000)
#define FL_NS_PER_MS UINT64_C(1000000)
#define FL_NS_PER_US UINT64_C(1000)

/* A deadline of asyncio's clock as nanoseconds; what lies before the clock's start is
 * 0, what lies beyond its end (or is no number) the end. */
static inline uint64_t
fl_seconds_to_ns(double seconds)
{
    if (seconds <= 0)
        return 0;
    return seconds < 9e9 ? (uint64_t)(seconds * 1e9) : UINT64_MAX;
}

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t fl_clock_monotonic(void);

/* CLOCK_REALTIME in nanoseconds since 1970. */
uint64_t fl_clock_wall(void);

/* The calling process, asked of the kernel: a fork changes it. */
int fl_clock_process(void);

#endif
