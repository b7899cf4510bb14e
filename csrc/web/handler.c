/* handler.c -- RequestHandler's C base: its fields and the methods that make an answer.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler.h"

#include <string.h>

#include "base/format.h"
#include "core/future.h"
#include "sys/clock.h"
#include "web/access_log.h"
#include "web/arguments.h"
#include "web/json.h"
#include "web/run.h"

#define REASON_OK "OK"

static FlRequestHandler *
handler_cast(PyObject *self)
{
    return (FlRequestHandler *)self;
}

bool
FlRequestHandler_Original(FlRequestHandler *self, int hook)
{
    FlHooks *hooks = self->hooks;
    int set;

    if (hooks == NULL || !Py_IS_TYPE(self, hooks->type))
        return false;
    if (FlHooks_Verify(hooks) < 0) {
        PyErr_Clear();
        return false;
    }
    if ((hooks->replaced >> hook & 1) != 0)
        return false;
    if (self->dict == NULL || PyDict_GET_SIZE(self->dict) == 0)
        return true;
    set = PyDict_Contains(self->dict, PyTuple_GET_ITEM(hooks->names, hook));
    if (set < 0)
        PyErr_Clear();
    return set == 0;
}

#define ORIGINAL(self, name) FlRequestHandler_Original(self, FL_HOOK_##name)

/* ---- cached values ---- */

/* A str that stays the same; borrowed. */
static PyObject *
constant(PyObject **slot, const char *text)
{
    if (*slot == NULL)
        *slot = PyUnicode_InternFromString(text);
    return *slot;
}

/* Date's value, made once a second; borrowed. */
static PyObject *
date_now(FlState *st)
{
    uint64_t second = fl_clock_wall() / FL_NS_PER_S;
    char text[FL_HTTP_DATE_LEN];

    if (st->web_date == NULL || second != st->web_date_second) {
        PyObject *made;

        fl_fmt_http_date(text, (int64_t)second);
        made = PyUnicode_FromStringAndSize(text, FL_HTTP_DATE_LEN);
        if (made == NULL)
            return NULL;
        Py_XSETREF(st->web_date, made);
        st->web_date_second = second;
    }
    return st->web_date;
}

static bool
c_headers(FlRequestHandler *self)
{
    return self->headers != NULL &&
           Py_IS_TYPE(self->headers, self->st->HTTPHeaders_type);
}

/* The request where it is one of ours; borrowed, or NULL: deleted, or anything else. */
static FlHTTPServerRequest *
c_request(FlRequestHandler *self)
{
    return self->request != NULL && FlHTTPServerRequest_Check(self->st, self->request)
               ? (FlHTTPServerRequest *)self->request
               : NULL;
}

/* An attribute of the request, by name. New reference. escapes */
static PyObject *
request_attribute(FlRequestHandler *self, const char *name)
{
    PyObject *request = PyObject_GetAttrString((PyObject *)self, "request");
    PyObject *value = request == NULL ? NULL : PyObject_GetAttrString(request, name);

    Py_XDECREF(request);
    return value;
}

/* `_headers`, whatever it is. New reference, or NULL: AttributeError. */
static PyObject *
any_headers(FlRequestHandler *self)
{
    return PyObject_GetAttrString((PyObject *)self, "_headers");
}

static FlHTTPHeaders *
map_of(FlRequestHandler *self)
{
    return (FlHTTPHeaders *)self->headers;
}

/* ---- clear, status ---- */

static int
call_hook(FlRequestHandler *self, PyObject *name)
{
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)self, name);

    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

int
FlRequestHandler_Clear(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *map = FlHTTPHeaders_New(st), *date = date_now(st);
    PyObject *type = constant(&st->web_content_type, "text/html; charset=UTF-8");
    PyObject *ok = constant(&st->web_ok, REASON_OK);

    if (map == NULL || date == NULL || type == NULL || ok == NULL) {
        Py_XDECREF(map);
        return -1;
    }
    if (FlHTTPHeaders_SetId((FlHTTPHeaders *)map, FL_H_SERVER, st->web_server_header) <
            0 ||
        FlHTTPHeaders_SetId((FlHTTPHeaders *)map, FL_H_CONTENT_TYPE, type) < 0 ||
        FlHTTPHeaders_SetId((FlHTTPHeaders *)map, FL_H_DATE, date) < 0) {
        Py_DECREF(map);
        return -1;
    }
    Py_XSETREF(self->headers, map);
    if (!ORIGINAL(self, set_default_headers) &&
        call_hook(self, st->str_set_default_headers) < 0)
        return -1;
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->chunk);
    self->status = 200;
    Py_XSETREF(self->reason, Py_NewRef(ok));
    return 0;
}

