/* transport_tls.c -- see transport_tls.h: handshake, data, writes and shutdown over TLS.
 *
 * One function does what is due in whatever state: `turn`. It runs for received bytes, for
 * what was written or resumed, and for close(); it is never entered twice. Whoever calls
 * it holds the transport. After every call that escapes, `tr->ch.closed` and the state are
 * read again: abort() and close() may have come from inside it.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport_tls.h"

#include <errno.h>

#include "net/channel_internal.h"
#include "sys/clock.h"

/* Written bytes that are kept for the end of the turn, at most: then they are sent at
 * once. */
#define KEPT_MOST ((size_t)64 * 1024)

/* What is encrypted before it is handed to the channel. */
#define SLICE ((size_t)256 * 1024)

/* Plain text that nobody wants any more is read in pieces of this size. */
#define WASTE 4096

static int turn(FlTransport *tr);

/* ---- ends ---- */

static PyObject *
new_exception(PyObject *type, const char *text)
{
    PyErr_SetString(type, text);
    return PyErr_GetRaisedException();
}

/* Ends the wait for the handshake, exc NULL: with success. escapes */
static void
tell_waiter(FlTls *tls, PyObject *exc)
{
    PyObject *waiter = tls->waiter, *pending;
    PyObject *done;

    tls->waiter = NULL;
    if (waiter == NULL)
        return;
    pending = PyErr_GetRaisedException();
    done = PyObject_CallMethod(waiter, "done", NULL);
    if (done == Py_False) {
        Py_DECREF(done);
        done = exc != NULL ? PyObject_CallMethod(waiter, "set_exception", "O", exc)
                           : PyObject_CallMethod(waiter, "set_result", "O", Py_None);
    }
    if (done == NULL)
        PyErr_WriteUnraisable(waiter);
    Py_XDECREF(done);
    Py_DECREF(waiter);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
}

/* Hands what the engine has for the peer to the channel. 0 or -1. escapes */
static int
send_out(FlTransport *tr)
{
    PyObject *bytes;
    int err = 0;

    if (tr->ch.closed || tr->ch.closing)
        return 0;
    bytes = FlTls_Drain(tr->tls);
    if (bytes == NULL)
        return PyErr_Occurred() ? -1 : 0;
    if (!tr->ch.closed && !tr->ch.closing)
        err = FlChannel_Write(&tr->ch, bytes, PyBytes_AS_STRING(bytes),
                              (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return err;
}

int
FlTransport_TlsFail(FlTransport *tr)
{
    PyObject *exc;
    int err = 0;

    if (FlError_IsFatal())
        return -1;
    exc = PyErr_GetRaisedException();
    tr->closing = true;
    tr->tls->state = FL_TLS_OVER;
    if (!PyObject_TypeCheck(exc, (PyTypeObject *)PyExc_OSError)) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        err = FlTransport_Report(tr, "Fatal error on SSL protocol");
    }
    if (err == 0 && send_out(tr) < 0) {
        if (FlError_IsFatal())
            err = -1;
        else
            PyErr_Clear(); /* the first failure is the one to tell */
    }
    FlTransport_Abort(tr, exc);
    Py_DECREF(exc);
    return err;
}

/* The handshake has failed. A server says so in debug mode only: strangers knock. */
static int
fail_handshake(FlTransport *tr)
{
    PyObject *exc;
    int err = 0;

    if (FlError_IsFatal())
        return -1;
    exc = PyErr_GetRaisedException();
    tell_waiter(tr->tls, exc);
    if (tr->acceptor != NULL && tr->ch.loop->debug) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        err = FlTransport_Report(tr,
                                 "Error on transport creation for incoming connection");
    }
    if (err == 0) {
        PyErr_SetRaisedException(Py_NewRef(exc));
        err = FlTransport_TlsFail(tr);
    }
    Py_DECREF(exc);
    return err;
}

static int
timer_fire(FlLoop *loop, fl_loop_timer *timer)
{
    FlTls *tls = (FlTls *)((char *)timer - offsetof(FlTls, timer));
    FlTransport *tr = (FlTransport *)timer->owner;
    PyObject *exc, *seconds;
    int err = 0;

    (void)loop;
    Py_INCREF(tr);
    if (tls->state == FL_TLS_HANDSHAKE) {
        seconds = PyFloat_FromDouble((double)tls->handshake_ns / 1e9);
        if (seconds != NULL)
            PyErr_Format(PyExc_ConnectionAbortedError,
                         "SSL handshake is taking longer than %R seconds: aborting the "
                         "connection; see ssl_handshake_timeout",
                         seconds);
        Py_XDECREF(seconds);
        err = fail_handshake(tr);
    } else if (!tr->ch.closed) {
        exc = new_exception(PyExc_TimeoutError, "SSL shutdown timed out");
        tls->state = FL_TLS_OVER;
        FlTransport_Abort(tr, exc);
        Py_DECREF(exc);
    }
    Py_DECREF(tr);
    return err;
}

