#!/usr/bin/env python3
"""frcnn-serve under clients that others wrote: deepstack-python, deepstack-sdk, pyzmq and requests, all at once.

    src/serve/tests/clients.py --program target/release/frcnn-serve --bundle BUNDLE [--requests 10000]

Requests of all interfaces, garbage and cut connections are mixed, 64 at a time. Each good one must get the answer that the same
picture got when it was asked for alone, once; the service must count as many answers as were received; its memory and its
descriptors must not grow.
"""
import argparse
import atexit
import base64
import collections
import io
import itertools
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import numpy
import requests
import zmq
from deepstack.core import DeepstackException, DeepstackObject
from deepstack_sdk import Detection, ServerConfig
from PIL import Image, ImageDraw

AT_ONCE = 64
COLOURS = {"red": (250, 10, 5), "green": (5, 250, 10), "blue": (10, 5, 250)}
PATIENCE = 120  # s; nobody waits for so long unless an answer is lost


def picture(seed):
    """A picture of some coloured things on grey noise."""
    draws = random.Random(seed)
    noise = numpy.random.default_rng(seed).integers(60, 80, (96, 128, 1), dtype=numpy.uint8)
    image = Image.fromarray(numpy.repeat(noise, 3, axis=2))
    draw = ImageDraw.Draw(image)
    for left, top in draws.sample([(0, 0), (64, 0), (0, 48), (64, 48)], draws.randint(2, 4)):
        x, y, side = left + draws.randint(4, 24), top + draws.randint(4, 12), draws.randint(24, 32)
        draw.rectangle([x, y, x + side, y + side], fill=draws.choice(list(COLOURS.values())))
    return image


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


