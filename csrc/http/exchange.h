/* exchange.h -- one fetch of the HTTP client, as the files that make it up see it.
 *
 *   fetch.c           AsyncHTTPClient.fetch, and a client's slots
 *   fetch_future.c    its future
 *   outgoing.c        what goes out for a request, remembered for a plain one
 *   exchange.c        from an idle link to the response
 *   exchange_type.c   the Python type
 *   client_request.c  HTTPRequest(...)
 *
 * Layer: http. Threads: the loop's.
 */
#ifndef FL_HTTP_EXCHANGE_H
#define FL_HTTP_EXCHANGE_H

#include "core/future.h"

#include "http/pool.h"

typedef struct {
    FlFuture future;
    PyObject *underway; /* owned or NULL: what cancel() tells to abort() */
    bool raise_error;
} FlFetchFuture;

/* A request, ready to be sent; never changes. */
typedef struct {
    PyObject_HEAD
    PyObject *url;  /* owned str: effective_url */
    PyObject *head; /* owned bytes */
    PyObject *body; /* owned bytes, or NULL */
    PyObject *key;  /* owned: of the pool */
    int flags;      /* of FlClientLink_Start */
    bool keep;      /* the connection may be used again */
    bool decompress;
} FlOutgoing;

typedef struct {
    PyObject_HEAD
    FlState *st;        /* borrowed */
    FlLoop *loop;       /* owned; NULL without a client */
    FlPool *pool;       /* owned; NULL without a client */
    PyObject *client;   /* owned or NULL */
    PyObject *given;    /* owned: the request that is sent, a redirect's too */
    PyObject *defaults; /* owned or NULL: the client's, for what `given` leaves open */
    PyObject *proxy;    /* owned or NULL: the two in one, made when it is asked for */
    PyObject *original_request; /* owned: what was fetched */
    FlFetchFuture *future;      /* owned or NULL, and then ... */
    PyObject *final_callback;   /* owned or NULL: who gets the response */
    PyObject *release_callback; /* owned or NULL: called before that */
    FlOutgoing *out;            /* owned; NULL until planned */
    FlClientLink *link;         /* owned; NULL unless busy with this exchange */
    PyObject *opened;           /* owned or NULL: when a new link was opened */
    PyObject *headers, *reason; /* owned or NULL: of the answer */
    fl_loop_timer deadline;     /* request_timeout */
    double limit;               /* s: what it is set to */
    double queued_at;           /* all of these monotonic s; 0: did not wait */
    double start_time;
    double sent_at;
    double head_at;
    double start_wall_time;
    double redirect_seconds;
    int code;      /* 0: no answer yet */
    bool finished; /* settled; nothing of it is left on loop, pool or client */
    bool counted;  /* takes one of the client's slots */
    bool extras;   /* Python has timers or tasks of its own to end */
    PyObject *weakrefs;
} FlExchange;

/* Sets an attribute to a new object, which is stolen (NULL: it could not be made).
 * 0 or -1. escapes */
static inline int
FlHTTP_SetNew(PyObject *on, PyObject *name, PyObject *made)
{
    int err = made == NULL ? -1 : PyObject_SetAttr(on, name, made);

    Py_XDECREF(made);
    return err;
}

bool FlExchange_Check(FlState *st, PyObject *obj);

/* An exchange of the class that Python makes of it. New reference. escapes */
FlExchange *FlExchange_New(FlState *st);

/* Sends the request, on an idle link if there is one. 0, or -1: fatal. escapes */
int FlExchange_Begin(FlExchange *self);

/* Sends over a link, which is the exchange's from here on. 0 or -1. escapes */
int FlExchange_Go(FlExchange *self, FlClientLink *link);

/* The link is done with: to the pool, or closed. 0 or -1. escapes */
int FlExchange_GiveBack(FlExchange *self);

/* The link tells the whole answer. 0, or -1: fatal. escapes */
int FlExchange_Answer(PyObject *self, int status, PyObject *reason, PyObject *headers,
                      PyObject *body);

/* Ends with the answer. 0 or -1. escapes */
int FlExchange_Complete(FlExchange *self, PyObject *body);

/* Ends; `good`: the response is known to be no error. 0 or -1. escapes */
int FlExchange_Settle(FlExchange *self, PyObject *response, bool good);

/* Ends with the current exception. 0, or -1: fatal. escapes */
int FlExchange_FailRaised(FlExchange *self);

/* The deadline. */
int FlExchange_Expired(FlLoop *loop, fl_loop_timer *timer);

/* The attribute of the request, else the client's default; borrowed names. New
 * reference or NULL. escapes */
PyObject *FlExchange_Value(FlExchange *self, PyObject *name);

/* The request with its defaults, as Python reads it: borrowed, or NULL. */
PyObject *FlExchange_Proxy(FlExchange *self);

/* What goes out for the exchange's request: new reference or NULL. escapes */
FlOutgoing *FlOutgoing_Of(FlExchange *self);

bool FlOutgoing_Check(FlState *st, PyObject *obj);

/* A pending one. New reference. */
PyObject *FlFetchFuture_New(FlState *st, bool raise_error);

/* Whose `deliver` this callback is: new reference, or NULL without an exception. */
FlFetchFuture *FlFetchFuture_OfCallback(PyObject *callback);

/* Settles with a response, or with its error where that is to be raised; `good`: it is
 * known to have none. One that is done is left alone. 0 or -1. escapes */
int FlFetchFuture_Deliver(FlFetchFuture *self, PyObject *response, bool good);

/* The exchange's slot of its client is free again. 0 or -1. escapes */
int FlFetch_Release(FlExchange *self);

/* Takes a slot and begins. 0 or -1. escapes */
int FlFetch_Start(FlExchange *self);

#endif
