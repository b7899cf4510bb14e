/* args.c -- arguments that callers name though nearly everybody gives them by position.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/args.h"

/* Where a name stands among the keywords, or -1. */
static Py_ssize_t
args_find(PyObject *kw, const char *name)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kw); i++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kw, i), name) == 0)
            return i;
    }
    return -1;
}

PyObject *
FlArgs_Retry(const char *name, PyObject *self, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kw, fl_fast_method method, const char *const *names,
             Py_ssize_t needed)
{
    Py_ssize_t words = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);
    Py_ssize_t left = words - (needed - nargs), n = 0;
    PyObject **placed = PyMem_New(PyObject *, nargs + words + 1);
    PyObject *rest = left < 0 ? PyTuple_New(0) : PyTuple_New(left), *res = NULL;

    if (placed == NULL || rest == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (; n < nargs; n++)
        placed[n] = args[n];
    for (; n < needed; n++) {
        Py_ssize_t at = kw == NULL ? -1 : args_find(kw, names[n]);

        if (at < 0) {
            PyErr_Format(PyExc_TypeError,
                         "%s() missing a required positional argument: '%s'", name,
                         names[n]);
            goto done;
        }
        placed[n] = args[nargs + at];
    }
    for (Py_ssize_t i = 0, k = 0; i < words; i++) {
        bool moved = false;

        for (Py_ssize_t j = nargs; j < needed; j++)
            moved |= args_find(kw, names[j]) == i;
        if (moved)
            continue;
        PyTuple_SET_ITEM(rest, k++, Py_NewRef(PyTuple_GET_ITEM(kw, i)));
        placed[n++] = args[nargs + i];
    }
    res = method(self, placed, needed, left > 0 ? rest : NULL);
done:
    Py_XDECREF(rest);
    PyMem_Free(placed);
    return res;
}

PyObject *
FlArgs_One(const char *method, const char *word, PyObject *const *args,
           Py_ssize_t nargs, PyObject *kw)
{
    Py_ssize_t words = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);

    if (nargs + words == 1 && (nargs == 1 || args_find(kw, word) == 0))
        return args[0];
    if (words > 0 && args_find(kw, word) < 0)
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
                     method, PyTuple_GET_ITEM(kw, 0));
    else
        PyErr_Format(PyExc_TypeError, "%s() takes one argument, %s (%zd given)", method,
                     word, nargs + words);
    return NULL;
}

int
FlArgs_Pack(PyObject *const *args, Py_ssize_t nargs, PyObject *kw, PyObject **tuple,
            PyObject **dict)
{
    Py_ssize_t words = kw == NULL ? 0 : PyTuple_GET_SIZE(kw);

    *tuple = PyTuple_New(nargs);
    *dict = PyDict_New();
    for (Py_ssize_t i = 0; *tuple != NULL && i < nargs; i++)
        PyTuple_SET_ITEM(*tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; *dict != NULL && i < words; i++)
        if (PyDict_SetItem(*dict, PyTuple_GET_ITEM(kw, i), args[nargs + i]) < 0)
            Py_CLEAR(*dict);
    if (*tuple != NULL && *dict != NULL)
        return 0;
    Py_CLEAR(*tuple);
    Py_CLEAR(*dict);
    return -1;
}
