"""RoIAlign alone: frcnn's kernel beside ONNX Runtime and OpenVINO in f32, on the same maps and RoIs.

Each contender runs in a process of its own, one after the other, round after round. RoIs are random from a fixed seed,
their sides log-uniform from 16 pixels to the image's; the level of each is that of torchvision's rule. Outputs are held
against ONNX Runtime's.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import machine

REPOSITORY = Path(__file__).resolve().parents[2]
CHANNELS = 256
PEERS = {"ONNX Runtime": "onnxruntime_peer", "OpenVINO f32": "openvino_peer"}
# Blob, RoIs, strides of the maps that are pooled, and the level that the first of them is by torchvision's rule.
CASES = {
    "resnet50 FPN, 1000 RoIs": ((800, 1088), 1000, (4, 8, 16, 32), 2),
    "mobilenet FPN, 1000 RoIs": ((800, 1088), 1000, (32,), 5),
    "mobilenet 320 FPN, 150 RoIs": ((320, 448), 150, (32,), 5),
}


def regions(blob, count, levels, first):
    """Level and corners of each region, in pixels."""
    random = np.random.default_rng(0)
    side = np.exp(random.uniform(np.log(16), np.log(min(blob)), count))
    ratio = np.exp(random.uniform(np.log(0.4), np.log(2.5), count))
    size = np.minimum(np.stack([side / np.sqrt(ratio), side * np.sqrt(ratio)], 1), blob)
    corner = random.uniform(0, 1, (count, 2)) * (np.array(blob) - size)
    level = np.floor(4 + np.log2(np.sqrt(size.prod(1)) / 224) + 1e-6).clip(first, first + levels - 1) - first
    return np.column_stack([level, corner[:, ::-1], (corner + size)[:, ::-1]]).astype(np.float32)


def write(folder, blob, count, strides, first):
    """A case's files: for frcnn and, as one model with a node for each level, for the peers."""
    rois = regions(blob, count, len(strides), first)
    rois.tofile(folder / "rois")
    nodes, inputs, outputs, lines, order = [], [], [], [], []
    for level, stride in enumerate(strides):
        size = [side // stride for side in blob]
        values = np.random.default_rng(level).standard_normal((*size, CHANNELS), np.float32)
        values.tofile(folder / f"map.{level}")
        lines.append(f"{size[0]} {size[1]} {CHANNELS} {1 / stride}\n")
        at = np.flatnonzero(rois[:, 0] == level)
        order.append(at)
        tensors = {
            f"map{level}": np.ascontiguousarray(values.transpose(2, 0, 1)[None]),
            f"rois{level}": np.ascontiguousarray(rois[at, 1:]),
            f"batch{level}": np.zeros(len(at), np.int64),
        }
        for name, tensor in tensors.items():
            np.save(folder / f"{name}.npy", tensor)
            kind = TensorProto.INT64 if tensor.dtype == np.int64 else TensorProto.FLOAT
            inputs.append(helper.make_tensor_value_info(name, kind, tensor.shape))
        nodes.append(helper.make_node(
            "RoiAlign", list(tensors), [f"aligned{level}"], output_height=7, output_width=7, sampling_ratio=2,
            coordinate_transformation_mode="output_half_pixel", spatial_scale=1 / stride,
        ))
        outputs.append(helper.make_tensor_value_info(f"aligned{level}", TensorProto.FLOAT, [len(at), CHANNELS, 7, 7]))
    (folder / "maps").write_text("".join(lines))
    np.save(folder / "order.npy", np.concatenate(order))
    graph = helper.make_graph(nodes, "roi_align", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    return np.bincount(rois[:, 0].astype(int), minlength=len(strides)).tolist()


def work(folder, runtime, threads, runs):
    """In a process of its own: prints what runs took, and writes what a peer gave, in the RoIs' own order."""
    model = importlib.import_module(f"runtimes.{runtime}").load(str(folder / "model.onnx"), threads, "f32")
    model.bind({name: np.load(folder / f"{name}.npy") for name in model.inputs})
    for _ in range(runs):
        begin = time.perf_counter()
        model.run()
        print((time.perf_counter() - begin) * 1e3)
    results = model.results()
    aligned = np.concatenate([results[f"aligned{level}"] for level in range(len(results))]).transpose(0, 2, 3, 1)
    order = np.load(folder / "order.npy")
    aligned[np.argsort(order)].tofile(folder / runtime)


def run(command, runs):
    """The median of all runs but two, in milliseconds."""
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    times = [float(line) for line in lines]
    assert len(times) == runs, lines
    return statistics.median(times[2:])


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--threads", default="1,2", help="comma-separated (%(default)s)")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--runs", type=int, default=9, help="in a process, of which two warm up (%(default)s)")
    arguments.add_argument("--work", nargs=2, metavar=("FOLDER", "RUNTIME"), help=argparse.SUPPRESS)
    args = arguments.parse_args()
    if args.work:
        work(Path(args.work[0]), args.work[1], int(args.threads), args.runs)
        return

    print(f"{machine.cpu_name()}, {' '.join(machine.instruction_sets())}; medians of {args.rounds} rounds, ms\n")
    print(f"| case | threads | frcnn | {' | '.join(f'{peer} | ratio' for peer in PEERS)} |")
    print("|---" * (3 + 2 * len(PEERS)) + "|")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            of_levels = write(folder, *case)
            for threads in args.threads.split(","):
                pinned = ["taskset", "-c", ",".join(str(core) for core in machine.cores()[: int(threads)])]
                ours = [REPOSITORY / "target/release/examples/roi_align", folder, threads, str(args.runs)]
                worker = [sys.executable, __file__, "--threads", threads, "--runs", str(args.runs), "--work", folder]
                commands = {"frcnn": ours} | {peer: [*worker, module] for peer, module in PEERS.items()}
                times = {contender: [] for contender in commands}
                for _ in range(args.rounds):
                    for contender, command in commands.items():
                        times[contender].append(run(pinned + [str(word) for word in command], args.runs))
                expected, *others = [np.fromfile(folder / file, np.float32) for file in (*PEERS.values(), "frcnn")]
                for other in others:
                    assert np.abs(other - expected).max() <= 1e-5 * np.abs(expected).max(), "they do not agree"
                ms = {contender: statistics.median(of) for contender, of in times.items()}
                cells = [f"{ms[peer]:.2f} | {ms[peer] / ms['frcnn']:.1f}" for peer in PEERS]
                print(f"| {name} {of_levels} | {threads} | {ms['frcnn']:.2f} | {' | '.join(cells)} |", flush=True)
                print(json.dumps(times), file=sys.stderr)


if __name__ == "__main__":
    main()
