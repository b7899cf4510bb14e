/* request_parts.h -- what the files of HTTPServerRequest share with no one else.
 *
 *   request.c         for C: made of a parsed head, read as it is
 *   request_init.c    made by a program
 *   request_fields.c  what each attribute is made of on first reading
 *   request_type.c    methods, attributes and the type
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#ifndef FL_HTTP_REQUEST_PARTS_H
#define FL_HTTP_REQUEST_PARTS_H

#include "http/request.h"

static inline FlHTTPServerRequest *
FlRequest_Cast(PyObject *self)
{
    return (FlHTTPServerRequest *)self;
}

/* What makes an attribute: a new reference, or NULL with an exception. */
typedef PyObject *FlRequestMaker(FlHTTPServerRequest *);

/* An attribute, made now where it was not asked for before. New reference. Escapes where
 * the maker does. */
static inline PyObject *
FlRequest_Get(FlHTTPServerRequest *self, PyObject **slot, FlRequestMaker *make)
{
    if (*slot == NULL) {
        PyObject *made = make(self);

        if (made == NULL)
            return NULL;
        Py_XSETREF(*slot, made);
    }
    return Py_NewRef(*slot);
}

/* ---- request.c ---- */

/* 0, or -1 with HTTPInputError: too many fields. */
int FlRequest_CheckQuery(FlState *st, fl_span query);

/* ---- request_init.c ---- */

/* __init__; 0 or -1. escapes */
int FlRequest_Init(PyObject *op, PyObject *args, PyObject *kwargs);

/* Where what follows the authority of a target in absolute form begins, and the
 * authority (borrowed of uri); 0: it has another form; -1. */
Py_ssize_t FlRequest_Authority(PyObject *uri, fl_span *authority);

/* ---- request_fields.c ---- */

FlRequestMaker FlRequest_MakeMethod;
FlRequestMaker FlRequest_MakeURI;
FlRequestMaker FlRequest_MakeVersion;
FlRequestMaker FlRequest_MakePath;
FlRequestMaker FlRequest_MakeQuery;
FlRequestMaker FlRequest_MakeHeaders;
FlRequestMaker FlRequest_MakeBody;
FlRequestMaker FlRequest_MakeHost;
FlRequestMaker FlRequest_MakeHostName; /* escapes */
FlRequestMaker FlRequest_MakeRemoteIP; /* escapes */
FlRequestMaker FlRequest_MakeProtocol; /* escapes */
FlRequestMaker FlRequest_MakeQueryArguments;
FlRequestMaker FlRequest_MakeArguments; /* escapes */
FlRequestMaker FlRequest_MakeCookies;   /* escapes */
FlRequestMaker FlRequest_MakeDict;      /* an empty one */

/* Adds what a form body says to body_arguments, arguments and files, once for each
 * body; 0, or -1 with HTTPInputError. escapes */
int FlRequest_ParseBody(FlHTTPServerRequest *self);

#endif
