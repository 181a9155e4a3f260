#include "options.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
    "Usage: frcnn-camera-mini --model FILE.frcnn [OPTION]...\n"
    "\n"
    "Finds objects in a camera's frames; prints a JSON line for each frame that has some.\n"
    "\n"
    "  -m, --model FILE         a bundle that `frcnn compile` wrote; read again at SIGHUP\n"
    "  -i, --input DEVICE       /dev/videoN; - for standard input [default: -]\n"
    "  -f, --format FORMAT      rgb24 bgr24 gray8 yuyv uyvy nv12 nv21 i420 mjpeg rgba bgra\n"
    "  -s, --size WxH           of raw frames; of a camera, as near as it has\n"
    "      --stride LAYOUT      rows of raw frames on standard input: packed, as ffmpeg writes them; gstreamer, which\n"
    "                           pads them to 4 bytes; or the BYTES from row to row [default: packed]\n"
    "      --colour COLOUR      bt601 bt601-full bt709 bt709-full [default: the camera's; of a pipe bt601]\n"
    "      --live               drop frames rather than fall behind; always on for a camera\n"
    "      --proposer NAME      where boxes come from: grid motion model [default: model if the\n"
    "                           bundle has a region proposal network (RPN), else motion]\n"
    "      --tolerance LEVELS   mean difference in grey levels from which a cell of 8 x 8 pixels is looked at anew; 0: any\n"
    "                           [default: what exceeds the camera's noise, learned from its frames]\n"
    "      --no-reuse           compute every frame as a whole, in place of what has changed\n"
    "      --score-threshold S  only detections with a greater score [default: the bundle's]\n"
    "      --threads N          threads that work on one frame [default: the physical cores]\n"
    "      --all                print a line for frames without detections, too\n"
    "      --mqtt HOST[:PORT]   publish to a broker as well; of IPv6 ADDRESS or [ADDRESS]:PORT [port: 1883]\n"
    "      --topic PREFIX       of the MQTT topics [default: frcnn-camera]\n"
    "      --metrics PORT       Prometheus metrics on http://127.0.0.1:PORT/metrics; 0 for a free port\n"
    "  -h, --help\n"
    "  -V, --version\n"
    "\n"
    "Exit codes: 0 asked to stop, or every frame of a stream that is not --live was read; 1 it cannot begin; 2 the command line;\n"
    "3 the stream was cut, could not be read, or ended although it is --live; 4 standard output cannot be written; 5 the broker\n"
    "did not take every message.\n"
    "\n"
    "Examples:\n"
    "  frcnn-camera-mini -m cells.frcnn -i /dev/video0 -s 640x480 --metrics 9477\n"
    "  ffmpeg -i street.mp4 -f rawvideo -pix_fmt nv12 - | frcnn-camera-mini -m street.frcnn -f nv12 -s 1280x720\n"
    "  gst-launch-1.0 -q videotestsrc ! video/x-raw,format=RGB,width=854,height=480 ! fdsink | frcnn-camera-mini -m street.frcnn -f rgb24 -s 854x480 --stride gstreamer\n"
    "  ffmpeg -i rtsp://camera/ -c:v mjpeg -f mjpeg - | frcnn-camera-mini -m street.frcnn -f mjpeg --live --mqtt localhost\n";

static int named(const char *what, const char *name, const char *const names[], uint32_t *value) {
    for (uint32_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            *value = i;
            return 0;
        }
    }
    fprintf(stderr, "frcnn-camera-mini: %s: `%s` is none of", what, name);
    for (uint32_t i = 0; names[i] != NULL; i++) fprintf(stderr, " %s", names[i]);
    fputs("\n", stderr);
    return -1;
}

static int number(const char *what, const char *text, long low, long high, long *value) {
    char *end;
    *value = strtol(text, &end, 10);
    if (*text != '\0' && *end == '\0' && *value >= low && *value <= high) return 0;
    fprintf(stderr, "frcnn-camera-mini: %s: `%s` is not a number from %ld to %ld\n", what, text, low, high);
    return -1;
}

int options_broker(char *text, const char **host, int *port) {
    char *end = text[0] == '[' ? strchr(text, ']') : NULL, *colon = strchr(end != NULL ? end : text, ':');
    /* An address of IPv6 has more colons than one, and the last of them says nothing of a port. */
    if (end == NULL && colon != NULL && strchr(colon + 1, ':') != NULL) colon = NULL;
    long value = *port;
    if (colon != NULL && number("--mqtt", colon + 1, 1, 65535, &value)) return -1;
    if (colon != NULL) *colon = '\0';
    *host = text;
    if (text[0] == '[') {
        if (end == NULL || end[1] != '\0') {
            fprintf(stderr, "frcnn-camera-mini: --mqtt: `%s` is not like [::1] or [::1]:1883\n", text);
            return -1;
        }
        *end = '\0';
        *host = text + 1;
    }
    if (**host == '\0') {
        fputs("frcnn-camera-mini: --mqtt: the host is missing\n", stderr);
        return -1;
    }
    *port = (int)value;
    return 0;
}

