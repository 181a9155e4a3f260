/* Cameras where there are none: loaded into frcnn-camera and the ffmpeg or gst-launch-1.0 that it starts, or into frcnn-camera-mini
 * (LD_PRELOAD), this answers for /dev/videoN what a driver of Video4Linux would, from the folder FRCNN_TEST_CAMERAS/videoN. It has
 *
 *     formats             lines such as `YUYV 320x240`; the first is what the camera has until it is asked for another one
 *     YUYV-320x240/0      the bytes of that format's first frame, 1 the next; behind the last one comes the first again
 *     asked               written here: the format of each stream that was begun, as in `formats`
 *     gone                while there is such a file, the camera is unplugged
 *
 * 25 frames a second, from buffers that are mapped. Compiled by run.py. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { FORMATS = 8, BUFFERS = 32, INTERVAL = 40 * 1000 * 1000 };

struct format {
    char name[5];
    unsigned fourcc, width, height;
};

/* One camera a process. Its descriptor is a timer's, which can be waited for as a device can. */
static char folder[3072];
static struct format formats[FORMATS], now;
static unsigned format_count, buffer_count, queued[BUFFERS], waiting, sequence;
static void *mapped[BUFFERS];
static ino_t timer;

static int fails(int error) {
    errno = error;
    return -1;
}

static unsigned bytes_of_row(const struct format *format) {
    return strcmp(format->name, "MJPG") == 0 ? 0 : format->width * (strcmp(format->name, "NV12") == 0 ? 1 : 2);
}

static unsigned size_of(const struct format *format) {
    return strcmp(format->name, "NV12") == 0 ? format->width * format->height * 3 / 2 : format->width * format->height * 2;
}

static int is_device(const char *path) {
    const char *cameras = getenv("FRCNN_TEST_CAMERAS");
    if (cameras == NULL || strncmp(path, "/dev/video", 10) != 0) return 0;
    snprintf(folder, sizeof folder, "%s/%s", cameras, path + 5);
    return 1;
}

static int is_gone(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/gone", folder);
    return access(path, F_OK) == 0;
}

static int open_device(int flags) {
    char path[4096], size[32];
    if (is_gone()) return fails(ENOENT);
    snprintf(path, sizeof path, "%s/formats", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL) return fails(ENOENT);
    format_count = buffer_count = waiting = sequence = 0;
    while (format_count < FORMATS && fscanf(file, "%4s %31s", formats[format_count].name, size) == 2) {
        struct format *format = &formats[format_count++];
        format->fourcc = v4l2_fourcc(format->name[0], format->name[1], format->name[2], format->name[3]);
        sscanf(size, "%ux%u", &format->width, &format->height);
    }
    fclose(file);
    now = formats[0];
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | (flags & O_NONBLOCK ? TFD_NONBLOCK : 0));
    struct stat status;
    if (fd >= 0 && fstat(fd, &status) == 0) timer = status.st_ino;
    return fd;
}

#define OPEN(name)                                                                                                                  \
    int name(const char *path, int flags, ...) {                                                                                    \
        va_list more;                                                                                                               \
        va_start(more, flags);                                                                                                      \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                                                                   \
        va_end(more);                                                                                                               \
        return is_device(path) ? open_device(flags) : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);                        \
    }
OPEN(open) /* frcnn-camera-mini's */
OPEN(open64)
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int stat64(const char *path, struct stat64 *status) {
    if (!is_device(path)) return fstatat64(AT_FDCWD, path, status, 0);
    if (is_gone()) return fails(ENOENT);
    memset(status, 0, sizeof *status);
    status->st_mode = S_IFCHR | 0660;
    return 0;
}

/* What Rust asks. */
int statx(int folder_fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict status) {
    if (!is_device(path)) return (int)syscall(SYS_statx, folder_fd, path, flags, mask, status);
    if (is_gone()) return fails(ENOENT);
    memset(status, 0, sizeof *status);
    status->stx_mask = STATX_TYPE | STATX_MODE;
    status->stx_mode = S_IFCHR | 0660;
    return 0;
}

