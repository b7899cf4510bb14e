/* clock.c -- the two clocks a loop reads.
 *
 * Layer: sys. Threads: any.
 */
#include "sys/clock.h"

#include <time.h>
#include <unistd.h>

static uint64_t
clock_read(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * FL_NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t
fl_clock_monotonic(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t
fl_clock_wall(void)
{
    return clock_read(CLOCK_REALTIME);
}

int
fl_clock_process(void)
{
    return (int)getpid();
}
