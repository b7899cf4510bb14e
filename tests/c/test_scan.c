/* test_scan.c -- base/scan.h: every set of functions gives what the scalar one gives,
 * on blocks of every length up to a few hundred bytes, each of its exact size on the
 * heap. */
#include "base/scan.h"

#include "check.h"

static const char *const sets[] = {"scalar", "sse2", "avx2", "neon"};
#define SETS (sizeof(sets) / sizeof(sets[0]))

/* Bytes as they come in heads: mostly letters, with the interesting ones between. */
static void
fill(char *p, size_t n)
{
    static const char spice[] = "\r\n\r\n\r\n :?#\t\x7F\x01%\"(),/;<=>@[\\]{}\x80\xFF";
    size_t rarity = 1 + random_below(40);
    for (size_t i = 0; i < n; i++) {
        bool plain = random_below(rarity) != 0;
        p[i] = plain ? (char)('a' + random_below(26))
                     : spice[random_below(sizeof(spice) - 1)];
    }
}

static bool
same_marks(const fl_marks *a, const fl_marks *b, size_t n)
{
    size_t words = n / 64 + 2;
    return memcmp(a->not_token, b->not_token, words * 8) == 0 &&
           memcmp(a->not_value, b->not_value, words * 8) == 0;
}

static void
check_block(const char *p, size_t n)
{
    size_t from = random_below(n + 1);
    CHECK_INT(fl_scan_token_end(p, n), fl_scan_token_end_scalar(p, n));
    CHECK_INT(fl_scan_value_end(p, n), fl_scan_value_end_scalar(p, n));
    CHECK_INT(fl_scan_target_end(p, n), fl_scan_target_end_scalar(p, n));
    CHECK_INT(fl_scan_head_end(p, n, 0), fl_scan_head_end_scalar(p, n, 0));
    CHECK_INT(fl_scan_head_end(p, n, from), fl_scan_head_end_scalar(p, n, from));
    if (n <= FL_MARKS_BYTES) {
        fl_marks got, want;
        memset(&got, 0xA5, sizeof(got));
        fl_scan_marks(p, n, &got);
        fl_scan_marks_scalar(p, n, &want);
        CHECK(same_marks(&got, &want, n));
    }
}

static void
every_set_agrees_with_the_scalar_one(void)
{
    for (int round = 0; round < 20; round++) {
        for (size_t n = 0; n < 300; n++) {
            char *p = malloc(n);
            fill(p, n);
            check_block(p, n);
            free(p);
        }
    }
    for (size_t n = FL_MARKS_BYTES - 70; n <= FL_MARKS_BYTES + 70; n++) {
        char *p = malloc(n);
        fill(p, n);
        check_block(p, n);
        free(p);
    }
}

/* One foreign byte at each place of an otherwise plain block, for each of the 256. */
static void
every_byte_is_classified_at_every_place(void)
{
    enum { LEN = 97 };
    for (int c = 0; c < 256; c++) {
        for (size_t at = 0; at < LEN; at++) {
            char *p = malloc(LEN);
            memset(p, 'x', LEN);
            p[at] = (char)c;
            bool token = c != 0 && c < 0x80 &&
                         strchr("!#$%&'*+-.^_`|~0123456789"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
                                c) != NULL;
            bool value = c == '\t' || (c >= ' ' && c != 0x7F);
            bool target = c > ' ' && c != 0x7F && c != '#' && c != '?';
            CHECK_INT(fl_scan_token_end(p, LEN), token ? LEN : at);
            CHECK_INT(fl_scan_value_end(p, LEN), value ? LEN : at);
            CHECK_INT(fl_scan_target_end(p, LEN), target ? LEN : at);
            fl_marks marks;
            fl_scan_marks(p, LEN, &marks);
            CHECK_INT(marks.not_token[at / 64] >> at % 64 & 1, !token);
            CHECK_INT(marks.not_value[at / 64] >> at % 64 & 1, !value);
            CHECK_INT(marks.not_token[LEN / 64] >> LEN % 64 & 1, 1);
            CHECK_INT(marks.not_value[LEN / 64] >> LEN % 64 & 1, 1);
            free(p);
        }
    }
}

