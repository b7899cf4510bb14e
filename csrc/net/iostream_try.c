/* iostream_try.c -- what each kind of read makes of the bytes that are there.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <string.h>

#include "base/scan.h"

#define SINK_ASKED ((size_t)1024 * 1024)

/* ---- results in the making ---- */

int
fl_sink_reserve(FlIOStream *s, size_t n, size_t most)
{
    size_t room = s->sink == NULL ? 0 : (size_t)PyBytes_GET_SIZE(s->sink);
    size_t target = room;

    if (room - s->sink_len >= n)
        return 0;
    if (target == 0)
        target = s->read_kind == FL_READ_BYTES ? SINK_ASKED : FL_SINK_LEAST;
    while (target - s->sink_len < n)
        target =
            target > (size_t)PY_SSIZE_T_MAX / 2 ? (size_t)PY_SSIZE_T_MAX : 2 * target;
    if (target > most)
        target = most > s->sink_len + n ? most : s->sink_len + n;
    if (s->sink == NULL) {
        s->sink = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)target);
        return s->sink == NULL ? -1 : 0;
    }
    if (_PyBytes_Resize(&s->sink, (Py_ssize_t)target) == 0)
        return 0;
    s->sink_len = 0; /* the bytes are gone, the stream will go with them */
    return -1;
}

static int
sink_append(FlIOStream *s, const char *p, size_t n, size_t most)
{
    if (n == 0)
        return 0;
    if (fl_sink_reserve(s, n, most) < 0)
        return -1;
    memcpy(PyBytes_AS_STRING(s->sink) + s->sink_len, p, n);
    s->sink_len += n;
    return 0;
}

PyObject *
fl_sink_take(FlIOStream *s)
{
    PyObject *result = s->sink;
    Py_ssize_t n = (Py_ssize_t)s->sink_len;

    s->sink = NULL;
    s->sink_len = 0;
    if (result == NULL)
        return PyBytes_FromStringAndSize(NULL, 0);
    if (PyBytes_GET_SIZE(result) == n)
        return result;
    if (Py_REFCNT(result) == 1) {
        (void)_PyBytes_Resize(&result, n);
    } else { /* it is being received into, further up the stack */
        PyObject *whole = result;

        result = PyBytes_FromStringAndSize(PyBytes_AS_STRING(whole), n);
        Py_DECREF(whole);
    }
    return result;
}

/* ---- trying ---- */

static int
unsatisfiable(FlIOStream *s, const char *what)
{
    PyErr_Format(s->st->hook_UnsatisfiableReadError, "%s not found within %zd bytes",
                 what, s->read_max);
    return -1;
}

int
fl_stream_buffer_full(FlIOStream *s)
{
    PyErr_Format(s->st->hook_StreamBufferFullError,
                 "Reached maximum read buffer size (max_buffer_size is %zd bytes)",
                 s->max_buffer_size);
    return -1;
}

/* The tries give 1 with *result set, 0 for not yet, -1 with an exception; *took is how
 * many of the n bytes at p they are done with. */

static int
try_bytes(FlIOStream *s, const char *p, size_t n, size_t *took, PyObject **result)
{
    size_t want = s->read_want - s->sink_len;

    if (s->streaming != NULL) {
        size_t k = n < want ? n : want;

        if (k > 0) {
            PyObject *chunk = PyBytes_FromStringAndSize(p, (Py_ssize_t)k);
            int err = chunk == NULL ? -1
                                    : FlLoop_CallSoon(s->channel.loop, s->streaming,
                                                      &chunk, 1, NULL);

            Py_XDECREF(chunk);
            if (err < 0)
                return -1;
        }
        *took = k;
        s->read_want -= k;
        if (s->read_want > 0)
            return 0;
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return *result == NULL ? -1 : 1;
    }
    if (s->sink_len == 0 && (n >= want || (s->read_partial && n > 0))) {
        *took = n < want ? n : want;
        *result = PyBytes_FromStringAndSize(p, (Py_ssize_t)*took);
        return *result == NULL ? -1 : 1;
    }
    if (s->read_want < FL_DIRECT_FROM || s->read_partial)
        return 0;
    *took = n < want ? n : want;
    if (s->sink_len + *took > (size_t)s->max_buffer_size)
        return fl_stream_buffer_full(s);
    if (sink_append(s, p, *took, s->read_want) < 0)
        return -1;
    if (s->sink_len < s->read_want)
        return 0;
    *result = fl_sink_take(s);
    return *result == NULL ? -1 : 1;
}

static int
try_into(FlIOStream *s, const char *p, size_t n, size_t *took, PyObject **result)
{
    size_t want = s->read_want - s->sink_len;

    *took = n < want ? n : want;
    if (*took > 0)
        memcpy((char *)s->into->buf + s->sink_len, p, *took);
    s->sink_len += *took;
    if (s->sink_len < s->read_want && !(s->read_partial && s->sink_len > 0))
        return 0;
    *result = PyLong_FromSize_t(s->sink_len);
    return *result == NULL ? -1 : 1;
}

