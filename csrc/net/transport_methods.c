/* transport_methods.c -- what programs call on a transport.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/transport.h"

#include "core/args.h"
#include "core/future.h"
#include "net/listener.h"
#include "net/open_file.h"
#include "net/transport_tls.h"

/* Writes after the end are counted, and told from this one on. */
#define LOST_WRITES_TOLD 5

/* Chunks of writelines() that need no memory of their own. */
#define FEW_CHUNKS 16

/* ---- reading ---- */

static PyObject *
transport_pause_reading(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    if (tr->closing || tr->paused)
        Py_RETURN_NONE;
    tr->paused = true;
    return FlTransport_SettleReading(tr) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
transport_resume_reading(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    if (tr->closing || !tr->paused)
        Py_RETURN_NONE;
    tr->paused = false;
    if (tr->tls != NULL && FlTransport_TlsResume(tr) < 0)
        return NULL;
    return FlTransport_SettleReading(tr) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
transport_is_reading(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    return PyBool_FromLong(!tr->closing && !tr->ch.closed && !tr->paused);
}

/* ---- writing ---- */

/* Why bytes cannot be written now: -1 with an exception, 1 when they are dropped
 * because the connection is over, 0 when they can. */
static int
check_write(FlTransport *tr, const char *method)
{
    PyObject *done;

    if (tr->ended) {
        PyErr_Format(PyExc_RuntimeError, "%s() was called after write_eof()", method);
        return -1;
    }
    if (tr->sent.future != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s() was called while a file is being sent: wait for sendfile()",
                     method);
        return -1;
    }
    if (!tr->closing && !tr->ch.closed)
        return 0;
    if (tr->writes_lost++ >= LOST_WRITES_TOLD) {
        done = PyObject_CallMethod(tr->st->asyncio_log, "warning", "s",
                                   tr->tls != NULL ? "SSL connection is closed"
                                                   : "socket.send() raised exception.");
        if (done == NULL)
            return -1;
        Py_DECREF(done);
    }
    return 1;
}

/* The bytes of data; *owner is what keeps them unchanged, or NULL: then view holds
 * them. 0 or -1 with TypeError. */
static int
bytes_of(PyObject *data, fl_chunk *chunk, Py_buffer *view)
{
    view->obj = NULL;
    if (PyBytes_Check(data)) {
        *chunk = (fl_chunk){.p = PyBytes_AS_STRING(data),
                            .n = (size_t)PyBytes_GET_SIZE(data),
                            .owner = data};
        return 0;
    }
    if (!PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(PyExc_TypeError,
                     "data argument must be a bytes, bytearray or memoryview object, "
                     "not '%s'",
                     Py_TYPE(data)->tp_name);
        return -1;
    }
    if (PyObject_GetBuffer(data, view, PyBUF_SIMPLE) < 0)
        return -1;
    *chunk = (fl_chunk){.p = view->buf, .n = (size_t)view->len};
    return 0;
}

static PyObject *
transport_write(PyObject *obj, PyObject *data)
{
    FlTransport *tr = (FlTransport *)obj;
    Py_buffer view;
    fl_chunk chunk;
    int err;

    if (bytes_of(data, &chunk, &view) < 0)
        return NULL;
    err = check_write(tr, "write");
    if (err == 0 && chunk.n > 0)
        err = tr->tls != NULL ? FlTransport_TlsWrite(tr, &chunk, 1)
                              : FlChannel_Writev(&tr->ch, &chunk, 1);
    if (view.obj != NULL)
        PyBuffer_Release(&view);
    if (err == 0 && (tr->ch.above || tr->tls != NULL))
        err = FlTransport_WaterRose(tr);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
transport_writelines(PyObject *obj, PyObject *list)
{
    FlTransport *tr = (FlTransport *)obj;
    PyObject *all = PySequence_Tuple(list); /* user code cannot change it under us */
    Py_ssize_t n = all == NULL ? 0 : PyTuple_GET_SIZE(all), held = 0;
    fl_chunk few[FEW_CHUNKS], *chunks = few;
    Py_buffer few_views[FEW_CHUNKS], *views = few_views;
    int err = -1;

    if (all == NULL)
        return NULL;
    if (n > FEW_CHUNKS) {
        chunks = PyMem_New(fl_chunk, (size_t)n);
        views = PyMem_New(Py_buffer, (size_t)n);
        if (chunks == NULL || views == NULL) {
            PyErr_NoMemory();
            goto done;
        }
    }
    for (; held < n; held++)
        if (bytes_of(PyTuple_GET_ITEM(all, held), &chunks[held], &views[held]) < 0)
            goto done;
    err = check_write(tr, "writelines");
    if (err == 0 && n > 0)
        err = tr->tls != NULL ? FlTransport_TlsWrite(tr, chunks, (size_t)n)
                              : FlChannel_Writev(&tr->ch, chunks, (int)n);
    if (err == 0 && (tr->ch.above || tr->tls != NULL))
        err = FlTransport_WaterRose(tr);
done:
    while (held-- > 0)
        if (views[held].obj != NULL)
            PyBuffer_Release(&views[held]);
    if (chunks != few)
        PyMem_Free(chunks);
    if (views != few_views)
        PyMem_Free(views);
    Py_DECREF(all);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
transport_write_eof(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    if (tr->tls != NULL) {
        PyErr_SetString(PyExc_NotImplementedError,
                        "TLS has no end of one side alone: see can_write_eof()");
        return NULL;
    }
    if (tr->closing || tr->ch.closed || tr->ended)
        Py_RETURN_NONE;
    tr->ended = true;
    if (tr->kind == FL_TRANSPORT_WRITE) { /* a pipe has no half of it left to keep */
        FlTransport_Close(tr);
        Py_RETURN_NONE;
    }
    return FlChannel_Shutdown(&tr->ch) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
transport_can_write_eof(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlTransport *)obj)->tls == NULL);
}

/* ---- water marks ---- */

int
FlTransport_ParseLimits(PyObject *args, PyObject *kwargs, size_t *high_out,
                        size_t *low_out)
{
    static char *names[] = {"high", "low", NULL};
    PyObject *high_arg = Py_None, *low_arg = Py_None;
    Py_ssize_t high = (Py_ssize_t)FL_TRANSPORT_HIGH, low;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:set_write_buffer_limits", names,
                                     &high_arg, &low_arg))
        return -1;
    if (high_arg != Py_None) {
        high = PyNumber_AsSsize_t(high_arg, PyExc_OverflowError);
        if (high == -1 && PyErr_Occurred())
            return -1;
    }
    low = high / 4;
    if (low_arg != Py_None) {
        low = PyNumber_AsSsize_t(low_arg, PyExc_OverflowError);
        if (low == -1 && PyErr_Occurred())
            return -1;
        if (high_arg == Py_None && low <= PY_SSIZE_T_MAX / 4)
            high = 4 * low;
    }
    if (low < 0 || high < low) {
        PyErr_Format(PyExc_ValueError,
                     "high must be at least low, and low at least 0: got high=%zd and "
                     "low=%zd",
                     high, low);
        return -1;
    }
    *high_out = (size_t)high;
    *low_out = (size_t)low;
    return 0;
}

