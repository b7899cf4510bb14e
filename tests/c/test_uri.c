/* test_uri.c -- proto/uri.h, proto/query.h and proto/host.h. What is expected of
 * decoding and of queries is what urllib.parse documents. */
#include "proto/uri.h"

#include "check.h"
#include "proto/host.h"
#include "proto/query.h"

static void
the_authority_of_an_absolute_target_is_found(void)
{
    fl_span found;
    CHECK_INT(fl_uri_authority(FL_SPAN("http://h:80/a?b"), &found), 11);
    CHECK_SPAN(found, "h:80");
    CHECK_INT(fl_uri_authority(FL_SPAN("HTTPS://h?b://c/"), &found), 9);
    CHECK_SPAN(found, "h");
    CHECK_INT(fl_uri_authority(FL_SPAN("http://"), &found), 7);
    CHECK(found.n == 0);
    CHECK_INT(fl_uri_authority(FL_SPAN("ftp://h/"), &found), 0);
    CHECK_INT(fl_uri_authority(FL_SPAN("/a?u=http://h/"), &found), 0);
    CHECK_INT(fl_uri_authority(FL_SPAN("http:/"), &found), 0);
    CHECK_INT(fl_uri_authority(FL_SPAN(""), &found), 0);
}

static void
check_decode(const char *text, bool plus, const char *want)
{
    size_t n = strlen(text);
    char *in = copy_of(text, n), *out = malloc(n);
    CHECK_SPAN(fl_span_make(out, fl_percent_decode(out, fl_span_make(in, n), plus)),
               want);
    size_t len = fl_percent_decode(in, fl_span_make(in, n), plus);
    CHECK_SPAN(fl_span_make(in, len), want); /* in place */
    free(in);
    free(out);
}

static void
percent_encoding_is_undone(void)
{
    check_decode("", true, "");
    check_decode("abc", true, "abc");
    check_decode("a%20b", false, "a b");
    check_decode("%41%7a%C3%a9", false, "Az\xC3\xA9");
    check_decode("a+b", true, "a b");
    check_decode("a+b", false, "a+b");
    check_decode("%2B+", true, "+ ");
    check_decode("%", false, "%");
    check_decode("%4", false, "%4");
    check_decode("%zz%4g%g4", false, "%zz%4g%g4");
    check_decode("%%41", false, "%A");
    check_decode("%2541", false, "%41");
    check_decode("a%", true, "a%");
    char out[3];
    CHECK_INT(fl_percent_decode(out, FL_SPAN("%00"), false), 1);
    CHECK_INT(out[0], 0);
}

static void
query_fields_come_in_order(void)
{
    char *text = copy_of("a=1&&b=&c&=d&e=f=g&x%3Dy=z+w&", 29);
    static const struct {
        const char *name, *value;
        bool equals, name_encoded, value_encoded;
    } want[] = {
        {"a", "1", true, false, false},   {"b", "", true, false, false},
        {"c", "", false, false, false},   {"", "d", true, false, false},
        {"e", "f=g", true, false, false}, {"x%3Dy", "z+w", true, true, true},
    };
    fl_span s = fl_span_make(text, 29);
    fl_query q;
    fl_query_field f;
    fl_query_init(&q, s);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        CHECK(fl_query_next(&q, &f));
        CHECK_SPAN(f.name, want[i].name);
        CHECK_SPAN(f.value, want[i].value);
        CHECK_INT(f.has_equals, want[i].equals);
        CHECK_INT(f.name_encoded, want[i].name_encoded);
        CHECK_INT(f.value_encoded, want[i].value_encoded);
    }
    CHECK(!fl_query_next(&q, &f));
    CHECK(!fl_query_next(&q, &f));
    CHECK_INT(fl_query_count(s), 8);
    free(text);
}

static void
an_empty_query_has_no_fields(void)
{
    fl_query q;
    fl_query_field f;
    fl_query_init(&q, fl_span_make(NULL, 0));
    CHECK(!fl_query_next(&q, &f));
    CHECK_INT(fl_query_count(fl_span_make(NULL, 0)), 0);
    fl_query_init(&q, FL_SPAN("&&&"));
    CHECK(!fl_query_next(&q, &f));
    CHECK_INT(fl_query_count(FL_SPAN("a;b")), 1);
}

