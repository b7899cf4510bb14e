/* fuzz_headers.c -- field lines and header names.
 *
 * All sets of scanning functions agree on every byte. Lines that are accepted are legal
 * and survive being written again; names mean the same in their canonical spelling;
 * lists have exactly the elements that splitting by hand finds.
 */
#include "fuzz.h"

#include "proto/http1_head.h"

#define FIELDS 64

static void
check_scans(const char *p, size_t n)
{
    size_t token = fl_scan_token_end_scalar(p, n);
    size_t value = fl_scan_value_end_scalar(p, n);
    size_t target = fl_scan_target_end_scalar(p, n);
    size_t head = fl_scan_head_end_scalar(p, n, 0);
    size_t marked = n < FL_MARKS_BYTES ? n : FL_MARKS_BYTES;
    static fl_marks want, got;
    fl_scan_marks_scalar(p, marked, &want);
    FOR_EACH_CPU_SET(i)
    {
        MUST(fl_scan_token_end(p, n) == token);
        MUST(fl_scan_value_end(p, n) == value);
        MUST(fl_scan_target_end(p, n) == target);
        MUST(fl_scan_head_end(p, n, 0) == head);
        fl_scan_marks(p, marked, &got);
        size_t words = (marked / 64 + 2) * sizeof(uint64_t);
        MUST(memcmp(want.not_token, got.not_token, words) == 0);
        MUST(memcmp(want.not_value, got.not_value, words) == 0);
    }
    const char *found = n >= 4 ? memmem(p, n, "\r\n\r\n", 4) : NULL;
    MUST(head == (found == NULL ? 0 : (size_t)(found - p) + 4));
}

static void
check_name(fl_span name)
{
    char *canonical = copy_of(name.p, name.n), *twice = copy_of(name.p, name.n);
    fl_span s = fl_span_make(canonical, name.n);
    uint8_t id = fl_header_lookup(name);
    fl_header_normalize(canonical, name);
    fl_header_normalize(twice, s);
    MUST(memcmp(canonical, twice, name.n) == 0);
    MUST(fl_span_ieq(name, s));
    MUST(fl_header_lookup(s) == id);
    if (id != FL_H_OTHER) {
        MUST(fl_span_eq(fl_header_name(id), s));
    }
    free(canonical);
    free(twice);
}

static void
check_list(fl_span list)
{
    for (size_t from = 0; from <= list.n;) {
        size_t comma = from + fl_scan_byte(list.p + from, list.n - from, ',');
        fl_span one = fl_span_trim(fl_span_make(list.p + from, comma - from));
        MUST(one.n == 0 || fl_list_has(list, one));
        from = comma + 1;
    }
}

static void
check_lines(const char *p, size_t n)
{
    static fl_field fields[FIELDS], again[FIELDS];
    fl_cpu_use("scalar");
    int count = fl_http1_fields(p, n, fields, FIELDS);
    FOR_EACH_CPU_SET(i)
    {
        MUST(fl_http1_fields(p, n, again, FIELDS) == count);
    }
    if (count < 0) {
        return;
    }
    char *text = malloc(n + 1);
    size_t len = 0;
    MUST(text != NULL);
    for (int i = 0; i < count; i++) {
        fl_span name = fl_slice_span(p, fields[i].name);
        fl_span value = fl_slice_span(p, fields[i].value);
        MUST(fl_is_token(name) && fl_span_all(value, FL_C_VALUE));
        MUST(fl_span_trim(value).n == value.n);
        check_name(name);
        check_list(value);
        memcpy(text + len, name.p, name.n);
        len += name.n;
        text[len++] = ':';
        memcpy(text + len, value.p, value.n);
        len += value.n;
        memcpy(text + len, "\r\n", 2);
        len += 2;
    }
    MUST(len <= n);
    MUST(fl_http1_fields(text, len, again, FIELDS) == count);
    for (int i = 0; i < count; i++) {
        MUST(again[i].id == fields[i].id);
        MUST(fl_span_eq(fl_slice_span(text, again[i].value),
                        fl_slice_span(p, fields[i].value)));
    }
    free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *p = (const char *)bytes;
    check_scans(p, n);
    check_name(fl_span_make(p, n));
    check_lines(p, n);
    return 0;
}