static PyObject *
transport_set_limits(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    FlTransport *tr = (FlTransport *)obj;

    if (FlTransport_ParseLimits(args, kwargs, &tr->high, &tr->low) < 0)
        return NULL;
    FlChannel_SetMarks(&tr->ch, tr->high, tr->low);
    if (FlTransport_WaterRose(tr) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
transport_get_limits(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    return Py_BuildValue("(nn)", (Py_ssize_t)tr->low, (Py_ssize_t)tr->high);
}

static PyObject *
transport_get_size(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t(FlTransport_Waiting((FlTransport *)obj));
}

/* ---- ending ---- */

static PyObject *
transport_close(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport_Close((FlTransport *)obj);
    Py_RETURN_NONE;
}

static PyObject *
transport_abort(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport_Abort((FlTransport *)obj, NULL);
    Py_RETURN_NONE;
}

static PyObject *
transport_force_close(PyObject *obj, PyObject *exc)
{
    FlTransport_Abort((FlTransport *)obj, exc == Py_None ? NULL : exc);
    Py_RETURN_NONE;
}

static PyObject *
transport_is_closing(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    return PyBool_FromLong(tr->closing || tr->ch.closed);
}

/* ---- protocol and information ---- */

static PyObject *
transport_set_protocol(PyObject *obj, PyObject *protocol)
{
    FlTransport *tr = (FlTransport *)obj;

    if (tr->protocol == NULL) /* it is over: nobody will be called */
        Py_RETURN_NONE;
    return FlTransport_SetProtocol(tr, protocol) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
transport_get_protocol(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlTransport *tr = (FlTransport *)obj;

    return Py_NewRef(tr->protocol != NULL ? tr->protocol : Py_None);
}

void
FlTransport_KeepNames(FlTransport *tr)
{
    if (tr->peer.len == 0 && tr->peername == NULL &&
        fl_socket_peer(tr->ch.watch.fd, &tr->peer) < 0)
        tr->peer.len = 0;
    if (tr->own.len == 0 && tr->sockname == NULL &&
        fl_socket_name(tr->ch.watch.fd, &tr->own) < 0)
        tr->own.len = 0;
}

/* The socket object of a bare descriptor; borrowed. */
static PyObject *
make_socket(FlTransport *tr)
{
    FlState *st = tr->st;
    PyObject *type = FlState_Lazy(st, &st->Socket, "socket", "socket");
    PyObject *args[1], *names, *sock = NULL, *done;

    if (type == NULL)
        return NULL;
    if (tr->ch.closed) { /* one that says so: its descriptor is -1 */
        sock = PyObject_CallNoArgs(type);
        done = sock == NULL ? NULL : PyObject_CallMethodNoArgs(sock, st->str_close);
    } else {
        args[0] = PyLong_FromLong(tr->ch.watch.fd);
        names = PyTuple_Pack(1, st->str_fileno);
        if (args[0] != NULL && names != NULL)
            sock = PyObject_Vectorcall(type, args, 0, names);
        Py_XDECREF(args[0]);
        Py_XDECREF(names);
        tr->file = sock; /* it owns the descriptor from now on */
        done = sock == NULL ? NULL
                            : PyObject_CallMethod(sock, "setblocking", "O", Py_False);
        Py_XDECREF(done);
        return done == NULL ? NULL : sock;
    }
    if (done == NULL) {
        Py_XDECREF(sock);
        return NULL;
    }
    Py_DECREF(done);
    tr->file = sock;
    return sock;
}

static PyObject *
info_socket(FlTransport *tr)
{
    FlState *st = tr->st;
    PyObject *type;

    if (tr->face != NULL)
        return Py_NewRef(tr->face);
    type = FlState_Lazy(st, &st->TransportSocket, "asyncio.trsock", "TransportSocket");
    if (type == NULL || (tr->file == NULL && make_socket(tr) == NULL))
        return NULL;
    tr->face = PyObject_CallOneArg(type, tr->file);
    return Py_XNewRef(tr->face);
}

static PyObject *
info_name(FlTransport *tr, bool peer)
{
    PyObject **kept = peer ? &tr->peername : &tr->sockname;
    fl_address *address = peer ? &tr->peer : &tr->own;
    int err = 0;

    if (*kept == NULL) {
        if (address->len == 0)
            err = tr->ch.closed ? -1
                  : peer        ? fl_socket_peer(tr->ch.watch.fd, address)
                                : fl_socket_name(tr->ch.watch.fd, address);
        *kept = err < 0 ? Py_NewRef(Py_None) : FlAddress_ToPython(address);
    }
    return Py_XNewRef(*kept);
}

/* get_extra_info() of what is not in `extra`: new reference, or NULL without an
 * exception when the name means nothing here. escapes */
static PyObject *
transport_info(FlTransport *tr, PyObject *name)
{
    FlState *st = tr->st;

    if (tr->kind != FL_TRANSPORT_SOCKET) {
        if (PyUnicode_Compare(name, st->str_pipe) == 0)
            return Py_XNewRef(tr->file);
        return NULL;
    }
    if (PyUnicode_Compare(name, st->str_peername) == 0)
        return info_name(tr, true);
    if (PyUnicode_Compare(name, st->str_socket) == 0)
        return info_socket(tr);
    if (PyUnicode_Compare(name, st->str_sockname) == 0)
        return info_name(tr, false);
    return tr->tls != NULL ? FlTransport_TlsInfo(tr, name) : NULL;
}

static PyObject *
transport_get_extra_info(PyObject *obj, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"name", "default", NULL};
    FlTransport *tr = (FlTransport *)obj;
    PyObject *name, *otherwise = Py_None, *found = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", names, &name,
                                     &otherwise))
        return NULL;
    if (tr->extra != NULL && PyDict_Check(tr->extra) &&
        PyDict_GetItemRef(tr->extra, name, &found) < 0)
        return NULL;
    if (found == NULL && PyUnicode_Check(name))
        found = transport_info(tr, name);
    if (found == NULL && PyErr_Occurred())
        return NULL;
    return found != NULL ? found : Py_NewRef(otherwise);
}

