/*
 * Sources without a camera and without the library: V4L2 on a recorded sequence of answers and buffers, pipes on
 * streams that were damaged on purpose.
 */
#include "source.h"
#include "source_v4l2.h"

#include <errno.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

/* A camera that has YUYV only, 6 x 4 with rows padded to 16 bytes, and does what `script` says at each DQBUF. */
enum { W = 6, H = 4, STRIDE = 16 };
typedef enum { GOOD, FLAGGED, SHORT, NONE, GONE } answer;
static struct {
    const answer *script;
    int next, opened, mapped, queued[4], refuse_open, streaming;
    unsigned char buffers[4][STRIDE * H];
} fake;

static int fake_open(const char *path) {
    CHECK(strcmp(path, "/dev/video7") == 0);
    if (fake.refuse_open) {
        errno = ENOENT;
        return -1;
    }
    fake.opened++;
    return 42;
}

static int fake_dequeue(struct v4l2_buffer *b) {
    answer a = fake.script[fake.next];
    if (a == NONE || a == GONE) {
        errno = a == NONE ? EAGAIN : ENODEV;
        fake.next += a == NONE;
        return -1;
    }
    unsigned i = 0;
    while (i < 4 && !fake.queued[i]) i++;
    CHECK(i < 4); /* A frame that was not released would leave the camera without buffers. */
    fake.queued[i] = 0;
    memset(fake.buffers[i], fake.next, sizeof fake.buffers[i]);
    b->index = i;
    b->bytesused = a == SHORT ? STRIDE : STRIDE * H;
    b->flags = a == FLAGGED ? V4L2_BUF_FLAG_ERROR : 0;
    fake.next++;
    return 0;
}

static int fake_ioctl(int fd, unsigned long request, void *argument) {
    CHECK(fd == 42);
    struct v4l2_buffer *buffer = argument;
    struct v4l2_format *format = argument;
    switch (request) {
    case VIDIOC_QUERYCAP:
        ((struct v4l2_capability *)argument)->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    case VIDIOC_G_FMT:
    case VIDIOC_S_FMT:
        format->fmt.pix.width = W;
        format->fmt.pix.height = H;
        format->fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
        format->fmt.pix.bytesperline = STRIDE;
        return 0;
    case VIDIOC_REQBUFS: return 0;
    case VIDIOC_QUERYBUF:
        buffer->length = STRIDE * H;
        buffer->m.offset = buffer->index;
        return 0;
    case VIDIOC_QBUF:
        CHECK(buffer->index < 4 && !fake.queued[buffer->index]);
        fake.queued[buffer->index] = 1;
        return 0;
    case VIDIOC_STREAMON: fake.streaming = 1; return 0;
    case VIDIOC_STREAMOFF: fake.streaming = 0; return 0;
    case VIDIOC_DQBUF: CHECK(fake.streaming); return fake_dequeue(buffer);
    default: errno = ENOTTY; return -1;
    }
}

static void *fake_map(size_t size, int fd, off_t offset) {
    CHECK(fd == 42 && size == STRIDE * H);
    fake.mapped++;
    return fake.buffers[offset];
}

static void fake_unmap(void *memory, size_t size) {
    CHECK(memory != NULL && size == STRIDE * H);
    fake.mapped--;
}

static void fake_close(int fd) {
    CHECK(fd == 42);
    fake.opened--;
    memset(fake.queued, 0, sizeof fake.queued);
}

static const v4l2_kernel fake_kernel = {fake_open, fake_ioctl, fake_map, fake_unmap, fake_close};

