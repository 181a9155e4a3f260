/*
 * Every entry point of frcnn.h, as it should be used and as it should not be.
 *
 *     conformance BUNDLE DIVERGED JPEG FRAMES [memory]
 *
 * BUNDLE is examples/colours' detector, DIVERGED the one whose boxes are not finite, JPEG a red picture. FRAMES frames are detected one after another; with
 * `memory`, the resident memory must not grow meanwhile.
 */
#include "check.h"
#include "hostile.h"
#include "tracker.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static const char *bundle_path;

static int is_red_square(const frcnn_detection *d) {
    const frcnn_box *b = &d->bbox;
    return d->class_id == 1 && d->score > 0.9f && fabsf(b->x1 - 24) < 3 && fabsf(b->y1 - 16) < 3 &&
           fabsf(b->x2 - 55) < 3 && fabsf(b->y2 - 47) < 3 && d->proposal == 0;
}

static frcnn_model *open_model(void) {
    frcnn_model *model = NULL;
    EXPECT(OK, frcnn_model_open(bundle_path, NULL, &model));
    return model;
}

static frcnn_session *new_session(const frcnn_model *model) {
    frcnn_session *session = NULL;
    EXPECT(OK, frcnn_session_new(model, NULL, &session));
    return session;
}

static void versions(void) {
    CHECK(frcnn_abi_version() == FRCNN_ABI_VERSION);
    CHECK(strchr(frcnn_version(), '.') != NULL);
    CHECK(strcmp(frcnn_last_error_message(), "") == 0);
    CHECK(strcmp(frcnn_result_name(FRCNN_RESULT_OK), "FRCNN_RESULT_OK") == 0);
    CHECK(strcmp(frcnn_result_name(12345), "unknown") == 0);
}

static void null_pointers(void) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_RGB24);
    frcnn_detection found[4];
    frcnn_report report = {.struct_size = sizeof report};
    frcnn_stats stats = {.struct_size = sizeof stats};
    size_t count;
    uint64_t generation;
    uint32_t has_rpn;
    char name[8];

    EXPECT(NULL_POINTER, frcnn_model_options_init(NULL, sizeof(frcnn_model_options)));
    EXPECT(NULL_POINTER, frcnn_model_open(NULL, NULL, &(frcnn_model *){NULL}));
    CHECK(strstr(frcnn_last_error_message(), "`path`") != NULL);
    EXPECT(NULL_POINTER, frcnn_model_open(bundle_path, NULL, NULL));
    EXPECT(NULL_POINTER, frcnn_model_open_bytes(NULL, 1, NULL, &(frcnn_model *){NULL}));
    EXPECT(NULL_POINTER, frcnn_model_open_bytes((const uint8_t *)"", 0, NULL, NULL));
    EXPECT(NULL_POINTER, frcnn_model_open_static(NULL, 1, NULL, &(frcnn_model *){NULL}));
    EXPECT(NULL_POINTER, frcnn_model_open_static((const uint8_t *)"", 0, NULL, NULL));
    EXPECT(NULL_POINTER, frcnn_model_reload(NULL, bundle_path));
    EXPECT(NULL_POINTER, frcnn_model_generation(NULL, &generation));
    EXPECT(NULL_POINTER, frcnn_model_generation(model, NULL));
    EXPECT(NULL_POINTER, frcnn_model_class_count(NULL, &count));
    EXPECT(NULL_POINTER, frcnn_model_class_count(model, NULL));
    EXPECT(NULL_POINTER, frcnn_model_has_rpn(NULL, &has_rpn));
    EXPECT(NULL_POINTER, frcnn_model_has_rpn(model, NULL));
    EXPECT(NULL_POINTER, frcnn_model_class_name(NULL, 1, name, sizeof name));
    EXPECT(NULL_POINTER, frcnn_model_class_name(model, 1, NULL, sizeof name));
    EXPECT(NULL_POINTER, frcnn_session_options_init(NULL, sizeof(frcnn_session_options)));
    EXPECT(NULL_POINTER, frcnn_session_new(NULL, NULL, &(frcnn_session *){NULL}));
    EXPECT(NULL_POINTER, frcnn_session_new(model, NULL, NULL));
    EXPECT(NULL_POINTER, frcnn_session_detect(NULL, &p.frame, BOXES, 3, found, 4, &count));
    EXPECT(NULL_POINTER, frcnn_session_detect(session, NULL, BOXES, 3, found, 4, &count));
    EXPECT(NULL_POINTER, frcnn_session_detect(session, &p.frame, NULL, 3, found, 4, &count));
    EXPECT(NULL_POINTER, frcnn_session_detect(session, &p.frame, BOXES, 3, NULL, 4, &count));
    EXPECT(NULL_POINTER, frcnn_session_detect(session, &p.frame, BOXES, 3, found, 4, NULL));
    EXPECT(NULL_POINTER, frcnn_session_submit(NULL, &p.frame, BOXES, 3));
    EXPECT(NULL_POINTER, frcnn_session_submit(session, NULL, BOXES, 3));
    EXPECT(NULL_POINTER, frcnn_session_submit(session, &p.frame, NULL, 3));
    EXPECT(NULL_POINTER, frcnn_session_poll(NULL, 0, found, 4, &count));
    EXPECT(NULL_POINTER, frcnn_session_poll(session, 0, NULL, 4, &count));
    EXPECT(NULL_POINTER, frcnn_session_poll(session, 0, found, 4, NULL));
    EXPECT(NULL_POINTER, frcnn_session_fd(NULL, &(int){0}));
    EXPECT(NULL_POINTER, frcnn_session_fd(session, NULL));
    EXPECT(NULL_POINTER, frcnn_session_report(NULL, &report));
    EXPECT(NULL_POINTER, frcnn_session_report(session, NULL));
    EXPECT(NULL_POINTER, frcnn_session_stats(NULL, &stats));
    EXPECT(NULL_POINTER, frcnn_session_stats(session, NULL));
    p.frame.planes[0].data = NULL;
    EXPECT(NULL_POINTER, frcnn_session_detect(session, &p.frame, BOXES, 3, found, 4, &count));
    frcnn_session_free(NULL);
    frcnn_model_free(NULL);
    frcnn_session_free(session);
    frcnn_model_free(model);
}

