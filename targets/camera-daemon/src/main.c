/*
 * frcnn-camera-mini: frames from a camera or a pipe, detections to stdout and to an MQTT broker.
 *
 * One thread does all the work in one loop: it waits for the source, for results, for signals and for the time to pass. The library
 * has a thread of its own for live frames, libmosquitto one for the network, the metrics one for their port.
 */
#include "log.h"
#include "metrics.h"
#include "mqtt.h"
#include "notify.h"
#include "options.h"
#include "report.h"
#include "source.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    STALL_MS = 5000,        /* Without a frame for so long, a camera is taken for dead. */
    RETRY_MS = 1000,        /* Before the first attempt to open it again; doubles … */
    RETRY_MAX_MS = 30000,   /* … up to this. */
    TICK_MS = 500,          /* The loop turns at least so often. */
    DRAIN_MS = 10000,       /* For the last results at the end. */
    MQTT_DRAIN_SECONDS = 5, /* For the last messages. */
};

/* What the program ends with; the first that came. */
typedef enum exit_code {
    EXIT_DONE = 0,   /* Asked to stop, or every frame of a stream that is not live was read. */
    EXIT_BEGIN = 1,  /* It cannot begin: model, broker's name, metrics port. */
    EXIT_USAGE = 2,  /* The command line. */
    EXIT_STREAM = 3, /* The stream was cut, could not be read, or ended although it is live. */
    EXIT_OUTPUT = 4, /* Standard output cannot be written. */
    EXIT_BROKER = 5, /* The broker did not take every message. */
} exit_code;

static atomic_int reloading, reload_result; /* Result: 0 none, 1 done, -1 failed. */
static char reload_problem[256];

typedef struct daemon {
    options options;
    frcnn_model *model;
    frcnn_session *session;
    source *source;
    frcnn_detection found[FRCNN_MAX_DETECTIONS];
    uint64_t frames;     /* Read so far; the last one's id. */
    int64_t last_frame;  /* When; or when the source was opened. */
    int64_t reopen_at;   /* 0 while the source is open. */
    int retry_ms;
    int stalled, ended, busy;
    int away; /* It was told that there are no frames, and not yet that they come again. */
    int stop_asked, reload_asked;
    exit_code code;
    char reason[300]; /* Why it ended. */
    int signals, results; /* Descriptors: of the signals that came, of results that wait. */
    uint32_t width, height; /* Of the last frame that was looked at. */
    uint64_t diverged;      /* The last model of which it was said that it seems so. */
    int64_t watchdog_at;
} daemon_t;

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Ends the loop. What came first counts. */
static void end(daemon_t *d, exit_code code, const char *reason) {
    if (d->ended) return;
    d->ended = 1;
    d->code = code;
    snprintf(d->reason, sizeof d->reason, "%s", reason);
}

static void output_failed(daemon_t *d) {
    char reason[200];
    snprintf(reason, sizeof reason, "standard output: %s", strerror(errno));
    /* A reader that goes has seen enough. */
    end(d, errno == EPIPE ? EXIT_DONE : EXIT_OUTPUT, reason);
}

static void event(daemon_t *d, const char *name, const char *detail) {
    if (report_event(name, detail) == -1) output_failed(d);
}

/* The model is read on a thread of its own; frames go on with the old one. */
static void *reload(void *model) {
    frcnn_result result = frcnn_model_reload(model, NULL);
    if (result != FRCNN_RESULT_OK) {
        snprintf(reload_problem, sizeof reload_problem, "%s", frcnn_last_error_message());
    }
    atomic_store(&reload_result, result == FRCNN_RESULT_OK ? 1 : -1);
    return NULL;
}

static void start_reload(daemon_t *d) {
    if (atomic_load(&reloading)) return;
    d->reload_asked = 0;
    pthread_t thread;
    notify("RELOADING=1");
    atomic_store(&reloading, 1);
    if (pthread_create(&thread, NULL, reload, d->model) == 0) {
        pthread_detach(thread);
    } else {
        snprintf(reload_problem, sizeof reload_problem, "no thread");
        atomic_store(&reload_result, -1);
    }
}

static void finish_reload(daemon_t *d) {
    int result = atomic_exchange(&reload_result, 0);
    if (result == 0) return;
    metrics_add(result > 0 ? MODEL_RELOADS : MODEL_RELOADS_FAILED, 1);
    event(d, result > 0 ? "model_reloaded" : "model_kept", result > 0 ? d->options.model : reload_problem);
    atomic_store(&reloading, 0);
    notify("READY=1");
}

