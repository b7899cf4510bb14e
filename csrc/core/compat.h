/* compat.h -- the differences between CPython versions, all of them.
 *
 * The rest of the code is written for the newest form; what an older version lacks is
 * made here from public functions. No other file asks for PY_VERSION_HEX.
 *
 * Layer: core. Threads: with the interpreter.
 */
#ifndef FL_CORE_COMPAT_H
#define FL_CORE_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <structmember.h>

#if PY_VERSION_HEX < 0x030B0000
#error "pyfastloop needs CPython 3.11 or later"
#endif

#if PY_VERSION_HEX < 0x030C0000
/* The current exception, normalized, with its traceback inside; new reference or NULL.
 */
static inline PyObject *
PyErr_GetRaisedException(void)
{
    PyObject *type, *value, *tb;

    PyErr_Fetch(&type, &value, &tb);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb != NULL && value != NULL)
        PyException_SetTraceback(value, tb);
    Py_XDECREF(type);
    Py_XDECREF(tb);
    return value;
}

/* Makes exc (stolen) the current exception. */
static inline void
PyErr_SetRaisedException(PyObject *exc)
{
    PyObject *type = Py_NewRef((PyObject *)Py_TYPE(exc));

    PyErr_Restore(type, exc, PyException_GetTraceback(exc));
}
#endif

#if PY_VERSION_HEX < 0x030D0000
/* 1 and a new reference, 0 when the key is missing, -1 with an exception. */
static inline int
PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **result)
{
    PyObject *item = PyDict_GetItemWithError(dict, key);

    *result = Py_XNewRef(item);
    if (item != NULL)
        return 1;
    return PyErr_Occurred() ? -1 : 0;
}

/* 1 and a new reference, 0 when the object is gone, -1 with an exception. */
static inline int
PyWeakref_GetRef(PyObject *ref, PyObject **result)
{
    PyObject *obj = PyWeakref_GetObject(ref);

    if (obj == NULL) {
        *result = NULL;
        return -1;
    }
    *result = obj == Py_None ? NULL : Py_NewRef(obj);
    return *result != NULL;
}

/* 1 and a new reference, 0 without an exception when the attribute is missing. */
static inline int
PyObject_GetOptionalAttr(PyObject *obj, PyObject *name, PyObject **result)
{
    *result = PyObject_GetAttr(obj, name);
    if (*result != NULL)
        return 1;
    if (!PyErr_ExceptionMatches(PyExc_AttributeError))
        return -1;
    PyErr_Clear();
    return 0;
}

static inline int
PyModule_Add(PyObject *module, const char *name, PyObject *value)
{
    int err = PyModule_AddObjectRef(module, name, value);

    Py_XDECREF(value);
    return err;
}
#endif

/* A heap type of the module whose class is meta (NULL: type); new reference. */
static inline PyObject *
FlCompat_NewType(PyObject *meta, PyObject *module, PyType_Spec *spec, PyObject *bases)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyType_FromMetaclass((PyTypeObject *)meta, module, spec, bases);
#else
    PyObject *type = PyType_FromModuleAndSpec(module, spec, bases);

    if (type != NULL && meta != NULL) {
        PyTypeObject *old = Py_TYPE(type);

        Py_INCREF(meta);
        Py_SET_TYPE(type, (PyTypeObject *)meta);
        Py_DECREF(old);
    }
    return type;
#endif
}

/* Whether classes can be watched for changes (core/class_watch.h). */
#if PY_VERSION_HEX >= 0x030C0000
#define FL_TYPE_WATCHERS 1
#else
#define FL_TYPE_WATCHERS 0

/* The version tag of a class that has a valid one, else 0; it changes with the class
 * and its bases. */
static inline unsigned
FlCompat_VersionTag(PyTypeObject *type)
{
    return PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG) ? type->tp_version_tag
                                                                 : 0;
}

/* A number that changes with every change of the dict (PEP 509). */
static inline uint64_t
FlCompat_DictVersion(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_version_tag;
}
#endif

/* From 3.13 on a dict may share the values that stand inside its object, and some
 * versions (3.13.0) tell no watcher of what is stored through the object then. */
#define FL_SHARED_VALUES (PY_VERSION_HEX >= 0x030D0000)

/* From 3.13 on the uncancel() of asyncio's tasks takes back a cancel() that was not
 * thrown yet; asyncio's own timeouts and groups are written for the one or the other. */
#define FL_UNCANCEL_RESCINDS (PY_VERSION_HEX >= 0x030D0000)

/* Free lists are compiled out where a sanitizer should see every allocation, and where
 * threads share no lock. */
#if defined(__SANITIZE_ADDRESS__) || defined(FL_NO_FREELISTS) || \
    defined(Py_GIL_DISABLED)
#define FL_FREELISTS 0
#else
#define FL_FREELISTS 1
#endif

#endif
