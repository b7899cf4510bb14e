/* hooks.h -- is this method still the original? One bit a hook and class, and how the bits stay true.
 *
 * A class is asked once: each hook is looked up along its MRO and compared with the function the base class was born with.
 * Same object: the bit is clear and C runs its own form of the hook. Anything else: the bit is set and the
 * callable is kept, to be called directly.
 *
 * What keeps an answer true:
 *   3.12 and later   a type watcher on the class. Its callback only moves an epoch (a change of a base reaches the
 *                    class's watcher too, as long as the class has a version tag: one is assigned at each
 *                    verification; where CPython refuses one, the class is verified at every request).
 *   3.11             tp_version_tag of the class, compared at every use.
 *   instances        a handler's own dict, asked only when it is not empty.
 *
 * Invariant: after any call into Python the bits are asked again before the next hook is skipped.
 *
 * Layer: web. Threads: none; the epoch is one number for the process and only grows.
 */
#ifndef FL_WEB_HOOKS_H
#define FL_WEB_HOOKS_H

#include "core/state.h"

/* The hooks of RequestHandler that the C sequence takes the place of. */
#define FL_HOOKS(X) \
    X(__init__) X(_execute) X(finish) X(flush) X(write) X(clear) X(set_default_headers) X(initialize) \
    X(prepare) X(on_finish) X(compute_etag) X(set_etag_header) X(check_etag_header) X(check_xsrf_cookie) \
    X(set_status) X(get_status) X(set_header) X(add_header) X(clear_header) X(send_error) X(write_error) \
    X(log_exception) X(_log) X(on_connection_close) X(decode_argument) X(data_received) \
    X(_convert_header_value) X(_handle_request_exception) X(_clear_representation_headers) X(__new__) \
    X(__getattribute__) X(__setattr__)

enum {
#define X(name) FL_HOOK_##name,
    FL_HOOKS(X)
#undef X
    FL_HOOK_COUNT
};

typedef struct FlHooks FlHooks;
struct FlHooks {
    PyTypeObject *type; /* borrowed: the table that holds this watches the type's death by a weak reference */
    uint64_t replaced;  /* bit FL_HOOK_x: not the original */
    uint64_t epoch;     /* of the last verification */
    unsigned version;   /* 3.11: tp_version_tag of the last verification */
    bool watched;       /* the epoch speaks for this class */
    PyObject *methods[8]; /* owned, nullable: get head post put delete patch options, as found on the class */
};

/* The hooks of a class, verified; borrowed. NULL with an exception. */
FlHooks *
FlHooks_Of(FlState *st, PyTypeObject *type);

/* Verified now; 0, or -1 with an exception. Cheap when nothing has changed. */
int
FlHooks_Verify(FlState *st, FlHooks *hooks);

#endif
