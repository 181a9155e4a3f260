#ifndef FRCNN_H
#define FRCNN_H

#include <stddef.h>
#include <stdint.h>

/*
 * Fast R-CNN on a CPU.
 *
 * A model is opened once and may be used by any number of threads; each thread makes a session of its own. Every
 * function that returns a frcnn_result checks its pointers, and frcnn_last_error_message() says what was wrong. No
 * function keeps a pointer that it was given, but for the callback of frcnn_log_set_callback and the bytes of
 * frcnn_model_open_static. Nothing here writes to stdout; to stderr, only a fault of the library itself does.
 *
 *     frcnn_model *model;
 *     frcnn_session *session;
 *     if (frcnn_model_open("cells.frcnn", NULL, &model) != FRCNN_RESULT_OK ||
 *         frcnn_session_new(model, NULL, &session) != FRCNN_RESULT_OK) {
 *         fprintf(stderr, "%s\n", frcnn_last_error_message());
 *         return 1;
 *     }
 *     frcnn_frame frame = { .struct_size = sizeof frame, .width = 640, .height = 480,
 *                           .format = FRCNN_PIXEL_FORMAT_RGB24,
 *                           .planes = { { .data = pixels, .size = 640 * 480 * 3, .stride = 640 * 3 } } };
 *     frcnn_detection found[FRCNN_MAX_DETECTIONS];
 *     size_t count;
 *     frcnn_session_detect(session, &frame, NULL, 0, found, FRCNN_MAX_DETECTIONS, &count);
 *
 * Structures that begin with `struct_size` may get more fields at their end; a program sets it to the sizeof that it
 * was compiled with, and zeroes the rest as the initializer above does. Functions and values of enumerations may be
 * added; a program that uses one links against a library that has it. Nothing else changes while FRCNN_ABI_VERSION
 * stays.
 */

/*
 The version of this header. A program runs with a library whose frcnn_abi_version() is the same.
 */
#define FRCNN_ABI_VERSION 1

/*
 No image has more detections than this.
 */
#define FRCNN_MAX_DETECTIONS 512

/*
 What a call came to. frcnn_last_error_message() says more about every code but the first three.
 */
enum frcnn_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Done.
   */
  FRCNN_RESULT_OK = 0,
  /*
   frcnn_session_poll: frames are in work, but none is done yet.
   */
  FRCNN_RESULT_NOT_READY = 1,
  /*
   frcnn_session_poll: no frame is in work and every result has been fetched.
   */
  FRCNN_RESULT_IDLE = 2,
  /*
   A pointer is NULL that must not be.
   */
  FRCNN_RESULT_NULL_POINTER = 3,
  /*
   An argument is out of its range.
   */
  FRCNN_RESULT_INVALID_ARGUMENT = 4,
  /*
   A structure's `struct_size` was not set, or comes from a header that does not fit this library.
   */
  FRCNN_RESULT_STRUCT_SIZE = 5,
  /*
   A file cannot be read.
   */
  FRCNN_RESULT_IO = 6,
  /*
   Not a bundle, a damaged one, or one of another format version.
   */
  FRCNN_RESULT_BUNDLE = 7,
  /*
   A frame's size, format, strides and planes do not fit together.
   */
  FRCNN_RESULT_FRAME = 8,
  /*
   A JPEG cannot be decoded.
   */
  FRCNN_RESULT_DECODE = 9,
  /*
   The image is too small or too large for the network.
   */
  FRCNN_RESULT_IMAGE_SIZE = 10,
  /*
   The caller's array or buffer is too small; as much as fits has been written.
   */
  FRCNN_RESULT_BUFFER_TOO_SMALL = 11,
  /*
   The network could not be run, threads could not be started, or there is no memory for what a frame asks for.
   */
  FRCNN_RESULT_INTERNAL = 12,
  /*
   A fault of this library, caught at its border. What the call worked on may be freed, and should be.
   */
  FRCNN_RESULT_PANIC = 13,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_result frcnn_result;
#else
typedef int32_t frcnn_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 What has happened to an object.
 */
enum frcnn_change
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   It has been seen long enough to be one. It counts as moving until it has stopped.
   */
  FRCNN_CHANGE_STARTED = 0,
  /*
   It was stationary, and has left its place.
   */
  FRCNN_CHANGE_MOVED = 1,
  /*
   It has become stationary.
   */
  FRCNN_CHANGE_STOPPED = 2,
  /*
   It is there no more.
   */
  FRCNN_CHANGE_ENDED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_change frcnn_change;
#else
typedef uint32_t frcnn_change;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Which red, green and blue the Y, U and V of a frame mean. Ignored for other formats. In 16..235, what is below 16
 means no colour and may be taken for 16.
 */
