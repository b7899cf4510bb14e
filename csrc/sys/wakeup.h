/* wakeup.h -- how another thread, or a signal, ends a loop's wait.
 *
 * An eventfd for threads; a pipe for signals, because the interpreter's signal handler
 * writes the signal's number as one byte, which an eventfd refuses. The pipe is opened
 * only by a loop that runs in the main thread.
 *
 * Layer: sys. Threads: fl_wakeup_ring from any, the rest from the loop's own.
 */
#ifndef FL_SYS_WAKEUP_H
#define FL_SYS_WAKEUP_H

typedef struct fl_wakeup {
    int event_fd;
    int signal_read;  /* -1 until opened */
    int signal_write; /* -1 until opened */
} fl_wakeup;

/* 0 or -errno. */
int fl_wakeup_init(fl_wakeup *w);

void fl_wakeup_free(fl_wakeup *w);

/* Makes event_fd readable. */
void fl_wakeup_ring(fl_wakeup *w);

/* Makes event_fd quiet again. */
void fl_wakeup_quiet(fl_wakeup *w);

/* Opens the pipe for signals unless it is open; 0 or -errno. */
int fl_wakeup_open_signals(fl_wakeup *w);

/* Makes signal_read quiet again, or less loud after very many signals. */
void fl_wakeup_quiet_signals(fl_wakeup *w);

#endif
