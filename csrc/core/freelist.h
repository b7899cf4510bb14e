/* freelist.h -- dead objects of one exact type, kept for the next ones.
 *
 * What is made and dropped for every event comes from here: an object that is taken
 * costs no allocation and does not count towards the collector's next run. Lists hang
 * on the module's state, are capped, and are compiled out where a sanitizer should see
 * every allocation.
 *
 * An object in a list has no type reference, is not tracked, and owns nothing.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_FREELIST_H
#define FL_CORE_FREELIST_H

#include "core/compat.h"

#include <stdbool.h>

typedef struct {
    PyObject *first; /* linked by the word behind the object's head */
    unsigned n;
} FlFreelist;

static inline PyObject **
FlFreelist_Next(PyObject *obj)
{
    return (PyObject **)(obj + 1);
}

/* An object of type (whose list it is) with nothing set behind its head, not tracked:
 * new reference; NULL without an exception when the list is empty. */
static inline PyObject *
FlFreelist_Take(FlFreelist *list, PyTypeObject *type)
{
    PyObject *obj = list->first;

    if (obj == NULL)
        return NULL;
    list->first = *FlFreelist_Next(obj);
    list->n--;
    return PyObject_Init(obj, type);
}

/* At the end of a dealloc, in the place of tp_free and the type's DECREF: false when
 * the list is full (max). */
static inline bool
FlFreelist_Put(FlFreelist *list, PyObject *obj, unsigned max)
{
    PyTypeObject *type = Py_TYPE(obj);

    if (!FL_FREELISTS || list->n >= max)
        return false;
    *FlFreelist_Next(obj) = list->first;
    list->first = obj;
    list->n++;
    Py_DECREF(type);
    return true;
}

/* Before the types go. */
static inline void
FlFreelist_Drain(FlFreelist *list)
{
    PyObject *obj;

    while ((obj = list->first) != NULL) {
        list->first = *FlFreelist_Next(obj);
        PyObject_GC_Del(obj);
    }
    list->n = 0;
}

#endif
