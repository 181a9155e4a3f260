#include "source.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

source *source_new(const source_options *options, char *problem, size_t size) {
    source *s = NULL;
    if (options->device != NULL) {
        s = source_v4l2_new(options);
    } else if (options->format == FRCNN_PIXEL_FORMAT_MJPEG) {
        s = source_mjpeg_new(STDIN_FILENO);
    } else if (options->width == 0 || !options->format_given) {
        snprintf(problem, size, "raw frames on standard input need --format and --size");
        return NULL;
    } else {
        s = source_raw_new(options, STDIN_FILENO);
    }
    if (s == NULL) snprintf(problem, size, "out of memory");
    return s;
}

size_t raw_frame(frcnn_frame *frame, const source_options *options, const uint8_t *bytes) {
    size_t w = options->width, h = options->height;
    size_t half_w = (w + 1) / 2, half_h = (h + 1) / 2;
    size_t row = w, chroma_row = 0, planes = 1;
    switch (options->format) {
    case FRCNN_PIXEL_FORMAT_RGB24:
    case FRCNN_PIXEL_FORMAT_BGR24: row = 3 * w; break;
    case FRCNN_PIXEL_FORMAT_YUYV:
    case FRCNN_PIXEL_FORMAT_UYVY: row = 4 * half_w; break;
    case FRCNN_PIXEL_FORMAT_NV12:
    case FRCNN_PIXEL_FORMAT_NV21: chroma_row = 2 * half_w, planes = 2; break;
    case FRCNN_PIXEL_FORMAT_I420: chroma_row = half_w, planes = 3; break;
    default: break;
    }
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->width = options->width;
    frame->height = options->height;
    frame->format = options->format;
    frame->colour = options->colour;
    size_t used = 0;
    for (size_t i = 0; i < planes; i++) {
        size_t stride = i == 0 ? row : chroma_row, rows = i == 0 ? h : half_h;
        frame->planes[i] = (frcnn_plane){bytes == NULL ? NULL : bytes + used, stride * rows, stride};
        used += stride * rows;
    }
    return used;
}
