"""Trunks alone, of the small blobs that boards use, beside every peer that can run them: ncnn, MNN, ONNX Runtime, OpenVINO.

Prints a table of medians in milliseconds, with the peer's time divided by frcnn's behind each. Every peer's map is held against ONNX
Runtime's first. FRCNN_ISA=avx2 and ONEDNN_MAX_CPU_ISA=AVX2 hold frcnn and OpenVINO to AVX2; the others have no such switch.
"""

import argparse
import json
import statistics
import sys

import numpy as np

import cases
import cut
import ncnn_export
import ours
import run

sys.path.append(str(run.HERE / "arm"))
import mnn_export

PEERS = [
    cases.Peer("ncnn", "ncnn_peer", "f32"), cases.Peer("MNN", "mnn_peer", "f32"),
    cases.Peer("ONNX Runtime", "onnxruntime_peer", "f32"), cases.Peer("OpenVINO f32", "openvino_peer", "f32"),
]


def prepare(frcnn, net, folder, height, width):
    """The trunk with that blob for the peers, and a bundle whose frames of that size are not resized."""
    (folder / "tensors").mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(0).uniform(-120, 130, (1, 3, height, width)).astype(np.float32)
    np.save(folder / "tensors/data.npy", data)
    model, trunk = cut.load(net.emitted), folder / "trunk.onnx"
    (_, outputs) = cut.stage_ends(model)["trunk"]
    part = cut.cut(model, {"data": data.shape}, outputs)
    trunk.write_bytes(part.SerializeToString())
    ncnn_export.export(part, trunk)
    mnn_export.export(trunk)
    manifest = json.loads(net.manifest.read_text()) | {"scales": [height], "max_long_side": width}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = folder / "bundle.frcnn"
    frcnn.call([frcnn.binary, "compile", str(net.emitted), "--manifest", str(folder / "manifest.json"), "--output", str(bundle),
                "--quiet"], None)
    return bundle


def agree(folder, threads):
    """Stops if a peer's map is not ONNX Runtime's."""
    maps = {}
    for peer in PEERS:
        run.work(peer, folder, "trunk", threads, 0, save=folder / "got" / peer.name)
        (file,) = (folder / "got" / peer.name).glob("*.npy")
        maps[peer.name] = np.load(file)
    want = maps["ONNX Runtime"]
    for name, got in maps.items():
        differs = float(np.abs(got - want).max() / np.abs(want).max())
        if not differs <= cases.TOLERANCE:
            sys.exit(f"{folder.name}: {name} differs from ONNX Runtime by {differs:.0e} of the largest value")


def frcnn_trunk(frcnn, bundle, height, width, threads):
    report = json.loads(frcnn.call([frcnn.binary, "bench", str(bundle), "--size", f"{height}x{width}", "--rois", "10", "--json",
                                    "--threads", str(threads), "--runs", str(run.RUNS_PER_ROUND)], threads))
    assert report["blob"] == [[height, width]], report["blob"]
    return report["stages"]["trunk"]["p50_ms"]


def main():
    parser = argparse.ArgumentParser(prog="benches/peers/trunks", description=__doc__)
    parser.add_argument("--nets", default="squeezenet,vgg16", metavar="NET,...")
    parser.add_argument("--sizes", default="240x320,360x480,480x640", metavar="HxW,...")
    parser.add_argument("--threads", default="1,2", metavar="N,...")
    run.common_arguments(parser, 5)
    args = parser.parse_args()
    frcnn, out = ours.Frcnn(args.frcnn.resolve(), run.call), args.out.resolve()
    shared = run.shared_folder()
    print("| trunk | threads | frcnn | " + " | ".join(peer.name for peer in PEERS) + " |\n|---|---|---|" + "---|" * len(PEERS))
    for name in args.nets.split(","):
        net = run.Net(frcnn, name, out / "nets" / name, shared)
        for size in args.sizes.split(","):
            height, width = map(int, size.split("x"))
            folder = out / "trunks" / f"{name}-{size}"
            bundle = prepare(frcnn, net, folder, height, width)
            agree(folder, 1)
            for threads in map(int, args.threads.split(",")):
                times, seen = [], {peer.name: [] for peer in PEERS}
                for _ in range(args.runs):
                    times.append(frcnn_trunk(frcnn, bundle, height, width, threads))
                    for peer in PEERS:
                        seen[peer.name] += [statistics.median(run.work(peer, folder, "trunk", threads, run.RUNS_PER_ROUND)["runs_ms"])]
                middle = statistics.median(times)
                beside = [f"{statistics.median(seen[peer.name]):.1f} ({statistics.median(seen[peer.name]) / middle:.2f})" for peer in PEERS]
                print(f"| {name}, {size} | {threads} | {middle:.1f} | {' | '.join(beside)} |", flush=True)


if __name__ == "__main__":
    main()