static void *map(size_t length, int protection, int flags, int fd, off64_t offset) {
    return (void *)syscall(SYS_mmap, NULL, length, protection, flags, fd, offset);
}

/* Buffer i lies at page i. */
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    char path[32], target[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || timer == 0 || readlink(path, target, sizeof target - 1) < 0 || strstr(target, "[timerfd]") == NULL)
        return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    unsigned i = (unsigned)(offset >> 12) % BUFFERS;
    return mapped[i] = map(length, protection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(address, length, protection, flags, fd, offset);
}

/* As UVC's driver: the fourcc that is asked for, or the first where there is no such one; of that the size whose width is nearest. */
static struct format nearest(const struct v4l2_pix_format *wanted) {
    unsigned fourcc = formats[0].fourcc;
    for (unsigned i = 0; i < format_count; i++)
        if (formats[i].fourcc == wanted->pixelformat) fourcc = wanted->pixelformat;
    const struct format *best = NULL;
    for (unsigned i = 0; i < format_count; i++) {
        const struct format *one = &formats[i];
        if (one->fourcc != fourcc) continue;
        if (best == NULL || labs((long)one->width - wanted->width) < labs((long)best->width - wanted->width)) best = one;
    }
    return *best;
}

static void tell(struct v4l2_pix_format *pix, const struct format *format) {
    *pix = (struct v4l2_pix_format){.width = format->width, .height = format->height, .pixelformat = format->fourcc,
                                    .field = V4L2_FIELD_NONE, .bytesperline = bytes_of_row(format), .sizeimage = size_of(format),
                                    .colorspace = V4L2_COLORSPACE_SRGB};
}

static void describe(struct v4l2_buffer *buffer, unsigned index) {
    buffer->index = index;
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_MAPPED;
    buffer->field = V4L2_FIELD_NONE;
    buffer->memory = V4L2_MEMORY_MMAP;
    buffer->m.offset = index << 12;
    buffer->length = size_of(&now);
}

static int begin(int fd, int on) {
    char path[4096];
    struct itimerspec every = {.it_interval.tv_nsec = on ? INTERVAL : 0, .it_value.tv_nsec = on ? INTERVAL : 0};
    waiting = on ? waiting : 0;
    snprintf(path, sizeof path, "%s/asked", folder);
    FILE *file = on ? fopen(path, "a") : NULL;
    if (file != NULL) {
        fprintf(file, "%s %ux%u\n", now.name, now.width, now.height);
        fclose(file);
    }
    return timerfd_settime(fd, 0, &every, NULL);
}

static int take(int fd, struct v4l2_buffer *buffer) {
    char path[4096];
    uint64_t ticks;
    struct timespec at;
    if (is_gone()) return fails(ENODEV);
    if (read(fd, &ticks, sizeof ticks) != sizeof ticks) return -1;
    if (is_gone()) return fails(ENODEV);
    if (waiting == 0) return fails(EAGAIN);
    unsigned index = queued[0];
    memmove(queued, queued + 1, --waiting * sizeof *queued);
    FILE *file = NULL;
    for (int again = 0; again < 2 && file == NULL; again++) {
        if (again) sequence = 0;
        snprintf(path, sizeof path, "%s/%s-%ux%u/%u", folder, now.name, now.width, now.height, sequence);
        file = fopen(path, "r");
    }
    if (file == NULL) return fails(EIO);
    describe(buffer, index);
    buffer->bytesused = (unsigned)fread(mapped[index], 1, size_of(&now), file);
    fclose(file);
    clock_gettime(CLOCK_MONOTONIC, &at);
    buffer->timestamp = (struct timeval){at.tv_sec, at.tv_nsec / 1000};
    buffer->sequence = sequence++;
    return 0;
}

