/* tls_records.h -- where the records of a TLS stream end.
 *
 * A record is five bytes (type, version, length) and its body; nothing of it can be
 * decrypted before all of it is there. The one who feeds a TLS engine counts along and
 * asks the engine only when it can have an answer, and knows how much plain text that can
 * be at most.
 *
 * Nothing is judged here but whether the heads look like TLS at all: once one does not
 * (`odd`), the count means nothing any more, and the engine must be asked each time.
 *
 * Layer: proto. Threads: any; pure functions.
 */
#ifndef FL_PROTO_TLS_RECORDS_H
#define FL_PROTO_TLS_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FL_TLS_HEAD = 5,
    FL_TLS_PLAIN_MOST = 16384,       /* bytes of plain text in one record */
    FL_TLS_BODY_MOST = 16384 + 2048, /* RFC 5246 section 6.2.3, the laxer one */
    FL_TLS_TYPE_LEAST = 20,          /* change_cipher_spec ... */
    FL_TLS_TYPE_MOST = 24            /* ... heartbeat */
};

typedef struct {
    size_t partial; /* bytes seen of the record that has not ended yet */
    size_t missing; /* bytes of its body still to come, once its head is whole */
    uint8_t head[FL_TLS_HEAD]; /* the first `partial` bytes of it */
    bool odd;                  /* this is not TLS */
} fl_tls_records;

/* Counts along p[0..n): gives how many records ended in it. */
size_t fl_tls_records_feed(fl_tls_records *r, const char *p, size_t n);

#endif
