/* JSON lines: on stdout, and to the broker. */
#ifndef REPORT_H
#define REPORT_H

#include <frcnn.h>

/* A frame's detections. -1 with errno when standard output does not take them: its reader is gone, or does not read although the
   daemon is asked to end; the disk is full. */
int report_frame(const frcnn_model *model, const frcnn_report *report, const frcnn_detection *found, size_t count);

/* Something that happened to the daemon: `event` is a word, `detail` a sentence. Also on stderr. */
int report_event(const char *event, const char *detail);

/* The daemon ends: lines wait for a reader for some seconds at most. They do so as well while SIGTERM or SIGINT is pending. */
void report_ending(void);

#endif
