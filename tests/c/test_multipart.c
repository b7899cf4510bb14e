/* test_multipart.c -- proto/multipart.h: forms as browsers and others send them, and
 * forms that nobody should. */
#include "proto/multipart.h"

#include "base/scan.h"
#include "check.h"

/* Renders all parts as name[/filename][(type)]=data| and the reason at the end, if any.
 */
static const char *
parts_with(const char *boundary, const char *text, size_t n, fl_multipart_limits limits)
{
    static char out[4000];
    static fl_part part;
    fl_multipart m;
    size_t len = 0;
    char *body = copy_of(text, n);
    fl_span b = fl_span_make(boundary, strlen(boundary));
    int rc = fl_multipart_init(&m, b, fl_span_make(body, n), &limits);
    out[0] = '\0';
    while (rc == 0 && (rc = fl_multipart_next(&m, &part)) == 1) {
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%.*s%s%.*s",
                                (int)part.name.n, part.name.p,
                                part.has_filename ? "/" : "", (int)part.filename.n,
                                part.has_filename ? part.filename.p : "");
        if (part.content_type.p != NULL) {
            len += (size_t)snprintf(out + len, sizeof(out) - len, "(%.*s)",
                                    (int)part.content_type.n, part.content_type.p);
        }
        len += (size_t)snprintf(out + len, sizeof(out) - len, "=%.*s|",
                                (int)part.data.n, part.data.p);
        rc = 0;
    }
    if (rc == 0) {
        CHECK_INT(fl_multipart_next(&m, &part), 0);
    }
    if (rc < 0) {
        snprintf(out + len, sizeof(out) - len, "%s", fl_reason_text(-rc));
        if (rc != -FL_BAD_BOUNDARY) {
            CHECK_INT(fl_multipart_next(&m, &part), rc);
        }
    }
    free(body);
    return out;
}

static const char *
parts_of(const char *text)
{
    return parts_with("B", text, strlen(text), FL_MULTIPART_LIMITS);
}

#define CHECK_TEXT(got, want) check_text((got), (want), __LINE__)

static void
check_text(const char *got, const char *want, int line)
{
    check_report(strcmp(got, want) == 0, line, "got \"%s\", want \"%s\"", got, want);
}

#define CD "Content-Disposition: form-data; name="

static void
parts_come_in_order(void)
{
    CHECK_TEXT(parts_of("--B--"), "");
    CHECK_TEXT(parts_of("--B--\r\nepilogue"), "");
    CHECK_TEXT(parts_of("--B\r\n" CD "a\r\n\r\n1\r\n--B--\r\n"), "a=1|");
    CHECK_TEXT(parts_of("--B\r\n" CD "\"a\"\r\n\r\n1\r\n--B\r\n" CD
                        "\"b\"; filename=\"f.txt\"\r\nContent-Type: text/plain\r\n"
                        "\r\nx\r\ny\r\n\r\n--B--"),
               "a=1|b/f.txt(text/plain)=x\r\ny\r\n|");
    CHECK_TEXT(parts_of("--B\r\n" CD "\"\"; filename=\"\"\r\n\r\n\r\n--B--"), "/=|");
    /* A preamble, white space after a boundary, any case of names. */
    CHECK_TEXT(parts_of("hello\r\n--B \t\r\nCONTENT-disposition: FORM-DATA; NAME=a\r\n"
                        "\r\n1\r\n--B--x"),
               "a=1|");
}

static void
a_part_keeps_what_its_head_says(void)
{
    static fl_part part;
    fl_multipart m;
    const char *text = "--B\r\n" CD "\"n\\\"m\"; filename=\"x\\\\y\"; "
                       "filename*=UTF-8''%e2%82%ac; other=1\r\nX-Y: z\r\n\r\n\r\n--B--";
    fl_span body = fl_span_make(text, strlen(text));
    CHECK_INT(fl_multipart_init(&m, FL_SPAN("B"), body, &FL_MULTIPART_LIMITS), 0);
    CHECK_INT(fl_multipart_next(&m, &part), 1);
    CHECK_SPAN(part.name, "n\\\"m");
    CHECK(part.name_escaped && part.filename_escaped && part.has_filename);
    CHECK_SPAN(part.filename, "x\\\\y");
    CHECK_SPAN(part.extended, "form-data; name=\"n\\\"m\"; filename=\"x\\\\y\"; "
                              "filename*=UTF-8''%e2%82%ac; other=1");
    CHECK(part.content_type.p == NULL);
    CHECK_INT(part.nfields, 2);
    CHECK_SPAN(fl_slice_span(part.head.p, part.fields[1].value), "z");
    CHECK_INT(fl_multipart_next(&m, &part), 0);
}

