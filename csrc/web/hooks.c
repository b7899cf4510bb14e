/* hooks.c -- is this method still the original?
 *
 * Layer: web. Threads: none; see hooks.h for the epochs.
 */
#include "web/hooks.h"

#include <string.h>

#include "proto/http1_head.h"

_Static_assert(FL_HOOK_COUNT <= FL_STATE_NAMES / 2, "web_name_set stays half empty");

/* Moved by every change of a watched dict. Of the process, for watchers get no argument
 * of their own; both only ever grow. */
uint64_t fl_dict_epoch = 1;

uint64_t fl_instance_epoch = 1;

/* ---- names, told by their address ---- */

#define ANY_NAME 0xff

/* The names are interned: their addresses make up an open hash set, in which this is
 * where one is looked for first. */
static size_t
name_slot(PyObject *name)
{
    return ((uintptr_t)name >> 4) % FL_STATE_NAMES;
}

static void
know_name(FlState *st, PyObject *name, uint8_t kind)
{
    size_t at = name_slot(name);

    while (st->web_name_set[at] != NULL && st->web_name_set[at] != name)
        at = (at + 1) % FL_STATE_NAMES;
    st->web_name_set[at] = name;
    st->web_name_kinds[at] |= kind;
}

void
FlHooks_KnowNames(FlState *st)
{
    PyObject *const methods[] = {st->str_get,    st->str_head,   st->str_post,
                                 st->str_put,    st->str_delete, st->str_patch,
                                 st->str_options};

    memset(st->web_name_set, 0, sizeof(st->web_name_set));
    memset(st->web_name_kinds, 0, sizeof(st->web_name_kinds));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(st->web_names); i++)
        know_name(st, PyTuple_GET_ITEM(st->web_names, i), FL_NAME_HOOK);
    for (size_t i = 0; i < Py_ARRAY_LENGTH(methods); i++)
        know_name(st, methods[i], FL_NAME_METHOD);
    know_name(st, st->str__new_cookie, FL_NAME_COOKIE);
    know_name(st, st->str__ui, FL_NAME_UI);
}

/* What a key may be: an interned str is another one than the names are, or the very
 * object. */
static uint8_t
names_of_key(FlState *st, PyObject *key)
{
    size_t at = name_slot(key);

    if (!PyUnicode_CheckExact(key) || !PyUnicode_CHECK_INTERNED(key))
        return ANY_NAME;
    while (st->web_name_set[at] != NULL && st->web_name_set[at] != key)
        at = (at + 1) % FL_STATE_NAMES;
    return st->web_name_kinds[at];
}

#if FL_TYPE_WATCHERS
/* A key was added (3.12 may call that a change), or the dict is gone and its address
 * free for another. */
static int
instance_changed(PyDict_WatchEvent event, PyObject *dict, PyObject *key,
                 PyObject *value)
{
    (void)dict;
    (void)key;
    (void)value;
    if (event != PyDict_EVENT_DELETED)
        fl_instance_epoch++;
    return 0;
}

static bool
watch_instance(FlState *st, PyObject *dict)
{
    if (st->instance_watcher == 0) {
        int id = PyDict_AddWatcher(instance_changed);

        if (id < 0)
            PyErr_Clear();
        st->instance_watcher = id < 0 ? -1 : id + 1;
    }
    if (st->instance_watcher < 0)
        return false;
    if (PyDict_Watch(st->instance_watcher - 1, dict) == 0)
        return true;
    PyErr_Clear();
    return false;
}
#endif

#define FEW_KEYS 16 /* of an instance; with more of them each name is looked up */

void
FlHooks_LookAtDict(FlState *st, PyObject *dict, FlCleanDict *clean)
{
    Py_ssize_t at = 0;
    PyObject *key, *value;

    clean->stamp = 0;
    clean->names = ANY_NAME;
    if (PyDict_GET_SIZE(dict) > FEW_KEYS)
        return;
    clean->names = 0;
    while (PyDict_Next(dict, &at, &key, &value))
        clean->names |= names_of_key(st, key);
#if FL_TYPE_WATCHERS
    if (!watch_instance(st, dict))
        return;
    clean->dict = dict;
    clean->stamp = fl_instance_epoch;
#else
    clean->stamp = FlCompat_DictVersion(dict);
#endif
}

#if FL_TYPE_WATCHERS
static int
dict_changed(PyDict_WatchEvent event, PyObject *dict, PyObject *key, PyObject *value)
{
    (void)event;
    (void)dict;
    (void)key;
    (void)value;
    fl_dict_epoch++;
    return 0;
}
#endif

