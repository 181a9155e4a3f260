#!/usr/bin/env python3
"""Runs frcnn-camera, or frcnn-camera-mini, on videos that ffmpeg makes, against a broker on loopback, and while things break.

    tests/run.py --program build/frcnn-camera-mini --model colours.frcnn --diverged diverged.frcnn --demo demo.frcnn [--soak SECONDS] [--only NAME]

The models are examples/colours' (cargo run -p frcnn-capi --example colours), the demo is model-export/demo's, compiled.
Needs nothing but Python; tests that need ffmpeg or mosquitto are skipped by name where there is none, and fail if
FRCNN_REQUIRE names it (tests/kit).
"""

import argparse
import fcntl
import json
import math
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request

WIDTH, HEIGHT, RATE = 320, 240, 25
# Seconds: motion learns the background from ten frames, and again when a video starts over.
APPEARS = 0.5


sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tests/kit"))
import needs


def need(word, *tools):
    for tool in tools:
        if shutil.which(tool) is None and not os.path.exists(f"/usr/sbin/{tool}"):
            assert not needs.required(word), f"{word} is required, and there is no {tool} on this machine"
            raise Skip(f"no {tool} on this machine")


class Skip(Exception):
    pass


def wait_until(condition, limit=60):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def free_port(address):
    """One that nobody has, and that no connection takes by itself: that may become its own other end before anyone listens."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in random.sample(range(10_000, 32_000), 100):
        with socket.socket(kind) as probe:
            try:
                probe.bind((address, port))
                return port
            except OSError:
                pass
    raise AssertionError("no free port")


def video(seconds, codec, width=WIDTH, height=HEIGHT):
    return ffmpeg("-filter_complex", scene(width, height), "-t", str(seconds), *codec)


def scene(width=WIDTH, height=HEIGHT):
    """A red square of 64 pixels that goes round and round over a ground of other colours, once that was seen alone."""
    place = f"x='{(width - 64) // 2}*(1+sin(t*2))':y='{(height - 64) // 2}*(1+cos(t*2))'"
    return f"{ground(width, height)}[g];color=red:size=64x64:rate={RATE}[s];[g][s]overlay=enable='gte(t,{APPEARS})':{place}"


def ffmpeg(*arguments):
    need("ffmpeg", "ffmpeg")
    return subprocess.run(["ffmpeg", "-v", "error", *arguments, "-"], stdout=subprocess.PIPE, check=True).stdout


def square_at(frame, width=WIDTH, height=HEIGHT):
    """Where the square is in a frame, counted from 1, to a pixel or two."""
    t = (frame - 1) / RATE
    x = (width - 64) // 2 * (1 + math.sin(t * 2))
    y = (height - 64) // 2 * (1 + math.cos(t * 2))
    return [x, y, x + 63, y + 63]


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area = lambda c: (c[2] - c[0] + 1) * (c[3] - c[1] + 1)
    return width * height / (area(a) + area(b) - width * height)


def ground(width, height):
    """A slanting run of colours; without a seed it is another one every time."""
    colours = f"c0=0x404858:c1=0x605850:x0=0:y0=0:x1={width}:y1={height}:speed=0.00001:seed=1"
    return f"gradients=size={width}x{height}:rate={RATE}:{colours}"


NV12 = ["-f", "rawvideo", "-pix_fmt", "nv12"]
MJPEG = ["-f", "mjpeg", "-pix_fmt", "yuvj422p", "-q:v", "3"]
NV12_INPUT = ["-f", "nv12", "-s", f"{WIDTH}x{HEIGHT}"]


class Camera:
    """A running frcnn-camera, its lines collected as they come."""

    def __init__(self, *arguments, env=None, model=None, stdin=subprocess.PIPE, stderr=subprocess.PIPE, before=None):
        command = [*ARGUMENTS.runner.split(), ARGUMENTS.program, "-m", model or ARGUMENTS.model, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **(env or {})},
            preexec_fn=before,
        )
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=self.collect)]
        if self.process.stderr is not None:
            self.readers.append(threading.Thread(target=self.collect_errors))
        for reader in self.readers:
            reader.start()

    def collect(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def collect_errors(self):
        for line in self.process.stderr:
            self.errors.append(line.decode())

    def feed(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def feed_at(self, data, size, rate, stop):
        """Frame by frame, over and over, as a camera does."""
        try:
            start = time.monotonic()
            for i in range(10**9):
                if stop.is_set():
                    break
                at = i % (len(data) // size) * size
                self.feed(data[at : at + size])
                time.sleep(max(0, start + (i + 1) / rate - time.monotonic()))
        except (BrokenPipeError, ValueError):
            pass

    def end(self, limit=120, code=None):
        """Closes the pipe and waits for the daemon to finish; a stream that was cut, or live and ended, is a failure (3)."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        came = self.process.wait(limit)
        for reader in self.readers:
            reader.join()
        if code is None:
            code = 3 if self.events("stream_cut") or self.events("stream_ended") else 0
        assert came in (code if isinstance(code, tuple) else (code,)), f"exit code {came}, not {code}: {''.join(self.errors)}"
        return self

    def frames(self):
        return [line for line in self.lines if "frame" in line]

    def events(self, name):
        return [line for line in self.lines if line.get("event") == name]

    def wait_for(self, condition, limit=60):
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"waited in vain: {self.lines[-3:]} {self.errors[-3:]}"
            assert self.process.poll() is None, f"ended early: {self.errors}"
            time.sleep(0.02)

    def counts(self):
        """The numbers of the last event."""
        detail = self.events("stopped")[0]["detail"]
        return {word: int(number) for number, word in (part.split() for part in detail.split("frames: ")[1].split(", "))}

    def metrics_port(self):
        """Of one that has started: it takes signals by then."""
        self.wait_for(lambda: any("metrics on" in line for line in self.errors))
        return int(next(line for line in self.errors if "metrics on" in line).rsplit(":", 1)[1].split("/")[0])

    def metric(self, name):
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port()}/metrics", timeout=60).read().decode()
        return float(next(line for line in page.splitlines() if line.startswith(f"frcnn_camera_{name} ")).split()[1])


