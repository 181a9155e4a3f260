/*
 * Prints what a model finds in photos, a line of JSON for each. `conformance` builds it with the library under test:
 *
 *     cc detections.c -o detections -I PREFIX/include -L PREFIX/lib -lfrcnn
 *     ./detections MODEL.frcnn PHOTO.ppm...
 *
 * Photos are binary PPM, so that every machine reads the same pixels.
 */
#include <stdio.h>
#include <stdlib.h>

#include <frcnn.h>

static int failed(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

/* The pixels of an 8-bit PPM, to be freed; NULL if it is none. */
static uint8_t *read_ppm(const char *path, unsigned *width, unsigned *height) {
    FILE *file = fopen(path, "rb");
    uint8_t *pixels = NULL;
    if (!file) return NULL;
    if (fscanf(file, "P6 %5u %5u 255", width, height) == 2 && fgetc(file) == '\n') {
        size_t size = (size_t)*width * *height * 3;
        pixels = malloc(size ? size : 1);
        if (pixels && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    return pixels;
}

/* Nine digits tell every float apart. */
static void print(const char *path, const frcnn_detection *found, size_t count) {
    printf("{\"image\": \"%s\", \"detections\": [", path);
    for (size_t i = 0; i < count; i++) {
        frcnn_box box = found[i].bbox;
        printf("%s{\"class_id\": %u, \"score\": %.9g, \"box\": [%.9g, %.9g, %.9g, %.9g]}", i ? ", " : "",
               (unsigned)found[i].class_id, found[i].score, box.x1, box.y1, box.x2, box.y2);
    }
    printf("]}\n");
}

static int detect(frcnn_session *session, const char *path) {
    frcnn_frame frame = { .struct_size = sizeof frame, .format = FRCNN_PIXEL_FORMAT_RGB24 };
    unsigned width, height;
    uint8_t *pixels = read_ppm(path, &width, &height);
    if (!pixels) return failed(path, "is not a binary PPM of 8 bits");
    frame.width = width;
    frame.height = height;
    frame.planes[0] = (frcnn_plane){ .data = pixels, .size = (size_t)width * height * 3, .stride = (size_t)width * 3 };
    frcnn_detection found[FRCNN_MAX_DETECTIONS];
    size_t count = 0;
    /* No boxes of our own: the model proposes them. */
    frcnn_result result = frcnn_session_detect(session, &frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count);
    free(pixels);
    if (result != FRCNN_RESULT_OK) return failed(path, frcnn_last_error_message());
    print(path, found, count);
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3) return failed("usage", "detections MODEL.frcnn PHOTO.ppm...");
    frcnn_model *model = NULL;
    frcnn_session *session = NULL;
    int status = 0;
    if (frcnn_model_open(argv[1], NULL, &model) != FRCNN_RESULT_OK || frcnn_session_new(model, NULL, &session) != FRCNN_RESULT_OK)
        status = failed(argv[1], frcnn_last_error_message());
    for (int i = 2; status == 0 && i < argc; i++) status = detect(session, argv[i]);
    frcnn_session_free(session);
    frcnn_model_free(model);
    return status;
}
