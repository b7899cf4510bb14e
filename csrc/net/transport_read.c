/* transport_read.c -- what a transport receives: from its channel to its protocol.
 *
 *     plain protocol     bytes out of the loop's buffer, or `landing`: an object that they
 *                        were received into, where much came before
 *     BufferedProtocol   `lent`: the memory of its get_buffer()
 *     over TLS           all goes to transport_tls.c first
 *
 * Invariant: of `landing` and `lent` at most one is there, and only from when memory is
 * asked for until what came is handed on, or the memory given back.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport_parts.h"

#include "net/transport_tls.h"

/* ---- memory ---- */

void
FlTransport_GiveBack(FlTransport *tr)
{
    Py_CLEAR(tr->landing);
    if (tr->lent.obj != NULL)
        PyBuffer_Release(&tr->lent);
}

/* Where much came at once, the next bytes go straight into the object that the protocol
 * will be given: a copy saved is more than what is left over of it. */
#define LARGE_LEAST ((size_t)16 * 1024)
#define LARGE_STEP ((size_t)4 * 1024)

static void
expect_like(FlTransport *tr, size_t got)
{
    size_t room = (got / LARGE_STEP + 2) * LARGE_STEP;

    if (got < LARGE_LEAST)
        tr->expected = 0;
    else if (got == tr->expected) /* there was more, it seems */
        tr->expected = got * 2 < FL_LOOP_BUFFER ? got * 2 : FL_LOOP_BUFFER;
    else
        tr->expected = room < FL_LOOP_BUFFER ? room : FL_LOOP_BUFFER;
}

char *
FlTransport_Lend(FlTransport *tr, size_t *n)
{
    PyObject *args[2] = {NULL, NULL}, *memory, *exc;

    FlTransport_GiveBack(tr);
    args[1] = PyLong_FromLong(-1);
    if (args[1] == NULL)
        return NULL;
    memory = FlTransport_Call(tr, tr->get_buffer, args, 1);
    Py_DECREF(args[1]);
    if (memory != NULL) {
        if (PyObject_GetBuffer(memory, &tr->lent, PyBUF_WRITABLE) == 0) {
            if (tr->lent.len == 0) {
                PyBuffer_Release(&tr->lent);
                PyErr_SetString(PyExc_RuntimeError,
                                "get_buffer() returned an empty buffer");
            }
        }
        Py_DECREF(memory);
    }
    if (tr->lent.obj != NULL) {
        *n = (size_t)tr->lent.len;
        return tr->lent.buf;
    }
    exc = PyErr_GetRaisedException();
    PyErr_SetRaisedException(Py_NewRef(exc)); /* told here, and by connection_lost() */
    if (FlTransport_Report(tr, "Fatal error: protocol.get_buffer() call failed.") == 0)
        PyErr_SetRaisedException(exc);
    else
        Py_DECREF(exc);
    return NULL;
}

char *
FlTransport_OnBuffer(FlChannel *ch, size_t *n)
{
    FlTransport *tr = ch->self;

    if (tr->tls != NULL)
        return NULL;
    if (tr->get_buffer != NULL)
        return FlTransport_Lend(tr, n);
    FlTransport_GiveBack(tr);
    if (tr->expected == 0)
        return NULL;
    tr->landing = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)tr->expected);
    *n = tr->expected;
    return tr->landing == NULL ? NULL : PyBytes_AS_STRING(tr->landing);
}

/* ---- bytes ---- */

int
FlTransport_Received(FlTransport *tr, PyObject *bytes)
{
    PyObject *args[2] = {NULL, bytes};
    PyObject *res = tr->on_data == Py_None
                        ? FlTransport_CallByName(tr, tr->st->str_data_received, bytes)
                        : FlTransport_Call(tr, tr->on_data, args, 1);

    if (res == NULL)
        return FlTransport_Fail(tr,
                                "Fatal error: protocol.data_received() call failed.");
    Py_DECREF(res);
    return 0;
}

/* Hands bytes (stolen; NULL: an exception is set) to the protocol; 0 or -1. */
static int
give_bytes(FlTransport *tr, PyObject *bytes)
{
    int err = bytes == NULL ? -1 : FlTransport_Received(tr, bytes);

    Py_XDECREF(bytes);
    return err;
}

Py_ssize_t
FlTransport_OnData(FlChannel *ch, const char *p, size_t n)
{
    FlTransport *tr = ch->self;
    int err;

    if (tr->tls != NULL) {
        err = FlTransport_TlsData(tr, p, n);
    } else {
        expect_like(tr, n);
        err = give_bytes(tr, PyBytes_FromStringAndSize(p, (Py_ssize_t)n));
    }
    return err < 0 ? -1 : (Py_ssize_t)n;
}

/* The object that bytes landed in, cut to what came. */
static int
transport_landed(FlTransport *tr, size_t n)
{
    PyObject *bytes = tr->landing;

    tr->landing = NULL;
    expect_like(tr, n);
    (void)_PyBytes_Resize(&bytes, (Py_ssize_t)n);
    return give_bytes(tr, bytes);
}

int
FlTransport_Filled(FlTransport *tr, size_t n)
{
    PyObject *args[2] = {NULL, NULL}, *res;

    if (tr->get_buffer ==
        NULL) { /* get_buffer() itself put a plain protocol in place */
        PyObject *bytes = PyBytes_FromStringAndSize(tr->lent.buf, (Py_ssize_t)n);
        FlTransport_GiveBack(tr);
        return give_bytes(tr, bytes);
    }
    FlTransport_GiveBack(tr);
    args[1] = PyLong_FromSize_t(n);
    if (args[1] == NULL)
        return -1;
    res = FlTransport_Call(tr, tr->on_data, args, 1);
    Py_DECREF(args[1]);
    if (res == NULL &&
        FlTransport_Fail(tr, "Fatal error: protocol.buffer_updated() call failed.") < 0)
        return -1;
    Py_XDECREF(res);
    return 0;
}

/* get_buffer() has begun TLS: what landed in its memory is not plain text. */
static int
landed_encrypted(FlTransport *tr, size_t n)
{
    Py_buffer lent = tr->lent;
    int err;

    tr->lent.obj = NULL;
    err = FlTransport_TlsData(tr, lent.buf, n);
    PyBuffer_Release(&lent);
    return err;
}

int
FlTransport_OnFilled(FlChannel *ch, size_t n)
{
    FlTransport *tr = ch->self;

    if (tr->tls != NULL && tr->lent.obj != NULL)
        return landed_encrypted(tr, n);
    return tr->landing != NULL ? transport_landed(tr, n) : FlTransport_Filled(tr, n);
}

/* ---- the end ---- */

int
FlTransport_TellEof(FlTransport *tr)
{
    PyObject *res = FlTransport_CallByName(tr, tr->st->str_eof_received, NULL);
    int stays = res == NULL ? -1 : PyObject_IsTrue(res);

    Py_XDECREF(res);
    return stays;
}

int
FlTransport_OnEof(FlChannel *ch)
{
    FlTransport *tr = ch->self;
    int stays;

    if (tr->kind == FL_TRANSPORT_WRITE) { /* the reader is gone */
        FlTransport_Abort(tr, NULL);
        return 0;
    }
    if (tr->tls != NULL)
        return FlTransport_TlsEof(tr);
    stays = FlTransport_TellEof(tr);
    if (stays < 0)
        return FlTransport_Fail(tr,
                                "Fatal error: protocol.eof_received() call failed.");
    if (!stays || tr->kind == FL_TRANSPORT_READ)
        FlTransport_Close(tr);
    return 0;
}
