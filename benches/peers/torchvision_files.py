"""Whole detections of files that torchvision's own exporter wrote: frcnn beside ONNX Runtime and OpenVINO in f32.

Each contender runs in a process of its own, pinned to N physical cores, one after the other, round after round: it warms up,
then takes the median of some runs. Every one reads decoded pixels and gives boxes in the photo's pixels. Before anything is
measured, frcnn's detections are held against ONNX Runtime's of the same file.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx

import machine

HERE = Path(__file__).resolve().parent
PEERS = {"ONNX Runtime": "onnxruntime", "OpenVINO f32": "openvino"}
# When two detections are the same, as the tests have it.
LEAST_SCORE, LEAST_IOU, MOST_APART = 0.1, 0.99, 0.002


def call(command, cores):
    pinned = ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]
    done = subprocess.run(pinned, capture_output=True, text=True, cwd=HERE)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr}")
    return done.stdout


def iou(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def unmatched(some, others):
    """How many of some detections, (label, score, box) each, have no counterpart among others."""
    def found(one):
        return any(
            one[0] == other[0] and abs(one[1] - other[1]) <= MOST_APART and iou(one[2], other[2]) >= LEAST_IOU
            for other in others
        )
    return sum(one[1] >= LEAST_SCORE and not found(one) for one in some)


def ours(frcnn, bundle, photo):
    lines = call([frcnn, "detect", bundle, photo, "--json"], machine.cores()).splitlines()
    found = [found for line in lines for found in json.loads(line)["detections"]]
    return [(one["class_id"], one["score"], np.array(one["box"])) for one in found]


def theirs(folder, outputs):
    boxes, labels, scores = (np.load(folder / f"{name}.npy") for name in outputs)
    return list(zip(labels.tolist(), scores.tolist(), boxes))


def measure(args, model, bundle, folder):
    """What each contender took: milliseconds of each round, and the largest peak of memory."""
    worker = [sys.executable, HERE / "worker.py", "--precision", "f32", "--model", model, "--tensors", folder]
    rows = {}
    for threads in args.threads:
        times, memory = {}, {}
        for _ in range(args.rounds):
            bench = [args.frcnn, "bench", bundle, "--image", args.photo, "--threads", threads, "--runs", args.runs]
            cores = machine.cores()[:threads]
            report = json.loads(call([*bench, "--json"], cores))
            results = {"frcnn": (report["stages"]["total"]["p50_ms"], report["peak_rss_mib"])}
            for peer, module in PEERS.items():
                command = [*worker, "--runtime", f"{module}_peer", "--threads", threads, "--runs", args.runs]
                report = json.loads(call(command, cores))
                results[peer] = (statistics.median(report["runs_ms"]), report["peak_rss_mib"] - report["bare_python_mib"])
            for contender, (ms, mib) in results.items():
                times.setdefault(contender, []).append(ms)
                memory[contender] = max(memory.get(contender, 0), mib)
        rows[threads] = times, memory
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="ONNX files of torchvision's exporter; NAME.json beside one may name its classes")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--frcnn", type=Path, default=HERE.parents[1] / "target/release/frcnn", help="(%(default)s)")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2], help="1,2")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="in a process, after it has warmed up (%(default)s)")
    args = parser.parse_args()
    args.photo = args.photo.resolve()
    pixels = cv2.imread(str(args.photo), cv2.IMREAD_COLOR)[:, :, ::-1]
    print(f"{machine.cpu_name()}, {' '.join(machine.instruction_sets())}; photo {pixels.shape[1]} x {pixels.shape[0]}\n")
    peers = " | ".join(f"{peer}, ms | ratio" for peer in PEERS)
    print(f"| model | threads | frcnn, ms | {peers} | MiB: frcnn | {' | '.join(PEERS)} |")
    print("|---" * (5 + 3 * len(PEERS) - 1) + "|")
    for model in map(Path.resolve, args.models):
        with tempfile.TemporaryDirectory() as folder:
            folder, bundle = Path(folder), Path(folder) / "model.frcnn"
            manifest = model.with_suffix(".json")
            classes = ["--manifest", manifest] if manifest.exists() else []
            call([args.frcnn, "compile", model, *classes, "-o", bundle, "--quiet"], machine.cores())
            # torchvision gives boxes, labels and scores in this order, whatever the exporter was told to call them.
            graph = onnx.load(model, load_external_data=False).graph
            outputs = [output.name for output in graph.output[:3]]
            np.save(folder / f"{graph.input[0].name}.npy", np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / 255)
            save = [sys.executable, HERE / "worker.py", "--precision", "f32", "--model", model, "--tensors", folder]
            save += ["--runtime", "onnxruntime_peer", "--threads", "1", "--runs", "0", "--save", folder]
            call(save, machine.cores())
            found, expected = ours(args.frcnn, bundle, args.photo), theirs(folder, outputs)
            missing, more = unmatched(expected, found), unmatched(found, expected)
            if missing or more:
                print(f"{model.name}: {missing} detections of ONNX Runtime are missing, {more} are more", file=sys.stderr)
            for threads, (times, memory) in measure(args, model, bundle, folder).items():
                ms = {contender: statistics.median(of) for contender, of in times.items()}
                beside = " | ".join(f"{ms[peer]:.1f} | {ms[peer] / ms['frcnn']:.2f}" for peer in PEERS)
                mib = " | ".join(f"{memory[contender]:.0f}" for contender in memory)
                print(f"| {model.stem}, {len(expected)} found | {threads} | {ms['frcnn']:.1f} | {beside} | {mib} |", flush=True)
                print(json.dumps(times), file=sys.stderr)


if __name__ == "__main__":
    main()
