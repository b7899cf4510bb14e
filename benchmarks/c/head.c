/* head.c -- nanoseconds to parse a request head, for each set of scanning functions.
 *
 *   cc -O3 -std=c11 -D_GNU_SOURCE=1 -Icsrc benchmarks/c/head.c csrc/base/[a-z]*.c \
 *      csrc/proto/[a-z]*.c -o /tmp/head && /tmp/head
 *
 * Rounds of the cases are interleaved and the best of each is printed: on a shared
 * machine the least disturbed round tells most.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "base/scan.h"
#include "proto/http1_head.h"

/* What wrk sends. */
static const char wrk[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8888\r\n\r\n";

/* What a browser sends to a site it has been to. */
static const char browser[] =
    "GET /articles/2009/09/non-blocking-servers/?page=2&sort=newest HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    "\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
    "image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.com/articles/\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=2|1:0|10:1700000000|7:session|44:ZjBhNzYyNTMtYzQ0NC00NGQ5|"
    "b7d1f9c2a4e85d3f; theme=dark; seen=1\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Priority: u=0, i\r\n"
    "\r\n";

#define CALLS 5000
#define ROUNDS 200

static double
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double
time_head(const char *text, size_t n)
{
    static fl_field fields[256];
    fl_head_limits limits = {65536, 256};
    fl_head head = {.fields = fields, .cap_fields = 256};
    unsigned checked = 0;
    double start = now_ns();
    for (int i = 0; i < CALLS; i++) {
        size_t scanned = 0;
        const char *p = text;
        __asm__ volatile("" : "+r"(p) : : "memory");
        checked += fl_http1_request(p, n, &scanned, &limits, &head) == (int)n;
    }
    double spent = now_ns() - start;
    if (checked != CALLS) {
        fprintf(stderr, "the head was not accepted\n");
    }
    return spent / CALLS;
}

int
main(void)
{
    static const char *const sets[] = {"scalar", "sse2", "avx2", "neon"};
    static const struct {
        const char *name, *text;
        size_t n;
    } cases[] = {{"wrk", wrk, sizeof(wrk) - 1},
                 {"browser", browser, sizeof(browser) - 1}};
    double best[4][2] = {{0}};
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t s = 0; s < 4; s++) {
            for (size_t c = 0; fl_cpu_use(sets[s]) && c < 2; c++) {
                double ns = time_head(cases[c].text, cases[c].n);
                if (best[s][c] == 0 || ns < best[s][c]) {
                    best[s][c] = ns;
                }
            }
        }
    }
    for (size_t s = 0; s < 4; s++) {
        for (size_t c = 0; best[s][0] > 0 && c < 2; c++) {
            printf("%-8s %-8s %4zu bytes %7.1f ns\n", sets[s], cases[c].name,
                   cases[c].n, best[s][c]);
        }
    }
    return 0;
}
