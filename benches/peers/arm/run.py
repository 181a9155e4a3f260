"""Counts what frcnn and its peers execute on aarch64 for the same layers and networks, and writes results.json and results.md."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

import boards
import counting
import report
import workloads

sys.path.append(str(Path(__file__).resolve().parents[1]))
import agree
import ours
import postprocess

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
BUILT = REPOSITORY / "target/aarch64-unknown-linux-gnu/board/examples"

# Name, module of runtimes/, precision, model file.
PEERS = (
    ("ncnn", "ncnn_peer", "f32", "model.onnx"),
    ("MNN", "mnn_peer", "f32", "model.onnx"),
    ("ONNX Runtime", "onnxruntime_peer", "f32", "model.onnx"),
    ("OpenVINO", "openvino_peer", "f32", "model.onnx"),
    ("ncnn", "ncnn_peer", "f16", "model.onnx"),
    ("MNN", "mnn_peer", "f16", "model.onnx"),
    ("OpenVINO", "openvino_peer", "f16", "model.onnx"),
    ("ncnn", "ncnn_peer", "int8", "int8.onnx"),
    ("ONNX Runtime", "onnxruntime_peer", "int8", "int8.onnx"),
    ("OpenVINO", "openvino_peer", "int8", "int8.onnx"),
)
# What a runtime cannot do, and why.
CANNOT = {("ncnn", "roi_pool"): "its ROIPooling takes one RoI per call, and its graphs have no batch of RoIs"}
# What cannot be had, and why; printed with the results.
NOT_HAD = {
    "MNN int8": "its converter ends with an exception on QDQ files (std::out_of_range), and the wheel turns weights of 8 bits"
    " (--weightQuantBits) into floats before it computes",
    "ONNX Runtime f16": "its CPU provider computes few operators in half precision and casts to float32 around the others",
}
PEERS_BOARD = "cortex-a76"
TYPES = ("f32", "f16", "int8")

# Greatest difference from ONNX Runtime's float32 output on this machine, as a share of that output's largest value.
TOLERANCE = {"f32": 1e-3, "bf16": 5e-2, "f16": 2e-2, "int8": 2e-1}


def call(command, _threads=None):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\nfailed ({done.returncode}): {' '.join(command)}")
    return done.stdout


def difference(got, want):
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max() / np.abs(want).max())


def entry(board, name, precision, workload, counts, differs=None, note=""):
    """One line of the results. `counts` are a Counter, or the words of what refused."""
    one = {"board": board, "contender": name, "precision": precision, "workload": workload}
    if isinstance(counts, str):
        return one | {"refused": counts}
    one |= {"classes": dict(counts), "instructions": sum(counts.values())}
    if differs is None:
        return one | {"agreement": note, "same": True}
    return one | {"difference": differs, "same": differs <= TOLERANCE[precision]}


def peer(guest, work, site, out, name, runtime, precision, file, wanted):
    """Entries of one runtime over all workloads. One that ends the process is named, and the rest are run without it."""
    left, found = [workload for workload in wanted if (name, workload) not in CANNOT], {}
    out = out / f"{name}-{precision}".replace(" ", "-")
    shutil.rmtree(out, ignore_errors=True)
    python = guest.system / "usr/bin/python3.11"
    environment = {"PYTHONPATH": f"{site}:{HERE.parent}", "PYTHONDONTWRITEBYTECODE": "1"}
    while left:
        command = [python, HERE / "worker.py", "--runtime", runtime, "--precision", precision, "--file", file, "--out", out]
        lines, status = guest.run([*command, *(work / workload for workload in left)], environment)
        new, died = counting.of_marks(lines)
        found |= new
        if status == 0:
            break
        words = [line for line in lines if line.strip() and not line.startswith(("mark: ", "classes: ", "instructions: "))]
        reason = f"ended with status {status}: {words[-1] if words else ''}"
        if died is None:  # before any of those that are left, or after all
            found |= {workload: reason for workload in left if workload not in found}
            break
        found[died] = reason
        left = left[left.index(died) + 1 :]
    for workload in wanted:
        counts = CANNOT.get((name, workload)) or found.get(workload, "no counts")
        differs = None
        if not isinstance(counts, str):
            expected = sorted((work / workload / "expected").glob("*.npy"))
            pairs = [(out / workload / file.name, file) for file in expected]
            differs = max(difference(np.load(got), np.load(want)) if got.exists() else np.inf for got, want in pairs)
            if differs > TOLERANCE[precision]:
                counts = f"differs from ONNX Runtime by {differs:.0e} of the output's largest value, allowed is {TOLERANCE[precision]:.0e}"
        yield entry(guest.board, name, precision, workload, counts, differs)


def read_f32(file, *shape):
    return np.fromfile(file, "<f4").reshape(shape)


class Frcnn:
    """frcnn's own programs: the example `layer` of its kernels, and `stage` of its runtime."""

    def __init__(self, work, bundles, manifest, trained):
        self.work, self.bundles, self.manifest, self.trained = work, bundles, manifest, trained

    def layer(self, guest, name, precision, out):
        of_type = name if precision == "f32" else f"{name}_{precision}"
        file = out / of_type
        counts = counting.of_one_more(guest, [BUILT / "layer", of_type, "TIMES", file])
        want = np.load(self.work / name / "expected/out.npy")
        if want.ndim == 4:
            want = want[0].transpose(1, 2, 0)
        return entry(guest.board, "frcnn", precision, name, counts, difference(read_f32(file, *want.shape), want))

    def stages(self, guest, precision, names, out):
        photo = [self.work / "photo.rgb", f"{workloads.WIDTH}x{workloads.HEIGHT}", self.work / "boxes.f32"]
        lines, status = guest.run([BUILT / "stage", self.bundles[precision], *photo, out, *names])
        found, _ = counting.of_marks(lines)
        for name in names:
            counts = found.get(name, f"ended with status {status}: {lines[-1:]}")
            if isinstance(counts, str):
                yield entry(guest.board, "frcnn", precision, name, counts)
            elif name == "whole":
                share = self.same_detections(out / "detections")
                least = 1 if self.trained and precision == "f32" else agree.UNTRAINED_SHARE
                one = entry(guest.board, "frcnn", precision, name, counts, note=f"{share:.0%} of detections the same")
                # Scores of int8 layers are no thousandths: how many are the same is told, and decides nothing.
                yield one | {"same": share >= least or precision == "int8"}
            else:
                yield entry(guest.board, "frcnn", precision, name, counts, self.difference(name, out))

    def difference(self, name, out):
        if name == "head":
            wanted = {file.stem: np.load(file) for file in (self.work / "head/expected").glob("*.npy")}
        else:
            (file,) = (self.work / name / "expected").glob("*.npy")
            want = np.load(file)
            if name == "roi_pool":  # flattened with channels first
                want = want.reshape(workloads.ROIS, self.channels(), -1).transpose(0, 2, 1)
            else:
                want = want[0].transpose(1, 2, 0)
            wanted = {"map" if name == "trunk" else "pooled": want}
        return max(difference(read_f32(out / key, *want.shape), want) for key, want in wanted.items())

    def channels(self):
        (map,) = (self.work / "trunk/expected").glob("*.npy")
        return np.load(map).shape[1]

    def same_detections(self, file):
        boxes = np.array(json.loads((self.work / "boxes.json").read_text()))
        expected = self.work / "whole/expected"
        wanted = postprocess.detections(
            np.load(expected / "cls_prob.npy"), np.load(expected / "bbox_pred.npy"), boxes, (workloads.HEIGHT, workloads.WIDTH),
            self.manifest, self.manifest["score_threshold"],
        )
        found = [(int(row[0]), row[1], row[2:]) for row in read_f32(file, -1, 6)]
        offset = self.manifest["nms_width_offset"]
        return min(agree.share_found(wanted, found, offset), agree.share_found(found, wanted, offset)) if wanted else 0


