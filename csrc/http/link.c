/* link.c -- borrowing a stream, and bodies that grow as their bytes arrive.
 *
 * A length is a promise of the peer. One of 4 MiB is believed: memory that nobody has
 * written to costs next to nothing. A longer body grows by doubling.
 *
 * Layer: http. Threads: the loop's.
 */
#include "http/link.h"

enum {
    LINK_FIRST = 64 * 1024,         /* memory a body is given at first, or, ... */
    LINK_BELIEVED = 4 * 1024 * 1024 /* up to here, all that was promised */
};

int
FlLink_Open(FlLink *link, FlState *st, PyObject *stream, const FlChannelOps *ops,
            void *self)
{
    FlChannel *channel = FlIOStream_Channel(st, stream);

    if (channel == NULL) {
        PyErr_Format(PyExc_TypeError, "an IOStream is needed, not %.100s",
                     Py_TYPE(stream)->tp_name);
        return -1;
    }
    if (FlIOStream_Borrow(stream, ops, self) < 0)
        return -1;
    link->stream = Py_NewRef(stream);
    link->channel = channel;
    return 0;
}

void
FlLink_GiveBack(FlLink *link)
{
    if (link->channel == NULL)
        return;
    link->channel->bite = 0;
    link->channel = NULL;
    if (FlIOStream_GiveBack(link->stream) < 0)
        PyErr_WriteUnraisable(link->stream);
}

PyObject *
FlLink_Release(FlLink *link)
{
    PyObject *stream = link->stream;

    FlLink_GiveBack(link);
    link->stream = NULL;
    return stream;
}

static int
make_room(FlLink *link, size_t n, uint64_t limit)
{
    size_t have = link->body == NULL ? 0 : (size_t)PyBytes_GET_SIZE(link->body);
    size_t need = (size_t)link->used + n;
    size_t size = have * 2 < LINK_FIRST ? LINK_FIRST : have * 2;

    if (limit <= LINK_BELIEVED)
        size = (size_t)limit;
    if (need <= have)
        return 0;
    Py_CLEAR(link->lent); /* what is referred to twice cannot be resized */
    if (size > limit)
        size = (size_t)limit;
    if (size < need)
        size = need;
    if (link->body == NULL) {
        link->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
        return link->body == NULL ? -1 : 0;
    }
    return _PyBytes_Resize(&link->body, (Py_ssize_t)size);
}

int
FlLink_Add(FlLink *link, const char *p, size_t n, uint64_t limit)
{
    if (make_room(link, n, limit) < 0)
        return -1;
    memcpy(PyBytes_AS_STRING(link->body) + link->used, p, n);
    link->used += (Py_ssize_t)n;
    return 0;
}

PyObject *
FlLink_TakeBody(FlLink *link)
{
    PyObject *body = link->body;

    Py_CLEAR(link->lent);
    link->body = NULL;
    if (body == NULL)
        body = PyBytes_FromStringAndSize(NULL, 0);
    else if (PyBytes_GET_SIZE(body) != link->used)
        _PyBytes_Resize(&body, link->used);
    link->used = 0;
    return body;
}

char *
FlLink_Lend(FlLink *link, size_t *n, uint64_t most)
{
    size_t room;

    Py_CLEAR(link->lent);
    if (link->body == NULL)
        return NULL;
    if (PyBytes_GET_SIZE(link->body) == link->used &&
        make_room(link, 1, (uint64_t)link->used + most) < 0)
        return NULL;
    room = (size_t)(PyBytes_GET_SIZE(link->body) - link->used);
    *n = room > most ? (size_t)most : room;
    /* Receiving may run Python (TLS), and that may end it all. */
    link->lent = Py_NewRef(link->body);
    return PyBytes_AS_STRING(link->body) + link->used;
}

char *
FlLink_Returned(FlLink *link, size_t n)
{
    char *p = NULL;

    if (link->lent != NULL && link->lent == link->body) {
        p = PyBytes_AS_STRING(link->body) + link->used;
        link->used += (Py_ssize_t)n;
    }
    Py_CLEAR(link->lent);
    return p;
}

PyObject *
FlLink_Keeper(FlLink *link)
{
    return Py_XNewRef(link->lent);
}

void
FlLink_Forget(FlLink *link)
{
    Py_CLEAR(link->body);
    link->used = 0;
}

void
FlLink_Report(FlState *st, PyObject *about, const char *what)
{
    FlLoop *loop = FlLoop_Running(st);

    if (loop == NULL || FlError_IsFatal())
        PyErr_WriteUnraisable(about);
    else
        FlLoop_LogException(loop, what, about);
}
