/* tls.c -- see tls.h: calls on the SSLObject, and what is kept around them.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/view.h"

/* Memory for kept writes starts with this much. */
#define PLAIN_LEAST ((size_t)4096)

/* Up to this a copy is given to Python, beyond it a view. */
#define COPY_MOST ((size_t)4096)

/* Asked for where the SSLObject may hold more of a record than was read of it. */
#define INSIDE_ROOM ((Py_ssize_t)FL_TLS_PLAIN_MOST)

/* ---- life ---- */

static int
seconds_to_ns(PyObject *value, uint64_t *ns)
{
    double seconds = PyFloat_AsDouble(value);

    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (!(seconds > 0) || seconds > 1e9) {
        PyErr_Format(PyExc_ValueError, "a time-out in seconds was expected, got %R",
                     value);
        return -1;
    }
    *ns = (uint64_t)(seconds * 1e9);
    return 0;
}

FlTls *
FlTls_New(FlState *st, PyObject *parts)
{
    PyObject *object, *context, *incoming, *outgoing, *handshake, *shutdown;
    FlTls *tls;

    if (!PyTuple_Check(parts)) {
        PyErr_Format(PyExc_TypeError, "the parts of TLS are a tuple, not %R", parts);
        return NULL;
    }
    if (!PyArg_ParseTuple(parts, "OOOOOO:tls", &object, &context, &incoming, &outgoing,
                          &handshake, &shutdown))
        return NULL;
    tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    tls->object = Py_NewRef(object);
    tls->context = Py_NewRef(context);
    tls->incoming = Py_NewRef(incoming);
    tls->outgoing = Py_NewRef(outgoing);
    tls->feed = PyObject_GetAttr(incoming, st->str_write);
    tls->drain = tls->feed == NULL ? NULL : PyObject_GetAttr(outgoing, st->str_read);
    tls->read = tls->drain == NULL ? NULL : PyObject_GetAttr(object, st->str_read);
    tls->write = tls->read == NULL ? NULL : PyObject_GetAttr(object, st->str_write);
    if (tls->write == NULL || seconds_to_ns(handshake, &tls->handshake_ns) < 0 ||
        seconds_to_ns(shutdown, &tls->shutdown_ns) < 0) {
        FlTls_Free(tls);
        return NULL;
    }
    return tls;
}

static void
drop_plain(fl_tls_plain *plain)
{
    if (plain->lone == NULL)
        free(plain->p);
    Py_XDECREF(plain->lone);
}

void
FlTls_Free(FlTls *tls)
{
    Py_XDECREF(tls->object);
    Py_XDECREF(tls->context);
    Py_XDECREF(tls->incoming);
    Py_XDECREF(tls->outgoing);
    Py_XDECREF(tls->feed);
    Py_XDECREF(tls->drain);
    Py_XDECREF(tls->read);
    Py_XDECREF(tls->write);
    Py_XDECREF(tls->waiter);
    drop_plain(&tls->plain);
    free(tls);
}

int
FlTls_Traverse(FlTls *tls, visitproc visit, void *arg)
{
    Py_VISIT(tls->object);
    Py_VISIT(tls->context);
    Py_VISIT(tls->incoming);
    Py_VISIT(tls->outgoing);
    Py_VISIT(tls->feed);
    Py_VISIT(tls->drain);
    Py_VISIT(tls->read);
    Py_VISIT(tls->write);
    Py_VISIT(tls->waiter);
    return 0; /* plain.lone refers to nothing */
}

/* ---- calls ---- */

PyObject *
FlTls_CallWithView(PyObject *method, PyObject *count, char *p, size_t n, int flags)
{
    PyObject *view = PyMemoryView_FromMemory(p, (Py_ssize_t)n, flags);
    PyObject *result = view == NULL    ? NULL
                       : count == NULL ? PyObject_CallOneArg(method, view)
                                       : FlTls_CallTwo(method, count, view);

    FlView_End(view);
    return result;
}

static bool
is_whole(PyObject *owner, const char *p, size_t n)
{
    return owner != NULL && PyBytes_CheckExact(owner) &&
           p == PyBytes_AS_STRING(owner) && n == (size_t)PyBytes_GET_SIZE(owner);
}

PyObject *
FlTls_CallWithBytes(PyObject *method, PyObject *owner, const char *p, size_t n)
{
    PyObject *bytes, *result;

    if (is_whole(owner, p, n))
        bytes = Py_NewRef(owner);
    else if (n > COPY_MOST)
        return FlTls_CallWithView(method, NULL, (char *)p, n, PyBUF_READ);
    else
        bytes = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    result = bytes == NULL ? NULL : PyObject_CallOneArg(method, bytes);
    Py_XDECREF(bytes);
    return result;
}

/* Whether the exception of the SSLObject says "not yet": then it is cleared. */
static bool
not_yet(FlState *st)
{
    if (!PyErr_ExceptionMatches(st->hook_SSLWantReadError) &&
        !PyErr_ExceptionMatches(st->hook_SSLWantWriteError))
        return false;
    PyErr_Clear();
    return true;
}

