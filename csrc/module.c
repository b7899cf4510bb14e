/* module.c -- builds `pyfastloop._core`; no logic.
 *
 * Layer: above all. Threads: with the interpreter.
 */
#include "core/gen_multi.h"
#include "core/gen_task.h"
#include "core/stack.h"
#include "core/task.h"

extern PyModuleDef fl_core_module;

static int
module_exec(PyObject *module)
{
    return FlState_Init(module);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    FlState *st = FlState_OfModule(module);

    return st == NULL ? 0 : FlState_Traverse(st, visit, arg);
}

static int
module_clear(PyObject *module)
{
    FlState *st = FlState_OfModule(module);

    return st == NULL ? 0 : FlState_Clear(st);
}

static void
module_free(void *module)
{
    FlState *st = FlState_OfModule((PyObject *)module);

    if (st == NULL)
        return;
    FlState_Clear(st);
    if (PyThread_tss_is_created(&st->running))
        PyThread_tss_delete(&st->running);
}

static PyMethodDef module_methods[] = {
    {"set_hooks", (PyCFunction)(void (*)(void))FlState_SetHooks,
     METH_VARARGS | METH_KEYWORDS, "Take classes and rules that Python defines."},
    {"multi", FlGen_MultiFunction, METH_VARARGS,
     "The future of all futures of a list."},
    {"wrap", FlStack_WrapFunction, METH_O, "stack_context.wrap."},
    {"gen_task", (PyCFunction)(void (*)(void))FlGenTask_Function,
     METH_FASTCALL | METH_KEYWORDS,
     "gen_task($module, func, /, *args, **kwargs)\n--\n\n"
     "Call ``func(*args, callback=..., **kwargs)``; a future of what the callback "
     "got.\n"
     "\n"
     "Several arguments come as `Arguments`. An exception in what `func` started, "
     "where\n"
     "stack contexts carry it, goes into the future."},
    {"parked_tasks", FlTask_ParkedFunction, METH_NOARGS,
     "The Tasks that wait, or wait to start, in all loops."},
    {"start_task", FlTask_StartFunction, METH_O,
     "Run a coroutine in a Task of the current loop; its first step now."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

PyModuleDef fl_core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyfastloop._core",
    .m_doc = "The C core of pyfastloop: loop, futures, tasks, streams, HTTP.",
    .m_size = sizeof(FlState),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&fl_core_module);
}