static PyObject *
handler_clear(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (FlRequestHandler_Clear(handler_cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The phrase of a status; new reference. */
static PyObject *
phrase_of(FlState *st, int status)
{
    PyObject *table = FlState_Lazy(st, &st->responses, "http.client", "responses");
    PyObject *number, *phrase;

    if (table == NULL)
        return NULL;
    number = PyLong_FromLong(status);
    if (number == NULL)
        return NULL;
    phrase = Py_XNewRef(PyDict_GetItemWithError(table, number));
    Py_DECREF(number);
    if (phrase == NULL && !PyErr_Occurred())
        phrase = PyUnicode_FromString("Unknown");
    return phrase;
}

/* RFC 9112 section 4, and no angle brackets: error pages repeat it. */
static bool
phrase_ok(PyObject *reason)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(reason);

    if (n == 0 || !FlHTTPHeaders_ValueOk(reason, false))
        return false;
    return PyUnicode_FindChar(reason, '<', 0, n, 1) < 0 &&
           PyUnicode_FindChar(reason, '>', 0, n, 1) < 0;
}

static int
set_status(FlRequestHandler *self, int status, PyObject *reason)
{
    PyObject *text;

    if (reason == NULL || reason == Py_None)
        text = phrase_of(self->st, status);
    else if (PyBytes_Check(reason))
        text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(reason), PyBytes_GET_SIZE(reason),
                                    NULL);
    else if (PyUnicode_Check(reason))
        text = Py_NewRef(reason);
    else
        text = PyErr_Format(PyExc_TypeError,
                            "reason must be str, bytes or None, not "
                            "%.100s",
                            Py_TYPE(reason)->tp_name);
    if (text == NULL)
        return -1;
    if (!phrase_ok(text))
        Py_SETREF(text, PyUnicode_FromString("Unknown"));
    if (text == NULL)
        return -1;
    self->status = status;
    Py_XSETREF(self->reason, text);
    return 0;
}

static PyObject *
handler_set_status(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"status_code", "reason", NULL};
    PyObject *reason = Py_None;
    int status;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|O:set_status", names, &status,
                                     &reason) ||
        set_status(handler_cast(op), status, reason) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
handler_get_status(PyObject *op, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(handler_cast(op)->status);
}

/* ---- headers ---- */

/* A header's value as text; new reference or NULL with ValueError, TypeError. */
static PyObject *
convert_value(FlState *st, PyObject *value)
{
    PyObject *text, *odd;

    if (PyUnicode_Check(value)) {
        text = Py_NewRef(value);
    } else if (PyBytes_Check(value)) {
        text = PyUnicode_DecodeLatin1(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
                                      NULL);
    } else if (PyLong_Check(value)) {
        return PyObject_Str(value);
    } else {
        odd = FlState_Lazy(st, &st->convert_odd_value, "pyfastloop.web.response",
                           "_convert_odd_value");
        text = odd == NULL ? NULL : PyObject_CallOneArg(odd, value);
    }
    if (text != NULL && !FlHTTPHeaders_ValueOk(text, false)) {
        PyErr_Format(PyExc_ValueError, "Unsafe header value %R", text);
        Py_CLEAR(text);
    }
    return text;
}

static PyObject *
handler_convert(PyObject *op, PyObject *value)
{
    return convert_value(handler_cast(op)->st, value);
}

static PyObject *
converted(FlRequestHandler *self, PyObject *value)
{
    if (self->hooks == NULL || !ORIGINAL(self, _convert_header_value))
        return PyObject_CallMethodOneArg((PyObject *)self,
                                         self->st->str__convert_header_value, value);
    return convert_value(self->st, value);
}

static PyObject *
put_header(PyObject *op, PyObject *args, PyObject *kwargs, bool add)
{
    static char *names[] = {"name", "value", NULL};
    FlRequestHandler *self = handler_cast(op);
    PyObject *name, *value, *text, *headers, *done = NULL;
    int err = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs,
                                     add ? "OO:add_header" : "OO:set_header", names,
                                     &name, &value))
        return NULL;
    text = converted(self, value);
    if (text == NULL)
        return NULL;
    if (c_headers(self)) {
        err = add ? FlHTTPHeaders_Add(map_of(self), name, text)
                  : FlHTTPHeaders_Set(map_of(self), name, text);
    } else if ((headers = any_headers(self)) != NULL) {
        if (add) {
            done = PyObject_CallMethod(headers, "add", "OO", name, text);
            err = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        } else {
            err = PyObject_SetItem(headers, name, text);
        }
        Py_DECREF(headers);
    }
    Py_DECREF(text);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *
handler_set_header(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return put_header(op, args, kwargs, false);
}

static PyObject *
handler_add_header(PyObject *op, PyObject *args, PyObject *kwargs)
{
    return put_header(op, args, kwargs, true);
}

