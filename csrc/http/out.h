/* out.h -- a message head being put together: on the stack while it is small.
 *
 * Layer: http. Threads: none.
 */
#ifndef FL_HTTP_OUT_H
#define FL_HTTP_OUT_H

#include <stdlib.h>
#include <string.h>

#include "base/span.h"

#define FL_OUT_SMALL 2048

typedef struct {
    char *p; /* `small`, or owned */
    size_t n, room;
    bool failed; /* no memory; everything after is dropped */
    char small[FL_OUT_SMALL];
} fl_out;

static inline void
fl_out_init(fl_out *out)
{
    out->p = out->small;
    out->n = 0;
    out->room = sizeof(out->small);
    out->failed = false;
}

static inline void
fl_out_free(fl_out *out)
{
    if (out->p != out->small)
        free(out->p);
}

/* Room for n more bytes, or NULL (failed). */
static inline char *
fl_out_room(fl_out *out, size_t n)
{
    if (out->room - out->n < n) {
        size_t room = (out->n + n) * 2;
        char *grown = malloc(room);

        if (grown == NULL) {
            out->failed = true;
            return NULL;
        }
        memcpy(grown, out->p, out->n);
        fl_out_free(out);
        out->p = grown;
        out->room = room;
    }
    return out->p + out->n;
}

static inline void
fl_out_put(fl_out *out, const char *p, size_t n)
{
    char *to = fl_out_room(out, n);

    if (to != NULL && n > 0) {
        memcpy(to, p, n);
        out->n += n;
    }
}

static inline void
fl_out_span(fl_out *out, fl_span s)
{
    fl_out_put(out, s.p, s.n);
}

#define FL_OUT_LITERAL(out, text) fl_out_put(out, text, sizeof(text) - 1)

#endif
