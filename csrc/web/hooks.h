/* hooks.h -- is this method still the original? One bit a hook and class, kept true.
 *
 * A class is asked once: each hook is looked up on it and compared with what its base
 * was registered with (FlHooks_Register). The same object: the bit is clear and C runs
 * its own form of the hook. Anything else: the bit is set, and C calls it by name.
 *
 * What keeps an answer true
 *   classes         their stamp (core/class_watch.h); where it cannot tell, the class is
 *                   verified at every request.
 *   instances       their own dict, when it is not empty: its keys are looked at once,
 *                   then a watcher, or its version on 3.11, tells when one may be new.
 *
 * Invariant: after any call into Python the bits are asked again before the next hook
 * is skipped.
 *
 * Layer: web. Threads: none; the epochs are numbers of the process and only grow.
 */
#ifndef FL_WEB_HOOKS_H
#define FL_WEB_HOOKS_H

#include "core/class_watch.h"

/* Hooks of RequestHandler. */
/* Long lists are kept from the formatter, which moves them to and fro. */
/* clang-format off */
#define FL_HANDLER_HOOKS(X)                                                            \
    X(__init__) X(__new__) X(__getattribute__) X(__setattr__) X(_execute) X(_begin)    \
    X(_method) X(_tell_prepared) X(_handle_failure) X(_handle_request_exception)       \
    X(clear) X(set_default_headers) X(initialize) X(on_connection_close) X(prepare)    \
    X(decode_argument) X(check_xsrf_cookie) X(_check_cross_origin)                     \
    X(SUPPORTED_METHODS) X(_stream_request_body) X(application) X(request) X(finish)   \
    X(flush) X(_send_head) X(_complete_head) X(_write_cookies) X(set_etag_header)      \
    X(compute_etag) X(check_etag_header) X(_should_not_send_content)                   \
    X(_clear_representation_headers) X(set_status) X(set_header)                       \
    X(_convert_header_value) X(clear_header) X(_log) X(_request_summary)               \
    X(get_status) X(on_finish) X(_break_cycles) X(ui) X(settings) X(write)             \
    X(_get_argument) X(_get_arguments) X(_remove_control_chars_regex)
/* clang-format on */

enum {
#define X(name) FL_HOOK_##name,
    FL_HANDLER_HOOKS(X)
#undef X
        FL_HOOK_COUNT
};

#define FL_HOOK_BIT(name) (UINT64_C(1) << FL_HOOK_##name)

/* What must be original for C to run a handler at all. */
#define FL_HOOKS_SEQUENCE                                                              \
    (FL_HOOK_BIT(__new__) | FL_HOOK_BIT(__getattribute__) | FL_HOOK_BIT(__setattr__) | \
     FL_HOOK_BIT(_begin) | FL_HOOK_BIT(_method) | FL_HOOK_BIT(_tell_prepared) |        \
     FL_HOOK_BIT(_handle_failure) | FL_HOOK_BIT(_stream_request_body) |                \
     FL_HOOK_BIT(_check_cross_origin) | FL_HOOK_BIT(SUPPORTED_METHODS))

/* What must be original for a handler to be made without its __init__. */
#define FL_HOOKS_INIT \
    (FL_HOOK_BIT(__init__) | FL_HOOK_BIT(application) | FL_HOOK_BIT(request))

#define FL_HOOK_METHODS 8 /* by enum fl_method: GET ... OPTIONS */

/* The functions that a class is known to have: those of the methods, and hooks that
 * programs replace. */
enum {
    FL_FUNCTION_SET_DEFAULT_HEADERS = FL_HOOK_METHODS,
    FL_FUNCTION_INITIALIZE,
    FL_FUNCTION_PREPARE,
    FL_FUNCTION_ON_FINISH,
    FL_HOOK_FUNCTIONS
};

