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
    } else if (options->layout == LAYOUT_STRIDE && options->stride < raw_row(options)) {
        snprintf(problem, size, "--stride: rows of %u pixels have %zu bytes", options->width, raw_row(options));
        return NULL;
    } else {
        s = source_raw_new(options, STDIN_FILENO);
    }
    if (s == NULL) snprintf(problem, size, "out of memory");
    return s;
}

size_t raw_row(const source_options *options) {
    size_t w = options->width;
    switch (options->format) {
    case FRCNN_PIXEL_FORMAT_RGB24:
    case FRCNN_PIXEL_FORMAT_BGR24: return 3 * w;
    case FRCNN_PIXEL_FORMAT_RGBA32:
    case FRCNN_PIXEL_FORMAT_BGRA32: return 4 * w;
    case FRCNN_PIXEL_FORMAT_YUYV:
    case FRCNN_PIXEL_FORMAT_UYVY: return 4 * ((w + 1) / 2);
    default: return w;
    }
}

size_t raw_frame(frcnn_frame *frame, const source_options *options, const uint8_t *bytes) {
    size_t w = options->width, h = options->height, row = raw_row(options);
    size_t chroma_row = 0, planes = 1;
    switch (options->format) {
    case FRCNN_PIXEL_FORMAT_NV12:
    case FRCNN_PIXEL_FORMAT_NV21: chroma_row = (w + 1) / 2 * 2, planes = 2; break;
    case FRCNN_PIXEL_FORMAT_I420: chroma_row = (w + 1) / 2, planes = 3; break;
    default: break;
    }
    size_t stride = row, chroma_stride = chroma_row, rows = h, chroma_rows = (h + 1) / 2;
    if (options->layout == LAYOUT_GSTREAMER) {
        stride = (row + 3) / 4 * 4;
        chroma_stride = (chroma_row + 3) / 4 * 4;
        if (planes > 1) rows = chroma_rows * 2;
    } else if (options->layout == LAYOUT_STRIDE) {
        stride = options->stride;
        chroma_stride = planes == 3 ? (stride + 1) / 2 : stride < chroma_row ? chroma_row : stride;
    }
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->width = options->width;
    frame->height = options->height;
    frame->format = options->format;
    frame->colour = options->colour;
    size_t used = 0;
    for (size_t i = 0; i < planes; i++) {
        size_t of_row = i == 0 ? stride : chroma_stride, of_plane = of_row * (i == 0 ? rows : chroma_rows);
        frame->planes[i] = (frcnn_plane){bytes == NULL ? NULL : bytes + used, of_plane, of_row};
        used += of_plane;
    }
    return used;
}

size_t raw_needed(const frcnn_frame *frame, const source_options *options) {
    size_t last = 2;
    while (last > 0 && frame->planes[last].stride == 0) last--;
    size_t rows = last == 0 ? options->height : ((size_t)options->height + 1) / 2, row = raw_row(options);
    if (last > 0) row = ((size_t)options->width + 1) / 2 * (last == 1 ? 2 : 1);
    size_t needed = (rows - 1) * frame->planes[last].stride + row;
    for (size_t i = 0; i < last; i++) needed += frame->planes[i].size;
    return needed;
}
