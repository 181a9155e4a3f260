/* Lines on standard error. Where nobody reads them they are lost, and counted: the daemon does not wait for that. */
#ifndef LOG_H
#define LOG_H

/* Writes `frcnn-camera-mini: ` and what printf would write, with an end of line; cut where it is longer than a pipe takes at once.
   From any thread. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
