/* What the conformance test is made of: a check that says where it failed, and pictures in every format. */
#ifndef CHECK_H
#define CHECK_H

#include <frcnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition,           \
                    frcnn_last_error_message());                                                      \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

#define EXPECT(result, call)                                                                          \
    do {                                                                                              \
        frcnn_result came = (call);                                                                   \
        if (came != FRCNN_RESULT_##result) {                                                          \
            fprintf(stderr, "%s:%d: %s is %s, not " #result " (last error: %s)\n", __FILE__, __LINE__, \
                    #call, frcnn_result_name(came), frcnn_last_error_message());                      \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

enum { WIDTH = 96, HEIGHT = 64 };

/* A red square at (24, 16) to (55, 47) on black, in one block of memory with room for any format. */
typedef struct picture {
    unsigned char bytes[4 * WIDTH * HEIGHT];
    frcnn_frame frame;
} picture;

static inline int in_square(int x, int y) { return x >= 24 && x <= 55 && y >= 16 && y <= 47; }

/* BT.601, limited range: red is 81, 90, 240, black 16, 128, 128. */
static inline unsigned char luma(int x, int y) { return in_square(x, y) ? 81 : 16; }
static inline unsigned char blue_chroma(int x, int y) { return in_square(x, y) ? 90 : 128; }
static inline unsigned char red_chroma(int x, int y) { return in_square(x, y) ? 240 : 128; }

static inline void draw(picture *p, uint32_t format) {
    unsigned char *out = p->bytes, *chroma = p->bytes + WIDTH * HEIGHT;
    memset(p, 0, sizeof *p);
    p->frame.struct_size = sizeof p->frame;
    p->frame.width = WIDTH;
    p->frame.height = HEIGHT;
    p->frame.format = format;
    p->frame.colour = FRCNN_COLOUR_BT601_LIMITED;
    size_t row = WIDTH, half = WIDTH / 2;
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++) {
            switch (format) {
            case FRCNN_PIXEL_FORMAT_RGB24:
            case FRCNN_PIXEL_FORMAT_BGR24:
                row = 3 * WIDTH;
                out[y * row + 3 * x + (format == FRCNN_PIXEL_FORMAT_RGB24 ? 0 : 2)] = in_square(x, y) ? 255 : 0;
                break;
            case FRCNN_PIXEL_FORMAT_YUYV:
            case FRCNN_PIXEL_FORMAT_UYVY: {
                int y_first = format == FRCNN_PIXEL_FORMAT_YUYV;
                row = 2 * WIDTH;
                out[y * row + 2 * x + !y_first] = luma(x, y);
                out[y * row + 2 * x + y_first] = x % 2 ? red_chroma(x, y) : blue_chroma(x, y);
                break;
            }
            case FRCNN_PIXEL_FORMAT_RGBA32:
            case FRCNN_PIXEL_FORMAT_BGRA32:
                row = 4 * WIDTH;
                out[y * row + 4 * x + (format == FRCNN_PIXEL_FORMAT_RGBA32 ? 0 : 2)] = in_square(x, y) ? 255 : 0;
                /* What is no colour is ignored. */
                out[y * row + 4 * x + 3] = (unsigned char)(x + y);
                break;
            default:
                out[y * WIDTH + x] = format == FRCNN_PIXEL_FORMAT_GRAY8 ? 128 : luma(x, y);
                if (x % 2 == 0 && y % 2 == 0) {
                    size_t i = (size_t)(y / 2) * half + (size_t)(x / 2);
                    if (format == FRCNN_PIXEL_FORMAT_I420) {
                        chroma[i] = blue_chroma(x, y);
                        chroma[half * HEIGHT / 2 + i] = red_chroma(x, y);
                    } else {
                        int v_first = format == FRCNN_PIXEL_FORMAT_NV21;
                        chroma[2 * i + v_first] = blue_chroma(x, y);
                        chroma[2 * i + !v_first] = red_chroma(x, y);
                    }
                }
            }
        }
    }
    p->frame.planes[0] = (frcnn_plane){out, row * HEIGHT, row};
    if (format == FRCNN_PIXEL_FORMAT_NV12 || format == FRCNN_PIXEL_FORMAT_NV21) {
        p->frame.planes[1] = (frcnn_plane){chroma, row * HEIGHT / 2, row};
    }
    if (format == FRCNN_PIXEL_FORMAT_I420) {
        p->frame.planes[1] = (frcnn_plane){chroma, half * HEIGHT / 2, half};
        p->frame.planes[2] = (frcnn_plane){chroma + half * HEIGHT / 2, half * HEIGHT / 2, half};
    }
}

/* The square, the whole picture, and a corner with nothing in it. */
static const frcnn_box BOXES[3] = {{24, 16, 55, 47}, {0, 0, WIDTH - 1, HEIGHT - 1}, {64, 0, 95, 15}};

#endif
