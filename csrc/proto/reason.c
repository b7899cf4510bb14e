/* reason.c -- the sentences and statuses of refusals.
 *
 * Layer: proto. Threads: any; constant data.
 */
#include "proto/reason.h"

typedef struct {
    const char *text;
    int status;
} entry;

static const entry entries[FL_REASON_COUNT] = {
    [FL_OK] = {"no error", 400},
    [FL_BAD_REQUEST_LINE] = {"request line is not method, target and version", 400},
    [FL_BAD_METHOD] = {"method is no token", 400},
    [FL_BAD_TARGET] = {"request target is empty or holds a byte it may not", 400},
    [FL_BAD_TARGET_FORM] = {"request target has a form its method does not take", 400},
    [FL_BAD_VERSION] = {"version is neither HTTP/1.0 nor HTTP/1.1", 505},
    [FL_BAD_STATUS_LINE] = {"status line is not version, status and reason", 400},
    [FL_BAD_LINE_END] = {"line does not end in CR LF", 400},
    [FL_BAD_BYTE] = {"control byte in the head", 400},
    [FL_BAD_FIELD_NAME] = {"header name is no token", 400},
    [FL_BAD_FIELD_SPACE] = {"white space between header name and colon", 400},
    [FL_BAD_FIELD_FOLD] = {"header line is folded", 400},
    [FL_BAD_FIELD_LINE] = {"header line without a colon", 400},
    [FL_BAD_HOST_MISSING] = {"Host is missing", 400},
    [FL_BAD_HOST_REPEATED] = {"Host is given more than once", 400},
    [FL_BAD_HOST] = {"Host is no valid authority", 400},
    [FL_BAD_LENGTH] = {"Content-Length is no decimal number of up to 16 digits", 400},
    [FL_BAD_LENGTH_REPEATED] = {"Content-Length is given more than once", 400},
    [FL_BAD_LENGTH_AND_CODING] = {"Content-Length and Transfer-Encoding are both given",
                                  400},
    [FL_BAD_CODING] = {"Transfer-Encoding is malformed or does not end in chunked",
                       400},
    [FL_BAD_CODING_UNKNOWN] = {"transfer coding other than chunked", 501},
    [FL_BAD_CODING_VERSION] = {"Transfer-Encoding in HTTP/1.0", 400},
    [FL_BAD_TARGET_LONG] = {"first line is longer than the limit for the head", 414},
    [FL_BAD_HEAD_LONG] = {"head is longer than its limit", 431},
    [FL_BAD_FIELD_COUNT] = {"more header lines than the limit", 431},
    [FL_BAD_CHUNK_SIZE] = {"chunk size is no hexadecimal number of up to 16 digits",
                           400},
    [FL_BAD_CHUNK_LINE] = {"chunk size line is malformed", 400},
    [FL_BAD_CHUNK_LINE_LONG] = {"chunk size line is longer than its limit", 400},
    [FL_BAD_CHUNK_END] = {"chunk data is not followed by CR LF", 400},
    [FL_BAD_CHUNK_OVERHEAD] = {"too much chunk framing for the data it carries", 400},
    [FL_BAD_TRAILER] = {"trailer line is malformed", 400},
    [FL_BAD_TRAILER_LONG] = {"trailers are longer than their limit", 431},
    [FL_BAD_TRAILER_COUNT] = {"more trailer lines than the limit", 431},
    [FL_BAD_BOUNDARY] = {"multipart boundary is missing or malformed", 400},
    [FL_BAD_MULTIPART] = {"multipart body lacks its first or its closing delimiter",
                          400},
    [FL_BAD_PART_HEAD] = {"head of a multipart part is malformed", 400},
    [FL_BAD_PART_HEAD_LONG] = {"head of a multipart part is longer than its limit",
                               400},
    [FL_BAD_PART_COUNT] = {"more multipart parts than the limit", 400},
    [FL_BAD_PART_DISPOSITION] = {"multipart part is not form-data with one name", 400},
    [FL_BAD_MEMORY] = {"no memory left", 500},
};

static const entry *
entry_of(int reason)
{
    static const entry unknown = {"unknown reason", 400};
    return reason < 0 || reason >= FL_REASON_COUNT ? &unknown : &entries[reason];
}

const char *
fl_reason_text(int reason)
{
    return entry_of(reason)->text;
}

int
fl_reason_status(int reason)
{
    return entry_of(reason)->status;
}
