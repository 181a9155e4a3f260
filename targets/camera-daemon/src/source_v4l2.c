/*
 * A camera: /dev/videoN through Video4Linux2, with buffers that the driver fills and this process maps.
 *
 * The library reads a frame where the driver put it; release gives the buffer back.
 */
#include "source_v4l2.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BUFFERS = 4 };

static int kernel_open(const char *path) { return open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC); }
static int kernel_ioctl(int fd, unsigned long request, void *argument) { return ioctl(fd, request, argument); }
static void *kernel_map(size_t size, int fd, off_t offset) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
    return memory == MAP_FAILED ? NULL : memory;
}
static void kernel_unmap(void *memory, size_t size) { munmap(memory, size); }
static void kernel_close(int fd) { close(fd); }
static const v4l2_kernel kernel = {kernel_open, kernel_ioctl, kernel_map, kernel_unmap, kernel_close};
const v4l2_kernel *v4l2 = &kernel;

/* In the order in which they are asked for where the user names none: what converts fastest first. */
static const struct {
    uint32_t fourcc, format;
} FORMATS[] = {
    {V4L2_PIX_FMT_NV12, FRCNN_PIXEL_FORMAT_NV12},   {V4L2_PIX_FMT_YUYV, FRCNN_PIXEL_FORMAT_YUYV},
    {V4L2_PIX_FMT_UYVY, FRCNN_PIXEL_FORMAT_UYVY},   {V4L2_PIX_FMT_YUV420, FRCNN_PIXEL_FORMAT_I420},
    {V4L2_PIX_FMT_RGB24, FRCNN_PIXEL_FORMAT_RGB24}, {V4L2_PIX_FMT_BGR24, FRCNN_PIXEL_FORMAT_BGR24},
    {V4L2_PIX_FMT_MJPEG, FRCNN_PIXEL_FORMAT_MJPEG}, {V4L2_PIX_FMT_NV21, FRCNN_PIXEL_FORMAT_NV21},
    {V4L2_PIX_FMT_GREY, FRCNN_PIXEL_FORMAT_GRAY8},  {V4L2_PIX_FMT_RGBX32, FRCNN_PIXEL_FORMAT_RGBA32},
    {V4L2_PIX_FMT_XBGR32, FRCNN_PIXEL_FORMAT_BGRA32},
};

typedef struct camera {
    source base;
    source_options options, agreed;
    size_t stride; /* Of the first plane, as the driver says. */
    struct {
        void *memory;
        size_t size;
    } buffers[BUFFERS];
    unsigned count;
    struct v4l2_buffer held; /* The frame that was handed out. */
    int holds;
} camera;

static int ask(int fd, unsigned long request, void *argument) {
    int result;
    do {
        result = v4l2->ioctl(fd, request, argument);
    } while (result == -1 && errno == EINTR);
    return result;
}

static int refuse(camera *c, const char *what) {
    snprintf(c->base.problem, sizeof c->base.problem, "%s: %s: %s", c->options.device, what, strerror(errno));
    c->base.close(&c->base);
    return -1;
}

/* What the driver says of Y, U and V; where it says nothing, as the kernel's documentation has it. */
static uint32_t colour_of(const struct v4l2_pix_format *pix) {
    uint32_t encoding = pix->ycbcr_enc != 0 ? pix->ycbcr_enc : (uint32_t)V4L2_MAP_YCBCR_ENC_DEFAULT(pix->colorspace);
    uint32_t range = pix->quantization != 0 ? pix->quantization : (uint32_t)V4L2_MAP_QUANTIZATION_DEFAULT(0, pix->colorspace, encoding);
    /* SMPTE 240M's and BT.2020's weights are nearest to BT.709's. */
    int is_601 = encoding == V4L2_YCBCR_ENC_601 || encoding == V4L2_YCBCR_ENC_XV601 || encoding == V4L2_YCBCR_ENC_SYCC;
    if (range == V4L2_QUANTIZATION_FULL_RANGE) return is_601 ? FRCNN_COLOUR_BT601_FULL : FRCNN_COLOUR_BT709_FULL;
    return is_601 ? FRCNN_COLOUR_BT601_LIMITED : FRCNN_COLOUR_BT709_LIMITED;
}

static int agree_on_format(camera *c) {
    struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
    format.fmt.pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
    if (ask(c->base.fd, VIDIOC_G_FMT, &format) == -1) return -1;
    uint32_t width = c->options.width != 0 ? c->options.width : format.fmt.pix.width;
    uint32_t height = c->options.height != 0 ? c->options.height : format.fmt.pix.height;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        if (c->options.format_given && FORMATS[i].format != c->options.format) continue;
        format.fmt.pix.width = width;
        format.fmt.pix.height = height;
        format.fmt.pix.pixelformat = FORMATS[i].fourcc;
        format.fmt.pix.field = V4L2_FIELD_ANY;
        format.fmt.pix.bytesperline = 0;
        /* Without it the kernel leaves encoding and quantization away. */
        format.fmt.pix.priv = V4L2_PIX_FMT_PRIV_MAGIC;
        if (ask(c->base.fd, VIDIOC_S_FMT, &format) == -1) {
            if (errno == EINVAL) continue;
            return -1;
        }
        /* A driver answers with the nearest that it has. */
        if (format.fmt.pix.pixelformat != FORMATS[i].fourcc) continue;
        c->agreed = c->options;
        c->agreed.width = format.fmt.pix.width;
        c->agreed.height = format.fmt.pix.height;
        c->agreed.format = FORMATS[i].format;
        c->stride = format.fmt.pix.bytesperline;
        if (!c->options.colour_given) c->agreed.colour = colour_of(&format.fmt.pix);
        if (c->agreed.format != FRCNN_PIXEL_FORMAT_MJPEG && c->stride > raw_row(&c->agreed)) {
            c->agreed.layout = LAYOUT_STRIDE;
            c->agreed.stride = c->stride;
        } else {
            c->agreed.layout = LAYOUT_PACKED;
        }
        if (c->stride != 0 && c->agreed.format != FRCNN_PIXEL_FORMAT_MJPEG && c->stride < raw_row(&c->agreed)) {
            /* Rows would overlap. */
            errno = EPROTO;
            return -1;
        }
        return 0;
    }
    errno = EINVAL;
    return -1;
}

