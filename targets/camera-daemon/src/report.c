#include "report.h"
#include "log.h"
#include "mqtt.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

/* Used by the main thread alone. */
static text line;

static void start_line(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    text_clear(&line);
    text_add(&line, "{\"time\":%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
}

static int end_line(void) {
    text_add(&line, "}");
    mqtt_publish(line.data);
    errno = 0;
    if (puts(line.data) != EOF && fflush(stdout) != EOF) return 0;
    if (errno == 0) errno = EIO;
    return -1;
}

int report_frame(const frcnn_model *model, const frcnn_report *r, const frcnn_detection *found, size_t count) {
    start_line();
    text_add(&line, ",\"frame\":%llu,\"width\":%u,\"height\":%u,\"proposals\":%llu,\"ms\":%.1f,\"detections\":[",
             (unsigned long long)r->frame_id, r->width, r->height, (unsigned long long)r->proposals,
             (double)r->total_ns / 1e6);
    for (size_t i = 0; i < count; i++) {
        char name[256] = "";
        frcnn_model_class_name(model, found[i].class_id, name, sizeof name);
        text_add(&line, "%s{\"class\":", i > 0 ? "," : "");
        text_add_json(&line, name);
        const frcnn_box *b = &found[i].bbox;
        const float corners[4] = {b->x1, b->y1, b->x2, b->y2};
        text_add(&line, ",\"score\":");
        text_add_number(&line, found[i].score, 6);
        for (int corner = 0; corner < 4; corner++) {
            text_add(&line, corner == 0 ? ",\"box\":[" : ",");
            text_add_number(&line, corners[corner], 3);
        }
        text_add(&line, "]}");
    }
    text_add(&line, "]");
    return end_line();
}

int report_event(const char *event, const char *detail) {
    log_line("%s: %s", event, detail);
    start_line();
    text_add(&line, ",\"event\":");
    text_add_json(&line, event);
    text_add(&line, ",\"detail\":");
    text_add_json(&line, detail);
    return end_line();
}