static void structure_sizes(void) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    frcnn_model_options options;
    EXPECT(STRUCT_SIZE, frcnn_model_options_init(&options, 3));
    EXPECT(OK, frcnn_model_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options && options.threads == 0 && options.score_threshold == -INFINITY);
    frcnn_model *other;
    options.struct_size = 0;
    EXPECT(STRUCT_SIZE, frcnn_model_open(bundle_path, &options, &other));
    CHECK(other == NULL && strstr(frcnn_last_error_message(), "sizeof") != NULL);
    options.struct_size = sizeof options;
    options.score_threshold = 2;
    EXPECT(INVALID_ARGUMENT, frcnn_model_open(bundle_path, &options, &other));
    options.score_threshold = -0.5f;
    EXPECT(INVALID_ARGUMENT, frcnn_model_open(bundle_path, &options, &other));
    CHECK(strstr(frcnn_last_error_message(), "score_threshold") != NULL);
    options.score_threshold = NAN;
    EXPECT(INVALID_ARGUMENT, frcnn_model_open(bundle_path, &options, &other));
    options.score_threshold = 0.5f;
    options.threads = 1000000;
    EXPECT(INVALID_ARGUMENT, frcnn_model_open(bundle_path, &options, &other));

    frcnn_session_options session_options;
    frcnn_session *unmade;
    EXPECT(OK, frcnn_session_options_init(&session_options, sizeof session_options));
    session_options.proposer = 77;
    EXPECT(INVALID_ARGUMENT, frcnn_session_new(model, &session_options, &unmade));
    CHECK(unmade == NULL);

    /* A caller with a newer header: fine while its new fields are zero. */
    struct {
        frcnn_frame frame;
        uint64_t newer;
    } wide;
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_RGB24);
    frcnn_detection found[4];
    size_t count;
    wide.frame = p.frame;
    wide.newer = 0;
    wide.frame.struct_size = sizeof wide;
    EXPECT(OK, frcnn_session_detect(session, &wide.frame, BOXES, 3, found, 4, &count));
    wide.newer = 1;
    EXPECT(STRUCT_SIZE, frcnn_session_detect(session, &wide.frame, BOXES, 3, found, 4, &count));
    wide.frame.struct_size = SIZE_MAX;
    EXPECT(STRUCT_SIZE, frcnn_session_detect(session, &wide.frame, BOXES, 3, found, 4, &count));
    frcnn_report report = {0};
    frcnn_stats stats = {0};
    EXPECT(STRUCT_SIZE, frcnn_session_report(session, &report));
    EXPECT(STRUCT_SIZE, frcnn_session_stats(session, &stats));
    frcnn_session_free(session);
    frcnn_model_free(model);
}