/* The library said why. */
static void frame_failed(daemon_t *d, uint64_t id) {
    metrics_add(FRAMES_CORRUPT, 1);
    char detail[400];
    snprintf(detail, sizeof detail, "frame %llu: %s", (unsigned long long)id, frcnn_last_error_message());
    event(d, "frame_failed", detail);
}

/* A frame's result, whichever way it came. */
static void handle(daemon_t *d, frcnn_result result, size_t count) {
    frcnn_report report = {.struct_size = sizeof report};
    frcnn_session_report(d->session, &report);
    if (result != FRCNN_RESULT_OK) {
        frame_failed(d, report.frame_id);
        return;
    }
    frcnn_reuse reuse = {.struct_size = sizeof reuse};
    frcnn_stream_reuse(d->session, &reuse);
    metrics_frame(&report, &reuse);
    metrics_add(DETECTIONS, count);
    if (d->width != 0 && (d->width != report.width || d->height != report.height)) {
        metrics_add(FRAMES_RESIZED, 1);
        char detail[80];
        snprintf(detail, sizeof detail, "%u x %u, from %u x %u", report.width, report.height, d->width, d->height);
        event(d, "size_changed", detail);
    }
    d->width = report.width;
    d->height = report.height;
    if (report.not_finite > 0 && d->diverged != report.model_generation) {
        d->diverged = report.model_generation;
        char detail[160];
        snprintf(detail, sizeof detail,
                 "frame %llu: %llu predictions are left out: score or box is not finite (did the training diverge?)",
                 (unsigned long long)report.frame_id, (unsigned long long)report.not_finite);
        event(d, "predictions_not_finite", detail);
    }
    if ((count > 0 || d->options.all) && report_frame(d->model, &report, d->found, count) == -1) output_failed(d);
}

/* Fetches what the library has done of the live frames. */
static void collect(daemon_t *d, uint32_t timeout_ms) {
    for (;;) {
        size_t count;
        frcnn_result result = frcnn_session_poll(d->session, timeout_ms, d->found, FRCNN_MAX_DETECTIONS, &count);
        d->busy = result != FRCNN_RESULT_IDLE;
        if (result == FRCNN_RESULT_IDLE || result == FRCNN_RESULT_NOT_READY) break;
        handle(d, result, count);
        timeout_ms = 0;
    }
    frcnn_stats stats = {.struct_size = sizeof stats};
    if (frcnn_session_stats(d->session, &stats) == FRCNN_RESULT_OK) metrics_set(FRAMES_DROPPED, stats.dropped);
}

/* Tells that there are no frames; the next one tells that they come again. */
static void tell_away(daemon_t *d, const char *name, const char *detail) {
    d->away = 1;
    metrics_set(CAMERA_UP, 0);
    metrics_add(CAMERA_LOST, 1);
    event(d, name, detail);
}

static void lose_source(daemon_t *d, const char *name, const char *detail) {
    tell_away(d, name, detail);
    d->source->close(d->source);
    if (!d->source->reopens) {
        end(d, EXIT_STREAM, detail);
        return;
    }
    d->reopen_at = now_ms() + d->retry_ms;
    d->retry_ms = d->retry_ms * 2 < RETRY_MAX_MS ? d->retry_ms * 2 : RETRY_MAX_MS;
}

static void open_source(daemon_t *d) {
    d->source->problem[0] = '\0';
    if (d->source->open(d->source) == -1) {
        lose_source(d, "camera_unavailable", d->source->problem);
        return;
    }
    if (d->source->problem[0] != '\0') event(d, "layout_assumed", d->source->problem);
    d->source->problem[0] = '\0';
    d->reopen_at = 0;
    d->last_frame = now_ms();
    metrics_set(CAMERA_UP, 1);
}

static void take_frame(daemon_t *d, frcnn_frame *frame) {
    frame->id = ++d->frames;
    metrics_add(FRAMES_READ, 1);
    d->last_frame = now_ms();
    d->retry_ms = RETRY_MS;
    d->stalled = 0;
    if (d->away) {
        d->away = 0;
        metrics_set(CAMERA_UP, 1);
        event(d, "camera_back", "frames come again");
    }
    if (d->options.live) {
        /* Those that are dropped have taken their time, too. */
        frame->time_ns = (uint64_t)d->last_frame * 1000000;
        if (frcnn_session_submit(d->session, frame, NULL, 0) == FRCNN_RESULT_OK) {
            d->busy = 1;
        } else {
            frame_failed(d, frame->id);
        }
    } else {
        size_t count;
        frcnn_result result = frcnn_session_detect(d->session, frame, NULL, 0, d->found, FRCNN_MAX_DETECTIONS, &count);
        handle(d, result, count);
        d->last_frame = now_ms();
    }
    d->source->release(d->source);
}

