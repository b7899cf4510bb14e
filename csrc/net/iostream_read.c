/* iostream_read.c -- the one read that can be pending on a stream.
 *
 * A read is first tried on the bytes that are there (the tail); one that they satisfy is
 * done when it returns and touches neither epoll nor the ring. Otherwise the stream, as
 * its channel's consumer, tries again with every delivery.
 *
 * Copies: read_into and read_bytes of FL_DIRECT_FROM bytes and more receive into their final
 * memory (TLS decrypts into it), except for what had arrived in front of them; so does
 * read_until_close once it has FL_SINK_LEAST bytes. Everything else is copied once, out of
 * the loop's receive buffer or, where a rest had to be kept there, out of the tail (then
 * twice). A result's memory starts at SINK_ASKED, or FL_SINK_LEAST where no size is known,
 * and doubles: what a peer or caller merely announces is not allocated, and what was
 * allocated and has not arrived costs addresses, not memory.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/iostream_internal.h"

#include <stdlib.h>
#include <string.h>

static void
forget_read(FlIOStream *s)
{
    Py_buffer *into = s->into;
    PyObject *sink = s->sink, *arg = s->read_arg, *streaming = s->streaming;

    /* Letting go of them may call back and start the next read: forget first. */
    s->read_kind = FL_READ_NONE;
    s->read_partial = false;
    s->read_scanned = 0;
    s->sink_len = 0;
    s->into = NULL;
    s->sink = s->read_arg = s->streaming = NULL;
    if (into != NULL) {
        PyBuffer_Release(into);
        free(into);
    }
    Py_XDECREF(sink);
    Py_XDECREF(arg);
    Py_XDECREF(streaming);
}

int
fl_stream_abandon_read(FlIOStream *s)
{
    int err = 0;

    if (s->sink_len > 0) {
        const char *p =
            s->into != NULL ? s->into->buf : (const char *)PyBytes_AS_STRING(s->sink);

        err = FlChannel_Unread(&s->channel, p, s->sink_len);
    }
    forget_read(s);
    Py_CLEAR(s->read_future);
    return err;
}

/* Logs why the peer's bytes end this stream; the exception stays current. */
static void
log_refusal(FlIOStream *s)
{
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *done = NULL;

    if (PyErr_GivenExceptionMatches(exc, s->st->hook_UnsatisfiableReadError))
        done = PyObject_CallMethod(s->st->gen_log, "info", "sO",
                                   "Unsatisfiable read, closing connection: %s", exc);
    else if (PyErr_GivenExceptionMatches(exc, s->st->hook_StreamBufferFullError))
        done = PyObject_CallMethod(s->st->gen_log, "error", "sO", "%s", exc);
    else if (PyErr_GivenExceptionMatches(exc, PyExc_Exception))
        done = PyObject_CallMethod(s->st->gen_log, "warning", "sO",
                                   "Error while reading, closing connection: %r", exc);
    else
        done = Py_NewRef(Py_None);
    if (done == NULL)
        PyErr_WriteUnraisable(exc);
    Py_XDECREF(done);
    PyErr_SetRaisedException(exc);
}

/* The pending read is done. */
static void
resolve_read(FlIOStream *s, PyObject *result)
{
    PyObject *future = s->read_future;

    s->read_future = NULL;
    forget_read(s);
    if (future != NULL && FlFuture_SetResultUnlessDone(future, result) < 0)
        PyErr_WriteUnraisable(future);
    Py_XDECREF(future);
}

void
fl_stream_finish_until_close(FlIOStream *s)
{
    PyObject *result;

    if (s->read_kind != FL_READ_CLOSE || s->read_future == NULL)
        return;
    result = fl_sink_take(s);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)s);
        return;
    }
    resolve_read(s, result);
    Py_DECREF(result);
}

/* ---- the consumer ---- */

static bool
read_given_up(FlIOStream *s)
{
    return s->read_future != NULL && FlFuture_Done(s->read_future);
}