static void opening(void) {
    frcnn_model *model = (frcnn_model *)1;
    EXPECT(IO, frcnn_model_open("/nowhere/model.frcnn", NULL, &model));
    CHECK(model == NULL && strstr(frcnn_last_error_message(), "/nowhere/model.frcnn") != NULL);
    EXPECT(BUNDLE, frcnn_model_open_bytes((const uint8_t *)"not a bundle", 12, NULL, &model));
    CHECK(model == NULL);

    FILE *file = fopen(bundle_path, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(size);
    CHECK(bytes != NULL && fread(bytes, 1, size, file) == size);
    fclose(file);
    EXPECT(OK, frcnn_model_open_bytes(bytes, size, NULL, &model));
    EXPECT(INVALID_ARGUMENT, frcnn_model_reload(model, NULL));
    bytes[size / 2] ^= 1;
    frcnn_model *damaged;
    EXPECT(BUNDLE, frcnn_model_open_bytes(bytes, size, NULL, &damaged));
    free(bytes);

    size_t classes;
    char name[32], cut[3];
    EXPECT(OK, frcnn_model_class_count(model, &classes));
    CHECK(classes == 4);
    uint32_t has_rpn = 7;
    EXPECT(OK, frcnn_model_has_rpn(model, &has_rpn));
    CHECK(has_rpn == 0);
    EXPECT(OK, frcnn_model_class_name(model, 2, name, sizeof name));
    CHECK(strcmp(name, "green") == 0);
    EXPECT(BUFFER_TOO_SMALL, frcnn_model_class_name(model, 2, cut, sizeof cut));
    CHECK(strcmp(cut, "gr") == 0);
    EXPECT(INVALID_ARGUMENT, frcnn_model_class_name(model, 4, name, sizeof name));
    CHECK(name[0] == '\0');
    EXPECT(INVALID_ARGUMENT, frcnn_model_class_name(model, 1, name, 0));
    frcnn_model_free(model);
}

static void formats(const char *jpeg_path) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    frcnn_model_free(model); /* Its session goes on. */
    frcnn_detection found[FRCNN_MAX_DETECTIONS];
    size_t count;
    picture p;
    for (uint32_t format = FRCNN_PIXEL_FORMAT_RGB24; format <= FRCNN_PIXEL_FORMAT_BGRA32; format++) {
        if (format == FRCNN_PIXEL_FORMAT_MJPEG) continue;
        draw(&p, format);
        EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 3, found, FRCNN_MAX_DETECTIONS, &count));
        if (format == FRCNN_PIXEL_FORMAT_GRAY8) {
            CHECK(count == 0);
        } else {
            CHECK(count == 1 && is_red_square(&found[0]));
        }
        /* The last row needs no padding behind it, but every byte of itself. */
        for (int i = 0; i < 3 && p.frame.planes[i].data != NULL; i++) {
            frcnn_frame bad = p.frame;
            bad.planes[i].size -= 1;
            EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));
            CHECK(count == 0);
            bad = p.frame;
            bad.planes[i].stride -= 1;
            EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));
            bad.planes[i].stride = SIZE_MAX;
            EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));
        }
    }
    draw(&p, FRCNN_PIXEL_FORMAT_NV12);
    frcnn_frame bad = p.frame;
    bad.width = 0;
    EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));
    bad.width = bad.height = UINT32_MAX;
    EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));
    bad = p.frame;
    bad.format = 99;
    EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));
    bad = p.frame;
    bad.colour = 99;
    EXPECT(FRAME, frcnn_session_detect(session, &bad, BOXES, 3, found, 4, &count));

    /* JPEG: the picture's own size counts. Half of it is an error, as is nothing at all. */
    static uint8_t jpeg[1 << 16];
    FILE *file = fopen(jpeg_path, "rb");
    CHECK(file != NULL);
    size_t size = fread(jpeg, 1, sizeof jpeg, file);
    fclose(file);
    frcnn_frame frame = {.struct_size = sizeof frame, .format = FRCNN_PIXEL_FORMAT_MJPEG};
    frame.planes[0] = (frcnn_plane){jpeg, size, 0};
    EXPECT(OK, frcnn_session_detect(session, &frame, BOXES, 1, found, 4, &count));
    CHECK(count == 1 && is_red_square(&found[0]));
    frcnn_report report = {.struct_size = sizeof report};
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(report.width == WIDTH && report.height == HEIGHT && report.proposals == 1 && report.convert_ns > 0 &&
          report.trunk_ns > 0 && report.total_ns >= report.convert_ns + report.trunk_ns);
    for (size_t part = 0; part < size - 2; part += size / 7) {
        frame.planes[0].size = part;
        EXPECT(DECODE, frcnn_session_detect(session, &frame, BOXES, 1, found, 4, &count));
    }
    frcnn_session_free(session);
}

