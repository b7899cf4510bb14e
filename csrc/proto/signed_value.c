/* signed_value.c -- the parts of a signed cookie of Tornado's version 2.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#include "proto/signed_value.h"

#include "base/format.h"

enum {
    MAX_DIGITS = 18,       /* of a number: what an int64_t always holds */
    MAX_LENGTH_DIGITS = 9, /* of a length */
};

/* Takes one `length:text|` from the front of *rest. */
static bool
take_part(fl_span *rest, fl_span *part)
{
    uint64_t length;
    size_t at = 0;

    while (at < rest->n && at <= MAX_LENGTH_DIGITS && rest->p[at] != ':')
        at++;
    if (at == rest->n || rest->p[at] != ':' || at > MAX_LENGTH_DIGITS ||
        !fl_parse_u64(fl_span_make(rest->p, at), &length))
        return false;
    at++;
    if (length >= rest->n - at || rest->p[at + length] != '|')
        return false;
    *part = fl_span_make(rest->p + at, (size_t)length);
    at += (size_t)length + 1;
    *rest = fl_span_make(rest->p + at, rest->n - at);
    return true;
}

static bool
take_number(fl_span *rest, bool signs, int64_t *out)
{
    fl_span digits;
    uint64_t value;
    bool negative;

    if (!take_part(rest, &digits) || digits.n == 0)
        return false;
    negative = signs && digits.p[0] == '-';
    if (negative)
        digits = fl_span_make(digits.p + 1, digits.n - 1);
    if (digits.n > MAX_DIGITS || !fl_parse_u64(digits, &value))
        return false;
    *out = negative ? -(int64_t)value : (int64_t)value;
    return true;
}

static bool
is_base64(fl_span s)
{
    size_t n = s.n;

    for (int padding = 0; padding < 2 && n > 0 && s.p[n - 1] == '='; padding++)
        n--;
    for (size_t i = 0; i < n; i++) {
        char c = s.p[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              (c >= '0' && c <= '9') || c == '+' || c == '/'))
            return false;
    }
    return true;
}

static bool
is_signature(fl_span s)
{
    if (s.n != FL_SIGNATURE_V2)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}

bool
fl_signed_value_split(fl_span text, fl_signed_value *out)
{
    fl_span rest;

    if (text.n < 2 || text.p[0] != '2' || text.p[1] != '|')
        return false;
    rest = fl_span_make(text.p + 2, text.n - 2);
    if (!take_number(&rest, true, &out->key_version) ||
        !take_number(&rest, false, &out->timestamp) || !take_part(&rest, &out->name) ||
        !take_part(&rest, &out->value) || !is_base64(out->value) || !is_signature(rest))
        return false;
    out->signature = rest;
    out->covered = fl_span_make(text.p, text.n - rest.n);
    return true;
}