/* ---- files ---- */

/* The future of everything that was written until now. */
static PyObject *
future_of_all(FlTransport *tr)
{
    PyObject *future = FlFuture_New(tr->st, tr->ch.loop);

    if (future == NULL)
        return NULL;
    tr->sent.target = tr->ch.total_queued;
    if (tr->ch.total_sent >= tr->sent.target && !tr->ch.closed) {
        if (FlFuture_SetResult(future, Py_None) < 0)
            Py_CLEAR(future);
        return future;
    }
    Py_XSETREF(tr->sent.future, Py_NewRef(future));
    return future;
}

static PyObject *
transport_send_file(PyObject *obj, PyObject *args)
{
    FlTransport *tr = (FlTransport *)obj;
    long long offset, count;
    PyObject *file;
    int fd, err;

    if (!PyArg_ParseTuple(args, "iLL:_send_file", &fd, &offset, &count))
        return NULL;
    if (tr->closing || tr->ch.closed || tr->sent.future != NULL || tr->tls != NULL) {
        (void)fl_close(fd);
        PyErr_SetString(PyExc_RuntimeError,
                        tr->sent.future != NULL ? "a file is being sent already"
                        : tr->tls != NULL       ? "the kernel sends no file over TLS"
                                                : "Transport is closing");
        return NULL;
    }
    file = FlOpenFile_OfFd(tr->st, fd);
    if (file == NULL)
        return NULL;
    err = FlChannel_SendFile(&tr->ch, file, offset, count);
    Py_DECREF(file);
    return err < 0 ? NULL : future_of_all(tr);
}