static void detections_and_proposals(void) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    frcnn_detection found[FRCNN_MAX_DETECTIONS];
    size_t count;
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_RGB24);
    EXPECT(BUFFER_TOO_SMALL, frcnn_session_detect(session, &p.frame, BOXES, 3, NULL, 0, &count));
    CHECK(count == 1);
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 0, found, 4, &count));
    CHECK(count == 0);
    frcnn_box invalid[2] = {{NAN, 0, 1, 1}, {50, 50, 10, 10}};
    EXPECT(OK, frcnn_session_detect(session, &p.frame, invalid, 2, found, 4, &count));
    CHECK(count == 0);
    /* NULL asks the built-in proposer: by default selective search, as the model makes no boxes itself. It finds the square,
       whose box is exactly that of a region. */
    EXPECT(OK, frcnn_session_detect(session, &p.frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count));
    CHECK(count == 1 && found[0].class_id == 1 && found[0].score > 0.9f);
    frcnn_report report = {.struct_size = sizeof report};
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(report.proposals >= 1 && report.proposals < 100 && report.model_generation == 1);
    frcnn_detection by_default = found[0];
    frcnn_session_free(session);

    frcnn_session_options options;
    EXPECT(OK, frcnn_session_options_init(&options, sizeof options));
    CHECK(options.proposer == FRCNN_PROPOSER_MODEL);
    options.proposer = FRCNN_PROPOSER_SELECTIVE_SEARCH;
    EXPECT(OK, frcnn_session_new(model, &options, &session));
    EXPECT(OK, frcnn_session_detect(session, &p.frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count));
    CHECK(count == 1 && memcmp(&found[0], &by_default, sizeof by_default) == 0);
    frcnn_session_free(session);

    options.proposer = FRCNN_PROPOSER_GRID;
    EXPECT(OK, frcnn_session_new(model, &options, &session));
    EXPECT(OK, frcnn_session_detect(session, &p.frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count));
    CHECK(count >= 1 && found[0].class_id == 1);
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(report.proposals > 100 && report.model_generation == 1);
    frcnn_session_free(session);

    /* A fixed camera: the square appears after the background was learned. */
    options.proposer = FRCNN_PROPOSER_MOTION;
    EXPECT(OK, frcnn_session_new(model, &options, &session));
    picture empty;
    draw(&empty, FRCNN_PIXEL_FORMAT_RGB24);
    memset(empty.bytes, 0, sizeof empty.bytes);
    for (int i = 0; i < 15; i++) {
        EXPECT(OK, frcnn_session_detect(session, &empty.frame, NULL, 0, found, 4, &count));
        EXPECT(OK, frcnn_session_report(session, &report));
        CHECK(count == 0 && report.proposals == 0 && report.trunk_ns == 0 && report.total_ns > 0);
    }
    /* With its time of capture, as a header without that field has it, and without. */
    const uint64_t times[] = {1000000000, 1040000000, 0};
    for (int i = 0; i < 3; i++) {
        p.frame.time_ns = times[i];
        p.frame.struct_size = i == 1 ? offsetof(frcnn_frame, time_ns) : sizeof p.frame;
        EXPECT(OK, frcnn_session_detect(session, &p.frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count));
        EXPECT(OK, frcnn_session_report(session, &report));
        CHECK(count >= 1 && found[0].class_id == 1 && report.proposals > 0 && report.proposals < 2000);
    }
    frcnn_session_free(session);
    frcnn_model_free(model);
}