static PyObject *
handler_clear_header(PyObject *op, PyObject *name)
{
    PyObject *headers = any_headers(handler_cast(op));
    int there = headers == NULL ? -1 : PySequence_Contains(headers, name);

    if (there > 0 && PyObject_DelItem(headers, name) < 0)
        there = -1;
    Py_XDECREF(headers);
    if (there < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- writing ---- */

/* escape.json_encode as the module has it now. */
static PyObject *
encode_json_by_name(FlState *st, PyObject *chunk)
{
    PyObject *encode, *text, *octets;

    if (st->json_encode_module == NULL)
        st->json_encode_module = PyImport_ImportModule("pyfastloop.escape");
    if (st->json_encode_module == NULL)
        return NULL;
    encode = PyObject_GetAttrString(st->json_encode_module, "json_encode");
    text = encode == NULL ? NULL : PyObject_CallOneArg(encode, chunk);
    Py_XDECREF(encode);
    if (text == NULL)
        return NULL;
    octets =
        PyUnicode_Check(text) ? PyUnicode_AsUTF8String(text) : PyBytes_FromObject(text);
    Py_DECREF(text);
    return octets;
}

/* A dict as JSON, and the type that says so. */
static PyObject *
encode_json(FlRequestHandler *self, PyObject *chunk)
{
    FlState *st = self->st;
    PyObject *octets, *kind, *done;

    octets = FlWeb_Json(st, chunk);
    if (octets == Py_None) {
        Py_DECREF(octets);
        octets = encode_json_by_name(st, chunk);
    }
    if (octets == NULL)
        return NULL;
    kind = constant(&st->web_json_type, "application/json; charset=UTF-8");
    if (kind == NULL) {
        Py_DECREF(octets);
        return NULL;
    }
    if (ORIGINAL(self, set_header) && c_headers(self)) {
        if (FlHTTPHeaders_SetId(map_of(self), FL_H_CONTENT_TYPE, kind) < 0)
            Py_CLEAR(octets);
    } else {
        done = PyObject_CallMethodObjArgs(
            (PyObject *)self, st->str_set_header,
            FlHTTPHeaders_KnownName(st, FL_H_CONTENT_TYPE), kind, NULL);
        if (done == NULL)
            Py_CLEAR(octets);
        Py_XDECREF(done);
    }
    return octets;
}

static int
write_chunk(FlRequestHandler *self, PyObject *chunk)
{
    PyObject *octets;
    int err = 0;

    if (self->finished) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot write() after finish()");
        return -1;
    }
    if (PyBytes_Check(chunk)) {
        octets = Py_NewRef(chunk);
    } else if (PyUnicode_Check(chunk)) {
        octets = PyUnicode_AsUTF8String(chunk);
    } else if (PyDict_Check(chunk)) {
        octets = encode_json(self, chunk);
    } else {
        PyErr_SetString(
            PyExc_TypeError,
            PyList_Check(chunk)
                ? "write() only accepts bytes, unicode, and dict objects. Lists not "
                  "accepted for security reasons; see http://www.tornadoweb.org/en/"
                  "stable/web.html#tornado.web.RequestHandler.write"
                : "write() only accepts bytes, unicode, and dict objects");
        return -1;
    }
    if (octets == NULL)
        return -1;
    if (self->buffer == NULL && self->chunk == NULL) {
        self->chunk = octets;
        return 0;
    }
    if (self->buffer == NULL) {
        self->buffer = PyList_New(1);
        if (self->buffer == NULL) {
            Py_DECREF(octets);
            return -1;
        }
        PyList_SET_ITEM(self->buffer, 0, self->chunk);
        self->chunk = NULL;
    }
    err = PyList_Append(self->buffer, octets);
    Py_DECREF(octets);
    return err;
}

static PyObject *
handler_write(PyObject *op, PyObject *chunk)
{
    if (write_chunk(handler_cast(op), chunk) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The chunks as an array; *count of them; *p is `one` or the list's own. */
static PyObject *const *
chunks_of(FlRequestHandler *self, Py_ssize_t *count)
{
    if (self->buffer != NULL) {
        *count = PyList_GET_SIZE(self->buffer);
        return *count == 0 ? NULL : &PyList_GET_ITEM(self->buffer, 0);
    }
    *count = self->chunk != NULL;
    return &self->chunk;
}

static bool
chunks_are_bytes(FlRequestHandler *self)
{
    Py_ssize_t count;
    PyObject *const *chunks = chunks_of(self, &count);

    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyBytes_Check(chunks[i]))
            return false;
    }
    return true;
}

/* Bytes of what was written, or -1 with an exception. escapes where somebody put other
 * things than bytes into `_write_buffer`: the list is read again for each. */
static Py_ssize_t
body_size(FlRequestHandler *self)
{
    Py_ssize_t count, total = 0;

    for (Py_ssize_t i = 0; chunks_of(self, &count), i < count; i++) {
        PyObject *chunk = chunks_of(self, &count)[i];
        Py_ssize_t n;

        if (PyBytes_Check(chunk)) {
            total += PyBytes_GET_SIZE(chunk);
            continue;
        }
        Py_INCREF(chunk);
        n = PyObject_Size(chunk);
        Py_DECREF(chunk);
        if (n < 0)
            return -1;
        total += n;
    }
    return total;
}

/* ---- ETag ---- */

/* hashlib's SHA-1 of what was written, in quotes. New reference. */
static PyObject *
digest(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *sha1 = FlState_Lazy(st, &st->sha1, "hashlib", "sha1");
    PyObject *args[2], *hash, *hex = NULL, *etag = NULL;
    Py_ssize_t count;
    PyObject *const *chunks = chunks_of(self, &count);

    if (st->sha1_keywords == NULL)
        st->sha1_keywords = Py_BuildValue("(s)", "usedforsecurity");
    if (sha1 == NULL || st->sha1_keywords == NULL)
        return NULL;
    args[0] = count > 0 ? Py_NewRef(chunks[0]) : PyBytes_FromStringAndSize(NULL, 0);
    args[1] = Py_False;
    if (args[0] == NULL)
        return NULL;
    hash = PyObject_Vectorcall(sha1, args, 1, st->sha1_keywords);
    Py_DECREF(args[0]);
    for (Py_ssize_t i = 1; hash != NULL && i < count; i++) {
        PyObject *done = PyObject_CallMethod(hash, "update", "O", chunks[i]);

        chunks = chunks_of(self, &count); /* an odd chunk may have run anything */

        if (done == NULL)
            Py_CLEAR(hash);
        Py_XDECREF(done);
    }
    if (hash != NULL)
        hex = PyObject_CallMethodNoArgs(hash, st->str_hexdigest);
    if (hex != NULL && PyUnicode_GET_LENGTH(hex) == 40) {
        etag = PyUnicode_New(42, 127);
        if (etag != NULL) {
            char *p = (char *)PyUnicode_1BYTE_DATA(etag);

            p[0] = p[41] = '"';
            memcpy(p + 1, PyUnicode_1BYTE_DATA(hex), 40);
        }
    } else if (hex != NULL) {
        etag = PyUnicode_FromFormat("\"%U\"", hex);
    }
    Py_XDECREF(hash);
    Py_XDECREF(hex);
    return etag;
}

static PyObject *
handler_compute_etag(PyObject *op, PyObject *unused)
{
    (void)unused;
    return digest(handler_cast(op));
}

static int
set_etag(FlRequestHandler *self)
{
    FlState *st = self->st;
    bool ours = ORIGINAL(self, compute_etag);
    PyObject *etag =
        ours ? digest(self)
             : PyObject_CallMethodNoArgs((PyObject *)self, st->str_compute_etag);
    PyObject *done;
    int err = 0;

    if (etag == NULL)
        return -1;
    if (etag != Py_None) {
        if (ours && ORIGINAL(self, set_header) && c_headers(self) &&
            ORIGINAL(self, _convert_header_value)) {
            err = FlHTTPHeaders_SetId(map_of(self), FL_H_ETAG, etag);
        } else if (ORIGINAL(self, set_header) && c_headers(self) &&
                   PyUnicode_Check(etag)) {
            PyObject *text = converted(self, etag);

            err = text == NULL
                      ? -1
                      : FlHTTPHeaders_Set(map_of(self),
                                          FlHTTPHeaders_KnownName(st, FL_H_ETAG), text);
            Py_XDECREF(text);
        } else {
            done = PyObject_CallMethodObjArgs((PyObject *)self, st->str_set_header,
                                              FlHTTPHeaders_KnownName(st, FL_H_ETAG),
                                              etag, NULL);
            err = done == NULL ? -1 : 0;
            Py_XDECREF(done);
        }
    }
    Py_DECREF(etag);
    return err;
}

static PyObject *
handler_set_etag_header(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (set_etag(handler_cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static fl_span
without_weak(fl_span tag)
{
    if (tag.n > 2 && tag.p[0] == 'W' && tag.p[1] == '/')
        return fl_span_make(tag.p + 2, tag.n - 2);
    return tag;
}

/* Whether a list of entity tags names ours: RFC 9110 section 13.1.2, weakly. */
static bool
list_names(fl_span list, fl_span ours)
{
    bool first = true;

    while (list.n > 0) {
        fl_span tag;
        const char *end;

        if (list.p[0] == '*' && first)
            return true;
        if (list.p[0] == '"' || (list.n > 2 && memcmp(list.p, "W/\"", 3) == 0)) {
            size_t quote = list.p[0] == '"' ? 0 : 2;

            end = memchr(list.p + quote + 1, '"', list.n - quote - 1);
            if (end == NULL)
                return false;
            tag = fl_span_make(list.p, (size_t)(end - list.p) + 1);
            if (fl_span_eq(without_weak(tag), ours))
                return true;
            first = false;
            list.p += tag.n;
            list.n -= tag.n;
            continue;
        }
        list.p++;
        list.n--;
    }
    return false;
}

static int
check_etag(FlRequestHandler *self)
{
    PyObject *ours = NULL, *theirs = NULL, *headers, *own;
    fl_span a, b;
    int answer = 0;

    if (c_headers(self) && c_request(self) != NULL) {
        int32_t at = FlHTTPHeaders_FindId(map_of(self), FL_H_ETAG);

        if (at < 0)
            return 0;
        if (!FlHTTPServerRequest_Field(c_request(self), FL_H_IF_NONE_MATCH, &b))
            return 0;
        if (FlHTTPHeaders_ValueSpan(map_of(self), at, &a)) {
            a = without_weak(a);
            return a.n > 0 && list_names(b, a);
        }
    }
    headers = request_attribute(self, "headers");
    own = headers == NULL ? NULL : any_headers(self);
    if (own != NULL) {
        theirs = PyObject_CallMethod(headers, "get", "ss", "If-None-Match", "");
        ours =
            theirs == NULL ? NULL : PyObject_CallMethod(own, "get", "ss", "Etag", "");
    }
    if (ours == NULL || theirs == NULL) {
        answer = -1;
    } else if (PyUnicode_Check(ours) && PyUnicode_Check(theirs)) {
        Py_ssize_t n = 0, m = 0;
        const char *p = PyUnicode_AsUTF8AndSize(ours, &n);
        const char *q = p == NULL ? NULL : PyUnicode_AsUTF8AndSize(theirs, &m);

        if (q == NULL) {
            answer = -1;
        } else {
            a = without_weak(fl_span_make(p, (size_t)n));
            answer = a.n > 0 && list_names(fl_span_make(q, (size_t)m), a);
        }
    }
    Py_XDECREF(headers);
    Py_XDECREF(own);
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return answer;
}

static PyObject *
handler_check_etag_header(PyObject *op, PyObject *unused)
{
    int answer = check_etag(handler_cast(op));

    (void)unused;
    return answer < 0 ? NULL : PyBool_FromLong(answer);
}

/* ---- finish ---- */

/* GET 1, HEAD 2, another 0, -1. */
static int
safe_method(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = c_request(self);
    PyObject *method;
    int kind = 0;

    if (request != NULL && request->method == NULL && request->block != NULL) {
        kind = request->block->head.method;
        return kind == FL_METHOD_GET ? 1 : kind == FL_METHOD_HEAD ? 2 : 0;
    }
    method = request_attribute(self, "method");
    if (method == NULL)
        return -1;
    if (PyUnicode_Check(method)) {
        if (PyUnicode_CompareWithASCIIString(method, "GET") == 0)
            kind = 1;
        else if (PyUnicode_CompareWithASCIIString(method, "HEAD") == 0)
            kind = 2;
    }
    Py_DECREF(method);
    return kind;
}

/* The bits of complete_head that a hook may have replaced are called by name. */
static int
not_modified(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *answer;
    int is;

    if (ORIGINAL(self, set_etag_header)) {
        if (set_etag(self) < 0)
            return -1;
    } else if (call_hook(self, st->str_set_etag_header) < 0) {
        return -1;
    }
    if (ORIGINAL(self, check_etag_header))
        return check_etag(self);
    answer = PyObject_CallMethodNoArgs((PyObject *)self, st->str_check_etag_header);
    if (answer == NULL)
        return -1;
    is = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return is;
}

static int
finish_without_body(FlRequestHandler *self)
{
    static const uint8_t gone[] = {FL_H_CONTENT_ENCODING, FL_H_CONTENT_LANGUAGE,
                                   FL_H_CONTENT_TYPE};

    Py_ssize_t size = body_size(self);

    if (size > 0)
        PyErr_Format(PyExc_RuntimeError, "Cannot send body with status code HTTP%d",
                     self->status);
    if (size != 0)
        return -1;
    if (!ORIGINAL(self, _clear_representation_headers) ||
        !ORIGINAL(self, clear_header) || !c_headers(self))
        return call_hook(self, self->st->str__clear_representation_headers);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(gone); i++)
        FlHTTPHeaders_Remove(map_of(self), fl_header_name(gone[i]));
    return 0;
}

/* What only a whole answer can know: ETag, 304, Content-Length. */
static int
complete_head(FlRequestHandler *self)
{
    PyObject *length;
    Py_ssize_t size;
    int kind, is, err;

    if (!c_headers(self) || !ORIGINAL(self, _should_not_send_content))
        return call_hook(self, self->st->str__complete_head_by_name);
    if (self->status == 200) {
        kind = safe_method(self);
        if (kind < 0)
            return -1;
        if (kind > 0 && FlHTTPHeaders_FindId(map_of(self), FL_H_ETAG) < 0) {
            is = not_modified(self);
            if (is < 0)
                return -1;
            if (is) {
                PyObject *done;

                Py_CLEAR(self->buffer);
                Py_CLEAR(self->chunk);
                done = PyObject_CallMethod((PyObject *)self, "set_status", "i", 304);
                if (done == NULL)
                    return -1;
                Py_DECREF(done);
            }
        }
    }
    if (!c_headers(self))
        return 0;
    if (self->status == 204 || self->status == 304 ||
        (self->status >= 100 && self->status < 200))
        return finish_without_body(self);
    if (FlHTTPHeaders_FindId(map_of(self), FL_H_CONTENT_LENGTH) >= 0)
        return 0;
    size = body_size(self);
    if (size < 0)
        return -1;
    if (!c_headers(self)) /* replaced by an odd chunk's len() */
        return call_hook(self, self->st->str__complete_head_by_name);
    {
        char digits[FL_FMT_U64_MAX];

        length = PyUnicode_FromStringAndSize(
            digits, (Py_ssize_t)fl_fmt_u64(digits, (uint64_t)size));
    }
    err = length == NULL
              ? -1
              : FlHTTPHeaders_SetId(map_of(self), FL_H_CONTENT_LENGTH, length);
    Py_XDECREF(length);
    return err;
}

/* The connection when the answer can go to it as one block; borrowed, or NULL. */
static FlHTTP1Connection *
direct_connection(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = c_request(self);
    FlState *st = self->st;
    FlHTTP1Connection *conn;

    if (self->headers_written || !c_headers(self) || self->reason == NULL ||
        request == NULL || request->connection == NULL ||
        !Py_IS_TYPE(request->connection, st->HTTP1Connection_type))
        return NULL;
    if (self->transforms != NULL && self->transforms != Py_None &&
        (!PyList_CheckExact(self->transforms) || PyList_GET_SIZE(self->transforms) > 0))
        return NULL;
    if (!ORIGINAL(self, flush) || !ORIGINAL(self, _send_head) ||
        !chunks_are_bytes(self))
        return NULL;
    conn = (FlHTTP1Connection *)request->connection;
    if (conn->dict != NULL && PyDict_GET_SIZE(conn->dict) > 0)
        return NULL;
    return FlWeb_ConnectionOriginal(st) ? conn : NULL;
}

static int
send_direct(FlRequestHandler *self, FlHTTP1Connection *conn)
{
    PyObject *const *chunks;
    PyObject *chunk = Py_XNewRef(self->chunk), *buffer = Py_XNewRef(self->buffer);
    Py_ssize_t count;
    int err;

    chunks = chunks_of(self, &count);
    if (conn->head_request)
        count = 0;
    Py_CLEAR(conn->close_callback);
    Py_INCREF(conn);
    err =
        FlHTTP1_Respond(conn, self->status, self->reason, map_of(self), chunks, count);
    self->headers_written = err == 0 || conn->headers_written;
    Py_DECREF(conn);
    if (err == 0) {
        Py_CLEAR(self->chunk);
        Py_CLEAR(self->buffer);
    }
    Py_XDECREF(chunk);
    Py_XDECREF(buffer);
    return err;
}

/* Whether tornado.access would take a line of this status; wrong only in the safe
 * direction. The logger's own cache is asked, so that no frame of Python runs. */
static bool
access_enabled(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *method = self->status < 400   ? st->str_info
                       : self->status < 500 ? st->str_warning
                                            : st->str_error;
    PyObject *dict, *cache, *level, *found;
    bool on = true;

    if (st->web_access_log == NULL)
        return true;
    dict = PyObject_GenericGetDict(st->web_access_log, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return true;
    }
    if (PyDict_GetItem(dict, st->str_disabled) == Py_False &&
        PyDict_GetItem(dict, method) == NULL &&
        PyDict_GetItem(dict, st->str_isEnabledFor) == NULL &&
        (cache = PyDict_GetItem(dict, st->str__cache)) != NULL && PyDict_Check(cache)) {
        level = PyLong_FromLong(self->status < 400 ? 20 : self->status < 500 ? 30 : 40);
        found = level == NULL ? NULL : PyDict_GetItem(cache, level);
        on = found != Py_False;
        if (found == NULL && level != NULL) {
            PyObject *enabled =
                PyObject_CallMethod(st->web_access_log, "isEnabledFor", "O", level);

            on = enabled != Py_False;
            Py_XDECREF(enabled);
        }
        Py_XDECREF(level);
    }
    Py_DECREF(dict);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return true;
    }
    return on;
}

/* Whether `_log` would do nothing but ask a logger that is not listening. */
static bool
log_is_silent(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *dict, *settings;
    bool silent = false;

    if (!ORIGINAL(self, _log) || !ORIGINAL(self, get_status) ||
        !ORIGINAL(self, _request_summary) || self->application == NULL ||
        !Py_IS_TYPE(self->application, (PyTypeObject *)st->web_application))
        return false;
    dict = PyObject_GenericGetDict(self->application, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return false;
    }
    settings = PyDict_GetItem(dict, st->str_settings);
    if (PyDict_GetItem(dict, st->str_log_request) == NULL && settings != NULL &&
        PyDict_Check(settings) &&
        PyDict_GetItem(settings, st->str_log_function) == NULL)
        silent = FlWeb_LogOriginal(st) && !access_enabled(self);
    Py_DECREF(dict);
    return silent;
}

/* The C writer of lines, where the setting log_function is one and everything between
 * is original; borrowed, or NULL. */
static PyObject *
line_log(FlRequestHandler *self)
{
    FlState *st = self->st;
    PyObject *dict, *settings, *log = NULL;

    if (!ORIGINAL(self, _log) || !ORIGINAL(self, get_status) ||
        self->application == NULL ||
        !Py_IS_TYPE(self->application, (PyTypeObject *)st->web_application))
        return NULL;
    dict = PyObject_GenericGetDict(self->application, NULL);
    if (dict == NULL) {
        PyErr_Clear();
        return NULL;
    }
    settings = PyDict_GetItem(dict, st->str_settings);
    if (PyDict_GetItem(dict, st->str_log_request) == NULL && settings != NULL &&
        PyDict_Check(settings))
        log = PyDict_GetItem(settings, st->str_log_function);
    Py_DECREF(dict);
    return log != NULL && FlAccessLog_Check(st, log) && FlWeb_LogOriginal(st) ? log
                                                                              : NULL;
}

/* 0 or -1. escapes */
static int
log_finished(FlRequestHandler *self)
{
    PyObject *log = line_log(self);
    int err;

    if (log == NULL)
        return log_is_silent(self) ? 0 : call_hook(self, self->st->str__log);
    Py_INCREF(log);
    err = FlAccessLog_Add(log, self);
    Py_DECREF(log);
    return err;
}

static int
send_general(FlRequestHandler *self, PyObject **future)
{
    FlState *st = self->st;
    PyObject *connection = request_attribute(self, "connection");
    PyObject *done, *flush, *keywords;

    if (connection == Py_None) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "this request has no connection: a handler needs a request that "
            "came from a server, or one that was given connection=");
        Py_DECREF(connection);
        return -1;
    }
    if (connection == NULL)
        return -1;
    done = PyObject_CallMethodOneArg(connection, st->str_set_close_callback, Py_None);
    flush = done == NULL ? NULL : PyObject_GetAttr((PyObject *)self, st->str_flush);
    Py_XDECREF(done);
    keywords =
        flush == NULL ? NULL : Py_BuildValue("{s:O}", "include_footers", Py_True);
    *future = keywords == NULL ? NULL : PyObject_Call(flush, st->empty_tuple, keywords);
    Py_XDECREF(flush);
    Py_XDECREF(keywords);
    done =
        *future == NULL ? NULL : PyObject_CallMethodNoArgs(connection, st->str_finish);
    Py_DECREF(connection);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* `_write_cookies`, where it has something to do. 0, or -1. escapes */
static int
write_cookies(FlRequestHandler *self)
{
    int due = !ORIGINAL(self, _write_cookies);

    if (!due && self->dict != NULL)
        due = PyDict_Contains(self->dict, self->st->str__new_cookie);
    return due > 0 ? call_hook(self, self->st->str__write_cookies) : due;
}

/* The connection owned the handler until now. */
static void
let_go(FlRequestHandler *self)
{
    FlHTTPServerRequest *request = c_request(self);
    FlHTTP1Connection *conn;

    if (request == NULL || request->connection == NULL ||
        !Py_IS_TYPE(request->connection, self->st->HTTP1Connection_type))
        return;
    conn = (FlHTTP1Connection *)request->connection;
    if (conn->handler == (PyObject *)self)
        Py_CLEAR(conn->handler);
}

/* *future: what finish() gives; NULL where it was sent directly. */
static int
finish_request(FlRequestHandler *self, PyObject *chunk, PyObject **future)
{
    FlState *st = self->st;
    FlHTTP1Connection *conn;

    *future = NULL;
    if (self->finished) {
        PyErr_SetString(PyExc_RuntimeError, "finish() called twice");
        return -1;
    }
    if (chunk != NULL && chunk != Py_None) {
        if (ORIGINAL(self, write)) {
            if (write_chunk(self, chunk) < 0)
                return -1;
        } else {
            PyObject *done =
                PyObject_CallMethodOneArg((PyObject *)self, st->str_write, chunk);

            if (done == NULL)
                return -1;
            Py_DECREF(done);
        }
    }
    if (!self->headers_written) {
        int err = ORIGINAL(self, _complete_head)
                      ? complete_head(self)
                      : call_hook(self, st->str__complete_head);

        if (err < 0)
            return -1;
    }
    conn = direct_connection(self);
    if (conn != NULL) {
        if (write_cookies(self) < 0)
            return -1;
        conn = direct_connection(self); /* that may have run anything */
        if (conn == NULL && self->dict != NULL &&
            PyDict_Contains(self->dict, self->st->str__new_cookie) > 0 &&
            PyDict_DelItem(self->dict, self->st->str__new_cookie) < 0)
            return -1; /* their headers are there: flush must not add them again */
    }
    if (conn != NULL ? send_direct(self, conn) < 0 : send_general(self, future) < 0)
        return -1;
    if (log_finished(self) < 0)
        return -1;
    self->finished = true;
    if (!ORIGINAL(self, on_finish) && call_hook(self, st->str_on_finish) < 0)
        return -1;
    if (self->dict != NULL && PyDict_GET_SIZE(self->dict) > 0 &&
        call_hook(self, st->str__break_cycles) < 0)
        return -1;
    let_go(self);
    return 0;
}

int
FlRequestHandler_Finish(FlRequestHandler *self, PyObject *chunk)
{
    PyObject *future;
    int err = finish_request(self, chunk, &future);

    Py_XDECREF(future);
    return err;
}

static PyObject *
handler_finish(PyObject *op, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    FlRequestHandler *self = handler_cast(op);
    Py_ssize_t named = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *future;

    if (nargs + named > 1 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0),
                                                        "chunk") != 0)) {
        PyErr_SetString(PyExc_TypeError, "finish() takes one chunk at most");
        return NULL;
    }
    if (finish_request(self, nargs + named > 0 ? args[0] : NULL, &future) < 0) {
        Py_XDECREF(future);
        return NULL;
    }
    return future != NULL ? future : FlFuture_NewDone(self->st, Py_None);
}