/* Nothing can be written behind a file until its future is done: it is the last thing
 * that was queued. */
static PyObject *
transport_end_file(PyObject *obj, PyObject *arg)
{
    FlTransport *tr = (FlTransport *)obj;
    unsigned long long count = PyLong_AsUnsignedLongLong(arg);
    uint64_t left = 0;

    if (PyErr_Occurred())
        return NULL;
    if (tr->ch.total_sent < tr->sent.target)
        left = tr->sent.target - tr->ch.total_sent;
    if (left > count)
        left = count;
    Py_CLEAR(tr->sent.future);
    if (left > 0 && !tr->ch.closed) {
        Py_INCREF(tr);
        left = FlChannel_TakeFileBack(&tr->ch);
        Py_DECREF(tr);
        if (PyErr_Occurred())
            return NULL;
    }
    return PyLong_FromUnsignedLongLong(count - left);
}

/* ---- tables ---- */

#define KEYWORDS(name, function, doc) \
    {name, (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS, doc}

#define SHARED                                                                        \
    {"close", transport_close, METH_NOARGS,                                           \
     "close($self)\n--\n\nRead no more; connection_lost() once everything is sent."}, \
        {"abort", transport_abort, METH_NOARGS,                                       \
         "abort($self)\n--\n\nClose now and drop what was not sent."},                \
        {"_force_close", transport_force_close, METH_O,                               \
         "_force_close($self, exc, /)\n--\n\nabort() with connection_lost(exc)."},    \
        {"is_closing", transport_is_closing, METH_NOARGS,                             \
         "is_closing($self)\n--\n\nWhether it is closed, or about to be."},           \
        {"set_protocol", transport_set_protocol, METH_O,                              \
         "set_protocol($self, protocol)\n--\n\nLet another protocol take over."},     \
        {"get_protocol", transport_get_protocol, METH_NOARGS,                         \
         "get_protocol($self)\n--\n\nThe protocol."},                                 \
        KEYWORDS("get_extra_info", transport_get_extra_info,                          \
                 "get_extra_info($self, name, default=None)\n--\n\n"                  \
                 "What is known about the transport under this name.")

#define READING                                                                 \
    {"pause_reading", transport_pause_reading, METH_NOARGS,                     \
     "pause_reading($self)\n--\n\nNo data_received() until resume_reading()."}, \
        {"resume_reading", transport_resume_reading, METH_NOARGS,               \
         "resume_reading($self)\n--\n\nUndo pause_reading()."},                 \
        {"is_reading", transport_is_reading, METH_NOARGS,                       \
         "is_reading($self)\n--\n\nWhether bytes are received now."}

#define WRITING                                                                       \
    {"write", transport_write, METH_O,                                                \
     "write($self, data, /)\n--\n\nSend bytes, now or as soon as there is room."},    \
        {"writelines", transport_writelines, METH_O,                                  \
         "writelines($self, list_of_data, /)\n--\n\nSend a list of bytes together."}, \
        {"write_eof", transport_write_eof, METH_NOARGS,                               \
         "write_eof($self)\n--\n\nEnd the sending side once everything is sent."},    \
        {"can_write_eof", transport_can_write_eof, METH_NOARGS,                       \
         "can_write_eof($self)\n--\n\nTrue."},                                        \
        KEYWORDS("set_write_buffer_limits", transport_set_limits,                     \
                 "set_write_buffer_limits($self, high=None, low=None)\n--\n\n"        \
                 "Bytes queued above which the protocol pauses, and resumes."),       \
        {"get_write_buffer_limits", transport_get_limits, METH_NOARGS,                \
         "get_write_buffer_limits($self)\n--\n\n(low, high)."},                       \
        {"get_write_buffer_size", transport_get_size, METH_NOARGS,                    \
         "get_write_buffer_size($self)\n--\n\nBytes queued."}

PyMethodDef FlTransport_SocketMethods[] = {
    SHARED,
    READING,
    WRITING,
    {"_send_file", transport_send_file, METH_VARARGS,
     "_send_file($self, fd, offset, count, /)\n--\n\n"
     "Send a file whose descriptor is taken over; a future."},
    {"_end_file", transport_end_file, METH_O,
     "_end_file($self, count, /)\n--\n\n"
     "Send no more of that file; how many of its count bytes were sent."},
    {"_start_tls", FlTransport_StartTls, METH_VARARGS,
     "_start_tls($self, protocol, parts, waiter, early, /)\n--\n\n"
     "Go on in TLS, for protocol; early is what was received of it already."},
    {NULL, NULL, 0, NULL},
};

PyMethodDef FlTransport_ReadMethods[] = {
    SHARED,
    READING,
    {NULL, NULL, 0, NULL},
};

PyMethodDef FlTransport_WriteMethods[] = {
    SHARED,
    WRITING,
    {NULL, NULL, 0, NULL},
};

#undef KEYWORDS
#undef SHARED
#undef READING
#undef WRITING