def frcnn_entries(guest, frcnn, out, wanted):
    out.mkdir(parents=True, exist_ok=True)
    stages = [name for name in wanted if name in workloads.STAGES]
    for precision in frcnn.bundles:
        for name in wanted:
            if name not in workloads.STAGES:
                yield frcnn.layer(guest, name, precision, out)
        if stages:
            yield from frcnn.stages(guest, precision, stages, out)


def make_network(folder, shared, types):
    """The detector at 240 x 320: its bundles, its network as ONNX, its manifest, and whether it is trained."""
    binary = ours.Frcnn(REPOSITORY / "target/release/frcnn", call)
    folder.mkdir(parents=True, exist_ok=True)
    model, source = folder / "model.onnx", shared / f"models/bccd-{workloads.NET}"
    trained = (source / "model.onnx").exists()
    if trained:
        shutil.copyfile(source / "model.onnx", model)
        shutil.copyfile(source / "manifest.json", folder / "manifest.json")
    else:
        binary.new(workloads.NET, model)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"scales": [workloads.HEIGHT]} | ({} if trained else {"score_threshold": 0.0})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    photos, emitted = workloads.write_photo(folder / "photos", shared), folder / "emitted.onnx"
    for precision in dict.fromkeys(("f32", *types)):
        only = {"f32": {"emitted": emitted}, "int8": {"photos": photos}}.get(precision, {})
        binary.compile(model, None, precision, folder / f"{precision}.frcnn", **only)
    bundles = {precision: folder / f"{precision}.frcnn" for precision in types}
    return bundles, emitted, manifest, trained, binary.version()


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/arm/run", description=__doc__)
    names = lambda text: [name for name in text.split(",") if name]
    peers = list(dict.fromkeys(name for name, *_ in PEERS))
    parser.add_argument("--workloads", type=names, default=list(workloads.WORKLOADS), metavar="NAME,...",
                        help=f"default: {','.join(workloads.WORKLOADS)}")
    parser.add_argument("--types", type=names, default=list(TYPES), metavar="NAME,...", help=f"default: {','.join(TYPES)}")
    parser.add_argument("--peers", type=names, default=peers, metavar="NAME,...",
                        help=f"'' for frcnn alone; default: {','.join(peers)}")
    parser.add_argument("--boards", type=names, default=list(boards.BOARDS), metavar="CPU,...",
                        help=f"default: {','.join(boards.BOARDS)}; the peers run on {PEERS_BOARD} only")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "target/peers-arm", metavar="DIR",
                        help="results.md and results.json; default: target/peers-arm")
    args = parser.parse_args()
    for given, known in (
        (args.workloads, workloads.WORKLOADS), (args.types, TYPES), (args.peers, peers), (args.boards, boards.BOARDS),
    ):
        if set(given) - set(known):
            parser.error(f"no such: {', '.join(set(given) - set(known))}")
    return args