#if FL_TYPE_WATCHERS
/* Whether an attribute stored on the owner of a watched dict is told. 1, 0 or -1. */
static int
stores_are_told(FlState *st, PyObject *owner)
{
    uint64_t before = fl_dict_epoch;
    PyObject *name = st->str__pyfastloop_probe;

    if (PyObject_GenericSetAttr(owner, name, Py_None) < 0)
        return -1;
    if (PyObject_GenericSetAttr(owner, name, NULL) < 0)
        return -1;
    return fl_dict_epoch != before;
}

#define SHARED_MOST 30 /* values that an object has inside, at most */

/* Lets the dict have its values to itself: more keys than an object has room for are
 * put in and taken out again. 0 or -1. */
static int
own_values(PyObject *dict)
{
    int err = 0;

    for (long i = 0; i <= 2 * SHARED_MOST + 1; i++) {
        long n = i <= SHARED_MOST ? i : i - SHARED_MOST - 1;
        PyObject *key = PyUnicode_FromFormat("_pyfastloop_probe_%ld", n);

        if (key == NULL)
            err = -1;
        else if (i <= SHARED_MOST ? PyDict_SetItem(dict, key, Py_None) < 0
                                  : PyDict_DelItem(dict, key) < 0)
            err = -1;
        Py_XDECREF(key);
    }
    return err;
}

/* Whether a watcher on the dict hears of stores through its owner, if need be after
 * making sure of it. */
static bool
stores_heard(FlState *st, PyObject *dict, PyObject *owner)
{
    int told = !FL_SHARED_VALUES || owner == NULL ? 1 : stores_are_told(st, owner);

    if (told == 0 && own_values(dict) == 0)
        told = stores_are_told(st, owner);
    PyErr_Clear();
    return told > 0;
}
#endif

bool
FlHooks_WatchDict(FlState *st, PyObject *dict, PyObject *owner)
{
#if FL_TYPE_WATCHERS
    if (st->dict_watcher == 0) {
        int id = PyDict_AddWatcher(dict_changed);

        if (id < 0)
            PyErr_Clear();
        st->dict_watcher = id < 0 ? -1 : id + 1;
    }
    if (st->dict_watcher > 0 && PyDict_Watch(st->dict_watcher - 1, dict) == 0)
        return stores_heard(st, dict, owner);
    PyErr_Clear();
#else
    (void)st;
    (void)dict;
    (void)owner;
#endif
    return false;
}

/* Whether the class, or the first base that has it, has the name as this very object:
 * a staticmethod's function looks the same once it was got from the class. 1, 0, -1. */
static int
stored_as_is(PyTypeObject *type, PyObject *name, PyObject *found)
{
    PyObject *mro = type->tp_mro;

    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyObject *dict = PyObject_GetAttrString(PyTuple_GET_ITEM(mro, i), "__dict__");
        PyObject *stored = dict == NULL ? NULL : PyObject_GetItem(dict, name);

        Py_XDECREF(dict);
        if (stored != NULL) {
            Py_DECREF(stored);
            return stored == found;
        }
        if (!PyErr_ExceptionMatches(PyExc_KeyError))
            return -1;
        PyErr_Clear();
    }
    return 0;
}

static int
look_at_functions(FlHooks *hooks)
{
    static const char *const names[FL_HOOK_FUNCTIONS] = {
        [FL_METHOD_GET] = "get",
        [FL_METHOD_HEAD] = "head",
        [FL_METHOD_POST] = "post",
        [FL_METHOD_PUT] = "put",
        [FL_METHOD_DELETE] = "delete",
        [FL_METHOD_PATCH] = "patch",
        [FL_METHOD_OPTIONS] = "options",
        [FL_FUNCTION_SET_DEFAULT_HEADERS] = "set_default_headers",
        [FL_FUNCTION_INITIALIZE] = "initialize",
        [FL_FUNCTION_PREPARE] = "prepare",
        [FL_FUNCTION_ON_FINISH] = "on_finish",
    };

    for (int i = 1; i < FL_HOOK_FUNCTIONS; i++) {
        PyObject *name = PyUnicode_InternFromString(names[i]), *found = NULL;
        int plain = 0;

        if (name == NULL)
            return -1;
        if (PyObject_GetOptionalAttr((PyObject *)hooks->type, name, &found) < 0)
            plain = -1;
        /* What is called with the handler in front: a function, also of gen.coroutine. */
        if (found != NULL && (PyFunction_Check(found) ||
                              Py_IS_TYPE(found, hooks->st->CoroutineFunction_type)))
            plain = stored_as_is(hooks->type, name, found);
        Py_DECREF(name);
        if (plain <= 0)
            Py_CLEAR(found);
        if (plain < 0)
            return -1;
        Py_XSETREF(hooks->functions[i], found);
    }
    return 0;
}

