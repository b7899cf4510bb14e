/* tls_records.c -- see tls_records.h.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/tls_records.h"

#include <string.h>

/* The head is whole: how long the body is, or -1 where this cannot be TLS. */
static long
body_length(const uint8_t *head)
{
    long n = (long)head[3] << 8 | head[4];

    if (head[0] < FL_TLS_TYPE_LEAST || head[0] > FL_TLS_TYPE_MOST || head[1] != 3)
        return -1;
    return n > FL_TLS_BODY_MOST ? -1 : n;
}

size_t
fl_tls_records_feed(fl_tls_records *r, const char *p, size_t n)
{
    size_t ended = 0;

    while (n > 0 && !r->odd) {
        size_t k;

        if (r->partial < FL_TLS_HEAD) {
            long body;

            k = FL_TLS_HEAD - r->partial;
            k = k < n ? k : n;
            memcpy(r->head + r->partial, p, k);
            r->partial += k;
            p += k;
            n -= k;
            if (r->partial < FL_TLS_HEAD)
                break;
            body = body_length(r->head);
            if (body < 0) {
                r->odd = true;
                break;
            }
            r->missing = (size_t)body;
        }
        k = r->missing < n ? r->missing : n;
        r->partial += k;
        r->missing -= k;
        p += k;
        n -= k;
        if (r->missing == 0) {
            r->partial = 0;
            ended++;
        }
    }
    return ended;
}
