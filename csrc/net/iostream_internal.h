/* iostream_internal.h -- the stream object, for the files that make it up.
 *
 *   iostream.c        the types: methods, properties
 *   iostream_make.c   constructors, limits, accepted descriptors, borrowing
 *   iostream_close.c  the end, and what the channel tells its owner
 *   iostream_read.c   the one pending read
 *   iostream_try.c    what each kind of read makes of the bytes that are there
 *   iostream_write.c  writes and their futures, connect
 *   iostream_io.c     read_from_fd and its sisters, both ways between C and Python
 *   ssl_stream.c      TLS
 *
 * A read in progress keeps its bytes in one of three places: in the channel's tail (small
 * reads, delimiters, patterns), in `sink`, a bytes object that becomes the result (large
 * read_bytes, read_until_close), or in the caller's own memory (read_into).
 *
 * Layer: net. Threads: the loop's.
 */
#ifndef FL_NET_IOSTREAM_INTERNAL_H
#define FL_NET_IOSTREAM_INTERNAL_H

#include "net/iostream.h"

#include "core/future.h"

typedef enum {
    FL_READ_NONE,
    FL_READ_BYTES,
    FL_READ_UNTIL,
    FL_READ_REGEX,
    FL_READ_CLOSE,
    FL_READ_INTO,
} FlReadKind;

typedef struct {
    uint64_t at;      /* done when total_sent reaches it */
    PyObject *future; /* owned */
} FlWriteFuture;

typedef struct FlIOStream {
    PyObject_HEAD
    FlState *st;       /* borrowed */
    FlChannel channel; /* channel.loop NULL: __init__ has not run */
    PyObject *socket;  /* owned; NULL: not asked for, none, or closed */
    PyObject *error;   /* owned; set by users, else the channel's */
    /* the pending read */
    PyObject *read_future; /* owned; NULL while the read is tried without waiting */
    PyObject *read_arg;    /* owned: delimiter as bytes, or a pattern */
    PyObject *streaming;   /* owned: streaming_callback */
    PyObject *sink;        /* owned: the result so far; only sink_len bytes count */
    Py_buffer *into;       /* owned: read_into's memory */
    size_t sink_len;       /* bytes in sink or into */
    size_t read_want;      /* of read_bytes and read_into */
    size_t read_scanned;   /* bytes of the tail that hold no delimiter */
    Py_ssize_t read_max;   /* max_bytes; -1: none */
    uint8_t read_kind;     /* FlReadKind */
    bool read_partial;
    bool borrowed; /* another consumer has the channel */
    bool dying;    /* in dealloc */
    bool appended; /* _write_buffer.append was used */
    bool pipe;
    /* writes under way, a ring */
    uint32_t writes_at, writes_len, writes_room;
    FlWriteFuture *writes;    /* owned */
    PyObject *connect_future; /* owned */
    PyObject *close_handle;   /* owned: an FlHandle of the close callback */
    Py_ssize_t max_buffer_size;
    Py_ssize_t read_chunk_size;
    Py_ssize_t max_write_buffer_size; /* -1: none */
    PyObject *closed_error; /* owned: class of what closing means, NULL: its own */
    PyObject *dict;         /* owned */
    PyObject *weakrefs;
} FlIOStream;

typedef struct {
    FlIOStream base;
    PyObject *options;          /* owned: SSLContext or dict */
    PyObject *server_hostname;  /* owned */
    PyObject *tls_read;         /* owned: socket.read */
    PyObject *tls_write;        /* owned: socket.write */
    PyObject *handshake_future; /* owned; NULL until somebody waits */
    bool handshaking;           /* until do_handshake has returned */
    bool connected;             /* the TCP connection is there */
    bool busy;                  /* inside the SSLSocket */
    bool notified;              /* close_notify was sent */
    bool over;                  /* both sides' was: nothing passes any more */
} FlSSLIOStream;

/* What the 4.x forms add to a call, and the one optional argument of the 6.x form. */
typedef struct {
    PyObject *arg;       /* borrowed */
    PyObject *callback;  /* borrowed, or NULL */
    PyObject *streaming; /* borrowed, or NULL */
    PyObject *option;    /* borrowed, or NULL: partial, max_bytes, server_hostname */
} FlStreamCall;

/* Sorts the arguments of a call: names[0] is the argument, names[1] the option (either may
 * be NULL). Callables by position are callback and streaming_callback. 0 or -1. */