static Py_ssize_t
reader_data(FlChannel *ch, const char *p, size_t n)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *result;
    size_t took;
    int done;

    /* What a cancelled read had gathered comes before p: it goes to the tail, and so will
     * p, after it. */
    if (s->read_kind != FL_READ_NONE && read_given_up(s) &&
        fl_stream_abandon_read(s) < 0)
        return -1;
    done = fl_stream_try_read(s, p, n, &took, &result);
    if (done < 0) {
        log_refusal(s);
        return -1;
    }
    if (done > 0) {
        resolve_read(s, result);
        Py_DECREF(result);
    }
    if (s->read_kind == FL_READ_NONE && took < n)
        (void)FlChannel_WantRead(ch, false);
    else if (fl_stream_update_reading(s) < 0)
        return -1;
    return (Py_ssize_t)took;
}

static char *
reader_buffer(FlChannel *ch, size_t *n)
{
    FlIOStream *s = fl_stream_of(ch);

    if (s->read_future == NULL || FlFuture_Done(s->read_future) || s->streaming != NULL)
        return NULL;
    if (s->read_kind == FL_READ_INTO) {
        *n = s->read_want - s->sink_len;
        return (char *)s->into->buf + s->sink_len;
    }
    if (s->read_kind == FL_READ_BYTES && !s->read_partial &&
        s->read_want >= FL_DIRECT_FROM) {
        if (s->sink_len > (size_t)s->max_buffer_size)
            return NULL; /* data() says so */
        if (fl_sink_reserve(s, 1, s->read_want) < 0)
            return NULL;
    } else if (s->read_kind != FL_READ_CLOSE || s->sink_len < FL_SINK_LEAST ||
               s->sink_len > (size_t)s->max_buffer_size) {
        return NULL;
    } else if (fl_sink_reserve(s, 1, (size_t)-1 / 2) < 0) {
        return NULL;
    }
    *n = (size_t)PyBytes_GET_SIZE(s->sink) - s->sink_len;
    return PyBytes_AS_STRING(s->sink) + s->sink_len;
}

/* What keeps the memory of reader_buffer() where it is. None for an object of Python
 * (`__buffer__`), whose memory is lent once for each time it is asked. */
static PyObject *
reader_keeper(FlChannel *ch)
{
    FlIOStream *s = fl_stream_of(ch);

    if (s->read_kind != FL_READ_INTO)
        return Py_NewRef(s->sink);
    return s->into->obj == NULL || !PyObject_CheckBuffer(s->into->obj)
               ? NULL
               : PyMemoryView_FromObject(s->into->obj);
}

static int
reader_filled(FlChannel *ch, size_t n)
{
    FlIOStream *s = fl_stream_of(ch);
    PyObject *result;

    s->sink_len += n;
    if (s->read_kind != FL_READ_INTO && s->sink_len > (size_t)s->max_buffer_size) {
        fl_stream_buffer_full(s);
        log_refusal(s);
        return -1;
    }
    if (s->read_kind == FL_READ_CLOSE)
        return 0;
    if (s->sink_len < s->read_want && !s->read_partial)
        return 0;
    result =
        s->read_kind == FL_READ_INTO ? PyLong_FromSize_t(s->sink_len) : fl_sink_take(s);
    if (result == NULL)
        return -1;
    resolve_read(s, result);
    Py_DECREF(result);
    return fl_stream_update_reading(s);
}

static int
reader_eof(FlChannel *ch)
{
    fl_stream_close(fl_stream_of(ch), NULL);
    return 0;
}

const FlChannelOps fl_stream_reader = {
    .data = reader_data,
    .buffer = reader_buffer,
    .keeper = reader_keeper,
    .filled = reader_filled,
    .eof = reader_eof,
};

int
fl_stream_update_reading(FlIOStream *s)
{
    size_t n;

    if (s->borrowed || s->channel.closed)
        return 0;
    (void)FlChannel_Tail(&s->channel, &n);
    return FlChannel_WantRead(&s->channel, s->read_kind != FL_READ_NONE ||
                                               (n == 0 && s->close_handle != NULL) ||
                                               (fl_ssl_check(s) &&
                                                ((FlSSLIOStream *)s)->handshaking &&
                                                ((FlSSLIOStream *)s)->connected));
}

