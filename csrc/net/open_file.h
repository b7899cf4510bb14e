/* open_file.h -- a file that was opened to be served: its descriptor and what it was then.
 *
 * Size and time are those of the descriptor, so what was checked, what the head says and
 * what is sent are one file, whatever happens to the path meanwhile.
 *
 * Layer: net. Threads: the loop's; read() and fetch() run in an executor's thread too.
 */
#ifndef FL_NET_OPEN_FILE_H
#define FL_NET_OPEN_FILE_H

#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/loop.h"
#include "sys/files.h"

typedef struct {
    PyObject_HEAD
    PyObject *path;      /* owned: as it was given; NULL: of a bare descriptor */
    PyObject *fetching;  /* owned, nullable: the future of a thread's fetch() */
    fl_file_facts facts; /* when it was opened */
    int fd;              /* -1: closed */
} FlOpenFile;

/* Of a descriptor, which it takes over, on failure too. New reference or NULL. */
PyObject *FlOpenFile_OfFd(FlState *st, int fd);

/* Whether n bytes from offset seem to be in memory: the first and the last are asked. */
bool FlOpenFile_Cached(FlOpenFile *file, int64_t offset, size_t n);

/* Has a thread of the loop's executor read n bytes from offset into the page cache;
 * run(loop, owner) comes when that is over (FlOpenFile_Fetched). 0, or -1 with an
 * exception: no thread is to be had. escapes */
int FlOpenFile_Fetch(FlOpenFile *file, FlLoop *loop, int64_t offset, size_t n,
                     fl_run_fn run, PyObject *owner);

/* Whether no thread is at it (any more). */
bool FlOpenFile_Fetched(FlOpenFile *file);

#endif
