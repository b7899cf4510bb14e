/* test_ws_frame.c -- proto/ws_frame.h: RFC 6455 sections 5 and 7. */
#include "proto/ws_frame.h"

#include "base/scan.h"
#include "check.h"

static const fl_ws_rules from_client = {0, 0, true};
static const fl_ws_rules from_server = {0, 0, false};

/* All prefixes must be partial (or refused alike), and nothing read past them. */
static int
parse(const char *bytes, size_t n, fl_ws_rules rules, fl_ws_frame *out)
{
    int whole = fl_ws_frame_parse(bytes, n, &rules, out);
    for (size_t have = 0; have < n; have++) {
        fl_ws_frame other;
        char *p = copy_of(bytes, have);
        int rc = fl_ws_frame_parse(p, have, &rules, &other);
        bool told_early = whole > 0 && have >= (size_t)whole ? rc == whole : rc == 0;
        CHECK(told_early || (whole < 0 && rc == whole));
        free(p);
    }
    return whole;
}

static void
heads_are_read_in_all_three_lengths(void)
{
    fl_ws_frame f;
    CHECK_INT(parse("\x81\x85\x37\xFA\x21\x3D", 6, from_client, &f), 6);
    CHECK(f.fin && f.masked && f.opcode == FL_WS_TEXT && f.rsv == 0);
    CHECK_INT(f.length, 5);
    CHECK(memcmp(f.key, "\x37\xFA\x21\x3D", 4) == 0);
    CHECK_INT(parse("\x02\x7D", 2, from_server, &f), 2);
    CHECK(!f.fin && !f.masked && f.opcode == FL_WS_BINARY && f.length == 125);
    CHECK(memcmp(f.key, "\0\0\0\0", 4) == 0);
    CHECK_INT(parse("\x82\x7E\x00\x7E", 4, from_server, &f), 4);
    CHECK_INT(f.length, 126);
    CHECK_INT(parse("\x82\xFE\xFF\xFF\x01\x02\x03\x04rest", 12, from_client, &f), 8);
    CHECK_INT(f.length, 65535);
    CHECK_INT(parse("\x82\x7F\0\0\0\0\0\1\0\0", 10, from_server, &f), 10);
    CHECK_INT(f.length, 65536);
    CHECK_INT(parse("\x82\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10, from_server, &f),
              10);
    CHECK(f.length == INT64_MAX);
    CHECK_INT(parse("\x00\x00", 2, from_server, &f), 2);
    CHECK_INT(f.opcode, FL_WS_CONTINUATION);
}

static void
rules_are_judged_from_the_first_bytes(void)
{
    fl_ws_frame f;
    for (int opcode = 0; opcode < 16; opcode++) {
        char head[2] = {(char)(0x80 | opcode), 0};
        bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
        CHECK_INT(parse(head, 2, from_server, &f), known ? 2 : -FL_WS_BAD_OPCODE);
    }
    CHECK_INT(parse("\xC1\x00", 2, from_server, &f), -FL_WS_BAD_RSV);
    CHECK_INT(parse("\xA1\x00", 2, from_server, &f), -FL_WS_BAD_RSV);
    CHECK_INT(parse("\x91\x00", 2, from_server, &f), -FL_WS_BAD_RSV);
    fl_ws_rules deflate = {0, FL_WS_RSV1, false};
    CHECK_INT(parse("\xC1\x00", 2, deflate, &f), 2);
    CHECK_INT(f.rsv, FL_WS_RSV1);
    CHECK_INT(parse("\xE1\x00", 2, deflate, &f), -FL_WS_BAD_RSV);
    CHECK_INT(parse("\xC9\x00", 2, deflate, &f), -FL_WS_BAD_CONTROL);
    CHECK_INT(parse("\x09\x00", 2, from_server, &f), -FL_WS_BAD_CONTROL);
    CHECK_INT(parse("\x88\x7E\x00\x7E", 4, from_server, &f), -FL_WS_BAD_CONTROL);
    CHECK_INT(parse("\x8A\x7D", 2, from_server, &f), 2);
    CHECK_INT(parse("\x81\x00", 2, from_client, &f), -FL_WS_BAD_MASK);
    CHECK_INT(parse("\x81\x80", 2, from_server, &f), -FL_WS_BAD_MASK);
    CHECK_INT(parse("\x82\x7E\x00\x7D", 4, from_server, &f), -FL_WS_BAD_LENGTH);
    CHECK_INT(parse("\x82\x7F\0\0\0\0\0\0\xFF\xFF", 10, from_server, &f),
              -FL_WS_BAD_LENGTH);
    CHECK_INT(parse("\x82\x7F\x80\0\0\0\0\0\0\0", 10, from_server, &f),
              -FL_WS_BAD_LENGTH);
    fl_ws_rules small = {100, 0, false};
    CHECK_INT(parse("\x82\x64", 2, small, &f), 2);
    CHECK_INT(parse("\x82\x65", 2, small, &f), -FL_WS_TOO_LONG);
}

static void
what_is_written_is_read_back(void)
{
    static const uint64_t edges[] = {0, 1, 125, 126, 127, 65535, 65536, INT64_MAX};
    for (size_t i = 0; i < 2 * sizeof(edges) / sizeof(edges[0]); i++) {
        bool masked = i % 2 == 0;
        fl_ws_frame f = {edges[i / 2], {0},        FL_WS_BINARY,
                         FL_WS_RSV1,   i % 3 == 0, masked};
        fl_ws_rules rules = {0, FL_WS_RSV1, masked};
        if (masked) {
            memcpy(f.key, "\x01\x02\x03\x04", 4);
        }
        char head[FL_WS_HEAD_MAX];
        size_t n = fl_ws_frame_write(head, &f);
        fl_ws_frame back;
        CHECK_INT(parse(head, n, rules, &back), n);
        CHECK(back.length == f.length && back.fin == f.fin && back.masked == masked &&
              back.opcode == f.opcode && back.rsv == f.rsv &&
              memcmp(back.key, f.key, 4) == 0);
    }
}

static int
close_of(const char *payload, size_t n, unsigned *code, fl_span *reason)
{
    static char *copy;
    free(copy);
    copy = copy_of(payload, n);
    int rc = fl_ws_close_parse(fl_span_make(copy, n), code, reason);
    if (payload == NULL) {
        free(copy);
        copy = NULL;
    }
    return rc;
}

static void
close_frames_say_why(void)
{
    unsigned code;
    fl_span reason;
    CHECK_INT(close_of("", 0, &code, &reason), 0);
    CHECK_INT(code, 1005);
    CHECK_INT(reason.n, 0);
    CHECK_INT(close_of("\x03\xE8", 2, &code, &reason), 0);
    CHECK_INT(code, 1000);
    CHECK_INT(close_of("\x0F\xA0gone \xC3\xA9", 9, &code, &reason), 0);
    CHECK_INT(code, 4000);
    CHECK_SPAN(reason, "gone \xC3\xA9");
    CHECK_INT(close_of("\x03", 1, &code, &reason), 1002);
    CHECK_INT(close_of("\x03\xE7", 2, &code, &reason), 1002);
    CHECK_INT(close_of("\x03\xE8\xC3", 3, &code, &reason), 1007);
    CHECK_INT(close_of("\x03\xE8\xED\xA0\x80", 5, &code, &reason), 1007);
    close_of(NULL, 0, &code, &reason);
}

static void
close_codes_are_those_that_may_be_sent(void)
{
    for (unsigned code = 0; code < 6000; code++) {
        bool sent = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 &&
                     code != 1006) ||
                    (code >= 3000 && code < 5000);
        CHECK_INT(fl_ws_close_code_valid(code), sent);
    }
}

static void
errors_have_codes_and_texts(void)
{
    for (int e = FL_WS_OK; e <= FL_WS_TOO_LONG + 1; e++) {
        CHECK(strlen(fl_ws_error_text(e)) > 0);
        CHECK_INT(fl_ws_error_code(e), e == FL_WS_TOO_LONG ? 1009 : 1002);
    }
}

int
main(void)
{
    fl_cpu_init();
    heads_are_read_in_all_three_lengths();
    rules_are_judged_from_the_first_bytes();
    what_is_written_is_read_back();
    close_frames_say_why();
    close_codes_are_those_that_may_be_sent();
    errors_have_codes_and_texts();
    return check_done();
}