/* ---- the methods ---- */

/* Nothing may be pending. 0 or -1. */
static int
may_read(FlIOStream *s)
{
    if (fl_stream_check(s) < 0)
        return -1;
    if (s->borrowed) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this stream is being read by the connection that it belongs "
                        "to; detach() it from there first");
        return -1;
    }
    if (s->read_kind == FL_READ_NONE)
        return 0;
    if (read_given_up(s))
        return fl_stream_abandon_read(s);
    if (s->channel.closed)
        return fl_stream_raise_closed(s);
    PyErr_SetString(PyExc_AssertionError, "Already reading");
    return -1;
}

/* Starts the read that was described in s: a future that is done, or is pending. */
static PyObject *
start_read(FlIOStream *s)
{
    size_t n, took;
    const char *p = FlChannel_Tail(&s->channel, &n);
    PyObject *result, *future;
    int done = fl_stream_try_read(s, p, n, &took, &result);

    if (done < 0) {
        log_refusal(s);
        PyObject *exc = PyErr_GetRaisedException();

        if (s->channel.closed && s->error == NULL && s->channel.error == NULL)
            s->error = Py_NewRef(exc);
        fl_stream_close(s, exc);
        Py_DECREF(exc);
        goto closed;
    }
    FlChannel_Drop(&s->channel, took);
    if (done == 0 && s->channel.closed && s->read_kind == FL_READ_CLOSE) {
        result = fl_sink_take(s);
        done = result == NULL ? -1 : 1;
    }
    if (done > 0) {
        forget_read(s);
        future = FlFuture_NewDone(s->st, result);
        Py_DECREF(result);
        if (future != NULL && s->close_handle != NULL &&
            fl_stream_update_reading(s) < 0)
            Py_CLEAR(future);
        return future;
    }
    if (done < 0)
        goto fail;
    if (s->channel.closed) {
        (void)fl_stream_abandon_read(s);
        fl_stream_raise_closed(s);
        return NULL;
    }
    s->read_future = future = FlFuture_New(s->st, s->channel.loop);
    if (future == NULL)
        goto fail;
    Py_INCREF(future);
    if (FlChannel_ReadNow(&s->channel) == 0 &&
        (s->read_future != future || fl_stream_update_reading(s) == 0))
        return future;
    Py_DECREF(future);
fail:
    (void)fl_stream_abandon_read(s);
    return NULL;
closed:
    forget_read(s);
    future = FlFuture_New(s->st, s->channel.loop);
    if (future != NULL) {
        PyObject *again = Py_NewRef(future);

        fl_stream_fail_future(s, &again);
    }
    return future;
}

static int
option_ssize(PyObject *option, const char *name, Py_ssize_t *value)
{
    *value = -1;
    if (option == NULL || option == Py_None)
        return 0;
    *value = PyNumber_AsSsize_t(option, PyExc_OverflowError);
    if (*value == -1 && PyErr_Occurred())
        return -1;
    if (*value < 0) {
        PyErr_Format(PyExc_ValueError, "%s must not be negative", name);
        return -1;
    }
    return 0;
}

static int
option_bool(PyObject *option, bool *value)
{
    int truth = option == NULL ? 0 : PyObject_IsTrue(option);

    *value = truth > 0;
    return truth < 0 ? -1 : 0;
}

PyObject *
fl_stream_read_bytes(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    static const char *const names[2] = {"num_bytes", "partial"};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;
    Py_ssize_t want;
    bool partial;

    if (fl_stream_parse(&call, "read_bytes", names, args, nargs, kwnames) < 0 ||
        option_bool(call.option, &partial) < 0)
        return NULL;
    want = PyNumber_AsSsize_t(call.arg, PyExc_OverflowError);
    if (want == -1 && PyErr_Occurred())
        return NULL;
    if (want < 0) {
        PyErr_SetString(PyExc_ValueError, "num_bytes must not be negative");
        return NULL;
    }
    if (may_read(s) < 0)
        return NULL;
    s->read_kind = FL_READ_BYTES;
    s->read_want = (size_t)want;
    s->read_partial = partial;
    s->streaming = Py_XNewRef(call.streaming);
    return fl_stream_answer(s, &call, start_read(s), true);
}