int fl_stream_parse(FlStreamCall *call, const char *method, const char *const names[2],
                    PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* Gives a call its result: the future (stolen) itself, or None once the callback waits for
 * it. with_value: the callback takes the result. future may be NULL (error). */
PyObject *fl_stream_answer(FlIOStream *s, const FlStreamCall *call, PyObject *future,
                           bool with_value);

/* RuntimeError unless __init__ has run. 0 or -1. */
int fl_stream_check(FlIOStream *s);

/* StreamClosedError. Always -1. */
int fl_stream_raise_closed(FlIOStream *s);

/* New StreamClosedError with the stream's error as real_error; NULL with exception. */
PyObject *fl_stream_closed_error(FlIOStream *s);

/* Fails *future (cleared) with StreamClosedError, silently if nobody looks. */
void fl_stream_fail_future(FlIOStream *s, PyObject **future);

/* Sizes as programs give them (None, NULL: the default). 0 or -1. */
int fl_stream_set_limits(FlIOStream *s, PyObject *max_buffer, PyObject *chunk,
                         PyObject *max_write);

/* The constructors of the types. */
PyObject *fl_stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int fl_stream_init_base(PyObject *self, PyObject *args, PyObject *kwargs);
int fl_stream_init_iostream(PyObject *self, PyObject *args, PyObject *kwargs);
int fl_stream_init_pipe(PyObject *self, PyObject *args, PyObject *kwargs);

#define FL_DEFAULT_MAX_BUFFER (100 * 1024 * 1024)
#define FL_DEFAULT_CHUNK (64 * 1024)

/* A size as programs give it: an int, a float (infinity is no limit), None for the
 * fallback. 0 or -1. */
int fl_stream_size_of(PyObject *value, Py_ssize_t fallback, Py_ssize_t *size);

/* What the channel tells the stream as its owner. */
extern const FlChannelOwnerOps fl_stream_owner;

/* What is due when the channel has closed: pending futures fail, the close callback is
 * scheduled. Repeating it is harmless. */
void fl_stream_signal_closed(FlIOStream *s);

/* Closes with exc (nullable) after pending reads had their chance. escapes */
void fl_stream_close(FlIOStream *s, PyObject *exc);

/* read_bytes from this size on receives into its result. Below, the shared buffer serves,
 * so that what follows the wanted bytes comes in the same recv. */
#define FL_DIRECT_FROM ((size_t)32 * 1024)
#define FL_SINK_LEAST ((size_t)64 * 1024)

/* Tries the pending read on n bytes at p: 1 with *result set (a new reference), 0 for not
 * yet, -1 with an exception; *took is how many of the bytes it is done with. escapes */
int fl_stream_try_read(FlIOStream *s, const char *p, size_t n, size_t *took,
                       PyObject **result);

/* StreamBufferFullError for a read. Always -1. */
int fl_stream_buffer_full(FlIOStream *s);

/* Room for n more bytes in the sink, which never grows past `most`. 0 or -1. */
int fl_sink_reserve(FlIOStream *s, size_t n, size_t most);

/* The sink as the result; new reference. */
PyObject *fl_sink_take(FlIOStream *s);

/* Reading is wanted for a pending read, or to see the end. 0 or -1. */
int fl_stream_update_reading(FlIOStream *s);

/* Puts the stream itself in place as consumer. */
extern const FlChannelOps fl_stream_reader;

/* Gives the pending read up; its bytes go back to the tail. 0 or -1. */
int fl_stream_abandon_read(FlIOStream *s);

/* Ends read_until_close with what there is. */
void fl_stream_finish_until_close(FlIOStream *s);

/* Resolves the write futures that are due. */
void fl_stream_wrote(FlIOStream *s);

/* io for streams of Python methods, and for IOStream's own socket. */
extern const FlChannelIO fl_stream_io_python;
extern const FlChannelIO fl_stream_io_python_tls;
extern const FlChannelIO fl_stream_io_socket;

/* Whether the class of s overrides one of the five methods of base. 1, 0, -1. */
int fl_stream_overrides(FlIOStream *s, PyTypeObject *base);

/* The __init__ of the streams over a Python socket. 0 or -1. */
int fl_stream_init_socket(FlIOStream *s, PyObject *args, PyObject *kwargs,
                          PyTypeObject *base, const FlChannelIO *io);

/* The object behind _write_buffer: append(data) queues without sending. New. */
PyObject *FlStreamWriteBuffer_New(FlIOStream *s);

/* What all the types share. */
int fl_stream_traverse(PyObject *self, visitproc visit, void *arg);
int fl_stream_clear(PyObject *self);
void fl_stream_dealloc(PyObject *self);

/* Methods, by file. */
PyObject *fl_stream_read_from_fd(PyObject *self, PyObject *buf);
PyObject *fl_stream_write_to_fd(PyObject *self, PyObject *data);
PyObject *fl_stream_close_fd(PyObject *self, PyObject *unused);
PyObject *fl_stream_fileno(PyObject *self, PyObject *unused);
PyObject *fl_stream_get_fd_error(PyObject *self, PyObject *unused);
PyObject *fl_stream_read_bytes(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
PyObject *fl_stream_read_into(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *fl_stream_read_until(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames);
PyObject *fl_stream_read_until_regex(PyObject *self, PyObject *const *args,
                                     Py_ssize_t nargs, PyObject *kwnames);
PyObject *fl_stream_read_until_close(PyObject *self, PyObject *const *args,
                                     Py_ssize_t nargs, PyObject *kwnames);
PyObject *fl_stream_write(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames);
PyObject *fl_stream_connect(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames);

/* The TLS stream's part of the above. */
static inline bool
fl_ssl_check(FlIOStream *s)
{
    return PyObject_TypeCheck(s, s->st->SSLIOStream_type);
}
void fl_ssl_signal_closed(FlIOStream *s);
void fl_ssl_connected(FlIOStream *s);
int fl_ssl_traverse(FlIOStream *s, visitproc visit, void *arg);
void fl_ssl_clear(FlIOStream *s);

static inline FlIOStream *
fl_stream_of(FlChannel *ch)
{
    return (FlIOStream *)((char *)ch - offsetof(FlIOStream, channel));
}

#endif
