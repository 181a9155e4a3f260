#!/usr/bin/env python3
r"""Runs frcnn-camera for minutes while all that can go wrong does, and holds that it stays as it was.

    src/camera/tests/soak.py --program target/release/frcnn-camera --model colours.frcnn [--minutes 10]
    src/camera/tests/soak.py --program target/boards/aarch64-server/bin/frcnn-camera --model colours.frcnn --minutes 3 \
        --runner "qemu-aarch64-static -L /usr/aarch64-linux-gnu"

Eight cameras over one model: five that give frames, one that stalls, one whose program writes garbage and dies, one that comes and
goes with the file. The broker is killed and started again, the model is reloaded every 30 seconds (every 10 of a minute's run),
clients ask for metrics, connect and say nothing. In the end memory and descriptors are what they were, every camera has had its
turns, and each line about an object has reached the broker's subscriber or was counted as given up.
"""

import argparse
import collections
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("cameras", os.path.join(HERE, "run.py"))
cameras = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cameras)
pipes = cameras.pipes

FAKE = """
# Frames for a while, then garbage; or it dies at once.
if start % 3 == 0: sys.exit("cannot reach the camera")
header()
frames(20, 0.1)
out.write(b"garbage " * 10000)
out.flush()
time.sleep(1)
"""


# Seconds after which nothing will come any more, also under an emulator.
SLOW = 1200


# What happens in every run, on every machine.
EVENTS = {"camera_back", "camera_lost", "camera_stalled", "config_reloaded", "model_reloaded", "mqtt_connected", "mqtt_lost"}
EVENTS |= {"object_started", "object_ended", "stopped"}


def use(pid):
    with open(f"/proc/{pid}/statm") as file:
        resident = int(file.read().split()[1]) * 4
    return resident, len(os.listdir(f"/proc/{pid}/fd")), set(os.listdir(f"/proc/{pid}/task"))


def stalls(folder, path, data, seconds):
    """A camera that gives frames for some seconds, and then none for as many."""
    fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    start, i = time.monotonic(), 0
    while not folder.stop.is_set():
        if (time.monotonic() - start) % (2 * seconds) < seconds:
            at, i = i % (len(data) // cameras.FRAME) * cameras.FRAME, i + 1
            left = memoryview(data)[at : at + cameras.FRAME]
            while left and not folder.stop.is_set():
                try:
                    left = left[os.write(fifo, left) :]
                except BlockingIOError:
                    time.sleep(0.01)
        time.sleep(0.1)
    os.close(fifo)


def metrics(port):
    import urllib.request

    page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SLOW).read().decode()
    values = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            values[name.removeprefix("frcnn_camera_")] = float(value)
    return values


def soak(minutes):
    data = pipes.video(8, cameras.NV12)
    seconds, reload = minutes * 60, 30 if minutes > 2 else 10
    with cameras.Folder() as folder:
        broker = pipes.Broker(folder.path)
        messages = []
        subscriber = broker.subscribe(messages)
        given = [folder.fifo(f"camera{i}", data, 5) for i in range(5)]
        stalling = folder.path + "/stalls.fifo"
        os.mkfifo(stalling)
        thread = threading.Thread(target=stalls, args=(folder, stalling, data, 8))
        folder.threads.append(thread)
        thread.start()
        given.append(f'name = "stalls"\ninput = "{stalling}"\nformat = "nv12"\nsize = "{cameras.WIDTH}x{cameras.HEIGHT}"\nlive = true\n')
        given.append('name = "garbage"\ninput = "rtsp://camera/"\n')
        comes_and_goes = folder.fifo("guest", data, 5)
        env = folder.fake(FAKE)
        more = f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker.port}/yard"\nname = "barn"\n[http]\nlisten = "127.0.0.1:0"\n'
        more += f'[snapshots]\nfolder = "{folder.path}/snapshots"\nmax_mb = 2\n'
        config = folder.config(*given, comes_and_goes, more=more)
        daemon = cameras.Daemon("--config", config, model=False, env=env)
        pid, idle = daemon.process.pid, []
        try:
            daemon.wait_for(lambda: any("metrics on" in line for line in daemon.errors))
            address = next(line for line in daemon.errors if "metrics on" in line).split("http://")[1].split("/")[0]
            port = int(address.rsplit(":", 1)[1])
            daemon.wait_for(lambda: all(metrics(port).get(f'frames_completed_total{{camera="camera{i}"}}', 0) > 20 for i in range(5)), SLOW)
            samples, start, reloads, restarts, away = [], time.monotonic(), 0, 0, None
            while (now := time.monotonic() - start) < seconds:
                time.sleep(1)
                metrics(port)
                if len(idle) < 200:
                    idle.append(socket.create_connection(("127.0.0.1", port), 10))
                # One at a time: several signals while it reads are one more reload.
                if now > (reloads + 1) * reload and len(daemon.events("model_reloaded")) == reloads:
                    reloads += 1
                    folder.config(*given, *([] if reloads % 2 else [comes_and_goes]), more=more)
                    os.kill(pid, signal.SIGHUP)
                if away is None and now > (restarts + 1) * 25:
                    broker.kill()
                    away = now
                elif away is not None and now > away + 3:
                    broker.start()
                    subscriber.kill()
                    subscriber = broker.subscribe(messages)
                    restarts, away = restarts + 1, None
                samples.append(use(pid))
            if away is not None:
                broker.start()
                subscriber.kill()
                subscriber = broker.subscribe(messages)
            daemon.wait_for(lambda: metrics(port)["mqtt_connected"] == 1, SLOW)
            daemon.wait_for(lambda: len(daemon.events("model_reloaded")) == reloads, SLOW)
            time.sleep(2)
            values = metrics(port)
        finally:
            os.kill(pid, signal.SIGTERM)
            code = daemon.code()
            for client in idle:
                client.close()
        pipes.wait_until(lambda: messages[-1] == "yard/availability/barn offline", SLOW)
        subscriber.kill()
        broker.kill()
        assert code in (0, 5), (code, daemon.errors[-5:])
        report(daemon, samples, values, messages, reloads, restarts)