PyObject *
fl_stream_read_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames)
{
    static const char *const names[2] = {"buf", "partial"};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;
    Py_buffer *into;
    bool partial;

    if (fl_stream_parse(&call, "read_into", names, args, nargs, kwnames) < 0 ||
        option_bool(call.option, &partial) < 0)
        return NULL;
    into = malloc(sizeof *into);
    if (into == NULL)
        return PyErr_NoMemory();
    if (PyObject_GetBuffer(call.arg, into, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) < 0) {
        free(into);
        return NULL;
    }
    if (may_read(s) < 0) {
        PyBuffer_Release(into);
        free(into);
        return NULL;
    }
    s->read_kind = FL_READ_INTO;
    s->into = into;
    s->read_want = (size_t)into->len;
    s->read_partial = partial;
    return fl_stream_answer(s, &call, start_read(s), true);
}

PyObject *
fl_stream_read_until(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    static const char *const names[2] = {"delimiter", "max_bytes"};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;
    PyObject *delimiter;
    Py_ssize_t max;

    if (fl_stream_parse(&call, "read_until", names, args, nargs, kwnames) < 0 ||
        option_ssize(call.option, "max_bytes", &max) < 0)
        return NULL;
    if (PyBytes_Check(call.arg))
        delimiter = Py_NewRef(call.arg);
    else if (PyUnicode_Check(call.arg)) {
        PyErr_SetString(PyExc_TypeError, "delimiter must be bytes, not str");
        return NULL;
    } else
        delimiter = PyBytes_FromObject(call.arg);
    if (delimiter == NULL)
        return NULL;
    if (PyBytes_GET_SIZE(delimiter) == 0)
        PyErr_SetString(PyExc_ValueError, "the delimiter must not be empty");
    if (PyErr_Occurred() || may_read(s) < 0) {
        Py_DECREF(delimiter);
        return NULL;
    }
    s->read_kind = FL_READ_UNTIL;
    s->read_arg = delimiter;
    s->read_max = max;
    s->read_scanned = 0;
    return fl_stream_answer(s, &call, start_read(s), true);
}

static PyObject *
compile_pattern(PyObject *regex)
{
    PyObject *re, *pattern;

    if (PyUnicode_Check(regex)) {
        PyErr_SetString(PyExc_TypeError, "regex must be bytes or a pattern of bytes");
        return NULL;
    }
    if (!PyBytes_Check(regex))
        return Py_NewRef(regex);
    re = PyImport_ImportModule("re");
    pattern = re == NULL ? NULL : PyObject_CallMethod(re, "compile", "O", regex);
    Py_XDECREF(re);
    return pattern;
}

PyObject *
fl_stream_read_until_regex(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const char *const names[2] = {"regex", "max_bytes"};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;
    PyObject *pattern;
    Py_ssize_t max;

    if (fl_stream_parse(&call, "read_until_regex", names, args, nargs, kwnames) < 0 ||
        option_ssize(call.option, "max_bytes", &max) < 0)
        return NULL;
    pattern = compile_pattern(call.arg);
    if (pattern == NULL || may_read(s) < 0) {
        Py_XDECREF(pattern);
        return NULL;
    }
    s->read_kind = FL_READ_REGEX;
    s->read_arg = pattern;
    s->read_max = max;
    return fl_stream_answer(s, &call, start_read(s), true);
}

PyObject *
fl_stream_read_until_close(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const char *const names[2] = {NULL, NULL};
    FlIOStream *s = (FlIOStream *)self;
    FlStreamCall call;

    if (fl_stream_parse(&call, "read_until_close", names, args, nargs, kwnames) < 0 ||
        may_read(s) < 0)
        return NULL;
    s->read_kind = FL_READ_CLOSE;
    s->streaming = Py_XNewRef(call.streaming);
    return fl_stream_answer(s, &call, start_read(s), true);
}
