/* channel_file.c -- files in a channel's queue: by sendfile where the socket takes it, by
 * reads where bytes pass through TLS.
 *
 *     asked whether it is in memory --no--> a thread reads it there (file_waits)
 *               | yes                                   |
 *               v                                       v
 *        sendfile, or a chunk of it is read  <----------+
 *
 * One event sends FL_FILE_SLICE of it at most, so that one peer with a large file does
 * not keep the others waiting. Where no thread is to be had the loop reads the disk
 * itself.
 *
 * Layer: net. Threads: the loop's.
 */
#include "net/channel_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/open_file.h"

/* Pieces in which a file is read where sendfile cannot be used. */
#define FILE_PIECE ((size_t)64 * 1024)

/* The file at the front cannot give what was promised of it: the answer ends here. */
static void
give_up_file(FlChannel *ch, int error)
{
    FlOpenFile *file = (FlOpenFile *)fl_channel_first(ch)->owner;
    PyObject *why = error == 0 ? PyUnicode_FromString("it became shorter")
                               : PyUnicode_DecodeFSDefault(strerror(error));
    PyObject *exc = NULL, *done = NULL;

    if (why != NULL)
        exc = PyObject_CallFunction(PyExc_OSError, "iO", error == 0 ? EIO : error, why);
    if (exc == NULL)
        exc = PyErr_GetRaisedException();
    if (why != NULL && file->path != NULL)
        done = PyObject_CallMethod(ch->loop->st->gen_log, "error", "sOO",
                                   "Sending %s failed: %s; its connection is closed",
                                   file->path, why);
    if (done == NULL && PyErr_Occurred())
        PyErr_WriteUnraisable(ch->loop->st->gen_log);
    Py_XDECREF(done);
    Py_XDECREF(why);
    FlChannel_Close(ch, exc);
    Py_XDECREF(exc);
}

/* Puts the file's next piece in front of it as a chunk. 0, -errno or FL_IO_RAISED. */
static int
read_file_piece(FlChannel *ch)
{
    fl_queued file = *fl_channel_first(ch);
    size_t n = file.n < FILE_PIECE ? file.n : FILE_PIECE;
    char *block = malloc(n);
    PyObject *spent = NULL;
    ssize_t got;
    fl_queued *entry;

    if (block == NULL)
        return -ENOMEM;
    got = fl_file_read_at(((FlOpenFile *)file.owner)->fd, block, n, file.offset);
    if (got <= 0) {
        free(block);
        give_up_file(ch, (int)-got);
        return 0;
    }
    if ((size_t)got < file.n) {
        if (fl_channel_push(ch) == NULL) {
            free(block);
            return FL_IO_RAISED;
        }
        /* the last entry's place becomes the first's: everything moves by one */
        ch->queue_at = (ch->queue_at - 1) & (ch->queue_room - 1);
        file.n -= (size_t)got;
        file.offset += got;
        ch->queue[(ch->queue_at + 1) & (ch->queue_room - 1)] = file;
    } else {
        spent = file.owner;
    }
    entry = fl_channel_first(ch);
    memset(entry, 0, sizeof *entry);
    entry->p = entry->block = block;
    entry->n = entry->room = (size_t)got;
    Py_XDECREF(spent);
    return 0;
}

/* Whether the next `n` bytes have to be awaited; a thread is at it then. */
static bool
awaits_disk(FlChannel *ch, size_t n)
{
    fl_queued *entry = fl_channel_first(ch);
    FlOpenFile *file = (FlOpenFile *)entry->owner;
    int err;

    if (entry->offset < entry->fetched || FlOpenFile_Cached(file, entry->offset, n))
        return false;
    entry->fetched = entry->offset + (int64_t)n;
    ch->file_waits = true;
    Py_INCREF(file);
    err = FlOpenFile_Fetch(file, ch->loop, entry->offset, n, ch->own->deferred,
                           ch->owner);
    Py_DECREF(file);
    if (err == 0)
        return true;
    ch->file_waits = false;
    if (!FlError_IsFatal())
        PyErr_Clear(); /* no threads: the loop itself waits for the disk */
    return PyErr_Occurred() != NULL;
}

ssize_t
fl_channel_send_file(FlChannel *ch, size_t *offered)
{
    fl_queued *entry = fl_channel_first(ch);
    ssize_t sent = -EINVAL;

    *offered = entry->n < FL_FILE_SLICE ? entry->n : FL_FILE_SLICE;
    if (awaits_disk(ch, *offered))
        return PyErr_Occurred() ? FL_IO_RAISED : -EAGAIN;
    if (ch->closed)
        return 0;
    entry = fl_channel_first(ch);
    if (ch->io->sendfile)
        sent = fl_sendfile(ch->watch.fd, ((FlOpenFile *)entry->owner)->fd,
                           &entry->offset, *offered);
    if (sent == -EINVAL || sent == -ENOSYS) {
        *offered = 0;
        return read_file_piece(ch);
    }
    if (sent == 0 || sent == -EIO || sent == -ESTALE) {
        give_up_file(ch, (int)-sent);
        return 0;
    }
    return sent;
}

int
fl_channel_file_fetched(FlChannel *ch)
{
    if (ch->queue_len > 0 && fl_channel_first(ch)->p == NULL &&
        !FlOpenFile_Fetched((FlOpenFile *)fl_channel_first(ch)->owner))
        return 0;
    ch->file_waits = false;
    if (ch->corked > 0 || ch->write_wants_in)
        return 0;
    if (fl_channel_send_queue(ch, true) < 0)
        return -1;
    return fl_channel_settle(ch, true) < 0 ? fl_channel_fail_raised(ch) : 0;
}

int
FlChannel_SendFile(FlChannel *ch, PyObject *file, int64_t offset, int64_t n)
{
    fl_queued *entry;

    if (ch->closed || ch->closing)
        return fl_channel_not_open(ch);
    if (n <= 0)
        return 0;
    entry = fl_channel_push(ch);
    if (entry == NULL)
        return -1;
    entry->owner = Py_NewRef(file);
    entry->offset = offset;
    entry->n = (size_t)n;
    ch->queued += (size_t)n;
    ch->total_queued += (size_t)n;
    if (ch->queue_len == 1 && ch->corked == 0)
        return FlChannel_Flush(ch);
    return fl_channel_queued(ch);
}

uint64_t
FlChannel_TakeFileBack(FlChannel *ch)
{
    fl_queued *entry = fl_channel_last(ch);
    uint64_t left = ch->queue_len > 0 && entry->p == NULL ? entry->n : 0;

    if (left == 0)
        return 0;
    ch->queued -= left;
    ch->total_queued -= left;
    Py_DECREF(fl_channel_pop_last(ch));
    if (fl_channel_send_queue(ch, true) == 0 && fl_channel_settle(ch, true) < 0)
        (void)fl_channel_fail_raised(ch);
    return left;
}