/* Whether there may be more to read at once. */
static int read_source(daemon_t *d) {
    frcnn_frame frame;
    int more = 0;
    switch (d->source->read(d->source, &frame)) {
    case SOURCE_FRAME: take_frame(d, &frame); return 1;
    case SOURCE_NOTHING: break;
    case SOURCE_MORE: more = 1; break;
    case SOURCE_CORRUPT:
        metrics_add(FRAMES_CORRUPT, 1);
        more = 1;
        break;
    case SOURCE_CUT:
        metrics_add(FRAMES_CUT, 1);
        if (d->source->problem[0] == '\0') snprintf(d->source->problem, sizeof d->source->problem, "the stream ended within a frame");
        event(d, "stream_cut", d->source->problem);
        end(d, EXIT_STREAM, d->source->problem);
        return 0;
    case SOURCE_END:
        if (d->frames == 0) {
            /* A picture of another format, say, or whoever was to write frames has failed. */
            const char *nothing = "no frame could be read";
            event(d, "stream_cut", nothing);
            end(d, EXIT_STREAM, nothing);
            return 0;
        }
        /* A file has an end; what is live has none that nobody asked for. */
        if (d->options.live) event(d, "stream_ended", "a live stream ended");
        end(d, d->options.live ? EXIT_STREAM : EXIT_DONE, d->options.live ? "a live stream ended" : "no more frames");
        return 0;
    case SOURCE_LOST: lose_source(d, "camera_lost", d->source->problem); return 0;
    }
    if (now_ms() - d->last_frame > STALL_MS && !d->stalled) {
        const char *detail = "no frame for 5 seconds";
        if (d->source->reopens) {
            lose_source(d, "camera_stalled", detail);
        } else {
            /* A pipe cannot be opened again: say so, and wait. */
            d->stalled = 1;
            tell_away(d, "camera_stalled", detail);
        }
    }
    return more;
}

static void watchdog(daemon_t *d) {
    int interval = notify_watchdog_ms();
    if (interval < 0 || now_ms() < d->watchdog_at) return;
    notify("WATCHDOG=1");
    d->watchdog_at = now_ms() + interval;
}

/* What came since the last look. */
static void read_signals(daemon_t *d) {
    struct signalfd_siginfo came;
    while (read(d->signals, &came, sizeof came) == sizeof came) {
        if (came.ssi_signo == SIGHUP) {
            d->reload_asked = 1;
        } else {
            d->stop_asked = 1;
        }
    }
}

static void look_at_broker(daemon_t *d) {
    char detail[600];
    const char *news = mqtt_news(detail, sizeof detail);
    if (news != NULL) event(d, news, detail);
}

static void run(daemon_t *d) {
    open_source(d);
    int more = 0;
    while (!d->ended) {
        int watchdog_ms = notify_watchdog_ms();
        int ms = more ? 0 : watchdog_ms > 0 && watchdog_ms < TICK_MS ? watchdog_ms : TICK_MS;
        /* Signals are blocked in every thread and come as something to read, however much there is of it elsewhere. */
        struct pollfd waits[] = {{d->signals, POLLIN, 0}, {d->results, POLLIN, 0}, {d->source->fd, POLLIN, 0}};
        poll(waits, sizeof waits / sizeof *waits, ms);
        read_signals(d);
        if (d->stop_asked) end(d, EXIT_DONE, "asked to");
        if (d->ended) break;
        watchdog(d);
        look_at_broker(d);
        if (d->reload_asked) start_reload(d);
        finish_reload(d);
        if (d->busy) collect(d, 0);
        if (d->ended) break;
        if (d->reopen_at != 0) {
            if (now_ms() >= d->reopen_at) open_source(d);
            more = 0;
        } else {
            more = read_source(d);
        }
    }
    notify("STOPPING=1");
    report_ending();
    int64_t limit = now_ms() + DRAIN_MS;
    while (d->busy && now_ms() < limit) collect(d, 100);
    look_at_broker(d);
    char detail[600];
    snprintf(detail, sizeof detail, "%s; frames: %llu read, %llu completed, %llu dropped, %llu corrupt, %llu cut", d->reason,
             (unsigned long long)metrics_get(FRAMES_READ), (unsigned long long)metrics_get(FRAMES_COMPLETED),
             (unsigned long long)metrics_get(FRAMES_DROPPED), (unsigned long long)metrics_get(FRAMES_CORRUPT),
             (unsigned long long)metrics_get(FRAMES_CUT));
    if (report_event("stopped", detail) == -1 && errno != EPIPE && d->code == EXIT_DONE) {
        d->code = EXIT_OUTPUT;
        log_line("standard output: %s", strerror(errno));
    }
}