static PyObject *
handler_complete_head(PyObject *op, PyObject *unused)
{
    (void)unused;
    if (complete_head(handler_cast(op)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyObject *
handler_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    FlRequestHandler *self;

    (void)args;
    (void)kwargs;
    if (PyType_HasFeature(type, Py_TPFLAGS_IS_ABSTRACT)) {
        PyObject *none = PyTuple_New(0);
        PyObject *refused =
            none == NULL ? NULL : PyBaseObject_Type.tp_new(type, none, NULL);

        Py_XDECREF(none); /* TypeError: it names the abstract methods */
        return refused;
    }
    self = (FlRequestHandler *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->st = FlState_OfType(type);
    self->auto_finish = true;
    self->status = 200;
    if (self->st == NULL) {
        Py_CLEAR(self);
    } else if (self->st->web_making != NULL) {
        FlHooks *hooks = (FlHooks *)self->st->web_making;

        if (hooks->type == type) {
            self->hooks = hooks;
            self->st->web_making = NULL;
        }
    }
    return (PyObject *)self;
}

/* _execute(transforms, *args, **kwargs) as one awaitable; None where a part of it was
 * replaced. */
static PyObject *
handler_sequence(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    FlRequestHandler *self = handler_cast(op);
    PyObject *groups;

    if (nargs != 2 || !PyTuple_Check(args[0]) || !PyDict_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "_sequence() takes a tuple and a dict");
        return NULL;
    }
    groups = PyDict_GET_SIZE(args[1]) > 0 ? args[1] : args[0];
    if ((PyDict_GET_SIZE(args[1]) > 0 && PyTuple_GET_SIZE(args[0]) > 0) ||
        !FlRun_Possible(self))
        Py_RETURN_NONE;
    return FlRun_New(self, groups);
}

static int
handler_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlRequestHandler *self = handler_cast(op);

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->dict);
    Py_VISIT(self->application);
    Py_VISIT(self->request);
    Py_VISIT(self->headers);
    Py_VISIT(self->buffer);
    Py_VISIT(self->chunk); /* subclasses of bytes and str may hold anything */
    Py_VISIT(self->reason);
    Py_VISIT(self->transforms);
    Py_VISIT(self->path_args);
    Py_VISIT(self->path_kwargs);
    Py_VISIT(self->prepared_future);
    Py_VISIT(self->hooks);
    return 0;
}

