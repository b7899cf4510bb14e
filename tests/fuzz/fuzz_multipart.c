/* fuzz_multipart.c -- form bodies with the boundary "B".
 *
 * Parts are pieces of the body in order, their data holds no delimiter, and written out
 * again they are the same parts.
 */
#include "fuzz.h"

#include "base/buf.h"
#include "proto/multipart.h"

static const fl_multipart_limits limits = {20, 500};

static void
put(fl_buf *b, fl_span s)
{
    MUST(fl_buf_append(b, s.p, s.n) == 0);
}

static void
check_again(const fl_buf *text, size_t parts)
{
    static fl_part part;
    fl_multipart m;
    size_t count = 0;
    fl_span body = fl_buf_span(text);
    MUST(fl_multipart_init(&m, FL_SPAN("B"), body, &limits) == 0);
    int rc;
    while ((rc = fl_multipart_next(&m, &part)) == 1) {
        count++;
    }
    MUST(rc == 0 && count == parts);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static fl_part part;
    fl_multipart m;
    fl_span body = fl_span_make((const char *)bytes, n), boundary;
    const char *end = body.p;
    size_t parts = 0;
    int rc;
    fl_buf text = {0};
    if (fl_multipart_boundary(body, &boundary) == 0) {
        MUST(boundary.n > 0 && boundary.p + boundary.n <= body.p + n);
    }
    MUST(fl_multipart_init(&m, FL_SPAN("B"), body, &limits) == 0);
    while ((rc = fl_multipart_next(&m, &part)) == 1) {
        parts++;
        MUST(parts <= limits.max_parts && part.head.n <= limits.max_head);
        MUST(part.head.p >= end && part.data.p >= part.head.p + part.head.n + 2);
        end = part.data.p + part.data.n;
        MUST(end <= body.p + n);
        size_t hit = fl_scan_find(part.data.p, part.data.n, "\r\n--B--", 7);
        MUST(hit == part.data.n);
        put(&text, FL_SPAN("--B\r\n"));
        put(&text, part.head);
        put(&text, FL_SPAN("\r\n"));
        put(&text, part.data);
        put(&text, FL_SPAN("\r\n"));
    }
    put(&text, FL_SPAN("--B--"));
    MUST(fl_multipart_next(&m, &part) == rc);
    if (parts < limits.max_parts) {
        check_again(&text, parts);
    }
    fl_buf_free(&text);
    return 0;
}