enum frcnn_colour
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   ITU-R BT.601, Y in 16..235: most cameras.
   */
  FRCNN_COLOUR_BT601_LIMITED = 0,
  /*
   ITU-R BT.601, Y in 0..255: JPEG's.
   */
  FRCNN_COLOUR_BT601_FULL = 1,
  /*
   ITU-R BT.709, Y in 16..235: high-definition video.
   */
  FRCNN_COLOUR_BT709_LIMITED = 2,
  /*
   ITU-R BT.709, Y in 0..255.
   */
  FRCNN_COLOUR_BT709_FULL = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_colour frcnn_colour;
#else
typedef uint32_t frcnn_colour;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 How fully connected layers with f32 or f16 weights multiply.
 */
enum frcnn_f32_products
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Where the CPU has AMX, as three bf16 products each: faster, and as accurate over a layer's sums. Elsewhere as EXACT,
   bit by bit.
   */
  FRCNN_F32_PRODUCTS_BF16X3 = 0,
  /*
   In f32 on every CPU.
   */
  FRCNN_F32_PRODUCTS_EXACT = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_f32_products frcnn_f32_products;
#else
typedef uint32_t frcnn_f32_products;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 How much a message matters.
 */
enum frcnn_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   Nothing at all.
   */
  FRCNN_LOG_LEVEL_OFF = 0,
  /*
   Something failed that no result code tells.
   */
  FRCNN_LOG_LEVEL_ERROR = 1,
  /*
   Something is not as it should be.
   */
  FRCNN_LOG_LEVEL_WARN = 2,
  /*
   A model was opened or reloaded.
   */
  FRCNN_LOG_LEVEL_INFO = 3,
  /*
   For those who look for a fault.
   */
  FRCNN_LOG_LEVEL_DEBUG = 4,
  /*
   The same, and much of it.
   */
  FRCNN_LOG_LEVEL_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_log_level frcnn_log_level;
#else
typedef uint32_t frcnn_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 How the pixels of a frame lie in memory.

 A plane of `n` rows, `stride` bytes apart, has at least `(n - 1) * stride` bytes and one row. "Half" is rounded up.
 What has its V plane before U (YV12) is I420 with these two planes given in turn.
 */
enum frcnn_pixel_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   One plane: red, green, blue.
   */
  FRCNN_PIXEL_FORMAT_RGB24 = 0,
  /*
   One plane: blue, green, red.
   */
  FRCNN_PIXEL_FORMAT_BGR24 = 1,
  /*
   One plane of grey, used for all three colours.
   */
  FRCNN_PIXEL_FORMAT_GRAY8 = 2,
  /*
   One plane, 4 bytes for two pixels: Y U Y V. A row has 4 * half the width bytes.
   */
  FRCNN_PIXEL_FORMAT_YUYV = 3,
  /*
   One plane, 4 bytes for two pixels: U Y V Y. A row has 4 * half the width bytes.
   */
  FRCNN_PIXEL_FORMAT_UYVY = 4,
  /*
   Two planes: Y; and U, V side by side for 2 x 2 pixels, 2 * half the width bytes in half the rows.
   */
  FRCNN_PIXEL_FORMAT_NV12 = 5,
  /*
   As NV12 with V before U.
   */
  FRCNN_PIXEL_FORMAT_NV21 = 6,
  /*
   Three planes: Y; U; V. The latter have half the width in half the rows.
   */
  FRCNN_PIXEL_FORMAT_I420 = 7,
  /*
   One plane that holds one JPEG of `size` bytes, with or without Huffman tables. Its size in pixels is the JPEG's,
   at most 8192 x 8192; the frame's width, height, colour and stride are ignored. Pixels are taken as they are stored: an
   orientation in EXIF turns nothing.
   */
  FRCNN_PIXEL_FORMAT_MJPEG = 8,
  /*
   One plane: red, green, blue and a byte that is ignored.
   */
  FRCNN_PIXEL_FORMAT_RGBA32 = 9,
  /*
   One plane: blue, green, red and a byte that is ignored.
   */
  FRCNN_PIXEL_FORMAT_BGRA32 = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_pixel_format frcnn_pixel_format;
#else
typedef uint32_t frcnn_pixel_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Where a session takes boxes from for frames that come without any.
 */