int options_read(options *o, int argc, char **argv) {
    enum { COLOUR = 256, STRIDE, LIVE, PROPOSER, TOLERANCE, NO_REUSE, SCORE, THREADS, ALL, MQTT, TOPIC, METRICS_PORT };
    static const struct option LONG[] = {
        {"model", required_argument, NULL, 'm'},
        {"input", required_argument, NULL, 'i'},
        {"format", required_argument, NULL, 'f'},
        {"size", required_argument, NULL, 's'},
        {"colour", required_argument, NULL, COLOUR},
        {"stride", required_argument, NULL, STRIDE},
        {"live", no_argument, NULL, LIVE},
        {"proposer", required_argument, NULL, PROPOSER},
        {"tolerance", required_argument, NULL, TOLERANCE},
        {"no-reuse", no_argument, NULL, NO_REUSE},
        {"score-threshold", required_argument, NULL, SCORE},
        {"threads", required_argument, NULL, THREADS},
        {"all", no_argument, NULL, ALL},
        {"mqtt", required_argument, NULL, MQTT},
        {"topic", required_argument, NULL, TOPIC},
        {"metrics", required_argument, NULL, METRICS_PORT},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    /* In the order of the library's numbers. */
    static const char *const FORMATS[] = {"rgb24", "bgr24", "gray8", "yuyv", "uyvy", "nv12", "nv21", "i420", "mjpeg", "rgba", "bgra", NULL};
    static const char *const COLOURS[] = {"bt601", "bt601-full", "bt709", "bt709-full", NULL};
    static const char *const PROPOSERS[] = {"grid", "motion", "model", NULL};

    *o = (options){.tolerance = -1, .score_threshold = -INFINITY, .mqtt_port = 1883, .topic = "frcnn-camera", .metrics_port = -1};
    long value;
    for (int c; (c = getopt_long(argc, argv, "m:i:f:s:hV", LONG, NULL)) != -1;) {
        char *end;
        switch (c) {
        case 'm': o->model = optarg; break;
        case 'i': o->source.device = strcmp(optarg, "-") == 0 ? NULL : optarg; break;
        case 'f':
            if (named("--format", optarg, FORMATS, &o->source.format)) return -1;
            o->source.format_given = 1;
            break;
        case 's': {
            unsigned width, height;
            int used = 0;
            if (sscanf(optarg, "%ux%u%n", &width, &height, &used) != 2 || optarg[used] != '\0' || width < 1 ||
                height < 1 || width > 32768 || height > 32768) {
                fprintf(stderr, "frcnn-camera-mini: --size: `%s` is not like 640x480\n", optarg);
                return -1;
            }
            o->source.width = width;
            o->source.height = height;
            break;
        }
        case COLOUR:
            if (named("--colour", optarg, COLOURS, &o->source.colour)) return -1;
            o->source.colour_given = 1;
            break;
        case STRIDE:
            if (strcmp(optarg, "packed") == 0) {
                o->source.layout = LAYOUT_PACKED;
            } else if (strcmp(optarg, "gstreamer") == 0) {
                o->source.layout = LAYOUT_GSTREAMER;
            } else if (number("--stride: packed, gstreamer or bytes", optarg, 1, 1 << 20, &value) == 0) {
                o->source.layout = LAYOUT_STRIDE;
                o->source.stride = (size_t)value;
            } else {
                return -1;
            }
            break;
        case LIVE: o->live = 1; break;
        case PROPOSER:
            if (named("--proposer", optarg, PROPOSERS, &o->proposer)) return -1;
            o->proposer_given = 1;
            break;
        case TOLERANCE:
            o->tolerance = strtof(optarg, &end);
            if (*optarg == '\0' || *end != '\0' || !(o->tolerance >= 0 && o->tolerance <= 255)) {
                fprintf(stderr, "frcnn-camera-mini: --tolerance: `%s` is not a number from 0 to 255\n", optarg);
                return -1;
            }
            break;
        case NO_REUSE: o->whole = 1; break;
        case SCORE:
            o->score_threshold = strtof(optarg, &end);
            // Its range depends on the model, and is checked with it.
            if (*optarg == '\0' || *end != '\0' || !isfinite(o->score_threshold)) {
                fprintf(stderr, "frcnn-camera-mini: --score-threshold: `%s` is not a number\n", optarg);
                return -1;
            }
            break;
        case THREADS:
            if (number("--threads", optarg, 1, 1024, &value)) return -1;
            o->threads = (uint32_t)value;
            break;
        case ALL: o->all = 1; break;
        case MQTT:
            if (options_broker(optarg, &o->mqtt_host, &o->mqtt_port)) return -1;
            break;
        case TOPIC: o->topic = optarg; break;
        case METRICS_PORT:
            if (number("--metrics", optarg, 0, 65535, &value)) return -1;
            o->metrics_port = (int)value;
            break;
        case 'h': fputs(HELP, stdout); return 1;
        case 'V': printf("frcnn-camera-mini, frcnn %s\n", frcnn_version()); return 1;
        default: fputs("Try frcnn-camera-mini --help.\n", stderr); return -1;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "frcnn-camera-mini: what is `%s`? Try frcnn-camera-mini --help.\n", argv[optind]);
        return -1;
    }
    if (o->model == NULL) {
        fputs("frcnn-camera-mini: --model is missing. Try frcnn-camera-mini --help.\n", stderr);
        return -1;
    }
    if (o->source.layout != LAYOUT_UNSAID && (o->source.device != NULL || o->source.format == FRCNN_PIXEL_FORMAT_MJPEG)) {
        fputs("frcnn-camera-mini: --stride is for raw frames on standard input\n", stderr);
        return -1;
    }
    if (o->whole && o->tolerance >= 0) {
        fputs("frcnn-camera-mini: --tolerance does not go with --no-reuse\n", stderr);
        return -1;
    }
    if (o->source.device != NULL) o->live = 1;
    return 0;
}
