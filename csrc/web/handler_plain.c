/* handler_plain.c -- the headers that an answer has while nobody has touched them.
 *
 * Most handlers never look at `_headers`. Until one does, or sets one of these headers
 * to something else, there is no whole map: `plain` says which of the few sets of headers
 * this is, and beside it stand ETag and Content-Length, and a map of what the handler has
 * set besides. The lines of a set are the same for a whole second and are sent as one
 * block. Whoever asks for `_headers` gets the map that would have been there.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#include "web/handler_parts.h"

#include <string.h>

#include "base/format.h"
#include "sys/clock.h"

#define TYPE_HTML "text/html; charset=UTF-8"
#define TYPE_JSON "application/json; charset=UTF-8"

/* The values for this second: 0 or -1. */
static int
make_values(FlState *st, uint64_t second)
{
    PyObject *html = FlHandler_Constant(&st->web_content_type, TYPE_HTML);
    PyObject *json = FlHandler_Constant(&st->web_json_type, TYPE_JSON);
    const char *server = PyUnicode_AsUTF8(st->web_server_header);
    PyObject *date = NULL, *html_lines = NULL, *json_lines = NULL;
    char text[FL_HTTP_DATE_LEN + 1];

    fl_fmt_http_date(text, (int64_t)second);
    text[FL_HTTP_DATE_LEN] = '\0';
    if (html != NULL && json != NULL && server != NULL) {
        const char *format = "Server: %s\r\nContent-Type: %s\r\nDate: %s\r\n";

        date = PyUnicode_FromStringAndSize(text, FL_HTTP_DATE_LEN);
        html_lines = PyBytes_FromFormat(format, server, TYPE_HTML, text);
        json_lines = PyBytes_FromFormat(format, server, TYPE_JSON, text);
    }
    if (date == NULL || html_lines == NULL || json_lines == NULL) {
        Py_XDECREF(date);
        Py_XDECREF(html_lines);
        Py_XDECREF(json_lines);
        return -1;
    }
    Py_XSETREF(st->web_date, date);
    Py_XSETREF(st->web_html_lines, html_lines);
    Py_XSETREF(st->web_json_lines, json_lines);
    st->web_date_second = second;
    return 0;
}

int
FlHandler_PlainValues(FlState *st)
{
    uint64_t second = fl_clock_wall() / FL_NS_PER_S;

    return st->web_date != NULL && second == st->web_date_second
               ? 0
               : make_values(st, second);
}

void
FlHandler_SetPlain(FlRequestHandler *self, uint8_t plain)
{
    self->plain = plain;
    self->plain_etag = false;
    self->plain_length = -1;
    Py_CLEAR(self->headers);
}

int
FlHandler_PutBeside(FlRequestHandler *self, PyObject *name, PyObject *value, bool add)
{
    int err;

    switch (FlHTTPHeaders_NameId(self->st, name)) {
    case -1:
        return -1;
    case FL_H_SERVER:
    case FL_H_CONTENT_TYPE:
    case FL_H_DATE:
    case FL_H_ETAG:
    case FL_H_CONTENT_LENGTH:
    case FL_H_TRANSFER_ENCODING:
    case FL_H_CONNECTION:
        return 0;
    default:
        break;
    }
    if (self->headers == NULL)
        self->headers = FlHTTPHeaders_New(self->st);
    if (self->headers == NULL)
        return -1;
    err = add ? FlHTTPHeaders_Add(FlHandler_Map(self), name, value)
              : FlHTTPHeaders_Set(FlHandler_Map(self), name, value);
    return err < 0 ? -1 : 1;
}

/* What stands beside, in the order in which it was put there. 0 or -1. */
static int
add_beside(FlRequestHandler *self, FlHTTPHeaders *map)
{
    FlHTTPHeaders *beside = FlHandler_Map(self);

    for (int32_t i = 0; beside != NULL && i < beside->count; i++) {
        PyObject *name = FlHTTPHeaders_Name(beside, i);
        PyObject *value = name == NULL ? NULL : FlHTTPHeaders_Value(beside, i);

        if (value == NULL || FlHTTPHeaders_Add(map, name, value) < 0)
            return -1;
    }
    return 0;
}

static int
fill_map(FlRequestHandler *self, FlHTTPHeaders *map)
{
    FlState *st = self->st;
    PyObject *type =
        self->plain == FL_PLAIN_JSON ? st->web_json_type : st->web_content_type;
    PyObject *value;
    int err;

    if (FlHTTPHeaders_SetId(map, FL_H_SERVER, st->web_server_header) < 0 ||
        FlHTTPHeaders_SetId(map, FL_H_CONTENT_TYPE, type) < 0 ||
        FlHTTPHeaders_SetId(map, FL_H_DATE, st->web_date) < 0 ||
        add_beside(self, map) < 0)
        return -1;
    if (self->plain_etag) {
        value = PyUnicode_FromStringAndSize(self->etag, FL_ETAG_SIZE);
        err = value == NULL ? -1 : FlHTTPHeaders_SetId(map, FL_H_ETAG, value);
        Py_XDECREF(value);
        if (err < 0)
            return -1;
    }
    if (self->plain_length >= 0) {
        value = PyUnicode_FromFormat("%lld", (long long)self->plain_length);
        err = value == NULL ? -1 : FlHTTPHeaders_SetId(map, FL_H_CONTENT_LENGTH, value);
        Py_XDECREF(value);
        if (err < 0)
            return -1;
    }
    return 0;
}

PyObject *
FlRequestHandler_Headers(FlRequestHandler *self)
{
    if (self->plain != FL_PLAIN_NOT) {
        PyObject *map = FlHTTPHeaders_New(self->st);

        if (map == NULL || FlHandler_PlainValues(self->st) < 0 ||
            fill_map(self, (FlHTTPHeaders *)map) < 0) {
            Py_XDECREF(map);
            return NULL;
        }
        self->plain = FL_PLAIN_NOT;
        Py_XSETREF(self->headers, map);
    }
    if (self->headers == NULL)
        PyErr_SetString(PyExc_AttributeError, "_headers");
    return self->headers;
}

fl_span
FlHandler_PlainLines(FlRequestHandler *self)
{
    PyObject *lines = self->plain == FL_PLAIN_JSON ? self->st->web_json_lines
                                                   : self->st->web_html_lines;

    return fl_span_make(PyBytes_AS_STRING(lines), (size_t)PyBytes_GET_SIZE(lines));
}
