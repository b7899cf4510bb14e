/* loop.c -- a loop's life: making, closing, what the collector sees, and its type.
 *
 * close() lets go of everything that others hung on it (loop_queue.c), and whatever that
 * runs on the way finds a loop that is closed.
 *
 * Layer: core. Threads: the loop's own.
 */
#include "core/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/handle.h"
#include "core/loop_methods.h"
#include "core/task.h"

#define KEPT_BLOCK ((size_t)4 * 1024 * 1024)
#define FIRST_SLOW 0.1 /* asyncio's default for slow_callback_duration */

bool
FlLoop_Check(FlState *st, PyObject *obj)
{
    return PyObject_TypeCheck(obj, st->Loop_type);
}

int
FlLoop_CheckOpen(FlLoop *loop)
{
    if (!loop->closed)
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

int
FlLoop_CheckThread(FlLoop *loop)
{
    if (loop->thread_id == 0 || loop->thread_id == PyThread_get_thread_ident())
        return 0;
    PyErr_SetString(PyExc_RuntimeError,
                    "Non-thread-safe operation invoked on an event loop other than the "
                    "current one: use call_soon_threadsafe() from another thread");
    return -1;
}

/* ---- life ---- */

/* The eventfd spoke: quiet it; the inbox is taken at the next tick's start anyway. */
static int
loop_woken(FlLoop *loop, fl_watch *Py_UNUSED(watch), uint32_t Py_UNUSED(events))
{
    fl_wakeup_quiet(&loop->wakeup);
    return 0;
}

/* A server allocates its messages anew in each tick and frees them in it. glibc gives such
 * memory back to the system at once and has it faulted in again, which for messages of
 * 64 KiB costs more than moving them. It keeps twice the size of the largest mapping that
 * it has seen freed, so it is shown one; MALLOC_TRIM_THRESHOLD_ of the environment goes
 * before that. Untouched, the block costs no memory. */
static void
loop_keep_freed_memory(void)
{
    void *volatile block = malloc(KEPT_BLOCK); /* or the compiler leaves both out */

    free(block);
}

static PyObject *
loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    FlState *st = FlState_OfType(type);
    FlLoop *self = st == NULL ? NULL : (FlLoop *)type->tp_alloc(type, 0);
    int err;

    if (self == NULL)
        return NULL;
    self->st = st;
    self->poller.epfd = -1;
    self->wakeup.event_fd = self->wakeup.signal_read = self->wakeup.signal_write = -1;
    self->slow_callback_duration = FIRST_SLOW;
    self->now = fl_clock_monotonic();
    loop_keep_freed_memory();
    fl_timers_init(&self->timers);
    FlLoop_InitInbox(self);
    err = fl_poller_init(&self->poller);
    if (err == 0)
        err = fl_wakeup_init(&self->wakeup);
    if (err == 0) {
        self->wake_watch = (fl_watch){.fd = self->wakeup.event_fd, .ready = loop_woken};
        err = fl_poller_add(&self->poller, &self->wake_watch, EPOLLIN);
    }
    if (err == 0)
        return (PyObject *)self;
    errno = -err;
    PyErr_SetFromErrno(PyExc_OSError);
    Py_DECREF(self);
    return NULL;
}

/* Everything that waits is let go; what it runs on the way (finalizers) finds a loop
 * that is closed. escapes */
static void
loop_let_go(FlLoop *self)
{
    FlReady *ring = self->ring;
    size_t head = self->ring_head, tail = self->ring_tail, mask = self->ring_mask;

    self->ring = NULL;
    self->ring_head = self->ring_tail = self->ring_mask = 0;
    for (size_t i = head; i != tail; i++)
        Py_XDECREF(ring[i & mask].obj);
    free(ring);

    FlLoop_ClearInbox(self);
    for (fl_timer *node; (node = fl_timers_peek(&self->timers)) != NULL;)
        FlLoop_Disarm(self, (fl_loop_timer *)node);
    for (size_t fd = 0; fd < self->poller.size; fd++) {
        fl_watch *watch = self->poller.table[fd];
        if (watch != NULL)
            FlLoop_Unwatch(self, watch);
    }
    FlTask_ReleaseParked(self);
    Py_CLEAR(self->host_handle);
    Py_CLEAR(self->host_timer);
}