bool
FlHooks_InitBehind(FlState *st, PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    bool behind = false;

    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyObject *base = PyTuple_GET_ITEM(mro, i);

        if (behind && ((PyTypeObject *)base)->tp_init != PyBaseObject_Type.tp_init)
            return true;
        behind = behind || base == st->web_handler;
    }
    return false;
}

int
FlHooks_VerifyAll(FlHooks *hooks)
{
    uint64_t since = fl_class_epoch, replaced = 0;

    for (Py_ssize_t i = 0; i < hooks->count; i++) {
        PyObject *name = PyTuple_GET_ITEM(hooks->names, i);
        PyObject *found;

        if (PyObject_GetOptionalAttr((PyObject *)hooks->type, name, &found) < 0)
            return -1;
        if ((found == NULL ? Py_None : found) != PyTuple_GET_ITEM(hooks->originals, i))
            replaced |= UINT64_C(1) << i;
        Py_XDECREF(found);
    }
    if (look_at_functions(hooks) < 0)
        return -1;
    hooks->replaced = replaced;
    hooks->init_behind = FlHooks_InitBehind(hooks->st, hooks->type);
    FlClass_Stamp(hooks->st, hooks->type, since, &hooks->stamp);
    return 0;
}

FlHooks *
FlHooks_New(FlState *st, PyTypeObject *type, PyObject *names, PyObject *originals)
{
    FlHooks *hooks = PyObject_GC_New(FlHooks, st->Hooks_type);

    if (hooks == NULL)
        return NULL;
    hooks->st = st;
    hooks->type = (PyTypeObject *)Py_NewRef(type);
    hooks->names = Py_NewRef(names);
    hooks->originals = Py_NewRef(originals);
    hooks->count = PyTuple_GET_SIZE(names);
    hooks->replaced = 0;
    hooks->stamp = (FlClassStamp){0};
    hooks->init_behind = false;
    for (int i = 0; i < FL_HOOK_FUNCTIONS; i++)
        hooks->functions[i] = NULL;
    PyObject_GC_Track(hooks);
    return hooks;
}

FlHooks *
FlHooks_OfClass(FlState *st, PyObject *type, const char *const *names, Py_ssize_t count)
{
    PyObject *keys = PyTuple_New(count), *values = PyTuple_New(count);
    FlHooks *hooks = NULL;

    for (Py_ssize_t i = 0; keys != NULL && values != NULL && i < count; i++) {
        PyObject *key = PyUnicode_InternFromString(names[i]);
        PyObject *value = key == NULL ? NULL : PyObject_GetAttr(type, key);

        if (value == NULL) {
            Py_XDECREF(key);
            goto done;
        }
        PyTuple_SET_ITEM(keys, i, key);
        PyTuple_SET_ITEM(values, i, value);
    }
    if (keys != NULL && values != NULL)
        hooks = FlHooks_New(st, (PyTypeObject *)type, keys, values);
done:
    Py_XDECREF(keys);
    Py_XDECREF(values);
    return hooks;
}

static int
hooks_traverse(PyObject *op, visitproc visit, void *arg)
{
    FlHooks *hooks = (FlHooks *)op;

    Py_VISIT(Py_TYPE(op));
    Py_VISIT(hooks->type);
    Py_VISIT(hooks->names);
    Py_VISIT(hooks->originals);
    for (int i = 0; i < FL_HOOK_FUNCTIONS; i++)
        Py_VISIT(hooks->functions[i]);
    return 0;
}

static int
hooks_clear(PyObject *op)
{
    FlHooks *hooks = (FlHooks *)op;

    for (int i = 0; i < FL_HOOK_FUNCTIONS; i++)
        Py_CLEAR(hooks->functions[i]);
    return 0;
}

static void
hooks_dealloc(PyObject *op)
{
    FlHooks *hooks = (FlHooks *)op;
    PyTypeObject *type = Py_TYPE(op);

    PyObject_GC_UnTrack(op);
    hooks_clear(op);
    Py_DECREF(hooks->names);
    Py_DECREF(hooks->originals);
    Py_DECREF(hooks->type);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyType_Slot hooks_slots[] = {
    {Py_tp_dealloc, hooks_dealloc},
    {Py_tp_traverse, hooks_traverse},
    {Py_tp_clear, hooks_clear},
    {0, NULL},
};

static PyType_Spec hooks_spec = {
    .name = "pyfastloop._core.Hooks",
    .basicsize = sizeof(FlHooks),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = hooks_slots,
};

int
FlHooks_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Hooks_type, &hooks_spec, NULL, true);
}
