/*
 * JPEGs one after another on a pipe: `ffmpeg … -f mjpeg -` and many network cameras write them.
 *
 * A JPEG is followed segment by segment, so that a thumbnail inside it is not taken for its end. Where that fails, the
 * bytes up to the next start of an image are passed over and the frame is counted as corrupt. What looks whole may
 * still be damaged inside; the library's decoder finds that.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROOM = 16 << 20, CHUNK = 64 << 10 };

typedef struct mjpeg {
    source base;
    int pipe;
    uint8_t *bytes; /* ROOM of them, pages that were never needed cost nothing. */
    size_t have;    /* Bytes read and not given back. */
    size_t frame;   /* Bytes of the frame that was handed out, at the start. */
    size_t at;      /* How far the JPEG at the start was followed; 0 before its first segment. */
    int in_scan;    /* Whether `at` stands in compressed pixels. */
    int searching;  /* For a start of an image, after bytes that were none. */
    int ended;
} mjpeg;

static void pass_over(mjpeg *m, size_t size) {
    memmove(m->bytes, m->bytes + size, m->have - size);
    m->have -= size;
    m->at = 0;
    m->in_scan = 0;
}

/* Passes over everything before the next FF D8 from `from` on; whether that was more than nothing. */
static int to_next_start(mjpeg *m, size_t from) {
    size_t i = from;
    while (i + 1 < m->have && !(m->bytes[i] == 0xff && m->bytes[i + 1] == 0xd8)) i++;
    /* The last byte may be the first half of a start. */
    if (i + 1 >= m->have && i < m->have && m->bytes[i] != 0xff) i++;
    if (i > 0) pass_over(m, i);
    return i > 0;
}

typedef enum { WHOLE, MORE, BROKEN } progress;

/* Follows the JPEG at the start as far as there are bytes. */
static progress follow(mjpeg *m) {
    const uint8_t *b = m->bytes;
    if (m->at == 0) m->at = 2;
    for (;;) {
        if (m->in_scan) {
            const uint8_t *ff = memchr(b + m->at, 0xff, m->have - m->at);
            if (ff == NULL) {
                m->at = m->have;
                return MORE;
            }
            m->at = (size_t)(ff - b);
            if (m->at + 1 >= m->have) return MORE;
            uint8_t code = b[m->at + 1];
            /* A stuffed FF, a restart marker, a fill byte. */
            if (code == 0x00 || (code >= 0xd0 && code <= 0xd7)) {
                m->at += 2;
                continue;
            }
            if (code == 0xff) {
                m->at += 1;
                continue;
            }
            m->in_scan = 0;
        }
        if (m->at + 1 >= m->have) return MORE;
        if (b[m->at] != 0xff) return BROKEN;
        uint8_t marker = b[m->at + 1];
        if (marker == 0xff) {
            m->at += 1;
            continue;
        }
        if (marker == 0xd9) {
            m->at += 2;
            return WHOLE;
        }
        if (marker < 0xc0 || marker == 0xd8) return BROKEN;
        if (m->at + 3 >= m->have) return MORE;
        size_t length = (size_t)b[m->at + 2] << 8 | b[m->at + 3];
        if (length < 2) return BROKEN;
        if (m->at + 2 + length > m->have) return MORE;
        m->at += 2 + length;
        m->in_scan = marker == 0xda;
    }
}

static int mjpeg_open(source *s) {
    mjpeg *m = (mjpeg *)s;
    fcntl(m->pipe, F_SETFL, fcntl(m->pipe, F_GETFL) | O_NONBLOCK);
    s->fd = m->pipe;
    return 0;
}

static source_event mjpeg_read(source *s, frcnn_frame *frame) {
    mjpeg *m = (mjpeg *)s;
    for (;;) {
        if (m->have >= 2) {
            if (to_next_start(m, 0) && !m->searching) {
                m->searching = 1;
                return SOURCE_CORRUPT;
            }
            progress p = MORE;
            if (m->have >= 2) {
                m->searching = 0;
                p = follow(m);
            }
            if (p == WHOLE) {
                m->frame = m->at;
                memset(frame, 0, sizeof *frame);
                frame->struct_size = sizeof *frame;
                frame->format = FRCNN_PIXEL_FORMAT_MJPEG;
                frame->planes[0] = (frcnn_plane){m->bytes, m->frame, 0};
                return SOURCE_FRAME;
            }
            if (p == BROKEN || (p == MORE && m->have == ROOM)) {
                to_next_start(m, 2);
                m->searching = 1;
                return SOURCE_CORRUPT;
            }
        }
        if (m->ended) return m->have == 0 || m->searching ? SOURCE_END : SOURCE_CUT;
        size_t room = ROOM - m->have;
        ssize_t got = read(m->pipe, m->bytes + m->have, room < CHUNK ? room : CHUNK);
        if (got > 0) {
            m->have += (size_t)got;
        } else if (got == 0) {
            m->ended = 1;
        } else if (errno == EAGAIN) {
            return SOURCE_NOTHING;
        } else if (errno != EINTR) {
            snprintf(s->problem, sizeof s->problem, "standard input: %s", strerror(errno));
            return SOURCE_LOST;
        }
    }
}

static void mjpeg_release(source *s) {
    mjpeg *m = (mjpeg *)s;
    pass_over(m, m->frame);
    m->frame = 0;
}

static void mjpeg_close(source *s) { s->fd = -1; }

static void mjpeg_free(source *s) {
    free(((mjpeg *)s)->bytes);
    free(s);
}

source *source_mjpeg_new(int fd) {
    mjpeg *m = calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    m->base = (source){.open = mjpeg_open, .read = mjpeg_read, .release = mjpeg_release, .close = mjpeg_close, .free = mjpeg_free, .fd = -1};
    m->pipe = fd;
    m->bytes = malloc(ROOM);
    if (m->bytes == NULL) {
        free(m);
        return NULL;
    }
    return &m->base;
}