typedef struct {
    const char *text, *host; /* host NULL: refused */
    int port;
} host_case;

static const host_case hosts[] = {
    {"", "", -1},
    {"a", "a", -1},
    {"a.example:80", "a.example", 80},
    {"a:", "a", -1},
    {"a:0", "a", 0},
    {"a:65535", "a", 65535},
    {"a:00080", "a", 80},
    {"127.0.0.1:8888", "127.0.0.1", 8888},
    {"999.1", "999.1", -1},
    {"a_b-c~.%41!$&'()*+;=", "a_b-c~.%41!$&'()*+;=", -1},
    {":80", "", 80},
    {"[::]", "[::]", -1},
    {"[::1]:80", "[::1]", 80},
    {"[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]", -1},
    {"[1::8]", "[1::8]", -1},
    {"[1:2:3:4:5:6:7::]", "[1:2:3:4:5:6:7::]", -1},
    {"[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", -1},
    {"[1:2:3:4:5:6:1.2.3.4]", "[1:2:3:4:5:6:1.2.3.4]", -1},
    {"[FE80::AbCd]:", "[FE80::AbCd]", -1},
    {"a,b", NULL, 0},
    {" a", NULL, 0},
    {"a ", NULL, 0},
    {"a b", NULL, 0},
    {"a/b", NULL, 0},
    {"a?b", NULL, 0},
    {"a#b", NULL, 0},
    {"u@a", NULL, 0},
    {"a\\b", NULL, 0},
    {"\"a\"", NULL, 0},
    {"<a>", NULL, 0},
    {"\xC3\xA9", NULL, 0},
    {"a\tb", NULL, 0},
    {"a%", NULL, 0},
    {"a%4", NULL, 0},
    {"a%4g", NULL, 0},
    {"a:b", NULL, 0},
    {"a:-1", NULL, 0},
    {"a:+1", NULL, 0},
    {"a: 1", NULL, 0},
    {"a:65536", NULL, 0},
    {"a:000080", NULL, 0},
    {"a:80:80", NULL, 0},
    {"::1", NULL, 0},
    {"[", NULL, 0},
    {"[]", NULL, 0},
    {"[a", NULL, 0},
    {"[::1", NULL, 0},
    {"[::1]a", NULL, 0},
    {"[::1]]", NULL, 0},
    {"[:::1]", NULL, 0},
    {"[1:2]", NULL, 0},
    {"[1:2:3:4:5:6:7:8:9]", NULL, 0},
    {"[1:2:3:4:5:6:7:8::]", NULL, 0},
    {"[1::2::3]", NULL, 0},
    {"[1:2:3:4:5:6:7:]", NULL, 0},
    {"[:1:2:3:4:5:6:7]", NULL, 0},
    {"[12345::]", NULL, 0},
    {"[::g]", NULL, 0},
    {"[::1%eth0]", NULL, 0},
    {"[::1.2.3]", NULL, 0},
    {"[::1.2.3.256]", NULL, 0},
    {"[::1.2.3.4.5]", NULL, 0},
    {"[::1.2.3.]", NULL, 0},
    {"[1:2:3:4:5:6:7:1.2.3.4]", NULL, 0},
    {"[v1.a]", NULL, 0},
};

static void
authorities_are_split_and_checked(void)
{
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        size_t n = strlen(hosts[i].text);
        char *text = copy_of(hosts[i].text, n);
        fl_span host;
        int port;
        bool ok = fl_host_split(fl_span_make(text, n), &host, &port);
        check_report(ok == (hosts[i].host != NULL), __LINE__, "%s is %s", hosts[i].text,
                     ok ? "accepted" : "refused");
        CHECK_INT(fl_host_valid(fl_span_make(text, n)), ok);
        if (ok && hosts[i].host != NULL) {
            CHECK_SPAN(host, hosts[i].host);
            CHECK_INT(port, hosts[i].port);
        }
        free(text);
    }
    CHECK(!fl_host_valid(fl_span_make("a\0b", 3)));
}

int
main(void)
{
    the_authority_of_an_absolute_target_is_found();
    percent_encoding_is_undone();
    query_fields_come_in_order();
    an_empty_query_has_no_fields();
    authorities_are_split_and_checked();
    return check_done();
}
