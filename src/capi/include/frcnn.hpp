/*
 * libfrcnn for C++17, in this header alone: models, sessions and trackers that free themselves, vectors in place of arrays, and a
 * frcnn::Error, with the text of frcnn_last_error_message(), in place of result codes. frcnn.h says what everything means.
 *
 *     frcnn::Model model("cells.frcnn");
 *     frcnn::Session session(model);
 *     for (const frcnn::Detection &d : session.detect(frcnn::Frame::one_plane(FRCNN_PIXEL_FORMAT_RGB24, pixels, size, 640, 480)))
 *         std::cout << model.class_name(d.class_id) << ' ' << d.score << '\n';
 */
#ifndef FRCNN_HPP
#define FRCNN_HPP

#include "frcnn.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace frcnn {

using Box = frcnn_box;
using Detection = frcnn_detection;
using Report = frcnn_report;
using Stats = frcnn_stats;
using Reuse = frcnn_reuse;
using Point = frcnn_point;
using PathPoint = frcnn_path_point;
using Object = frcnn_object;
using TrackCounts = frcnn_track_counts;

/* A call that came to something else than FRCNN_RESULT_OK. */
class Error : public std::runtime_error {
public:
    Error(frcnn_result result, const std::string &message) : std::runtime_error(message), result_(result) {}
    /* A frcnn_result. */
    frcnn_result result() const noexcept { return result_; }

private:
    frcnn_result result_;
};

/* Throws unless a call succeeded. */
inline void check(frcnn_result result) {
    if (result != FRCNN_RESULT_OK) throw Error(result, frcnn_last_error_message());
}

/* Options with every field at its default: frcnn_model_options_init and its like. */
struct ModelOptions : frcnn_model_options {
    ModelOptions() : frcnn_model_options() { check(frcnn_model_options_init(this, sizeof(frcnn_model_options))); }
};
struct SessionOptions : frcnn_session_options {
    SessionOptions() : frcnn_session_options() { check(frcnn_session_options_init(this, sizeof(frcnn_session_options))); }
};
struct StreamOptions : frcnn_stream_options {
    StreamOptions() : frcnn_stream_options() { check(frcnn_stream_options_init(this, sizeof(frcnn_stream_options))); }
};
struct TrackerOptions : frcnn_tracker_options {
    TrackerOptions() : frcnn_tracker_options() { check(frcnn_tracker_options_init(this, sizeof(frcnn_tracker_options))); }
};

/* What holds for a class that nothing was said of: the tracker's high_score, any size, no cool-down. */
struct ClassRule : frcnn_class_rule {
    ClassRule() : frcnn_class_rule() {
        struct_size = sizeof(frcnn_class_rule);
        threshold = -std::numeric_limits<float>::infinity();
    }
};

/* Something that has happened to an object, and the way that the object has gone, the oldest point first. */
struct Event : frcnn_event {
    Event() : frcnn_event() { struct_size = sizeof(frcnn_event); }
    std::vector<PathPoint> path;
};

/* A frame that refers to the caller's bytes. */
struct Frame : frcnn_frame {
    Frame() : frcnn_frame() { struct_size = sizeof(frcnn_frame); }

    /* Of a format with one plane. `row_stride` is the bytes from row to row; 0 if nothing lies between them. */
    static Frame one_plane(frcnn_pixel_format pixels, const std::uint8_t *data, std::size_t size, std::uint32_t columns,
                           std::uint32_t rows, std::size_t row_stride = 0) {
        Frame frame;
        frame.width = columns;
        frame.height = rows;
        frame.format = static_cast<std::uint32_t>(pixels);
        std::size_t row = columns;
        switch (pixels) {
        case FRCNN_PIXEL_FORMAT_RGB24:
        case FRCNN_PIXEL_FORMAT_BGR24: row *= 3; break;
        case FRCNN_PIXEL_FORMAT_RGBA32:
        case FRCNN_PIXEL_FORMAT_BGRA32: row *= 4; break;
        case FRCNN_PIXEL_FORMAT_YUYV:
        case FRCNN_PIXEL_FORMAT_UYVY: row = 4 * ((row + 1) / 2); break;
        default: break;
        }
        frame.planes[0] = {data, size, row_stride != 0 ? row_stride : row};
        return frame;
    }

    /* When it was captured, since any epoch. 0, or a time before the epoch, says nothing: the frame counts as 40 ms after the one before. */
    void captured(std::chrono::nanoseconds time) noexcept { time_ns = time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count()); }

    /* One JPEG. */
    static Frame jpeg(const std::uint8_t *data, std::size_t size) {
        Frame frame;
        frame.format = static_cast<std::uint32_t>(FRCNN_PIXEL_FORMAT_MJPEG);
        frame.planes[0] = {data, size, 0};
        return frame;
    }
};

/* frcnn_model: any number of threads may use one. It can be moved, and not copied. */
class Model {
public:
    explicit Model(const std::string &path, const ModelOptions &options = ModelOptions()) {
        frcnn_model *made = nullptr;
        check(frcnn_model_open(path.c_str(), &options, &made));
        model_.reset(made);
    }