def check_found(camera, name, truth, least=0.95):
    """The best thing of a class is where it is known to be, in `least` of 4 seconds' frames that show it."""
    frames = camera.end().frames()
    hits = 0
    for line in frames:
        found = [d for d in line["detections"] if d["class"] == name]
        hits += bool(found) and overlap(found[0]["box"], truth(line["frame"])) >= 0.5
    share = hits / sum(t / RATE >= APPEARS for t in range(4 * RATE))
    assert share >= least, f"found in {share:.1%} of the frames"
    print(f"    found in {share:.1%} of the frames", end="")
    assert camera.counts()["read"] == camera.counts()["completed"] == 4 * RATE
    if ARGUMENTS.save:
        with open(ARGUMENTS.save, "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in frames)


def test_objects_are_found():
    camera = Camera(*NV12_INPUT)
    camera.feed(video(4, NV12))
    check_found(camera, "red", square_at)


def test_an_object_of_the_demo_is_found():
    """A disc cut out of the demo's scene goes round and round."""
    photo = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../model-export/demo/scene.jpg")
    disc = "crop=62:64:126:244,format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='255*lte(hypot(X-31,Y-32),30.5)'"
    scene = (
        f"{ground(640, 480)}[g];[0:v]{disc}[d];[g][d]overlay=enable='gte(t,{APPEARS})'"
        ":x='289*(1+sin(t*1.3))':y='208*(1+cos(t*1.3))'"
    )
    camera = Camera("-f", "nv12", "-s", "640x480", model=ARGUMENTS.demo)
    camera.feed(ffmpeg("-loop", "1", "-framerate", str(RATE), "-i", photo, "-filter_complex", scene, "-t", "4", *NV12))

    def truth(frame):
        x, y = (289 * (1 + math.sin((frame - 1) / RATE * 1.3)), 208 * (1 + math.cos((frame - 1) / RATE * 1.3)))
        return [x, y, x + 61, y + 63]

    check_found(camera, "disc", truth)


def test_a_frame_costs_what_has_changed():
    """What is found is what whole frames give, for a part of the trunk: a small square goes round over a still ground."""
    ground = f"color=0x404858:size={WIDTH}x{HEIGHT}:rate={RATE}[g];color=red:size=64x64:rate={RATE}[s]"
    place = f"x='{(WIDTH - 64) // 2}*(1+sin(t*2))':y='{(HEIGHT - 64) // 2}*(1+cos(t*2))'"
    data = ffmpeg("-filter_complex", f"{ground};[g][s]overlay=enable='gte(t,{APPEARS})':{place}", "-t", "3", *NV12)
    whole = None
    for flags in (["--no-reuse"], ["--tolerance", "0"], []):
        camera = Camera(*NV12_INPUT, "--all", "--metrics", "0", *flags)
        camera.feed(data)
        camera.wait_for(lambda: len(camera.frames()) == 3 * RATE)
        trunks, cells, changed, regions, reused, kept, levels = [
            camera.metric(name)
            for name in (
                "trunks_total",
                "cells_total",
                "cells_changed_total",
                "regions_total",
                "regions_reused_total",
                "kept_bytes",
                "tolerance",
            )
        ]
        looked = camera.metric("frames_completed_total") - camera.metric("frames_still_total")
        found = [line["detections"] for line in camera.end().frames()]
        whole = whole or found
        assert found == whole and any(found), flags
        if flags == ["--no-reuse"]:
            assert (trunks, cells, regions, kept) == (looked, 0, 0, 0), (trunks, looked, cells, regions, kept)
        else:
            assert cells == looked * WIDTH * HEIGHT / 64 and 0 < changed < cells / 2, (cells, changed)
            # The first frame is computed as a whole.
            assert 1 <= trunks < 0.75 * looked and reused <= regions and regions > 0, (trunks, looked, reused, regions)
            assert kept > 3 * WIDTH * HEIGHT and levels == 0, (kept, levels)
            print(f"    {trunks / looked:.2f} of the trunks", end="")
    for flags, problem in ((["--tolerance", "-1"], "--tolerance"), (["--no-reuse", "--tolerance", "1"], "--no-reuse")):
        camera = Camera(*NV12_INPUT, *flags)
        assert camera.process.wait(60) == 2
        for reader in camera.readers:
            reader.join()
        assert problem in "".join(camera.errors), camera.errors


def test_damaged_jpegs_are_counted():
    data = bytearray(video(2, MJPEG))
    starts = [i for i in range(len(data) - 2) if data[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 2 * RATE
    # One frame loses its tables, one its header, one its second half.
    for frame, offset in ((10, 30), (20, 0)):
        data[starts[frame] + offset : starts[frame] + offset + 40] = b"\x00" * 40
    half = (starts[31] - starts[30]) // 2
    del data[starts[30] + half : starts[31]]
    camera = Camera("-f", "mjpeg", "--all")
    camera.feed(bytes(data[:-500]))
    counts = camera.end().counts()
    assert counts["corrupt"] >= 3 and counts["cut"] == 1, counts
    assert counts["completed"] == 2 * RATE - 4, counts
    assert len(camera.events("stream_cut")) == 1


def test_size_may_change():
    camera = Camera("-f", "mjpeg", "--all")
    camera.feed(video(1, MJPEG) + video(1, MJPEG, 480, 360) + video(1, MJPEG))
    camera.end()
    assert len(camera.events("size_changed")) == 2 and camera.counts()["completed"] == 3 * RATE
    assert [f["width"] for f in camera.frames()] == [320] * RATE + [480] * RATE + [320] * RATE


def jpegs(data):
    """The images of an MJPEG stream of ffmpeg's, which has no thumbnails."""
    starts = [i for i in range(len(data) - 2) if data[i : i + 3] == b"\xff\xd8\xff"]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)])]