/* A network that diverged finds nothing, and the report says why, however a frame came. */
static void what_is_not_finite_is_counted(const char *diverged_path) {
    frcnn_model *model;
    EXPECT(OK, frcnn_model_open(diverged_path, NULL, &model));
    frcnn_session *session = new_session(model);
    frcnn_detection found[4];
    frcnn_report report = {.struct_size = sizeof report};
    size_t count;
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_RGB24);
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 1, found, 4, &count));
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(count == 0 && report.proposals == 1 && report.not_finite == 1);
    EXPECT(OK, frcnn_session_submit(session, &p.frame, BOXES, 1));
    EXPECT(OK, frcnn_session_poll(session, 60000, found, 4, &count));
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(count == 0 && report.not_finite == 1);
    /* Without the colour or without a box there is nothing to be left out. */
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES + 2, 1, found, 4, &count));
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(count == 0 && report.proposals == 1 && report.not_finite == 0);
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 1, found, 4, &count));
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 0, found, 4, &count));
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(report.proposals == 0 && report.not_finite == 0);

    /* A caller that was built before there was the field keeps what lies behind its structure. */
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 1, found, 4, &count));
    report.struct_size = offsetof(frcnn_report, not_finite);
    report.not_finite = 77;
    report.frame_id = 77;
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(report.struct_size == offsetof(frcnn_report, not_finite) && report.not_finite == 77 && report.frame_id == 0);
    report.struct_size -= 1;
    EXPECT(STRUCT_SIZE, frcnn_session_report(session, &report));
    frcnn_session_free(session);
    frcnn_model_free(model);
}

static void submit_and_poll(void) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    frcnn_detection found[4];
    frcnn_report report = {.struct_size = sizeof report};
    frcnn_stats stats = {.struct_size = sizeof stats};
    size_t count;
    EXPECT(IDLE, frcnn_session_poll(session, 1000, found, 4, &count));
    EXPECT(OK, frcnn_session_stats(session, &stats));
    CHECK(stats.submitted == 0);

    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_YUYV);
    enum { FRAMES = 300 };
    uint64_t polled = 0, last = 0;
    for (uint64_t id = 1; id <= FRAMES; id++) {
        p.frame.id = id;
        EXPECT(OK, frcnn_session_submit(session, &p.frame, BOXES, 3));
        /* The copy is the library's: the caller's bytes may change at once. */
        p.bytes[0] ^= 0xff;
        frcnn_result result = frcnn_session_poll(session, 0, found, 4, &count);
        if (result == FRCNN_RESULT_NOT_READY || result == FRCNN_RESULT_IDLE) {
            continue;
        }
        EXPECT(OK, result);
        EXPECT(OK, frcnn_session_report(session, &report));
        CHECK(count == 1 && is_red_square(&found[0]) && report.frame_id > last);
        last = report.frame_id;
        polled++;
    }
    for (frcnn_result result; (result = frcnn_session_poll(session, 60000, found, 4, &count)) != FRCNN_RESULT_IDLE;) {
        EXPECT(OK, result);
        EXPECT(OK, frcnn_session_report(session, &report));
        CHECK(report.frame_id > last);
        last = report.frame_id;
        polled++;
    }
    /* The newest frame is never the one that is dropped. */
    CHECK(last == FRAMES);
    EXPECT(OK, frcnn_session_stats(session, &stats));
    CHECK(stats.submitted == FRAMES && stats.failed == 0 && stats.completed + stats.dropped == FRAMES &&
          stats.completed == polled + stats.forgotten);

    frcnn_frame garbage = {.struct_size = sizeof garbage, .id = 7, .format = FRCNN_PIXEL_FORMAT_MJPEG};
    garbage.planes[0] = (frcnn_plane){p.bytes, 100, 0};
    EXPECT(OK, frcnn_session_submit(session, &garbage, BOXES, 3));
    EXPECT(DECODE, frcnn_session_poll(session, 60000, found, 4, &count));
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(report.frame_id == 7 && report.total_ns == 0);
    /* Freed with frames in work and in the queue. */
    for (int i = 0; i < 3; i++) {
        EXPECT(OK, frcnn_session_submit(session, &p.frame, NULL, 0));
    }
    frcnn_session_free(session);
    frcnn_model_free(model);
}

static int is_readable(int fd, int timeout_ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int ready = poll(&polled, 1, timeout_ms);
    CHECK(ready == 0 || (ready == 1 && polled.revents == POLLIN));
    return ready;
}

enum { SUBMITTED = 200 };
static void *submit_many(void *session) {
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_RGBA32);
    for (uint64_t id = 1; id <= SUBMITTED; id++) {
        p.frame.id = id;
        EXPECT(OK, frcnn_session_submit(session, &p.frame, BOXES, 3));
        if (id % 16 == 0) usleep(1000);
    }
    return NULL;
}

