/* client_link.h -- a client's connection, as the files that make it up see it.
 *
 *   client_link.c   what comes: heads, bodies, the end
 *   client_type.c   the Python type: starting a request, detaching
 *   client_head.c   the bytes of a request's head
 *
 * Layer: http. Threads: the loop's.
 */
#ifndef FL_HTTP_CLIENT_LINK_H
#define FL_HTTP_CLIENT_LINK_H

#include "http/headers.h"
#include "http/link.h"
#include "proto/chunked.h"

typedef enum {
    LINK_IDLE,
    LINK_HEAD,
    LINK_LENGTH,
    LINK_CHUNKED,
    LINK_CLOSE, /* the body ends with the connection */
    LINK_OPEN,  /* 101 or 2xx to CONNECT: what follows is no HTTP */
    LINK_DEAD,
} LinkState;

enum {
    LINK_NO_BODY = 1,
    LINK_COLLECT = 2,
    LINK_UNSENT = 4,
    LINK_CONNECT = 8,
};

typedef struct FlClientLink {
    PyObject_HEAD
    FlState *st;         /* borrowed */
    FlLink link;         /* stream and body; closed for good once detached */
    PyObject *sink;      /* owned; NULL unless an exchange is under way */
    PyObject *headers;   /* owned; collect mode, until the end */
    PyObject *reason;    /* owned; collect mode, until the end */
    uint64_t left;       /* LENGTH: bytes of the body to come */
    uint64_t body_total; /* bytes of the body seen */
    uint64_t max_body;
    uint64_t head_at;     /* loop time at which the head was whole */
    uint64_t seen;        /* bytes that came, of all answers */
    uint64_t sent_before; /* bytes the channel had sent before this request */
    uint32_t max_head;
    uint32_t uses;  /* requests begun */
    size_t scanned; /* of the head, for the parser */
    fl_chunked chunked;
    int status;
    uint8_t state; /* LinkState */
    uint8_t interim;
    bool no_body; /* HEAD: no body follows whatever the fields say */
    bool collect;
    bool connect;
    bool unsent; /* part of the request is still to be sent */
    bool begun;  /* a byte of the answer came */
    bool keep;   /* the head allows another request */
    bool paused;
    bool reusable;
    PyObject *key;              /* owned; what requests must share to share the link */
    uint64_t idle_since;        /* loop time; of one in a pool */
    struct FlClientLink *older; /* borrowed, these four: its neighbours in the pool */
    struct FlClientLink *newer;
    struct FlClientLink *below; /* of the same key, older */
    struct FlClientLink *above;
    PyObject *weakrefs;
} FlClientLink;

extern const FlChannelOps FlClientLink_Ops;

bool FlClientLink_Check(FlState *st, PyObject *obj);

/* Sends head (bytes) and body (bytes or NULL) and tells sink of the answer. 1; 0 when
 * the connection turned out to be closed: nothing was sent; or -1. escapes */
int FlClientLink_Start(FlClientLink *self, PyObject *sink, PyObject *head,
                       PyObject *body, long flags, uint64_t max_body);

/* Closes without telling the sink. escapes */
void FlClientLink_Close(FlClientLink *self);

/* No request can be sent any more. */
bool FlClientLink_Closed(const FlClientLink *self);

/* No answer is under way any more. */
void FlClientLink_ForgetAnswer(FlClientLink *self);

/* The answer is whole, `rest` bytes stand behind it. 0, or -1: fatal. escapes */
int FlClientLink_Finish(FlClientLink *self, size_t rest);

/* request_head(method, target, headers) of the type. */
PyObject *FlClientLink_RequestHead(PyObject *type, PyObject *const *args,
                                   Py_ssize_t nargs);

#endif
