#!/usr/bin/env python3
"""frcnn-serve beside a plain server on ONNX Runtime (plain.py): the same file of torchvision's, the same JPEG, over HTTP.

    benches/peers/serve/run.py --program target/release/frcnn-serve --bundle model.frcnn --onnx model.onnx --photo photo.jpg

The two take turns; both get two threads of the machine in all. Prints latencies and requests a second by how many clients ask
at once, and the most memory that each server took. Needs onnxruntime, numpy and Pillow; the ONNX file is made as README's
"From torchvision" says.
"""
import argparse
import http.client
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT = 32990


def form(photo):
    return (b'--XyZ\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + photo + b"\r\n--XyZ--\r\n",
            {"Content-Type": "multipart/form-data; boundary=XyZ"})


def ask(connection, path, body, head):
    connection.request("POST", path, body, head)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200 or b'"success":false' in text:
        sys.exit(f"{answer.status}: {text[:300]}")


def load(path, body, head, clients, seconds):
    """Latencies of requests that some clients send, each the next when it has its answer; and how long all took."""
    times, broken, end = [], [], time.perf_counter() + seconds

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            try:
                ask(connection, path, body, head)
                times.append(time.perf_counter() - begun)
            except OSError as error:
                broken.append(error)
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        print(f"{len(broken)} connections broke: {broken[0]}", file=sys.stderr)
    return times, time.perf_counter() - begun


def peak(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1024


def serve(command):
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(600):
        try:
            http.client.HTTPConnection("127.0.0.1", PORT).connect()
            return process
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{command} did not start")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["program", "bundle", "onnx", "photo"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    arguments = parser.parse_args()
    photo = Path(arguments.photo).read_bytes()
    ours = [arguments.program, arguments.bundle, "--listen", f"127.0.0.1:{PORT}", "--max-wait-ms", "120000"]
    contenders = {
        "frcnn-serve": ([*ours, "--threads", "2"], "/v1/vision/detection", *form(photo)),
        "frcnn-serve --workers 2": ([*ours, "--workers", "2", "--threads", "1"], "/v1/vision/detection", *form(photo)),
        "ONNX Runtime, plain": ([sys.executable, HERE / "plain.py", arguments.onnx, str(PORT), "2"], "/", photo, {}),
    }
    times = {(name, clients): ([], 0.0) for name in contenders for clients in arguments.clients}
    memory = dict.fromkeys(contenders, 0)
    for _ in range(arguments.rounds):
        for name, (command, path, body, head) in contenders.items():
            process = serve(command)
            load(path, body, head, 2, 1)
            for clients in arguments.clients:
                taken, seconds = load(path, body, head, clients, arguments.seconds)
                before, all_seconds = times[name, clients]
                times[name, clients] = (before + taken, all_seconds + seconds)
            memory[name] = max(memory[name], peak(process))
            process.terminate()
            process.wait()
    print("| server | clients | p50 ms | p95 ms | p99 ms | requests/s | MiB at most |\n|---|---|---|---|---|---|---|")
    for clients in arguments.clients:
        for name in contenders:
            taken, seconds = times[name, clients]
            taken.sort()
            at = [1000 * taken[min(int(len(taken) * part), len(taken) - 1)] for part in (0.5, 0.95, 0.99)]
            print(f"| {name} | {clients} | " + " | ".join(f"{t:.0f}" for t in at)
                  + f" | {len(taken) / seconds:.1f} | {memory[name]:.0f} |")


if __name__ == "__main__":
    main()