/* What an exception of the SSLObject means: 0 for the peer's end, -EAGAIN, or
 * FL_TLS_RAISED: it stays set. */
static ssize_t
raised(FlState *st)
{
    if (not_yet(st))
        return -EAGAIN;
    if (PyErr_ExceptionMatches(st->hook_SSLZeroReturnError)) {
        PyErr_Clear();
        return 0;
    }
    return FL_TLS_RAISED;
}

/* A count out of a call's result (stolen, nullable), 0 to most. */
static ssize_t
count_of(FlState *st, PyObject *result, size_t most)
{
    Py_ssize_t n;

    if (result == NULL)
        return raised(st);
    n = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (n == -1 && PyErr_Occurred())
        return FL_TLS_RAISED;
    if (n < 0 || (size_t)n > most) {
        PyErr_Format(PyExc_ValueError, "ssl counted %zd of %zu bytes", n, most);
        return FL_TLS_RAISED;
    }
    return n;
}

/* Bytes that stand in a BIO; -1 with an exception. */
static Py_ssize_t
pending_in(FlState *st, PyObject *bio)
{
    PyObject *value = PyObject_GetAttr(bio, st->str_pending);
    Py_ssize_t n = value == NULL ? -1 : PyLong_AsSsize_t(value);

    Py_XDECREF(value);
    return n;
}

/* ---- in ---- */

/* A bytearray of p[0..n), the last one used again where nobody has kept it; NULL with an
 * exception. */
static PyObject *
copy_of(FlState *st, const char *p, size_t n)
{
    PyObject *copy = st->spare_bytearray;

    st->spare_bytearray = NULL;
    if (copy != NULL && Py_REFCNT(copy) > 1)
        Py_CLEAR(copy);
    if (copy == NULL)
        return PyByteArray_FromStringAndSize(p, (Py_ssize_t)n);
    if (PyByteArray_Resize(copy, (Py_ssize_t)n) < 0)
        Py_CLEAR(copy);
    else
        memcpy(PyByteArray_AS_STRING(copy), p, n);
    return copy;
}

static PyObject *
feed_copy(FlState *st, PyObject *feed, const char *p, size_t n)
{
    PyObject *copy = copy_of(st, p, n), *done;

    if (copy == NULL)
        return NULL;
    done = PyObject_CallOneArg(feed, copy);
    Py_XSETREF(st->spare_bytearray, copy);
    return done;
}

int
FlTls_Feed(FlState *st, FlTls *tls, const char *p, size_t n)
{
    PyObject *done = n > COPY_MOST
                         ? FlTls_CallWithView(tls->feed, NULL, (char *)p, n, PyBUF_READ)
                         : feed_copy(st, tls->feed, p, n);

    if (done == NULL)
        return -1;
    Py_DECREF(done);
    tls->whole += fl_tls_records_feed(&tls->records, p, n);
    tls->held += n;
    return 0;
}

/* No whole record is left. */
static void
all_read(FlTls *tls)
{
    tls->whole = 0;
    tls->held = tls->records.partial;
    tls->inside = false;
}

Py_ssize_t
FlTls_Available(FlState *st, FlTls *tls)
{
    if (tls->records.odd) {
        Py_ssize_t n = pending_in(st, tls->incoming);

        return n <= 0 ? n : n + INSIDE_ROOM;
    }
    if (tls->inside) {
        PyObject *value = PyObject_CallMethodNoArgs(tls->object, st->str_pending);
        Py_ssize_t inside = value == NULL ? -1 : PyLong_AsSsize_t(value);

        Py_XDECREF(value);
        if (inside < 0)
            return -1;
        tls->inside = inside > 0;
        if (inside == 0 && tls->whole > 0)
            tls->whole--;
    }
    if (tls->whole == 0) {
        all_read(tls);
        return 0;
    }
    return (Py_ssize_t)(tls->held - tls->records.partial);
}

/* A read of at most n bytes gave got. One that gives less than it may has used up one
 * record, or more where some held no data: `whole` never falls below the truth. */
static void
was_read(FlTls *tls, ssize_t got, size_t n)
{
    tls->inside = got > 0 && (size_t)got == n;
    if (got <= 0)
        all_read(tls);
    else if (!tls->inside && tls->whole > 0)
        tls->whole--;
}

ssize_t
FlTls_Read(FlState *st, FlTls *tls, char *buf, size_t n)
{
    PyObject *count;
    ssize_t got;

    if (tls->busy)
        return -EAGAIN;
    count = PyLong_FromSize_t(n);
    if (count == NULL)
        return FL_TLS_RAISED;
    tls->busy = true;
    got = count_of(st, FlTls_CallWithView(tls->read, count, buf, n, PyBUF_WRITE), n);
    tls->busy = false;
    Py_DECREF(count);
    was_read(tls, got, n);
    return got;
}