static int
arm(FlTransport *tr, uint64_t ns)
{
    return FlLoop_Arm(tr->ch.loop, &tr->tls->timer, fl_clock_monotonic() + ns);
}

/* ---- handshake ---- */

int
FlTransport_TlsAttach(FlTransport *tr, PyObject *parts, PyObject *waiter)
{
    FlTls *tls = FlTls_New(tr->st, parts);

    if (tls == NULL)
        return -1;
    FlLoop_InitTimer(&tls->timer, timer_fire, (PyObject *)tr);
    tls->waiter = Py_XNewRef(waiter);
    tr->tls = tls;
    tr->high = FL_TRANSPORT_TLS_HIGH;
    tr->low = tr->high / 4;
    FlChannel_SetMarks(&tr->ch, tr->high, tr->low);
    return 0;
}

int
FlTransport_TlsBegin(FlTransport *tr)
{
    int err;

    if (tr->ch.closed)
        return 0;
    tr->ch.shaking = true;
    if (arm(tr, tr->tls->handshake_ns) < 0 || FlTransport_SettleReading(tr) < 0)
        return fail_handshake(tr);
    err = turn(tr);
    if (err == 0 && tr->ch.eof && !tr->ch.closed) /* a plain protocol has seen it */
        err = FlTransport_TlsEof(tr);
    return err;
}

static int
shake(FlTransport *tr)
{
    FlTls *tls = tr->tls;
    int done = FlTls_Handshake(tr->st, tls), err = 0;

    if (tr->ch.closed || tls->state != FL_TLS_HANDSHAKE) {
        if (done < 0 && FlError_IsFatal())
            return -1;
        PyErr_Clear(); /* it was ended from inside: the reason for that stands */
        return 0;
    }
    if (done < 0)
        return fail_handshake(tr);
    if (done == 0)
        return 0;
    tls->state = FL_TLS_OPEN;
    tls->shook = true;
    tr->ch.shaking = false;
    FlLoop_Disarm(tr->ch.loop, &tls->timer);
    if (!tr->started)
        err = FlTransport_Begin(tr->ch.loop, (PyObject *)tr);
    tell_waiter(tls, NULL); /* connection_made() may have raised what ends the loop */
    if (err < 0)
        return -1;
    return FlTransport_SettleReading(tr) < 0 ? FlTransport_TlsFail(tr) : 0;
}

/* ---- writing ---- */

/* Encrypts what is kept and hands it to the channel. 0 or -1 with an exception. */
static int
flush(FlTransport *tr)
{
    FlTls *tls = tr->tls;

    if (tls->shook && !tls->notified && FlTls_Kept(tls) > 0 &&
        FlTls_Encrypt(tr->st, tls) < 0)
        return -1;
    return send_out(tr);
}

/* Puts a turn on the ring, once. 0 or -1. */
static int turn_later(FlTransport *tr);

int
FlTransport_TlsWrite(FlTransport *tr, const fl_chunk *chunks, size_t n)
{
    FlTls *tls = tr->tls;
    size_t most = tr->high < KEPT_MOST ? tr->high : KEPT_MOST;

    for (size_t i = 0; i < n; i++) {
        const char *p = chunks[i].p;
        size_t left = chunks[i].n;

        /* Large ones are encrypted from where they stand: the caller owns them. */
        if (left >= FL_TLS_PLAIN_MOST && tls->shook && !tls->busy) {
            if (FlTls_Encrypt(tr->st, tls) < 0)
                return FlTransport_TlsFail(tr);
            while (left > 0 && FlTls_Kept(tls) == 0 && !tr->ch.closed) {
                size_t slice = left < SLICE ? left : SLICE;
                ssize_t sent = 0;

                while (slice > 0) {
                    sent = FlTls_Write(tr->st, tls, p, slice);
                    if (sent < 0)
                        break;
                    p += sent;
                    left -= (size_t)sent;
                    slice -= (size_t)sent;
                }
                if (sent == FL_TLS_RAISED || (left > 0 && send_out(tr) < 0))
                    return FlTransport_TlsFail(tr);
                if (sent < 0)
                    break;
            }
        }
        if (tr->ch.closed)
            return 0;
        if (FlTls_Keep(tls, p, left, chunks[i].owner) < 0)
            return FlTransport_TlsFail(tr);
    }
    if (!tls->busy && (FlTls_Kept(tls) == 0 || FlTls_Kept(tls) > most))
        return flush(tr) < 0 ? FlTransport_TlsFail(tr) : 0;
    return tls->turning ? 0 : turn_later(tr);
}

