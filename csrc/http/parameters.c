/* parameters.c -- http1connection.HTTP1ConnectionParameters: a connection's numbers.
 *
 * Attributes are C numbers, so that a connection reads them live at the cost of a load;
 * None is a negative number inside.
 *
 * Layer: http. Threads: none; under the GIL.
 */
#include "http/connection.h"

#include "net/iostream.h"

#define DEFAULT_CHUNK 65536
#define DEFAULT_HEADER 65536
#define DEFAULT_CHUNK_LINE 256
#define DEFAULT_CHUNK_OVERHEAD 16384
#define DEFAULT_TRAILER 8192
#define DEFAULT_TRAILER_LINES 32
#define DEFAULT_RATIO 200 /* deflate reaches 1032; text 20 */
#define DEFAULT_MEMBERS 16
#define DEFAULT_HIGH (256 * 1024)
#define DEFAULT_LOW (64 * 1024)

static FlHTTP1Parameters *
params_cast(PyObject *self)
{
    return (FlHTTP1Parameters *)self;
}

/* What holds where a program says nothing; seconds and bytes. */
static void
params_defaults(FlHTTP1Parameters *self)
{
    self->no_keep_alive = false;
    self->decompress = false;
    self->chunk_size = DEFAULT_CHUNK;
    self->max_header_size = DEFAULT_HEADER;
    self->max_body_size = -1;
    self->max_header_lines = -1;
    self->max_chunk_line = DEFAULT_CHUNK_LINE;
    self->max_chunk_overhead = DEFAULT_CHUNK_OVERHEAD;
    self->max_trailer_size = DEFAULT_TRAILER;
    self->max_trailer_lines = DEFAULT_TRAILER_LINES;
    self->max_inflate_ratio = DEFAULT_RATIO;
    self->max_gzip_members = DEFAULT_MEMBERS;
    self->write_high_mark = DEFAULT_HIGH;
    self->write_low_mark = DEFAULT_LOW;
    self->keep_chunk_extensions = false;
    self->header_timeout = -1;
    self->body_timeout = -1;
    self->idle_timeout = -1;
    self->first_timeout = -1;
    self->body_gap_timeout = -1;
    self->write_timeout = -1;
    self->half_closed_timeout = 30;
    self->linger_timeout = 5;
    self->min_body_rate = -1;
    self->rate_grace = 15;
}

static int
to_int(PyObject *value, int64_t *out, int64_t none)
{
    long long n;

    if (value == Py_None) {
        *out = none;
        return 0;
    }
    if (PyFloat_Check(value)) { /* sizes are often written 1e9 */
        double d = PyFloat_AS_DOUBLE(value);

        *out = d < 0 ? -1 : d < 9e18 ? (int64_t)d : INT64_MAX;
        return 0;
    }
    n = PyLong_AsLongLong(value);
    if (n == -1 && PyErr_Occurred())
        return -1;
    *out = n;
    return 0;
}

static int
to_seconds(PyObject *value, double *out)
{
    double seconds;

    if (value == Py_None) {
        *out = -1;
        return 0;
    }
    seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred())
        return -1;
    if (seconds != seconds) {
        PyErr_SetString(PyExc_ValueError, "a number of seconds, not NaN");
        return -1;
    }
    *out = seconds;
    return 0;
}

static int
params_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "no_keep_alive", "chunk_size",   "max_header_size", "header_timeout",
        "max_body_size", "body_timeout", "decompress",      NULL};
    FlHTTP1Parameters *self = params_cast(op);
    PyObject *chunk = Py_None, *header = Py_None, *header_timeout = Py_None,
             *body = Py_None, *body_timeout = Py_None;
    int no_keep_alive = 0, decompress = 0;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|pOOOOOp:HTTP1ConnectionParameters", names, &no_keep_alive,
            &chunk, &header, &header_timeout, &body, &body_timeout, &decompress))
        return -1;
    params_defaults(self);
    self->no_keep_alive = no_keep_alive;
    self->decompress = decompress;
    if (to_int(chunk, &self->chunk_size, DEFAULT_CHUNK) < 0 ||
        to_int(header, &self->max_header_size, DEFAULT_HEADER) < 0 ||
        to_int(body, &self->max_body_size, -1) < 0 ||
        to_seconds(header_timeout, &self->header_timeout) < 0 ||
        to_seconds(body_timeout, &self->body_timeout) < 0)
        return -1;
    if (self->chunk_size <= 0) /* Tornado: 0 is "not given" */
        self->chunk_size = DEFAULT_CHUNK;
    if (self->max_header_size <= 0)
        self->max_header_size = DEFAULT_HEADER;
    return 0;
}

static PyObject *
params_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *self = type->tp_alloc(type, 0);

    (void)args;
    (void)kwargs;
    if (self != NULL)
        params_defaults(params_cast(self));
    return self;
}

static int
params_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(params_cast(op)->dict);
    return 0;
}

static int
params_clear(PyObject *op)
{
    Py_CLEAR(params_cast(op)->dict);
    return 0;
}

