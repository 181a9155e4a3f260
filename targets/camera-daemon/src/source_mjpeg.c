/*
 * JPEGs one after another on a pipe: `ffmpeg … -f mjpeg -` and many network cameras write them, the latter often as
 * parts of a multipart HTTP response.
 *
 * A JPEG is followed segment by segment, so that a thumbnail inside it is not taken for its end. Where that fails, the
 * next start of an image is looked for and the frame is counted as corrupt. What looks whole may still be damaged
 * inside; the library's decoder finds that. Between images there may be zeros, further ends of an image, and the lines
 * of multipart; other bytes are counted as one corrupt frame.
 *
 * No byte is looked at more than a few times, whatever the stream holds.
 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* TEXT: of multipart's lines before an image at most. */
enum { ROOM = 16 << 20, CHUNK = 64 << 10, TEXT = 64 << 10 };

typedef struct mjpeg {
    source base;
    int pipe;
    uint8_t *bytes;    /* ROOM of them, pages that were never needed cost nothing. */
    size_t start, end; /* What was read and not given back. */
    /* Of the image that begins at `start`. */
    int in_image, in_scan; /* Whether there is one, and whether `at` stands in compressed pixels. */
    size_t at;             /* How far it was followed. */
    size_t retry;          /* Where to look for another start if this is none. */
    size_t nested;         /* Before it lies the segment in which the last image broke, with a thumbnail, perhaps. */
    /* Of the bytes between images. */
    char line[10]; /* How a line begins. */
    size_t line_size, text_size;
    int strange;   /* Lines that are none of multipart's … */
    int multipart; /* … unless such were seen before or beside them. */
    int counted;   /* The damage at hand was told. */
    int ended;
} mjpeg;

static void end_line(mjpeg *m) {
    if (m->line_size >= 8 && strncasecmp(m->line, "content-", 8) == 0) {
        m->multipart = 1;
    } else if (m->line_size > 0 && !(m->line_size >= 2 && memcmp(m->line, "--", 2) == 0)) {
        m->strange = 1;
    }
    m->line_size = 0;
}

/* Whether what lay between two images must be told as corrupt. */
static int end_gap(mjpeg *m) {
    end_line(m);
    int corrupt = m->strange && !m->multipart && !m->counted;
    m->strange = 0;
    m->text_size = 0;
    if (corrupt) m->counted = 1;
    return corrupt;
}

/* A byte between images that is neither padding nor a marker; whether it belongs there. */
static int take_text(mjpeg *m, uint8_t byte) {
    if (byte == '\r' || byte == '\n') {
        end_line(m);
    } else if ((byte < ' ' && byte != '\t') || byte > '~' || m->text_size >= TEXT) {
        return 0;
    } else {
        if (m->line_size < sizeof m->line) m->line[m->line_size++] = (char)byte;
        m->text_size++;
    }
    return 1;
}

/* Passes over what lies between images, up to a start; whether something was lost. */
static int pass_gap(mjpeg *m) {
    while (m->start < m->end) {
        const uint8_t *b = m->bytes + m->start;
        if (*b == 0xff) {
            if (m->start + 1 == m->end) return 0;
            if (b[1] == 0xd8) {
                m->in_image = 1;
                m->in_scan = 0;
                m->at = m->retry = m->start + 2;
                return end_gap(m);
            }
            if (b[1] == 0xd9 || b[1] == 0xff) {
                m->start += b[1] == 0xd9 ? 2 : 1;
                continue;
            }
        }
        m->start++;
        if (*b != 0 && !take_text(m, *b) && !m->counted) {
            m->counted = 1;
            return 1;
        }
    }
    return 0;
}

typedef enum { WHOLE, MORE, BROKEN } progress;

/* Follows the JPEG at the start as far as there are bytes. */
static progress follow(mjpeg *m) {
    const uint8_t *b = m->bytes;
    for (;;) {
        if (m->in_scan) {
            const uint8_t *ff = memchr(b + m->at, 0xff, m->end - m->at);
            m->at = m->retry = ff == NULL ? m->end : (size_t)(ff - b);
            if (m->at + 1 >= m->end) return MORE;
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
        if (m->at + 1 >= m->end) return MORE;
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
        if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd8)) {
            if (marker == 0xd8) m->retry = m->at;
            return BROKEN;
        }
        if (m->at + 3 >= m->end) return MORE;
        size_t length = (size_t)b[m->at + 2] << 8 | b[m->at + 3];
        if (length < 2) return BROKEN;
        if (length > m->end - m->at - 2) return MORE;
        m->retry = m->at + 2;
        m->at += 2 + length;
        m->in_scan = marker == 0xda;
        /* Damage from here on is that of another image. */
        if (m->at > m->nested) m->counted = 0;
    }
}

/* Goes on behind an image that is none; whether that must be told. */
static int give_up(mjpeg *m, size_t from, size_t nested) {
    int corrupt = !m->counted;
    m->start = from < m->end ? from : m->end;
    m->nested = nested;
    m->in_image = 0;
    m->counted = 1;
    return corrupt;
}

/* Moves what is kept to the front, if that costs no more than was read since, or if there is no other room. */
static void make_room(mjpeg *m) {
    size_t kept = m->end - m->start, moved = m->start;
    if (moved == 0 || (kept > moved && m->end < ROOM)) return;
    memmove(m->bytes, m->bytes + moved, kept);
    m->start = 0;
    m->end = kept;
    m->at -= m->at < moved ? m->at : moved;
    m->retry -= m->retry < moved ? m->retry : moved;
    m->nested -= m->nested < moved ? m->nested : moved;
}

static int mjpeg_open(source *s) {
    mjpeg *m = (mjpeg *)s;
    fcntl(m->pipe, F_SETFL, fcntl(m->pipe, F_GETFL) | O_NONBLOCK);
    s->fd = m->pipe;
    return 0;
}

static source_event mjpeg_read(source *s, frcnn_frame *frame) {
    mjpeg *m = (mjpeg *)s;
    for (size_t bytes = 0;;) {
        if (!m->in_image && pass_gap(m)) return SOURCE_CORRUPT;
        progress p = m->in_image ? follow(m) : MORE;
        make_room(m);
        int full = p == MORE && m->end == ROOM;
        if (p == WHOLE && m->at > m->nested) {
            memset(frame, 0, sizeof *frame);
            frame->struct_size = sizeof *frame;
            frame->format = FRCNN_PIXEL_FORMAT_MJPEG;
            frame->planes[0] = (frcnn_plane){m->bytes + m->start, m->at - m->start, 0};
            return SOURCE_FRAME;
        }
        if (p != MORE || full) {
            /* A whole thumbnail of a broken image, a broken image, or one that is too large. */
            size_t from = p == WHOLE || full ? m->at : m->retry;
            if (give_up(m, from, p == BROKEN ? m->at : m->nested)) return SOURCE_CORRUPT;
            continue;
        }
        if (m->ended) {
            if (!m->in_image && end_gap(m)) return SOURCE_CORRUPT;
            int cut = m->start < m->end && !m->counted;
            m->start = m->end;
            return cut ? SOURCE_CUT : SOURCE_END;
        }
        if (bytes >= SOURCE_BYTES) return SOURCE_MORE;
        size_t room = ROOM - m->end;
        ssize_t got = read(m->pipe, m->bytes + m->end, room < CHUNK ? room : CHUNK);
        if (got > 0) {
            m->end += (size_t)got;
            bytes += (size_t)got;
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
    m->start = m->at;
    m->in_image = 0;
    m->counted = 0;
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
