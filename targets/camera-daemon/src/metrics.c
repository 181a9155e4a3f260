#include "metrics.h"
#include "log.h"
#include "text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name, *type, *help;
} ABOUT[METRICS] = {
    [FRAMES_READ] = {"frames_read_total", "counter", "Whole frames from the source."},
    [FRAMES_COMPLETED] = {"frames_completed_total", "counter", "Frames looked at."},
    [FRAMES_DROPPED] = {"frames_dropped_total", "counter", "Frames passed over for newer ones."},
    [FRAMES_CORRUPT] = {"frames_corrupt_total", "counter", "Frames that could not be decoded."},
    [FRAMES_CUT] = {"frames_cut_total", "counter", "Frames ended by the end of the stream."},
    [FRAMES_RESIZED] = {"frames_resized_total", "counter", "Frames of another size than the one before."},
    [FRAMES_STILL] = {"frames_still_total", "counter", "Frames without a proposal; the network did not run."},
    [CELLS] = {"cells_total", "counter", "Cells of 8 x 8 pixels that were compared with those of before."},
    [CELLS_CHANGED] = {"cells_changed_total", "counter", "Cells that differed by more than the tolerance."},
    [REGIONS] = {"regions_total", "counter", "Distinct regions that were judged."},
    [REGIONS_REUSED] = {"regions_reused_total", "counter", "Regions whose judgement was kept."},
    [KEPT_BYTES] = {"kept_bytes", "gauge", "Memory of what is kept from frame to frame."},
    [DETECTIONS] = {"detections_total", "counter", "Objects found."},
    [NOT_FINITE] = {"predictions_not_finite_total", "counter", "Predictions left out: score or box is not finite."},
    [CAMERA_UP] = {"up", "gauge", "Whether frames can come."},
    [CAMERA_LOST] = {"lost_total", "counter", "Times that the camera was lost."},
    [MODEL_RELOADS] = {"model_reloads_total", "counter", "Models loaded while running."},
    [MODEL_RELOADS_FAILED] = {"model_reloads_failed_total", "counter", "Reloads that left the old model in place."},
    [MQTT_CONNECTED] = {"mqtt_connected", "gauge", "Whether the broker is connected."},
    [MQTT_PUBLISHED] = {"mqtt_published_total", "counter", "Messages that the broker acknowledged."},
    [MQTT_DROPPED] = {"mqtt_dropped_total", "counter", "Messages given up because the queue was full."},
    [MQTT_FAILED] = {"mqtt_failed_total", "counter", "Failed attempts to reach the broker, and lost connections."},
};

enum { STAGES = 8, BUCKETS = 12 };
static const char *const STAGE_NAMES[STAGES] = {"convert", "propose", "preprocess", "trunk", "roi_pool", "head", "postprocess", "total"};
static const double BOUNDS[BUCKETS] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t values[METRICS];
static struct {
    uint64_t buckets[BUCKETS], count;
    double sum;
} stages[STAGES];
/* When the last frames were completed; as many as are kept make the frame rate. */
static struct timespec completed[32];
static uint64_t completions;
/* Shares of the trunk, added up: whole trunks. */
static double trunks;
/* Of the last frame that was not still. */
static float tolerance;

void metrics_add(metric m, uint64_t more) {
    pthread_mutex_lock(&lock);
    values[m] += more;
    pthread_mutex_unlock(&lock);
}

void metrics_set(metric m, uint64_t value) {
    pthread_mutex_lock(&lock);
    values[m] = value;
    pthread_mutex_unlock(&lock);
}

uint64_t metrics_get(metric m) {
    pthread_mutex_lock(&lock);
    uint64_t value = values[m];
    pthread_mutex_unlock(&lock);
    return value;
}

