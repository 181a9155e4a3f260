/*
 * Where frames come from. The main loop knows only this interface; a new kind of camera is one more file.
 *
 *     source_v4l2.c    a camera, /dev/videoN
 *     source_raw.c     raw frames on a pipe
 *     source_mjpeg.c   JPEGs one after another on a pipe
 */
#ifndef SOURCE_H
#define SOURCE_H

#include <frcnn.h>
#include <stddef.h>
#include <stdint.h>

typedef enum source_event {
    SOURCE_FRAME,   /* A whole frame; good until the next call of release. */
    SOURCE_NOTHING, /* No frame yet: wait for the descriptor. */
    SOURCE_MORE,    /* No frame yet, but more to read at once: so that nobody waits for a frame that may never come. */
    SOURCE_CORRUPT, /* Part of a frame was lost; go on. */
    SOURCE_CUT,     /* The stream ended in the middle of a frame. */
    SOURCE_END,     /* The stream ended. */
    SOURCE_LOST,    /* The camera is gone or does not answer; `problem` says why. Close, wait, open again. */
} source_event;

enum { SOURCE_BYTES = 4 << 20 };

typedef struct source source;
struct source {
    /* 0, or -1 with `problem` set. */
    int (*open)(source *s);
    /* Never blocks, and reads no more than SOURCE_BYTES beyond a frame before it returns. */
    source_event (*read)(source *s, frcnn_frame *frame);
    /* Gives the memory of the last frame back. */
    void (*release)(source *s);
    void (*close)(source *s);
    /* Closes and frees. */
    void (*free)(source *s);
    /* Readable when there may be a frame; -1 while closed. */
    int fd;
    /* Whether opening it again after SOURCE_LOST makes sense. */
    int reopens;
    /* After -1, SOURCE_LOST and SOURCE_CUT; and after `open` what was assumed of the input, if anything was. */
    char problem[240];
};

/* Where the rows and planes of raw frames begin. */
typedef enum raw_layout {
    LAYOUT_UNSAID,    /* PACKED, with a word about it where that makes a difference. */
    LAYOUT_PACKED,    /* One directly after the other, as ffmpeg writes them. */
    LAYOUT_GSTREAMER, /* Rows padded to 4 bytes, and heights to 2 rows where chroma has half of them. */
    LAYOUT_STRIDE,    /* `stride` bytes from row to row; half of that in the half-width planes of I420. */
} raw_layout;

/* What the user said about the input; 0 or NULL where nothing. */
typedef struct source_options {
    const char *device; /* NULL for standard input. */
    uint32_t width, height;
    uint32_t format; /* A frcnn_pixel_format. */
    int format_given;
    uint32_t colour; /* A frcnn_colour. */
    int colour_given;
    raw_layout layout;
    size_t stride;
} source_options;

/* NULL without memory, or with `problem` filled. */
source *source_new(const source_options *options, char *problem, size_t size);

source *source_raw_new(const source_options *options, int fd);
source *source_mjpeg_new(int fd);
source *source_v4l2_new(const source_options *options);

/* Bytes of a row of the first plane without padding. */
size_t raw_row(const source_options *options);

/* Bytes of a raw frame by its layout, and its planes if it lies at `bytes`. */
size_t raw_frame(frcnn_frame *frame, const source_options *options, const uint8_t *bytes);

/* The same up to the last byte that is used: a driver may leave the padding behind it away. */
size_t raw_needed(const frcnn_frame *frame, const source_options *options);

#endif
