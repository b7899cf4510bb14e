/* access_log.c -- see access_log.h: `_core.AccessLog`, the base of log.AccessLog.
 *
 * Lines are written together in the loop's next turn. The date of a second is formatted
 * once. What a file refuses (a non-blocking pipe that is full, a disk that is) is kept up
 * to KEEP_MOST bytes, then dropped and counted (`lost`): no answer waits for it.
 *
 * Layer: web. Threads: none; under the GIL.
 */
#include "web/access_log.h"

#include <errno.h>

#include "base/buf.h"
#include "base/format.h"
#include "sys/clock.h"
#include "sys/sockets.h"

#define FLUSH_AT (64 * 1024)    /* bytes after which a turn's end is not awaited */
#define KEEP_MOST (1024 * 1024) /* bytes kept for a file that takes nothing */
#define FIELD_MOST (8 * 1024)   /* bytes of one field in a line */
#define DATE_MOST 32
#define DAY_SECONDS 86400

enum fl_log_format { FORMAT_TEXT, FORMAT_COMBINED, FORMAT_JSON };

typedef struct {
    PyObject_HEAD
    FlState *st; /* borrowed */
    fl_buf lines;
    int64_t second; /* that `date` is of */
    uint64_t lost;  /* lines */
    int fd;
    uint8_t format;
    uint8_t date_n;
    FlLoop *flusher; /* borrowed, only compared: whose ring has a flush */
    uint64_t
        flusher_ticks; /* ... since this tick: later ones know it went with its loop */
    char date[DATE_MOST];
} FlAccessLog;

static FlAccessLog *
log_cast(PyObject *op)
{
    return (FlAccessLog *)op;
}

/* ---- pieces of a line; a lack of memory is seen at its end ---- */

typedef struct {
    fl_buf *to;
    bool failed;
    bool json;
} line_writer;

static void
put(line_writer *w, const char *p, size_t n)
{
    if (fl_buf_append(w->to, p, n) < 0)
        w->failed = true;
}

#define PUT(w, literal) put(w, literal, sizeof(literal) - 1)

static void
put_number(line_writer *w, uint64_t n)
{
    char digits[FL_FMT_U64_MAX];

    put(w, digits, fl_fmt_u64(digits, n));
}

/* Bytes of a peer: what is not plain text is escaped. */
static void
put_field(line_writer *w, fl_span s)
{
    static const char hex[] = "0123456789abcdef";
    size_t start = 0, n = s.n < FIELD_MOST ? s.n : FIELD_MOST;

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char escaped[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        put(w, s.p + start, i - start);
        start = i + 1;
        if (w->json) {
            put(w, escaped, 6);
        } else {
            escaped[2] = '\\';
            escaped[3] = 'x';
            put(w, escaped + 2, 4);
        }
    }
    put(w, s.p + start, n - start);
    if (n < s.n)
        PUT(w, "...");
}

static void
put_two(char *out, int n)
{
    out[0] = (char)('0' + n / 10);
    out[1] = (char)('0' + n % 10);
}

/* 2026-11-22T12:05:42Z, or 22/Nov/2026:12:05:42 +0000 */
static void
put_date(line_writer *w, FlAccessLog *self)
{
    int64_t now = (int64_t)(fl_clock_wall() / FL_NS_PER_S), year;
    int month, day, in_day = (int)(now % DAY_SECONDS);
    char *d = self->date;

    if (now != self->second || self->date_n == 0) {
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        char clock[] = "00:00:00";

        self->second = now;
        fl_civil_from_days(now / DAY_SECONDS, &year, &month, &day);
        put_two(clock, in_day / 3600);
        put_two(clock + 3, in_day / 60 % 60);
        put_two(clock + 6, in_day % 60);
        if (self->format == FORMAT_COMBINED) {
            put_two(d, day);
            d[2] = d[6] = '/';
            memcpy(d + 3, months + 3 * (month - 1), 3);
            put_two(d + 7, (int)(year / 100 % 100));
            put_two(d + 9, (int)(year % 100));
            d[11] = ':';
            memcpy(d + 12, clock, 8);
            memcpy(d + 20, " +0000", 6);
            self->date_n = 26;
        } else {
            put_two(d, (int)(year / 100 % 100));
            put_two(d + 2, (int)(year % 100));
            d[4] = d[7] = '-';
            put_two(d + 5, month);
            put_two(d + 8, day);
            d[10] = 'T';
            memcpy(d + 11, clock, 8);
            d[19] = 'Z';
            self->date_n = 20;
        }
    }
    put(w, d, self->date_n);
}

static void
put_milliseconds(line_writer *w, uint64_t ns)
{
    char digits[3] = {'.', '0', '0'};
    uint64_t hundredths = ns / 10000;

    put_number(w, hundredths / 100);
    put_two(digits + 1, (int)(hundredths % 100));
    put(w, digits, 3);
}

/* ---- lines ---- */

typedef struct {
    fl_span method, target, version, ip, referer, agent, length;
    uint64_t ns;
    int status;
    PyObject *keep[5];           /* owned: what spans point into */
    char digits[FL_FMT_U64_MAX]; /* likewise */
} line_facts;

