/* sock_call.c -- loop.sock_*: the awaitable, and the methods of Loop that make it.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/sock_call.h"

#include "core/future.h"
#include "core/iter_face.h"
#include "core/loop_methods.h"

/* ---- as a coroutine ---- */

static void
call_end(FlSockCall *call, bool forget)
{
    call->ended = true;
    FlSockCall_Leave(call, forget);
    if (call->view.obj != NULL)
        PyBuffer_Release(&call->view);
    Py_CLEAR(call->future);
    Py_CLEAR(call->data);
    Py_CLEAR(call->address);
}

/* asyncio's checks, which a coroutine makes when it is first awaited. */
static int
call_begin(FlSockCall *call)
{
    FlState *st = call->st;
    PyObject *type = FlState_Lazy(st, &st->Socket, "socket", "socket"), *timeout;
    double seconds;

    call->started = true;
    if (type == NULL)
        return -1;
    if ((PyObject *)Py_TYPE(call->sock) != type) {
        PyObject *tls = FlState_Lazy(st, &st->SSLSocket, "ssl", "SSLSocket");
        int is_tls = tls == NULL ? -1 : PyObject_IsInstance(call->sock, tls);

        if (is_tls > 0)
            PyErr_SetString(PyExc_TypeError,
                            "Socket cannot be of type SSLSocket: give a plain socket");
        if (is_tls != 0)
            return -1;
    }
    if (call->loop->debug && call->op != FL_SOCK_READABLE &&
        call->op != FL_SOCK_WRITABLE) {
        timeout = PyObject_CallMethod(call->sock, "gettimeout", NULL);
        seconds =
            timeout == NULL || timeout == Py_None ? -1.0 : PyFloat_AsDouble(timeout);
        Py_XDECREF(timeout);
        if (PyErr_Occurred())
            return -1;
        if (seconds != 0.0) {
            PyErr_SetString(PyExc_ValueError,
                            "the socket must be non-blocking: setblocking(False)");
            return -1;
        }
    }
    if (call->op == FL_SOCK_SENDALL || call->op == FL_SOCK_SENDTO)
        return PyObject_GetBuffer(call->data, &call->view, PyBUF_SIMPLE);
    return 0;
}

/* Waits for the next event: PYGEN_NEXT with the future that a task watches. */
static PySendResult
call_wait(FlSockCall *call, PyObject **result)
{
    int fd = FlSockCall_Descriptor(call->sock);

    if (fd < 0 || FlSockCall_Wait(call, fd) < 0) {
        call_end(call, true);
        return PYGEN_ERROR;
    }
    ((FlFuture *)call->future)->blocking = true;
    *result = Py_NewRef(call->future);
    return PYGEN_NEXT;
}

/* What a call runs (fileno, sendto) may come back to it. */
static int
check_not_running(FlSockCall *call)
{
    if (!call->running)
        return 0;
    PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    return -1;
}

static PySendResult
call_step(FlSockCall *call, PyObject **result)
{
    int done;

    if (!call->started && call_begin(call) < 0) {
        call_end(call, false);
        return PYGEN_ERROR;
    }
    done = FlSockCall_Try(call, result);
    if (done == 0)
        return call_wait(call, result);
    call_end(call, done < 0);
    return done < 0 ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult
call_send(PyObject *obj, PyObject *Py_UNUSED(value), PyObject **result)
{
    FlSockCall *call = (FlSockCall *)obj;
    PySendResult end;

    *result = NULL;
    if (check_not_running(call) < 0)
        return PYGEN_ERROR;
    if (call->ended) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return PYGEN_ERROR;
    }
    if (call->at != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "await wasn't used with future");
        return PYGEN_ERROR;
    }
    Py_INCREF(call);
    call->running = true;
    end = call_step(call, result);
    call->running = false;
    Py_DECREF(call);
    return end;
}

static PyObject *
call_next(PyObject *obj)
{
    PyObject *result;
    PySendResult end = call_send(obj, Py_None, &result);

    return FlIter_Next(end, result);
}