void metrics_frame(const frcnn_report *r, const frcnn_reuse *reuse) {
    const uint64_t ns[STAGES] = {r->convert_ns,  r->propose_ns, r->preprocess_ns,  r->trunk_ns,
                                 r->roi_pool_ns, r->head_ns,    r->postprocess_ns, r->total_ns};
    pthread_mutex_lock(&lock);
    values[FRAMES_COMPLETED]++;
    values[FRAMES_STILL] += r->proposals == 0;
    values[NOT_FINITE] += r->not_finite;
    if (reuse->cells > 0) {
        values[CELLS] += reuse->cells;
        values[CELLS_CHANGED] += reuse->cells_changed;
        values[REGIONS] += reuse->rois;
        values[REGIONS_REUSED] += reuse->rois_reused;
        values[KEPT_BYTES] = reuse->kept_bytes;
        trunks += reuse->trunk_share;
        tolerance = reuse->tolerance;
    } else {
        /* Without reuse the whole trunk runs, unless nothing moves. */
        trunks += r->trunk_ns > 0;
    }
    for (int i = 0; i < STAGES; i++) {
        double seconds = (double)ns[i] / 1e9;
        for (int b = 0; b < BUCKETS; b++) stages[i].buckets[b] += seconds <= BOUNDS[b];
        stages[i].count++;
        stages[i].sum += seconds;
    }
    clock_gettime(CLOCK_MONOTONIC, &completed[completions++ % 32]);
    pthread_mutex_unlock(&lock);
}

/* Frames a second over the last 32, or 0 if the last was more than 5 seconds ago. */
static double frame_rate(void) {
    if (completions < 2) return 0;
    uint64_t kept = completions < 32 ? completions : 32;
    struct timespec now, first = completed[(completions - kept) % 32], last = completed[(completions - 1) % 32];
    clock_gettime(CLOCK_MONOTONIC, &now);
    double span = (double)(last.tv_sec - first.tv_sec) + (double)(last.tv_nsec - first.tv_nsec) / 1e9;
    return now.tv_sec - last.tv_sec > 5 || span <= 0 ? 0 : (double)(kept - 1) / span;
}

static void write_all(text *t) {
    pthread_mutex_lock(&lock);
    for (int m = 0; m < METRICS; m++) {
        const char *name = ABOUT[m].name;
        text_add(t, "# HELP frcnn_camera_%s %s\n# TYPE frcnn_camera_%s %s\n", name, ABOUT[m].help, name, ABOUT[m].type);
        text_add(t, "frcnn_camera_%s %llu\n", name, (unsigned long long)values[m]);
    }
    text_add(t, "# HELP frcnn_camera_frames_per_second Frames looked at.\n# TYPE frcnn_camera_frames_per_second gauge\n");
    text_add(t, "frcnn_camera_frames_per_second %g\n", frame_rate());
    text_add(t, "# HELP frcnn_camera_trunks_total Trunks computed: each frame's share that was computed anew, added up.\n"
                "# TYPE frcnn_camera_trunks_total counter\nfrcnn_camera_trunks_total %.6f\n", trunks);
    text_add(t, "# HELP frcnn_camera_tolerance Grey levels that a cell may differ by.\n# TYPE frcnn_camera_tolerance gauge\n");
    text_add(t, "frcnn_camera_tolerance %g\n", tolerance);
    text_add(t, "# HELP frcnn_camera_stage_seconds Time of each stage.\n# TYPE frcnn_camera_stage_seconds histogram\n");
    for (int i = 0; i < STAGES; i++) {
        const char *stage = STAGE_NAMES[i];
        for (int b = 0; b < BUCKETS; b++) {
            text_add(t, "frcnn_camera_stage_seconds_bucket{stage=\"%s\",le=\"%g\"} %llu\n", stage, BOUNDS[b],
                     (unsigned long long)stages[i].buckets[b]);
        }
        unsigned long long count = stages[i].count;
        text_add(t, "frcnn_camera_stage_seconds_bucket{stage=\"%s\",le=\"+Inf\"} %llu\n", stage, count);
        text_add(t, "frcnn_camera_stage_seconds_sum{stage=\"%s\"} %g\n", stage, stages[i].sum);
        text_add(t, "frcnn_camera_stage_seconds_count{stage=\"%s\"} %llu\n", stage, count);
    }
    pthread_mutex_unlock(&lock);
}

