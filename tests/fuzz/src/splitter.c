/* The camera daemon's splitter of MJPEG streams, fed from memory. */
#define _GNU_SOURCE
#include "source.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes of all frames in `size` bytes of a stream; ends the process where a frame is none. */
size_t fuzz_split(const uint8_t *bytes, size_t size) {
    static int fd = -1;
    if (fd < 0) fd = memfd_create("stream", 0);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0) abort();
    source *s = source_mjpeg_new(fd);
    if (s == NULL || s->open(s) != 0) abort();
    size_t sum = 0, events = 0;
    for (;;) {
        frcnn_frame frame;
        source_event event = s->read(s, &frame);
        if (event == SOURCE_FRAME) {
            const frcnn_plane *plane = &frame.planes[0];
            if (plane->size < 4 || plane->data[0] != 0xff || plane->data[1] != 0xd8) abort();
            sum += plane->size;
            s->release(s);
        } else if (event != SOURCE_CORRUPT && event != SOURCE_MORE) {
            break;
        }
        /* Each takes up bytes of the stream. */
        if (++events > size + 1) abort();
    }
    s->close(s);
    s->free(s);
    if (sum > size) abort();
    return sum;
}
