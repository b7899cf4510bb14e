/* reason.h -- why a message was refused.
 *
 * Parsers return a reason negated. Each has a sentence for the log and the status that
 * RFC 9110 and 9112 name for it.
 *
 * Layer: proto. Threads: any; constant data.
 */
#ifndef FL_PROTO_REASON_H
#define FL_PROTO_REASON_H

enum fl_reason {
    FL_OK = 0,

    /* request line and status line */
    FL_BAD_REQUEST_LINE, /* not "method SP target SP version" */
    FL_BAD_METHOD,       /* no token */
    FL_BAD_TARGET,       /* empty, or with bytes that may not stand there */
    FL_BAD_TARGET_FORM,  /* a form that this method does not take */
    FL_BAD_VERSION,      /* not HTTP/1.0 or HTTP/1.1: 505 */
    FL_BAD_STATUS_LINE,

    /* bytes and lines */
    FL_BAD_LINE_END, /* CR without LF, or LF without CR */
    FL_BAD_BYTE,     /* NUL, another control, DEL */
    FL_BAD_FIELD_NAME,
    FL_BAD_FIELD_SPACE, /* white space before the colon */
    FL_BAD_FIELD_FOLD,  /* a line that begins with white space */
    FL_BAD_FIELD_LINE,  /* no colon */

    /* meaning */
    FL_BAD_HOST_MISSING,
    FL_BAD_HOST_REPEATED,
    FL_BAD_HOST,
    FL_BAD_LENGTH,          /* Content-Length is not 1*DIGIT, or too large */
    FL_BAD_LENGTH_REPEATED, /* several, in a request; differing, in a response */
    FL_BAD_LENGTH_AND_CODING,
    FL_BAD_CODING,         /* Transfer-Encoding malformed, repeated, chunked not last */
    FL_BAD_CODING_UNKNOWN, /* a coding other than chunked: 501 */
    FL_BAD_CODING_VERSION, /* Transfer-Encoding in HTTP/1.0 */

    /* limits */
    FL_BAD_TARGET_LONG, /* the request line alone does not fit: 414 */
    FL_BAD_HEAD_LONG,   /* 431 */
    FL_BAD_FIELD_COUNT, /* 431 */

    /* chunked bodies */
    FL_BAD_CHUNK_SIZE, /* no 1*HEXDIG, or too large */
    FL_BAD_CHUNK_LINE, /* size line or extension with bytes that may not stand there */
    FL_BAD_CHUNK_LINE_LONG, /* more than limits.line */
    FL_BAD_CHUNK_END,       /* data not followed by CR LF */
    FL_BAD_CHUNK_OVERHEAD,  /* too much framing for the data it carries */
    FL_BAD_TRAILER,         /* a trailer line that is no field line */
    FL_BAD_TRAILER_LONG,    /* 431 */
    FL_BAD_TRAILER_COUNT,   /* 431 */

    /* multipart/form-data */
    FL_BAD_BOUNDARY,         /* no boundary parameter, or no legal one */
    FL_BAD_MULTIPART,        /* no first delimiter, or no closing one */
    FL_BAD_PART_HEAD,        /* a part's head that is none */
    FL_BAD_PART_HEAD_LONG,   /* longer than limits.max_head */
    FL_BAD_PART_COUNT,       /* more than limits.max_parts */
    FL_BAD_PART_DISPOSITION, /* no Content-Disposition: form-data with a name */

    FL_BAD_MEMORY, /* no memory left: 500 */
    FL_REASON_COUNT
};

/* A short sentence without a full stop, for the log; "unknown reason" outside of the
 * enum. */
const char *fl_reason_text(int reason);

/* 400, 414, 431, 500, 501 or 505; 400 outside of the enum. */
int fl_reason_status(int reason);

#endif