def test_padding_and_multipart_are_no_damage():
    """The same images, and the same detections, whatever lies between them that belongs there."""
    images = jpegs(video(1, MJPEG))
    assert len(images) == RATE

    def part(image):
        return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(image), image)

    streams = {
        "plain": b"".join(images),
        "zeros": b"\0" * 512 + b"".join(image + b"\0" * (-len(image) % 512) for image in images),
        "a doubled end": b"".join(image + b"\xff\xd9" for image in images),
        "multipart": b"".join(map(part, images)) + b"--frame--\r\n",
        "a response": b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n" + b"".join(map(part, images)),
    }
    plain = None
    for name, stream in streams.items():
        camera = Camera("-f", "mjpeg", "--all")
        camera.feed(stream)
        counts = camera.end().counts()
        assert counts["read"] == counts["completed"] == RATE and counts["corrupt"] == counts["cut"] == 0, (name, counts)
        found = [line["detections"] for line in camera.frames()]
        plain = plain or found
        assert found == plain, name


def test_padded_rows_of_gstreamer():
    """Rows of 966 bytes padded to 968: right if that is said, and never wrong without a word."""
    width = WIDTH + 2
    data = video(4, ["-f", "rawvideo", "-pix_fmt", "rgb24"], width)
    row = 3 * width
    padded = b"".join(data[i : i + row] + b"\xa5\x5a" for i in range(0, len(data), row))
    size = ["-f", "rgb24", "-s", f"{width}x{HEIGHT}"]
    for layout, stream in (("gstreamer", padded), (str(row + 2), padded), ("packed", data)):
        camera = Camera(*size, "--stride", layout)
        camera.feed(stream)
        check_found(camera, "red", lambda frame: square_at(frame, width))
        assert not camera.events("layout_assumed") and not camera.events("stream_cut")
    camera = Camera(*size)
    camera.feed(padded)
    camera.end()
    assert "--stride" in camera.events("layout_assumed")[0]["detail"]
    assert "whole frames by --stride gstreamer" in camera.events("stream_cut")[0]["detail"], camera.events("stream_cut")