def report(daemon, samples, values, messages, reloads, restarts):
    # Once everything has been used once.
    third = len(samples) // 3
    early, late = samples[third : 2 * third], samples[2 * third :]
    worst = lambda part, i: max(sample[i] for sample in part)
    threads = max(len(sample[2]) for sample in late)
    ended = len(set().union(*(sample[2] for sample in samples[third:]))) - threads
    print(f"resident {worst(early, 0)} to {worst(late, 0)} KiB, descriptors {worst(early, 1)} to {worst(late, 1)}, {threads} threads; {ended} ended")
    frames = [int(values[f'frames_completed_total{{camera="camera{i}"}}']) for i in range(5)]
    print(f"frames {' '.join(map(str, frames))}; {reloads} reloads, {restarts} restarts of the broker")
    kinds = collections.Counter(line["event"] for line in daemon.lines if "event" in line)
    print("events " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    assert EVENTS <= set(kinds), f"not told: {sorted(EVENTS - set(kinds))}"
    # An emulator's own part is in it: see "On aarch64" in README.
    assert worst(late, 0) - worst(early, 0) < 8192, "memory grows"
    assert worst(late, 1) <= worst(early, 1) + 4, "descriptors grow"
    assert min(frames) >= 0.8 * max(frames), frames
    reloaded, kept = daemon.events("model_reloaded"), daemon.events("model_kept") + daemon.events("config_kept")
    assert len(reloaded) == reloads and not kept, (reloads, len(reloaded), kept)
    lost = [line["detail"] for line in daemon.events("camera_lost") if line["camera"] == "garbage"]
    assert any("cannot reach the camera" in detail for detail in lost) and any("a header without an end" in detail for detail in lost), lost
    # What standard output has of objects has been published or was counted.
    told = [(line["camera"], line["id"], line["event"]) for line in daemon.lines if line.get("event", "").startswith("object_")]
    published = set()
    for message in messages:
        try:
            line = json.loads(message.split(" ", 1)[1])
            published.add((line["camera"], line["id"], line["event"]))
        except (ValueError, KeyError, IndexError, TypeError):
            pass
    missing = [one for one in told if one not in published]
    dropped = int(values["mqtt_dropped_total"])
    # The broker is killed with what it had not handed on, and a subscriber joins after the first few.
    allowed = dropped + 64 * restarts
    print(f"{len(told)} events of objects, {len(missing)} not seen by the subscriber, {dropped} counted as given up")
    assert told and len(missing) <= allowed, (len(missing), allowed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runner", default="", help="a command to run it by, such as qemu-aarch64-static")
    arguments = parser.parse_args()
    cameras.ARGUMENTS = pipes.ARGUMENTS = arguments
    try:
        pipes.need("ffmpeg", "ffmpeg")
        pipes.need("mosquitto", "mosquitto", "mosquitto_sub", "mosquitto_pub")
        soak(arguments.minutes)
    except pipes.Skip as reason:
        print(f"skipped: {reason}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
