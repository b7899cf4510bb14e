/* handler_etag.c -- the ETag of an answer, and whether the peer has it already.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include <string.h>

#include "base/format.h"
#include "base/sha1.h"

/* Bodies up to here are digested here; for longer ones hashlib is as fast, and lets go
 * of the GIL. */
#define SHORT_BODY 2048

/* What was written, where it is bytes and short, as one block: *p is the chunk's own or
 * `joined`. False: hashlib's business. */
static bool
short_body(FlRequestHandler *self, char joined[SHORT_BODY], const char **p, size_t *n)
{
    Py_ssize_t count;
    PyObject *const *chunks = FlHandler_Chunks(self, &count);

    *p = joined;
    *n = 0;
    if (count == 1 && PyBytes_Check(chunks[0])) {
        *p = PyBytes_AS_STRING(chunks[0]);
        *n = (size_t)PyBytes_GET_SIZE(chunks[0]);
        return *n <= SHORT_BODY;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        size_t more = PyBytes_Check(chunks[i]) ? (size_t)PyBytes_GET_SIZE(chunks[i])
                                               : SHORT_BODY + 1;

        if (more > SHORT_BODY - *n)
            return false;
        memcpy(joined + *n, PyBytes_AS_STRING(chunks[i]), more);
        *n += more;
    }
    return true;
}

/* hashlib's SHA-1 of what was written, in hexadecimal. New reference. escapes where an
 * odd chunk was put into `_write_buffer`. */
static PyObject *
long_digest(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *sha1 = FlState_Lazy(st, &st->sha1, "hashlib", "sha1");
    PyObject *args[2], *hash, *hex = NULL;
    Py_ssize_t count;
    PyObject *const *chunks = FlHandler_Chunks(self, &count);

    if (st->sha1_keywords == NULL)
        st->sha1_keywords = Py_BuildValue("(s)", "usedforsecurity");
    if (sha1 == NULL || st->sha1_keywords == NULL)
        return NULL;
    args[0] = count > 0 ? Py_NewRef(chunks[0]) : PyBytes_FromStringAndSize(NULL, 0);
    args[1] = Py_False;
    if (args[0] == NULL)
        return NULL;
    hash = PyObject_Vectorcall(sha1, args, 1, st->sha1_keywords);
    Py_DECREF(args[0]);
    chunks = FlHandler_Chunks(self, &count);
    for (Py_ssize_t i = 1; hash != NULL && i < count; i++) {
        PyObject *chunk = Py_NewRef(chunks[i]);
        PyObject *done = PyObject_CallMethod(hash, "update", "O", chunk);

        Py_DECREF(chunk);
        chunks = FlHandler_Chunks(self, &count); /* that may have run anything */
        if (done == NULL)
            Py_CLEAR(hash);
        Py_XDECREF(done);
    }
    if (hash != NULL)
        hex = PyObject_CallMethodNoArgs(hash, st->str_hexdigest);
    Py_XDECREF(hash);
    return hex;
}

/* The ETag of a short body; false for others. */
static bool
short_digest(FlRequestHandler *self, char to[FL_ETAG_SIZE])
{
    uint8_t sum[FL_SHA1_SIZE];
    char joined[SHORT_BODY];
    const char *p;
    size_t n;

    if (!short_body(self, joined, &p, &n))
        return false;
    fl_sha1(p, n, sum);
    to[0] = to[FL_ETAG_SIZE - 1] = '"';
    fl_fmt_bytes(to + 1, sum, FL_SHA1_SIZE);
    return true;
}

/* The SHA-1 of what was written, in quotes. New reference. */
static PyObject *
digest(FlRequestHandler *self)
{
    char text[FL_ETAG_SIZE];
    PyObject *etag, *hex;

    if (short_digest(self, text))
        return PyUnicode_FromStringAndSize(text, FL_ETAG_SIZE);
    hex = long_digest(self);
    etag = hex == NULL ? NULL : PyUnicode_FromFormat("\"%U\"", hex);
    Py_XDECREF(hex);
    return etag;
}

PyObject *
FlHandler_compute_etag(PyObject *op, PyObject *unused)
{
    (void)unused;
    return digest(FlHandler_Cast(op));
}

