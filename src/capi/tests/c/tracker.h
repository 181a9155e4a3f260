/* Objects that last, through the C functions. */
#ifndef TRACKER_H
#define TRACKER_H

#include "check.h"

#include <math.h>

enum { TICK = 100 * 1000 * 1000 };

static inline frcnn_detection disc_at(float x) {
    frcnn_detection d = {.class_id = 1, .score = 0.9f, .bbox = {x, 20, x + 19, 39}};
    return d;
}

/* Drives for 3 s, stands for 10 in which only look_again proposes it, and is taken away. */
static inline void objects_that_last(void) {
    frcnn_tracker_options options;
    EXPECT(OK, frcnn_tracker_options_init(&options, sizeof options));
    CHECK(options.high_score == 0.5f && options.lost_after_ms == 2000 && options.max_path == 100);
    options.width = 640, options.height = 480;
    frcnn_tracker *tracker;
    EXPECT(OK, frcnn_tracker_new(&options, &tracker));
    frcnn_point right_half[] = {{50, 0}, {640, 0}, {640, 480}, {50, 480}};
    uint32_t zone = 9, classes[] = {1, 7};
    EXPECT(OK, frcnn_tracker_add_zone(tracker, right_half, 4, classes, 2, &zone));
    CHECK(zone == 0);
    frcnn_point corner[] = {{600, 440}, {640, 440}, {640, 480}};
    EXPECT(OK, frcnn_tracker_add_mask(tracker, corner, 3));
    frcnn_class_rule rule = {.struct_size = sizeof rule, .threshold = -INFINITY, .min_width = 5, .min_height = 5};
    EXPECT(OK, frcnn_tracker_set_class_rule(tracker, 1, &rule));
    EXPECT(OK, frcnn_tracker_set_class_rule(tracker, 0, &rule));

    uint32_t changes[8], happened = 0;
    frcnn_path_point path[101];
    size_t points = 0, places = 0;
    frcnn_event event = {.struct_size = sizeof event};
    for (uint64_t tick = 0; tick < 250; tick++) {
        frcnn_detection found[3] = {disc_at(tick < 30 ? 10 + 4 * (float)tick : 126)};
        found[1] = disc_at(NAN);
        found[2] = (frcnn_detection){.class_id = 1, .score = 0.9f, .bbox = {625, 440, 632, 460}};
        frcnn_box looked[4];
        size_t again;
        EXPECT(OK, frcnn_tracker_look_again(tracker, tick * TICK, looked, 4, &again));
        places += again;
        int is_seen = tick < 60 || (tick < 130 && again > 0);
        if (tick < 60) looked[again++] = found[0].bbox;
        EXPECT(OK, frcnn_tracker_update(tracker, tick * TICK, is_seen ? found : found + 1, is_seen ? 3 : 2, looked, again));
        while (frcnn_tracker_next_event(tracker, &event, path, 101, &points) == FRCNN_RESULT_OK) {
            CHECK(happened < 8 && event.object.id == 1 && event.object.class_id == 1 && points >= 1);
            changes[happened++] = event.change;
        }
        frcnn_object objects[2];
        size_t count;
        EXPECT(OK, frcnn_tracker_objects(tracker, objects, 2, &count));
        CHECK(count == (tick >= 3 && happened < 3));
        if (count == 1 && tick == 100)
            CHECK(objects[0].stationary == 1 && objects[0].zones == 1 && fabsf(objects[0].bbox.x1 - 126) < 2 &&
                  objects[0].best_score == 0.9f && objects[0].first_seen_ns == 0);
    }
    CHECK(happened == 3 && changes[0] == FRCNN_CHANGE_STARTED && changes[1] == FRCNN_CHANGE_STOPPED &&
          changes[2] == FRCNN_CHANGE_ENDED);
    CHECK(places > 10 && points > 10 && fabsf(path[0].x - 19.5f) < 2 && fabsf(path[points - 1].x - 135.5f) < 2);
    frcnn_track_counts counts = {.struct_size = sizeof counts};
    EXPECT(OK, frcnn_tracker_counts(tracker, &counts));
    CHECK(counts.refused == 250 && counts.masked == 250 && counts.small == 0 && counts.events_lost == 0);
    frcnn_tracker_free(tracker);
}

