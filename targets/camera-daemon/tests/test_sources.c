/*
 * Sources without a camera and without the library: V4L2 on a recorded sequence of answers and buffers, pipes on
 * streams that were damaged on purpose.
 */
#include "source.h"
#include "source_v4l2.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

/* A camera of 6 x 4 pixels with rows padded to 16 bytes; it does what `script` says at each DQBUF. */
enum { W = 6, H = 4, STRIDE = 16 };
typedef enum { GOOD, FLAGGED, SHORT, EMPTY, TIGHT, NONE, GONE } answer;
static struct {
    const answer *script;
    int next, opened, mapped, queued[4], refuse_open, streaming;
    unsigned char buffers[4][STRIDE * H];
    struct v4l2_pix_format pix; /* What it answers. */
} fake = {.pix = {.width = W, .height = H, .pixelformat = V4L2_PIX_FMT_YUYV, .bytesperline = STRIDE}};

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
    /* TIGHT: without the padding behind the last row. */
    b->bytesused = a == SHORT ? STRIDE : a == EMPTY ? 0 : a == TIGHT ? STRIDE * (H - 1) + 2 * W : STRIDE * H;
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
        CHECK(format->fmt.pix.priv == V4L2_PIX_FMT_PRIV_MAGIC);
        format->fmt.pix = fake.pix;
        format->fmt.pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
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

/* What a driver says of its colours, and what becomes of it; the user's word stands before it. */
static void colours_of_a_camera(void) {
    static const struct {
        uint32_t colorspace, encoding, quantization, colour;
    } CASES[] = {
        {V4L2_COLORSPACE_DEFAULT, 0, 0, FRCNN_COLOUR_BT601_LIMITED},
        {V4L2_COLORSPACE_SRGB, 0, 0, FRCNN_COLOUR_BT601_LIMITED},
        {V4L2_COLORSPACE_SMPTE170M, 0, 0, FRCNN_COLOUR_BT601_LIMITED},
        {V4L2_COLORSPACE_SMPTE170M, 0, V4L2_QUANTIZATION_FULL_RANGE, FRCNN_COLOUR_BT601_FULL},
        {V4L2_COLORSPACE_JPEG, 0, 0, FRCNN_COLOUR_BT601_FULL},
        {V4L2_COLORSPACE_JPEG, 0, V4L2_QUANTIZATION_LIM_RANGE, FRCNN_COLOUR_BT601_LIMITED},
        {V4L2_COLORSPACE_REC709, 0, 0, FRCNN_COLOUR_BT709_LIMITED},
        {V4L2_COLORSPACE_REC709, V4L2_YCBCR_ENC_601, 0, FRCNN_COLOUR_BT601_LIMITED},
        {V4L2_COLORSPACE_REC709, 0, V4L2_QUANTIZATION_FULL_RANGE, FRCNN_COLOUR_BT709_FULL},
        {V4L2_COLORSPACE_SRGB, V4L2_YCBCR_ENC_709, V4L2_QUANTIZATION_FULL_RANGE, FRCNN_COLOUR_BT709_FULL},
        {V4L2_COLORSPACE_SRGB, V4L2_YCBCR_ENC_XV601, V4L2_QUANTIZATION_FULL_RANGE, FRCNN_COLOUR_BT601_FULL},
        {V4L2_COLORSPACE_DCI_P3, 0, 0, FRCNN_COLOUR_BT709_LIMITED},
        {V4L2_COLORSPACE_BT2020, 0, 0, FRCNN_COLOUR_BT709_LIMITED},
    };
    static const answer script[] = {GOOD, GONE};
    struct v4l2_pix_format before = fake.pix;
    fake.script = script;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        fake.pix.colorspace = CASES[i].colorspace;
        fake.pix.ycbcr_enc = CASES[i].encoding;
        fake.pix.quantization = CASES[i].quantization;
        for (uint32_t given = 0; given <= 4; given++) {
            source_options options = {.device = "/dev/video7"};
            if (given > 0) {
                options.colour = given - 1;
                options.colour_given = 1;
            }
            fake.next = 0;
            source *s = source_v4l2_new(&options);
            frcnn_frame frame;
            CHECK(s != NULL && s->open(s) == 0 && s->read(s, &frame) == SOURCE_FRAME);
            CHECK(frame.colour == (given > 0 ? given - 1 : CASES[i].colour));
            s->free(s);
        }
    }
    fake.pix = before;
}

