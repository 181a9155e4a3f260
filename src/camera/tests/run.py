#!/usr/bin/env python3
"""What frcnn-camera does with several cameras, with programs that read them for it, with signals and with failing outputs.

    src/camera/tests/run.py --program target/release/frcnn-camera --model colours.frcnn [--only NAME]

What one camera on a pipe gives is held by targets/camera-daemon/tests/run.py, which this takes its videos from. The model is
examples/colours' (cargo run -p frcnn-capi --example colours). Tests that need ffmpeg are skipped by name where there is none, and
fail if FRCNN_REQUIRE names it (tests/kit).
"""

import argparse
import fcntl
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("pipes", os.path.join(HERE, "../../../targets/camera-daemon/tests/run.py"))
pipes = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pipes)
sys.path.insert(0, HERE)
import rtsp

WIDTH, HEIGHT, RATE, NV12, NV12_INPUT = pipes.WIDTH, pipes.HEIGHT, pipes.RATE, pipes.NV12, pipes.NV12_INPUT
APPEARS = pipes.APPEARS
FRAME = WIDTH * HEIGHT * 3 // 2


class Daemon(pipes.Camera):
    """A running frcnn-camera; its standard input and output may be anything."""

    def __init__(self, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=None, model=True, before=()):
        command = [*before, *ARGUMENTS.runner.split(), ARGUMENTS.program]
        if model:
            command += ["-m", ARGUMENTS.model]
        self.process = subprocess.Popen(
            [*command, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}
        )
        self.lines, self.errors, self.readers = [], [], [threading.Thread(target=self.collect_errors)]
        if stdout == subprocess.PIPE:
            self.readers.append(threading.Thread(target=self.collect))
        for reader in self.readers:
            reader.start()

    def code(self, limit=60):
        """Closes its standard input, waits for its end and gives its exit code."""
        if self.process.stdin:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            code = self.process.wait(limit)
        finally:
            self.process.kill()
        for reader in self.readers:
            reader.join()
        return code

    def feed_quietly(self, data):
        """Until nobody reads any more."""
        try:
            while True:
                self.feed(data)
        except (BrokenPipeError, ValueError):
            pass

    def of(self, camera):
        return [line for line in self.lines if line.get("camera") == camera]

    def picture(self, port, camera, limit=60):
        """A camera's, from the page; none is made before somebody asks."""
        pictures = []

        def asked():
            try:
                pictures.append(urllib.request.urlopen(f"http://127.0.0.1:{port}/cameras/{camera}.jpg", timeout=limit).read())
            except urllib.error.HTTPError as error:
                assert error.code == 503, error
            return pictures

        self.wait_for(asked, limit)
        return pictures[0]


