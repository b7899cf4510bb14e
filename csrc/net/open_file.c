/* open_file.c -- _core.OpenFile: a file that was opened to be served.
 *
 *     OpenFile(root, path)               below root, wherever links and `..` point
 *     OpenFile(root, path, cached=True)  the same, or BlockingIOError where a disk
 *                                        would have to be read to find it
 *     OpenFile(None, path)               wherever it leads
 *
 * The descriptor is closed with the object.
 *
 * Layer: net. Threads: the loop's; read() and fetch() run in an executor's thread too,
 * which owns a reference meanwhile.
 */
#include "net/open_file.h"

#include <errno.h>
#include <stdlib.h>

#include "core/future.h"
#include "core/task.h"
#include "sys/sockets.h"

/* Pieces in which a thread reads what it only wants in memory. */
#define FETCH_PIECE ((size_t)64 * 1024)

static FlOpenFile *
file_cast(PyObject *self)
{
    return (FlOpenFile *)self;
}

PyObject *
FlOpenFile_OfFd(FlState *st, int fd)
{
    FlOpenFile *file = (FlOpenFile *)st->OpenFile_type->tp_alloc(st->OpenFile_type, 0);
    int err;

    if (file == NULL) {
        (void)fl_close(fd);
        return NULL;
    }
    file->fd = fd;
    err = fl_file_look(fd, &file->facts);
    if (err < 0) {
        Py_CLEAR(file);
        errno = -err;
        PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)file;
}

bool
FlOpenFile_Cached(FlOpenFile *file, int64_t offset, size_t n)
{
    char byte;

    if (fl_file_read_cached(file->fd, &byte, 1, offset) == -EAGAIN)
        return false;
    return n < 2 ||
           fl_file_read_cached(file->fd, &byte, 1, offset + (int64_t)n - 1) != -EAGAIN;
}

int
FlOpenFile_Fetch(FlOpenFile *file, FlLoop *loop, int64_t offset, size_t n,
                 fl_run_fn run, PyObject *owner)
{
    FlState *st = loop->st;
    PyObject *fetch = PyObject_GetAttrString((PyObject *)file, "fetch");
    PyObject *future = NULL, *waited = NULL;

    if (fetch != NULL)
        future = PyObject_CallMethod(FlLoop_Face(loop), "run_in_executor", "OOLn",
                                     Py_None, fetch, (long long)offset, (Py_ssize_t)n);
    Py_XDECREF(fetch);
    if (future != NULL && FlFuture_CheckExact(st, future)) {
        waited = Py_NewRef(future);
    } else if (future != NULL) { /* of a foreign loop */
        waited = FlTask_NewBare(st, loop, NULL);
        if (waited != NULL && FlTask_Adopt(waited, future) < 0)
            Py_CLEAR(waited);
    }
    Py_XDECREF(future);
    if (waited == NULL)
        return -1;
    if (FlFuture_AddWaiter(waited, run, owner) < 0) {
        Py_DECREF(waited);
        return -1;
    }
    Py_XSETREF(file->fetching, waited);
    return 0;
}

bool
FlOpenFile_Fetched(FlOpenFile *file)
{
    if (file->fetching == NULL)
        return true;
    if (!FlFuture_Done(file->fetching))
        return false;
    FlFuture_Exception(file->fetching); /* sending it will tell what is wrong */
    Py_CLEAR(file->fetching);
    return true;
}

/* ---- Python ---- */

static int
open_path(PyObject *root, PyObject *path, bool cached)
{
    const char *r = root == NULL ? NULL : PyBytes_AS_STRING(root);
    const char *p = PyBytes_AS_STRING(path);
    int fd;

    if (cached)
        return fl_file_open_beneath(r, p, true);
    Py_BEGIN_ALLOW_THREADS;
    fd = r == NULL ? fl_file_open(p) : fl_file_open_beneath(r, p, false);
    Py_END_ALLOW_THREADS;
    return fd;
}

static PyObject *
file_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"root", "path", "cached", NULL};
    PyObject *given_root, *given, *root = NULL, *path = NULL;
    FlOpenFile *file = NULL;
    int cached = 0, err;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|p:OpenFile", names, &given_root,
                                     &given, &cached))
        return NULL;
    if (given_root != Py_None && !PyUnicode_FSConverter(given_root, &root))
        return NULL;
    if (!PyUnicode_FSConverter(given, &path))
        goto done;
    file = (FlOpenFile *)type->tp_alloc(type, 0);
    if (file == NULL)
        goto done;
    file->path = Py_NewRef(given);
    file->fd = -1; /* opening may let other threads look at it */
    file->fd = open_path(root, path, cached && root != NULL);
    err = file->fd < 0 ? file->fd : fl_file_look(file->fd, &file->facts);
    if (err < 0) {
        Py_CLEAR(file);
        errno = -err;
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, given);
    }
done:
    Py_XDECREF(root);
    Py_XDECREF(path);
    return (PyObject *)file;
}

static int
check_open(FlOpenFile *file, Py_ssize_t n, long long offset)
{
    if (file->fd >= 0 && n >= 0 && offset >= 0 && offset <= INT64_MAX - n)
        return 0;
    PyErr_SetString(PyExc_ValueError,
                    file->fd < 0 ? "the file is closed"
                                 : "offset and size must not be negative, or larger "
                                   "than any file");
    return -1;
}