/* Frames of JPEG: as long as the driver says, and none of no bytes. Rows that overlap are refused. */
static void other_cameras(void) {
    static const answer script[] = {GOOD, EMPTY, SHORT, FLAGGED, GOOD, GONE};
    struct v4l2_pix_format before = fake.pix;
    fake.pix.pixelformat = V4L2_PIX_FMT_MJPEG;
    fake.pix.bytesperline = 0;
    fake.script = script;
    fake.next = 0;
    source_options options = {.device = "/dev/video7"};
    source *s = source_v4l2_new(&options);
    CHECK(s != NULL && s->open(s) == 0);
    frcnn_frame frame;
    CHECK(s->read(s, &frame) == SOURCE_FRAME && frame.planes[0].size == STRIDE * H && frame.format == FRCNN_PIXEL_FORMAT_MJPEG);
    s->release(s);
    CHECK(s->read(s, &frame) == SOURCE_CORRUPT);
    /* Whether a short one is whole only its decoder can say. */
    CHECK(s->read(s, &frame) == SOURCE_FRAME && frame.planes[0].size == STRIDE);
    s->release(s);
    CHECK(s->read(s, &frame) == SOURCE_CORRUPT);
    CHECK(s->read(s, &frame) == SOURCE_FRAME);
    s->free(s);

    static const answer tight[] = {TIGHT, GONE};
    fake.pix = before;
    fake.script = tight;
    fake.next = 0;
    s = source_v4l2_new(&options);
    CHECK(s != NULL && s->open(s) == 0 && s->read(s, &frame) == SOURCE_FRAME);
    CHECK(frame.planes[0].stride == STRIDE && frame.planes[0].size == STRIDE * (H - 1) + 2 * W);
    s->free(s);

    fake.pix.bytesperline = 2 * W - 2;
    s = source_v4l2_new(&options);
    CHECK(s != NULL && s->open(s) == -1 && strstr(s->problem, "overlap") != NULL);
    s->free(s);
    fake.pix = before;
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
            if (event == SOURCE_MORE) continue;
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

    /* Padding and further ends between images are no damage; other bytes are, once. */
    EXPECT(source_mjpeg_new, JPEG "\xff\xd9" JPEG "\xff\xd9\xff\xd9" JPEG "\xff\xd9", "FFFE");
    EXPECT(source_mjpeg_new, "\0\0" JPEG "\0\0\0" JPEG "\0", "FFE");
    EXPECT(source_mjpeg_new, JPEG "\xff\xff\xff" JPEG, "FFE");
    EXPECT(source_mjpeg_new, JPEG "\x01\x02 junk \x03" JPEG, "FCFE");
    EXPECT(source_mjpeg_new, JPEG "a line" JPEG, "FCFE");
    EXPECT(source_mjpeg_new, JPEG "\xff\xe0\x01" JPEG, "FCFE");
#define PART "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 41\r\n\r\n"
    EXPECT(source_mjpeg_new, PART JPEG "\r\n" PART JPEG "\r\n--frame--\r\n", "FFE");
    EXPECT(source_mjpeg_new, "HTTP/1.0 200 OK\r\nServer: x\r\nContent-Type: multipart/x-mixed-replace;boundary=f\r\n\r\n" PART JPEG PART JPEG, "FFE");
    EXPECT(source_mjpeg_new, PART JPEG "\r\nframe--\r\n", "FE");
    EXPECT(source_mjpeg_new, "--f\r\n\r\n" JPEG "\r\n--f\r\n\r\n" JPEG, "FFE");
    EXPECT(source_mjpeg_new, PART "\xff\xd8\xff\xda\x00\x02 cut off\r\n" PART JPEG, "CFE");

    /* A start that leads nowhere, many of them, and one whose application segment swallowed the next image's start. */
    EXPECT(source_mjpeg_new, JPEG "\xff\xd8\xff\xd8\xff\xd8" JPEG, "FCFE");
    EXPECT(source_mjpeg_new, JPEG "\xff\xd8", "FT");
    EXPECT(source_mjpeg_new, "\xff\xd8\xff\xe1\x00\x10" JPEG JPEG, "CFFE");
    /* The thumbnail of a broken image is no image. */
    EXPECT(source_mjpeg_new, "\xff\xd8\xff\xe1\x00\x0c\xff\xd8\xff\xdb\x00\x02\xff\xd9..!!" JPEG, "CFE");
}