static void log_to_stderr(uint32_t level, const char *target, const char *message, void *user) {
    (void)level, (void)user;
    log_line("%s: %s", target, message);
}

static frcnn_result new_session(daemon_t *d) {
    uint32_t has_rpn = 0;
    frcnn_model_has_rpn(d->model, &has_rpn);
    uint32_t proposer = has_rpn ? FRCNN_PROPOSER_MODEL : FRCNN_PROPOSER_MOTION;
    if (d->options.proposer_given) proposer = d->options.proposer;
    if (d->options.whole) {
        frcnn_session_options session_options;
        frcnn_session_options_init(&session_options, sizeof session_options);
        session_options.proposer = proposer;
        return frcnn_session_new(d->model, &session_options, &d->session);
    }
    frcnn_stream_options stream_options;
    frcnn_stream_options_init(&stream_options, sizeof stream_options);
    stream_options.proposer = proposer;
    stream_options.tolerance = d->options.tolerance;
    return frcnn_stream_new(d->model, &stream_options, &d->session);
}

static int open_library(daemon_t *d) {
    if (frcnn_abi_version() != FRCNN_ABI_VERSION) {
        log_line("built for ABI %u of libfrcnn, found %u", FRCNN_ABI_VERSION, frcnn_abi_version());
        return -1;
    }
    frcnn_log_set_callback(log_to_stderr, FRCNN_LOG_LEVEL_WARN, NULL);
    frcnn_model_options model_options;
    frcnn_model_options_init(&model_options, sizeof model_options);
    model_options.threads = d->options.threads;
    model_options.score_threshold = d->options.score_threshold;
    d->results = -1;
    if (frcnn_model_open(d->options.model, &model_options, &d->model) != FRCNN_RESULT_OK || new_session(d) != FRCNN_RESULT_OK ||
        (d->options.live && frcnn_session_fd(d->session, &d->results) != FRCNN_RESULT_OK)) {
        log_line("%s", frcnn_last_error_message());
        return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    static daemon_t d = {.retry_ms = RETRY_MS};
    int answered = options_read(&d.options, argc, argv);
    if (answered != 0) return answered > 0 ? EXIT_DONE : EXIT_USAGE;

    /* Blocked before there are threads, so in all of them: they come to d.signals. */
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGHUP);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ours, NULL);
    signal(SIGPIPE, SIG_IGN);
    d.signals = signalfd(-1, &ours, SFD_NONBLOCK | SFD_CLOEXEC);
    if (d.signals == -1) {
        log_line("signals: %s", strerror(errno));
        return EXIT_BEGIN;
    }

    char problem[240] = "";
    d.source = source_new(&d.options.source, problem, sizeof problem);
    if (d.source == NULL) {
        log_line("%s", problem);
        return EXIT_USAGE;
    }
    if (open_library(&d) == -1) return EXIT_BEGIN;
    if (d.options.metrics_port >= 0) {
        int port = metrics_serve(d.options.metrics_port);
        if (port == -1) return EXIT_BEGIN;
        log_line("metrics on http://127.0.0.1:%d/metrics", port);
    }
    if (d.options.mqtt_host != NULL && mqtt_start(d.options.mqtt_host, d.options.mqtt_port, d.options.topic) == -1) return EXIT_BEGIN;
    notify("READY=1");
    run(&d);
    unsigned lost = mqtt_stop(MQTT_DRAIN_SECONDS);
    if (lost > 0) {
        log_line("the broker did not take %u messages", lost);
        if (d.code == EXIT_DONE) d.code = EXIT_BROKER;
    }
    /* A reload may still use the model. */
    while (atomic_load(&reloading) && atomic_load(&reload_result) == 0) poll(NULL, 0, 10);
    d.source->free(d.source);
    frcnn_session_free(d.session);
    frcnn_model_free(d.model);
    return d.code;
}