    Model(const std::uint8_t *bytes, std::size_t size, const ModelOptions &options = ModelOptions()) {
        frcnn_model *made = nullptr;
        check(frcnn_model_open_bytes(bytes, size, &options, &made));
        model_.reset(made);
    }

    void reload() { check(frcnn_model_reload(get(), nullptr)); }
    void reload(const std::string &path) { check(frcnn_model_reload(get(), path.c_str())); }

    std::uint64_t generation() const {
        std::uint64_t generation = 0;
        check(frcnn_model_generation(get(), &generation));
        return generation;
    }

    /* The background, class 0, is counted. */
    std::size_t class_count() const {
        std::size_t count = 0;
        check(frcnn_model_class_count(get(), &count));
        return count;
    }

    std::string class_name(std::uint32_t class_id) const {
        std::string name(64, '\0');
        for (;;) {
            frcnn_result result = frcnn_model_class_name(get(), class_id, &name[0], name.size());
            if (result != FRCNN_RESULT_BUFFER_TOO_SMALL) {
                check(result);
                return name.substr(0, name.find('\0'));
            }
            name.resize(2 * name.size());
        }
    }

    bool has_rpn() const {
        std::uint32_t has = 0;
        check(frcnn_model_has_rpn(get(), &has));
        return has != 0;
    }

    frcnn_model *get() const noexcept { return model_.get(); }

private:
    struct Free {
        void operator()(frcnn_model *model) const noexcept { frcnn_model_free(model); }
    };
    std::unique_ptr<frcnn_model, Free> model_;
};

/* What a poll came to. */
enum class Polled {
    result,    /* Detections were fetched. */
    not_ready, /* Frames are in work. */
    idle,      /* None is. */
};

/* frcnn_session, whose threads may submit and poll at once. It can be moved, and not copied; it may outlive its model. */
class Session {
public:
    explicit Session(const Model &model, const SessionOptions &options = SessionOptions()) {
        frcnn_session *made = nullptr;
        check(frcnn_session_new(model.get(), &options, &made));
        session_.reset(made);
    }

    /* For the frames of one fixed camera: frcnn_stream_new. */
    static Session stream(const Model &model, const StreamOptions &options = StreamOptions()) {
        frcnn_session *made = nullptr;
        check(frcnn_stream_new(model.get(), &options, &made));
        return Session(made);
    }

    /* Best first. Without boxes the session's proposer is asked. */
    std::vector<Detection> detect(const Frame &frame) { return detect(frame, nullptr, 0); }
    std::vector<Detection> detect(const Frame &frame, const std::vector<Box> &boxes) {
        return detect(frame, some(boxes), boxes.size());
    }

    void submit(const Frame &frame) { check(frcnn_session_submit(get(), &frame, nullptr, 0)); }
    void submit(const Frame &frame, const std::vector<Box> &boxes) {
        check(frcnn_session_submit(get(), &frame, some(boxes), boxes.size()));
    }

    /* Fetches the oldest result into `found`; waits for one up to `timeout` while frames are in work. Throws the error of a
       frame that failed: report() tells which. */
    Polled poll(std::vector<Detection> &found, std::chrono::milliseconds timeout = std::chrono::milliseconds(0)) {
        std::size_t count = 0;
        const auto longest = std::chrono::milliseconds(std::numeric_limits<std::uint32_t>::max());
        const auto wait = timeout < std::chrono::milliseconds(0) ? std::chrono::milliseconds(0) : timeout < longest ? timeout : longest;
        found.resize(FRCNN_MAX_DETECTIONS);
        const frcnn_result result =
            frcnn_session_poll(get(), static_cast<std::uint32_t>(wait.count()), found.data(), found.size(), &count);
        found.resize(result == FRCNN_RESULT_OK ? count : 0);
        if (result == FRCNN_RESULT_NOT_READY) return Polled::not_ready;
        if (result == FRCNN_RESULT_IDLE) return Polled::idle;
        check(result);
        return Polled::result;
    }

    /* Readable while a result waits; the session's own: frcnn_session_fd. */
    int fd() {
        int descriptor = -1;
        check(frcnn_session_fd(get(), &descriptor));
        return descriptor;
    }

    /* Of the last frame that detect or poll gave a result of. */
    Report report() const {
        Report report{};
        report.struct_size = sizeof report;
        check(frcnn_session_report(get(), &report));
        return report;
    }

    Stats stats() const {
        Stats stats{};
        stats.struct_size = sizeof stats;
        check(frcnn_session_stats(get(), &stats));
        return stats;
    }

    Reuse reuse() const {
        Reuse reuse{};
        reuse.struct_size = sizeof reuse;
        check(frcnn_stream_reuse(get(), &reuse));
        return reuse;
    }

    frcnn_session *get() const noexcept { return session_.get(); }

private:
    explicit Session(frcnn_session *session) : session_(session) {}