/* Layouts of raw frames, by GStreamer's documentation of its default strides. */
static void layouts(void) {
    static const struct {
        uint32_t format, width, height;
        size_t packed, padded, strides[3];
    } CASES[] = {
        {FRCNN_PIXEL_FORMAT_RGB24, 854, 480, 854 * 3 * 480, 2564 * 480, {2564}},
        {FRCNN_PIXEL_FORMAT_BGR24, 1, 1, 3, 4, {4}},
        {FRCNN_PIXEL_FORMAT_GRAY8, 6, 3, 18, 24, {8}},
        {FRCNN_PIXEL_FORMAT_YUYV, 3, 3, 24, 24, {8}},
        {FRCNN_PIXEL_FORMAT_UYVY, 854, 2, 3416, 3416, {1708}},
        {FRCNN_PIXEL_FORMAT_NV12, 854, 480, 854 * 480 * 3 / 2, 856 * 480 * 3 / 2, {856, 856}},
        {FRCNN_PIXEL_FORMAT_NV21, 4, 3, 12 + 8, 16 + 8, {4, 4}},
        {FRCNN_PIXEL_FORMAT_I420, 854, 480, 854 * 480 * 3 / 2, 856 * 480 + 2 * 428 * 240, {856, 428, 428}},
        {FRCNN_PIXEL_FORMAT_I420, 5, 5, 25 + 18, 8 * 6 + 2 * 4 * 3, {8, 4, 4}},
        {FRCNN_PIXEL_FORMAT_I420, 640, 480, 640 * 480 * 3 / 2, 640 * 480 * 3 / 2, {640, 320, 320}},
    };
    frcnn_frame frame;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        source_options options = {.width = CASES[i].width, .height = CASES[i].height, .format = CASES[i].format, .format_given = 1};
        CHECK(raw_frame(&frame, &options, NULL) == CASES[i].packed);
        options.layout = LAYOUT_GSTREAMER;
        CHECK(raw_frame(&frame, &options, NULL) == CASES[i].padded);
        for (int p = 0; p < 3; p++) CHECK(frame.planes[p].stride == CASES[i].strides[p]);
        CHECK(raw_needed(&frame, &options) <= CASES[i].padded);
    }
    source_options options = {.width = 5, .height = 3, .format = FRCNN_PIXEL_FORMAT_I420, .format_given = 1, .layout = LAYOUT_STRIDE, .stride = 16};
    CHECK(raw_frame(&frame, &options, NULL) == 16 * 3 + 2 * 8 * 2 && frame.planes[2].stride == 8);
    CHECK(raw_needed(&frame, &options) == 16 * 3 + 8 * 2 + 8 + 3);
    char problem[160];
    options.stride = 4;
    CHECK(source_new(&options, problem, sizeof problem) == NULL && strstr(problem, "5 bytes") != NULL);

    /* 3 x 2 grey: packed 6 bytes, GStreamer's 8. A file of 8 is one of the latter; a pipe is taken as packed, aloud. */
    options = (source_options){.width = 3, .height = 2, .format = FRCNN_PIXEL_FORMAT_GRAY8, .format_given = 1};
    for (int layout = LAYOUT_UNSAID; layout <= LAYOUT_GSTREAMER; layout++) {
        for (int is_file = 0; is_file < 2; is_file++) {
            int ends[2] = {memfd_create("frames", 0), -1};
            if (!is_file) CHECK(pipe(ends) == 0);
            CHECK(write(is_file ? ends[0] : ends[1], "abc?def?", 8) == 8);
            if (is_file) CHECK(lseek(ends[0], 0, SEEK_SET) == 0);
            if (!is_file) close(ends[1]);
            options.layout = layout;
            int padded = layout == LAYOUT_GSTREAMER || (layout == LAYOUT_UNSAID && is_file);
            source *s = source_raw_new(&options, ends[0]);
            CHECK(s != NULL && s->open(s) == 0 && (s->problem[0] != '\0') == (layout == LAYOUT_UNSAID));
            CHECK(s->read(s, &frame) == SOURCE_FRAME && frame.planes[0].stride == (padded ? 4u : 3u));
            s->release(s);
            CHECK(s->read(s, &frame) == (padded ? SOURCE_END : SOURCE_CUT));
            CHECK(padded || strstr(s->problem, "--stride gstreamer") != NULL);
            s->free(s);
            close(ends[0]);
        }
    }
}