class Folder(tempfile.TemporaryDirectory):
    """A folder with a configuration, FIFOs and programs that stand in for ffmpeg."""

    def __enter__(self):
        self.path = super().__enter__()
        self.threads, self.stop = [], threading.Event()
        # Frames that each FIFO has taken.
        self.given = {}
        return self

    def __exit__(self, *error):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return super().__exit__(*error)

    def write(self, name, text):
        path = f"{self.path}/{name}"
        with open(path + ".new", "wb" if isinstance(text, bytes) else "w") as file:
            file.write(text)
        os.rename(path + ".new", path)
        return path

    def config(self, *cameras, more=""):
        text = f"[model]\npath = {json.dumps(os.path.abspath(ARGUMENTS.model))}\n{more}\n"
        return self.write("cameras.toml", text + "\n".join(f"[[camera]]\n{camera}" for camera in cameras))

    def fifo(self, name, data, rate):
        """A camera that gives frames of `data` at a rate, over and over."""
        path = f"{self.path}/{name}.fifo"
        os.mkfifo(path)
        thread = threading.Thread(target=self.play, args=(name, path, data, rate))
        self.threads.append(thread)
        thread.start()
        return f'name = "{name}"\ninput = "{path}"\nformat = "nv12"\nsize = "{WIDTH}x{HEIGHT}"\nlive = true\n'

    def play(self, name, path, data, rate):
        # Open at both ends: it can be opened before the daemon is there, and again when it is gone.
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        start, i = time.monotonic(), 0
        while not self.stop.is_set():
            self.given[name] = i
            at, i = i % (len(data) // FRAME) * FRAME, i + 1
            left = memoryview(data)[at : at + FRAME]
            while left and not self.stop.is_set():
                try:
                    left = left[os.write(fifo, left) :]
                except BlockingIOError:
                    time.sleep(0.005)
            time.sleep(max(0, start + i / rate - time.monotonic()))
        os.close(fifo)

    def fake(self, script):
        """A program `ffmpeg` in a folder of its own; gives the environment that finds it. It knows which start it is."""
        os.makedirs(f"{self.path}/bin", exist_ok=True)
        header = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 C420jpeg\n"
        self.write("starts", "")
        program = self.write(
            "bin/ffmpeg",
            f"""#!{sys.executable} -S
import os, sys, time
log = open({self.path + "/starts"!r}, "a+")
log.write("%f\\n" % time.time())
log.flush()
log.seek(0)
start = len(log.readlines())
out = sys.stdout.buffer
def frames(count, pause=0.04):
    for i in range(count):
        out.write(b"FRAME\\n" + bytes([i % 200 + 20]) * {FRAME})
        out.flush()
        time.sleep(pause)
def header():
    out.write({header!r}.encode())
{script}
""",
        )
        os.chmod(program, 0o755)
        return {"PATH": f"{self.path}/bin:{os.environ['PATH']}"}

    def starts(self):
        with open(f"{self.path}/starts") as file:
            return [float(line) for line in file]


def test_exit_codes():
    """A stream that is cut, or a live one that ends, is no success; a file that was read to its end is."""
    data = pipes.video(1, NV12)
    with Folder() as folder:
        whole, cut = folder.write("whole", data), folder.write("cut", data[:-1000])
        for path, code, event in ((whole, 0, None), (cut, 3, "stream_cut")):
            for name in ("-", path):
                with open(path, "rb") as file:
                    daemon = Daemon(*NV12_INPUT, "-i", name, "--all", stdin=file)
                    assert daemon.code() == code, (path, daemon.errors)
                assert bool(event and daemon.events(event)) == bool(event), daemon.lines[-2:]
                assert daemon.counts()["completed"] == len(data) // FRAME - (code == 3)
        for flags, sent, code, event in (
            ([], data, 0, None),
            ([], data[:-1], 3, "stream_cut"),
            (["--live"], data, 3, "stream_ended"),
            (["--live"], data[:-1], 3, "stream_cut"),
        ):
            daemon = Daemon(*NV12_INPUT, *flags)
            daemon.feed(sent)
            assert daemon.code() == code, (flags, daemon.errors)
            assert not event or daemon.events(event), daemon.lines
        # A recording that is not there will not come; a FIFO of raw frames may.
        daemon = Daemon("-i", f"{folder.path}/none.mp4")
        assert daemon.code() == 3, daemon.errors
        assert "none.mp4" in daemon.events("camera_unavailable")[0]["detail"], daemon.lines
        for arguments, code, word in (
            (["-f", "nv12"], 2, "--size"),
            (["--config", f"{folder.path}/none.toml"], 2, "none.toml"),
            (["-m", f"{folder.path}/none.frcnn", *NV12_INPUT], 1, "none.frcnn"),
            (["-m", whole, *NV12_INPUT], 1, "whole"),
        ):
            daemon = Daemon(*arguments, model="-m" not in arguments and "--config" not in arguments)
            assert daemon.code() == code and word in "".join(daemon.errors), (arguments, daemon.errors)


def storm(daemon):
    """Signals by the hundred, one by one and all at once; each is seen though there is always something to read."""
    daemon.wait_for(lambda: len(daemon.frames()) > 2)
    for _ in range(300):
        os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.wait_for(lambda: daemon.events("model_reloaded"))
    for _ in range(20):
        os.kill(daemon.process.pid, signal.SIGHUP)
        time.sleep(0.01)
    # All of these may have been answered by now; one more is answered, too.
    reloads = len(daemon.events("model_reloaded"))
    os.kill(daemon.process.pid, signal.SIGHUP)
    daemon.wait_for(lambda: len(daemon.events("model_reloaded")) > reloads)
    seen = len(daemon.frames())
    daemon.wait_for(lambda: len(daemon.frames()) > seen + 2)
    asked = time.monotonic()
    os.kill(daemon.process.pid, signal.SIGTERM)
    # There are frames for days: one that does not see it goes on.
    code = daemon.process.wait(60)
    took = time.monotonic() - asked
    daemon.code()
    stopped = daemon.events("stopped")[0]["detail"]
    assert code == 0 and stopped.startswith("asked to"), (code, stopped)
    counts = daemon.counts()
    assert counts["read"] == counts["completed"] + counts["dropped"] + counts["corrupt"], counts
    return took


def test_signals_are_seen_while_a_child_always_has_frames():
    """One thread, on one core."""
    one_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    with Folder() as folder:
        env = folder.fake("header()\nframes(10**9, 0)")
        daemon = Daemon("-i", "rtsp://camera/", "--threads", "1", "--proposer", "grid", "--all", before=one_core, env=env)
        print(f"    ended within {storm(daemon):.2f} s", end="")


def test_a_reader_that_does_not_read_is_given_up_in_the_end():
    data = pipes.video(1, NV12)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    daemon = Daemon(*NV12_INPUT, "--all", stdout=writer)
    os.close(writer)
    feeder = threading.Thread(target=daemon.feed_quietly, args=(data,))
    feeder.start()
    waiting = lambda: int.from_bytes(fcntl.ioctl(reader, termios.FIONREAD, bytes(4)), sys.byteorder)
    try:
        daemon.wait_for(lambda: waiting() > 0)
        time.sleep(3)
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert daemon.process.wait(60) == 4, daemon.errors
        assert any("nobody reads it" in line for line in daemon.errors), daemon.errors
    finally:
        daemon.process.kill()
        os.close(reader)
        feeder.join()
        daemon.code()


def test_eight_cameras_take_turns():
    """One of them is a recording that is read as fast as it goes; the others get their share all the same."""
    data = pipes.video(4, NV12)
    with Folder() as folder:
        recording = f'name = "recording"\ninput = "{folder.write("film", data * 100)}"\nformat = "nv12"\nsize = "{WIDTH}x{HEIGHT}"\n'
        cameras = [folder.fifo(f"camera{i}", data, RATE) for i in range(7)]
        more = 'proposer = "grid"\nobjects = false\n'
        config = folder.config(recording + more, *(camera + more for camera in cameras))
        daemon = Daemon("--config", config, "--all", model=False)
        try:
            names = ["recording", *(f"camera{i}" for i in range(7))]
            daemon.wait_for(lambda: all(len(daemon.of(name)) >= 5 for name in names), 120)
            before, given = [len(daemon.of(name)) for name in names], dict(folder.given)
            time.sleep(4)
            frames = [len(daemon.of(name)) - b for name, b in zip(names, before)]
            given = [folder.given[name] - given[name] for name in names[1:]]
            print(f"    {' '.join(map(str, frames))} frames", end="")
            # No camera gets more than it gives, which on a busy machine is less than its rate: the recording has what they leave.
            assert all(got >= 0.6 * min(max(frames), gave) - 2 for got, gave in zip(frames[1:], given)), (frames, given)
            assert frames[0] >= 0.6 * min(frames[1:]), frames
            threads = len(os.listdir(f"/proc/{daemon.process.pid}/task"))
            # One for each camera, a pool, and a few of the daemon's.
            assert threads <= 8 + (os.cpu_count() or 1) + 6, threads
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
        for name in names:
            numbers = [line["frame"] for line in daemon.of(name) if "frame" in line]
            assert numbers == sorted(set(numbers)), name
        recorded = [line["frame"] for line in daemon.of("recording") if "frame" in line]
        assert recorded == list(range(1, len(recorded) + 1)), "a recording loses no frame"


def test_a_program_that_dies_or_hangs_is_started_again():
    """After 1, 2, 4 seconds; what it said is told, without passwords."""
    with Folder() as folder:
        env = folder.fake(
            """
if start == 1: header(); frames(5); sys.stderr.write("rtsp://me:secret@camera/: 401\\n"); sys.exit(1)
if start == 2: header(); frames(3); out.write(b"FRAME\\n" + b"x" * 100); out.flush(); sys.exit(0)
if start == 3: out.write(b"garbage\\n" * 1000); out.flush(); time.sleep(0.1); sys.exit(0)
header()
frames(10)
time.sleep(100)
"""
        )
        daemon = Daemon("-i", "rtsp://me:secret@camera/", "--all", "--proposer", "grid", env=env)
        try:
            daemon.wait_for(lambda: daemon.events("camera_stalled"))
            starts = folder.starts()
            pauses = [b - a for a, b in zip(starts, starts[1:])]
            assert all(pause >= least for pause, least in zip(pauses, (1.2, 2.1, 4))), pauses
            lost = [line["detail"] for line in daemon.events("camera_lost")]
            assert len(lost) == 3 and "exit status: 1: rtsp://***@camera/: 401" in lost[0], lost
            assert "within a frame" in lost[1] and "YUV4MPEG2" in lost[2], lost
            assert "secret" not in "".join(daemon.errors) + json.dumps(daemon.lines)
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
        assert daemon.counts()["read"] == 5 + 3 + 10, daemon.counts()
        # No child is left behind.
        left = subprocess.run(["pgrep", "-f", f"{folder.path}/bin/ffmpeg"], stdout=subprocess.PIPE).stdout
        assert not left, left


def test_a_camera_without_frames_is_told_and_let_go():
    """It sends zeros, or text, for ever, or too little of a frame at a time to fall silent."""
    def pour(path, piece, stop):
        with os.fdopen(os.open(path, os.O_RDWR | os.O_NONBLOCK), "wb", 0) as fifo:
            while not stop.is_set():
                if fifo.write(piece) is None or len(piece) == 1:
                    time.sleep(0.02)

    with Folder() as folder:
        cameras = []
        for name, piece, more in (
            ("zeros", b"\0" * 65536, 'format = "mjpeg"'),
            ("text", b"garbage\n" * 8192, 'format = "mjpeg"'),
            ("slow", b"\0", f'format = "nv12"\nsize = "{WIDTH}x{HEIGHT}"'),
        ):
            os.mkfifo(path := f"{folder.path}/{name}")
            folder.threads.append(threading.Thread(target=pour, args=(path, piece, folder.stop)))
            folder.threads[-1].start()
            cameras.append(f'name = "{name}"\ninput = "{path}"\nlive = true\n{more}\n')
        good = folder.fifo("good", pipes.video(1, NV12), RATE)
        daemon = Daemon("--config", folder.config(good, *cameras), model=False)
        threads = lambda: {open(f"/proc/{daemon.process.pid}/task/{task}/comm").read().strip() for task in os.listdir(f"/proc/{daemon.process.pid}/task")}
        try:
            stalled = lambda: {line["camera"] for line in daemon.events("camera_stalled")}
            daemon.wait_for(lambda: {"zeros", "text", "slow"} <= stalled())
            assert {"read-good", "read-zeros", "read-text", "read-slow"} <= threads(), threads()
            folder.config(good)
            os.kill(daemon.process.pid, signal.SIGHUP)
            daemon.wait_for(lambda: daemon.events("model_reloaded"))
            daemon.wait_for(lambda: not {"read-zeros", "read-text", "read-slow"} & threads())
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors


def test_a_recording_whose_reader_pauses_is_not_read_anew():
    with Folder() as folder:
        env = folder.fake("header()\nframes(10)\ntime.sleep(7)\nframes(10)\n")
        daemon = Daemon("-i", folder.write("film.mkv", "film"), env=env)
        assert daemon.code() == 0, daemon.errors
        assert len(folder.starts()) == 1 and daemon.counts()["read"] == 20, daemon.lines
        assert daemon.events("camera_stalled") and daemon.events("camera_back"), daemon.lines


def test_what_a_program_starts_ends_with_it():
    """A script about ffmpeg, whose child falls silent: after 20 seconds it is ended with all that it started, and later each time."""
    with Folder() as folder:
        sleeper = folder.write("sleeper", "import time; time.sleep(300)")
        env = folder.fake(f"import subprocess; subprocess.run([sys.executable, {sleeper!r}])")
        running = lambda: subprocess.run(["pgrep", "-f", sleeper], stdout=subprocess.PIPE).stdout.split()
        daemon = Daemon("-i", "rtsp://camera/", env=env)
        try:
            daemon.wait_for(lambda: len(folder.starts()) == 3 and len(daemon.events("camera_stalled")) == 2, 90)
            daemon.wait_for(lambda: len(running()) == 1)
            assert {line["detail"] for line in daemon.events("camera_stalled")} == {"no frame for 20 seconds"}, daemon.lines
            # How much later than that it starts is the machine's.
            waits = [start - line["time"] for start, line in zip(folder.starts()[1:], daemon.events("camera_stalled"))]
            assert all(wait >= least for wait, least in zip(waits, (1, 2))), waits
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
        assert not running()


MPEG4 = ["-c:v", "mpeg4", "-q:v", "2", "-g", "50"]


def film(seconds, scene, path, rate=RATE, codec=MPEG4):
    pipes.need("ffmpeg", "ffmpeg")
    command = ["ffmpeg", "-v", "error", "-y", "-filter_complex", scene, "-t", str(seconds), "-r", str(rate)]
    subprocess.run([*command, *codec, path], check=True)
    return path


def ground(width=WIDTH, height=HEIGHT):
    return pipes.ground(width, height)


def times_are_the_films(lines):
    times, numbers = [line["time"] for line in lines], [line["frame"] for line in lines]
    assert abs((times[-1] - times[0]) - (numbers[-1] - numbers[0]) / RATE) < 0.01, (times, numbers)


def test_a_video_file_is_read_by_ffmpeg():
    with Folder() as folder:
        path = film(2, pipes.scene(), folder.path + "/film.mkv")
        daemon = Daemon("-i", path)
        assert daemon.code() == 0, daemon.errors
        counts = daemon.counts()
        assert counts["read"] == counts["completed"] == 2 * RATE, counts
        assert sum(bool(line["detections"]) for line in daemon.frames()) > RATE
        times_are_the_films(daemon.frames())
        with open(path, "rb") as file:
            half = folder.write("half.mkv", file.read()[: os.path.getsize(path) // 2])
        daemon = Daemon("-i", half)
        assert daemon.code() == 3 and daemon.events("stream_cut"), (daemon.errors, daemon.lines[-2:])


def reads(reader, input, more=""):
    """The table of a camera that is called as what reads it."""
    return f'name = "{reader}"\ninput = {json.dumps(input)}\nreader = "{reader}"\nobjects = false\n{more}'


def test_a_video_file_is_read_by_gstreamer():
    """Whatever its name and size: GStreamer's words have characters that act, and some of its versions pad rows."""
    pipes.need("gstreamer", "gst-launch-1.0")
    with Folder() as folder:
        for width, height in ((WIDTH, HEIGHT), (322, 242)):
            path = film(2, pipes.scene(width, height), f"{folder.path}/a \"film\" ! \\ ({width}).mkv")
            daemon = Daemon("--config", folder.config(reads("gstreamer", path)), model=False)
            assert daemon.code() == 0, daemon.errors
            counts = daemon.counts()
            assert counts["read"] == counts["completed"] == 2 * RATE, counts
            frames = daemon.frames()
            assert all((line["width"], line["height"]) == (width, height) for line in frames)
            at = lambda line: pipes.square_at(line["frame"], width, height)
            hits = sum(any(pipes.overlap(seen["box"], at(line)) > 0.5 for seen in line["detections"]) for line in frames)
            assert hits > RATE, (hits, frames[-1])
            times_are_the_films(frames)
        # As a camera would give it, and scaled; what is no film is told as GStreamer tells it.
        begun = time.monotonic()
        daemon = Daemon("--config", folder.config(reads("gstreamer", path, 'live = true\nsize = "160x120"\n')), "--all", model=False)
        assert daemon.code() == 0, daemon.errors
        assert time.monotonic() - begun > 1.9 and daemon.counts()["read"] == 2 * RATE, daemon.counts()
        assert {(line["width"], line["height"]) for line in daemon.frames()} == {(160, 120)}
        daemon = Daemon("--config", folder.config(reads("gstreamer", folder.write("text.mkv", "no film"))), model=False)
        assert daemon.code() == 3, daemon.errors
        [cut] = daemon.events("stream_cut")
        assert "gst-launch-1.0: exit status: 1: Could not determine type of stream." in cut["detail"], cut


READERS = ("ffmpeg", "gstreamer")


def test_colours_of_a_full_range_are_kept():
    """A dark grey of JPEGs, which is darker where the range is taken for the limited one."""
    pipes.need("gstreamer", "gst-launch-1.0")
    with Folder() as folder:
        jpegs = ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", "2"]
        path = film(120, f"color=0x202020:size={WIDTH}x{HEIGHT}:rate=5,format=rgb24", folder.path + "/grey.avi", rate=5, codec=jpegs)
        cameras = [reads(reader, path, "live = true\n") for reader in READERS]
        daemon = Daemon("--config", folder.config(*cameras, more='[http]\nlisten = "127.0.0.1:0"'), model=False)
        try:
            port = daemon.metrics_port()
            for reader in READERS:
                picture = folder.write("picture.jpg", daemon.picture(port, reader))
                pixels = pipes.ffmpeg("-i", picture, "-f", "rawvideo", "-pix_fmt", "rgb24")
                assert abs(sum(pixels) / len(pixels) - 0x20) <= 4, (reader, sum(pixels) / len(pixels))
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors


def test_a_camera_is_read_over_rtsp():
    """It asks for another password, hangs up, and falls silent: each time it is opened again."""
    pipes.need("gstreamer", "gst-launch-1.0")
    pipes.need("ffmpeg", "ffmpeg")
    with Folder() as folder:
        path = film(4, pipes.scene(), folder.path + "/film.mp4", codec=["-c:v", "libx264", "-g", str(RATE), "-pix_fmt", "yuv420p"])
        servers = {reader: rtsp.Server(path, "me:other") for reader in READERS}
        cameras = [reads(reader, server.url.replace("//", "//me:secret@")) for reader, server in servers.items()]
        daemon = Daemon("--config", folder.config(*cameras), "--all", model=False)

        def told(event, word=""):
            """Of every camera."""
            lines = [line for line in daemon.events(event) if word in line["detail"]]
            return {line["camera"] for line in lines} == set(READERS)

        def play(times):
            """Frames of every camera, which has been opened so many times."""
            seen = {reader: len(daemon.of(reader)) for reader in READERS}
            daemon.wait_for(lambda: all(server.played == times for server in servers.values()))
            daemon.wait_for(lambda: all(len(daemon.of(reader)) > seen[reader] + 10 for reader in READERS))

        try:
            daemon.wait_for(lambda: told("camera_lost", "401"))
            for server in servers.values():
                server.expect("me:secret")
            play(1)
            for server in servers.values():
                server.hang_up()
            daemon.wait_for(lambda: told("camera_lost", "the stream ended unasked"))
            play(2)
            for server in servers.values():
                server.silent.set()
            daemon.wait_for(lambda: told("camera_stalled"))
            assert all(any(line.get("detections") for line in daemon.of(reader)) for reader in READERS)
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
            for server in servers.values():
                server.close()
        assert "secret" not in "".join(daemon.errors) + json.dumps(daemon.lines)
        for server in servers.values():
            left = subprocess.run(["pgrep", "-f", server.url.partition("://")[2]], stdout=subprocess.PIPE).stdout
            assert not left, left


def devices(folder):
    """Frames for what device.c answers: a red square over the ground in each format and size. Gives what programs are to load."""
    env = pipes.fake_cameras(folder.path)
    scene = f"{ground(640, 480)}[g];color=red:size=128x128:rate={RATE}[s];[g][s]overlay=x=256:y=176"
    raw, jpeg = ["-f", "rawvideo", "-pix_fmt"], ["-f", "mjpeg", "-q:v", "2", "-pix_fmt"]
    for name, codec, span in (("YUYV", [*raw, "yuyv422"], "tv"), ("NV12", [*raw, "nv12"], "tv"), ("MJPG", [*jpeg, "yuvj422p"], "pc")):
        for width, height in ((640, 480), (WIDTH, HEIGHT)):
            scaled = f"{scene},scale={width}:{height}:out_color_matrix=bt601:out_range={span}"
            os.makedirs(f"{folder.path}/frames/{name}-{width}x{height}")
            for i in range(2):
                frame = pipes.ffmpeg("-filter_complex", scaled, "-frames:v", "1", *codec)
                folder.write(f"frames/{name}-{width}x{height}/{i}", frame)
    return env


def test_a_device_is_read():
    """By either program, in the format and size that it is asked for, or in what it has; unplugged, and plugged in again."""
    pipes.need("gstreamer", "gst-launch-1.0")
    small, large = f"{WIDTH}x{HEIGHT}", "640x480"
    cases = [
        # What the device has first, what is asked of it, and what it is then to give.
        ("YUYV 640x480\nYUYV 320x240\nMJPG 640x480\nMJPG 320x240\n", {"size": small}, f"YUYV {small}"),
        ("YUYV 640x480\nYUYV 320x240\nMJPG 640x480\nMJPG 320x240\n", {"format": "mjpeg", "size": small}, f"MJPG {small}"),
        ("YUYV 640x480\nMJPG 640x480\n", {"format": "yuyv", "size": small}, f"YUYV {large}"),
        ("NV12 640x480\n", {"format": "nv12"}, f"NV12 {large}"),
        ("MJPG 640x480\n", {}, f"MJPG {large}"),
    ]
    with Folder() as folder:
        env, due, cameras = devices(folder), {}, []
        for reader in READERS:
            for formats, settings, given in cases:
                number = 40 + len(cameras)
                os.mkdir(device := f"{folder.path}/video{number}")
                folder.write(f"video{number}/formats", formats)
                for kind in os.listdir(f"{folder.path}/frames"):
                    os.symlink(f"../frames/{kind}", f"{device}/{kind}")
                more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
                table = reads(reader, f"/dev/video{number}", more + 'proposer = "grid"\n')
                cameras.append(table.replace(f'name = "{reader}"', f'name = "{number}"'))
                due[str(number)] = (device, given, settings.get("size", large))
        daemon = Daemon("--config", folder.config(*cameras), "--all", model=False, env=env)

        frames = lambda name: [line for line in daemon.of(name) if "frame" in line]
        told = lambda event: all(any(line.get("event") == event for line in daemon.of(name)) for name in due)

        def square(line, size):
            """Whether what is found is red and in the square; the grid's boxes find parts of it."""
            x1, y1, x2, y2 = (int(size.partition("x")[0]) / 640 * corner for corner in (256, 176, 384, 304))
            centre = lambda box: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            within = lambda box: x1 < centre(box)[0] < x2 and y1 < centre(box)[1] < y2
            return line["detections"] and all(found["class"] == "red" and within(found["box"]) for found in line["detections"])

        try:
            daemon.wait_for(lambda: all(len(frames(name)) > 5 for name in due), 120)
            for name, (device, given, size) in due.items():
                with open(f"{device}/asked") as file:
                    asked = file.read().splitlines()
                    assert set(asked) == {given}, (name, asked, given)
                assert {f"{line['width']}x{line['height']}" for line in frames(name)} == {size}, (name, frames(name)[-1])
                assert all(square(line, size) for line in frames(name)), (name, frames(name)[-1])
                folder.write(f"video{name}/gone", "")
            daemon.wait_for(lambda: told("camera_lost"), 120)
            for name in due:
                os.remove(f"{folder.path}/video{name}/gone")
            daemon.wait_for(lambda: told("camera_back"), 120)
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors

STANDS = ["object_started", "object_stopped", "object_moved", "object_ended"]


def test_what_stands_still_for_minutes_is_one_object():
    """A square comes and stands for two minutes, and then leaves or does not: its events have one id, and a zone."""
    for rate, leaves in ((10, True), (4, True), (4, False)):
        with Folder() as folder:
            at = f"if(lt(t,3),-64+t*60,116+max(0,t-123)*{60 if leaves else 0})"
            scene = f"{ground()}[g];color=red:size=64x64:rate={rate}[s];[g][s]overlay=x='{at}':y=90"
            path = film(130, scene, folder.path + "/film.mkv", rate=rate)
            zone = '[{ name = "middle", polygon = [[0.3, 0.2], [0.7, 0.2], [0.7, 0.9], [0.3, 0.9]] }]'
            config = folder.config(f'name = "yard"\ninput = "{path}"\nzones = {zone}\nsmallest = {{ red = [24, 24] }}\n')
            daemon = Daemon("--config", config, model=False)
            assert daemon.code(300) == 0, daemon.errors
            told = [(line["event"], line.get("id")) for line in daemon.of("yard")]
            due = STANDS if leaves else [event for event in STANDS if event != "object_moved"]
            assert [event for event, _ in told] == due and {id for _, id in told} == {1}, (rate, told)
            [stopped], [ended] = daemon.events("object_stopped"), daemon.events("object_ended")
            assert stopped["zones"] == ["middle"] and stopped["class"] == "red", stopped
            assert pipes.overlap(stopped["box"], [116, 90, 179, 153]) > 0.5, stopped
            assert 124 < ended["time"] - ended["first_seen"] < 131, ended
            if leaves:
                [moved] = daemon.events("object_moved")
                assert 120 < moved["time"] - moved["first_seen"] < 123, moved
            assert not daemon.frames()


def test_events_of_a_recording():
    """One crosses while another comes, stands and leaves. What is told of a recording is the same on every machine: --save."""
    with Folder() as folder:
        red = "x='if(lt(t,3),-64+t*60,116+max(0,t-11)*60)':y=130"
        green = "x=320-(t-1)*80:y=20"
        squares = f"color=red:size=64x64:rate=10[a];color=lime:size=64x64:rate=10[b]"
        path = film(17, f"{ground()}[g];{squares};[g][a]overlay={red}[h];[h][b]overlay={green}", folder.path + "/film.mkv", rate=10)
        daemon = Daemon("--config", folder.config(f'name = "yard"\ninput = "{path}"\n'), "--all", model=False)
        assert daemon.code(300) == 0, daemon.errors
        told = [line for line in daemon.of("yard") if line.get("event", "").startswith("object_")]
        of = lambda name: [(line["event"], line["id"]) for line in told if line["class"] == name]
        [red_id], [green_id] = ({id for _, id in of(name)} for name in ("red", "green"))
        assert of("red") == [(event, red_id) for event in STANDS] and red_id != green_id, told
        assert of("green") == [(event, green_id) for event in (STANDS[0], STANDS[3])], told
        assert sum(bool(line["detections"]) for line in daemon.frames()) > 60
        if ARGUMENTS.save:
            with open(ARGUMENTS.save, "w") as file:
                file.writelines(json.dumps(line) + "\n" for line in daemon.frames() + told)


def test_a_full_disk_behind_snapshots():
    """It is told, at the start as later, and what is not there is not named."""
    if os.geteuid() != 0:
        raise pipes.Skip("only root mounts a small disk")
    with Folder() as folder:
        disk = folder.path + "/disk"
        os.mkdir(disk)
        fill = 'mount -t tmpfs -o size=24k none "$0" && { dd if=/dev/zero of="$0/rest" bs=1k count=99 2>/dev/null; exec "$@"; }'
        red = "x='if(lt(t,3),-64+t*100,400)':y=80"
        path = film(4, f"{ground()}[g];color=red:size=64x64:rate=10[a];[g][a]overlay={red}", folder.path + "/film.mkv", rate=10)
        config = folder.config(f'name = "yard"\ninput = "{path}"\n', more=f'[snapshots]\nfolder = "{disk}"\n')
        for before, full in ((("unshare", "-m", "sh", "-c", fill, disk), True), ((), False)):
            daemon = Daemon("--config", config, model=False, before=before)
            assert daemon.code(300) == 0, daemon.errors
            ended, failed = daemon.events("object_ended"), daemon.events("snapshot_failed")
            assert ended and all(("snapshot" in line) != full for line in ended), ended
            # At the start, and with the first.
            assert len(failed) == (2 if full else 0) and all("No space left" in line["detail"] for line in failed), failed
            assert all(os.path.exists(line["snapshot"]) for line in ended if not full)


def test_a_recording_without_times_counts_25_frames_a_second():
    """A film, its raw frames in a file and on a pipe, and as JPEGs: the same is told of its objects, at the same times of it."""
    with Folder() as folder:
        scene = f"{ground()}[g];color=red:size=64x64:rate={RATE}[s];[g][s]overlay=x='-64+t*60':y=90"
        lossless = ["-c:v", "ffv1", "-pix_fmt", "yuv420p"]
        path = film(9, scene, folder.path + "/film.mkv", codec=lossless)
        raw, jpegs = (pipes.ffmpeg("-i", path, *codec) for codec in (NV12, pipes.MJPEG))
        on_a_pipe = ["--objects", *NV12_INPUT], raw
        cases = [(["--objects", "-i", path], None), (["--objects", "-i", folder.write("raw", raw), *NV12_INPUT], None), on_a_pipe]
        told = []
        for arguments, data in [*cases, (["--objects", "-f", "mjpeg"], jpegs)]:
            daemon = Daemon(*arguments)
            if data:
                daemon.feed(data)
            assert daemon.code() == 0, daemon.errors
            events = [line for line in daemon.lines if line.get("event", "").startswith("object_")]
            told.append([(line["event"], line["id"], round(line["time"] - events[0]["first_seen"], 2)) for line in events])
        assert [event for event, _, _ in told[0]] == [STANDS[0], STANDS[3]] and told[0][1][2] > 4, told
        assert told[0] == told[1] == told[2] and told[3][0][:2] == told[0][0][:2], told


def test_who_leaves_the_picture_is_gone():
    """One square leaves on the right before the next comes from the left: each has ended by then, and no box lies beyond the border."""
    with Folder() as folder:
        scene = f"{ground()}[g];color=red:size=64x64:rate={RATE}[s];[g][s]overlay=x='mod(t*120,420)-64':y=90"
        daemon = Daemon("-i", film(10, scene, folder.path + "/film.mkv"), "--objects")
        assert daemon.code() == 0, daemon.errors
        told = [line for line in daemon.lines if line.get("event", "").startswith("object_")]
        due = [(event, id) for id in (1, 2, 3) for event in (STANDS[0], STANDS[3])]
        assert [(line["event"], line["id"]) for line in told] == due, told
        inside = lambda box: box[0] >= 0 and box[1] >= 0 and box[2] <= WIDTH - 1 and box[3] <= HEIGHT - 1
        assert all(inside(line["box"]) for line in told), told


def test_recordings_over_a_fifo_are_as_long_as_they_are():
    """One after the other, each read faster than it goes: the same is told of both."""
    with Folder() as folder:
        scene = f"{ground()}[g];color=red:size=64x64:rate={RATE}[s];[g][s]overlay=x='-64+t*60':y=90"
        raw = pipes.ffmpeg("-filter_complex", scene, "-t", "9", *NV12)
        os.mkfifo(path := f"{folder.path}/frames")
        camera = f'name = "a"\ninput = "{path}"\nformat = "nv12"\nsize = "{WIDTH}x{HEIGHT}"\nlive = false\n'
        daemon = Daemon("--config", folder.config(camera), model=False)
        try:
            for times in (1, 2):
                with open(path, "wb") as fifo:
                    fifo.write(raw)
                daemon.wait_for(lambda: len(daemon.events("camera_lost")) == times)
                daemon.wait_for(lambda: len(daemon.events("object_ended")) == times)
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
        starts = {line["id"]: line["first_seen"] for line in daemon.events("object_started")}
        told = [(line["event"], line["id"], line["time"] - starts[line["id"]]) for line in daemon.of("a") if "id" in line]
        assert [(event, id) for event, id, _ in told] == [(event, id) for id in (1, 2) for event in (STANDS[0], STANDS[3])], told
        # 5 seconds across the picture, and 2 until it is taken to be gone.
        assert 4 < told[1][2] < 9 and abs(told[1][2] - told[3][2]) < 0.1, told


def test_a_file_is_read_again_without_losing_cameras():
    data = pipes.video(2, NV12)
    with Folder() as folder:
        [a, b, c] = [folder.fifo(name, data, 10) for name in "abc"]
        config = folder.config(a, b)
        daemon = Daemon("--config", config, "--all", model=False)
        try:
            daemon.wait_for(lambda: len(daemon.of("a")) > 5 and len(daemon.of("b")) > 5)
            # b goes, c comes, a gets other settings.
            folder.config(a + "tolerance = 3\n" + 'zones = [{ name = "z", polygon = [[0, 0], [1, 0], [1, 1]] }]\n', c)
            os.kill(daemon.process.pid, signal.SIGHUP)
            daemon.wait_for(lambda: daemon.events("model_reloaded") and len(daemon.of("c")) > 5)
            of_b = len(daemon.of("b"))
            folder.write("cameras.toml", "[model]\npath = 1\n")
            os.kill(daemon.process.pid, signal.SIGHUP)
            daemon.wait_for(lambda: daemon.events("config_kept"))
            assert "cameras.toml" in daemon.events("config_kept")[0]["detail"]
            folder.config(a + 'thresholds = { "purple" = 0.5 }\n', c)
            os.kill(daemon.process.pid, signal.SIGHUP)
            daemon.wait_for(lambda: len(daemon.events("config_kept")) == 2)
            assert "purple" in daemon.events("config_kept")[1]["detail"] and "red" in daemon.events("config_kept")[1]["detail"]
            seen = len(daemon.of("a"))
            daemon.wait_for(lambda: len(daemon.of("a")) > seen + 5)
            assert len(daemon.of("b")) == of_b, "b is gone"
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
        assert not daemon.events("camera_lost") and not daemon.events("camera_stalled"), daemon.lines
        numbers = [line["frame"] for line in daemon.of("a") if "frame" in line]
        assert numbers == sorted(set(numbers)), "a is the same stream all along"


def test_a_threshold_of_a_class_may_be_below_the_bundles():
    """A pale red has scores of 0.2 to 0.4, and the bundle's threshold is 0.5."""
    with Folder() as folder:
        scene = f"{ground()}[g];color=0xff2020:size=64x64:rate={RATE}[s];[g][s]overlay=enable='gte(t,{APPEARS})':x='128*(1+sin(t*2))':y=90"
        path = film(3, scene, folder.path + "/film.mkv", codec=["-c:v", "ffv1", "-pix_fmt", "yuv420p"])
        for threshold, due in ((0.15, True), (0.45, False)):
            camera = f'name = "a"\ninput = "{path}"\nthresholds = {{ red = {threshold} }}\n'
            daemon = Daemon("--config", folder.config(camera), "--all", model=False)
            assert daemon.code() == 0, daemon.errors
            scores = [seen["score"] for line in daemon.frames() for seen in line["detections"]]
            assert bool(daemon.events("object_started")) == bool(scores) == due and max(scores, default=0) < 0.5, (threshold, scores)


def test_settings_that_change_lose_no_object():
    """Each that has started ends, no id is given twice, the broker's counts follow, and a new threshold holds."""
    pipes.need("mosquitto", "mosquitto", "mosquitto_sub", "mosquitto_pub")
    with Folder() as folder:
        scene = f"{ground()}[g];color=red:size=64x64:rate={RATE}[s];[g][s]overlay=x='128*(1+sin(t*PI/2))':y=90"
        camera = folder.fifo("a", pipes.ffmpeg("-filter_complex", scene, "-t", "4", *NV12), RATE)
        broker, heard = pipes.Broker(folder.path), []
        subscriber = broker.subscribe(heard)
        mqtt = f'\n[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}/yard"\nname = "barn"\n'
        daemon = Daemon("--config", folder.config(camera, more="score_threshold = 0.99999" + mqtt), model=False)
        told = lambda change: [line["id"] for line in daemon.events(f"object_{change}")]
        counts = lambda: [line.split()[1] for line in heard if line.startswith("yard/a/objects/red ")]

        def change(camera):
            started = len(told("started"))
            folder.config(camera, more=mqtt)
            reloads = len(daemon.events("model_reloaded"))
            os.kill(daemon.process.pid, signal.SIGHUP)
            daemon.wait_for(lambda: len(daemon.events("model_reloaded")) > reloads)
            return started

        try:
            time.sleep(5)
            assert not told("started"), daemon.lines
            change(camera)
            daemon.wait_for(lambda: told("started"))
            # It is not looked for any more, then it is again; and it is read in another way.
            started = change(camera + "objects = false\n")
            daemon.wait_for(lambda: sorted(told("ended")) == sorted(told("started")))
            pipes.wait_until(lambda: "1" in counts() and counts()[-1] == "0")
            for settings in (camera, camera.replace("live = true", "live = false")):
                started = change(settings)
                daemon.wait_for(lambda: len(told("started")) > started)
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
            pipes.wait_until(lambda: "yard/availability/barn offline" in heard)
            subscriber.kill()
            broker.kill()
        assert sorted(told("ended")) == sorted(told("started")) == sorted(set(told("started"))), daemon.lines
        assert counts()[-1] == "0", counts()


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
        return False
    except ConnectionRefusedError:
        return True


def page(port, path, key=""):
    """What the page answers: a code, and a text."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_broker_port_and_folder_may_change():
    """With SIGHUP, while a camera goes on; what cannot be opened leaves all as it was."""
    pipes.need("mosquitto", "mosquitto", "mosquitto_sub", "mosquitto_pub")
    data = pipes.video(2, NV12) + pipes.ffmpeg("-filter_complex", ground(), "-t", "3", *NV12)
    with Folder() as folder:
        brokers, messages = [], []
        for name in ("first", "second"):
            os.mkdir(f"{folder.path}/{name}")
            brokers.append(pipes.Broker(f"{folder.path}/{name}"))
            messages.append([])
        subscribers = [broker.subscribe(heard) for broker, heard in zip(brokers, messages)]
        ports = [pipes.free_port("127.0.0.1") for _ in range(2)]
        camera = folder.fifo("a", data, RATE)
        # What is written is there as a whole: see Folder.write.
        write = lambda more="", of=camera: folder.config(of, more=more)
        mqtt = lambda i, more="": f'[mqtt]\nurl = "mqtt://127.0.0.1:{brokers[i].port}/yard"\nname = "barn"\n{more}'
        http = lambda i, more="": f'[http]\nlisten = "127.0.0.1:{ports[i]}"\n{more}'
        pictures = lambda name, most: f'[snapshots]\nfolder = "{folder.path}/{name}"\nmax_mb = {most}\n'
        daemon = Daemon("--config", write(mqtt(0) + http(0) + pictures("before", 1)), "--all", model=False)

        def change(event, more):
            count = len(daemon.events(event))
            write(more)
            os.kill(daemon.process.pid, signal.SIGHUP)
            daemon.wait_for(lambda: len(daemon.events(event)) > count)

        def connected(port, key=""):
            return "\nfrcnn_camera_mqtt_connected 1\n" in page(port, "/metrics", key)[1]

        try:
            daemon.wait_for(lambda: len(daemon.frames()) > 5 and connected(ports[0]))
            daemon.wait_for(lambda: any(line.startswith("yard/a/events") for line in messages[0]))
            # Another broker, another port, another folder.
            change("config_reloaded", mqtt(1) + http(1) + pictures("behind", 1))
            daemon.wait_for(lambda: connected(ports[1]))
            assert refuses(ports[0])
            pipes.wait_until(lambda: "yard/availability/barn offline" in messages[0])
            pipes.wait_until(lambda: "yard/availability/barn online" in messages[1])
            ended = lambda: [line["snapshot"] for line in daemon.events("object_ended") if "/behind/" in line.get("snapshot", "")]
            daemon.wait_for(ended)
            pipes.wait_until(lambda: os.path.exists(ended()[0]))
            pipes.wait_until(lambda: any("object_ended" in line and ended()[0] in line for line in messages[1]))
            # A port that somebody has, and a key that is none.
            taken = socket.create_server(("127.0.0.1", 0))
            other = f'[http]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
            for wrong, word in ((mqtt(0) + other, "[http] listen"), (http(1, 'key_file = "none"\n'), "[http] key_file")):
                change("config_kept", wrong)
                assert word in daemon.events("config_kept")[-1]["detail"], daemon.events("config_kept")
                assert connected(ports[1])
            taken.close()
            assert "yard/availability/barn offline" not in messages[1]
            # The same port with a key, then with another in the same file; the same folder with another limit.
            for key in ("a key of 20 letters.", "one more of 20 letters"):
                folder.write("key", key + "\n")
                change("config_reloaded", mqtt(1) + http(1, 'key_file = "key"\n') + pictures("behind", 2))
                daemon.wait_for(lambda: page(ports[1], "/metrics", key)[0] == 200)
                assert page(ports[1], "/metrics")[0] == 401
            # None of them.
            change("config_reloaded", "")
            assert refuses(ports[1])
            pipes.wait_until(lambda: "yard/availability/barn offline" in messages[1])
            seen = len(daemon.frames())
            daemon.wait_for(lambda: len(daemon.frames()) > seen + 5)
        finally:
            os.kill(daemon.process.pid, signal.SIGTERM)
            assert daemon.code() == 0, daemon.errors
            for one in (*subscribers, *brokers):
                one.kill()
        assert not daemon.events("camera_lost") and not daemon.events("camera_stalled"), daemon.lines[-5:]
        numbers = [line["frame"] for line in daemon.frames()]
        assert numbers == sorted(set(numbers)), "it is the same stream all along"
        # Each line went to one broker or the other, until there was none.
        told = [json.loads(line.split(" ", 1)[1]) for heard in messages for line in heard if line.startswith("yard/a/events {")]
        of = lambda lines: [(line["id"], line["event"]) for line in lines]
        objects = [line for line in daemon.of("a") if line.get("event", "").startswith("object_")]
        assert of(told) == of(objects)[: len(told)], (of(told), of(objects))


def test_errors_of_a_file_name_the_place():
    with Folder() as folder:
        for camera, word in (
            ('name = "a"\ninput = "-"\n', "--format and --size"),
            ('name = "a"\ninput = "rtsp://x/"\nthreshold = 1\n', "threshold"),
            ('name = "a"\ninput = "rtsp://x/"\nsize = "big"\n', "big"),
            ('name = "a"\ninput = "rtsp://x/"\nmasks = [[[0, 0], [1, 1]]]\n', "masks"),
        ):
            daemon = Daemon("--config", folder.config(camera), model=False)
            assert daemon.code() == 2 and word in "".join(daemon.errors), (camera, daemon.errors)
        # What only the model can tell.
        for setting, word in (("{ rde = 0.5 }", "no class `rde`"), ("{ red = 50 }", "`red`: is 50; must be at least 0 and below 1")):
            camera = f'name = "a"\ninput = "rtsp://x/"\nthresholds = {setting}\n'
            daemon = Daemon("--config", folder.config(camera), model=False)
            assert daemon.code() == 1 and word in "".join(daemon.errors), (camera, daemon.errors)


def test_an_address_that_does_not_exist_is_told_with_its_reason():
    pipes.need("ffmpeg", "ffmpeg")
    daemon = Daemon("-i", "rtsp://no-such-host.invalid/1")
    try:
        daemon.wait_for(lambda: daemon.events("camera_lost"))
        assert "Failed to resolve hostname no-such-host.invalid" in daemon.events("camera_lost")[0]["detail"], daemon.lines
    finally:
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert daemon.code() == 0, daemon.errors


def main():
    global ARGUMENTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--runner", default="", help="a command to run it by, such as qemu-aarch64-static")
    parser.add_argument("--only", default="", metavar="NAME", help="tests whose names hold NAME")
    parser.add_argument("--save", default="", metavar="FILE", help="what the test of a recording was told, to compare machines")
    ARGUMENTS = parser.parse_args()
    pipes.ARGUMENTS = ARGUMENTS
    return pipes.run_tests(globals(), ARGUMENTS.only)


if __name__ == "__main__":
    # A thread that still reads must not keep a failed run alive.
    code = main()
    sys.stdout.flush()
    os._exit(code)