static void
params_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    params_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
get_int(PyObject *op, void *closure)
{
    int64_t value = *(int64_t *)((char *)op + (size_t)closure);

    if (value < 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(value);
}

static int
set_int(PyObject *op, PyObject *value, void *closure)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "parameters cannot be deleted");
        return -1;
    }
    return to_int(value, (int64_t *)((char *)op + (size_t)closure), -1);
}

static PyObject *
get_seconds(PyObject *op, void *closure)
{
    double value = *(double *)((char *)op + (size_t)closure);

    if (value < 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(value);
}

static int
set_seconds(PyObject *op, PyObject *value, void *closure)
{
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "parameters cannot be deleted");
        return -1;
    }
    return to_seconds(value, (double *)((char *)op + (size_t)closure));
}

#define INT(name, doc) \
    {#name, get_int, set_int, PyDoc_STR(doc), (void *)offsetof(FlHTTP1Parameters, name)}
#define SECONDS(name, doc)                            \
    {#name, get_seconds, set_seconds, PyDoc_STR(doc), \
     (void *)offsetof(FlHTTP1Parameters, name)}

static PyGetSetDef params_getset[] = {
    INT(chunk_size, "Bytes handed to data_received at most."),
    INT(max_header_size, "Bytes of a head."),
    INT(max_body_size, "Bytes of a body; None: the stream's max_buffer_size."),
    INT(max_header_lines,
        "Field lines of a head; None: 256, or max_header_size / 256."),
    INT(max_chunk_line, "Bytes of a chunk's size line with its extensions."),
    INT(max_chunk_overhead, "Bytes of chunk framing beyond what plain chunks need."),
    INT(max_trailer_size, "Bytes of all trailers together."),
    INT(max_trailer_lines, "Trailers of a body."),
    INT(max_inflate_ratio, "How many times larger a body may become; None: any."),
    INT(max_gzip_members, "Members of a gzip body."),
    INT(write_high_mark, "Unsent bytes above which no further request is read."),
    INT(write_low_mark, "Unsent bytes at which reading goes on."),
    INT(min_body_rate, "Bytes a second a body must come at after rate_grace."),
    SECONDS(header_timeout, "Seconds for a whole head."),
    SECONDS(body_timeout, "Seconds for a whole body."),
    SECONDS(idle_timeout, "Seconds between two requests."),
    SECONDS(first_timeout, "Seconds of silence on a new connection."),
    SECONDS(body_gap_timeout, "Seconds between two pieces of a body."),
    SECONDS(write_timeout, "Seconds without progress of an answer."),
    SECONDS(half_closed_timeout, "Seconds for an answer after the peer's FIN."),
    SECONDS(linger_timeout, "Seconds that a refused peer may go on sending."),
    SECONDS(rate_grace, "Seconds before min_body_rate is looked at."),
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
#undef INT
#undef SECONDS

static PyMemberDef params_members[] = {
    {"no_keep_alive", T_BOOL, offsetof(FlHTTP1Parameters, no_keep_alive), 0, NULL},
    {"decompress", T_BOOL, offsetof(FlHTTP1Parameters, decompress), 0, NULL},
    {"keep_chunk_extensions", T_BOOL,
     offsetof(FlHTTP1Parameters, keep_chunk_extensions), 0, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlHTTP1Parameters, dict), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot params_slots[] = {
    {Py_tp_doc, "HTTP1ConnectionParameters(no_keep_alive=False, chunk_size=None, "
                "max_header_size=None, header_timeout=None, max_body_size=None, "
                "body_timeout=None, decompress=False)\n--\n\n"
                "Parameters of HTTP/1 connections, read by them as they go."},
    {Py_tp_new, params_new},
    {Py_tp_init, params_init},
    {Py_tp_dealloc, params_dealloc},
    {Py_tp_traverse, params_traverse},
    {Py_tp_clear, params_clear},
    {Py_tp_getset, params_getset},
    {Py_tp_members, params_members},
    {0, NULL},
};

static PyType_Spec params_spec = {
    .name = "pyfastloop.http1connection.HTTP1ConnectionParameters",
    .basicsize = sizeof(FlHTTP1Parameters),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = params_slots,
};

FlChannel *
FlHTTP1Parameters_Seat(FlState *st, PyObject *stream, PyObject *given,
                       FlHTTP1Parameters **params)
{
    FlChannel *channel = FlIOStream_Channel(st, stream);
    PyObject *made;

    if (channel == NULL) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_TypeError,
                         "stream must be a pyfastloop.iostream stream, not %.100s",
                         Py_TYPE(stream)->tp_name);
        return NULL;
    }
    if (given == Py_None)
        made = PyObject_CallNoArgs((PyObject *)st->HTTP1Parameters_type);
    else if (PyObject_TypeCheck(given, st->HTTP1Parameters_type))
        made = Py_NewRef(given);
    else
        made = PyErr_Format(PyExc_TypeError,
                            "params must be HTTP1ConnectionParameters, not %.100s",
                            Py_TYPE(given)->tp_name);
    *params = (FlHTTP1Parameters *)made;
    return made == NULL ? NULL : channel;
}

int
FlHTTP1Parameters_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->HTTP1Parameters_type, &params_spec, NULL,
                           false);
}