/* One thread submits, another waits on the descriptor: what it says is what a poll gives. */
static void submit_and_poll_on_two_threads(void) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    frcnn_detection found[4];
    frcnn_report report = {.struct_size = sizeof report};
    frcnn_stats stats = {.struct_size = sizeof stats};
    size_t count;
    int fd = -1, again = -1;
    EXPECT(OK, frcnn_session_fd(session, &fd));
    EXPECT(OK, frcnn_session_fd(session, &again));
    CHECK(fd >= 0 && again == fd && !is_readable(fd, 0));
    EXPECT(IDLE, frcnn_session_poll(session, 60000, found, 4, &count));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, submit_many, session) == 0);
    uint64_t last = 0, polled = 0;
    while (last != SUBMITTED) {
        CHECK(is_readable(fd, 60000));
        EXPECT(OK, frcnn_session_poll(session, 0, found, 4, &count));
        EXPECT(OK, frcnn_session_report(session, &report));
        CHECK(count == 1 && is_red_square(&found[0]) && report.frame_id > last);
        last = report.frame_id;
        polled++;
    }
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!is_readable(fd, 0));
    EXPECT(IDLE, frcnn_session_poll(session, 60000, found, 4, &count));
    EXPECT(OK, frcnn_session_stats(session, &stats));
    CHECK(stats.submitted == SUBMITTED && stats.completed == polled + stats.forgotten);

    /* More than are kept: it stays readable, as often as there are results. */
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_BGRA32);
    for (uint64_t before = stats.completed; stats.completed < before + 20;) {
        uint64_t done = stats.completed;
        EXPECT(OK, frcnn_session_submit(session, &p.frame, BOXES, 3));
        while (stats.completed == done) {
            usleep(100);
            EXPECT(OK, frcnn_session_stats(session, &stats));
        }
    }
    for (int i = 0; i < 16; i++) {
        CHECK(is_readable(fd, 0));
        EXPECT(OK, frcnn_session_poll(session, 0, found, 4, &count));
    }
    CHECK(!is_readable(fd, 0));
    frcnn_session_free(session);
    struct pollfd closed = {.fd = fd, .events = POLLIN};
    CHECK(poll(&closed, 1, 0) == 1 && closed.revents == POLLNVAL);
    frcnn_model_free(model);
}

static atomic_int messages;
static void count_message(uint32_t level, const char *target, const char *message, void *user) {
    CHECK(level >= FRCNN_LOG_LEVEL_ERROR && level <= FRCNN_LOG_LEVEL_INFO && target != NULL && message != NULL);
    CHECK(user == &messages);
    atomic_fetch_add(&messages, 1);
}

static void reload_and_log(void) {
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model);
    EXPECT(INVALID_ARGUMENT, frcnn_log_set_callback(count_message, 77, &messages));
    EXPECT(OK, frcnn_log_set_callback(count_message, FRCNN_LOG_LEVEL_INFO, &messages));
    uint64_t generation;
    EXPECT(IO, frcnn_model_reload(model, "/nowhere/model.frcnn"));
    EXPECT(OK, frcnn_model_generation(model, &generation));
    CHECK(generation == 1);
    EXPECT(OK, frcnn_model_reload(model, NULL));
    EXPECT(OK, frcnn_model_reload(model, bundle_path));
    EXPECT(OK, frcnn_model_generation(model, &generation));
    CHECK(generation == 3 && atomic_load(&messages) >= 2);
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_BGR24);
    frcnn_detection found[4];
    size_t count;
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 3, found, 4, &count));
    frcnn_report report = {.struct_size = sizeof report};
    EXPECT(OK, frcnn_session_report(session, &report));
    CHECK(count == 1 && is_red_square(&found[0]) && report.model_generation == 3);
    EXPECT(OK, frcnn_log_set_callback(NULL, FRCNN_LOG_LEVEL_TRACE, NULL));
    int so_far = atomic_load(&messages);
    EXPECT(OK, frcnn_model_reload(model, NULL));
    CHECK(atomic_load(&messages) == so_far);
    frcnn_session_free(session);
    frcnn_model_free(model);
}

static frcnn_session *new_stream(const frcnn_model *model, float tolerance, uint32_t reuse_mib) {
    frcnn_stream_options options;
    frcnn_session *stream = NULL;
    EXPECT(OK, frcnn_stream_options_init(&options, sizeof options));
    CHECK(options.struct_size == sizeof options && options.tolerance < 0 && options.reuse_mib > 0);
    options.tolerance = tolerance;
    options.reuse_mib = reuse_mib;
    EXPECT(OK, frcnn_stream_new(model, &options, &stream));
    return stream;
}