static PyObject *
call_send_method(PyObject *obj, PyObject *value)
{
    PyObject *result;
    PySendResult end = call_send(obj, value, &result);

    return FlIter_End(end, result);
}

static PyObject *
call_throw(PyObject *obj, PyObject *const *args, Py_ssize_t nargs)
{
    FlSockCall *call = (FlSockCall *)obj;

    if (check_not_running(call) < 0)
        return NULL;
    if (!call->ended)
        call_end(call, true);
    FlIter_RaiseThrown(args, nargs);
    return NULL;
}

static PyObject *
call_close(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    if (check_not_running((FlSockCall *)obj) < 0)
        return NULL;
    if (!((FlSockCall *)obj)->ended)
        call_end((FlSockCall *)obj, true);
    Py_RETURN_NONE;
}

static PyObject *
call_await(PyObject *obj)
{
    return Py_NewRef(obj);
}

static PyObject *
call_await_method(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(obj);
}

static PyObject *
call_get_name(PyObject *obj, void *Py_UNUSED(closure))
{
    switch ((enum FlSockOp)((FlSockCall *)obj)->op) {
    case FL_SOCK_RECV:
        return PyUnicode_FromString("sock_recv");
    case FL_SOCK_RECV_INTO:
        return PyUnicode_FromString("sock_recv_into");
    case FL_SOCK_RECVFROM:
        return PyUnicode_FromString("sock_recvfrom");
    case FL_SOCK_RECVFROM_INTO:
        return PyUnicode_FromString("sock_recvfrom_into");
    case FL_SOCK_ACCEPT:
        return PyUnicode_FromString("sock_accept");
    case FL_SOCK_SENDALL:
        return PyUnicode_FromString("sock_sendall");
    case FL_SOCK_SENDTO:
        return PyUnicode_FromString("sock_sendto");
    case FL_SOCK_READABLE:
        return PyUnicode_FromString("_readable");
    case FL_SOCK_WRITABLE:
        break;
    }
    return PyUnicode_FromString("_writable");
}

static int
call_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlSockCall *call = (FlSockCall *)obj;

    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(call->loop);
    Py_VISIT(call->sock);
    Py_VISIT(call->data);
    Py_VISIT(call->address);
    Py_VISIT(call->future);
    return 0;
}

static int
call_clear(PyObject *obj)
{
    FlSockCall *call = (FlSockCall *)obj;

    call_end(call, true);
    Py_CLEAR(call->sock);
    return 0;
}

