/*
 * Prints what a model finds in a JPEG. Build it with the installed library:
 *
 *     cc photo.c -o photo $(pkg-config --cflags --libs frcnn)
 *     ./photo model.frcnn photo.jpg
 *
 * Boxes are in the pixels that the JPEG stores: a photo that a phone marks as turned (EXIF) is not turned here.
 */
#include <stdio.h>
#include <stdlib.h>

#include <frcnn.h>

static int failed(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

/* The bytes of a file, to be freed; NULL where it cannot be read. */
static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    long end;
    if (!file) return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (end = ftell(file)) > 0 && (bytes = malloc((size_t)end))) {
        rewind(file);
        *size = fread(bytes, 1, (size_t)end, file);
    }
    fclose(file);
    return bytes;
}

int main(int argc, char **argv) {
    if (argc != 3) return failed("usage", "photo MODEL.frcnn PHOTO.jpg");
    size_t size = 0, count = 0;
    uint8_t *jpeg = read_file(argv[2], &size);
    if (!jpeg) return failed(argv[2], "cannot be read");

    frcnn_model *model = NULL;
    frcnn_session *session = NULL;
    frcnn_detection found[FRCNN_MAX_DETECTIONS];
    frcnn_frame frame = { .struct_size = sizeof frame, .format = FRCNN_PIXEL_FORMAT_MJPEG,
                          .planes = { { .data = jpeg, .size = size } } };
    /* No boxes of our own: the session proposes them itself. */
    int status = 0;
    if (frcnn_model_open(argv[1], NULL, &model) != FRCNN_RESULT_OK || frcnn_session_new(model, NULL, &session) != FRCNN_RESULT_OK) {
        status = failed("model", frcnn_last_error_message());
    } else if (frcnn_session_detect(session, &frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count) != FRCNN_RESULT_OK) {
        status = failed(argv[2], frcnn_last_error_message());
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        char name[256];
        frcnn_box box = found[i].bbox;
        if (frcnn_model_class_name(model, found[i].class_id, name, sizeof name) != FRCNN_RESULT_OK) name[0] = 0;
        printf("%-12s %.2f  %.0f %.0f %.0f %.0f\n", name, found[i].score, box.x1, box.y1, box.x2, box.y2);
    }
    frcnn_session_free(session);
    frcnn_model_free(model);
    free(jpeg);
    return status;
}