/* A text attribute of the request; "-" where it is none. */
static fl_span
text_of(PyObject *request, const char *name, PyObject **keep)
{
    *keep = PyObject_GetAttrString(request, name);
    if (*keep == NULL) {
        PyErr_Clear();
        return fl_span_make("-", 1);
    }
    if (!PyUnicode_Check(*keep) || PyUnicode_KIND(*keep) != PyUnicode_1BYTE_KIND)
        return fl_span_make("-", 1);
    return fl_span_make((const char *)PyUnicode_1BYTE_DATA(*keep),
                        (size_t)PyUnicode_GET_LENGTH(*keep));
}

static void
collect(line_facts *f, FlRequestHandler *handler)
{
    PyObject *request = handler->request;
    FlHTTPServerRequest *r = (FlHTTPServerRequest *)request;
    bool ours = FlHTTPServerRequest_Check(handler->st, request);
    int32_t at;

    *f = (line_facts){.status = handler->status, .keep = {Py_NewRef(request)}};
    f->ip = text_of(request, "remote_ip", &f->keep[1]); /* may be a program's own */
    f->referer = f->agent = f->length = fl_span_make("-", 1);
    if (ours && r->block != NULL && r->method == NULL && r->uri == NULL) {
        /* Nobody has asked for them: no object is made. */
        f->method = FlHeadBlock_Span(r->block, r->block->head.method_name);
        f->target = FlHeadBlock_Span(r->block, r->block->head.target);
        f->version = r->block->head.minor_version == 1 ? FL_SPAN("HTTP/1.1")
                                                       : FL_SPAN("HTTP/1.0");
    } else {
        f->method = text_of(request, "method", &f->keep[2]);
        f->target = text_of(request, "uri", &f->keep[3]);
        f->version = text_of(request, "version", &f->keep[4]);
    }
    if (ours) {
        (void)FlHTTPServerRequest_Field(r, FL_H_REFERER, &f->referer);
        (void)FlHTTPServerRequest_Field(r, FL_H_USER_AGENT, &f->agent);
        f->ns = fl_clock_monotonic();
        f->ns = f->ns > r->started ? f->ns - r->started : 0;
    }
    if (handler->plain != FL_PLAIN_NOT) {
        if (handler->plain_length >= 0)
            f->length = fl_span_make(
                f->digits, fl_fmt_u64(f->digits, (uint64_t)handler->plain_length));
    } else if (handler->headers != NULL &&
               FlHTTPHeaders_Check(handler->st, handler->headers)) {
        FlHTTPHeaders *map = (FlHTTPHeaders *)handler->headers;

        at = FlHTTPHeaders_FindId(map, FL_H_CONTENT_LENGTH);
        if (at >= 0)
            (void)FlHTTPHeaders_ValueSpan(map, at, &f->length);
    }
}

static void
write_text(FlAccessLog *self, line_writer *w, const line_facts *f)
{
    put_date(w, self);
    PUT(w, " ");
    put_number(w, (uint64_t)f->status);
    PUT(w, " ");
    put_field(w, f->method);
    PUT(w, " ");
    put_field(w, f->target);
    PUT(w, " (");
    put_field(w, f->ip);
    PUT(w, ") ");
    put_milliseconds(w, f->ns);
    PUT(w, "ms\n");
}

static void
write_combined(FlAccessLog *self, line_writer *w, const line_facts *f)
{
    put_field(w, f->ip);
    PUT(w, " - - [");
    put_date(w, self);
    PUT(w, "] \"");
    put_field(w, f->method);
    PUT(w, " ");
    put_field(w, f->target);
    PUT(w, " ");
    put_field(w, f->version);
    PUT(w, "\" ");
    put_number(w, (uint64_t)f->status);
    PUT(w, " ");
    put_field(w, f->length);
    PUT(w, " \"");
    put_field(w, f->referer);
    PUT(w, "\" \"");
    put_field(w, f->agent);
    PUT(w, "\"\n");
}

static void
write_json(FlAccessLog *self, line_writer *w, const line_facts *f)
{
    PUT(w, "{\"time\":\"");
    put_date(w, self);
    PUT(w, "\",\"status\":");
    put_number(w, (uint64_t)f->status);
    PUT(w, ",\"method\":\"");
    put_field(w, f->method);
    PUT(w, "\",\"uri\":\"");
    put_field(w, f->target);
    PUT(w, "\",\"ip\":\"");
    put_field(w, f->ip);
    PUT(w, "\",\"ms\":");
    put_milliseconds(w, f->ns);
    PUT(w, ",\"bytes\":\"");
    put_field(w, f->length);
    PUT(w, "\",\"referer\":\"");
    put_field(w, f->referer);
    PUT(w, "\",\"agent\":\"");
    put_field(w, f->agent);
    PUT(w, "\"}\n");
}

/* ---- writing ---- */

