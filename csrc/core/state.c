/* state.c -- everything the module knows beyond its objects.
 *
 * Layer: core. Threads: with the interpreter.
 */
#include "core/state.h"

#include <string.h>

#include "base/scan.h"

#define X(Name) int Fl##Name##_AddType(PyObject *module, FlState *st);
FL_TYPES(X)
#undef X

extern PyModuleDef fl_core_module;

FlState *
FlState_OfType(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &fl_core_module);

    return module == NULL ? NULL : FlState_OfModule(module);
}

int
FlState_AddType(PyObject *module, PyTypeObject **slot, PyType_Spec *spec,
                PyObject *base, bool hidden)
{
    const char *name = strrchr(spec->name, '.');
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);

    if (type == NULL)
        return -1;
    *slot = (PyTypeObject *)type;
    return hidden ? 0
                  : PyModule_AddObjectRef(module, name ? name + 1 : spec->name, type);
}

static PyObject *
state_import(const char *module, const char *name)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *obj = m == NULL ? NULL : PyObject_GetAttrString(m, name);

    Py_XDECREF(m);
    return obj;
}

PyObject *
FlState_Lazy(FlState *st, PyObject **slot, const char *module, const char *name)
{
    (void)st;
    if (*slot == NULL) {
        PyObject *found = state_import(module, name);

        /* The import ran code, which may have come here first. */
        Py_XSETREF(*slot, found);
    }
    return *slot;
}

static int
state_fill(FlState *st)
{
#define X(name)                                                       \
    if ((st->str_##name = PyUnicode_InternFromString(#name)) == NULL) \
        return -1;
    FL_NAMES(X)
#undef X
#define X(field, module, name)                            \
    if ((st->field = state_import(module, name)) == NULL) \
        return -1;
    FL_IMPORTS(X)
#undef X
    /* Up to 3.13 asyncio's own functions work on this dict; later there is none. */
    st->current_tasks = state_import("_asyncio", "_current_tasks");
    if (st->current_tasks == NULL) {
        PyErr_Clear();
        st->swap_task = state_import("asyncio.tasks", "_swap_current_task");
        if (st->swap_task == NULL)
            return -1;
    }
    st->app_log = PyObject_CallFunction(st->get_logger, "s", "tornado.application");
    st->gen_log = PyObject_CallFunction(st->get_logger, "s", "tornado.general");
    st->asyncio_log = PyObject_CallFunction(st->get_logger, "s", "asyncio");
    st->empty_tuple = PyTuple_New(0);
    if (st->asyncio_log == NULL || st->app_log == NULL || st->gen_log == NULL ||
        st->empty_tuple == NULL)
        return -1;
    return 0;
}

int
FlState_Init(PyObject *module)
{
    FlState *st = FlState_OfModule(module);

    st->module = module;
    fl_cpu_init();
    st->running = (Py_tss_t)Py_tss_NEEDS_INIT;
    if (PyThread_tss_create(&st->running) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (state_fill(st) < 0)
        return -1;
#define X(Name)                             \
    if (Fl##Name##_AddType(module, st) < 0) \
        return -1;
    FL_TYPES(X)
#undef X
    return 0;
}

PyObject *
FlState_SetHooks(PyObject *module, PyObject *args, PyObject *kwargs)
{
    FlState *st = FlState_OfModule(module);
    PyObject *key, *value;
    Py_ssize_t pos = 0;

    if (PyTuple_GET_SIZE(args) != 0 || kwargs == NULL) {
        PyErr_SetString(PyExc_TypeError, "set_hooks() takes keyword arguments only");
        return NULL;
    }
    while (PyDict_Next(kwargs, &pos, &key, &value)) {
#define X(name)                                              \
    if (PyUnicode_CompareWithASCIIString(key, #name) == 0) { \
        Py_XSETREF(st->hook_##name, Py_NewRef(value));       \
        continue;                                            \
    }
        FL_HOOKS(X)
#undef X
        PyErr_Format(PyExc_TypeError, "set_hooks() knows no hook named %R", key);
        return NULL;
    }
    Py_RETURN_NONE;
}

int
FlState_Traverse(FlState *st, visitproc visit, void *arg)
{
#define X(Name) Py_VISIT(st->Name##_type);
    FL_TYPES(X)
#undef X
#define X(field, module, name) Py_VISIT(st->field);
    FL_IMPORTS(X)
#undef X
#define X(field) Py_VISIT(st->field);
    FL_LAZY(X)
#undef X
    Py_VISIT(st->swap_task);
    Py_VISIT(st->current_tasks);
    Py_VISIT(st->app_log);
    Py_VISIT(st->gen_log);
    Py_VISIT(st->asyncio_log);
    Py_VISIT(st->moment);
    Py_VISIT(st->spare_context);
    Py_VISIT(st->spare_stop);
    Py_VISIT(st->spare_bytearray);
    Py_VISIT(st->nothing);
    Py_VISIT(st->callback_names);
    Py_VISIT(st->deque_append);
    Py_VISIT(st->deque_popleft);
#define X(name) Py_VISIT(st->hook_##name);
    FL_HOOKS(X)
#undef X
    return 0;
}

int
FlState_Clear(FlState *st)
{
    FlFreelist_Drain(&st->free_handles);
    FlFreelist_Drain(&st->free_timer_handles);
    FlFreelist_Drain(&st->free_futures);
    FlFreelist_Drain(&st->free_tasks);
    FlFreelist_Drain(&st->free_gen_futures);
    FlFreelist_Drain(&st->free_fetch_futures);
    FlFreelist_Drain(&st->free_future_iters);
    FlFreelist_Drain(&st->free_permit_waits);
    FlFreelist_Drain(&st->free_task_wakes);
    FlFreelist_Drain(&st->free_task_callbacks);
    FlFreelist_Drain(&st->free_exchanges);
#define X(Name) Py_CLEAR(st->Name##_type);
    FL_TYPES(X)
#undef X
#define X(name) Py_CLEAR(st->str_##name);
    FL_NAMES(X)
#undef X
#define X(field, module, name) Py_CLEAR(st->field);
    FL_IMPORTS(X)
#undef X
#define X(field) Py_CLEAR(st->field);
    FL_LAZY(X)
#undef X
    for (int i = 0; i < FL_STATE_HEADER_NAMES; i++)
        Py_CLEAR(st->header_names[i]);
    for (int i = 0; i < FL_STATE_GIVEN_NAMES; i++)
        Py_CLEAR(st->given_names[i].given);
    Py_CLEAR(st->swap_task);
    Py_CLEAR(st->current_tasks);
    Py_CLEAR(st->app_log);
    Py_CLEAR(st->gen_log);
    Py_CLEAR(st->empty_tuple);
    Py_CLEAR(st->asyncio_log);
    Py_CLEAR(st->moment);
    Py_CLEAR(st->spare_context);
    Py_CLEAR(st->spare_stop);
    Py_CLEAR(st->spare_bytearray);
    Py_CLEAR(st->nothing);
    Py_CLEAR(st->callback_names);
    Py_CLEAR(st->deque_append);
    Py_CLEAR(st->deque_popleft);
#define X(name) Py_CLEAR(st->hook_##name);
    FL_HOOKS(X)
#undef X
    return 0;
}