static void
loop_free_descriptors(FlLoop *self)
{
    self->events_n = 0;
    fl_poller_free(&self->poller);
    fl_wakeup_free(&self->wakeup);
    fl_timers_free(&self->timers);
    FlLoop_FreeInbox(self);
    FlLoop_FreeBuffer(self, self->buffer);
    self->buffer = NULL;
}

static PyObject *
loop_close(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlLoop *self = (FlLoop *)obj;

    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return NULL;
    }
    if (self->closed)
        Py_RETURN_NONE;
    FlLoop_CloseInbox(self);
    if (self->host != NULL)
        FlLoop_GuestDetach(self);
    loop_let_go(self);
    loop_free_descriptors(self);
    Py_RETURN_NONE;
}

static int
loop_traverse(PyObject *obj, visitproc visit, void *arg)
{
    FlLoop *self = (FlLoop *)obj;

    Py_VISIT(Py_TYPE(self));
    for (size_t i = self->ring_head; i != self->ring_tail; i++)
        Py_VISIT(self->ring[i & self->ring_mask].obj);
    for (size_t i = 0; i < self->inbox_len; i++)
        Py_VISIT(self->inbox[i].obj);
    for (size_t i = 0; i < self->timers.n; i++)
        Py_VISIT(((fl_loop_timer *)self->timers.heap[i])->owner);
    for (size_t fd = 0; fd < self->poller.size; fd++) {
        if (self->poller.table[fd] != NULL)
            Py_VISIT((PyObject *)self->poller.table[fd]->owner);
    }
    for (FlTask *task = self->parked; task != NULL; task = task->parked_next)
        Py_VISIT(task);
    Py_VISIT(self->exception_handler);
    Py_VISIT(self->task_factory);
    Py_VISIT(self->host);
    Py_VISIT(self->host_handle);
    Py_VISIT(self->host_timer);
    Py_VISIT(self->stepped);
    Py_VISIT(self->dict);
    return 0;
}

static int
loop_clear(PyObject *obj)
{
    FlLoop *self = (FlLoop *)obj;

    self->closed = true;
    loop_let_go(self);
    Py_CLEAR(self->exception_handler);
    Py_CLEAR(self->task_factory);
    Py_CLEAR(self->host);
    Py_CLEAR(self->stepped);
    Py_CLEAR(self->dict);
    return 0;
}

static void
loop_dealloc(PyObject *obj)
{
    FlLoop *self = (FlLoop *)obj;
    PyTypeObject *type = Py_TYPE(obj);

    PyObject_GC_UnTrack(obj);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs(obj);
    loop_clear(obj);
    loop_free_descriptors(self);
    pthread_cond_destroy(&self->inbox_taken);
    pthread_mutex_destroy(&self->inbox_lock);
    type->tp_free(obj);
    Py_DECREF(type);
}

static PyObject *
loop_is_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlLoop *)self)->closed);
}

static PyObject *
loop_is_running(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlLoop *)self)->running);
}

static PyObject *
loop_get_debug(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((FlLoop *)self)->debug);
}

static PyObject *
loop_set_debug(PyObject *self, PyObject *flag)
{
    int debug = PyObject_IsTrue(flag);

    if (debug < 0)
        return NULL;
    ((FlLoop *)self)->debug = debug;
    Py_RETURN_NONE;
}

static PyObject *
loop_set_own_tasks(PyObject *self, PyObject *flag)
{
    int own = PyObject_IsTrue(flag);

    if (own < 0)
        return NULL;
    ((FlLoop *)self)->own_tasks = own;
    Py_RETURN_NONE;
}

static PyObject *
loop_stats(PyObject *obj, PyObject *Py_UNUSED(ignored))
{
    FlLoop *self = (FlLoop *)obj;
    FlStats *s = &self->stats;

    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsKsKsnsnsn}", "ticks", s->ticks, "callbacks", s->callbacks,
        "polls", s->polls, "events", s->events, "timers", s->timers, "connections",
        s->connections, "open", s->open, "requests", s->requests, "bytes_read",
        s->bytes_read, "bytes_sent", s->bytes_sent, "ready",
        (Py_ssize_t)(self->ring_tail - self->ring_head), "pending_timers",
        (Py_ssize_t)self->timers.n, "descriptors", (Py_ssize_t)self->poller.count);
}