static frcnn_reuse reuse_of(const frcnn_session *stream) {
    frcnn_reuse reuse = {.struct_size = sizeof reuse};
    EXPECT(OK, frcnn_stream_reuse(stream, &reuse));
    return reuse;
}

/* A fixed camera's frames cost what has changed, and give what a session gives. */
static void streams(void) {
    enum { CELLS = WIDTH / 8 * HEIGHT / 8 };
    frcnn_model *model = open_model();
    frcnn_session *session = new_session(model), *stream = NULL;
    frcnn_stream_options options;
    frcnn_reuse reuse = {0};
    EXPECT(NULL_POINTER, frcnn_stream_options_init(NULL, sizeof options));
    EXPECT(STRUCT_SIZE, frcnn_stream_options_init(&options, 3));
    EXPECT(OK, frcnn_stream_options_init(&options, sizeof options));
    EXPECT(NULL_POINTER, frcnn_stream_new(NULL, &options, &stream));
    EXPECT(NULL_POINTER, frcnn_stream_new(model, &options, NULL));
    EXPECT(NULL_POINTER, frcnn_stream_reuse(NULL, &reuse));
    EXPECT(NULL_POINTER, frcnn_stream_reuse(session, NULL));
    EXPECT(STRUCT_SIZE, frcnn_stream_reuse(session, &reuse));
    options.tolerance = NAN;
    EXPECT(INVALID_ARGUMENT, frcnn_stream_new(model, &options, &stream));
    CHECK(stream == NULL && strstr(frcnn_last_error_message(), "tolerance") != NULL);
    options.tolerance = INFINITY;
    EXPECT(INVALID_ARGUMENT, frcnn_stream_new(model, &options, &stream));
    options.tolerance = 0;
    options.proposer = 77;
    EXPECT(INVALID_ARGUMENT, frcnn_stream_new(model, &options, &stream));
    options.proposer = FRCNN_PROPOSER_GRID;
    options.reserved = 1;
    EXPECT(INVALID_ARGUMENT, frcnn_stream_new(model, &options, &stream));
    CHECK(stream == NULL);

    frcnn_detection found[4], expected[4];
    size_t count, expected_count;
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_RGB24);
    EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 3, expected, 4, &expected_count));
    CHECK(expected_count == 1 && reuse_of(session).cells == 0 && reuse_of(session).kept_bytes == 0);

    EXPECT(OK, frcnn_stream_new(model, NULL, &stream));
    frcnn_session_free(stream);
    for (uint32_t reuse_mib = 0; reuse_mib <= 64; reuse_mib += 64) {
        stream = new_stream(model, 0, reuse_mib);
        for (int i = 0; i < 3; i++) {
            EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 3, found, 4, &count));
            CHECK(count == 1 && memcmp(found, expected, sizeof *found) == 0);
            reuse = reuse_of(stream);
            CHECK(reuse.cells == CELLS && reuse.cells_changed == (i == 0 ? CELLS : 0) && reuse.tolerance == 0);
            CHECK(reuse.trunk_share == (i == 0 ? 1 : 0) && reuse.kept_bytes >= 3 * WIDTH * HEIGHT);
            CHECK(reuse.rois > 0 && reuse.rois_reused == (i == 0 ? 0 : reuse.rois));
        }
        /* One byte makes a difference, to one cell of it. */
        p.bytes[0] ^= 1;
        EXPECT(OK, frcnn_session_submit(stream, &p.frame, BOXES, 3));
        EXPECT(OK, frcnn_session_poll(stream, 60000, found, 4, &count));
        reuse = reuse_of(stream);
        CHECK(count == 1 && is_red_square(&found[0]) && reuse.cells_changed == 1 && reuse.trunk_share > 0);
        p.bytes[0] ^= 1;
        /* No box, no network: the frame is as if it had not been. */
        EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 0, found, 4, &count));
        CHECK(count == 0 && reuse_of(stream).cells == 0);
        /* Another model has seen nothing yet. */
        EXPECT(OK, frcnn_model_reload(model, NULL));
        EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 3, found, 4, &count));
        CHECK(count == 1 && memcmp(found, expected, sizeof *found) == 0 && reuse_of(stream).cells_changed == CELLS);
        frcnn_session_free(stream);
    }

    /* What is tolerated is not seen, and what is more is. */
    stream = new_stream(model, 255, 64);
    EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 3, found, 4, &count));
    memset(p.bytes, 0, sizeof p.bytes);
    EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 3, found, 4, &count));
    CHECK(count == 1 && reuse_of(stream).cells_changed == 0 && reuse_of(stream).tolerance == 255);
    frcnn_session_free(stream);
    draw(&p, FRCNN_PIXEL_FORMAT_RGB24);
    stream = new_stream(model, 20, 64);
    EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 3, found, 4, &count));
    memset(p.bytes, 0, sizeof p.bytes);
    EXPECT(OK, frcnn_session_detect(stream, &p.frame, BOXES, 3, found, 4, &count));
    /* The square's 4 x 4 cells. */
    CHECK(count == 0 && reuse_of(stream).cells_changed == 16);
    frcnn_session_free(stream);
    frcnn_session_free(session);
    frcnn_model_free(model);
}

