/* fuzz_uri.c -- targets, percent-encoding, queries and hosts.
 *
 * Decoding never grows and undoes encoding; fields of a query put together again are
 * the query; a host is split into pieces of itself.
 */
#include "fuzz.h"

#include "proto/host.h"
#include "proto/query.h"
#include "proto/tokens.h"
#include "proto/uri.h"

static void
check_percent(fl_span s, bool plus)
{
    char *decoded = copy_of(s.p, s.n), *in_place = copy_of(s.p, s.n);
    size_t n = fl_percent_decode(decoded, s, plus);
    MUST(n <= s.n);
    MUST(fl_percent_decode(in_place, fl_span_make(in_place, s.n), plus) == n);
    MUST(memcmp(decoded, in_place, n) == 0);

    char *encoded = malloc(3 * s.n + 1);
    MUST(encoded != NULL);
    for (size_t i = 0; i < s.n; i++) {
        snprintf(encoded + 3 * i, 4, i % 2 ? "%%%02X" : "%%%02x", (uint8_t)s.p[i]);
    }
    n = fl_percent_decode(encoded, fl_span_make(encoded, 3 * s.n), plus);
    MUST(fl_span_eq(fl_span_make(encoded, n), s));
    free(decoded);
    free(in_place);
    free(encoded);
}

static bool
decodes_to_itself(fl_span s)
{
    char *decoded = copy_of(s.p, s.n);
    size_t n = fl_percent_decode(decoded, s, true);
    bool same = fl_span_eq(fl_span_make(decoded, n), s);
    free(decoded);
    return same;
}

static void
check_query(fl_span s)
{
    fl_query q;
    fl_query_field f;
    size_t count = 0;
    const char *end = s.p;
    fl_query_init(&q, s);
    while (fl_query_next(&q, &f)) {
        count++;
        MUST(f.name.p >= end && f.value.p >= f.name.p + f.name.n);
        MUST(fl_scan_byte(f.name.p, f.name.n, '&') == f.name.n);
        MUST(fl_scan_byte(f.name.p, f.name.n, '=') == f.name.n);
        MUST(fl_scan_byte(f.value.p, f.value.n, '&') == f.value.n);
        MUST(f.has_equals || f.value.n == 0);
        MUST(f.name.n > 0 || f.has_equals);
        MUST(f.name_encoded || decodes_to_itself(f.name));
        MUST(f.value_encoded || decodes_to_itself(f.value));
        end = f.value.p + f.value.n;
    }
    MUST(end <= s.p + s.n);
    MUST(count <= fl_query_count(s));
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    fl_span s = fl_span_make((const char *)bytes, n), host;
    int port;
    check_percent(s, false);
    check_percent(s, true);
    size_t stop = fl_uri_authority(s, &host);
    MUST(stop <= n && (stop == 0 || host.p + host.n == s.p + stop));
    check_query(s);
    if (fl_host_split(s, &host, &port)) {
        MUST(host.p == s.p && host.n <= n && port >= -1 && port <= 65535);
        MUST(host.n == n || s.p[host.n] == ':');
        MUST(fl_host_valid(host));
    }
    return 0;
}