static int camera_open(source *s) {
    camera *c = (camera *)s;
    s->fd = v4l2->open(c->options.device);
    if (s->fd == -1) return refuse(c, "open");
    struct v4l2_capability capability = {0};
    if (ask(s->fd, VIDIOC_QUERYCAP, &capability) == -1) return refuse(c, "not a video device");
    uint32_t can = capability.capabilities & V4L2_CAP_DEVICE_CAPS ? capability.device_caps : capability.capabilities;
    errno = ENOTSUP;
    if (!(can & V4L2_CAP_VIDEO_CAPTURE)) return refuse(c, "does not capture video in one plane");
    if (!(can & V4L2_CAP_STREAMING)) return refuse(c, "does not stream");
    if (agree_on_format(c) == -1) return refuse(c, errno == EPROTO ? "rows that overlap" : "no such format and size");

    struct v4l2_requestbuffers request = {.count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (ask(s->fd, VIDIOC_REQBUFS, &request) == -1) return refuse(c, "buffers");
    unsigned count = request.count < BUFFERS ? request.count : BUFFERS;
    for (c->count = 0; c->count < count; c->count++) {
        struct v4l2_buffer buffer = {.index = c->count, .type = request.type, .memory = request.memory};
        if (ask(s->fd, VIDIOC_QUERYBUF, &buffer) == -1) return refuse(c, "buffer");
        c->buffers[c->count].size = buffer.length;
        c->buffers[c->count].memory = v4l2->map(buffer.length, s->fd, (off_t)buffer.m.offset);
        if (c->buffers[c->count].memory == NULL) return refuse(c, "mapping a buffer");
        if (ask(s->fd, VIDIOC_QBUF, &buffer) == -1) {
            c->count++;
            return refuse(c, "queueing a buffer");
        }
    }
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    if (ask(s->fd, VIDIOC_STREAMON, &type) == -1) return refuse(c, "starting the stream");
    return 0;
}

static void camera_release(source *s) {
    camera *c = (camera *)s;
    /* If that fails, so will the next read, and the camera is opened again. */
    if (c->holds) ask(s->fd, VIDIOC_QBUF, &c->held);
    c->holds = 0;
}

/* The frame as it lies in a mapped buffer, with the driver's padding at the end of rows. */
static int describe(camera *c, frcnn_frame *frame, const uint8_t *bytes, size_t used) {
    if (c->agreed.format == FRCNN_PIXEL_FORMAT_MJPEG) {
        memset(frame, 0, sizeof *frame);
        frame->struct_size = sizeof *frame;
        frame->format = FRCNN_PIXEL_FORMAT_MJPEG;
        frame->planes[0] = (frcnn_plane){bytes, used, 0};
        return used > 0;
    }
    size_t size = raw_frame(frame, &c->agreed, bytes), needed = raw_needed(frame, &c->agreed);
    if (used < needed) return 0;
    /* The last plane ends with what the driver filled. */
    if (used < size) {
        size_t last = 2;
        while (last > 0 && frame->planes[last].data == NULL) last--;
        frame->planes[last].size -= size - used;
    }
    return 1;
}

static source_event camera_read(source *s, frcnn_frame *frame) {
    camera *c = (camera *)s;
    struct v4l2_buffer buffer = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (ask(s->fd, VIDIOC_DQBUF, &buffer) == -1) {
        if (errno == EAGAIN) return SOURCE_NOTHING;
        snprintf(s->problem, sizeof s->problem, "%s: %s", c->options.device, strerror(errno));
        return SOURCE_LOST;
    }
    c->held = buffer;
    c->holds = 1;
    int whole = !(buffer.flags & V4L2_BUF_FLAG_ERROR) && buffer.index < c->count &&
                buffer.bytesused <= c->buffers[buffer.index].size &&
                describe(c, frame, c->buffers[buffer.index].memory, buffer.bytesused);
    if (whole) return SOURCE_FRAME;
    camera_release(s);
    return SOURCE_CORRUPT;
}

static void camera_close(source *s) {
    camera *c = (camera *)s;
    if (s->fd == -1) return;
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE, error = errno;
    ask(s->fd, VIDIOC_STREAMOFF, &type);
    while (c->count > 0) {
        c->count--;
        v4l2->unmap(c->buffers[c->count].memory, c->buffers[c->count].size);
    }
    v4l2->close(s->fd);
    s->fd = -1;
    c->holds = 0;
    errno = error;
}

static void camera_free(source *s) {
    camera_close(s);
    free(s);
}

source *source_v4l2_new(const source_options *options) {
    camera *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->base = (source){.open = camera_open, .read = camera_read, .release = camera_release, .close = camera_close, .free = camera_free, .fd = -1, .reopens = 1};
    c->options = *options;
    return &c->base;
}