ssize_t
FlTls_ReadBytes(FlState *st, FlTls *tls, size_t n, PyObject **bytes)
{
    PyObject *count;
    ssize_t got;

    *bytes = NULL;
    if (tls->busy)
        return -EAGAIN;
    count = PyLong_FromSize_t(n);
    if (count == NULL)
        return FL_TLS_RAISED;
    tls->busy = true;
    *bytes = PyObject_CallOneArg(tls->read, count);
    tls->busy = false;
    Py_DECREF(count);
    if (*bytes == NULL) {
        got = raised(st);
    } else if (!PyBytes_Check(*bytes)) {
        PyErr_Format(PyExc_TypeError, "bytes were expected of ssl's read(), not %R",
                     *bytes);
        got = FL_TLS_RAISED;
    } else {
        got = PyBytes_GET_SIZE(*bytes);
    }
    if (got <= 0)
        Py_CLEAR(*bytes);
    was_read(tls, got, n);
    return got;
}

int
FlTls_Handshake(FlState *st, FlTls *tls)
{
    PyObject *done;

    if (tls->busy)
        return 0;
    tls->busy = true;
    done = PyObject_CallMethodNoArgs(tls->object, st->str_do_handshake);
    tls->busy = false;
    if (done != NULL) {
        Py_DECREF(done);
        return 1;
    }
    return not_yet(st) ? 0 : -1; /* a close_notify is a failure, too, so early */
}

/* ---- out ---- */

static ssize_t
write_bytes(FlState *st, FlTls *tls, PyObject *owner, const char *p, size_t n)
{
    ssize_t sent;

    if (tls->busy)
        return -EAGAIN;
    tls->busy = true;
    sent = count_of(st, FlTls_CallWithBytes(tls->write, owner, p, n), n);
    tls->busy = false;
    return sent == 0 ? -EAGAIN : sent;
}

ssize_t
FlTls_Write(FlState *st, FlTls *tls, const char *p, size_t n)
{
    return write_bytes(st, tls, NULL, p, n);
}

/* The first write: its object is kept, or one made of it. */
static int
keep_lone(fl_tls_plain *plain, const char *p, size_t n, PyObject *owner)
{
    plain->lone = is_whole(owner, p, n) ? Py_NewRef(owner)
                                        : PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    if (plain->lone == NULL)
        return -1;
    plain->p = PyBytes_AS_STRING(plain->lone);
    plain->at = 0;
    plain->end = plain->room = n;
    return 0;
}

int
FlTls_Keep(FlTls *tls, const char *p, size_t n, PyObject *owner)
{
    fl_tls_plain *plain = &tls->plain;
    size_t kept = FlTls_Kept(tls), room = plain->room;
    char *fresh;

    if (n == 0)
        return 0;
    if (plain->p == NULL)
        return keep_lone(plain, p, n, owner);
    if (room - plain->end < n) {
        room = room > PLAIN_LEAST ? room : PLAIN_LEAST;
        while (room - kept < n) {
            if (room > PY_SSIZE_T_MAX / 2) {
                PyErr_NoMemory();
                return -1;
            }
            room *= 2;
        }
        fresh = malloc(room);
        if (fresh == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(fresh, plain->p + plain->at, kept);
        drop_plain(plain);
        *plain = (fl_tls_plain){.p = fresh, .end = kept, .room = room};
    }
    memcpy(plain->p + plain->end, p, n);
    plain->end += n;
    return 0;
}

int
FlTls_Encrypt(FlState *st, FlTls *tls)
{
    int err = 0;

    while (FlTls_Kept(tls) > 0 && !tls->busy && err == 0) {
        fl_tls_plain now = tls->plain, later;
        ssize_t sent = 0;

        tls->plain = (fl_tls_plain){0};
        while (now.at < now.end) {
            sent = write_bytes(st, tls, now.lone, now.p + now.at, now.end - now.at);
            if (sent < 0)
                break;
            now.at += (size_t)sent;
        }
        if (sent == FL_TLS_RAISED)
            err = -1;
        if (now.at == now.end) {
            drop_plain(&now);
            continue; /* something may have been written meanwhile */
        }
        /* Back in front of what was written meanwhile. */
        later = tls->plain;
        tls->plain = now;
        if (later.p != NULL &&
            FlTls_Keep(tls, later.p + later.at, later.end - later.at, NULL) < 0)
            err = -1;
        drop_plain(&later);
        break;
    }
    return err;
}

PyObject *
FlTls_Drain(FlTls *tls)
{
    PyObject *bytes = PyObject_CallNoArgs(tls->drain);

    if (bytes != NULL && !PyBytes_Check(bytes))
        PyErr_Format(PyExc_TypeError, "bytes were expected of a MemoryBIO, not %R",
                     bytes);
    else if (bytes == NULL || PyBytes_GET_SIZE(bytes) > 0)
        return bytes;
    Py_DECREF(bytes);
    return NULL;
}

int
FlTls_Notify(FlState *st, FlTls *tls)
{
    PyObject *done;
    ssize_t said;

    if (tls->busy)
        return 0;
    tls->busy = tls->notified = true;
    done = PyObject_CallMethodNoArgs(tls->object, st->str_unwrap);
    tls->busy = false;
    if (done != NULL) {
        Py_DECREF(done);
        return 1;
    }
    said = raised(st);
    return said == 0 ? 1 : said == -EAGAIN ? 0 : -1;
}