static PyMethodDef loop_methods[] = {
    FL_FAST("call_soon", FlLoop_call_soon,
            "call_soon($self, callback, *args, context=None)\n--\n\n"
            "Call callback(*args) on the next tick."),
    FL_FAST("call_soon_threadsafe", FlLoop_call_soon_threadsafe,
            "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
            "call_soon() from any thread."),
    FL_FAST("call_later", FlLoop_call_later,
            "call_later($self, delay, callback, *args, context=None)\n--\n\n"
            "Call callback(*args) in delay seconds."),
    FL_FAST("call_at", FlLoop_call_at,
            "call_at($self, when, callback, *args, context=None)\n--\n\n"
            "Call callback(*args) at loop.time() when."),
    {"time", FlLoop_time, METH_NOARGS,
     "time($self)\n--\n\n"
     "Seconds of the monotonic clock."},
    {"create_future", FlLoop_create_future, METH_NOARGS,
     "create_future($self)\n--\n\n"
     "A pending future."},
    FL_FAST("create_task", FlLoop_create_task,
            "create_task($self, coro, **kwargs)\n--\n\n"
            "A task that runs coro in this loop; name, context and what else the task "
            "takes by keyword."),
    {"_run", FlLoop_run, METH_NOARGS,
     "_run($self)\n--\n\n"
     "Run ticks until stop()."},
    {"stop", FlLoop_stop, METH_NOARGS,
     "stop($self)\n--\n\n"
     "Leave the loop after this tick."},
    {"close", loop_close, METH_NOARGS,
     "close($self)\n--\n\n"
     "Let go of everything that waits."},
    {"is_closed", loop_is_closed, METH_NOARGS,
     "is_closed($self)\n--\n\n"
     "Whether close() was called."},
    {"is_running", loop_is_running, METH_NOARGS,
     "is_running($self)\n--\n\n"
     "Whether the loop runs now."},
    {"get_debug", loop_get_debug, METH_NOARGS,
     "get_debug($self)\n--\n\n"
     "Whether debug mode is on."},
    {"set_debug", loop_set_debug, METH_O,
     "set_debug($self, enabled, /)\n--\n\n"
     "Turn debug mode on or off."},
    {"set_own_tasks", loop_set_own_tasks, METH_O,
     "set_own_tasks($self, flag, /)\n--\n\n"
     "Let create_task() give _core.Task instead of asyncio.Task."},
    {"add_reader", (PyCFunction)(void (*)(void))FlLoop_add_reader, METH_FASTCALL,
     "add_reader($self, fd, callback, *args)\n--\n\n"
     "Call callback(*args) whenever fd can be read."},
    {"add_writer", (PyCFunction)(void (*)(void))FlLoop_add_writer, METH_FASTCALL,
     "add_writer($self, fd, callback, *args)\n--\n\n"
     "Call callback(*args) whenever fd can be written."},
    {"remove_reader", FlLoop_remove_reader, METH_O,
     "remove_reader($self, fd, /)\n--\n\n"
     "Undo add_reader()."},
    {"remove_writer", FlLoop_remove_writer, METH_O,
     "remove_writer($self, fd, /)\n--\n\n"
     "Undo add_writer()."},
    {"stats", loop_stats, METH_NOARGS,
     "stats($self)\n--\n\n"
     "Counters of the loop's work, as a dict."},
    {"_open_signals", FlLoop_open_signals, METH_NOARGS,
     "_open_signals($self)\n--\n\n"
     "The descriptor for signal.set_wakeup_fd()."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef loop_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(FlLoop, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(FlLoop, weakrefs), READONLY, NULL},
    {"slow_callback_duration", T_DOUBLE, offsetof(FlLoop, slow_callback_duration), 0,
     "Seconds after which debug mode reports a callback."},
    {"_own_tasks", T_BOOL, offsetof(FlLoop, own_tasks), READONLY, NULL},
    {"_task_factory", T_OBJECT, offsetof(FlLoop, task_factory), 0, NULL},
    {"_exception_handler", T_OBJECT, offsetof(FlLoop, exception_handler), 0, NULL},
    {"_thread_id", T_ULONG, offsetof(FlLoop, thread_id), READONLY, NULL},
    {"_stopping", T_BOOL, offsetof(FlLoop, stopping), READONLY, NULL},
    {"_host", T_OBJECT, offsetof(FlLoop, host), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, "The C event loop; pyfastloop.Loop is built on it."},
    {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_methods, loop_methods},
    {Py_tp_members, loop_members},
    {0, NULL},
};

static PyType_Spec loop_spec = {
    .name = "pyfastloop._core.Loop",
    .basicsize = sizeof(FlLoop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = loop_slots,
};

int
FlLoop_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->Loop_type, &loop_spec, NULL, false);
}