    /* NULL would ask the proposer, where no box at all was meant. */
    static const Box *some(const std::vector<Box> &boxes) noexcept {
        static const Box none{};
        return boxes.empty() ? &none : boxes.data();
    }

    std::vector<Detection> detect(const Frame &frame, const Box *boxes, std::size_t box_count) {
        std::vector<Detection> found(FRCNN_MAX_DETECTIONS);
        std::size_t count = 0;
        check(frcnn_session_detect(get(), &frame, boxes, box_count, found.data(), found.size(), &count));
        found.resize(count);
        return found;
    }

    struct Free {
        void operator()(frcnn_session *session) const noexcept { frcnn_session_free(session); }
    };
    std::unique_ptr<frcnn_session, Free> session_;
};

/* frcnn_tracker: ids and events over the detections of one camera's frames. One thread at a time may use it. It can be moved, and
   not copied. Times are those of capture, since any epoch; one before it counts as the epoch. */
class Tracker {
public:
    explicit Tracker(const TrackerOptions &options = TrackerOptions()) {
        frcnn_tracker *made = nullptr;
        check(frcnn_tracker_new(&options, &made));
        tracker_.reset(made);
    }

    /* For these classes, or for all if there are none. Gives the zone's number, a bit of Object::zones. */
    std::uint32_t add_zone(const std::vector<Point> &polygon, const std::vector<std::uint32_t> &classes = {}) {
        std::uint32_t zone = 0;
        check(frcnn_tracker_add_zone(get(), polygon.data(), polygon.size(), classes.data(), classes.size(), &zone));
        return zone;
    }

    void add_mask(const std::vector<Point> &polygon) { check(frcnn_tracker_add_mask(get(), polygon.data(), polygon.size())); }

    /* Class 0 stands for all that have no rule of their own. */
    void set_class_rule(std::uint32_t class_id, const ClassRule &rule) {
        check(frcnn_tracker_set_class_rule(get(), class_id, &rule));
    }

    /* Where to look in the frame of this time, beside other proposals. */
    std::vector<Box> look_again(std::chrono::nanoseconds time) const {
        return all<Box>([&](Box *boxes, std::size_t capacity, std::size_t *count) {
            return frcnn_tracker_look_again(get(), since_epoch(time), boxes, capacity, count);
        });
    }

    /* What a frame showed. Without `looked` the detector looked all over it, as a model that proposes by itself does. */
    void update(std::chrono::nanoseconds time, const std::vector<Detection> &found) {
        check(frcnn_tracker_update(get(), since_epoch(time), found.data(), found.size(), nullptr, 0));
    }
    void update(std::chrono::nanoseconds time, const std::vector<Detection> &found, const std::vector<Box> &looked) {
        /* NULL would be all over the frame, where no box at all was meant. */
        static const Box none{};
        const Box *boxes = looked.empty() ? &none : looked.data();
        check(frcnn_tracker_update(get(), since_epoch(time), found.data(), found.size(), boxes, looked.size()));
    }

    /* Ends all objects; their events can be fetched as others. */
    void finish() { check(frcnn_tracker_finish(get())); }

    /* The objects after the last frame, those that started first before others. */
    std::vector<Object> objects() const {
        return all<Object>([&](Object *objects, std::size_t capacity, std::size_t *count) {
            return frcnn_tracker_objects(get(), objects, capacity, count);
        });
    }

    /* Fetches the oldest event that was not fetched; false if there is none. */
    bool next_event(Event &event) {
        frcnn_result result = FRCNN_RESULT_OK;
        event.path = all<PathPoint>([&](PathPoint *path, std::size_t capacity, std::size_t *count) {
            result = frcnn_tracker_next_event(get(), &event, path, capacity, count);
            if (result != FRCNN_RESULT_IDLE) return result;
            *count = 0;
            return FRCNN_RESULT_OK;
        });
        return result == FRCNN_RESULT_OK;
    }

    TrackCounts counts() const {
        TrackCounts counts{};
        counts.struct_size = sizeof counts;
        check(frcnn_tracker_counts(get(), &counts));
        return counts;
    }

    frcnn_tracker *get() const noexcept { return tracker_.get(); }

private:
    static std::uint64_t since_epoch(std::chrono::nanoseconds time) noexcept {
        return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
    }

    /* All values of a call that says how many there are. */
    template <typename Value, typename Call> static std::vector<Value> all(Call call) {
        std::vector<Value> values(16);
        for (;;) {
            std::size_t count = 0;
            const frcnn_result result = call(values.data(), values.size(), &count);
            if (result != FRCNN_RESULT_BUFFER_TOO_SMALL) check(result);
            values.resize(count);
            if (result == FRCNN_RESULT_OK) return values;
        }
    }

    struct Free {
        void operator()(frcnn_tracker *tracker) const noexcept { frcnn_tracker_free(tracker); }
    };
    std::unique_ptr<frcnn_tracker, Free> tracker_;
};

} /* namespace frcnn */

#endif