int
FlHandler_SetEtag(FlRequestHandler *self)
{
    FlState *st = self->st;
    bool ours = ORIGINAL(self, compute_etag);
    PyObject *etag, *done;
    int err = 0;

    if (ours && self->plain != FL_PLAIN_NOT && ORIGINAL(self, set_header) &&
        ORIGINAL(self, _convert_header_value) && short_digest(self, self->etag)) {
        self->plain_etag = true;
        return 0;
    }
    etag = ours ? digest(self)
                : PyObject_CallMethodNoArgs((PyObject *)self, st->str_compute_etag);
    if (etag == NULL)
        return -1;
    if (etag != Py_None) {
        if (ours && ORIGINAL(self, set_header) && FlHandler_HasMap(self) &&
            ORIGINAL(self, _convert_header_value)) {
            err = FlHTTPHeaders_SetId(FlHandler_Map(self), FL_H_ETAG, etag);
        } else if (ORIGINAL(self, set_header) && FlHandler_HasMap(self) &&
                   PyUnicode_Check(etag)) {
            PyObject *text = FlHandler_Converted(self, etag);

            err = text == NULL
                      ? -1
                      : FlHTTPHeaders_Set(FlHandler_Map(self),
                                          FlHTTPHeaders_KnownName(st, FL_H_ETAG), text);
            Py_XDECREF(text);
        } else {
            done = PyObject_CallMethodObjArgs((PyObject *)self, st->str_set_header,
                                              FlHTTPHeaders_KnownName(st, FL_H_ETAG),
                                              etag, NULL);
            err = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        }
    }
    Py_DECREF(etag);
    return err;
}

PyObject *
FlHandler_set_etag_header(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (FlHandler_SetEtag(FlHandler_Cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static fl_span
without_weak(fl_span tag)
{
    if (tag.n > 2 && tag.p[0] == 'W' && tag.p[1] == '/')
        return fl_span_make(tag.p + 2, tag.n - 2);
    return tag;
}

/* Whether a list of entity tags names ours: RFC 9110 section 13.1.2, weakly. */
static bool
list_names(fl_span list, fl_span ours)
{
    bool first = true;

    while (list.n > 0) {
        fl_span tag;
        const char *end;

        if (list.p[0] == '*' && first)
            return true;
        if (list.p[0] == '"' || (list.n > 2 && memcmp(list.p, "W/\"", 3) == 0)) {
            size_t quote = list.p[0] == '"' ? 0 : 2;

            end = memchr(list.p + quote + 1, '"', list.n - quote - 1);
            if (end == NULL)
                return false;
            tag = fl_span_make(list.p, (size_t)(end - list.p) + 1);
            if (fl_span_eq(without_weak(tag), ours))
                return true;
            first = false;
            list.p += tag.n;
            list.n -= tag.n;
            continue;
        }
        list.p++;
        list.n--;
    }
    return false;
}

int
FlHandler_CheckEtag(FlRequestHandler *self)
{
    PyObject *ours = NULL, *theirs = NULL, *headers, *own;
    fl_span a, b;
    int answer = 0;

    if (self->plain != FL_PLAIN_NOT && FlHandler_Request(self) != NULL)
        return self->plain_etag &&
               FlHTTPServerRequest_Field(FlHandler_Request(self), FL_H_IF_NONE_MATCH,
                                         &b) &&
               list_names(b, fl_span_make(self->etag, FL_ETAG_SIZE));
    if (FlHandler_HasMap(self) && FlHandler_Request(self) != NULL) {
        int32_t at = FlHTTPHeaders_FindId(FlHandler_Map(self), FL_H_ETAG);

        if (at < 0)
            return 0;
        if (!FlHTTPServerRequest_Field(FlHandler_Request(self), FL_H_IF_NONE_MATCH, &b))
            return 0;
        if (FlHTTPHeaders_ValueSpan(FlHandler_Map(self), at, &a)) {
            a = without_weak(a);
            return a.n > 0 && list_names(b, a);
        }
    }
    headers = FlHandler_RequestAttribute(self, "headers");
    own = headers == NULL ? NULL : FlHandler_AnyHeaders(self);
    if (own != NULL) {
        theirs = PyObject_CallMethod(headers, "get", "ss", "If-None-Match", "");
        ours =
            theirs == NULL ? NULL : PyObject_CallMethod(own, "get", "ss", "Etag", "");
    }
    if (ours == NULL || theirs == NULL) {
        answer = -1;
    } else if (PyUnicode_Check(ours) && PyUnicode_Check(theirs)) {
        Py_ssize_t n = 0, m = 0;
        const char *p = PyUnicode_AsUTF8AndSize(ours, &n);
        const char *q = p == NULL ? NULL : PyUnicode_AsUTF8AndSize(theirs, &m);

        if (q == NULL) {
            answer = -1;
        } else {
            a = without_weak(fl_span_make(p, (size_t)n));
            answer = a.n > 0 && list_names(fl_span_make(q, (size_t)m), a);
        }
    }
    Py_XDECREF(headers);
    Py_XDECREF(own);
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return answer;
}

PyObject *
FlHandler_check_etag_header(PyObject *op, PyObject *unused)
{
    int answer = FlHandler_CheckEtag(FlHandler_Cast(op));

    (void)unused;
    return answer < 0 ? NULL : PyBool_FromLong(answer);
}