static inline void trackers_refuse(void) {
    frcnn_tracker *tracker = (frcnn_tracker *)&tracker;
    frcnn_tracker_options options;
    EXPECT(NULL_POINTER, frcnn_tracker_options_init(NULL, sizeof options));
    EXPECT(STRUCT_SIZE, frcnn_tracker_options_init(&options, 3));
    EXPECT(OK, frcnn_tracker_options_init(&options, sizeof options));
    options.high_score = NAN;
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_new(&options, &tracker));
    CHECK(tracker == NULL && strstr(frcnn_last_error_message(), "high_score") != NULL);
    options.high_score = 0.5f, options.max_objects = 0;
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_new(&options, &tracker));
    options.max_objects = 2, options.width = 640;
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_new(&options, &tracker));
    options.width = 0, options.reserved = 1;
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_new(&options, &tracker));
    options.reserved = 0;
    EXPECT(NULL_POINTER, frcnn_tracker_new(NULL, NULL));
    EXPECT(OK, frcnn_tracker_new(&options, &tracker));

    frcnn_point points[300] = {{0, 0}, {9, 0}, {9, NAN}};
    uint32_t zone, class_id = 1;
    size_t count;
    frcnn_box box = {0, 0, 9, 9};
    frcnn_detection d = disc_at(50);
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_add_zone(tracker, points, 3, NULL, 0, &zone));
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_add_mask(tracker, points, 2));
    points[2].y = 9;
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_add_mask(tracker, points, 300));
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_add_mask(tracker, points, SIZE_MAX));
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_add_zone(tracker, points, 3, &class_id, SIZE_MAX, &zone));
    EXPECT(NULL_POINTER, frcnn_tracker_add_zone(tracker, points, 3, NULL, 1, &zone));
    EXPECT(NULL_POINTER, frcnn_tracker_add_zone(tracker, NULL, 3, NULL, 0, &zone));
    EXPECT(NULL_POINTER, frcnn_tracker_add_zone(NULL, points, 3, NULL, 0, &zone));
    EXPECT(NULL_POINTER, frcnn_tracker_add_zone(tracker, points, 3, NULL, 0, NULL));
    EXPECT(NULL_POINTER, frcnn_tracker_add_mask(NULL, points, 3));
    for (uint32_t i = 0; i < 64; i++) EXPECT(OK, frcnn_tracker_add_zone(tracker, points, 3, NULL, 0, &zone));
    CHECK(zone == 63);
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_add_zone(tracker, points, 3, NULL, 0, &zone));
    frcnn_class_rule rule = {.struct_size = sizeof rule, .threshold = NAN};
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_set_class_rule(tracker, 1, &rule));
    rule.threshold = 0.5f;
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_set_class_rule(tracker, 65536, &rule));
    EXPECT(NULL_POINTER, frcnn_tracker_set_class_rule(tracker, 1, NULL));
    EXPECT(NULL_POINTER, frcnn_tracker_set_class_rule(NULL, 1, &rule));
    EXPECT(NULL_POINTER, frcnn_tracker_look_again(NULL, 0, &box, 1, &count));
    EXPECT(NULL_POINTER, frcnn_tracker_look_again(tracker, 0, NULL, 1, &count));
    EXPECT(NULL_POINTER, frcnn_tracker_look_again(tracker, 0, &box, 1, NULL));
    EXPECT(NULL_POINTER, frcnn_tracker_update(NULL, 0, &d, 1, NULL, 0));
    EXPECT(NULL_POINTER, frcnn_tracker_update(tracker, 0, NULL, 1, NULL, 0));
    EXPECT(NULL_POINTER, frcnn_tracker_update(tracker, 0, &d, 1, NULL, 1));
    EXPECT(INVALID_ARGUMENT, frcnn_tracker_update(tracker, 0, &d, SIZE_MAX, NULL, 0));

    /* Two objects, and room for one. */
    for (uint64_t tick = 0; tick < 6; tick++) {
        frcnn_detection two[] = {d, disc_at(200)};
        EXPECT(OK, frcnn_tracker_update(tracker, UINT64_MAX - 10 * TICK + tick * TICK, two, 2, NULL, 0));
    }
    frcnn_object objects[2];
    EXPECT(BUFFER_TOO_SMALL, frcnn_tracker_objects(tracker, objects, 1, &count));
    CHECK(count == 2 && objects[0].id == 1);
    EXPECT(NULL_POINTER, frcnn_tracker_objects(tracker, NULL, 1, &count));
    EXPECT(NULL_POINTER, frcnn_tracker_objects(tracker, objects, 1, NULL));
    EXPECT(NULL_POINTER, frcnn_tracker_objects(NULL, objects, 1, &count));
    frcnn_event event = {.struct_size = sizeof event};
    frcnn_path_point point;
    EXPECT(NULL_POINTER, frcnn_tracker_next_event(tracker, NULL, &point, 1, &count));
    EXPECT(NULL_POINTER, frcnn_tracker_next_event(NULL, &event, &point, 1, &count));
    EXPECT(NULL_POINTER, frcnn_tracker_next_event(tracker, &event, NULL, 1, &count));
    EXPECT(NULL_POINTER, frcnn_tracker_next_event(tracker, &event, &point, 1, NULL));
    EXPECT(BUFFER_TOO_SMALL, frcnn_tracker_next_event(tracker, &event, NULL, 0, &count));
    CHECK(count >= 1 && event.object.id == 1);
    event.struct_size = 0;
    EXPECT(STRUCT_SIZE, frcnn_tracker_next_event(tracker, &event, NULL, 0, NULL));
    event.struct_size = sizeof event;
    EXPECT(OK, frcnn_tracker_finish(tracker));
    EXPECT(NULL_POINTER, frcnn_tracker_finish(NULL));
    for (uint64_t i = 0; i < 4; i++) {
        EXPECT(OK, frcnn_tracker_next_event(tracker, &event, NULL, 0, NULL));
        CHECK(event.object.id == 1 + i % 2 && event.change == (i < 2 ? FRCNN_CHANGE_STARTED : FRCNN_CHANGE_ENDED));
    }
    EXPECT(IDLE, frcnn_tracker_next_event(tracker, &event, NULL, 0, NULL));
    frcnn_track_counts counts = {.struct_size = 1};
    EXPECT(STRUCT_SIZE, frcnn_tracker_counts(tracker, &counts));
    EXPECT(NULL_POINTER, frcnn_tracker_counts(tracker, NULL));
    EXPECT(NULL_POINTER, frcnn_tracker_counts(NULL, &counts));
    frcnn_tracker_free(tracker);
    frcnn_tracker_free(NULL);
}

#endif