static int
try_until(FlIOStream *s, const char *p, size_t n, size_t *took, PyObject **result)
{
    const char *delimiter = PyBytes_AS_STRING(s->read_arg);
    size_t len = (size_t)PyBytes_GET_SIZE(s->read_arg);
    size_t from = s->read_scanned < n ? s->read_scanned : n;
    size_t hit = n < len ? n : from + fl_scan_find(p + from, n - from, delimiter, len);
    size_t limit = s->read_max < 0 ? (size_t)-1 : (size_t)s->read_max;

    if (hit == n) {
        s->read_scanned = n >= len ? n - len + 1 : 0;
        return n > limit ? unsatisfiable(s, "delimiter") : 0;
    }
    *took = hit + len;
    if (*took > limit)
        return unsatisfiable(s, "delimiter");
    *result = PyBytes_FromStringAndSize(p, (Py_ssize_t)*took);
    return *result == NULL ? -1 : 1;
}

/* Where the first match of the pattern in bytes ends: 1, 0 for no match, -1. escapes */
static int
find_match(FlState *st, PyObject *pattern, PyObject *bytes, Py_ssize_t *at)
{
    PyObject *match = PyObject_CallMethodOneArg(pattern, st->str_search, bytes), *end;

    if (match == NULL || match == Py_None) {
        Py_XDECREF(match);
        return match == NULL ? -1 : 0;
    }
    end = PyObject_CallMethod(match, "end", NULL);
    Py_DECREF(match);
    if (end == NULL)
        return -1;
    *at = PyLong_AsSsize_t(end);
    Py_DECREF(end);
    if (*at < 0 && PyErr_Occurred())
        return -1;
    if (*at >= 0 && *at <= PyBytes_GET_SIZE(bytes))
        return 1;
    PyErr_SetString(PyExc_ValueError, "the pattern's match ends outside the data");
    return -1;
}

static int
try_regex(FlIOStream *s, const char *p, size_t n, size_t *took, PyObject **result)
{
    PyObject *bytes, *pattern;
    size_t limit = s->read_max < 0 ? (size_t)-1 : (size_t)s->read_max;
    Py_ssize_t at = 0;
    int found;

    if (n == 0)
        return 0;
    /* A copy: a pattern of somebody else's making may keep what it is given. */
    bytes = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    if (bytes == NULL)
        return -1;
    pattern = Py_NewRef(s->read_arg);
    found = find_match(s->st, pattern, bytes, &at);
    if (found >= 0 && (s->read_kind != FL_READ_REGEX || s->read_arg != pattern)) {
        found = 0; /* it gave this very read up */
    } else if (found == 0 && n > limit) {
        found = unsatisfiable(s, "regex");
    } else if (found > 0 && (size_t)at > limit) {
        found = unsatisfiable(s, "regex");
    } else if (found > 0) {
        *took = (size_t)at;
        *result = PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes), at);
        found = *result == NULL ? -1 : 1;
    }
    Py_DECREF(bytes);
    Py_DECREF(pattern);
    return found;
}

static int
try_close(FlIOStream *s, const char *p, size_t n, size_t *took)
{
    *took = n;
    if (n == 0)
        return 0;
    if (s->streaming != NULL) {
        PyObject *chunk = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
        int err = chunk == NULL
                      ? -1
                      : FlLoop_CallSoon(s->channel.loop, s->streaming, &chunk, 1, NULL);

        Py_XDECREF(chunk);
        return err;
    }
    if (s->sink_len + n > (size_t)s->max_buffer_size)
        return fl_stream_buffer_full(s);
    return sink_append(s, p, n, (size_t)-1 / 2);
}

int
fl_stream_try_read(FlIOStream *s, const char *p, size_t n, size_t *took,
                   PyObject **result)
{
    int done = 0;

    *took = 0;
    *result = NULL;
    switch ((FlReadKind)s->read_kind) {
    case FL_READ_NONE:
        break;
    case FL_READ_BYTES:
        done = try_bytes(s, p, n, took, result);
        break;
    case FL_READ_INTO:
        done = try_into(s, p, n, took, result);
        break;
    case FL_READ_UNTIL:
        done = try_until(s, p, n, took, result);
        break;
    case FL_READ_REGEX:
        done = try_regex(s, p, n, took, result);
        break;
    case FL_READ_CLOSE:
        done = try_close(s, p, n, took);
        break;
    }
    if (done == 0 && n - *took > (size_t)s->max_buffer_size)
        return fl_stream_buffer_full(s);
    return done;
}