static int
handler_clear_refs(PyObject *op)
{
    FlRequestHandler *self = handler_cast(op);

    Py_CLEAR(self->dict);
    Py_CLEAR(self->application);
    Py_CLEAR(self->request);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->buffer);
    Py_CLEAR(self->chunk);
    Py_CLEAR(self->reason);
    Py_CLEAR(self->transforms);
    Py_CLEAR(self->path_args);
    Py_CLEAR(self->path_kwargs);
    Py_CLEAR(self->prepared_future);
    Py_CLEAR(self->hooks);
    return 0;
}

static void
handler_dealloc(PyObject *op)
{
    FlRequestHandler *self = handler_cast(op);
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(op);
    handler_clear_refs(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
get_buffer(PyObject *op, void *closure)
{
    FlRequestHandler *self = handler_cast(op);

    (void)closure;
    if (self->buffer == NULL) {
        self->buffer = PyList_New(self->chunk != NULL);
        if (self->buffer == NULL)
            return NULL;
        if (self->chunk != NULL)
            PyList_SET_ITEM(self->buffer, 0, self->chunk);
        self->chunk = NULL;
    }
    return Py_NewRef(self->buffer);
}

static int
set_buffer(PyObject *op, PyObject *value, void *closure)
{
    FlRequestHandler *self = handler_cast(op);
    PyObject *list;

    (void)closure;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_write_buffer cannot be deleted");
        return -1;
    }
    list = PyList_CheckExact(value) ? Py_NewRef(value) : PySequence_List(value);
    if (list == NULL)
        return -1;
    Py_CLEAR(self->chunk);
    Py_XSETREF(self->buffer, list);
    return 0;
}

#define OBJECT(name, field) \
    {name, T_OBJECT_EX, offsetof(FlRequestHandler, field), 0, NULL}

static PyMemberDef handler_members[] = {
    OBJECT("application", application),
    OBJECT("request", request),
    OBJECT("_headers", headers),
    OBJECT("_reason", reason),
    {"_transforms", T_OBJECT, offsetof(FlRequestHandler, transforms), 0, NULL},
    {"_prepared_future", T_OBJECT, offsetof(FlRequestHandler, prepared_future), 0,
     NULL},
    {"_status_code", T_INT, offsetof(FlRequestHandler, status), 0, NULL},
    {"_headers_written", T_BOOL, offsetof(FlRequestHandler, headers_written), 0, NULL},
    {"_finished", T_BOOL, offsetof(FlRequestHandler, finished), 0, NULL},
    {"_auto_finish", T_BOOL, offsetof(FlRequestHandler, auto_finish), 0, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(FlRequestHandler, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlRequestHandler, weakrefs), READONLY,
     NULL},
    {NULL, 0, 0, 0, NULL},
};
#undef OBJECT

static PyObject *
get_path_args(PyObject *op, void *closure)
{
    FlRequestHandler *self = handler_cast(op);

    (void)closure;
    if (self->path_args == NULL)
        self->path_args = PyList_New(0);
    return Py_XNewRef(self->path_args);
}

static PyObject *
get_path_kwargs(PyObject *op, void *closure)
{
    FlRequestHandler *self = handler_cast(op);

    (void)closure;
    if (self->path_kwargs == NULL)
        self->path_kwargs = PyDict_New();
    return Py_XNewRef(self->path_kwargs);
}

static int
set_path_args(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    Py_XSETREF(handler_cast(op)->path_args, Py_XNewRef(value));
    return 0;
}

static int
set_path_kwargs(PyObject *op, PyObject *value, void *closure)
{
    (void)closure;
    Py_XSETREF(handler_cast(op)->path_kwargs, Py_XNewRef(value));
    return 0;
}

static PyGetSetDef handler_getset[] = {
    {"path_args", get_path_args, set_path_args, NULL, NULL},
    {"path_kwargs", get_path_kwargs, set_path_kwargs, NULL, NULL},
    {"_write_buffer", get_buffer, set_buffer, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef handler_methods[] = {
    {"clear", handler_clear, METH_NOARGS,
     PyDoc_STR("Forgets all headers, the status and what was written.")},
    {"set_status", (PyCFunction)(void (*)(void))handler_set_status,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Sets the status; a phrase that could not be sent becomes Unknown.")},
    {"get_status", handler_get_status, METH_NOARGS,
     PyDoc_STR("The status of the response.")},
    {"set_header", (PyCFunction)(void (*)(void))handler_set_header,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Sets a header, replacing what it had. ValueError for what would break\n"
               "out of it.")},
    {"add_header", (PyCFunction)(void (*)(void))handler_add_header,
     METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("Adds a header beside others of its name.")},
    {"clear_header", handler_clear_header, METH_O,
     PyDoc_STR("Undoes set_header and add_header; nothing where unset.")},
    {"_convert_header_value", handler_convert, METH_O, NULL},
    {"write", handler_write, METH_O,
     PyDoc_STR("Adds bytes, text (as UTF-8) or a dict (as JSON) to the response.")},
    {"finish", (PyCFunction)(void (*)(void))handler_finish,
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("Ends the response, after writing chunk where given. A future of when\n"
               "all of it was sent; nobody needs to await it.")},
    {"_complete_head", handler_complete_head, METH_NOARGS, NULL},
    {"_sequence", (PyCFunction)(void (*)(void))handler_sequence, METH_FASTCALL, NULL},
    {"compute_etag", handler_compute_etag, METH_NOARGS,
     PyDoc_STR("The response's ETag in quotes, by default the SHA-1 of what was\n"
               "written; None for no ETag.")},
    {"set_etag_header", handler_set_etag_header, METH_NOARGS,
     PyDoc_STR("Sets Etag to compute_etag, where that gives one.")},
    {"check_etag_header", handler_check_etag_header, METH_NOARGS,
     PyDoc_STR("Whether If-None-Match names the Etag set so far (the answer is 304).")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handler_slots[] = {
    {Py_tp_doc, "The C base of pyfastloop.web.RequestHandler."},
    {Py_tp_new, handler_new},
    {Py_tp_dealloc, handler_dealloc},
    {Py_tp_traverse, handler_traverse},
    {Py_tp_clear, handler_clear_refs},
    {Py_tp_methods, handler_methods},
    {Py_tp_members, handler_members},
    {Py_tp_getset, handler_getset},
    {0, NULL},
};

static PyType_Spec handler_spec = {
    .name = "pyfastloop._core.RequestHandlerBase",
    .basicsize = sizeof(FlRequestHandler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = handler_slots,
};

int
FlRequestHandler_AddType(PyObject *module, FlState *st)
{
    if (FlState_AddType(module, &st->RequestHandler_type, &handler_spec, NULL, false) <
        0)
        return -1;
    return FlRequestHandler_AddArguments(st);
}
