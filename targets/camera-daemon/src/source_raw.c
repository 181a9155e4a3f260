/*
 * Raw frames on a pipe, one after another: packed as `ffmpeg … -f rawvideo -` writes them, or padded as GStreamer does.
 * Nothing in the bytes tells the two apart. A file's size may; otherwise they are taken as packed, and that is said.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct raw {
    source base;
    source_options options;
    int pipe;
    uint8_t *bytes; /* Room for a frame by any layout. */
    size_t size, have;
    size_t padded_size; /* By GStreamer's layout. */
    uint64_t total;     /* Bytes read. */
} raw;

static size_t size_by(const raw *r, raw_layout layout) {
    source_options options = r->options;
    frcnn_frame frame;
    options.layout = layout;
    return raw_frame(&frame, &options, NULL);
}

/* Where nothing was said and the layouts differ: what is assumed, in `problem`. */
static void assume_layout(raw *r) {
    struct stat about;
    if (r->options.layout != LAYOUT_UNSAID || r->padded_size == r->size) return;
    int file = fstat(r->pipe, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0;
    uint64_t bytes = file ? (uint64_t)about.st_size : 0;
    if (file && bytes % r->size == 0 && bytes % r->padded_size != 0) return;
    int padded = file && bytes % r->padded_size == 0 && bytes % r->size != 0;
    if (padded) {
        r->options.layout = LAYOUT_GSTREAMER;
        r->size = r->padded_size;
    }
    snprintf(r->base.problem, sizeof r->base.problem,
             "%u x %u: frames are taken as %s; ffmpeg writes %zu bytes a frame, GStreamer %zu; --stride packed, gstreamer or BYTES says which",
             r->options.width, r->options.height, padded ? "GStreamer's by the file's size" : "packed", size_by(r, LAYOUT_PACKED),
             r->padded_size);
}

/* The stream ended where no frame does: says so, and what would have fitted. */
static void explain_rest(raw *r) {
    const char *hint = "";
    raw_layout layout = r->options.layout;
    if (layout != LAYOUT_GSTREAMER && r->total % r->padded_size == 0) hint = "; they are whole frames by --stride gstreamer";
    if (layout != LAYOUT_PACKED && layout != LAYOUT_UNSAID && r->total % size_by(r, LAYOUT_PACKED) == 0) {
        hint = "; they are whole frames by --stride packed";
    }
    snprintf(r->base.problem, sizeof r->base.problem, "the stream ended within a frame: %llu bytes are not a multiple of %zu%s",
             (unsigned long long)r->total, r->size, hint);
}

static int raw_open(source *s) {
    raw *r = (raw *)s;
    fcntl(r->pipe, F_SETFL, fcntl(r->pipe, F_GETFL) | O_NONBLOCK);
    s->fd = r->pipe;
    r->have = 0;
    assume_layout(r);
    return 0;
}

static source_event raw_read(source *s, frcnn_frame *frame) {
    raw *r = (raw *)s;
    for (size_t bytes = 0; r->have < r->size;) {
        if (bytes >= SOURCE_BYTES) return SOURCE_MORE;
        size_t wanted = r->size - r->have;
        ssize_t got = read(r->pipe, r->bytes + r->have, wanted < SOURCE_BYTES ? wanted : SOURCE_BYTES);
        if (got > 0) {
            bytes += (size_t)got;
            r->have += (size_t)got;
            r->total += (uint64_t)got;
        } else if (got == 0) {
            if (r->have == 0) return SOURCE_END;
            explain_rest(r);
            return SOURCE_CUT;
        } else if (errno == EAGAIN) {
            return SOURCE_NOTHING;
        } else if (errno != EINTR) {
            snprintf(s->problem, sizeof s->problem, "standard input: %s", strerror(errno));
            return SOURCE_LOST;
        }
    }
    raw_frame(frame, &r->options, r->bytes);
    return SOURCE_FRAME;
}

static void raw_release(source *s) { ((raw *)s)->have = 0; }

static void raw_close(source *s) { s->fd = -1; }

static void raw_free(source *s) {
    free(((raw *)s)->bytes);
    free(s);
}

source *source_raw_new(const source_options *options, int fd) {
    raw *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->base = (source){.open = raw_open, .read = raw_read, .release = raw_release, .close = raw_close, .free = raw_free, .fd = -1};
    r->options = *options;
    r->pipe = fd;
    r->size = size_by(r, options->layout);
    r->padded_size = size_by(r, LAYOUT_GSTREAMER);
    r->bytes = malloc(r->size > r->padded_size ? r->size : r->padded_size);
    if (r->bytes == NULL) {
        free(r);
        return NULL;
    }
    return &r->base;
}