enum frcnn_proposer
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   The same coarse grid of about 2000 boxes for every frame; small objects are missed.
   */
  FRCNN_PROPOSER_GRID = 0,
  /*
   Around what moves, for a fixed camera whose frames come in order. It learns the background from the first ten
   frames, and again when the whole view changes; in these, and where nothing moves, there is no box, and the
   network does not run. What stops is background after about 50 s by the frames' `time_ns`, and then has no box any more.
   */
  FRCNN_PROPOSER_MOTION = 1,
  /*
   What suits the model: learned proposals of its own region proposal network (RPN), if frcnn_model_has_rpn says that it
   has one; otherwise as FRCNN_PROPOSER_SELECTIVE_SEARCH, and in a stream as FRCNN_PROPOSER_GRID, whose boxes stay where
   they are from frame to frame.
   */
  FRCNN_PROPOSER_MODEL = 2,
  /*
   Selective search in its fast mode, on the model's threads: boxes of regions that differ from what is around them, for
   photos and whatever else is not known beforehand. It takes some tenths of a second of one core.
   */
  FRCNN_PROPOSER_SELECTIVE_SEARCH = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum frcnn_proposer frcnn_proposer;
#else
typedef uint32_t frcnn_proposer;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 A trained network that is ready to run. It may be used by any number of threads at once, and freed by one of them
 once no other uses it; sessions keep what they need of it.
 */
typedef struct frcnn_model frcnn_model;

/*
 The buffers with which a model works on frames of one size after another. As many threads as there are sessions may work
 at once.

 Any thread may call any function of a session at any time, but for frcnn_session_free: frames may be submitted on one
 thread and polled on another, which do not wait for each other. frcnn_session_report and frcnn_stream_reuse tell of the
 last frame that frcnn_session_detect or frcnn_session_poll gave a result of, on whichever thread; so one thread at a
 time should fetch results and ask about them.
 */
typedef struct frcnn_session frcnn_session;

/*
 Follows the objects in front of one camera. One thread at a time may use it.
 */
typedef struct frcnn_tracker frcnn_tracker;

/*
 Takes one message: its level (a frcnn_log_level), the part of the library that it comes from, and its text, both in
 UTF-8 and only good during the call; and `user` as it was given to frcnn_log_set_callback.

 Called on any thread, also on several at once. It must not call frcnn functions.
 */
typedef void (*frcnn_log_callback)(uint32_t level, const char *target, const char *message, void *user);

/*
 Choices made when a model is opened; they also hold for what it is reloaded from. frcnn_model_options_init sets
 every field to "as the bundle says".
 */
typedef struct frcnn_model_options {
  /*
   sizeof(frcnn_model_options).
   */
  size_t struct_size;
  /*
   Threads that work on one frame; 0 for as many as there are physical cores.
   */
  uint32_t threads;
  /*
   Detections per image at most, 1 to FRCNN_MAX_DETECTIONS; 0 for the bundle's.
   */
  uint32_t max_detections;
  /*
   Detections have a greater score; at least 0 and below 1, or any number where scores are margins. -INFINITY for
   the bundle's.
   */
  float score_threshold;
  /*
   IoU from which a better detection of a class suppresses another; above 0 and at most 1, or negative for the
   bundle's.
   */
  float nms_iou;
  /*
   What a bundle may ask for on one frame, times the defaults of 3 GiB of memory, 4e12 operations and 1000 layers; 0 for 1.
   One that asks for more is refused with FRCNN_RESULT_BUNDLE, a frame that does with FRCNN_RESULT_IMAGE_SIZE.
   */
  double max_cost;
  /*
   A frcnn_f32_products.
   */
  uint32_t f32_products;
  /*
   Must be 0.
   */
  uint32_t reserved;
  /*
   Bytes that the model and a session may take at their peak, with a 4:3 photo and 2000 boxes; 0 for no bound but that of
   max_cost. Convolutions that lose least by it get algorithms with fewer weights.
   */
  uint64_t memory;
} frcnn_model_options;

/*
 Choices made when a session is made. frcnn_session_options_init sets the defaults.
 */
typedef struct frcnn_session_options {
  /*
   sizeof(frcnn_session_options).
   */
  size_t struct_size;
  /*
   A frcnn_proposer.
   */
  uint32_t proposer;
  /*
   Must be 0.
   */
  uint32_t reserved;
} frcnn_session_options;

/*
 A part of a frame. The library only reads it, and only during the call.
 */
typedef struct frcnn_plane {
  /*
   The first byte.
   */
  const uint8_t *data;
  /*
   Bytes that may be read from `data` on.
   */
  size_t size;
  /*
   Bytes from the start of a row to the start of the next.
   */
  size_t stride;
} frcnn_plane;

/*
 A picture as a camera gives it.
 */
typedef struct frcnn_frame {
  /*
   sizeof(frcnn_frame).
   */
  size_t struct_size;
  /*
   The caller's number for the frame, given back with its detections.
   */
  uint64_t id;
  /*
   Columns, 1 to 32768.
   */
  uint32_t width;
  /*
   Rows, 1 to 32768.
   */
  uint32_t height;
  /*
   A frcnn_pixel_format.
   */
  uint32_t format;
  /*
   A frcnn_colour.
   */
  uint32_t colour;
  /*
   As many as the format has; the rest is ignored.
   */
  struct frcnn_plane planes[3];
  /*
   When it was captured, in nanoseconds since any epoch, as of frcnn_tracker_update: how soon what stops is background for
   FRCNN_PROPOSER_MOTION goes by it. 0 if nobody knows: the frame then counts as 40 ms after the one before.
   */
  uint64_t time_ns;
} frcnn_frame;