static void
the_end_of_a_head_is_found_wherever_it_is(void)
{
    for (size_t n = 4; n < 140; n++) {
        for (size_t at = 0; at + 4 <= n; at++) {
            char *p = malloc(n);
            memset(p, random_below(2) ? '\r' : '\n', n);
            memcpy(p + at, "\r\n\r\n", 4);
            CHECK_INT(fl_scan_head_end(p, n, 0), at + 4);
            for (size_t from = 0; from < at + 4; from++) {
                CHECK_INT(fl_scan_head_end(p, n, from), at + 4);
            }
            CHECK_INT(fl_scan_head_end(p, at + 3, 0), 0);
            free(p);
        }
    }
}

static void
masking_is_its_own_inverse_from_any_phase(void)
{
    const uint8_t key[4] = {0x12, 0xF3, 0x00, 0x7A};
    for (size_t n = 0; n < 200; n++) {
        for (size_t phase = 0; phase < 5; phase++) {
            char *p = malloc(n), *q = malloc(n);
            fill(p, n);
            for (size_t i = 0; i < n; i++) {
                q[i] = (char)((uint8_t)p[i] ^ key[(phase + i) % 4]);
            }
            fl_mask_xor(p, n, key, phase);
            CHECK(n == 0 || memcmp(p, q, n) == 0);
            free(p);
            free(q);
        }
    }
}

/* RFC 3629 by decoding, not by state: the length of the character at p, 0 when bad. */
static size_t
decode_one(const uint8_t *p, size_t n)
{
    static const uint32_t lowest[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80             ? 1
                 : (p[0] & 0xE0) == 0xC0 ? 2
                 : (p[0] & 0xF0) == 0xE0 ? 3
                 : (p[0] & 0xF8) == 0xF0 ? 4
                                         : 0;
    if (len <= 1 || len > n) {
        return len > n ? 0 : len;
    }
    uint32_t v = p[0] & (0x7FU >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
        v = v << 6 | (p[i] & 0x3FU);
    }
    bool good = v >= lowest[len] && v <= 0x10FFFF && (v < 0xD800 || v > 0xDFFF);
    return good ? len : 0;
}

static bool
is_utf8(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len = decode_one((const uint8_t *)p + i, n - i);
        if (len == 0) {
            return false;
        }
        i += len;
    }
    return true;
}

static void
check_utf8(const char *p, size_t n)
{
    bool want = is_utf8(p, n);
    CHECK_INT(fl_utf8_validate(FL_UTF8_START, p, n) == FL_UTF8_START, want);
    size_t cut = random_below(n + 1);
    fl_utf8_state state = fl_utf8_validate(FL_UTF8_START, p, cut);
    state = fl_utf8_validate(state, p + cut, n - cut);
    CHECK_INT(state == FL_UTF8_START, want);
    CHECK(state == fl_utf8_validate_scalar(FL_UTF8_START, p, n));
}

static size_t
put_utf8(char *p, uint32_t v)
{
    if (v < 0x80) {
        p[0] = (char)v;
        return 1;
    }
    size_t len = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; v >>= 6) {
        p[i] = (char)(0x80 | (v & 0x3F));
    }
    p[0] = (char)(0xF00U >> len | v);
    return len;
}

