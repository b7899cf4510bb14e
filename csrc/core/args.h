/* args.h -- arguments that callers name though nearly everybody gives them by position.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_ARGS_H
#define FL_CORE_ARGS_H

#include "core/compat.h"

#include <stdbool.h>

typedef PyObject *(*fl_fast_method)(PyObject *self, PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kw);

/* Fewer positional arguments came than method needs: those that were given by name are
 * put in their places, and method is called again; TypeError for one that is missing.
 * New reference. */
PyObject *FlArgs_Retry(const char *name, PyObject *self, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *kw, fl_fast_method method,
                       const char *const *names, Py_ssize_t needed); /* escapes */

/* The one argument of a method, which takes it by the name `word`, too: borrowed, or NULL
 * with TypeError. */
PyObject *FlArgs_One(const char *method, const char *word, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *kw);

/* A fast method of one argument, by position or by name, over function(self, value). */
#define FL_ONE_ARGUMENT(function, method, word)                                \
    static PyObject *function##_by_name(PyObject *self, PyObject *const *args, \
                                        Py_ssize_t nargs, PyObject *kw)        \
    {                                                                          \
        PyObject *value = FlArgs_One(method, word, args, nargs, kw);           \
                                                                               \
        return value == NULL ? NULL : function(self, value);                   \
    }
#define FL_ONE_ARGUMENT_METHOD(function) \
    (PyCFunction)(void (*)(void)) function##_by_name, METH_FASTCALL | METH_KEYWORDS

/* A vectorcall's arguments as a tuple and a dict, new references. 0, or -1 with both
 * NULL. */
int FlArgs_Pack(PyObject *const *args, Py_ssize_t nargs, PyObject *kw, PyObject **tuple,
                PyObject **dict);

#endif
