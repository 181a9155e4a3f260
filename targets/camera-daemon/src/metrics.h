/*
 * Counters, and the loopback port where Prometheus reads them: http://127.0.0.1:PORT/metrics.
 */
#ifndef METRICS_H
#define METRICS_H

#include <frcnn.h>
#include <stdint.h>

typedef enum metric {
    FRAMES_READ,      /* Whole frames from the source. */
    FRAMES_COMPLETED, /* Looked at by the library. */
    FRAMES_DROPPED,   /* Passed over for newer ones. */
    FRAMES_CORRUPT,   /* Could not be taken apart or decoded. */
    FRAMES_CUT,       /* Ended by the end of the stream. */
    FRAMES_RESIZED,   /* Differed in size from the one before. */
    FRAMES_STILL,     /* Nothing moved: the network did not run. */
    CELLS, /* Cells of 8 x 8 pixels of the frames that were not still. */
    CELLS_CHANGED,
    REGIONS, /* Distinct boxes that the network judged. */
    REGIONS_REUSED,
    KEPT_BYTES, /* What the stream keeps from frame to frame. */
    DETECTIONS,
    NOT_FINITE, /* Predictions that the library left out. */
    CAMERA_UP, /* 1 while frames can come. */
    CAMERA_LOST,
    MODEL_RELOADS,
    MODEL_RELOADS_FAILED,
    MQTT_CONNECTED,
    MQTT_PUBLISHED, /* Acknowledged by the broker. */
    MQTT_DROPPED,   /* The queue was full. */
    MQTT_FAILED,    /* Connections that did not come about, or broke. */
    METRICS
} metric;

void metrics_add(metric m, uint64_t more);
void metrics_set(metric m, uint64_t value);
uint64_t metrics_get(metric m);

/* Enters a frame's stage times into the histograms, its completion into the frame rate, and what report and reuse count. */
void metrics_frame(const frcnn_report *report, const frcnn_reuse *reuse);

/* Serves on a thread of its own; port 0 takes a free one. Gives the port, or -1 with a message on stderr. */
int metrics_serve(int port);

#endif