static uint32_t noise_state = 1;
static uint32_t noise(uint32_t below) {
    noise_state = noise_state * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)noise_state * below >> 32);
}

/* Runs a stream that is all there at once; counts what the source says, and the bytes of its frames. */
typedef struct counts {
    size_t frames, corrupt, cut, bytes;
} counts;
static counts run_through(const unsigned char *bytes, size_t size) {
    int fd = memfd_create("stream", 0);
    CHECK(fd != -1);
    for (size_t at = 0; at < size;) {
        ssize_t more = write(fd, bytes + at, size - at);
        CHECK(more > 0);
        at += (size_t)more;
    }
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    source *s = source_mjpeg_new(fd);
    CHECK(s != NULL && s->open(s) == 0);
    counts c = {0};
    for (;;) {
        frcnn_frame frame;
        source_event event = s->read(s, &frame);
        if (event == SOURCE_FRAME) {
            const uint8_t *data = frame.planes[0].data;
            size_t length = frame.planes[0].size;
            CHECK(length >= 4 && data[0] == 0xff && data[1] == 0xd8 && data[length - 2] == 0xff && data[length - 1] == 0xd9);
            c.frames++;
            c.bytes += length;
            s->release(s);
        } else if (event == SOURCE_CORRUPT) {
            c.corrupt++;
        } else if (event != SOURCE_MORE) {
            CHECK(event == SOURCE_END || event == SOURCE_CUT);
            c.cut = event == SOURCE_CUT;
            break;
        }
    }
    s->free(s);
    close(fd);
    return c;
}

static size_t put(unsigned char *to, const char *bytes, size_t size) {
    memcpy(to, bytes, size);
    return size;
}
#define PUT(literal) at += put(to + at, literal, sizeof literal - 1)

/* An image of random segments, some with images in them, and random scans. */
static size_t put_image(unsigned char *to) {
    size_t at = 0;
    PUT("\xff\xd8");
    for (uint32_t segments = noise(5); segments > 0; segments--) {
        uint32_t length = 2 + noise(noise(3) == 0 ? 60000 : 200);
        while (noise(4) == 0) PUT("\xff");
        PUT("\xff\xe1");
        to[at++] = (unsigned char)(length >> 8);
        to[at++] = (unsigned char)length;
        for (uint32_t i = 2; i < length; i++) to[at++] = noise(3) == 0 ? 0xff : noise(2) == 0 ? 0xd8 + noise(2) : noise(256);
    }
    for (uint32_t scans = noise(3); scans > 0; scans--) {
        PUT("\xff\xda\x00\x03?");
        for (uint32_t left = noise(3000); left > 0; left--) {
            unsigned char byte = (unsigned char)noise(256);
            to[at++] = byte;
            if (byte == 0xff) to[at++] = noise(3) == 0 ? 0xd0 + noise(8) : 0;
        }
    }
    PUT("\xff\xd9");
    return at;
}

/* Whole images with what may lie between them: each is found, none besides. */
static void images_in_a_row(void) {
    unsigned char *to = malloc(64 << 20);
    CHECK(to != NULL);
    size_t at = 0, images = 0, bytes = 0;
    while (at < (40 << 20)) {
        switch (noise(6)) {
        case 0: PUT("\xff\xd9"); break;
        case 1: PUT("\r\n" PART); break;
        case 2:
            for (uint32_t zeros = noise(5000); zeros > 0; zeros--) to[at++] = 0;
            break;
        default: break;
        }
        size_t size = put_image(to + at);
        at += size;
        bytes += size;
        images++;
    }
    counts c = run_through(to, at);
    CHECK(c.frames == images && c.bytes == bytes && c.corrupt == 0 && c.cut == 0);
    free(to);
}