static PyObject *
read_failed(FlOpenFile *file, ssize_t err)
{
    errno = (int)-err;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, file->path);
}

static PyObject *
read_bytes(PyObject *self, PyObject *args, bool cached)
{
    FlOpenFile *file = file_cast(self);
    long long offset;
    Py_ssize_t n;
    PyObject *bytes;
    size_t used = 0;
    ssize_t got = 1;

    if (!PyArg_ParseTuple(args, "Ln", &offset, &n) || check_open(file, n, offset) < 0)
        return NULL;
    bytes = PyBytes_FromStringAndSize(NULL, n);
    if (bytes == NULL)
        return NULL;
    while (used < (size_t)n && got > 0) {
        char *to = PyBytes_AS_STRING(bytes) + used;

        if (cached) {
            got = fl_file_read_cached(file->fd, to, (size_t)n - used,
                                      offset + (int64_t)used);
        } else {
            Py_BEGIN_ALLOW_THREADS;
            got =
                fl_file_read_at(file->fd, to, (size_t)n - used, offset + (int64_t)used);
            Py_END_ALLOW_THREADS;
        }
        used += got > 0 ? (size_t)got : 0;
    }
    if (got < 0) {
        Py_DECREF(bytes);
        if (cached && got == -EAGAIN)
            Py_RETURN_NONE;
        return read_failed(file, got);
    }
    if (used < (size_t)n)
        _PyBytes_Resize(&bytes, (Py_ssize_t)used);
    return bytes;
}

static PyObject *
file_read(PyObject *self, PyObject *args)
{
    return read_bytes(self, args, false);
}

static PyObject *
file_read_cached(PyObject *self, PyObject *args)
{
    return read_bytes(self, args, true);
}

static PyObject *
file_fetch(PyObject *self, PyObject *args)
{
    FlOpenFile *file = file_cast(self);
    long long offset;
    Py_ssize_t n;
    char *piece;
    ssize_t got = 1;

    if (!PyArg_ParseTuple(args, "Ln:fetch", &offset, &n) ||
        check_open(file, n, offset) < 0)
        return NULL;
    piece = malloc(FETCH_PIECE);
    if (piece == NULL)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS;
    for (int64_t end = offset + n; offset < end && got > 0; offset += got) {
        size_t most = (size_t)(end - offset);

        got = fl_file_read_at(file->fd, piece, most < FETCH_PIECE ? most : FETCH_PIECE,
                              offset);
    }
    Py_END_ALLOW_THREADS;
    free(piece);
    Py_RETURN_NONE;
}

static PyObject *
get_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(file_cast(self)->facts.size);
}

static PyObject *
get_mtime(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLongLong(file_cast(self)->facts.mtime_ns);
}

static PyObject *
get_regular(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(file_cast(self)->facts.regular);
}

static PyObject *
get_folder(PyObject *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(file_cast(self)->facts.folder);
}

static int
file_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(file_cast(self)->path);
    Py_VISIT(file_cast(self)->fetching);
    return 0;
}

static int
file_clear(PyObject *self)
{
    Py_CLEAR(file_cast(self)->fetching);
    Py_CLEAR(file_cast(self)->path);
    return 0;
}

static void
file_dealloc(PyObject *self)
{
    FlOpenFile *file = file_cast(self);
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    (void)file_clear(self);
    if (file->fd >= 0)
        (void)fl_close(file->fd);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef file_methods[] = {
    {"read", file_read, METH_VARARGS,
     PyDoc_STR("read(offset, size): the bytes, fewer where the file ends; may block.")},
    {"read_cached", file_read_cached, METH_VARARGS,
     PyDoc_STR("read_cached(offset, size): the same, None where a disk would block.")},
    {"fetch", file_fetch, METH_VARARGS,
     PyDoc_STR("fetch(offset, size): read into the kernel's memory only.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef file_getset[] = {
    {"size", get_size, NULL, PyDoc_STR("Bytes, when it was opened."), NULL},
    {"mtime_ns", get_mtime, NULL, PyDoc_STR("As os.stat has it."), NULL},
    {"regular", get_regular, NULL, PyDoc_STR("Whether it is a plain file."), NULL},
    {"folder", get_folder, NULL, PyDoc_STR("Whether it is a directory."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot file_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR(
                    "OpenFile(root, path, cached=False)\n--\n\n"
                    "A file opened for reading, below root where that is not None.")},
    {Py_tp_new, file_new},
    {Py_tp_dealloc, file_dealloc},
    {Py_tp_traverse, file_traverse},
    {Py_tp_clear, file_clear},
    {Py_tp_methods, file_methods},
    {Py_tp_getset, file_getset},
    {0, NULL},
};

static PyType_Spec file_spec = {
    .name = "pyfastloop._core.OpenFile",
    .basicsize = sizeof(FlOpenFile),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = file_slots,
};

int
FlOpenFile_AddType(PyObject *module, FlState *st)
{
    return FlState_AddType(module, &st->OpenFile_type, &file_spec, NULL, false);
}
