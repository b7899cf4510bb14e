/* route_pattern.c -- a rule's regular expression taken apart, where it is simple enough.
 *
 * Literal text and groups of one class of characters become pieces; the first thing that
 * is neither leaves the whole pattern to `re`. Which characters a class has is asked of
 * `re` itself.
 *
 * Invariant: no two groups touch, and the text behind a group cannot begin with one of
 * its characters, so that greedy matching needs no second try.
 *
 * Layer: web. Threads: none.
 */
#include "web/route_parts.h"

#include <string.h>

/* Asks `re` which single characters of latin-1 a class has. 0 or -1. */
static int
fill_set(FlRoutePiece *p, PyObject *source)
{
    PyObject *re = PyImport_ImportModule("re");
    PyObject *compiled =
        re == NULL ? NULL : PyObject_CallMethod(re, "compile", "O", source);
    int err = compiled == NULL ? -1 : 0;

    memset(p->set, 0, sizeof(p->set));
    for (int c = 0; err == 0 && c < 256; c++) {
        PyObject *text = PyUnicode_FromOrdinal(c);
        PyObject *found =
            text == NULL ? NULL : PyObject_CallMethod(compiled, "fullmatch", "O", text);

        if (found == NULL)
            err = -1;
        else if (found != Py_None)
            p->set[c >> 3] |= (uint8_t)(1u << (c & 7));
        Py_XDECREF(text);
        Py_XDECREF(found);
    }
    Py_XDECREF(re);
    Py_XDECREF(compiled);
    return err;
}

/* The length of one class at s: "[...]", "\d", "."; 0 when it is none we take. */
static Py_ssize_t
class_length(const char *s, Py_ssize_t n)
{
    Py_ssize_t i = 1;

    if (n > 0 && s[0] == '.')
        return 1;
    if (n > 1 && s[0] == '\\' && strchr("dwsDWS", s[1]) != NULL)
        return 2;
    if (n < 3 || s[0] != '[')
        return 0;
    if (s[i] == '^')
        i++;
    if (i < n && s[i] == ']')
        i++;
    for (; i < n && s[i] != ']'; i++) {
        if (s[i] == '\\')
            i++;
    }
    return i < n ? i + 1 : 0;
}

/* "(class+)" or "(?P<name>class*)" at s. 1 and *used, 0: no, -1. */
static int
parse_group(const char *s, Py_ssize_t n, FlRoutePiece *p, Py_ssize_t *used)
{
    Py_ssize_t at = 1, length;
    PyObject *source;
    int err;

    if (n > 3 && s[1] == '?') {
        if (s[2] != 'P' || s[3] != '<')
            return 0;
        for (at = 4; at < n && s[at] != '>'; at++)
            continue;
        at++;
    }
    if (at >= n)
        return 0;
    length = class_length(s + at, n - at);
    if (length == 0 || at + length + 1 >= n)
        return 0;
    if ((s[at + length] != '+' && s[at + length] != '*') || s[at + length + 1] != ')')
        return 0;
    p->group = true;
    p->least = s[at + length] == '+';
    source = PyUnicode_FromStringAndSize(s + at, length);
    err = source == NULL ? -1 : fill_set(p, source);
    Py_XDECREF(source);
    *used = at + length + 2;
    return err < 0 ? -1 : 1;
}

/* One literal character at s: how many bytes of pattern, 0: no. */
static int
literal_length(const char *s, Py_ssize_t n, char *out)
{
    unsigned char c = (unsigned char)s[0];

    if (c == '\\') {
        if (n < 2 || (unsigned char)s[1] >= 128 || Py_ISALNUM(s[1]))
            return 0;
        *out = s[1];
        return 2;
    }
    if (c >= 128 || strchr(".^$*+?{}[]|()\\ \t\n#", c) != NULL)
        return 0;
    *out = s[0];
    return 1;
}

static bool
pieces_simple(const FlRoute *r)
{
    for (int i = 0; i + 1 < r->count; i++) {
        if (!r->pieces[i].group)
            continue;
        if (r->pieces[i + 1].group ||
            FlRoutePiece_Has(&r->pieces[i],
                             (unsigned char)r->text[r->pieces[i + 1].at]))
            return false;
    }
    return true;
}

int
FlRoute_ParsePattern(FlRoute *r, const char *s, Py_ssize_t n)
{
    uint32_t length = 0;

    r->text = PyMem_Malloc((size_t)n + 1);
    r->pieces = PyMem_Calloc(FL_ROUTE_PIECES, sizeof(FlRoutePiece));
    if (r->text == NULL || r->pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (n == 0 || s[n - 1] != '$' || (n > 1 && s[n - 2] == '\\'))
        return 0;
    n--;
    if (n > 0 && s[0] == '^') {
        s++;
        n--;
    }
    while (n > 0) {
        FlRoutePiece *last = r->count > 0 ? &r->pieces[r->count - 1] : NULL;
        Py_ssize_t used;

        if (s[0] == '(') {
            int ok = r->count < FL_ROUTE_PIECES
                         ? parse_group(s, n, &r->pieces[r->count], &used)
                         : 0;

            if (ok <= 0)
                return ok;
            r->count++;
        } else {
            used = literal_length(s, n, &r->text[length]);
            if (used == 0)
                return 0;
            if (used < n && strchr("*+?{", s[used]) != NULL)
                return 0;
            if (last == NULL || last->group) {
                if (r->count == FL_ROUTE_PIECES)
                    return 0;
                last = &r->pieces[r->count++];
                last->at = length;
            }
            last->length++;
            length++;
        }
        s += used;
        n -= used;
    }
    return pieces_simple(r);
}