static int answer(int fd, unsigned long request, void *argument) {
    unsigned i, seen = 0;
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *about = argument;
        memset(about, 0, sizeof *about);
        strcpy((char *)about->driver, "frcnn-test");
        strcpy((char *)about->card, "a camera that is none");
        about->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        about->capabilities = about->device_caps | V4L2_CAP_DEVICE_CAPS;
        return 0;
    }
    case VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *about = argument;
        for (i = 0; i < format_count; i++) {
            if (i > 0 && formats[i].fourcc == formats[i - 1].fourcc) continue;
            if (seen++ == about->index) break;
        }
        if (about->type != V4L2_BUF_TYPE_VIDEO_CAPTURE || i == format_count) return fails(EINVAL);
        about->pixelformat = formats[i].fourcc;
        about->flags = strcmp(formats[i].name, "MJPG") == 0 ? V4L2_FMT_FLAG_COMPRESSED : 0;
        strcpy((char *)about->description, formats[i].name);
        return 0;
    }
    case VIDIOC_ENUM_FRAMESIZES: {
        struct v4l2_frmsizeenum *about = argument;
        for (i = 0; i < format_count; i++)
            if (formats[i].fourcc == about->pixel_format && seen++ == about->index) break;
        if (i == format_count) return fails(EINVAL);
        about->type = V4L2_FRMSIZE_TYPE_DISCRETE;
        about->discrete = (struct v4l2_frmsize_discrete){formats[i].width, formats[i].height};
        return 0;
    }
    case VIDIOC_ENUM_FRAMEINTERVALS: {
        struct v4l2_frmivalenum *about = argument;
        if (about->index > 0) return fails(EINVAL);
        about->type = V4L2_FRMIVAL_TYPE_DISCRETE;
        about->discrete = (struct v4l2_fract){1, 25};
        return 0;
    }
    case VIDIOC_G_FMT:
    case VIDIOC_S_FMT:
    case VIDIOC_TRY_FMT: {
        struct v4l2_format *format = argument;
        if (format->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return fails(EINVAL);
        struct format given = request == VIDIOC_G_FMT ? now : nearest(&format->fmt.pix);
        if (request == VIDIOC_S_FMT) now = given;
        tell(&format->fmt.pix, &given);
        return 0;
    }
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *parameters = argument;
        if (parameters->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return fails(EINVAL);
        parameters->parm.capture = (struct v4l2_captureparm){.capability = V4L2_CAP_TIMEPERFRAME, .timeperframe = {1, 25}};
        return 0;
    }
    case VIDIOC_ENUMINPUT: {
        struct v4l2_input *input = argument;
        if (input->index > 0) return fails(EINVAL);
        memset(input, 0, sizeof *input);
        input->type = V4L2_INPUT_TYPE_CAMERA;
        strcpy((char *)input->name, "camera");
        return 0;
    }
    case VIDIOC_G_INPUT:
        *(int *)argument = 0;
        return 0;
    case VIDIOC_S_INPUT:
        return *(int *)argument == 0 ? 0 : fails(EINVAL);
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *wanted = argument;
        if (wanted->memory != V4L2_MEMORY_MMAP || wanted->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return fails(EINVAL);
        wanted->count = buffer_count = wanted->count < BUFFERS ? wanted->count : BUFFERS;
        waiting = 0;
        return 0;
    }
    case VIDIOC_QUERYBUF:
    case VIDIOC_QBUF: {
        struct v4l2_buffer *buffer = argument;
        if (buffer->index >= buffer_count || waiting == BUFFERS) return fails(EINVAL);
        if (request == VIDIOC_QBUF) queued[waiting++] = buffer->index;
        describe(buffer, buffer->index);
        return 0;
    }
    case VIDIOC_DQBUF:
        return take(fd, argument);
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        return begin(fd, request == VIDIOC_STREAMON);
    default:
        /* Controls, standards, events, crops: it has none. */
        return fails(ENOTTY);
    }
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    request &= 0xffffffff; /* libraries of others pass a negative int */
    if (_IOC_TYPE(request) == 'V' && timer != 0) return answer(fd, request, argument);
    return (int)syscall(SYS_ioctl, fd, request, argument);
}
