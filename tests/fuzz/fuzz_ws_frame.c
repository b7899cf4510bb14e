/* fuzz_ws_frame.c -- WebSocket frame heads, masks, UTF-8 and close frames.
 *
 * A head is judged the same from every prefix that holds it, and written back as it
 * came; any frame that is written is read as it was. The input as a stream of frames is
 * unmasked the same in place, whatever the cut. Masks and UTF-8 are the same with every
 * set of scanning functions and every cut, and a bad text is bad from its first bad byte
 * on, not before and not later.
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
check_write(const char *p, size_t n)
{
    static const uint8_t opcodes[] = {FL_WS_CONTINUATION, FL_WS_TEXT, FL_WS_BINARY,
                                      FL_WS_CLOSE,        FL_WS_PING, FL_WS_PONG};
    choices c = choices_from(p, n);
    fl_ws_frame frame = {0}, again;
    char out[FL_WS_HEAD_MAX];
    bool control;
    memcpy(frame.key, p, n < 4 ? n : 4);
    frame.opcode = opcodes[choose(&c, 6)];
    control = frame.opcode >= FL_WS_CLOSE;
    frame.fin = control || choose(&c, 2) == 1;
    frame.rsv = control || choose(&c, 2) == 1 ? 0 : FL_WS_RSV1;
    frame.masked = choose(&c, 2) == 1;
    frame.length = control ? choose(&c, 126) : c.state >> (1 + choose(&c, 63));
    if (!frame.masked) {
        memset(frame.key, 0, 4);
    }
    size_t used = fl_ws_frame_write(out, &frame);
    char *copy = copy_of(out, used);
    fl_ws_rules rules = {0, FL_WS_RSV1, frame.masked};
    MUST(fl_ws_frame_parse(copy, used, &rules, &again) == (int)used);
    MUST(again.length == frame.length && again.opcode == frame.opcode);
    MUST(again.fin == frame.fin && again.rsv == frame.rsv);
    MUST(memcmp(again.key, frame.key, 4) == 0);
    rules.want_mask = !frame.masked;
    MUST(fl_ws_frame_parse(copy, used, &rules, &again) == -FL_WS_BAD_MASK);
    free(copy);
}

/* The input as frames of a client, each unmasked in two pieces by every set. */
static void
check_stream(const char *p, size_t n)
{
    fl_ws_rules rules = {1 << 20, FL_WS_RSV1, true};
    choices c = choices_from(p, n);
    size_t at = 0;
    while (at < n) {
        fl_ws_frame frame;
        int used = fl_ws_frame_parse(p + at, n - at, &rules, &frame);
        if (used <= 0 || frame.length > n - at - (size_t)used) {
            return;
        }
        size_t length = (size_t)frame.length, cut = choose(&c, length + 1);
        const char *payload = p + at + used;
        FOR_EACH_CPU_SET(i)
        {
            char *copy = copy_of(payload, length);
            fl_mask_xor(copy, cut, frame.key, 0);
            fl_mask_xor(copy + cut, length - cut, frame.key, cut & 3);
            for (size_t k = 0; k < length; k++) {
                MUST((uint8_t)copy[k] == ((uint8_t)payload[k] ^ frame.key[k & 3]));
            }
            free(copy);
        }
        at += (size_t)used + length;
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
    /* The first prefix that nothing can make valid: bad there, and ever after. */
    fl_utf8_state state = FL_UTF8_START;
    bool bad = false;
    for (size_t at = 0; at < n; at++) {
        state = fl_utf8_validate_scalar(state, p + at, 1);
        MUST(!bad || state == FL_UTF8_BAD);
        if (state == FL_UTF8_BAD && !bad) {
            bad = true;
            FOR_EACH_CPU_SET(i)
            {
                char *before = copy_of(p, at), *with = copy_of(p, at + 1);
                MUST(fl_utf8_validate(FL_UTF8_START, before, at) != FL_UTF8_BAD);
                MUST(fl_utf8_validate(FL_UTF8_START, with, at + 1) == FL_UTF8_BAD);
                free(before);
                free(with);
            }
        }
    }
    MUST(bad == (want == FL_UTF8_BAD));
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
    check_write(p, n);
    check_stream(p, n);
    check_mask(p, n);
    check_utf8(p, n);
    int rc = fl_ws_close_parse(fl_span_make(p, n), &code, &reason);
    MUST(rc == 0 || rc == 1002 || rc == 1007);
    if (rc == 0 && n > 0) {
        MUST(fl_ws_close_code_valid(code) && reason.n + 2 == n);
    }
    return 0;
}