/*
 A box in image pixels, counted from 0; the corners (x1, y1) and (x2, y2) belong to it, so that it is x2 - x1 + 1 wide. Where the
 manifest's `box_width_offset` and `nms_width_offset` are 0, as of torchvision's and detectron2's detectors, they are edges, and it is
 x2 - x1 wide. Never changes within an ABI version, as arrays of it are handed over.
 */
typedef struct frcnn_box {
  /*
   Left.
   */
  float x1;
  /*
   Top.
   */
  float y1;
  /*
   Right.
   */
  float x2;
  /*
   Bottom.
   */
  float y2;
} frcnn_box;

/*
 An object. Never changes within an ABI version.
 */
typedef struct frcnn_detection {
  /*
   From 1; frcnn_model_class_name tells its name.
   */
  uint32_t class_id;
  /*
   0 to 1, or a margin.
   */
  float score;
  /*
   Where it is, inside the image.
   */
  struct frcnn_box bbox;
  /*
   The position of the box that it was found from, among the frame's proposals.
   */
  uint32_t proposal;
} frcnn_detection;

/*
 What there is to say about the last frame beside its detections. Times are nanoseconds.
 */
typedef struct frcnn_report {
  /*
   sizeof(frcnn_report).
   */
  size_t struct_size;
  /*
   The frame's.
   */
  uint64_t frame_id;
  /*
   Which of the model's reloads looked at the frame: see frcnn_model_generation.
   */
  uint64_t model_generation;
  /*
   Columns of the picture; 0 if it could not be read.
   */
  uint32_t width;
  /*
   Rows of it.
   */
  uint32_t height;
  /*
   Boxes that the network was asked about, or that it proposed itself. Asked about none, it did not run.
   */
  uint64_t proposals;
  /*
   The camera's format to RGB, JPEG included.
   */
  uint64_t convert_ns;
  /*
   Making proposals; of a model that makes them itself, from its feature maps on.
   */
  uint64_t propose_ns;
  /*
   Resizing, means.
   */
  uint64_t preprocess_ns;
  /*
   Convolutional trunk.
   */
  uint64_t trunk_ns;
  /*
   RoI pooling.
   */
  uint64_t roi_pool_ns;
  /*
   Fully connected layers.
   */
  uint64_t head_ns;
  /*
   Box decoding and non-maximum suppression.
   */
  uint64_t postprocess_ns;
  /*
   All of it; 0 if the frame failed.
   */
  uint64_t total_ns;
  /*
   Predictions that were left out because their score, or the box that would have been detected, is not finite: signs
   of a network that diverged in training, or of proposals far beyond any image.
   */
  uint64_t not_finite;
} frcnn_report;

/*
 What happened to the frames that were submitted. All but those waiting or in work are completed, failed or dropped.
 */
typedef struct frcnn_stats {
  /*
   sizeof(frcnn_stats).
   */
  size_t struct_size;
  /*
   Calls of frcnn_session_submit that succeeded.
   */
  uint64_t submitted;
  /*
   Looked at, with or without detections.
   */
  uint64_t completed;
  /*
   Looked at in vain; polling them gives the error.
   */
  uint64_t failed;
  /*
   Never looked at, because a newer frame came before their turn.
   */
  uint64_t dropped;
  /*
   Results given up because 16 newer ones had not been polled.
   */
  uint64_t forgotten;
} frcnn_stats;

/*
 Choices made when a stream is made. frcnn_stream_options_init sets the defaults.
 */
typedef struct frcnn_stream_options {
  /*
   sizeof(frcnn_stream_options).
   */
  size_t struct_size;
  /*
   A frcnn_proposer.
   */
  uint32_t proposer;
  /*
   Mean difference in grey levels, over one of the four quarters of a cell of 8 x 8 pixels, from which the cell is looked
   at anew; 0: any byte makes a difference. Negative, the default: what exceeds the noise of the camera, which is learned
   from its frames.
   */
  float tolerance;
  /*
   MiB of feature maps that may be kept from frame to frame. With less, more is computed anew.
   */
  uint32_t reuse_mib;
  /*
   Must be 0.
   */
  uint32_t reserved;
} frcnn_stream_options;

/*
 What a stream has computed anew for its last frame. All is 0 if the network did not run: there was no box to look at.
 */
