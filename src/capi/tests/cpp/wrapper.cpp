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

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    errors();
    models(argv[1]);
    sessions(argv[1], argv[2]);
    threads(argv[1]);
    streams(argv[1]);
    std::cout << "the wrapper conforms\n";
    return 0;
}
