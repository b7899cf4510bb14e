/* handler.h -- what every RequestHandler carries, and the sequence requests run through.
 *
 * FlRequestHandler is the C base of pyfastloop.web.RequestHandler. The fields that every
 * request touches are C members, visible as the attributes programs know (`_headers`,
 * `_status_code`, `_write_buffer`, `_finished` ...); everything else goes to the
 * instance's dict, which most requests never need.
 *
 *   allocate -> clear -> set_default_headers -> initialize -> prepare -> the method
 *      -> finish (ETag, 304, one block to the connection) -> log -> on_finish
 *
 * An original hook is run in C or not at all, another one is called; the bits are asked
 * again after everything that ran user code (hooks.h). Whatever returns an awaitable
 * hands the rest of the request to `_go_on`, a coroutine that the request's task runs.
 *
 * Layer: web. Threads: none; owned by one loop.
 */
#ifndef FL_WEB_HANDLER_H
#define FL_WEB_HANDLER_H

#include "http/connection.h"
#include "web/hooks.h"

/* What `_headers` is while nobody has asked for it (handler_plain.c). */
enum FlPlain {
    FL_PLAIN_NOT,  /* `headers` says */
    FL_PLAIN_HTML, /* as clear() leaves it */
    FL_PLAIN_JSON, /* the same with the type of a dict that was written */
};

#define FL_ETAG_SIZE 42 /* a SHA-1 in hexadecimal, in quotes */

typedef struct {
    PyObject_HEAD
    FlState *st;               /* borrowed */
    PyObject *dict, *weakrefs; /* owned */
    PyObject *application, *request;
    PyObject *headers; /* `_headers`; all of these owned, NULL: not set. With `plain`:
                          a map of ours of what was set beside, or NULL */
    PyObject *reason;
    PyObject *buffer; /* `_write_buffer` as a list, or NULL: `chunk` is all there is */
    PyObject *chunk;  /* bytes or NULL */
    PyObject *transforms;
    PyObject *path_args, *path_kwargs;
    PyObject *prepared_future;
    FlHooks *hooks;       /* owned; NULL: call everything by name */
    int64_t plain_length; /* with `plain`: Content-Length, or -1 */
    int status;
    bool headers_written, finished, auto_finish;
    bool plain_etag; /* with `plain`: etag is set */
    uint8_t plain;   /* enum FlPlain: `headers` is not made yet, and is this */
    char etag[FL_ETAG_SIZE];
    FlCleanDict clean; /* of `dict` */
} FlRequestHandler;

bool FlRequestHandler_AskOriginal(FlRequestHandler *self, int hook);

/* Whether C may run its own form of a hook now: original on the class and not set on the
 * instance. */
static inline bool
FlRequestHandler_Original(FlRequestHandler *self, int hook)
{
    FlHooks *hooks = self->hooks;

    if (hooks != NULL && Py_IS_TYPE(self, hooks->type) && FlHooks_Unchanged(hooks) &&
        (self->dict == NULL || PyDict_GET_SIZE(self->dict) == 0 ||
         (FlHooks_KnowsDict(self->dict, &self->clean) &&
          (self->clean.names & FL_NAME_HOOK) == 0)))
        return (hooks->replaced >> hook & 1) == 0;
    return FlRequestHandler_AskOriginal(self, hook);
}

/* Calls a hook that is not the original, without arguments: the class's own function
 * where it has a plain one and nothing on the instance hides it, else by name. New
 * reference. escapes */
PyObject *FlRequestHandler_CallHook(FlRequestHandler *self, int function,
                                    PyObject *name);

/* `_headers`, made where it is not yet; borrowed, or NULL with AttributeError or
 * MemoryError. */
PyObject *FlRequestHandler_Headers(FlRequestHandler *self);

/* clear(); 0 or -1. escapes where set_default_headers is not the original */
int FlRequestHandler_Clear(FlRequestHandler *self);

/* finish() without its future; 0 or -1. escapes */
int FlRequestHandler_Finish(FlRequestHandler *self, PyObject *chunk);

/* Whether Application.log_request is the original (originals.c). */
bool FlWeb_LogOriginal(FlState *st);

/* Whether HTTP1Connection's own methods are the originals. */
bool FlWeb_ConnectionOriginal(FlState *st);

/* Whether HTTPServerRequest's cookies are the originals. */
bool FlWeb_RequestOriginal(FlState *st);

/* Whether C may make and run a handler of this class (originals.c). 1, 0 or -1. */
int FlWeb_SequenceOriginal(FlHooks *hooks);

/* Whether an application has no settings under which a request does more than C does. */
bool FlWeb_SettingsPlain(FlState *st, PyObject *settings);

int FlRequestHandler_AddType(PyObject *module, FlState *st);

#endif