typedef struct frcnn_reuse {
  /*
   sizeof(frcnn_reuse).
   */
  size_t struct_size;
  /*
   Cells of 8 x 8 pixels of the frame.
   */
  uint64_t cells;
  /*
   Those that differed by more than the tolerance.
   */
  uint64_t cells_changed;
  /*
   Distinct regions that were judged.
   */
  uint64_t rois;
  /*
   Those of which the head's output was kept.
   */
  uint64_t rois_reused;
  /*
   Bytes that the stream keeps from frame to frame.
   */
  uint64_t kept_bytes;
  /*
   Share of the trunk's multiplications that were done anew, 0 to 1.
   */
  float trunk_share;
  /*
   Grey levels that a cell may differ by in the next frame.
   */
  float tolerance;
} frcnn_reuse;

/*
 Choices made when a tracker is made. frcnn_tracker_options_init sets the defaults.
 */
typedef struct frcnn_tracker_options {
  /*
   sizeof(frcnn_tracker_options).
   */
  size_t struct_size;
  /*
   A detection with at least this score may begin an object, where its class has no threshold of its own: 0.5.
   */
  float high_score;
  /*
   One with at least this score may continue an object: 0.1. Lower ones are passed over. The model should give them:
   frcnn_model_options.score_threshold.
   */
  float low_score;
  /*
   An object has started when it has been seen for so long, and three times more than missed: 250.
   */
  uint32_t confirm_after_ms;
  /*
   A moving object that was not seen for so long has ended: 2000.
   */
  uint32_t lost_after_ms;
  /*
   An object that has kept its place for so long is stationary: 3000.
   */
  uint32_t still_after_ms;
  /*
   A stationary object that was not found at its place for so long has ended: 5000.
   */
  uint32_t gone_after_ms;
  /*
   A stationary object that was not seen for so long is due in frcnn_tracker_look_again: 500.
   */
  uint32_t look_again_every_ms;
  /*
   At most so many objects at once, up to 4096: 256.
   */
  uint32_t max_objects;
  /*
   At most so many points of an object's path are kept, 2 to 65536: 100.
   */
  uint32_t max_path;
  /*
   Columns of the frames, by which it is known when an object leaves the view; 0 if they are not known.
   */
  uint32_t width;
  /*
   Rows of them; 0 with `width`.
   */
  uint32_t height;
  /*
   Must be 0.
   */
  uint32_t reserved;
} frcnn_tracker_options;

/*
 A point of the image, in pixels. Never changes within an ABI version.
 */
typedef struct frcnn_point {
  /*
   From the left.
   */
  float x;
  /*
   From the top.
   */
  float y;
} frcnn_point;

/*
 What holds for a class.
 */
typedef struct frcnn_class_rule {
  /*
   sizeof(frcnn_class_rule).
   */
  size_t struct_size;
  /*
   The least score of a detection that begins an object, or -INFINITY for the tracker's high_score.
   */
  float threshold;
  /*
   A detection narrower than this, in pixels, is passed over.
   */
  float min_width;
  /*
   One less high than this is, too.
   */
  float min_height;
  /*
   After an object of the class has started, others that start within this time give no events.
   */
  uint32_t cool_down_ms;
} frcnn_class_rule;

/*
 An object that lasts. Times are those that were given to frcnn_tracker_update. Never changes within an ABI version.
 */
typedef struct frcnn_object {
  /*
   From 1, in the order in which objects start; never given twice by one tracker.
   */
  uint64_t id;
  /*
   Bit i: it is in the zone that frcnn_tracker_add_zone called i.
   */
  uint64_t zones;
  /*
   The time of its first frame.
   */
  uint64_t first_seen_ns;
  /*
   The time of the last frame that showed it.
   */
  uint64_t last_seen_ns;
  /*
   The time of the frame with its best score.
   */
  uint64_t best_ns;
  /*
   The class that most of its detections had, weighted by score.
   */
  uint32_t class_id;
  /*
   Of its last detection.
   */
  float score;
  /*
   The highest score of its class.
   */
  float best_score;
  /*
   Where it is, smoothed; where it is expected, while it is not seen.
   */
  struct frcnn_box bbox;
  /*
   The detected box that had the best score.
   */
  struct frcnn_box best_box;
  /*
   1 if the last frame showed it, else 0.
   */
  uint32_t seen;
  /*
   1 if it stands still, else 0.
   */
  uint32_t stationary;
  /*
   1 if it started within the cool-down of its class and gives no events, else 0.
   */
  uint32_t quiet;
} frcnn_object;

/*
 Something that has happened.
 */