def without(image, codes):
    """A JPEG without its segments of these markers."""
    kept, at = bytearray(image[:2]), 2
    while image[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(image[at + 2 : at + 4], "big")
        if image[at + 1] not in codes:
            kept += image[at:end]
        at = end
    return bytes(kept + image[at:])


def test_jpegs_without_huffman_tables():
    """As most USB cameras send them, marked AVI1 or not: the same images, and the same detections."""
    app0, app1, dht = 0xE0, 0xE1, 0xC4
    fine = ["-f", "mjpeg", "-pix_fmt", "yuvj422p", "-q:v", "1", "-qmin", "1", "-huffman", "default"]
    images = jpegs(video(4, fine))
    assert len(images) == 4 * RATE and all(b"\xff\xc4" in image for image in images)
    bare = [without(image, {app0, app1, dht}) for image in images]
    assert not any(b"\xff\xc4" in image or b"\xff\xe0" in image for image in bare)
    avi1 = b"\xff\xe0\x00\x10AVI1" + b"\0" * 10
    streams = {
        "with tables": images,
        "without": [without(image, {dht}) for image in images],
        "without tables and APP0": bare,
        "AVI1": [image[:2] + avi1 + image[2:] for image in bare],
    }
    plain = None
    for name, stream in streams.items():
        for live in ([], ["--live"]):
            camera = Camera("-f", "mjpeg", "--all", *live)
            camera.feed(b"".join(stream))
            if name == "AVI1" and not live:
                # Half of the colour and quantisation cost some: 92 % with Huffman tables, too.
                check_found(camera, "red", square_at, least=0.85)
            counts = camera.end().counts()
            assert counts["read"] == counts["completed"] + counts["dropped"] == 4 * RATE, (name, counts)
            assert counts["corrupt"] == counts["cut"] == 0 and not camera.events("frame_failed"), (name, counts)
            # Live frames come with gaps, after which motion is another; the last is always looked at.
            found = [line["detections"] for line in camera.frames()]
            if not live:
                plain = plain or found
                assert found == plain, name


def test_a_model_that_diverged_is_noticed():
    camera = Camera(*NV12_INPUT, "--all", "--metrics", "0", model=ARGUMENTS.diverged)
    camera.feed(video(2, NV12))
    camera.wait_for(lambda: len(camera.frames()) == 2 * RATE)
    counted = camera.metric("predictions_not_finite_total")
    camera.end()
    # At least one in each frame that shows the square and in which something moves.
    assert counted >= RATE, counted
    assert not any(frame["detections"] for frame in camera.frames())
    events = camera.events("predictions_not_finite")
    assert len(events) == 1 and "did the training diverge?" in events[0]["detail"], events
    camera = Camera(*NV12_INPUT, "--metrics", "0")
    camera.feed(video(1, NV12))
    camera.wait_for(lambda: camera.frames())
    assert camera.metric("predictions_not_finite_total") == 0
    assert not camera.end().events("predictions_not_finite")


def test_hostile_jpeg_streams_end_soon():
    """Four megabytes of starts, of segments and of headers: linear, and starts or headers in a row are one damage."""
    size = 4 << 20
    for piece, most in ((b"\xff\xd8", 1), (b"\xff\xd8\xff\xe0\xff\xfe", size // 6), (b"Content-Type: image/jpeg\r\n", 1)):
        camera = Camera("-f", "mjpeg")
        start = time.monotonic()
        camera.feed(piece * (size // len(piece)))
        counts = camera.end().counts()
        print(f"    {time.monotonic() - start:.1f} s", end="")
        assert counts["read"] == 0 and counts["corrupt"] + counts["cut"] <= most, (piece, counts)
        assert counts["corrupt"] + counts["cut"] > 0, piece


def test_a_recording_without_a_frame_is_no_success():
    """A picture of another format, text, and nothing at all: whoever was to write frames has failed."""
    png = ffmpeg("-filter_complex", scene(), "-frames:v", "1", "-c:v", "png", "-f", "image2pipe")
    jpegs = ["-f", "mjpeg"]
    for arguments, data in ((jpegs, png), (jpegs, b"no picture " * 1000), (jpegs, b""), (jpegs, b"\0" * 1000), (NV12_INPUT, b"")):
        camera = Camera(*arguments)
        camera.feed(data)
        counts = camera.end(code=3).counts()
        assert counts["read"] == 0 and (counts["corrupt"] > 0) == bool(data.strip(b"\0")), counts
        assert "no frame could be read" in camera.events("stream_cut")[0]["detail"], camera.lines


def test_truncated_pipe():
    camera = Camera(*NV12_INPUT, "--all")
    camera.feed(video(1, NV12)[:-1000])
    counts = camera.end(code=3).counts()
    assert len(camera.events("stream_cut")) == 1 and "within a frame" in camera.events("stopped")[0]["detail"], camera.lines
    assert counts["read"] == counts["completed"] == RATE - 1 and counts["cut"] == 1, counts


def test_live_frames_are_dropped_rather_than_queued():
    camera = Camera(*NV12_INPUT, "--live", "--all")
    camera.feed(video(8, NV12))
    # What is live does not end unasked: systemd starts it again.
    counts = camera.end(code=3).counts()
    assert len(camera.events("stream_ended")) == 1 and "a live stream ended" in camera.events("stopped")[0]["detail"], camera.lines
    assert counts["read"] == 8 * RATE and counts["completed"] + counts["dropped"] == 8 * RATE, counts
    ids = [f["frame"] for f in camera.frames()]
    assert ids == sorted(ids) and ids[-1] == 8 * RATE, "the newest frame is never dropped"


def test_signals_and_metrics():
    camera = Camera(*NV12_INPUT, "--live", "--metrics", "0")
    stop = threading.Event()
    feeder = threading.Thread(target=camera.feed_at, args=(video(4, NV12), WIDTH * HEIGHT * 3 // 2, RATE, stop))
    feeder.start()
    camera.wait_for(lambda: len(camera.frames()) > 5)
    os.kill(camera.process.pid, signal.SIGHUP)
    camera.wait_for(lambda: camera.events("model_reloaded"))
    seen = len(camera.frames())
    camera.wait_for(lambda: len(camera.frames()) > seen + 5)
    assert camera.metric("model_reloads_total") == 1 and camera.metric("up") == 1
    assert camera.metric("frames_completed_total") >= 10 and camera.metric("frames_per_second") > 0.5
    os.rename(ARGUMENTS.model, ARGUMENTS.model + ".away")
    try:
        os.kill(camera.process.pid, signal.SIGHUP)
        camera.wait_for(lambda: camera.events("model_kept"))
    finally:
        os.rename(ARGUMENTS.model + ".away", ARGUMENTS.model)
    seen = len(camera.frames())
    camera.wait_for(lambda: len(camera.frames()) > seen + 5)
    os.kill(camera.process.pid, signal.SIGTERM)
    camera.wait_for(lambda: camera.events("stopped")) if camera.process.poll() is None else None
    stop.set()
    feeder.join()
    counts = camera.end().counts()
    assert counts["read"] == counts["completed"] + counts["dropped"] + counts["corrupt"], counts


def on_one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def takes_hangups(pid):
    """Whether SIGHUP does not end the process any more: it is blocked, to be read elsewhere, or caught."""
    with open(f"/proc/{pid}/status") as file:
        masks = {line.split(":")[0]: int(line.split()[1], 16) for line in file if line.startswith(("SigBlk", "SigCgt"))}
    return (masks["SigBlk"] | masks["SigCgt"]) >> (signal.SIGHUP - 1) & 1


def test_signals_are_seen_while_input_is_always_readable():
    """A storm under each source, on one core: the model is read again, and the daemon ends when it is asked to."""
    images = video(1, MJPEG)
    for name, arguments, endless in (
        ("raw file", NV12_INPUT, None),
        ("raw file, live", [*NV12_INPUT, "--live"], None),
        ("raw pipe", NV12_INPUT, ["cat", "/dev/zero"]),
        ("JPEGs that never come", ["-f", "mjpeg"], None),
        ("JPEGs", ["-f", "mjpeg"], images),
        ("JPEGs, live", ["-f", "mjpeg", "--live"], images),
        ("one frame of a gigabyte", ["-f", "gray8", "-s", "32768x32768"], None),
    ):
        feeder = subprocess.Popen(endless, stdout=subprocess.PIPE) if isinstance(endless, list) else None
        stdin = feeder.stdout if feeder else subprocess.PIPE if endless else open("/dev/zero", "rb")
        # Without --metrics, whose thread could take signals in place of the others.
        camera = Camera(*arguments, "--threads", "1", stdin=stdin, before=on_one_core)
        camera.wait_for(lambda: takes_hangups(camera.process.pid))
        if feeder:
            feeder.stdout.close()
        stop = threading.Event()
        if isinstance(endless, bytes):

            def pour():
                try:
                    while not stop.is_set():
                        camera.feed(endless)
                except (BrokenPipeError, ValueError):
                    pass

            threading.Thread(target=pour, daemon=True).start()
        try:
            for _ in range(2):
                seen = len(camera.events("model_reloaded"))
                end = time.monotonic() + 0.2
                while time.monotonic() < end:
                    os.kill(camera.process.pid, signal.SIGHUP)
                    time.sleep(0.001)
                camera.wait_for(lambda: len(camera.events("model_reloaded")) > seen)
            os.kill(camera.process.pid, signal.SIGTERM)
            start = time.monotonic()
            camera.process.wait(60)
            print(f"    {name}: {time.monotonic() - start:.2f} s", end="")
        finally:
            stop.set()
            camera.process.kill() if camera.process.poll() is None else None
            feeder.kill() if feeder else None
        camera.end(code=0)
        assert camera.events("stopped")[0]["detail"].startswith("asked to"), (name, camera.lines[-1])


def test_output_that_cannot_be_written_is_an_error():
    data = video(1, NV12)
    command = [*ARGUMENTS.runner.split(), ARGUMENTS.program, "-m", ARGUMENTS.model, *NV12_INPUT, "--all"]
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(command, input=data, stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert ended.returncode == 4 and b"No space left on device" in ended.stderr, (ended.returncode, ended.stderr)
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, input=data, stdout=writer, stderr=subprocess.PIPE, timeout=120)
    os.close(writer)
    # A reader that goes has seen enough.
    assert ended.returncode == 0 and b"standard output" in ended.stderr, (ended.returncode, ended.stderr)


def test_standard_output_that_nobody_reads_is_given_up_in_the_end():
    """It is waited for, as a recording is read no faster than that; not any more once the daemon is asked to end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with tempfile.NamedTemporaryFile() as file:
        file.write(video(8, NV12))
        file.flush()
        command = [*ARGUMENTS.runner.split(), ARGUMENTS.program, "-m", ARGUMENTS.model, *NV12_INPUT, "--all"]
        process = subprocess.Popen(command, stdin=open(file.name, "rb"), stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        try:
            waiting = lambda: int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder)
            wait_until(lambda: waiting() > 0)
            time.sleep(2)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 4 and b"standard output" in errors, (process.returncode, errors)
        finally:
            process.kill()
            os.close(reader)


def test_a_standard_error_that_nobody_reads_holds_nothing_up():
    """Lines are lost there, and counted for whoever reads again; standard output has them all."""
    data = video(2, NV12)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"x" * 4096)
    camera = Camera(*NV12_INPUT, "--live", "--all", stderr=writer)
    os.close(writer)
    stop = threading.Event()
    feeder = threading.Thread(target=camera.feed_at, args=(data, WIDTH * HEIGHT * 3 // 2, RATE, stop))
    feeder.start()
    try:
        for reloads in (1, 2, 3):
            before = len(camera.frames())
            camera.wait_for(lambda: len(camera.frames()) > before + 3)
            camera.process.send_signal(signal.SIGHUP)
            camera.wait_for(lambda: len(camera.events("model_reloaded")) == reloads)
        os.read(reader, 4096)
        camera.process.send_signal(signal.SIGTERM)
        camera.process.wait(60)
        camera.end(code=0)
        assert len(camera.events("stopped")) == 1, camera.lines[-1]
        with os.fdopen(reader) as said:
            said = said.read()
        assert "3 lines are left out" in said and "stopped: asked to" in said, said
    finally:
        stop.set()
        camera.process.kill()
        feeder.join()


def test_metrics_in_spite_of_clients_that_say_nothing():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    camera = Camera(*NV12_INPUT, "--metrics", "0")
    port = camera.metrics_port()
    idle = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(1000)]
    slow = socket.create_connection(("127.0.0.1", port), 60)
    times = []
    for byte in b"GET /metrics HT":
        try:
            slow.send(bytes([byte]))
        except OSError:
            pass
        start = time.monotonic()
        assert camera.metric("up") == 1
        times.append(time.monotonic() - start)
        time.sleep(0.1)
    print(f"    {max(times) * 1000:.0f} ms at worst", end="")
    # Whoever says nothing is let go after 5 s: nobody waits for that.
    assert sorted(times)[len(times) // 2] < 4, times
    camera.wait_for(lambda: len(os.listdir(f"/proc/{camera.process.pid}/fd")) < 30)
    for client in (*idle, slow):
        client.close()
    camera.end()


def test_a_broker_that_is_not_there_is_reported():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        camera = Camera(*NV12_INPUT, "--mqtt", f"127.0.0.1:{port}", "--topic", "yard", "--metrics", "0")
        if camera.process.poll() is not None or any("without libmosquitto" in line for line in camera.errors):
            raise Skip("frcnn-camera is built without libmosquitto")
        start = time.monotonic()
        camera.wait_for(lambda: camera.events("mqtt_unreachable"))
        assert f"127.0.0.1:{port}" in camera.events("mqtt_unreachable")[0]["detail"]
        print(f"    after {time.monotonic() - start:.1f} s", end="")
        camera.wait_for(lambda: camera.metric("mqtt_failed_total") >= 1)
        assert camera.metric("mqtt_connected") == 0 and len(camera.events("mqtt_unreachable")) == 1
        camera.feed(video(1, NV12))
        # No line reached it.
        camera.end(code=(0, 5))
        assert "not take" in camera.errors[-1] or camera.process.returncode == 0, camera.errors[-1]


def test_a_broker_on_ipv6():
    need("mosquitto", "mosquitto", "mosquitto_sub")
    try:
        socket.socket(socket.AF_INET6).bind(("::1", 0))
    except OSError as error:
        raise Skip(f"no IPv6 on this machine: {error}")
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(folder, "::1")
        try:
            camera = Camera(*NV12_INPUT, "--mqtt", f"[::1]:{broker.port}", "--topic", "yard", "--metrics", "0")
            if camera.process.poll() is not None or any("without libmosquitto" in line for line in camera.errors):
                raise Skip("frcnn-camera is built without libmosquitto")
            camera.wait_for(lambda: camera.metric("mqtt_connected") == 1)
            camera.feed(video(1, NV12))
            camera.end(code=0)
        finally:
            broker.kill()


def test_a_camera_that_is_not_there_is_reported_and_retried():
    camera = Camera("-i", "/dev/video99", "--metrics", "0")
    camera.wait_for(lambda: len(camera.events("camera_unavailable")) >= 2)
    first, second = camera.events("camera_unavailable")[:2]
    assert "/dev/video99" in first["detail"] and second["time"] - first["time"] > 0.9
    assert camera.metric("up") == 0
    os.kill(camera.process.pid, signal.SIGTERM)
    camera.end()


def fake_cameras(folder):
    """What a program is to load so that /dev/videoN is what `folder` says of videoN: see device.c."""
    need("cc", "cc")
    if ARGUMENTS.runner:
        raise Skip("the program is emulated, and what it is to load is not")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../src/camera/tests/device.c")
    library = f"{folder}/device.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, source], check=True)
    return {"LD_PRELOAD": library, "FRCNN_TEST_CAMERAS": folder}


def test_a_camera_that_was_away_is_told_to_be_back():
    """Plugged in late, unplugged, and plugged in again; once each time."""
    with tempfile.TemporaryDirectory() as folder:
        env, device = fake_cameras(folder), f"{folder}/video50"
        os.makedirs(f"{device}/YUYV-{WIDTH}x{HEIGHT}")
        with open(f"{device}/formats", "w") as file:
            file.write(f"YUYV {WIDTH}x{HEIGHT}\n")
        data = video(1, ["-f", "rawvideo", "-pix_fmt", "yuyv422"])
        size = WIDTH * HEIGHT * 2
        for i in range(len(data) // size):
            with open(f"{device}/YUYV-{WIDTH}x{HEIGHT}/{i}", "wb") as file:
                file.write(data[i * size : (i + 1) * size])
        gone = f"{device}/gone"
        open(gone, "w").close()
        camera = Camera("-i", "/dev/video50", "-f", "yuyv", "-s", f"{WIDTH}x{HEIGHT}", "--all", "--metrics", "0", env=env)
        try:
            for times, why in ((1, "camera_unavailable"), (2, "camera_lost")):
                camera.wait_for(lambda: camera.events(why))
                assert camera.metric("up") == 0 and len(camera.events("camera_back")) == times - 1
                os.remove(gone)
                camera.wait_for(lambda: len(camera.events("camera_back")) == times)
                seen = len(camera.frames())
                camera.wait_for(lambda: len(camera.frames()) > seen + 5)
                assert camera.metric("up") == 1
                open(gone, "w").close()
        finally:
            os.kill(camera.process.pid, signal.SIGTERM)
            camera.end()
        assert len(camera.events("camera_back")) == 2, camera.lines


def test_a_stalled_stream_is_reported():
    data = video(1, NV12)
    camera = Camera(*NV12_INPUT)
    camera.feed(data)
    camera.wait_for(lambda: camera.events("camera_stalled"))
    camera.feed(data)
    camera.wait_for(lambda: camera.events("camera_back"))
    camera.end()
    assert camera.counts()["read"] == 2 * RATE


def test_a_stream_without_frames_is_a_stall():
    """However much of it there is."""
    stop, cameras = threading.Event(), [Camera("-f", "mjpeg", "--live") for _ in range(2)]
    pieces = b"\0" * 65536, b"garbage\n" * 8192
    feeders = [threading.Thread(target=camera.feed_at, args=(piece, len(piece), 50, stop)) for camera, piece in zip(cameras, pieces)]
    for feeder in feeders:
        feeder.start()
    try:
        for camera in cameras:
            camera.wait_for(lambda: camera.events("camera_stalled"))
    finally:
        stop.set()
        for camera, feeder in zip(cameras, feeders):
            feeder.join()
            camera.end(code=3)


def test_systemd_is_told():
    with tempfile.TemporaryDirectory() as folder:
        path = folder + "/notify"
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(path)
        server.settimeout(60)
        camera = Camera(*NV12_INPUT, env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
        told = [server.recv(200).decode() for _ in range(4)]
        assert told == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"], told
        camera.end()
        while (word := server.recv(200).decode()) == "WATCHDOG=1":
            pass
        assert word == "STOPPING=1", word


class Broker:
    """mosquitto on a loopback port."""

    def __init__(self, folder, address="127.0.0.1"):
        self.address = address
        self.port = free_port(address)
        self.config = folder + "/mosquitto.conf"
        with open(self.config, "w") as file:
            file.write(f"listener {self.port} {address}\nallow_anonymous true\n")
        self.start()

    def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = subprocess.Popen([program, "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens():
            assert self.process.poll() is None, "mosquitto does not start"
            try:
                socket.create_connection((self.address, self.port), 10).close()
                return True
            except OSError:
                return False

        wait_until(listens)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def subscribe(self, messages):
        """Whoever hears what is sent to yard/: all of it from now on."""
        publish = ["mosquitto_pub", "-p", str(self.port), "-t", "yard/test", "-r", "-m", "hears"]
        subprocess.run(publish, check=True, timeout=60)
        heard = len(messages)
        command = ["mosquitto_sub", "-p", str(self.port), "-t", "yard/#", "-q", "1", "-v"]
        # Snapshots among them are no text.
        subscriber = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace")
        collect = lambda: messages.extend(line.rstrip("\n") for line in subscriber.stdout)
        subscriber.reader = threading.Thread(target=collect, daemon=True)
        subscriber.reader.start()
        wait_until(lambda: "yard/test hears" in messages[heard:])
        return subscriber


def test_a_broker_that_comes_and_goes():
    need("mosquitto", "mosquitto", "mosquitto_sub", "mosquitto_pub")
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(folder)
        messages = []
        subscriber = broker.subscribe(messages)
        camera = Camera(*NV12_INPUT, "--live", "--mqtt", f"127.0.0.1:{broker.port}", "--topic", "yard", "--metrics", "0")
        if any("without libmosquitto" in line for line in camera.errors) or camera.process.poll() is not None:
            raise Skip("frcnn-camera is built without libmosquitto")
        stop = threading.Event()
        feeder = threading.Thread(target=camera.feed_at, args=(video(4, NV12), WIDTH * HEIGHT * 3 // 2, 10, stop))
        feeder.start()
        try:
            of_frames = lambda begin=0: {
                json.loads(m.split(" ", 1)[1])["frame"] for m in messages[begin:] if "detections" in m and '"frame"' in m
            }
            camera.wait_for(lambda: len(of_frames()) >= 10)
            assert "yard/availability online" in messages
            broker.kill()
            subscriber.kill()
            subscriber.reader.join()
            last, before = max(of_frames()), len(messages)
            camera.wait_for(lambda: camera.metric("mqtt_connected") == 0)
            seen = len(camera.frames())
            camera.wait_for(lambda: len(camera.frames()) > seen + 10)
            broker.start()
            subscriber = broker.subscribe(messages)
            camera.wait_for(lambda: camera.metric("mqtt_connected") == 1)
            camera.wait_for(lambda: len(of_frames()) > 10 and max(of_frames()) > last)
            first = min(of_frames(before))
            seen = len(camera.frames())
            camera.wait_for(lambda: len(camera.frames()) > seen + 10)
            os.kill(camera.process.pid, signal.SIGTERM)
            stop.set()
            feeder.join()
            camera.end()
            wait_until(lambda: messages[-1] == "yard/availability offline")
            published = {f["frame"] for f in camera.frames()}
            missed = sorted(published - of_frames())
            print(f"    {len(published)} lines, {len(missed)} not seen by the subscriber", end="")
            # The broker was killed with what it had not handed on, and the new subscriber may have joined late: between its first
            # line and the last that came before, and nowhere else.
            assert all(last < frame < first for frame in missed), (last, first, missed)
        finally:
            stop.set()
            subscriber.kill()
            broker.kill()
            camera.process.kill()


def test_soak():
    """Memory and descriptors stay flat while frames come, clients ask and the model is reloaded."""
    camera = Camera(*NV12_INPUT, "--live", "--metrics", "0")
    stop = threading.Event()
    feeder = threading.Thread(target=camera.feed_at, args=(video(4, NV12), WIDTH * HEIGHT * 3 // 2, RATE, stop))
    feeder.start()
    pid = camera.process.pid

    def use():
        with open(f"/proc/{pid}/statm") as file:
            resident = int(file.read().split()[1]) * 4
        return resident, len(os.listdir(f"/proc/{pid}/fd"))

    try:
        camera.wait_for(lambda: len(camera.frames()) > 50)
        before, end, residents = use(), time.monotonic() + ARGUMENTS.soak, []
        while time.monotonic() < end:
            time.sleep(1)
            camera.metric("up")
            residents.append(use()[0])
        # The daemon closes its end of a connection a little after the client has its answer.
        closed = time.monotonic() + 10
        while use()[1] > before[1] and time.monotonic() < closed:
            time.sleep(0.05)
        after = use()
        print(f"    {ARGUMENTS.soak} s: {before[0]} to {after[0]} KiB, {before[1]} to {after[1]} descriptors", end="")
        assert max(residents[len(residents) // 2 :]) - before[0] < 4096 and after[1] <= before[1]
    finally:
        os.kill(pid, signal.SIGTERM)
        stop.set()
        feeder.join()
    camera.end()


def run_tests(module, only):
    passed = failed = skipped = 0
    for name, test in [(n, t) for n, t in module.items() if n.startswith("test_") and only in n]:
        print(name, end="", flush=True)
        start = time.monotonic()
        try:
            test()
            passed += 1
            print(f"  ok ({time.monotonic() - start:.1f} s)")
        except Skip as reason:
            skipped += 1
            print(f"  skipped: {reason}")
        except Exception as error:
            failed += 1
            print(f"  FAILED: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


def main():
    global ARGUMENTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--diverged", required=True, metavar="FILE", help="the model whose boxes are not finite")
    parser.add_argument("--demo", required=True, metavar="FILE", help="the demo model, compiled")
    parser.add_argument("--runner", default="", help="a command to run it by, such as qemu-aarch64-static")
    parser.add_argument("--soak", type=float, default=10, metavar="SECONDS")
    parser.add_argument("--only", default="", metavar="NAME", help="tests whose names hold NAME")
    parser.add_argument("--save", default="", metavar="FILE", help="detections of the last of the tests --only runs, to compare machines")
    ARGUMENTS = parser.parse_args()
    return run_tests(globals(), ARGUMENTS.only)


if __name__ == "__main__":
    # A thread that still reads must not keep a failed run alive.
    code = main()
    sys.stdout.flush()
    os._exit(code)
