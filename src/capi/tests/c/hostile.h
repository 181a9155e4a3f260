/* Arguments that nobody should give: each is answered by a result, none by FRCNN_RESULT_PANIC. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "check.h"

#include <math.h>
#include <stdint.h>

static inline uint32_t any(uint32_t below) {
    static uint32_t state = 7;
    state = state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)state * below >> 32);
}

/* Paths that are none, bundles that are cut short, thresholds that are no numbers. */
static inline void hostile_openings(const char *bundle_path) {
    frcnn_model *model;
    EXPECT(IO, frcnn_model_open("", NULL, &model));
    EXPECT(IO, frcnn_model_open("\xff\xfe\x80/no UTF-8.frcnn", NULL, &model));
    for (const char *c = frcnn_last_error_message(); *c != '\0'; c++) CHECK((unsigned char)*c >= ' ');
    EXPECT(IO, frcnn_model_open("/tmp/\x1b]0;title\x07.frcnn", NULL, &model));
    for (const char *c = frcnn_last_error_message(); *c != '\0'; c++) CHECK((unsigned char)*c >= ' ');
    frcnn_result came = frcnn_model_open("/", NULL, &model);
    CHECK(came == FRCNN_RESULT_IO || came == FRCNN_RESULT_BUNDLE);
    EXPECT(INVALID_ARGUMENT, frcnn_model_open_bytes((const uint8_t *)"x", SIZE_MAX, NULL, &model));
    EXPECT(BUNDLE, frcnn_model_open_bytes((const uint8_t *)"", 0, NULL, &model));

    EXPECT(INVALID_ARGUMENT, frcnn_model_open_static((const uint8_t *)"x", SIZE_MAX, NULL, &model));

    /* Not changed once it is read: a model may use it where it lies. */
    static _Alignas(64) uint8_t bytes[1 << 18];
    FILE *file = fopen(bundle_path, "rb");
    CHECK(file != NULL);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    CHECK(size > 1024 && size < sizeof bytes);
    for (size_t part = 0; part < size; part += part < 256 ? 1 : 1021) {
        EXPECT(BUNDLE, frcnn_model_open_bytes(bytes, part, NULL, &model));
        CHECK(model == NULL);
        EXPECT(BUNDLE, frcnn_model_open_static(bytes, part, NULL, &model));
        CHECK(model == NULL);
    }
    size_t classes = 0;
    EXPECT(OK, frcnn_model_open_static(bytes, size, NULL, &model));
    EXPECT(OK, frcnn_model_class_count(model, &classes));
    CHECK(classes == 4);
    EXPECT(INVALID_ARGUMENT, frcnn_model_reload(model, NULL));
    frcnn_model_free(model);
    static const float WRONG[] = {NAN, INFINITY, 1e30f, -0.0f - 1e-30f};
    for (size_t i = 0; i < 10; i++) {
        frcnn_model_options options;
        EXPECT(OK, frcnn_model_options_init(&options, sizeof options));
        if (i < 4) {
            options.score_threshold = WRONG[i];
        } else if (i < 7) {
            options.nms_iou = WRONG[i - 4];
        } else if (i == 7) {
            options.max_detections = UINT32_MAX;
        } else if (i == 8) {
            options.f32_products = FRCNN_F32_PRODUCTS_EXACT + 1;
        } else {
            options.reserved = 1;
        }
        EXPECT(INVALID_ARGUMENT, frcnn_model_open(bundle_path, &options, &model));
        CHECK(model == NULL);
    }
    EXPECT(OK, frcnn_model_open(bundle_path, NULL, &model));
    char name[4];
    EXPECT(INVALID_ARGUMENT, frcnn_model_class_name(model, UINT32_MAX, name, 1));
    EXPECT(BUFFER_TOO_SMALL, frcnn_model_class_name(model, 1, name, 1));
    EXPECT(IO, frcnn_model_reload(model, "\xff"));
    EXPECT(STRUCT_SIZE, frcnn_model_options_init((frcnn_model_options *)name, SIZE_MAX));
    frcnn_model_free(model);
}

/* Frames of all formats, of sizes, strides and planes that fit, nearly fit or do not; boxes of any number. */
static inline void hostile_frames(const frcnn_model *model) {
    enum { BYTES = 1 << 13, FRAMES = 1500 };
    static const uint32_t SIDES[] = {0, 1, 2, 3, 5, 16, 17, 32768, 32769, UINT32_MAX};
    static const size_t STRIDES[] = {0, 1, 3, 16, 51, UINT32_MAX, (size_t)UINT32_MAX + 1, SIZE_MAX / 2, SIZE_MAX - 15, SIZE_MAX};
    static const float NUMBERS[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, -1, 8, 15.5f, 1e-40f};
    uint8_t *bytes = malloc(BYTES);
    CHECK(bytes != NULL);
    for (size_t i = 0; i < BYTES; i++) bytes[i] = (uint8_t)any(256);
    frcnn_session *session;
    EXPECT(OK, frcnn_session_new(model, NULL, &session));
    size_t accepted = 0;
    for (int i = 0; i < FRAMES; i++) {
        frcnn_frame frame = {.struct_size = sizeof frame, .id = (uint64_t)i};
        frame.width = SIDES[any(any(2) ? 7 : 10)];
        frame.height = SIDES[any(any(2) ? 7 : 10)];
        frame.format = any(10);
        frame.colour = any(5);
        for (int p = 0; p < 3; p++) {
            /* What is stated is there. */
            size_t size = any(4) == 0 ? any(64) : any(BYTES + 1);
            size_t stride = any(2) ? STRIDES[any(10)] : frame.width <= 17 ? frame.width * (any(3) + 1) + any(5) : any(1 << 17);
            frame.planes[p] = (frcnn_plane){any(50) == 0 ? NULL : bytes + (BYTES - size), size, stride};
        }
        frcnn_box boxes[4];
        size_t count, given = any(5);
        for (size_t b = 0; b < 4; b++) boxes[b] = (frcnn_box){NUMBERS[any(10)], NUMBERS[any(10)], NUMBERS[any(10)], NUMBERS[any(10)]};
        frcnn_detection found[4];
        frcnn_result came;
        if (any(8) != 0) {
            came = frcnn_session_detect(session, &frame, boxes, given, found, 4, &count);
        } else {
            came = frcnn_session_submit(session, &frame, boxes, given);
            if (came == FRCNN_RESULT_OK) came = frcnn_session_poll(session, 60000, found, 4, &count);
        }
        int right = came == FRCNN_RESULT_OK || came == FRCNN_RESULT_FRAME || came == FRCNN_RESULT_IMAGE_SIZE ||
                    came == FRCNN_RESULT_DECODE || came == FRCNN_RESULT_NULL_POINTER || came == FRCNN_RESULT_BUFFER_TOO_SMALL;
        if (!right) {
            fprintf(stderr, "frame %d, %u x %u, format %u: %s (%s)\n", i, frame.width, frame.height, frame.format,
                    frcnn_result_name(came), frcnn_last_error_message());
            exit(1);
        }
        accepted += came == FRCNN_RESULT_OK;
        for (size_t d = 0; came == FRCNN_RESULT_OK && d < count; d++) {
            const frcnn_box *b = &found[d].bbox;
            CHECK(b->x1 >= 0 && b->y1 >= 0 && b->x1 <= b->x2 && b->y1 <= b->y2 && b->x2 < frame.width && b->y2 < frame.height);
        }
    }
    printf("%zu of %d hostile frames were accepted\n", accepted, FRAMES);
    CHECK(accepted > FRAMES / 100);
    frcnn_session_free(session);
    free(bytes);
}

#endif