typedef struct frcnn_event {
  /*
   sizeof(frcnn_event).
   */
  size_t struct_size;
  /*
   The time of the frame by which it was known.
   */
  uint64_t time_ns;
  /*
   A frcnn_change.
   */
  uint32_t change;
  /*
   0.
   */
  uint32_t reserved;
  /*
   To what, as it was then.
   */
  struct frcnn_object object;
} frcnn_event;

/*
 Where an object was: the centre of the lower edge of its box. Never changes within an ABI version.
 */
typedef struct frcnn_path_point {
  /*
   The time of the frame.
   */
  uint64_t time_ns;
  /*
   From the left, pixels.
   */
  float x;
  /*
   From the top.
   */
  float y;
} frcnn_path_point;

/*
 What a tracker did not follow, since it was made.
 */
typedef struct frcnn_track_counts {
  /*
   sizeof(frcnn_track_counts).
   */
  size_t struct_size;
  /*
   Detections that are none: a score or corner that is not finite, or corners out of order.
   */
  uint64_t refused;
  /*
   Detections in a mask.
   */
  uint64_t masked;
  /*
   Detections below the smallest size of their class.
   */
  uint64_t small;
  /*
   Detections beyond the 1024 best of a frame, and those that would have begun one object too many.
   */
  uint64_t too_many;
  /*
   Frames that were captured before the one that came before them; they count as captured with it.
   */
  uint64_t out_of_order;
  /*
   Events given up because 65536 newer ones had not been fetched.
   */
  uint64_t events_lost;
} frcnn_track_counts;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 What the last call on this thread that failed had to say: one sentence in UTF-8, never NULL, empty if none failed.

 The text is the library's, and stays until the next call on this thread.
 */
const char *frcnn_last_error_message(void);

/*
 A result code's name, such as `"FRCNN_RESULT_NULL_POINTER"`; for a number that is none, `"unknown"`. Never NULL.
 */
const char *frcnn_result_name(int32_t result);

/*
 The FRCNN_ABI_VERSION that the library was built with.
 */
uint32_t frcnn_abi_version(void);

/*
 The library's release, such as `"0.1.0"`. Never NULL.
 */
const char *frcnn_version(void);

/*
 Sends the library's messages up to `max_level` (a frcnn_log_level) to `callback`; NULL ends that. Without a callback,
 the library writes nothing anywhere.

 One callback serves the whole process. When the call returns, no thread is in the previous one.
 */
frcnn_result frcnn_log_set_callback(frcnn_log_callback callback,
                                    uint32_t max_level,
                                    void *user);

/*
 Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_model_options).
 */
frcnn_result frcnn_model_options_init(struct frcnn_model_options *options, size_t struct_size);

/*
 Opens the bundle at `path`, a `.frcnn` file that `frcnn compile` wrote. `options` may be NULL for the defaults.
 `*model`, to be freed by frcnn_model_free, is NULL unless the result is FRCNN_RESULT_OK.
 */
frcnn_result frcnn_model_open(const char *path,
                              const struct frcnn_model_options *options,
                              struct frcnn_model **model);

/*
 The same for a bundle in memory, which is copied.
 */
frcnn_result frcnn_model_open_bytes(const uint8_t *bytes,
                                    size_t size,
                                    const struct frcnn_model_options *options,
                                    struct frcnn_model **model);

/*
 The same for a bundle that is part of the program, as `frcnn compile --emit c` makes one: its bytes are borrowed and must
 stay where and as they are until the program ends, also after frcnn_model_free. Weights are read where they lie, at an
 address that is a multiple of 4; elsewhere they are copied. Biases are used there; weights of convolutions and fully
 connected layers are packed for this CPU, so that one packed copy of them is in memory.
 */
frcnn_result frcnn_model_open_static(const uint8_t *bytes,
                                     size_t size,
                                     const struct frcnn_model_options *options,
                                     struct frcnn_model **model);

/*
 Frees a model; NULL is passed over. Its sessions go on.
 */
void frcnn_model_free(struct frcnn_model *model);

/*
 Loads the bundle at `path` in place of the present one; NULL for the path that the model came from last. Takes as
 long as opening; other threads detect meanwhile, and every session takes up the new model with its next frame. If
 it fails, the present one stays.
 */
frcnn_result frcnn_model_reload(const struct frcnn_model *model,
                                const char *path);

/*
 1 for a model as it was opened, and one more for each reload that succeeded.
 */
frcnn_result frcnn_model_generation(const struct frcnn_model *model, uint64_t *generation);

/*
 The number of classes, the background (class 0) counted.
 */
frcnn_result frcnn_model_class_count(const struct frcnn_model *model, size_t *count);

/*
 Whether the model has a region proposal network (RPN), by which it proposes boxes itself: 1 if so, else 0. A session made
 with the default options then lets it.
 */
frcnn_result frcnn_model_has_rpn(const struct frcnn_model *model,
                                 uint32_t *has_rpn);