int
FlTransport_TlsFlush(FlTransport *tr)
{
    return tr->tls->busy ? 0 : flush(tr);
}

/* ---- shutdown ---- */

void
FlTransport_TlsClose(FlTransport *tr)
{
    FlTls *tls = tr->tls;
    PyObject *exc;

    if (tr->closing)
        return;
    if (tls->state == FL_TLS_HANDSHAKE) {
        FlTransport_Abort(tr, NULL);
        return;
    }
    tr->closing = true;
    tls->state = FL_TLS_SHUTTING;
    if (arm(tr, tls->shutdown_ns) == 0 && FlTransport_SettleReading(tr) == 0 &&
        (tls->turning || turn_later(tr) == 0))
        return;
    exc = PyErr_GetRaisedException();
    FlTransport_Abort(tr, exc);
    Py_XDECREF(exc);
}

/* Reads what comes after close(), and drops it, until the peer's close_notify. 1: it is
 * there, 0: not yet, -1 with an exception. */
static int
skip_to_end(FlTransport *tr)
{
    char waste[WASTE];

    for (;;) {
        Py_ssize_t most = FlTls_Available(tr->st, tr->tls);
        ssize_t got;

        if (most <= 0)
            return (int)most;
        got = FlTls_Read(tr->st, tr->tls, waste, sizeof waste);
        if (got == 0)
            return 1;
        if (got < 0)
            return got == -EAGAIN ? 0 : -1;
    }
}

/* One step of the shutdown. 0 or -1 (fatal). */
static int
shut(FlTransport *tr)
{
    FlTls *tls = tr->tls;
    int done = tls->eof;

    if (done == 0 && !tls->notified) {
        if (FlTls_Kept(tls) > 0)
            return 0; /* TLS itself waits for the peer; the timer goes on */
        done = FlTls_Notify(tr->st, tls);
        if (done < 0) {
            if (FlError_IsFatal())
                return -1;
            PyErr_Clear(); /* data stands before the peer's answer, or it is broken */
            done = 0;
        }
        if (send_out(tr) < 0)
            return FlTransport_TlsFail(tr);
    }
    if (done == 0 && tls->notified && !tr->ch.closed) {
        done = skip_to_end(tr);
        if (done < 0) {
            if (FlError_IsFatal())
                return -1;
            PyErr_Clear(); /* whatever it was, nobody wants it any more */
            done = 1;
        }
    }
    if (done > 0 && tls->state == FL_TLS_SHUTTING) {
        tls->state = FL_TLS_OVER;
        if (!tr->ch.closed)
            FlChannel_CloseAfterWrites(&tr->ch);
    }
    return 0;
}

/* ---- turns ---- */

static int
turn_run(FlLoop *loop, PyObject *obj)
{
    FlTransport *tr = (FlTransport *)obj;

    (void)loop;
    tr->tls->turn_due = false;
    /* What leaves the loop ends the connection, as it does out of the channel's ops. */
    return turn(tr) < 0 ? fl_channel_fail_raised(&tr->ch) : 0;
}

static int
turn_later(FlTransport *tr)
{
    if (tr->tls->turn_due)
        return 0;
    if (FlLoop_Defer(tr->ch.loop, turn_run, (PyObject *)tr) < 0)
        return -1;
    tr->tls->turn_due = true;
    return 0;
}

static int
turn(FlTransport *tr)
{
    FlTls *tls = tr->tls;
    int err = 0;

    if (tls->busy) /* a callback of the SSLObject ran the loop, or waits inside it */
        return tr->ch.closed ? 0 : turn_later(tr);
    if (tls->turning || tr->ch.closed)
        return 0;
    tls->turning = true;
    if (tls->state == FL_TLS_HANDSHAKE)
        err = shake(tr);
    if (err == 0 && tls->state == FL_TLS_OPEN)
        err = FlTransport_TlsDeliver(tr);
    if (err == 0 && tls->eof && !tr->ch.closed && !tr->paused &&
        tls->state == FL_TLS_OPEN)
        err = FlTransport_TlsPeerEnded(tr); /* behind all that came before it */
    if (err == 0 && !tr->ch.closed && flush(tr) < 0)
        err = tls->state == FL_TLS_HANDSHAKE ? fail_handshake(tr)
                                             : FlTransport_TlsFail(tr);
    if (err == 0 && !tr->ch.closed && tls->state == FL_TLS_SHUTTING)
        err = shut(tr);
    tls->turning = false;
    if (err == 0 && !tr->ch.closed)
        err = FlTransport_WaterMoved(tr);
    if (err < 0 && !FlError_IsFatal()) /* no memory: the loop does not end by it */
        err = FlTransport_TlsFail(tr);
    return err;
}

