/* headers_whole.c -- HTTPHeaders as a whole: printed, copied, compared, pickled.
 *
 * All of them go through the list of pairs, which keeps repeated names apart; only a
 * comparison asks as any mapping is asked, since other mappings have one value a name
 * and a subclass may have its own.
 *
 * Invariant: nothing here walks the map while user code runs.
 *
 * Layer: http. Threads: none; under the GIL of its interpreter.
 */
#include "http/headers_parts.h"

PyObject *
FlHTTPHeaders_str(PyObject *self)
{
    PyObject *list = FlHTTPHeaders_Pairs(FlHTTPHeaders_Cast(self));
    PyObject *lines, *empty, *text = NULL;

    if (list == NULL)
        return NULL;
    lines = PyList_New(0);
    empty = PyUnicode_FromString("");
    for (Py_ssize_t i = 0; lines != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *pair = PyList_GET_ITEM(list, i);
        PyObject *line = PyUnicode_FromFormat("%U: %U\n", PyTuple_GET_ITEM(pair, 0),
                                              PyTuple_GET_ITEM(pair, 1));

        if (line == NULL || PyList_Append(lines, line) < 0)
            Py_CLEAR(lines);
        Py_XDECREF(line);
    }
    if (lines != NULL && empty != NULL)
        text = PyUnicode_Join(empty, lines);
    Py_XDECREF(lines);
    Py_XDECREF(empty);
    Py_DECREF(list);
    return text;
}

PyObject *
FlHTTPHeaders_repr(PyObject *op)
{
    PyObject *list = FlHTTPHeaders_Pairs(FlHTTPHeaders_Cast(op));
    PyObject *text = NULL;

    if (list != NULL)
        text = PyUnicode_FromFormat("%s(%R)", Py_TYPE(op)->tp_name, list);
    Py_XDECREF(list);
    return text;
}

PyObject *
FlHTTPHeaders_copy(PyObject *op, PyObject *unused)
{
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);

    (void)unused;
    return PyObject_CallOneArg((PyObject *)self->st->HTTPHeaders_type, op);
}

PyObject *
FlHTTPHeaders_compare(PyObject *self, PyObject *other, int op)
{
    FlState *st = FlHTTPHeaders_Cast(self)->st;
    PyObject *mapping, *mine, *theirs, *answer = NULL;
    int is_mapping;

    if (op != Py_EQ && op != Py_NE)
        Py_RETURN_NOTIMPLEMENTED;
    mapping = FlState_Lazy(st, &st->Mapping, "collections.abc", "Mapping");
    is_mapping = mapping == NULL ? -1 : PyObject_IsInstance(other, mapping);
    if (is_mapping <= 0)
        return is_mapping < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    mine = PyDict_New();
    theirs = PyDict_New();
    if (mine != NULL && theirs != NULL && PyDict_Update(mine, self) == 0 &&
        PyDict_Update(theirs, other) == 0)
        answer = PyObject_RichCompare(mine, theirs, op);
    Py_XDECREF(mine);
    Py_XDECREF(theirs);
    return answer;
}

/* ---- pickling ---- */

static PyObject *
headers_getstate(PyObject *op, PyObject *unused)
{
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);
    PyObject *list = FlHTTPHeaders_Pairs(self);
    PyObject *state = NULL;

    (void)unused;
    if (list != NULL)
        state = PyTuple_Pack(2, list, self->dict != NULL ? self->dict : Py_None);
    Py_XDECREF(list);
    return state;
}

PyObject *
FlHTTPHeaders_reduce(PyObject *op, PyObject *unused)
{
    PyObject *state = headers_getstate(op, unused);

    return state == NULL ? NULL : Py_BuildValue("O()N", Py_TYPE(op), state);
}

PyObject *
FlHTTPHeaders_setstate(PyObject *op, PyObject *state)
{
    FlHTTPHeaders *self = FlHTTPHeaders_Cast(op);
    PyObject *list, *dict;

    if (!PyTuple_Check(state) ||
        !PyArg_ParseTuple(state, "O!O", &PyList_Type, &list, &dict))
        return PyErr_Occurred() ? NULL
                                : PyErr_Format(PyExc_TypeError, "not a header state");
    FlHTTPHeaders_DropEntries(self);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++) {
        PyObject *name, *value;

        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "OO", &name, &value) ||
            FlHTTPHeaders_Add(self, name, value) < 0)
            return NULL;
    }
    if (dict != Py_None)
        Py_XSETREF(self->dict, PyDict_Copy(dict));
    Py_RETURN_NONE;
}
