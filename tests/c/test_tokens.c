/* test_tokens.c -- proto/tokens.h: the tables say what the RFCs say, and every known
 * name is found in any case. */
#include "proto/tokens.h"

#include "check.h"

static const char alnum[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static bool
among(int c, const char *set)
{
    return c != 0 && c < 0x80 && (strchr(alnum, c) != NULL || strchr(set, c) != NULL);
}

static void
classes_are_those_of_the_rfcs(void)
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        bool hex = c != 0 && c < 0x80 && strchr("0123456789abcdefABCDEF", c) != NULL;
        bool visible = c > ' ' && c < 0x7F;
        CHECK_INT(fl_is(byte, FL_C_TOKEN), among(c, "!#$%&'*+-.^_`|~"));
        CHECK_INT(fl_is(byte, FL_C_VALUE), c == '\t' || (c >= ' ' && c != 0x7F));
        CHECK_INT(fl_is(byte, FL_C_HEX), hex);
        CHECK_INT(fl_is(byte, FL_C_DIGIT), c >= '0' && c <= '9');
        CHECK_INT(fl_is(byte, FL_C_TARGET), (visible && c != '#') || c >= 0x80);
        CHECK_INT(fl_is(byte, FL_C_HOST), among(c, "-._~!$&'()*+;="));
        CHECK_INT(fl_is(byte, FL_C_COOKIE),
                  visible && c != '"' && c != ',' && c != ';' && c != '\\');
        CHECK_INT(fl_hex_value(byte) >= 0, hex);
    }
    CHECK_INT(fl_hex_value('0'), 0);
    CHECK_INT(fl_hex_value('a'), 10);
    CHECK_INT(fl_hex_value('F'), 15);
    CHECK(!fl_is_token(FL_SPAN("")));
    CHECK(fl_is_token(FL_SPAN("GET")));
    CHECK(!fl_is_token(FL_SPAN("G ET")));
}

static uint8_t
look_up(const char *name, size_t n)
{
    char *copy = copy_of(name, n);
    uint8_t id = fl_header_lookup(fl_span_make(copy, n));
    free(copy);
    return id;
}

static void
every_known_name_is_found_in_any_case(void)
{
    for (int id = FL_H_OTHER + 1; id < FL_H_COUNT; id++) {
        fl_span name = fl_header_name(id);
        char other[64];
        CHECK(name.n > 0 && name.n < sizeof(other));
        CHECK_INT(look_up(name.p, name.n), id);
        for (size_t i = 0; i < name.n; i++) {
            other[i] = fl_ascii_lower(name.p[i]);
        }
        CHECK_INT(look_up(other, name.n), id);
        for (size_t i = 0; i < name.n; i++) {
            other[i] = (char)(other[i] >= 'a' ? other[i] - 32 : other[i]);
        }
        CHECK_INT(look_up(other, name.n), id);
        fl_header_normalize(other, fl_span_make(other, name.n));
        CHECK(memcmp(other, name.p, name.n) == 0);
    }
}

/* Every byte of every name replaced by every other byte: only the letter's other case
 * is the same name. */
static void
nothing_else_is_taken_for_a_known_name(void)
{
    for (int id = FL_H_OTHER + 1; id < FL_H_COUNT; id++) {
        fl_span name = fl_header_name(id);
        char other[64];
        for (size_t i = 0; i < name.n; i++) {
            for (int c = 0; c < 256; c++) {
                memcpy(other, name.p, name.n);
                other[i] = (char)c;
                bool same = fl_ascii_lower(name.p[i]) == fl_ascii_lower((char)c);
                int got = look_up(other, name.n);
                CHECK(same ? got == id : got != id);
            }
        }
        CHECK(look_up(name.p, name.n - 1) != id);
        memcpy(other, name.p, name.n);
        other[name.n] = 'x';
        CHECK(look_up(other, name.n + 1) != id);
    }
    CHECK_INT(look_up("", 0), FL_H_OTHER);
    CHECK_INT(look_up("X-Unknown", 9), FL_H_OTHER);
    CHECK_INT(look_up("__proto__", 9), FL_H_OTHER);
    CHECK_INT(fl_header_name(FL_H_OTHER).n, 0);
    CHECK_INT(fl_header_name(-1).n, 0);
    CHECK_INT(fl_header_name(FL_H_COUNT).n, 0);
}

static void
names_are_written_with_capitals_after_dashes(void)
{
    static const char *const pairs[][2] = {
        {"content-type", "Content-Type"},
        {"ETAG", "Etag"},
        {"wWW-aUTHENTICATE", "Www-Authenticate"},
        {"x--y", "X--Y"},
        {"-a-", "-A-"},
        {"x_forwarded_for", "X_forwarded_for"},
        {"1a-2b", "1a-2b"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        size_t n = strlen(pairs[i][0]);
        char *got = malloc(n);
        fl_header_normalize(got, fl_span_make(pairs[i][0], n));
        CHECK_SPAN(fl_span_make(got, n), pairs[i][1]);
        CHECK(fl_header_is_normal(fl_span_make(got, n)));
        CHECK(fl_header_is_normal(fl_span_make(pairs[i][0], n)) ==
              (memcmp(pairs[i][0], got, n) == 0));
        free(got);
    }
}

int
main(void)
{
    classes_are_those_of_the_rfcs();
    every_known_name_is_found_in_any_case();
    nothing_else_is_taken_for_a_known_name();
    names_are_written_with_capitals_after_dashes();
    return check_done();
}