/*
 Writes the name of a class, in UTF-8 and with its NUL, to `name`, which has room for `size` bytes; a longer name is
 cut and gives FRCNN_RESULT_BUFFER_TOO_SMALL. A class that does not exist gives FRCNN_RESULT_INVALID_ARGUMENT.
 */
frcnn_result frcnn_model_class_name(const struct frcnn_model *model,
                                    uint32_t class_id,
                                    char *name,
                                    size_t size);

/*
 Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_session_options).
 */
frcnn_result frcnn_session_options_init(struct frcnn_session_options *options, size_t struct_size);

/*
 Makes a session of a model. `options` may be NULL for the defaults. `*session`, to be freed by frcnn_session_free, is
 NULL unless the result is FRCNN_RESULT_OK.
 */
frcnn_result frcnn_session_new(const struct frcnn_model *model,
                               const struct frcnn_session_options *options,
                               struct frcnn_session **session);

/*
 Frees a session; NULL is passed over. Waits for a frame in work; frames and results not fetched are given up.
 */
void frcnn_session_free(struct frcnn_session *session);

/*
 Detects objects in a frame, and returns when that is done.

 `proposals` are the `proposal_count` boxes to look at; an invalid one (a corner not finite, or x2 < x1, or y2 < y1)
 is passed over. NULL asks the session's proposer (FRCNN_PROPOSER_MODEL unless another was chosen). `detections` takes up to `capacity`
 detections, best first, and `*count` tells how many were found: if more than `capacity`, the result is
 FRCNN_RESULT_BUFFER_TOO_SMALL. FRCNN_MAX_DETECTIONS are always enough. `detections` may be NULL if `capacity` is 0.
 */
frcnn_result frcnn_session_detect(struct frcnn_session *session,
                                  const struct frcnn_frame *frame,
                                  const struct frcnn_box *proposals,
                                  size_t proposal_count,
                                  struct frcnn_detection *detections,
                                  size_t capacity,
                                  size_t *count);

/*
 Leaves a copy of a frame to the session's own thread and returns at once; frcnn_session_poll gives its detections.

 One frame waits while another is in work. A newer one takes its place, and frcnn_stats.dropped counts the older.
 */
frcnn_result frcnn_session_submit(struct frcnn_session *session,
                                  const struct frcnn_frame *frame,
                                  const struct frcnn_box *proposals,
                                  size_t proposal_count);

/*
 Fetches the result of the oldest submitted frame that has one; waits up to `timeout_ms` milliseconds while frames are
 in work. Detections are handed over as by frcnn_session_detect, and frcnn_session_report tells which frame it was.

 FRCNN_RESULT_NOT_READY: none is done yet. FRCNN_RESULT_IDLE: none is in work. Another code is that of the frame.
 */
frcnn_result frcnn_session_poll(struct frcnn_session *session,
                                uint32_t timeout_ms,
                                struct frcnn_detection *detections,
                                size_t capacity,
                                size_t *count);

/*
 Gives a descriptor to wait on in place of polling, by poll(2), epoll or an event loop: it is readable while a result waits
 for frcnn_session_poll, and not any more once the last was fetched.

 It is the session's, the same at every call, and closed by frcnn_session_free; it must not be read, written or closed.
 The first call starts the session's thread.
 */
frcnn_result frcnn_session_fd(struct frcnn_session *session,
                              int *fd);

/*
 Tells about the last frame that frcnn_session_detect or frcnn_session_poll gave a result of.
 */
frcnn_result frcnn_session_report(const struct frcnn_session *session, struct frcnn_report *report);

/*
 Counts the frames that were submitted.
 */
frcnn_result frcnn_session_stats(const struct frcnn_session *session, struct frcnn_stats *stats);

/*
 Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_stream_options).
 */
frcnn_result frcnn_stream_options_init(struct frcnn_stream_options *options, size_t struct_size);

/*
 Makes a session for the frames of one fixed camera, in their order: a frame costs what has changed since the one before.

 It is used like any other session; each camera has one of its own. It keeps the pixels of each cell of 8 x 8 that were last
 looked at, and looks at a cell anew when it differs from them by more than the tolerance. What it detects is, bit for bit,
 what frcnn_session_detect finds in the picture that these cells make; with a tolerance of 0 that is the frame itself.
 frcnn_stream_reuse tells what was computed anew. After frcnn_model_reload, the first frame is computed as a whole.

 `options` may be NULL for the defaults. `*stream`, to be freed by frcnn_session_free, is NULL unless the result is
 FRCNN_RESULT_OK.
 */
frcnn_result frcnn_stream_new(const struct frcnn_model *model,
                              const struct frcnn_stream_options *options,
                              struct frcnn_session **stream);