def write(results, folder):
    """After each contender, so that a run that is stopped leaves what it has."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "results.md").write_text(report.markdown(results))


def main():
    args = arguments()
    base = REPOSITORY / "target/peers-arm"
    shared = Path(os.environ.get("FRCNN_SHARED", REPOSITORY.parent / "shared"))
    work, out = base / "work", base / "got"
    for folder in (work, out):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    bundles, emitted, manifest, trained, version = make_network(base / "net", shared, args.types)
    workloads.prepare_all(work, emitted, manifest, shared)
    frcnn = Frcnn(work, bundles, manifest, trained)
    versions = {"frcnn": version} | dict(line.split("==") for line in (base / "requirements.txt").read_text().split())
    versions["qemu"] = call(["qemu-aarch64", "--version"]).split()[2]
    results = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "versions": versions, "trained": trained, "not_had": NOT_HAD,
        "entries": [],
    }
    for name in sorted(args.boards, key=lambda name: name != PEERS_BOARD):
        board = boards.BOARDS[name]
        boards.write(board, base / "root", base / "boards" / name)
        guest = counting.Guest(board.cpu, base / "boards" / name, base / "count.so")
        print(f"frcnn on {name}", file=sys.stderr)
        results["entries"] += frcnn_entries(guest, frcnn, out / "frcnn" / name, args.workloads)
        for peer_name, *settings in PEERS if name == PEERS_BOARD else ():
            if peer_name in args.peers and settings[1] in args.types:
                print(f"{peer_name} {settings[1]}", file=sys.stderr)
                # All of it in one file would cost as much again; a detection of frcnn's is set beside the others' parts.
                parts = [workload for workload in args.workloads if workload != "whole"]
                results["entries"] += peer(guest, work, base / "site", out, peer_name, *settings, parts)
                write(results, args.out)
        write(results, args.out)
    print(report.markdown(results))
    if not all(one.get("same", True) for one in results["entries"]):
        sys.exit("frcnn does not agree with ONNX Runtime")


if __name__ == "__main__":
    main()
