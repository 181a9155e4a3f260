/* What source_v4l2.c asks of the kernel, so that a test can stand in for it. */
#ifndef SOURCE_V4L2_H
#define SOURCE_V4L2_H

#include <stddef.h>
#include <sys/types.h>

typedef struct v4l2_kernel {
    int (*open)(const char *path);
    int (*ioctl)(int fd, unsigned long request, void *argument);
    void *(*map)(size_t size, int fd, off_t offset); /* NULL on failure. */
    void (*unmap)(void *memory, size_t size);
    void (*close)(int fd);
} v4l2_kernel;

extern const v4l2_kernel *v4l2; /* The real one, unless a test says otherwise. */

#endif
