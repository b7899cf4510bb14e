/* handler_parts.h -- what the files of RequestHandler's C base share with no one else.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_HANDLER_PARTS_H
#define FL_WEB_HANDLER_PARTS_H

#include "web/handler.h"

#define ORIGINAL(self, name) FlRequestHandler_Original(self, FL_HOOK_##name)

static inline FlRequestHandler *
FlHandler_Cast(PyObject *self)
{
    return (FlRequestHandler *)self;
}

/* ---- handler.c ---- */

/* Whether `_headers` is a map of ours and nothing else; makes it where it is not made. */
static inline bool
FlHandler_HasMap(FlRequestHandler *self)
{
    if (self->plain != FL_PLAIN_NOT && FlRequestHandler_Headers(self) == NULL)
        PyErr_Clear(); /* by name it is tried again, and told */
    return self->headers != NULL &&
           Py_IS_TYPE(self->headers, self->st->HTTPHeaders_type);
}

static inline FlHTTPHeaders *
FlHandler_Map(FlRequestHandler *self)
{
    return (FlHTTPHeaders *)self->headers;
}

/* `_headers`, whatever it is. New reference, or NULL: AttributeError. */
PyObject *FlHandler_AnyHeaders(FlRequestHandler *self);

/* The request where it is one of ours; borrowed, or NULL: deleted, or anything else. */
FlHTTPServerRequest *FlHandler_Request(FlRequestHandler *self);

/* An attribute of the request, by name. New reference. escapes */
PyObject *FlHandler_RequestAttribute(FlRequestHandler *self, const char *name);

/* Calls a method without arguments, whatever it is now; 0 or -1. escapes */
int FlHandler_Call(FlRequestHandler *self, PyObject *name);

/* FlRequestHandler_CallHook, whatever it gives; 0 or -1. escapes */
int FlHandler_CallHook(FlRequestHandler *self, int function, PyObject *name);

/* ---- handler_init.c ---- */

/* clear() and initialize(): kwargs may be NULL. 0 or -1. escapes */
int FlHandler_Begin(FlRequestHandler *self, PyObject *kwargs);

/* ---- handler_plain.c ---- */

/* What plain headers consist of, for this second; 0 or -1. */
int FlHandler_PlainValues(FlState *st);

/* Makes `_headers` one of the plain sets again. escapes */
void FlHandler_SetPlain(FlRequestHandler *self, uint8_t plain);

/* Sets (or adds) a header that goes beside the plain ones: 1; 0 where it is one of them,
 * or says how the body is framed; -1 with an exception. */
int FlHandler_PutBeside(FlRequestHandler *self, PyObject *name, PyObject *value,
                        bool add);

/* The lines of a plain head but for ETag and Content-Length; until PlainValues. */
fl_span FlHandler_PlainLines(FlRequestHandler *self);

/* ---- handler_head.c ---- */

/* A str that stays the same, made on first use; borrowed. */
PyObject *FlHandler_Constant(PyObject **slot, const char *text);

/* A header's value as text, by the hook for it; new reference. escapes */
PyObject *FlHandler_Converted(FlRequestHandler *self, PyObject *value);

/* ---- handler_write.c ---- */

/* write(); 0 or -1. escapes */
int FlHandler_Write(FlRequestHandler *self, PyObject *chunk);

/* The chunks as an array; *count of them. */
PyObject *const *FlHandler_Chunks(FlRequestHandler *self, Py_ssize_t *count);
bool FlHandler_ChunksAreBytes(FlRequestHandler *self);

/* Bytes of what was written, or -1 with an exception. escapes */
Py_ssize_t FlHandler_BodySize(FlRequestHandler *self);

/* ---- handler_etag.c ---- */

/* set_etag_header(); 0 or -1. escapes */
int FlHandler_SetEtag(FlRequestHandler *self);

/* check_etag_header(): 1, 0 or -1. escapes */
int FlHandler_CheckEtag(FlRequestHandler *self);

/* ---- handler_log.c ---- */

/* Tells the access log; 0 or -1. escapes */
int FlHandler_LogFinished(FlRequestHandler *self);

/* ---- methods of the type ---- */

PyObject *FlHandler_init(PyObject *op, PyObject *const *args, Py_ssize_t nargs);
PyObject *FlHandler_clear(PyObject *op, PyObject *unused);
PyObject *FlHandler_set_status(PyObject *op, PyObject *args, PyObject *kwargs);
PyObject *FlHandler_get_status(PyObject *op, PyObject *unused);
PyObject *FlHandler_set_header(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kw);
PyObject *FlHandler_add_header(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kw);
PyObject *FlHandler_clear_header(PyObject *op, PyObject *name);
PyObject *FlHandler_convert(PyObject *op, PyObject *value);
PyObject *FlHandler_write(PyObject *op, PyObject *chunk);
PyObject *FlHandler_finish(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames);
PyObject *FlHandler_send_file(PyObject *op, PyObject *args);
PyObject *FlHandler_complete_head(PyObject *op, PyObject *unused);
PyObject *FlHandler_compute_etag(PyObject *op, PyObject *unused);
PyObject *FlHandler_set_etag_header(PyObject *op, PyObject *unused);
PyObject *FlHandler_check_etag_header(PyObject *op, PyObject *unused);

#endif