static void
near_misses_of_the_delimiter_are_data(void)
{
    CHECK_TEXT(parts_of("--B\r\n" CD "a\r\n\r\nx\n--B\ny--B\r\r\n--Bz\r\n-B\r\n--B--"),
               "a=x\n--B\ny--B\r\r\n--Bz\r\n-B|");
    CHECK_TEXT(parts_of("--B\r\n" CD "a\r\n\r\n\r\r\n\n\r\n--B--"), "a=\r\r\n\n|");
}

static void
empty_parts_and_data_are_fine(void)
{
    CHECK_TEXT(parts_of("--B\r\n" CD "a\r\n\r\n\r\n--B--"), "a=|");
    /* The empty line of the head is the delimiter's own. */
    CHECK_TEXT(parts_of("--B\r\n" CD "a\r\n\r\n--B--"), "a=|");
    /* A part with nothing at all is skipped. */
    CHECK_TEXT(parts_of("--B\r\n--B\r\n" CD "a\r\n\r\n1\r\n--B--"), "a=1|");
    CHECK_TEXT(parts_of("--B\r\n--B--"), "");
}

static void
broken_forms_end_at_the_first_error(void)
{
    static const struct {
        int reason;
        const char *text;
    } bad[] = {
        {FL_BAD_MULTIPART, ""},
        {FL_BAD_MULTIPART, "--B"},
        {FL_BAD_MULTIPART, "--B\r\n"},
        {FL_BAD_MULTIPART, "x--B\r\n"},
        {FL_BAD_MULTIPART, "--C\r\n" CD "a\r\n\r\n1\r\n--C--"},
        {FL_BAD_MULTIPART, "--B\r\n" CD "a\r\n\r\n1"},
        {FL_BAD_MULTIPART, "--B\r\n" CD "a\r\n\r\n1\r\n--B"},
        {FL_BAD_MULTIPART, "--B\r\n" CD "a\r\n\r\n1\r\n--B-"},
        {FL_BAD_MULTIPART, "--B\n" CD "a\n\n1\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\n" CD "a\r\n1\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\nx\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\n" CD "a\r\nno colon\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\n" CD "a\r\nX: a\rb\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\n" CD "a\r\nX: a\nb\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\n" CD "a\r\n folded\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_HEAD, "--B\r\nX : a\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_DISPOSITION, "--B\r\nX: a\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_DISPOSITION, "--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n"
                                  "--B--"},
        {FL_BAD_PART_DISPOSITION,
         "--B\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--B--"},
        {FL_BAD_PART_DISPOSITION, "--B\r\n" CD "a\r\n" CD "b\r\n\r\n1\r\n--B--"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *got = parts_of(bad[i].text);
        check_report(strcmp(got, fl_reason_text(bad[i].reason)) == 0, __LINE__,
                     "got \"%s\", want \"%s\" for \"%s\"", got,
                     fl_reason_text(bad[i].reason), bad[i].text);
    }
}

static void
limits_hold_before_a_part_is_split(void)
{
    const char *text = "--B\r\n" CD "a\r\n\r\n1\r\n--B\r\n" CD "b\r\n\r\n2\r\n--B--";
    size_t n = strlen(text);
    fl_multipart_limits limits = {2, 41};
    CHECK_INT(strlen(CD "a\r\n\r\n"), 42);
    CHECK_TEXT(parts_with("B", text, n, limits), fl_reason_text(FL_BAD_PART_HEAD_LONG));
    limits.max_head = 42;
    CHECK_TEXT(parts_with("B", text, n, limits), "a=1|b=2|");
    limits.max_parts = 1;
    char want[200];
    snprintf(want, sizeof(want), "a=1|%s", fl_reason_text(FL_BAD_PART_COUNT));
    CHECK_TEXT(parts_with("B", text, n, limits), want);
    limits.max_parts = 0;
    CHECK_TEXT(parts_with("B", text, n, limits), fl_reason_text(FL_BAD_PART_COUNT));
    CHECK_TEXT(parts_with("B", "--B--", 5, limits), "");
}

static void
a_part_has_a_bounded_number_of_fields(void)
{
    char text[2000];
    for (int fields = FL_PART_FIELDS; fields <= FL_PART_FIELDS + 1; fields++) {
        size_t n = (size_t)sprintf(text, "--B\r\n" CD "a\r\n");
        for (int i = 1; i < fields; i++) {
            n += (size_t)sprintf(text + n, "X-%d: y\r\n", i);
        }
        n += (size_t)sprintf(text + n, "\r\n1\r\n--B--");
        CHECK_TEXT(parts_with("B", text, n, FL_MULTIPART_LIMITS),
                   fields > FL_PART_FIELDS ? fl_reason_text(FL_BAD_PART_HEAD) : "a=1|");
    }
}

static void
boundaries_are_found_and_checked(void)
{
    fl_span b;
    CHECK_INT(fl_multipart_boundary(FL_SPAN("multipart/form-data; boundary=x"), &b), 0);
    CHECK_SPAN(b, "x");
    CHECK_INT(fl_multipart_boundary(
                  FL_SPAN("multipart/form-data; charset=y;BOUNDARY=\"a b;c\""), &b),
              0);
    CHECK_SPAN(b, "a b;c");
    CHECK_INT(fl_multipart_boundary(FL_SPAN("multipart/form-data"), &b),
              -FL_BAD_BOUNDARY);
    CHECK_INT(fl_multipart_boundary(FL_SPAN("multipart/form-data; boundary="), &b),
              -FL_BAD_BOUNDARY);
    const char *wrong = fl_reason_text(FL_BAD_BOUNDARY);
    char longest[FL_BOUNDARY_MAX + 2] = {0};
    CHECK_TEXT(parts_with("", "----", 4, FL_MULTIPART_LIMITS), wrong);
    CHECK_TEXT(parts_with("a\rb", "--a\rb--", 7, FL_MULTIPART_LIMITS), wrong);
    memset(longest, 'b', FL_BOUNDARY_MAX + 1);
    CHECK_TEXT(parts_with(longest, "", 0, FL_MULTIPART_LIMITS), wrong);
    longest[FL_BOUNDARY_MAX] = '\0';
    CHECK_TEXT(parts_with(longest, "", 0, FL_MULTIPART_LIMITS),
               fl_reason_text(FL_BAD_MULTIPART));
}

/* Random forms, written and read back; data is full of near misses. */
static void
what_was_written_is_read_back(void)
{
    static const char *const bits[] = {"\r\n", "\r\n--", "\r\n--B", "--B--",    "-",
                                       "\r",   "\n",     "x",       "\r\n--B-x"};
    for (int round = 0; round < 3000; round++) {
        char text[4000], want[4000];
        size_t n = 0, w = 0;
        for (size_t parts = random_below(5); parts > 0; parts--) {
            n += (size_t)sprintf(text + n, "--B\r\n" CD "p\r\n\r\n.");
            w += (size_t)sprintf(want + w, "p=.");
            for (size_t k = random_below(12); k > 0; k--) {
                const char *bit = bits[random_below(sizeof(bits) / sizeof(bits[0]))];
                bool delimits = k > 1 && strncmp(bit, "\r\n--B", 5) == 0;
                n += (size_t)sprintf(text + n, "%s%s", bit, delimits ? "x" : "");
                w += (size_t)sprintf(want + w, "%s%s", bit, delimits ? "x" : "");
            }
            n += (size_t)sprintf(text + n, "y\r\n");
            w += (size_t)sprintf(want + w, "y|");
        }
        n += (size_t)sprintf(text + n, "--B--");
        want[w] = '\0';
        if (strstr(want, "\r\n--B--") == NULL && strstr(want, "\r\n--B\r\n") == NULL) {
            CHECK_TEXT(parts_with("B", text, n, FL_MULTIPART_LIMITS), want);
        }
    }
}

int
main(void)
{
    fl_cpu_init();
    parts_come_in_order();
    a_part_keeps_what_its_head_says();
    near_misses_of_the_delimiter_are_data();
    empty_parts_and_data_are_fine();
    broken_forms_end_at_the_first_error();
    limits_hold_before_a_part_is_split();
    a_part_has_a_bounded_number_of_fields();
    boundaries_are_found_and_checked();
    what_was_written_is_read_back();
    return check_done();
}