class Service:
    def __init__(self, program, bundle, more, zmq="tcp://127.0.0.1:0"):
        command = [program, bundle, "--listen", "127.0.0.1:0", "--zmq", zmq, "--dialect", "deepstack",
                   "--max-wait-ms", "100000", "--queue", "128", *more]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        for line in self.process.stderr:
            if " at http://" in line:
                http, self.zmq = line.strip().split(" at http://")[1].split(" and ")
                break
        else:
            sys.exit("frcnn-serve did not start")
        self.host, self.port = http.rsplit(":", 1)
        self.url = f"http://{http}"
        # What it says later is read, so that it never waits for a reader.
        self.said = collections.deque(maxlen=1000)
        threading.Thread(target=self.said.extend, args=(self.process.stderr,), daemon=True).start()

    def address(self):
        return self.host, int(self.port)

    def zmq_address(self):
        host, port = self.zmq.removeprefix("tcp://").rsplit(":", 1)
        return host, int(port)

    def memory(self):
        """MiB in memory."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def metrics(self):
        text = requests.get(f"{self.url}/metrics", timeout=PATIENCE).text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}


class Clients:
    """One thread's clients. Each kind of request is a method that gives what it counts as."""

    context = zmq.Context()

    def __init__(self, service, seed):
        self.service = service
        self.random = random.Random(seed)
        self.python = DeepstackObject(ip=service.host, port=int(service.port), timeout=PATIENCE, min_confidence=0.4)
        self.sdk = Detection(ServerConfig(service.url))
        self.http = requests.Session()
        self.req = None

    def socket(self, patience=PATIENCE):
        req = self.context.socket(zmq.REQ)
        req.setsockopt(zmq.LINGER, 0)
        req.setsockopt(zmq.RCVTIMEO, int(patience * 1000))
        req.connect(self.service.zmq)
        return req

    # What must be answered. The answer is compared with that of the same picture alone.

    def deepstack_python(self, one):
        found = self.python.detect(one.jpeg)
        return "vision ok", [(o["label"], o["confidence"], o["x_min"], o["y_min"], o["x_max"], o["y_max"]) for o in found]

    def deepstack_sdk(self, one):
        found = self.sdk.detectObject(one.jpeg, min_confidence=0.4)
        return "vision ok", [(o.label, o.confidence, o.x_min, o.y_min, o.x_max, o.y_max) for o in found]

    def kept_alive(self, one):
        answer = self.http.post(f"{self.service.url}/v1/vision/detection", files={"image": one.jpeg}, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        return "vision ok", [(o["label"], o["confidence"], o["x_min"], o["y_min"], o["x_max"], o["y_max"]) for o in found]

    def doods(self, one):
        request = {"detector_name": "default", "data": base64.b64encode(one.jpeg).decode(), "detect": {"*": 40}}
        answer = self.http.post(f"{self.service.url}/detect", json=request, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        found = answer.json()["detections"]
        return "doods ok", [(o["label"], o["confidence"], o["left"], o["top"]) for o in found]

    def frigate(self, one):
        self.req = self.req or self.socket()
        if self.random.random() < 0.1:
            self.req.send(json.dumps({"model_request": True, "model_name": "any"}).encode())
            assert json.loads(self.req.recv()) == {"model_available": True, "model_loaded": True}
        pixels = numpy.asarray(one.image)[numpy.newaxis]
        header = {"shape": list(pixels.shape), "dtype": "uint8", "model_type": "ssd"}
        self.req.send_multipart([json.dumps(header).encode(), memoryview(pixels.tobytes())])
        frames = self.req.recv_multipart()
        assert len(frames) == 1 and len(frames[0]) == 480, [len(frame) for frame in frames]
        rows = numpy.frombuffer(frames[0], numpy.float32).reshape(20, 6)
        assert (numpy.diff(rows[:, 1]) <= 0).all()
        return "zmq ok", rows.tolist()

    # What must be refused, or cut off.

    def no_picture(self, one):
        kind = self.random.randrange(4)
        if kind == 0:
            try:
                self.python.detect(one.jpeg[: len(one.jpeg) // 2])
            except DeepstackException as error:
                assert "status code: 400" in str(error), error
                return "vision bad", None
        if kind == 1:
            try:
                self.sdk.detectObject(self.random.randbytes(500))
            except Exception as error:  # it knows no other
                assert str(error) == "Invalid image", error
                return "vision bad", None
        if kind == 2:
            answer = requests.post(f"{self.service.url}/v1/vision/detection", data={"x": "y"}, timeout=PATIENCE)
            assert answer.status_code == 400 and answer.json()["success"] is False, answer.text
            return "vision bad", None
        answer = requests.post(f"{self.service.url}/detect", data=self.random.randbytes(300), timeout=PATIENCE)
        assert answer.status_code == 400 and answer.json()["error"], answer.text
        return "doods bad", None

    def zmq_garbage(self, one):
        req = self.socket()
        header = {"shape": [1, 5, 5, 3], "dtype": self.random.choice(["uint8", "float32", "complex64"])}
        req.send_multipart([json.dumps(header).encode(), self.random.randbytes(50)])
        assert req.recv() == bytes(480)
        req.close()
        return "zmq bad", None

    def cut(self, one):
        """A connection that ends in the midst of a request, over either interface, or is garbage."""
        kind = self.random.randrange(6)
        address = self.service.address() if kind < 3 else self.service.zmq_address()
        with socket.create_connection(address, timeout=PATIENCE) as stream:
            body = requests.Request("POST", f"{self.service.url}/v1/vision/detection", files={"image": one.jpeg}).prepare()
            head = f"POST /v1/vision/detection HTTP/1.1\r\nHost: x\r\nContent-Type: {body.headers['Content-Type']}\r\n" \
                   f"Content-Length: {len(body.body)}\r\n\r\n".encode()
            if kind == 0:
                whole = head + body.body
                stream.sendall(whole[: self.random.randrange(len(whole))])
            elif kind in (1, 3):
                stream.sendall(self.random.randbytes(self.random.randrange(1, 2000)))
            elif kind == 2:
                stream.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + bytes(1000))
            else:
                greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
                ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
                stream.sendall(greeting + ready)
                if kind == 4:
                    # 2^60 bytes are announced.
                    stream.sendall(b"\x01\x00\x02" + struct.pack(">Q", 1 << 60))
                else:
                    stream.sendall(b"\x01\x00\x01\x02{}\x02" + struct.pack(">Q", 50_000) + bytes(self.random.randrange(50_000)))
            if self.random.random() < 0.5:
                # Without the four steps of a good end.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return "cut", None

    def impatient(self, one):
        """Frigate's client gives up after a while, and closes."""
        req = self.socket(0.001)
        pixels = numpy.asarray(one.image)[numpy.newaxis]
        header = {"shape": list(pixels.shape), "dtype": "uint8"}
        req.send_multipart([json.dumps(header).encode(), pixels.tobytes()])
        try:
            req.recv()
        except zmq.Again:
            pass
        req.close()
        return "impatient", None


ANSWERED = ["deepstack_python", "deepstack_sdk", "kept_alive", "doods", "frigate", "frigate"]
OTHERS = ["no_picture", "zmq_garbage", "cut", "cut", "impatient"]


class Picture:
    def __init__(self, service, seed):
        self.image = picture(seed)
        self.jpeg = jpeg(self.image)
        alone = Clients(service, seed)
        self.answers = {kind: getattr(alone, kind)(self)[1] for kind in set(ANSWERED)}


def storm(service, pictures, count, problems, threads=AT_ONCE):
    """Sends requests until there are `count`, and counts what became of them."""
    numbers, done = itertools.count(), []

    def work(seed):
        clients = Clients(service, seed)
        choice = random.Random(seed + 1)
        while next(numbers) < count:
            one = choice.choice(pictures)
            kind = choice.choice(ANSWERED if choice.random() < 0.7 else OTHERS)
            begun = time.time()
            try:
                name, answer = getattr(clients, kind)(one)
                if kind in one.answers and answer != one.answers[kind]:
                    problems.append(f"{kind}: {answer} and not {one.answers[kind]}")
                done.append(name)
            except Exception as error:  # all are problems
                problems.append(f"{kind}, after {time.time() - begun:.1f} s: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(seed * 1000,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return collections.Counter(done)


def over_ipc(arguments, pictures, problems):
    """A socket in the file system: one that a killed service has left is replaced, and one that ends takes it away."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        for end in [signal.SIGKILL, signal.SIGTERM]:
            service = Service(arguments.program, arguments.bundle, arguments.more, f"ipc://{path}")
            for one in pictures:
                if Clients(service, 0).frigate(one)[1] != one.answers["frigate"]:
                    problems.append("another answer over ipc")
            service.process.send_signal(end)
            service.process.wait(timeout=60)
            if os.path.exists(path) != (end == signal.SIGKILL):
                problems.append(f"{path} after {end.name}: {os.listdir(folder)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("more", nargs="*", help="arguments for the service, behind --")
    arguments = parser.parse_args()
    service = Service(arguments.program, arguments.bundle, arguments.more)
    pictures = [Picture(service, seed) for seed in range(6)]
    found = sum(len(one.answers["doods"]) for one in pictures)
    assert found >= 6, f"{found} objects in 6 pictures tell nothing apart"
    assert len({json.dumps(one.answers["frigate"]) for one in pictures}) == 6, "answers do not tell pictures apart"

    alone = collections.Counter({"vision ok": 3 * len(pictures), "doods ok": len(pictures), "zmq ok": len(pictures)})
    counts, problems, begun = [], [], time.time()
    # The first part fills what is kept: buffers of every thread, arenas of the allocator.
    parts = [arguments.requests // 3, arguments.requests - arguments.requests // 3]
    memory = []
    for part in parts:
        counts.append(storm(service, pictures, part, problems))
        time.sleep(0.3)
        memory.append((service.memory(), service.descriptors()))
    seconds = time.time() - begun
    metrics = service.metrics()
    received = sum(counts, alone)

    for door in ["vision", "doods", "zmq"]:
        for outcome in ["ok", "bad"]:
            counted = metrics[f'frcnn_serve_requests_total{{interface="{door}",outcome="{outcome}"}}']
            name = f"{door} {outcome}"
            # Whoever is impatient may have been given an answer all the same, and a cut request a refusal.
            slack = received["impatient"] if name == "zmq ok" else received["cut"] if outcome == "bad" else 0
            if not received[name] <= counted <= received[name] + slack:
                problems.append(f"{name}: {received[name]} answers were received, and {counted:.0f} were given")
    for name in ["frcnn_serve_waiting", "frcnn_serve_held_bytes"]:
        if metrics[name] != 0:
            problems.append(f"{name} is {metrics[name]} after all is done")
    for outcome in ["busy", "late", "ending", "failed"]:
        for door in ["vision", "doods", "zmq"]:
            if metrics[f'frcnn_serve_requests_total{{interface="{door}",outcome="{outcome}"}}'] != 0:
                problems.append(f"{door}: some were refused: {outcome}")
    (first, first_fds), (last, last_fds) = memory
    if last > first + 24:
        problems.append(f"memory grew from {first:.0f} to {last:.0f} MiB")
    if last_fds > first_fds + AT_ONCE:
        problems.append(f"descriptors grew from {first_fds} to {last_fds}")

    service.process.send_signal(signal.SIGTERM)
    code = service.process.wait(timeout=60)
    if code != 0:
        problems.append(f"exit code {code} after SIGTERM")
    over_ipc(arguments, pictures, problems)
    for problem in problems[:20]:
        print("problem:", problem[:400])
    for line in [line for line in service.said if "panicked" in line][:20]:
        problems.append(line)
        print("panic:", line)
    done = sum(sum(part.values()) for part in counts)
    print(f"{done} requests, {AT_ONCE} at once, in {seconds:.1f} s: "
          + ", ".join(f"{count} {name}" for name, count in sorted(sum(counts, collections.Counter()).items())))
    print(f"memory {first:.0f} MiB after a third, {last:.0f} MiB at the end; descriptors {first_fds} and {last_fds}")
    print(f"{'0 passed, ' + str(len(problems)) if problems else '1 passed, 0'} failed")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
