/* fuzz_ws_frame.c -- WebSocket frame heads, masks, UTF-8 and close frames.
 *
 * A head is judged the same from every prefix that holds it, and written back as it
 * came; masks and UTF-8 are the same with every set of scanning functions and every
 * cut.
 */
#include "fuzz.h"

#include "proto/ws_frame.h"

static void
check_head(const char *p, size_t n, fl_ws_rules rules)
{
    fl_ws_frame frame, again;
    int whole = fl_ws_frame_parse(p, n, &rules, &frame);
    MUST(whole <= (int)FL_WS_HEAD_MAX && (whole < 0 || (size_t)whole <= n));
    for (size_t have = 0; have < n && have <= FL_WS_HEAD_MAX; have++) {
        char *copy = copy_of(p, have);
        int rc = fl_ws_frame_parse(copy, have, &rules, &again);
        MUST(rc == whole || rc == 0);
        MUST(whole <= 0 || rc == (have < (size_t)whole ? 0 : whole));
        free(copy);
    }
    if (whole > 0) {
        char out[FL_WS_HEAD_MAX];
        MUST(fl_ws_frame_write(out, &frame) == (size_t)whole);
        MUST(memcmp(out, p, (size_t)whole) == 0);
    }
}

static void
check_mask(const char *p, size_t n)
{
    uint8_t key[4] = {0};
    memcpy(key, p, n < 4 ? n : 4);
    choices c = choices_from(p, n);
    size_t cut = choose(&c, n + 1), phase = choose(&c, 4);
    char *want = copy_of(p, n);
    for (size_t i = 0; i < n; i++) {
        want[i] = (char)((uint8_t)want[i] ^ key[(phase + i) % 4]);
    }
    FOR_EACH_CPU_SET(i)
    {
        char *got = copy_of(p, n);
        fl_mask_xor(got, cut, key, phase);
        fl_mask_xor(got + cut, n - cut, key, phase + cut);
        MUST(memcmp(got, want, n) == 0);
        free(got);
    }
    free(want);
}

static void
check_utf8(const char *p, size_t n)
{
    choices c = choices_from(p, n);
    fl_utf8_state want = fl_utf8_validate_scalar(FL_UTF8_START, p, n);
    FOR_EACH_CPU_SET(i)
    {
        fl_utf8_state state = FL_UTF8_START;
        for (size_t at = 0; at < n;) {
            size_t piece = 1 + choose(&c, n - at);
            state = fl_utf8_validate(state, p + at, piece);
            at += piece;
        }
        MUST(state == want);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    const char *p = (const char *)bytes;
    unsigned code;
    fl_span reason;
    check_head(p, n, (fl_ws_rules){0, 0, true});
    check_head(p, n, (fl_ws_rules){0, FL_WS_RSV1, false});
    check_head(p, n, (fl_ws_rules){1000, FL_WS_RSV1, true});
    check_mask(p, n);
    check_utf8(p, n);
    int rc = fl_ws_close_parse(fl_span_make(p, n), &code, &reason);
    MUST(rc == 0 || rc == 1002 || rc == 1007);
    if (rc == 0 && n > 0) {
        MUST(fl_ws_close_code_valid(code) && reason.n + 2 == n);
    }
    return 0;
}