static void *detect_many(void *model) {
    frcnn_session *session = new_session(model);
    picture p;
    draw(&p, FRCNN_PIXEL_FORMAT_I420);
    for (int i = 0; i < 100; i++) {
        frcnn_detection found[4];
        size_t count;
        EXPECT(OK, frcnn_session_detect(session, &p.frame, BOXES, 3, found, 4, &count));
        CHECK(count == 1 && is_red_square(&found[0]));
        /* The message is this thread's own. */
        EXPECT(NULL_POINTER, frcnn_session_report(session, NULL));
        CHECK(strstr(frcnn_last_error_message(), "report") != NULL);
    }
    frcnn_session_free(session);
    return NULL;
}

static void two_threads_with_one_model(void) {
    frcnn_model *model = open_model();
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, detect_many, model) == 0);
    }
    for (int i = 0; i < 5; i++) {
        EXPECT(OK, frcnn_model_reload(model, NULL));
    }
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    frcnn_model_free(model);
}

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void many_frames(long frames, int as_stream, int measure_memory) {
    frcnn_model *model = open_model();
    frcnn_session *session = as_stream ? new_stream(model, 0, 64) : new_session(model);
    static picture pictures[8];
    for (uint32_t format = 0; format < 8; format++) {
        draw(&pictures[format], format);
    }
    /* After a tenth of the frames, a quarter, half, three quarters and all. */
    const long AFTER[5] = {frames / 10, frames / 4, frames / 2, frames * 3 / 4, frames};
    long resident[5] = {0};
    for (long i = 0; i < frames; i++) {
        for (int part = 0; part < 4; part++) {
            if (i == AFTER[part]) {
                resident[part] = resident_kib();
            }
        }
        frcnn_detection found[4];
        size_t count;
        picture *p = &pictures[i % 8];
        if (i % 2) {
            EXPECT(OK, frcnn_session_detect(session, &p->frame, BOXES, 3, found, 4, &count));
        } else {
            EXPECT(OK, frcnn_session_submit(session, &p->frame, BOXES, 3));
            EXPECT(OK, frcnn_session_poll(session, 60000, found, 4, &count));
        }
        CHECK(count == (p->frame.format != FRCNN_PIXEL_FORMAT_GRAY8));
    }
    resident[4] = resident_kib();
    long grown = resident[4] - resident[0], least = grown;
    for (int part = 0; part < 4; part++) {
        long by = resident[part + 1] - resident[part];
        least = by < least ? by : least;
    }
    printf("%ld frames, resident memory grew by %ld KiB\n", frames, grown);
    /* A leak grows in every part, by more than 256 KiB for 200 bytes a frame. What is taken once and late, such as a huge
       page of 2 MiB for code that an emulator translates, does not. */
    CHECK(!measure_memory || (least < 256 && grown < 4096));
    frcnn_session_free(session);
    frcnn_model_free(model);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: conformance BUNDLE DIVERGED JPEG FRAMES [memory]\n");
        return 2;
    }
    bundle_path = argv[1];
    versions();
    null_pointers();
    structure_sizes();
    opening();
    hostile_openings(bundle_path);
    frcnn_model *model = open_model();
    hostile_frames(model);
    frcnn_model_free(model);
    formats(argv[3]);
    detections_and_proposals();
    what_is_not_finite_is_counted(argv[2]);
    submit_and_poll();
    submit_and_poll_on_two_threads();
    reload_and_log();
    streams();
    objects_that_last();
    trackers_refuse();
    two_threads_with_one_model();
    many_frames(atol(argv[4]), 0, argc > 5);
    many_frames(atol(argv[4]), 1, argc > 5);
    puts("all entry points conform");
    return 0;
}