/* Writes what there is; what the file refuses now stays. */
static void
flush_lines(FlAccessLog *self)
{
    while (fl_buf_len(&self->lines) > 0 && self->fd >= 0) {
        ssize_t n =
            fl_pipe_write(self->fd, fl_buf_ptr(&self->lines), fl_buf_len(&self->lines));

        if (n < 0)
            break;
        fl_buf_consume(&self->lines, (size_t)n);
    }
    if (fl_buf_len(&self->lines) == 0)
        fl_buf_clear(&self->lines);
}

static int
flush_later(FlLoop *loop, PyObject *obj)
{
    (void)loop;
    log_cast(obj)->flusher = NULL;
    flush_lines(log_cast(obj));
    return 0;
}

int
FlAccessLog_Add(PyObject *log, FlRequestHandler *handler)
{
    FlAccessLog *self = log_cast(log);
    line_writer w = {&self->lines, false, self->format == FORMAT_JSON};
    FlLoop *loop = FlLoop_Running(self->st);
    line_facts facts;
    size_t before;

    if (handler->request == NULL)
        return 0;
    if (self->fd < 0) { /* closed */
        self->lost++;
        return 0;
    }
    if (fl_buf_len(&self->lines) > KEEP_MOST) {
        flush_lines(self);
        if (fl_buf_len(&self->lines) > KEEP_MOST) {
            self->lost++;
            return 0;
        }
    }
    collect(&facts, handler);
    before = fl_buf_len(&self->lines); /* collecting may have run anything */
    if (self->format == FORMAT_TEXT)
        write_text(self, &w, &facts);
    else if (self->format == FORMAT_COMBINED)
        write_combined(self, &w, &facts);
    else
        write_json(self, &w, &facts);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(facts.keep); i++)
        Py_XDECREF(facts.keep[i]);
    if (w.failed) { /* a whole line or none */
        fl_buf_truncate(&self->lines, before);
        self->lost++;
    }
    if (loop == NULL || fl_buf_len(&self->lines) >= FLUSH_AT) {
        flush_lines(self);
        return 0;
    }
    if (self->flusher == loop && loop->stats.ticks - self->flusher_ticks <= 1)
        return 0;
    self->flusher = loop;
    self->flusher_ticks = loop->stats.ticks;
    return FlLoop_Defer(loop, flush_later, log);
}

/* ---- the type ---- */

static PyObject *
log_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static const char *const formats[] = {"text", "combined", "json"};
    static char *names[] = {"fd", "format", NULL};
    const char *format = "text";
    FlAccessLog *self;
    int fd, chosen = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|s:AccessLog", names, &fd,
                                     &format))
        return NULL;
    for (int i = 0; i < (int)Py_ARRAY_LENGTH(formats); i++) {
        if (strcmp(format, formats[i]) == 0)
            chosen = i;
    }
    if (chosen < 0)
        return PyErr_Format(PyExc_ValueError,
                            "format must be 'text', 'combined' or 'json', not '%s'",
                            format);
    self = (FlAccessLog *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->fd = fd;
    self->format = (uint8_t)chosen;
    self->st = FlState_OfType(type);
    if (self->st == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
log_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);

    flush_lines(log_cast(op));
    fl_buf_free(&log_cast(op)->lines);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
log_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"handler", NULL};
    FlAccessLog *self = log_cast(op);
    PyObject *handler;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!:AccessLog", names,
                                     self->st->RequestHandler_type, &handler) ||
        FlAccessLog_Add(op, (FlRequestHandler *)handler) < 0)
        return NULL;
    Py_RETURN_NONE;
}

bool
FlAccessLog_Check(FlState *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->AccessLog_type) &&
           Py_TYPE(object)->tp_call == log_call;
}

static PyObject *
log_flush(PyObject *op, PyObject *unused)
{
    (void)unused;
    flush_lines(log_cast(op));
    Py_RETURN_NONE;
}

static PyObject *
log_set_fd(PyObject *op, PyObject *fd)
{
    long value = PyLong_AsLong(fd);

    if (value == -1 && PyErr_Occurred())
        return NULL;
    flush_lines(log_cast(op));
    log_cast(op)->fd = (int)value;
    Py_RETURN_NONE;
}

static PyObject *
get_lost(PyObject *op, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(log_cast(op)->lost);
}

static PyMethodDef log_methods[] = {
    {"flush", log_flush, METH_NOARGS, PyDoc_STR("Write what was not written yet.")},
    {"_set_fd", log_set_fd, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef log_getset[] = {
    {"lost", get_lost, NULL, PyDoc_STR("Lines that the file did not take."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot log_slots[] = {
    {Py_tp_doc, "AccessLog(fd, format='text')\n--\n\nWrites lines about requests."},
    {Py_tp_new, log_new},
    {Py_tp_dealloc, log_dealloc},
    {Py_tp_call, log_call},
    {Py_tp_methods, log_methods},
    {Py_tp_getset, log_getset},
    {0, NULL},
};

static PyType_Spec log_spec = {
    .name = "pyfastloop._core.AccessLog",
    .basicsize = sizeof(FlAccessLog),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = log_slots,
};

int
FlAccessLog_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->AccessLog_type, &log_spec, NULL, false);
}
