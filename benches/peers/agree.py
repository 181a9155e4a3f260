"""Holds what every contender computed against ONNX Runtime, before anything is timed.

Peers: each output tensor of each stage. Those that compute in less than float32 need not agree (OpenVINO's bfloat16 also
rounds the corners of RoIs, by up to two pixels, and so pools other cells): their differences are reported. frcnn shows
detections only: they are compared with those that postprocess.py makes of ONNX Runtime's cls_prob and bbox_pred, and
those of its bf16 are reported as well. Prints one line of JSON.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import cases
import postprocess

# How near a detection of frcnn's must be: as in this repository's conformance tests.
SAME_IOU, SAME_SCORE = 0.99, 0.002
# Untrained scores are nearly flat, so rounding decides which of two equally good boxes suppresses the other.
UNTRAINED_SHARE = 0.9


def peer_differences(folder, tensors):
    """[{peer, stage, tensor, difference, tolerance, same}] of everything under folder/PEER/STAGE/."""
    for peer in cases.PEERS:
        for file in sorted((folder / peer.name).glob("*/*.npy")):
            got, want = np.load(file), np.load(tensors / file.name)
            if got.shape != want.shape:
                raise SystemExit(f"{peer.name}: {file.stem} has shape {got.shape}, not {want.shape}")
            finite = np.isfinite(got) & np.isfinite(want)
            if not finite.all():
                raise SystemExit(f"{peer.name}: {file.stem} has {(~finite).sum()} values that are not finite, here or in ONNX Runtime's")
            differences = np.abs(got - want) / np.abs(want).max()
            greatest = float(differences.max())
            yield {
                "contender": peer.name, "stage": file.parent.name, "tensor": file.stem, "greatest": greatest,
                "mean": float(differences.mean()), "same": peer.precision != "f32" or greatest <= cases.TOLERANCE,
            }


def share_found(wanted, found, offset):
    """The share of `wanted` of which `found` has the like, each at most once."""
    left, matched = list(found), 0
    for class_id, score, box in wanted:
        for candidate in left:
            near = candidate[0] == class_id and abs(candidate[1] - score) <= SAME_SCORE
            if near and postprocess.iou(box, candidate[2][None], offset)[0] >= SAME_IOU:
                left.remove(candidate)
                matched += 1
                break
    return matched / max(len(wanted), 1)


def frcnn_difference(ours, folder, tensors, manifest, trained):
    report = json.loads((folder / f"{ours.file_stem}.json").read_text())
    found = [(one["class_id"], one["score"], np.array(one["box"])) for one in report["detections"]]
    boxes = np.array(json.loads((folder / "boxes.json").read_text()))
    wanted = postprocess.detections(
        np.load(tensors / "cls_prob.npy"), np.load(tensors / "bbox_pred.npy"), boxes,
        (report["height"], report["width"]), manifest, manifest["score_threshold"] if trained else 0,
    )
    offset = manifest["nms_width_offset"]
    share = min(share_found(wanted, found, offset), share_found(found, wanted, offset))
    least = 1.0 if trained else UNTRAINED_SHARE
    return {
        "contender": ours.name, "stage": "whole", "detections": len(found), "expected": len(wanted), "share": share,
        "least_share": least, "same": ours.precision != "f32" or (bool(wanted) and share >= least),
    }


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--manifest", type=Path, required=True)
    arguments.add_argument("--trained", action="store_true")
    args = arguments.parse_args()
    tensors = args.folder / "tensors"
    checks = list(peer_differences(args.folder / "got", tensors))
    manifest = json.loads(args.manifest.read_text())
    for ours in cases.OURS:
        if (args.folder / f"{ours.file_stem}.json").exists():
            checks.append(frcnn_difference(ours, args.folder, tensors, manifest, args.trained))
    print(json.dumps(checks))


if __name__ == "__main__":
    main()