/* Streams made to hurt: they end, soon, and are no frames. */
static void hostile_streams(void) {
    enum { SIZE = 24 << 20 };
    static const struct {
        const char *repeated;
        size_t size;
    } CASES[] = {
        {"\xff\xd8", 2},
        {"\xff\xd8\xff", 3},
        {"\xff\xd8\xff\xe0\x00\x02", 6},
        {"\xff\xd8\xff\xe0\x00\x06\xff\xd8", 8},
        {"\xff\xd8\xff\xe0\xff\xff", 6},
        {"\xff\xd8\xff\xe0\xff\xfe\xff", 7},
        {"\xff\xda\xff\xd8\xff\xda\x00\x02", 8},
        {"\xff\xe1\x00\x04\xff\xd8", 6},
        {"\xff", 1},
        {"\xff\xd9", 2},
        {"\0", 1},
        {"Content-Type: image/jpeg\r\n", 26},
        {"--", 2},
        {"\xff\xd8\xff\xda\x00\x02" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 63},
    };
    unsigned char *to = malloc(SIZE);
    CHECK(to != NULL);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        for (size_t at = 0; at < SIZE; at++) to[at] = (unsigned char)CASES[i].repeated[at % CASES[i].size];
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        counts c = run_through(to, SIZE);
        clock_gettime(CLOCK_MONOTONIC, &end);
        double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
        printf("  stream %zu: %.2f s for %d MiB, %zu frames, %zu corrupt\n", i, seconds, SIZE >> 20, c.frames, c.corrupt);
        CHECK(c.frames == 0);
    }
    /* One image larger than there is room, with an image behind it. */
    size_t at = 0;
    PUT("\xff\xd8\xff\xda\x00\x02");
    memset(to + at, 'a', 20 << 20);
    at += 20 << 20;
    PUT("\xff\xd9" JPEG);
    counts c = run_through(to, at);
    CHECK(c.frames == 1 && c.corrupt == 1 && c.cut == 0);
    /* Noise, and noise of markers. */
    for (int round = 0; round < 8; round++) {
        for (size_t i = 0; i < (4 << 20); i++) {
            to[i] = round % 2 == 0 ? (unsigned char)noise(256) : "\xff\xd8\xff\xd9\xff\xda\xff\xe1\x00\x04\x02\xff"[noise(12)];
        }
        run_through(to, 4 << 20);
    }
    /* Images with every kind of damage: a piece lost, doubled or overwritten. */
    for (int round = 0; round < 2000; round++) {
        size_t size = put_image(to), cut = noise((uint32_t)size), length = noise((uint32_t)(size - cut));
        switch (noise(3)) {
        case 0: memmove(to + cut, to + cut + length, size - cut - length), size -= length; break;
        case 1: memmove(to + cut + length, to + cut, size - cut), size += length; break;
        default: memset(to + cut, (int)noise(256), length); break;
        }
        size += put(to + size, JPEG, sizeof JPEG - 1);
        run_through(to, size);
    }
    free(to);
}

/* What never has a frame and never ends keeps nobody from looking at signals: a call comes back after some megabytes. */
static void endless_streams(void) {
    int zeros = open("/dev/zero", O_RDONLY);
    CHECK(zeros != -1);
    frcnn_frame frame;
    source *s = source_mjpeg_new(zeros);
    CHECK(s != NULL && s->open(s) == 0);
    for (int i = 0; i < 20; i++) CHECK(s->read(s, &frame) == SOURCE_MORE);
    s->free(s);
    /* 256 MiB in a frame, in as many pieces as that takes. */
    source_options options = {.width = 16384, .height = 16384, .format = FRCNN_PIXEL_FORMAT_GRAY8, .format_given = 1};
    s = source_raw_new(&options, zeros);
    CHECK(s != NULL && s->open(s) == 0);
    int pieces = 1;
    for (source_event event; (event = s->read(s, &frame)) != SOURCE_FRAME; pieces++) CHECK(event == SOURCE_MORE && pieces < 1000);
    CHECK(pieces == (256 << 20) / SOURCE_BYTES);
    s->free(s);
    close(zeros);
}

int main(void) {
    a_camera();
    colours_of_a_camera();
    other_cameras();
    pipes();
    layouts();
    images_in_a_row();
    hostile_streams();
    endless_streams();
    puts("sources conform");
    return 0;
}