static void
call_dealloc(PyObject *obj)
{
    FlSockCall *call = (FlSockCall *)obj;
    PyTypeObject *type = Py_TYPE(obj);
    PyObject *pending;

    PyObject_GC_UnTrack(obj); /* making the exception may call the collector */
    pending = PyErr_GetRaisedException();
    (void)call_clear(obj);
    Py_CLEAR(call->loop);
    if (pending != NULL)
        PyErr_SetRaisedException(pending);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyMethodDef call_methods[] = {
    {"send", call_send_method, METH_O, "As of a coroutine."},
    {"throw", (PyCFunction)(void (*)(void))call_throw, METH_FASTCALL,
     "As of a coroutine."},
    {"close", call_close, METH_NOARGS, "As of a coroutine."},
    {"__await__", call_await_method, METH_NOARGS, "As of a coroutine."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef call_getset[] = {
    {"__name__", call_get_name, NULL, NULL, NULL},
    {"__qualname__", call_get_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_tp_doc, "One operation of loop.sock_*, to be awaited."},
    {Py_tp_dealloc, call_dealloc},
    {Py_tp_traverse, call_traverse},
    {Py_tp_clear, call_clear},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, call_next},
    {Py_am_await, call_await},
    {Py_am_send, call_send},
    {Py_tp_methods, call_methods},
    {Py_tp_getset, call_getset},
    {0, NULL},
};

static PyType_Spec call_spec = {
    .name = "pyfastloop._core.SockCall",
    .basicsize = sizeof(FlSockCall),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = call_slots,
};

/* ---- the methods of Loop ---- */

static PyObject *
call_new(PyObject *loop, enum FlSockOp op, PyObject *sock, PyObject *data, Py_ssize_t n,
         PyObject *address)
{
    FlState *st = FlState_OfType(Py_TYPE(loop));
    FlSockCall *call;

    if (st == NULL)
        return NULL;
    if (!FlLoop_Check(st, loop)) {
        PyErr_Format(PyExc_TypeError, "%R is not a loop of pyfastloop", loop);
        return NULL;
    }
    if (n < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return NULL;
    }
    call = (FlSockCall *)st->SockCall_type->tp_alloc(st->SockCall_type, 0);
    if (call == NULL)
        return NULL;
    call->st = st;
    call->loop = (FlLoop *)Py_NewRef(loop);
    call->sock = Py_NewRef(sock);
    call->data = Py_XNewRef(data);
    call->address = Py_XNewRef(address);
    call->n = (size_t)n;
    call->op = (uint8_t)op;
    return (PyObject *)call;
}

/* Up to four arguments, most by position; the others by the names given. */
static int
take(const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
     const char *const *names, Py_ssize_t needed, Py_ssize_t most, PyObject **out)
{
    Py_ssize_t named = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);

    if (nargs > most) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, got %zd", method, most,
                     nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++)
        out[i] = args[i];
    for (Py_ssize_t k = 0; k < named; k++) {
        PyObject *name = PyTuple_GET_ITEM(kw, k);
        Py_ssize_t i = 0;

        while (i < most && PyUnicode_CompareWithASCIIString(name, names[i]) != 0)
            i++;
        if (i == most || out[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected argument %R", method,
                         name);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    for (Py_ssize_t i = 0; i < needed; i++) {
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() needs the argument '%s'", method,
                         names[i]);
            return -1;
        }
    }
    return 0;
}

static Py_ssize_t
size_of(PyObject *number)
{
    return number == NULL ? 0 : PyNumber_AsSsize_t(number, PyExc_OverflowError);
}

static PyObject *
sock_receives(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
              const char *method, enum FlSockOp op, Py_ssize_t needed)
{
    static const char *const names[] = {"sock", "bufsize"};
    static const char *const names_of_recv[] = {"sock", "n"};
    PyObject *given[2] = {NULL, NULL};
    Py_ssize_t n;

    if (take(method, args, nargs, kw, op == FL_SOCK_RECV ? names_of_recv : names,
             needed, 2, given) < 0)
        return NULL;
    n = given[1] == NULL ? FL_LOOP_BUFFER : size_of(given[1]);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    return call_new(loop, op, given[0], NULL, n, NULL);
}

static PyObject *
loop_sock_recv(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    return sock_receives(loop, args, nargs, kw, "sock_recv", FL_SOCK_RECV, 2);
}

static PyObject *
loop_sock_recvfrom(PyObject *loop, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kw)
{
    return sock_receives(loop, args, nargs, kw, "sock_recvfrom", FL_SOCK_RECVFROM, 2);
}

static PyObject *
sock_fills(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
           const char *method, enum FlSockOp op, Py_ssize_t most)
{
    static const char *const names[] = {"sock", "buf", "nbytes"};
    PyObject *given[3] = {NULL, NULL, NULL};
    Py_ssize_t n;

    if (take(method, args, nargs, kw, names, 2, most, given) < 0)
        return NULL;
    n = size_of(given[2]);
    if (n == -1 && PyErr_Occurred())
        return NULL;
    return call_new(loop, op, given[0], given[1], n, NULL);
}

static PyObject *
loop_sock_recv_into(PyObject *loop, PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kw)
{
    return sock_fills(loop, args, nargs, kw, "sock_recv_into", FL_SOCK_RECV_INTO, 2);
}