int
FlTransport_TlsData(FlTransport *tr, const char *p, size_t n)
{
    if (tr->tls->state == FL_TLS_OVER)
        return 0;
    if (FlTls_Feed(tr->st, tr->tls, p, n) < 0)
        return FlTransport_TlsFail(tr);
    return turn(tr);
}

int
FlTransport_TlsEof(FlTransport *tr)
{
    FlTls *tls = tr->tls;

    tls->eof = true;
    if (tls->state == FL_TLS_HANDSHAKE) {
        PyErr_SetString(PyExc_ConnectionResetError,
                        "the peer closed the connection during the SSL handshake");
        return fail_handshake(tr);
    }
    return turn(tr);
}

int
FlTransport_TlsResume(FlTransport *tr)
{
    if (tr->tls->state != FL_TLS_OPEN)
        return 0;
    return turn_later(tr);
}

bool
FlTransport_TlsReads(const FlTransport *tr)
{
    switch (tr->tls->state) {
    case FL_TLS_HANDSHAKE:
    case FL_TLS_SHUTTING:
        return true;
    case FL_TLS_OPEN:
        return !tr->paused && !tr->closing;
    default:
        return false;
    }
}

void
FlTransport_TlsLost(FlTransport *tr, PyObject *exc)
{
    FlTls *tls = tr->tls;
    PyObject *why = exc;

    if (tls->waiter != NULL && exc == NULL)
        why = new_exception(PyExc_ConnectionAbortedError,
                            "the connection was closed during the SSL handshake");
    tell_waiter(tls, why);
    if (why != exc)
        Py_DECREF(why);
    tls->state = FL_TLS_OVER;
    FlLoop_Disarm(tr->ch.loop, &tls->timer);
}

/* ---- what Python asks ---- */

PyObject *
FlTransport_TlsInfo(FlTransport *tr, PyObject *name)
{
    static const char *const asked[][2] = {
        {"peercert", "getpeercert"},
        {"cipher", "cipher"},
        {"compression", "compression"},
    };
    FlTls *tls = tr->tls;

    if (PyUnicode_CompareWithASCIIString(name, "sslcontext") == 0)
        return Py_NewRef(tls->context);
    if (!tls->shook)
        return NULL;
    if (PyUnicode_CompareWithASCIIString(name, "ssl_object") == 0)
        return Py_NewRef(tls->object);
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        PyObject *value;

        if (PyUnicode_CompareWithASCIIString(name, asked[i][0]) != 0)
            continue;
        value = PyObject_CallMethod(tls->object, asked[i][1], NULL);
        if (value == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
            PyErr_Clear(); /* a failure has put it back before its handshake */
            return NULL;
        }
        if (value != NULL && tr->extra != NULL && PyDict_Check(tr->extra) &&
            PyDict_SetItem(tr->extra, name, value) < 0)
            Py_CLEAR(value);
        return value;
    }
    return NULL;
}

PyObject *
FlTransport_StartTls(PyObject *transport, PyObject *args)
{
    FlTransport *tr = (FlTransport *)transport;
    PyObject *protocol, *parts, *waiter;
    Py_buffer early;
    int err;

    if (!PyArg_ParseTuple(args, "OOOy*:_start_tls", &protocol, &parts, &waiter, &early))
        return NULL;
    if (tr->tls != NULL || tr->closing || tr->ch.closed || tr->ended ||
        tr->sent.future != NULL) {
        PyBuffer_Release(&early);
        PyErr_SetString(PyExc_RuntimeError,
                        tr->tls != NULL           ? "the transport speaks TLS already"
                        : tr->sent.future != NULL ? "a file is being sent"
                        : tr->ended               ? "write_eof() was called already"
                                                  : "Transport is closing");
        return NULL;
    }
    if (protocol != tr->protocol)
        tr->writing_paused = false; /* that was said to the other one */
    if (FlTransport_SetProtocol(tr, protocol) < 0 ||
        FlTransport_TlsAttach(tr, parts, waiter) < 0) {
        PyBuffer_Release(&early);
        return NULL;
    }
    tr->paused = false;
    err = early.len > 0 ? FlTls_Feed(tr->st, tr->tls, early.buf, (size_t)early.len) : 0;
    PyBuffer_Release(&early);
    if (err == 0)
        err = FlTransport_TlsBegin(tr);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}
