#include "report.h"
#include "log.h"
#include "mqtt.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* How long a reader that does not read is waited for, once the daemon is to end. */
#define PATIENCE_MS 5000

/* Used by the main thread alone. */
static text line;
static int ending, given_up;

static void start_line(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    text_clear(&line);
    text_add(&line, "{\"time\":%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
}

void report_ending(void) {
    ending = 1;
}

/* A pipe is read as fast as it is; where nobody reads it, it is given up some seconds after the daemon was asked to end. */
static int wait_for_reader(void) {
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    for (int waited = 0; waited < PATIENCE_MS && !given_up;) {
        int ready = poll(&out, 1, 100);
        /* What is wrong with it the next write says. */
        if (ready > 0 || (ready == -1 && errno != EINTR)) return 0;
        sigset_t asked;
        sigpending(&asked);
        if (ending || sigismember(&asked, SIGTERM) == 1 || sigismember(&asked, SIGINT) == 1) waited += 100;
    }
    given_up = 1;
    errno = ETIMEDOUT;
    return -1;
}

static int end_line(void) {
    text_add(&line, "}");
    mqtt_publish(line.data);
    text_add(&line, "\n");
    for (size_t at = 0; at < line.size;) {
        if (wait_for_reader() == -1) return -1;
        /* So much is taken at once by a pipe that takes anything. */
        size_t piece = line.size - at < PIPE_BUF ? line.size - at : PIPE_BUF;
        ssize_t written = write(STDOUT_FILENO, line.data + at, piece);
        if (written == -1 && errno != EINTR && errno != EAGAIN) return -1;
        if (written > 0) at += (size_t)written;
    }
    return 0;
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
