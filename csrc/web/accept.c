/* accept.c -- HTTPServer's connections, from accept to on_close, without Python.
 *
 * A server that is exactly an HTTPServer, nothing of it replaced, plain TCP, and not near
 * its limit of connections: then stream and connection are made here, and what knows the
 * peer (_HTTPRequestContext) only when somebody asks. Every other server's _accepted is
 * called, which says in Python what this file does.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/accept.h"

#include <string.h>

#include "net/iostream.h"
#include "net/listener.h"
#include "web/hooks.h"

#define COUNT(list) ((Py_ssize_t)Py_ARRAY_LENGTH(list))

/* What is asked of a server, on its class and on itself. */
static const char *const server_names[] = {"_accepted", "_serve",   "handle_stream",
                                           "_count",    "on_close", "__getattribute__"};
static const char *const connection_names[] = {"__init__", "__new__", "start_serving"};

static bool
original(FlHooks *hooks)
{
    if (hooks == NULL || FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    return hooks->replaced == 0;
}

/* The dict of a server that is what it was born as; new reference, or NULL. */
static PyObject *
plain_server(FlState *st, PyObject *server)
{
    FlHooks *hooks = (FlHooks *)st->web_accept_server;
    PyObject *dict;

    if (hooks == NULL || !Py_IS_TYPE(server, hooks->type) || !original(hooks))
        return NULL;
    dict = PyObject_GenericGetDict(server, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < hooks->count; i++) {
        if (PyDict_GetItem(dict, PyTuple_GET_ITEM(hooks->names, i)) != NULL) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

/* Whether the module still makes connections of our class. */
static bool
makes_ours(FlState *st)
{
    PyObject *names =
        st->web_accept_module == NULL ? NULL : PyModule_GetDict(st->web_accept_module);

    return names != NULL && PyDict_GetItem(names, st->str_HTTP1ServerConnection) ==
                                (PyObject *)st->HTTP1ServerConnection_type;
}

/* A number of the server's: *value, 0 for None. */
static bool
number(PyObject *dict, PyObject *name, Py_ssize_t *value)
{
    PyObject *found = PyDict_GetItem(dict, name);

    *value = 0;
    if (found == Py_None)
        return true;
    if (found == NULL || !PyLong_CheckExact(found))
        return false;
    *value = PyLong_AsSsize_t(found);
    if (*value >= 0)
        return true;
    PyErr_Clear();
    return false;
}

/* A connection that could not be served counts no longer, and is closed. */
static void
forget(PyObject *set, PyObject *connection)
{
    PyObject *why = PyErr_GetRaisedException();
    FlChannel *channel = ((FlHTTP1ServerConnection *)connection)->channel;

    if (PySet_Discard(set, connection) < 0)
        PyErr_Clear();
    if (channel != NULL)
        FlChannel_Close(channel, NULL);
    PyErr_SetRaisedException(why);
}

/* 1: the connection is served; 0: it is Python's; -1 with an exception (fd is taken). */
static int
serve(FlState *st, FlLoop *loop, PyObject *server, PyObject *dict, int fd,
      const fl_address *peer)
{
    PyObject *set = PyDict_GetItem(dict, st->str__connections);
    PyObject *greetings = PyDict_GetItem(dict, st->str__greetings);
    PyObject *params = PyDict_GetItem(dict, st->str_conn_params), *stream, *connection;
    Py_ssize_t most, buffer, chunk;
    int err;

    if (set == NULL || !PySet_CheckExact(set) || greetings == NULL ||
        !PySet_CheckExact(greetings) || params == NULL ||
        !PyObject_TypeCheck(params, st->HTTP1Parameters_type) ||
        PyDict_GetItem(dict, st->str_ssl_options) != Py_None ||
        PyDict_GetItem(dict, st->str_proxy_protocol) != Py_False ||
        !number(dict, st->str_max_connections, &most) ||
        !number(dict, st->str_max_buffer_size, &buffer) ||
        !number(dict, st->str_read_chunk_size, &chunk) ||
        PySet_GET_SIZE(set) + PySet_GET_SIZE(greetings) + 1 >= most)
        return 0;
    Py_INCREF(set);
    Py_INCREF(params);
    stream = FlIOStream_FromFd(st, loop, fd, buffer, chunk);
    connection = stream == NULL
                     ? NULL
                     : FlHTTP1Server_New(st, stream, (FlHTTP1Parameters *)params, peer);
    err = connection == NULL ? -1 : PySet_Add(set, connection);
    if (err == 0)
        err = FlHTTP1Server_Start((FlHTTP1ServerConnection *)connection, server);
    if (err < 0 && connection != NULL)
        forget(set, connection);
    Py_XDECREF(connection);
    Py_XDECREF(stream);
    Py_DECREF(params);
    Py_DECREF(set);
    return err < 0 ? -1 : 1;
}

static int
accept_http(FlListener *listener, PyObject *server, int fd, const fl_address *peer)
{
    FlLoop *loop = FlListener_Loop(listener);
    FlState *st = loop->st;
    PyObject *dict = NULL, *address, *done;
    int answer = 0;

    if (peer->len != 0 &&
        (peer->addr.ss_family == AF_INET || peer->addr.ss_family == AF_INET6) &&
        makes_ours(st) && original((FlHooks *)st->web_accept_connection))
        dict = plain_server(st, server);
    if (dict != NULL) {
        answer = serve(st, loop, server, dict, fd, peer);
        Py_DECREF(dict);
    }
    if (answer != 0)
        return answer < 0 ? -1 : 0;
    address = FlAddress_ToPython(peer);
    if (address == NULL) {
        (void)fl_close(fd);
        return -1;
    }
    done = PyObject_CallMethod(server, "_accepted", "iN", fd, address);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
FlWeb_ConnectionClosed(FlHTTP1ServerConnection *connection, PyObject *server)
{
    FlState *st = connection->st;
    PyObject *dict = plain_server(st, server), *set, *refused;
    int handled = 0;

    if (dict == NULL)
        return 0;
    set = PyDict_GetItem(dict, st->str__connections);
    refused = PyDict_GetItem(dict, st->str__refused);
    if (set != NULL && PySet_CheckExact(set) && refused != NULL &&
        PySet_CheckExact(refused) && PySet_GET_SIZE(refused) == 0 &&
        PyDict_GetItem(dict, st->str__full) == Py_False) {
        handled = PySet_Discard(set, (PyObject *)connection) >= 0;
        PyErr_Clear();
    }
    Py_DECREF(dict);
    return handled;
}

int
FlWeb_RememberServer(FlState *st, PyObject *type)
{
    FlHooks *server = FlHooks_OfClass(st, type, server_names, COUNT(server_names));
    FlHooks *connection =
        FlHooks_OfClass(st, (PyObject *)st->HTTP1ServerConnection_type,
                        connection_names, COUNT(connection_names));

    Py_XSETREF(st->web_accept_module, PyImport_ImportModule("pyfastloop.httpserver"));
    Py_XSETREF(st->web_accept_server, (PyObject *)server);
    Py_XSETREF(st->web_accept_connection, (PyObject *)connection);
    return server == NULL || connection == NULL || st->web_accept_module == NULL ? -1
                                                                                 : 0;
}

/* http_listener(socket, server): a Listener that serves what it accepts. */
static PyObject *
http_listener(PyObject *module, PyObject *args)
{
    FlState *st = FlState_OfModule(module);
    PyObject *sock, *server, *listener;
    FlLoop *loop;

    if (!PyArg_ParseTuple(args, "OO:http_listener", &sock, &server))
        return NULL;
    loop = FlLoop_Get(st);
    if (loop == NULL)
        return NULL;
    listener = FlListener_New(st, loop, sock, accept_http, server);
    Py_DECREF(loop);
    return listener;
}

static PyMethodDef accept_functions[] = {
    {"http_listener", http_listener, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int
FlAccept_AddType(PyObject *module, FlState *st)
{
    (void)st;
    return PyModule_AddFunctions(module, accept_functions);
}