static void a_camera(void) {
    static const answer script[] = {GOOD, NONE, GOOD, FLAGGED, SHORT, GOOD, GOOD, GOOD, GOOD, GOOD, GONE};
    static const source_event expected[] = {SOURCE_FRAME, SOURCE_NOTHING, SOURCE_FRAME, SOURCE_CORRUPT, SOURCE_CORRUPT, SOURCE_FRAME,
                                            SOURCE_FRAME, SOURCE_FRAME,   SOURCE_FRAME, SOURCE_FRAME,   SOURCE_LOST};
    v4l2 = &fake_kernel;
    fake.script = script;
    source_options options = {.device = "/dev/video7", .width = W, .height = H};
    char problem[160];
    source *s = source_new(&options, problem, sizeof problem);
    CHECK(s != NULL && s->fd == -1);

    fake.refuse_open = 1;
    CHECK(s->open(s) == -1 && strstr(s->problem, "/dev/video7") != NULL && s->fd == -1);
    fake.refuse_open = 0;
    CHECK(s->open(s) == 0 && fake.opened == 1 && fake.mapped == 4);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        frcnn_frame frame;
        source_event event = s->read(s, &frame);
        CHECK(event == expected[i]);
        if (event != SOURCE_FRAME) continue;
        CHECK(frame.format == FRCNN_PIXEL_FORMAT_YUYV && frame.width == W && frame.height == H);
        CHECK(frame.planes[0].stride == STRIDE && frame.planes[0].size == STRIDE * H);
        CHECK(frame.planes[0].data[0] == i);
        s->release(s);
    }
    CHECK(strstr(s->problem, strerror(ENODEV)) != NULL);
    /* Unplugged, and plugged in again. */
    s->close(s);
    CHECK(fake.opened == 0 && fake.mapped == 0 && s->fd == -1);
    fake.next = 0;
    frcnn_frame frame;
    CHECK(s->open(s) == 0 && s->read(s, &frame) == SOURCE_FRAME);
    s->free(s);
    CHECK(fake.opened == 0 && fake.mapped == 0 && !fake.streaming);

    /* A format that the camera does not have. */
    options.format = FRCNN_PIXEL_FORMAT_RGB24;
    options.format_given = 1;
    s = source_v4l2_new(&options);
    CHECK(s->open(s) == -1 && fake.opened == 0);
    s->free(s);
}

/* Feeds `size` bytes in pieces of `piece` and notes what the source says: F, C, T (cut), E. */
static void stream(source *(*make)(int), const unsigned char *bytes, size_t size, size_t piece, char *said) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    source *s = make(ends[0]);
    CHECK(s->open(s) == 0);
    size_t written = 0, count = 0;
    for (int open = 1;;) {
        frcnn_frame frame;
        source_event event = s->read(s, &frame);
        CHECK(count < 60);
        if (event == SOURCE_FRAME) {
            said[count++] = 'F';
            s->release(s);
        } else if (event == SOURCE_CORRUPT) {
            said[count++] = 'C';
        } else if (event == SOURCE_CUT || event == SOURCE_END) {
            said[count++] = event == SOURCE_CUT ? 'T' : 'E';
            break;
        } else {
            CHECK(event == SOURCE_NOTHING && open);
            size_t more = size - written < piece ? size - written : piece;
            if (more > 0) CHECK(write(ends[1], bytes + written, more) == (ssize_t)more);
            written += more;
            if (more == 0) {
                close(ends[1]);
                open = 0;
            }
        }
    }
    said[count] = '\0';
    s->free(s);
    close(ends[0]);
}

static source *raw_4x2(int fd) {
    source_options options = {.width = 4, .height = 2, .format = FRCNN_PIXEL_FORMAT_NV12, .format_given = 1};
    return source_raw_new(&options, fd);
}

static void expect(source *(*make)(int), const char *bytes, size_t size, const char *expected) {
    static const size_t pieces[] = {1, 2, 7, 4096};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        char said[64];
        stream(make, (const unsigned char *)bytes, size, pieces[i], said);
        if (strcmp(said, expected) != 0) {
            fprintf(stderr, "in pieces of %zu: %s, not %s\n", pieces[i], said, expected);
            exit(1);
        }
    }
}
#define EXPECT(make, literal, expected) expect(make, literal, sizeof literal - 1, expected)

static void pipes(void) {
    /* 4 x 2 pixels of NV12: 12 bytes. */
    EXPECT(raw_4x2, "", "E");
    EXPECT(raw_4x2, "123456789012", "FE");
    EXPECT(raw_4x2, "123456789012123456789012abc", "FFT");

    /* An application segment with a whole image in it, a scan with a stuffed FF and a restart, a second scan. */
#define JPEG "\xff\xd8\xff\xe0\x00\x06\xff\xd8\xff\xd9\xff\xda\x00\x04..ab\xff\x00\xff\xd0zz\xff\xda\x00\x02yy\xff\xd9"
    EXPECT(source_mjpeg_new, JPEG, "FE");
    EXPECT(source_mjpeg_new, JPEG JPEG JPEG, "FFFE");
    EXPECT(source_mjpeg_new, JPEG "\xff\xd8\xff\xda\x00\x02 cut off" JPEG, "FCFE");
    EXPECT(source_mjpeg_new, JPEG "\xff\xd8\x12\x34 not a segment" JPEG, "FCFE");
    EXPECT(source_mjpeg_new, JPEG "\xff\xd8\xff\xda\x00\x02 no more", "FT");
    EXPECT(source_mjpeg_new, JPEG "\xff", "FT");
    EXPECT(source_mjpeg_new, "no image at all", "CE");
}

int main(void) {
    a_camera();
    pipes();
    puts("sources conform");
    return 0;
}