static void
utf8_is_judged_as_rfc_3629_says(void)
{
    /* All sequences of up to three bytes, and the four-byte ones that matter. */
    for (uint32_t v = 0; v < 0x1000000; v += v < 0x10000 ? 1 : 251) {
        char p[3] = {(char)(v >> 16), (char)(v >> 8), (char)v};
        for (size_t skip = 0; skip < 3; skip++) {
            bool good = fl_utf8_validate(FL_UTF8_START, p + skip, 3 - skip) == 0;
            CHECK(good == is_utf8(p + skip, 3 - skip));
        }
    }
    for (int round = 0; round < 20000; round++) {
        char text[400];
        size_t n = 0, len = random_below(300);
        size_t rarity = 1 + random_below(20);
        while (n < len) {
            uint32_t v = random_below(rarity) != 0
                             ? 'a'
                             : (uint32_t)(random64() % 0x110000 >> random_below(20));
            n += v >= 0xD800 && v <= 0xDFFF ? 0 : put_utf8(text + n, v);
        }
        if (n > 0 && random_below(3) == 0) {
            text[random_below(n)] = (char)random64();
        }
        char *p = copy_of(text, n);
        check_utf8(p, n);
        free(p);
    }
}

static void
a_bad_byte_is_told_at_once(void)
{
    CHECK(fl_utf8_validate(FL_UTF8_START, "\xC0", 1) == FL_UTF8_BAD);
    CHECK(fl_utf8_validate(FL_UTF8_START, "\xED\xA0", 2) == FL_UTF8_BAD);
    CHECK(fl_utf8_validate(FL_UTF8_START, "\xF4\x90", 2) == FL_UTF8_BAD);
    CHECK(fl_utf8_validate(FL_UTF8_START, "\xF0\x90\x80", 3) != FL_UTF8_BAD);
    CHECK(fl_utf8_validate(FL_UTF8_BAD, "a", 1) == FL_UTF8_BAD);
    CHECK(fl_utf8_validate(FL_UTF8_BAD, "", 0) == FL_UTF8_BAD);
}

static void
a_needle_is_found_where_it_is(void)
{
    CHECK_INT(fl_scan_find("abc", 3, "", 0), 0);
    CHECK_INT(fl_scan_find("abc", 3, "c", 1), 2);
    CHECK_INT(fl_scan_find("abc", 3, "d", 1), 3);
    CHECK_INT(fl_scan_find("abc", 3, "bc", 2), 1);
    CHECK_INT(fl_scan_find("abc", 3, "abcd", 4), 3);
    CHECK_INT(fl_scan_find("", 0, "a", 1), 0);
    CHECK_INT(fl_scan_byte("abc", 3, 'b'), 1);
    CHECK_INT(fl_scan_byte(NULL, 0, 'b'), 0);
    for (int round = 0; round < 20000; round++) {
        size_t n = random_below(100), m = 1 + random_below(6);
        char *p = malloc(n), needle[6];
        for (size_t i = 0; i < n; i++) {
            p[i] = (char)('a' + random_below(2));
        }
        for (size_t i = 0; i < m; i++) {
            needle[i] = (char)('a' + random_below(2));
        }
        size_t want = 0;
        while (want + m <= n && memcmp(p + want, needle, m) != 0) {
            want++;
        }
        CHECK_INT(fl_scan_find(p, n, needle, m), want + m <= n ? want : n);
        free(p);
    }
}

static void
a_set_that_is_not_here_is_refused(void)
{
    CHECK(!fl_cpu_use("none"));
    CHECK(fl_cpu_use("scalar"));
    CHECK(strcmp(fl_cpu.name, "scalar") == 0);
    fl_cpu_init();
#if defined(__x86_64__) || defined(__aarch64__)
    CHECK(strcmp(fl_cpu.name, "scalar") != 0);
#endif
}

int
main(void)
{
    a_set_that_is_not_here_is_refused();
    a_needle_is_found_where_it_is();
    for (size_t i = 0; i < SETS; i++) {
        if (!fl_cpu_use(sets[i])) {
            continue;
        }
        every_set_agrees_with_the_scalar_one();
        every_byte_is_classified_at_every_place();
        the_end_of_a_head_is_found_wherever_it_is();
        masking_is_its_own_inverse_from_any_phase();
        utf8_is_judged_as_rfc_3629_says();
        a_bad_byte_is_told_at_once();
    }
    return check_done();
}
