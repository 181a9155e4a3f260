/* Raw frames on a pipe, one after another, without padding: `ffmpeg … -f rawvideo -` writes them. */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct raw {
    source base;
    source_options options;
    int pipe;
    uint8_t *bytes;
    size_t size, have;
} raw;

static int raw_open(source *s) {
    raw *r = (raw *)s;
    fcntl(r->pipe, F_SETFL, fcntl(r->pipe, F_GETFL) | O_NONBLOCK);
    s->fd = r->pipe;
    r->have = 0;
    return 0;
}

static source_event raw_read(source *s, frcnn_frame *frame) {
    raw *r = (raw *)s;
    while (r->have < r->size) {
        ssize_t got = read(r->pipe, r->bytes + r->have, r->size - r->have);
        if (got > 0) {
            r->have += (size_t)got;
        } else if (got == 0) {
            return r->have == 0 ? SOURCE_END : SOURCE_CUT;
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
    frcnn_frame frame;
    r->base = (source){.open = raw_open, .read = raw_read, .release = raw_release, .close = raw_close, .free = raw_free, .fd = -1};
    r->options = *options;
    r->pipe = fd;
    r->size = raw_frame(&frame, options, NULL);
    r->bytes = malloc(r->size);
    if (r->bytes == NULL) {
        free(r);
        return NULL;
    }
    return &r->base;
}