static PyObject *
loop_sock_recvfrom_into(PyObject *loop, PyObject *const *args, Py_ssize_t nargs,
                        PyObject *kw)
{
    return sock_fills(loop, args, nargs, kw, "sock_recvfrom_into",
                      FL_SOCK_RECVFROM_INTO, 3);
}

static PyObject *
loop_sock_sendall(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    static const char *const names[] = {"sock", "data"};
    PyObject *given[2] = {NULL, NULL};

    if (take("sock_sendall", args, nargs, kw, names, 2, 2, given) < 0)
        return NULL;
    return call_new(loop, FL_SOCK_SENDALL, given[0], given[1], 0, NULL);
}

static PyObject *
loop_sock_sendto(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    static const char *const names[] = {"sock", "data", "address"};
    PyObject *given[3] = {NULL, NULL, NULL};

    if (take("sock_sendto", args, nargs, kw, names, 3, 3, given) < 0)
        return NULL;
    return call_new(loop, FL_SOCK_SENDTO, given[0], given[1], 0, given[2]);
}

static PyObject *
sock_alone(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw,
           const char *method, enum FlSockOp op)
{
    static const char *const names[] = {"sock"};
    PyObject *given[1] = {NULL};

    if (take(method, args, nargs, kw, names, 1, 1, given) < 0)
        return NULL;
    return call_new(loop, op, given[0], NULL, 0, NULL);
}

static PyObject *
loop_sock_accept(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    return sock_alone(loop, args, nargs, kw, "sock_accept", FL_SOCK_ACCEPT);
}

static PyObject *
loop_readable(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    return sock_alone(loop, args, nargs, kw, "_readable", FL_SOCK_READABLE);
}

static PyObject *
loop_writable(PyObject *loop, PyObject *const *args, Py_ssize_t nargs, PyObject *kw)
{
    return sock_alone(loop, args, nargs, kw, "_writable", FL_SOCK_WRITABLE);
}

static PyMethodDef mixin_methods[] = {
    FL_FAST("sock_recv", loop_sock_recv,
            "sock_recv($self, sock, n)\n--\n\nUp to n bytes; b'' at the end."),
    FL_FAST("sock_recv_into", loop_sock_recv_into,
            "sock_recv_into($self, sock, buf)\n--\n\n"
            "Receive into a buffer; how many bytes."),
    FL_FAST("sock_recvfrom", loop_sock_recvfrom,
            "sock_recvfrom($self, sock, bufsize)\n--\n\nA datagram and its sender."),
    FL_FAST("sock_recvfrom_into", loop_sock_recvfrom_into,
            "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\n"
            "A datagram into a buffer; how many bytes, and the sender."),
    FL_FAST("sock_sendall", loop_sock_sendall,
            "sock_sendall($self, sock, data)\n--\n\nSend all of data."),
    FL_FAST("sock_sendto", loop_sock_sendto,
            "sock_sendto($self, sock, data, address)\n--\n\n"
            "Send a datagram; how many bytes went."),
    FL_FAST("sock_accept", loop_sock_accept,
            "sock_accept($self, sock)\n--\n\nA connection: (socket, address)."),
    FL_FAST("_readable", loop_readable,
            "_readable($self, sock)\n--\n\nWait until there is something to read."),
    FL_FAST("_writable", loop_writable,
            "_writable($self, sock)\n--\n\nWait until there is room to send."),
    {NULL, NULL, 0, NULL},
};

static PyType_Slot mixin_slots[] = {
    {Py_tp_doc, "Methods of Loop for sockets without transports."},
    {Py_tp_methods, mixin_methods},
    {0, NULL},
};

static PyType_Spec mixin_spec = {
    .name = "pyfastloop._core.SockMethods",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = mixin_slots,
};

int
FlSockCall_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->SockCall_type, &call_spec, NULL, true);
}

int
FlSockMethods_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->SockMethods_type, &mixin_spec, NULL, false);
}