/* One class and what its hooks are; a hidden Python type, shared by references. */
typedef struct {
    PyObject_HEAD
    FlState *st;         /* borrowed */
    PyTypeObject *type;  /* owned */
    PyObject *names;     /* owned tuple of str */
    PyObject *originals; /* owned tuple: what each hook is when it is original */
    Py_ssize_t count;
    uint64_t replaced;                      /* bit i: hook i is not the original */
    FlClassStamp stamp;                     /* of the last verification */
    bool init_behind;                       /* as FlHooks_InitBehind says */
    PyObject *functions[FL_HOOK_FUNCTIONS]; /* owned: get, post ..., prepare ..., as the
                                  class has them; NULL: nothing that is called with
                                  the handler in front */
} FlHooks;

/* The hooks of a class: names and originals in parallel (both tuples, at most 64). An
 * original None says that the class has no such attribute. New reference, not verified
 * yet. */
FlHooks *FlHooks_New(FlState *st, PyTypeObject *type, PyObject *names,
                     PyObject *originals);

/* The same of a plain class whose attributes are the originals now. New reference. */
FlHooks *FlHooks_OfClass(FlState *st, PyObject *type, const char *const *names,
                         Py_ssize_t count);

int FlHooks_VerifyAll(FlHooks *hooks); /* escapes */

/* Whether a class behind RequestHandler in the order of bases has an __init__, which
 * RequestHandler's calls. */
bool FlHooks_InitBehind(FlState *st, PyTypeObject *type);

/* Whether `replaced` is known to be true. */
static inline bool
FlHooks_Unchanged(const FlHooks *hooks)
{
    return FlClass_Unchanged(hooks->type, &hooks->stamp);
}

/* Makes `replaced` true for now; 0 or -1. Cheap while nothing has changed. escapes
 * (descriptors of metaclasses), only when something has. */
static inline int
FlHooks_Verify(FlHooks *hooks)
{
    return FlHooks_Unchanged(hooks) ? 0 : FlHooks_VerifyAll(hooks);
}

/* ---- the dict of an instance, which may hide a hook ---- */

/* Names that C looks for in an instance's dict. */
enum {
    FL_NAME_HOOK = 1,   /* of a hook */
    FL_NAME_METHOD = 2, /* get, post ... */
    FL_NAME_COOKIE = 4, /* _new_cookie */
    FL_NAME_UI = 8,     /* _ui */
};

/* When the keys of a dict were last looked at, and what was found. Zeroed: never. */
typedef struct {
    uint64_t stamp;
    uint8_t names; /* FL_NAME_*: what some of the keys may be */
#if FL_TYPE_WATCHERS
    PyObject *dict; /* borrowed: only compared */
#endif
} FlCleanDict;

/* Moved when a watched instance's dict got another key, or was freed. */
extern uint64_t fl_instance_epoch;

/* Looks at the keys, for clean->names. */
void FlHooks_LookAtDict(FlState *st, PyObject *dict, FlCleanDict *clean);

/* Whether clean->names still holds: no key came since. */
static inline bool
FlHooks_KnowsDict(PyObject *dict, const FlCleanDict *clean)
{
#if FL_TYPE_WATCHERS
    return clean->dict == dict && clean->stamp == fl_instance_epoch;
#else
    return clean->stamp == FlCompat_DictVersion(dict);
#endif
}

/* Whether a key of the dict (nullable) may be one of these FL_NAME_*. */
static inline bool
FlHooks_MayHave(FlState *st, PyObject *dict, FlCleanDict *clean, uint8_t names)
{
    if (dict == NULL || PyDict_GET_SIZE(dict) == 0)
        return false;
    if (!FlHooks_KnowsDict(dict, clean))
        FlHooks_LookAtDict(st, dict, clean);
    return (clean->names & names) != 0;
}

/* ---- dicts of which facts are known (facts.h) ---- */

/* Lets changes of a dict move FlHooks_DictEpoch, also those made through `owner`, whose
 * dict it is (NULL: nobody's). False where CPython cannot tell them (3.11, or no watcher
 * left): then look every time. */
bool FlHooks_WatchDict(FlState *st, PyObject *dict, PyObject *owner);
extern uint64_t fl_dict_epoch;

static inline uint64_t
FlHooks_DictEpoch(void)
{
    return fl_dict_epoch;
}

/* Takes note of st->web_names and the other names. */
void FlHooks_KnowNames(FlState *st);

int FlHooks_AddType(PyObject *module, FlState *st);

#endif