/*
 * Clients, all served by one thread that waits for none of them: whoever asks gets the metrics, one page needs no router.
 * Who does not ask within 5 seconds is let go, and who came first where more come than there are places.
 */
enum { CLIENTS = 64, REQUEST = 2048, PATIENCE_MS = 5000 };

typedef struct client {
    int fd; /* -1: a free place. */
    int64_t came;
    char request[REQUEST];
    size_t have, sent;
    text answer; /* Empty until the request is whole. */
} client;

static client clients[CLIENTS];

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void let_go(client *c) {
    close(c->fd);
    text_clear(&c->answer);
    c->fd = -1;
}

static void welcome(int fd) {
    client *place = &clients[0];
    for (int i = 0; i < CLIENTS && place->fd != -1; i++) {
        if (clients[i].fd == -1 || clients[i].came < place->came) place = &clients[i];
    }
    if (place->fd != -1) let_go(place);
    place->fd = fd;
    place->came = now_ms();
    place->have = place->sent = 0;
}

static void compose(client *c) {
    static text body;
    text_clear(&body);
    write_all(&body);
    text_add(&c->answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
             body.size, body.data);
}

/* Goes on with a client as far as that is possible at once; 0 when there is nothing more to do for it. */
static int go_on(client *c) {
    while (c->answer.size == 0) {
        ssize_t got = recv(c->fd, c->request + c->have, REQUEST - 1 - c->have, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
        if (got <= 0) return 0;
        c->have += (size_t)got;
        c->request[c->have] = '\0';
        if (strstr(c->request, "\r\n\r\n") != NULL) {
            compose(c);
        } else if (c->have == REQUEST - 1) {
            return 0;
        }
    }
    while (c->sent < c->answer.size) {
        ssize_t more = send(c->fd, c->answer.data + c->sent, c->answer.size - c->sent, MSG_NOSIGNAL);
        if (more < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
        if (more <= 0) return 0;
        c->sent += (size_t)more;
    }
    return 0;
}

static void *serve(void *argument) {
    int listener = (int)(intptr_t)argument;
    struct pollfd polled[CLIENTS + 1];
    for (int i = 0; i < CLIENTS; i++) clients[i].fd = -1;
    for (;;) {
        int any = 0;
        polled[CLIENTS] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (int i = 0; i < CLIENTS; i++) {
            polled[i] = (struct pollfd){.fd = clients[i].fd, .events = clients[i].answer.size > 0 ? POLLOUT : POLLIN};
            any |= clients[i].fd != -1;
        }
        if (poll(polled, CLIENTS + 1, any ? 1000 : -1) == -1) continue;
        for (int i = 0; i < CLIENTS; i++) {
            client *c = &clients[i];
            if (c->fd == -1) continue;
            if ((polled[i].revents != 0 && !go_on(c)) || now_ms() - c->came > PATIENCE_MS) let_go(c);
        }
        if (polled[CLIENTS].revents == 0) continue;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd != -1) {
            welcome(fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            /* Out of descriptors: not a reason to spin. */
            sleep(1);
        }
    }
    return NULL;
}

int metrics_serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    pthread_t thread;
    if (listener == -1 || bind(listener, (struct sockaddr *)&address, size) == -1 || listen(listener, SOMAXCONN) == -1 ||
        getsockname(listener, (struct sockaddr *)&address, &size) == -1 ||
        pthread_create(&thread, NULL, serve, (void *)(intptr_t)listener) != 0) {
        log_line("cannot serve metrics on port %d: %m", port);
        return -1;
    }
    pthread_detach(thread);
    return ntohs(address.sin_port);
}
