/* class_watch.c -- has this class changed since it was looked at?
 *
 * Layer: core. Threads: with the interpreter; see class_watch.h for the epoch.
 */
#include "core/class_watch.h"

/* Of the process, for watchers get no argument of their own; it only ever grows. */
uint64_t fl_class_epoch = 1;

#if FL_TYPE_WATCHERS
static int
class_changed(PyTypeObject *type)
{
    (void)type;
    fl_class_epoch++;
    return 0;
}
#endif

/* Lets a change of the class be noticed; true when it will be. */
static bool
class_watch(FlState *st, PyTypeObject *type, unsigned *tag)
{
#if FL_TYPE_WATCHERS
    *tag = 0;
    if (st->type_watcher == 0) {
        int id = PyType_AddWatcher(class_changed);

        if (id < 0)
            PyErr_Clear(); /* all eight are taken: ask every time */
        st->type_watcher = id < 0 ? -1 : id + 1;
    }
    if (st->type_watcher < 0)
        return false;
    if (PyType_Watch(st->type_watcher - 1, (PyObject *)type) < 0) {
        PyErr_Clear();
        return false;
    }
    return PyUnstable_Type_AssignVersionTag(type) != 0;
#else
    (void)st;
    *tag = FlCompat_VersionTag(type);
    return *tag != 0;
#endif
}

void
FlClass_Stamp(FlState *st, PyTypeObject *type, uint64_t since, FlClassStamp *stamp)
{
    stamp->epoch = class_watch(st, type, &stamp->tag) ? since : 0;
}

/* ---- the methods of a base ---- */

/* One that looks its attributes up in its own way has all of them replaced. */
static int
look_at_class(PyTypeObject *type, PyTypeObject *base, PyObject *const *names, int count,
              unsigned *replaced)
{
    *replaced = type->tp_getattro == PyObject_GenericGetAttr ? 0 : (1u << count) - 1;
    for (int i = 0; i < count; i++) {
        PyObject *ours = PyObject_GetAttr((PyObject *)base, names[i]), *found;

        if (ours == NULL ||
            PyObject_GetOptionalAttr((PyObject *)type, names[i], &found) < 0) {
            Py_XDECREF(ours);
            return -1;
        }
        if (found != ours)
            *replaced |= 1u << i;
        Py_DECREF(ours);
        Py_XDECREF(found);
    }
    return 0;
}

int
FlOriginals_Look(FlOriginals *self, FlState *st, PyObject *obj, PyObject *dict,
                 PyTypeObject *base, PyObject *const *names, int count)
{
    PyTypeObject *type = Py_TYPE(obj);
    unsigned replaced = self->replaced;

    if (self->type != type || !FlClass_Unchanged(type, &self->stamp)) {
        uint64_t since = fl_class_epoch;
        FlClassStamp stamp;

        Py_INCREF(type);
        if (look_at_class(type, base, names, count, &replaced) < 0) {
            Py_DECREF(type);
            return -1;
        }
        FlClass_Stamp(st, type, since, &stamp);
        self->replaced = replaced;
        self->stamp = stamp;
        Py_XSETREF(self->type, type);
    }
    if (dict == NULL || PyDict_GET_SIZE(dict) == 0)
        return (int)replaced;
    for (int i = 0; i < count; i++) {
        int there = PyDict_Contains(dict, names[i]);

        if (there < 0)
            return -1;
        replaced |= (unsigned)there << i;
    }
    return (int)replaced;
}
