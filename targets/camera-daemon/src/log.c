#include "log.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "frcnn-camera-mini: "
/* For a reader that is slow; not again before it reads on. */
#define PATIENCE_MS 1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Lines since the last one that was not lost. */
static unsigned long lost;

void log_line(const char *format, ...) {
    char message[PIPE_BUF - 200], line[PIPE_BUF], before[150] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&lock);
    if (lost > 0) snprintf(before, sizeof before, NAME "%lu lines are left out: nobody read standard error\n", lost);
    int size = snprintf(line, sizeof line, "%s" NAME "%s\n", before, message);
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    /* A pipe that takes anything takes PIPE_BUF bytes at once. */
    if (poll(&out, 1, lost == 0 ? PATIENCE_MS : 0) == 0) {
        lost++;
    } else {
        lost = 0;
        /* What cannot be written, as to a disk that is full, is nobody's business. */
        (void)!write(STDERR_FILENO, line, (size_t)size);
    }
    pthread_mutex_unlock(&lock);
}
