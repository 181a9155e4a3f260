// Every class of frcnn.hpp, as it should be used and as it should not be.
//
//     wrapper BUNDLE JPEG
//
// BUNDLE is examples/colours' detector, JPEG a red square.
#include <frcnn.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <poll.h>
#include <thread>
#include <utility>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            std::cerr << __FILE__ << ':' << __LINE__ << ": " #condition "\n";   \
            std::exit(1);                                                       \
        }                                                                       \
    } while (0)

namespace {

constexpr std::uint32_t WIDTH = 96, HEIGHT = 64;
const std::vector<frcnn::Box> BOXES = {{24, 16, 55, 47}, {0, 0, WIDTH - 1, HEIGHT - 1}};

bool is_red_square(const std::vector<frcnn::Detection> &found) {
    return found.size() == 1 && found[0].class_id == 1 && found[0].score > 0.9f && found[0].proposal == 0;
}

// A red square on black.
std::vector<std::uint8_t> picture(std::size_t bytes) {
    std::vector<std::uint8_t> pixels(bytes * WIDTH * HEIGHT);
    for (std::size_t y = 16; y <= 47; y++) {
        for (std::size_t x = 24; x <= 55; x++) pixels[bytes * (y * WIDTH + x)] = 255;
    }
    return pixels;
}

template <typename Call> frcnn::Error thrown(Call call) {
    try {
        call();
    } catch (const frcnn::Error &error) {
        return error;
    }
    std::cerr << "nothing was thrown\n";
    std::exit(1);
}

void errors() {
    const frcnn::Error io = thrown([] { frcnn::Model("/nowhere/model.frcnn"); });
    CHECK(io.result() == FRCNN_RESULT_IO && std::string(io.what()) == frcnn_last_error_message());
    CHECK(std::string(io.what()).find("/nowhere/model.frcnn") != std::string::npos);
    const std::uint8_t nothing[] = "not a bundle";
    CHECK(thrown([&] { frcnn::Model(nothing, sizeof nothing); }).result() == FRCNN_RESULT_BUNDLE);
}

void models(const std::string &path) {
    frcnn::ModelOptions options;
    options.threads = 1;
    frcnn::Model first(path, options);
    CHECK(first.class_count() == 4 && first.class_name(1) == "red" && first.class_name(2) == "green" && !first.has_rpn());
    CHECK(thrown([&] { first.class_name(4); }).result() == FRCNN_RESULT_INVALID_ARGUMENT);
    first.reload();
    first.reload(path);
    CHECK(first.generation() == 3);
    frcnn::Model second = std::move(first);
    CHECK(first.get() == nullptr && second.generation() == 3);
    // What was moved from is empty, and says so.
    CHECK(thrown([&] { first.generation(); }).result() == FRCNN_RESULT_NULL_POINTER);
    options.score_threshold = 2;
    CHECK(std::string(thrown([&] { frcnn::Model(path, options); }).what()).find("score_threshold") != std::string::npos);
}

void sessions(const std::string &path, const std::string &jpeg_path) {
    std::optional<frcnn::Session> kept;
    {
        frcnn::Model model(path);
        kept.emplace(model);
    }
    frcnn::Session &session = *kept;
    const std::vector<std::uint8_t> rgb = picture(3), rgba = picture(4);
    const frcnn::Frame frame = frcnn::Frame::one_plane(FRCNN_PIXEL_FORMAT_RGB24, rgb.data(), rgb.size(), WIDTH, HEIGHT);
    CHECK(is_red_square(session.detect(frame, BOXES)));
    CHECK(session.report().proposals == 2 && session.reuse().cells == 0);
    CHECK(is_red_square(session.detect(frcnn::Frame::one_plane(FRCNN_PIXEL_FORMAT_RGBA32, rgba.data(), rgba.size(), WIDTH, HEIGHT), BOXES)));
    frcnn::Frame timed = frame;
    timed.captured(std::chrono::milliseconds(1500));
    CHECK(timed.time_ns == 1500000000 && is_red_square(session.detect(timed, BOXES)));
    timed.captured(std::chrono::seconds(-1));
    CHECK(timed.time_ns == 0);
    // No box is none, and not the proposer's.
    CHECK(session.detect(frame, {}).empty() && session.report().proposals == 0);
    CHECK(!session.detect(frame).empty() && session.report().proposals > 0);
    // A row more than there is.
    const frcnn::Frame larger = frcnn::Frame::one_plane(FRCNN_PIXEL_FORMAT_RGB24, rgb.data(), rgb.size(), WIDTH, HEIGHT + 1);
    CHECK(thrown([&] { session.detect(larger); }).result() == FRCNN_RESULT_FRAME);

    std::ifstream file(jpeg_path, std::ios::binary);
    const std::vector<std::uint8_t> jpeg{std::istreambuf_iterator<char>(file), {}};
    CHECK(is_red_square(session.detect(frcnn::Frame::jpeg(jpeg.data(), jpeg.size()), {BOXES[0]})));
    CHECK(thrown([&] { session.detect(frcnn::Frame::jpeg(jpeg.data(), jpeg.size() / 2), BOXES); }).result() == FRCNN_RESULT_DECODE);
}

void threads(const std::string &path) {
    frcnn::Model model(path);
    frcnn::SessionOptions options;
    options.proposer = FRCNN_PROPOSER_GRID;
    frcnn::Session session(model, options);
    const std::vector<std::uint8_t> rgb = picture(3);
    std::vector<frcnn::Detection> found;
    CHECK(session.poll(found) == frcnn::Polled::idle);
    const int fd = session.fd();
    std::thread submits([&] {
        frcnn::Frame frame = frcnn::Frame::one_plane(FRCNN_PIXEL_FORMAT_RGB24, rgb.data(), rgb.size(), WIDTH, HEIGHT);
        for (frame.id = 1; frame.id <= 50; frame.id++) session.submit(frame, BOXES);
    });
    for (std::uint64_t last = 0; last != 50; last = session.report().frame_id) {
        pollfd waits{fd, POLLIN, 0};
        CHECK(::poll(&waits, 1, 60000) == 1);
        CHECK(session.poll(found) == frcnn::Polled::result && is_red_square(found));
    }
    submits.join();
    CHECK(session.poll(found, std::chrono::seconds(60)) == frcnn::Polled::idle && found.empty());
    const frcnn::Stats stats = session.stats();
    CHECK(stats.submitted == 50 && stats.completed + stats.dropped == 50);
    session.submit(frcnn::Frame::jpeg(rgb.data(), rgb.size()));
    CHECK(thrown([&] { session.poll(found, std::chrono::hours(10000)); }).result() == FRCNN_RESULT_DECODE);
}

void streams(const std::string &path) {
    frcnn::Model model(path);
    frcnn::StreamOptions options;
    options.tolerance = 0;
    frcnn::Session stream = frcnn::Session::stream(model, options);
    const std::vector<std::uint8_t> rgb = picture(3);
    const frcnn::Frame frame = frcnn::Frame::one_plane(FRCNN_PIXEL_FORMAT_RGB24, rgb.data(), rgb.size(), WIDTH, HEIGHT);
    CHECK(is_red_square(stream.detect(frame, BOXES)) && stream.reuse().cells_changed == stream.reuse().cells);
    CHECK(is_red_square(stream.detect(frame, BOXES)) && stream.reuse().cells_changed == 0);
}

frcnn::Detection disc_at(float x) {
    frcnn::Detection disc{};
    disc.class_id = 1;
    disc.score = 0.9f;
    disc.bbox = {x, 20, x + 19, 39};
    return disc;
}

// Drives for 3 s, stands for 10 in which only look_again proposes it, and is taken away.
void objects_that_last() {
    const std::chrono::milliseconds tick(100);
    frcnn::TrackerOptions options;
    CHECK(options.high_score == 0.5f && options.max_path == 100);
    options.width = 640;
    options.height = 480;
    frcnn::Tracker tracker(options);
    CHECK(tracker.add_zone({{50, 0}, {640, 0}, {640, 480}, {50, 480}}, {1, 7}) == 0);
    tracker.add_mask({{600, 440}, {640, 440}, {640, 480}});
    frcnn::ClassRule rule;
    rule.min_width = 5;
    tracker.set_class_rule(0, rule);
    std::vector<std::uint32_t> changes;
    std::size_t places = 0;
    frcnn::Event event;
    for (int i = 0; i < 250; i++) {
        const auto time = i * tick;
        std::vector<frcnn::Box> looked = tracker.look_again(time);
        places += looked.size();
        std::vector<frcnn::Detection> found;
        if (i < 60 || (i < 130 && !looked.empty())) found.push_back(disc_at(i < 30 ? 10 + 4.0f * static_cast<float>(i) : 126));
        if (i < 60) looked.push_back(found[0].bbox);
        tracker.update(time, found, looked);
        while (tracker.next_event(event)) {
            CHECK(event.object.id == 1 && event.object.class_id == 1 && !event.path.empty());
            changes.push_back(event.change);
        }
        CHECK(event.path.empty());
        const std::vector<frcnn::Object> objects = tracker.objects();
        if (i == 100) CHECK(objects.size() == 1 && objects[0].stationary == 1 && objects[0].zones == 1);
    }
    CHECK((changes == std::vector<std::uint32_t>{FRCNN_CHANGE_STARTED, FRCNN_CHANGE_STOPPED, FRCNN_CHANGE_ENDED}));
    CHECK(places > 10 && tracker.objects().empty());
    CHECK(tracker.counts().refused == 0 && tracker.counts().masked == 0);
}

void trackers() {
    frcnn::TrackerOptions options;
    options.high_score = 2;
    options.max_objects = 0;
    CHECK(std::string(thrown([&] { frcnn::Tracker tracker(options); }).what()).find("max_objects") != std::string::npos);
    frcnn::Tracker first;
    CHECK(thrown([&] { first.add_zone({{0, 0}, {9, 9}}); }).result() == FRCNN_RESULT_INVALID_ARGUMENT);
    CHECK(thrown([&] { first.set_class_rule(65536, frcnn::ClassRule()); }).result() == FRCNN_RESULT_INVALID_ARGUMENT);
    frcnn::Tracker second = std::move(first);
    CHECK(thrown([&] { first.finish(); }).result() == FRCNN_RESULT_NULL_POINTER);
    frcnn::Event event;
    CHECK(thrown([&] { first.next_event(event); }).result() == FRCNN_RESULT_NULL_POINTER && !second.next_event(event));
    // More objects, and longer paths, than there is room for at first; a clock that starts before its epoch.
    std::vector<frcnn::Detection> many(40);
    for (int i = -2; i < 60; i++) {
        for (std::size_t k = 0; k < many.size(); k++) {
            many[k] = disc_at(static_cast<float>(50 * k));
            many[k].bbox.y1 += 10.0f * static_cast<float>(i + 2);
            many[k].bbox.y2 += 10.0f * static_cast<float>(i + 2);
        }
        second.update(std::chrono::milliseconds(100 * i), many);
    }
    CHECK(second.objects().size() == many.size() && second.counts().out_of_order == 0);
    second.update(std::chrono::milliseconds(6000), {}, {});
    CHECK(second.look_again(std::chrono::milliseconds(6100)).size() == many.size());
    second.finish();
    std::size_t started = 0, ended = 0;
    while (second.next_event(event)) {
        started += event.change == FRCNN_CHANGE_STARTED;
        ended += event.change == FRCNN_CHANGE_ENDED && event.path.size() > 16;
    }
    CHECK(started == many.size() && ended == many.size() && second.objects().empty());
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    errors();
    models(argv[1]);
    sessions(argv[1], argv[2]);
    threads(argv[1]);
    streams(argv[1]);
    objects_that_last();
    trackers();
    std::cout << "the wrapper conforms\n";
    return 0;
}
