/* request.c -- one HTTP request: a head block and what became of it.
 *
 * The side that C sees: making one of a parsed head, and reading it without making more
 * objects than are asked for. request_parts.h says where the rest is.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/request_parts.h"

#include <string.h>

#include "http/functions.h"
#include "proto/query.h"

bool
FlHTTPServerRequest_Check(FlState *st, PyObject *object)
{
    return PyObject_TypeCheck(object, st->HTTPServerRequest_type);
}

int
FlRequest_CheckQuery(FlState *st, fl_span query)
{
    if (fl_query_count(query) <= FL_REQUEST_QUERY_FIELDS)
        return 0;
    FlHTTP_InputError(st, "Invalid query string: Max number of fields exceeded");
    return -1;
}

PyObject *
FlHTTPServerRequest_FromBlock(FlState *st, FlHeadBlock *block, PyObject *connection,
                              PyObject *server_connection, uint64_t now)
{
    FlHTTPServerRequest *self;

    if ((block->head.flags & FL_HEAD_QUERY) != 0 &&
        FlRequest_CheckQuery(st, FlHeadBlock_Span(block, block->head.query)) < 0)
        return NULL;
    if (block->head.host.len > 0 &&
        memchr(block->bytes + block->head.host.off, ',', block->head.host.len) != NULL)
        return FlHTTP_InputError(st, "Multiple host headers not allowed");
    self = PyObject_GC_New(FlHTTPServerRequest, st->HTTPServerRequest_type);
    if (self == NULL)
        return NULL;
    memset((char *)self + offsetof(FlHTTPServerRequest, st), 0,
           sizeof(FlHTTPServerRequest) - offsetof(FlHTTPServerRequest, st));
    self->st = st;
    self->block = FlHeadBlock_Retain(block);
    self->connection = Py_XNewRef(connection);
    self->server_connection = Py_XNewRef(server_connection);
    self->started = now;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

int
FlHTTPServerRequest_TakePeer(FlHTTPServerRequest *self)
{
    Py_XSETREF(self->remote_ip, FlRequest_MakeRemoteIP(self));
    Py_XSETREF(self->protocol, FlRequest_MakeProtocol(self));
    return self->remote_ip == NULL || self->protocol == NULL ? -1 : 0;
}

PyObject *
FlHTTPServerRequest_Headers(FlHTTPServerRequest *self)
{
    return FlRequest_Get(self, &self->headers, FlRequest_MakeHeaders);
}

PyObject *
FlHTTPServerRequest_HostName(FlHTTPServerRequest *self)
{
    return FlRequest_Get(self, &self->host_name, FlRequest_MakeHostName);
}

bool
FlHTTPServerRequest_Field(FlHTTPServerRequest *self, uint8_t id, fl_span *out)
{
    const fl_field *field;

    if (self->headers != NULL) {
        int32_t at;

        if (!FlHTTPHeaders_Check(self->st, self->headers))
            return false;
        at = FlHTTPHeaders_FindId((FlHTTPHeaders *)self->headers, id);
        return at >= 0 &&
               FlHTTPHeaders_ValueSpan((FlHTTPHeaders *)self->headers, at, out);
    }
    if (self->block == NULL)
        return false;
    field = fl_head_find(&self->block->head, id);
    if (field == NULL)
        return false;
    *out = FlHeadBlock_Span(self->block, field->value);
    return true;
}

bool
FlHTTPServerRequest_HasForm(FlHTTPServerRequest *self)
{
    fl_span span;

    if (self->form_read || self->body == NULL ||
        (PyBytes_Check(self->body) && PyBytes_GET_SIZE(self->body) == 0))
        return false;
    return self->headers != NULL ||
           FlHTTPServerRequest_Field(self, FL_H_CONTENT_TYPE, &span);
}
