/* class_watch.h -- has this class changed since it was looked at?
 *
 *   3.12 and later  a type watcher on the class. Its callback only moves an epoch; a
 *                   change of a base reaches it too, as long as the class has a version
 *                   tag, which each stamp assigns. Where CPython refuses a tag or a
 *                   watcher, the class counts as changed every time.
 *   3.11            tp_version_tag of the class is compared.
 *
 * Upon it FlOriginals: which methods of a C base have others in their place, on the
 * class of an object or on the object itself. What has not is done in C at once; what
 * has is called by its name.
 *
 * Layer: core. Threads: with the interpreter; the epoch is one number of the process
 * and only grows.
 */
#ifndef FL_CORE_CLASS_WATCH_H
#define FL_CORE_CLASS_WATCH_H

#include "core/state.h"

typedef struct {
    uint64_t epoch; /* 0: changed every time */
    unsigned tag;   /* 3.11: the class's version tag */
} FlClassStamp;

/* Moved by every change of a watched class; class_watch.c moves it. */
extern uint64_t fl_class_epoch;

/* After a class was looked at; since: fl_class_epoch before that. */
void FlClass_Stamp(FlState *st, PyTypeObject *type, uint64_t since,
                   FlClassStamp *stamp);

static inline bool
FlClass_Unchanged(PyTypeObject *type, const FlClassStamp *stamp)
{
#if FL_TYPE_WATCHERS
    (void)type;
    return stamp->epoch == fl_class_epoch;
#else
    return stamp->epoch != 0 && FlCompat_VersionTag(type) == stamp->tag;
#endif
}

/* ---- the methods of a base ---- */

typedef struct {
    PyTypeObject *type; /* owned: the class that was looked at, or NULL */
    FlClassStamp stamp;
    unsigned replaced; /* bit i: the class has another for names[i] */
} FlOriginals;

/* Whether `replaced` is the answer for obj, whose dict this is (or NULL): nothing has
 * changed since it was asked. */
static inline bool
FlOriginals_Known(const FlOriginals *self, PyObject *obj, PyObject *dict)
{
    return self->type == Py_TYPE(obj) && FlClass_Unchanged(self->type, &self->stamp) &&
           (dict == NULL || PyDict_GET_SIZE(dict) == 0);
}

/* Asks. Bit i: obj, or its class, has another for names[i] of base, an immutable type of
 * C. -1 with an exception. escapes (descriptors of metaclasses) */
int FlOriginals_Look(FlOriginals *self, FlState *st, PyObject *obj, PyObject *dict,
                     PyTypeObject *base, PyObject *const *names, int count);

#endif
