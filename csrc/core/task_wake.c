/* task_wake.c -- how a future of asyncio, or of anyone else, wakes a task of ours.
 *
 * Such a future calls what it was given, through its own loop's call_soon. A TaskWake is
 * that callable and nothing more; our loop knows it and steps the task instead. It comes
 * from a free list, because a driver written for asyncio has its callers wait so at every
 * step.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/future_parts.h"
#include "core/task_parts.h"

/* So many are kept. */
#define KEPT_WAKES 256

typedef struct {
    PyObject_HEAD
    vectorcallfunc call;
    FlState *st;  /* borrowed */
    FlTask *task; /* owned; NULL once it was called or taken apart */
} FlTaskWake;

/* wake(future): once. */
static PyObject *
wake_call(PyObject *obj, PyObject *const *Py_UNUSED(args), size_t Py_UNUSED(nargsf),
          PyObject *Py_UNUSED(kw))
{
    FlTaskWake *self = (FlTaskWake *)obj;
    FlTask *task = self->task;
    int err = 0;

    self->task = NULL;
    if (task == NULL)
        Py_RETURN_NONE;
    if (task->future.loop != NULL)
        err = task->is_gen ? FlGen_RingStep(task->future.loop, (PyObject *)task)
                           : FlTask_Step((PyObject *)task);
    Py_DECREF(task);
    if (err < 0)
        return NULL;
    Py_RETURN_NONE;
}

int
FlTask_WakeSoon(FlLoop *loop, PyObject *obj)
{
    FlTaskWake *self = (FlTaskWake *)obj;
    FlTask *task;
    int err;

    if (!Py_IS_TYPE(obj, loop->st->TaskWake_type) || self->task == NULL ||
        self->task->future.loop != loop)
        return 0;
    task = self->task;
    err = FlLoop_Defer(loop, task->is_gen ? FlGen_RingStep : FlTask_RingStep,
                       (PyObject *)task);
    if (err < 0)
        return -1;
    self->task = NULL;
    Py_DECREF(task);
    return 1;
}

int
FlTask_WaitForeign(FlTask *task, PyObject *future)
{
    FlState *st = task->future.st;
    FlTaskWake *wake =
        (FlTaskWake *)FlFreelist_Take(&st->free_task_wakes, st->TaskWake_type);
    PyObject *res;

    if (wake == NULL)
        wake = PyObject_GC_New(FlTaskWake, st->TaskWake_type);
    if (wake == NULL)
        return -1;
    wake->call = wake_call;
    wake->st = st;
    wake->task = (FlTask *)Py_NewRef((PyObject *)task);
    PyObject_GC_Track(wake);
    res =
        PyObject_CallMethodOneArg(future, st->str_add_done_callback, (PyObject *)wake);
    Py_DECREF(wake);
    Py_XDECREF(res);
    if (res == NULL)
        return -1;
    Py_XSETREF(task->waiting, Py_NewRef(future));
    return 0;
}

static PyObject *
wake_repr(PyObject *obj)
{
    PyObject *task = (PyObject *)((FlTaskWake *)obj)->task, *text;

    task = Py_NewRef(task ? task : Py_None);
    text = PyUnicode_FromFormat("<wake-up of %R>", task);
    Py_DECREF(task);
    return text;
}

static int
wake_traverse(PyObject *obj, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(obj));
    Py_VISIT(((FlTaskWake *)obj)->task);
    return 0;
}

static int
wake_clear(PyObject *obj)
{
    Py_CLEAR(((FlTaskWake *)obj)->task);
    return 0;
}

static void
wake_dealloc(PyObject *obj)
{
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    wake_clear(obj);
    if (!FlFreelist_Put(&((FlTaskWake *)obj)->st->free_task_wakes, obj, KEPT_WAKES)) {
        PyObject_GC_Del(obj);
        Py_DECREF(type);
    }
}

static PyMemberDef wake_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FlTaskWake, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot wake_slots[] = {
    {Py_tp_dealloc, wake_dealloc},
    {Py_tp_traverse, wake_traverse},
    {Py_tp_clear, wake_clear},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_repr, wake_repr},
    {Py_tp_members, wake_members},
    {0, NULL},
};

static PyType_Spec wake_spec = {
    .name = "pyfastloop._core.TaskWake",
    .basicsize = sizeof(FlTaskWake),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = wake_slots,
};

int
FlTaskWake_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->TaskWake_type, &wake_spec, NULL, true);
}