/*
 Tells what was computed anew for the last frame that frcnn_session_detect or frcnn_session_poll gave a result of. Of a
 session that frcnn_session_new made, all is 0.
 */
frcnn_result frcnn_stream_reuse(const struct frcnn_session *stream,
                                struct frcnn_reuse *reuse);

/*
 Sets every field of `options` to its default. `struct_size` is sizeof(frcnn_tracker_options).
 */
frcnn_result frcnn_tracker_options_init(struct frcnn_tracker_options *options, size_t struct_size);

/*
 Makes a tracker for the frames of one camera. `options` may be NULL for the defaults. `*tracker`, to be freed by
 frcnn_tracker_free, is NULL unless the result is FRCNN_RESULT_OK.
 */
frcnn_result frcnn_tracker_new(const struct frcnn_tracker_options *options,
                               struct frcnn_tracker **tracker);

/*
 Frees a tracker; NULL is passed over.
 */
void frcnn_tracker_free(struct frcnn_tracker *tracker);

/*
 Adds a zone, a closed polygon of 3 to 256 points in pixels: an object is in it while the centre of the lower edge of its
 box is. It counts for the `class_count` classes at `classes`; for all if there are none. `*zone` is its number, from 0 to 63.
 */
frcnn_result frcnn_tracker_add_zone(struct frcnn_tracker *tracker,
                                    const struct frcnn_point *points,
                                    size_t point_count,
                                    const uint32_t *classes,
                                    size_t class_count,
                                    uint32_t *zone);

/*
 Adds a mask, a polygon as of frcnn_tracker_add_zone: a detection is passed over if the centre of its lower edge is in it. There
 are at most 64.
 */
frcnn_result frcnn_tracker_add_mask(struct frcnn_tracker *tracker,
                                    const struct frcnn_point *points,
                                    size_t point_count);

/*
 Sets what holds for a class from the next frame on. Class 0, the background, stands for all classes that have no rule of
 their own.
 */
frcnn_result frcnn_tracker_set_class_rule(struct frcnn_tracker *tracker,
                                          uint32_t class_id,
                                          const struct frcnn_class_rule *rule);

/*
 Tells where to look in the frame captured at `time_ns`, beside other proposals: at the places of objects that the last
 frame did not show. Give these boxes, with those of a motion model, to frcnn_session_detect: what stands still is no longer
 proposed by what moves. `*count` tells how many there are; if more than `capacity`, the result is
 FRCNN_RESULT_BUFFER_TOO_SMALL. There are never more than max_objects.
 */
frcnn_result frcnn_tracker_look_again(const struct frcnn_tracker *tracker,
                                      uint64_t time_ns,
                                      struct frcnn_box *boxes,
                                      size_t capacity,
                                      size_t *count);

/*
 Takes in what a frame showed that was captured at `time_ns`, nanoseconds since any epoch. Detections that make no sense
 are passed over and counted.

 `looked` are the `looked_count` boxes that the detector was asked about, proposals and those of
 frcnn_tracker_look_again: a stationary object is missed only where it looked. NULL: it looked all over the frame, as a
 model that proposes by itself does.
 */
frcnn_result frcnn_tracker_update(struct frcnn_tracker *tracker,
                                  uint64_t time_ns,
                                  const struct frcnn_detection *detections,
                                  size_t count,
                                  const struct frcnn_box *looked,
                                  size_t looked_count);

/*
 Ends all objects: the camera is gone, or the program ends. Their events can be fetched as others.
 */
frcnn_result frcnn_tracker_finish(struct frcnn_tracker *tracker);

/*
 Tells which objects there are after the last frame, those that started first before others. `*count` tells how many; if
 more than `capacity`, the result is FRCNN_RESULT_BUFFER_TOO_SMALL. There are never more than max_objects.
 */
frcnn_result frcnn_tracker_objects(const struct frcnn_tracker *tracker,
                                   struct frcnn_object *objects,
                                   size_t capacity,
                                   size_t *count);

/*
 Fetches the oldest event that was not fetched; FRCNN_RESULT_IDLE if there is none. `path` takes up to `capacity` points of the
 way that the object has gone, the oldest first, and `*path_count` tells how many there are, max_path and one at most. If they do not
 fit, the result is FRCNN_RESULT_BUFFER_TOO_SMALL and the event stays to be fetched. `path` and `path_count` may both be NULL.
 */
frcnn_result frcnn_tracker_next_event(struct frcnn_tracker *tracker,
                                      struct frcnn_event *event,
                                      struct frcnn_path_point *path,
                                      size_t capacity,
                                      size_t *path_count);

/*
 Counts what was not followed.
 */
frcnn_result frcnn_tracker_counts(const struct frcnn_tracker *tracker, struct frcnn_track_counts *counts);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FRCNN_H */
