"""Makes everything that a case is measured on: photo, boxes, the network in parts, and each part's input.

    CASE/photo.png  boxes.json               for frcnn
    CASE/STAGE.onnx (trunk: .param, .bin)    for the peers
    CASE/tensors/NAME.npy                    every tensor between the stages, as ONNX Runtime computes it: what the
                                             peers are fed, and what their outputs are held against
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

import cases
import cut
import ncnn_export
from runtimes import onnxruntime_peer

SEED = 0


def photo_of_noise(height=480, width=640):
    """Blurred noise, for when the shared photos are not there."""
    coarse = np.random.default_rng(SEED).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def blob_of(photo, manifest):
    """`data` and im_scale, by the rules of conventions.md; of networks that read bgr in 0..255."""
    means = manifest.get("pixel_means") or manifest["pixel_means_bgr"]
    height, width = photo.shape[:2]
    scale = manifest["scales"][0] / min(height, width)
    if round(scale * max(height, width)) > manifest["max_long_side"]:
        scale = manifest["max_long_side"] / max(height, width)
    blob = photo.astype(np.float32) - np.float32(means)
    size = (round(width * scale), round(height * scale))
    blob = cv2.resize(blob, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(blob.transpose(2, 0, 1)[None]), scale


def cells(boxes, scale, spatial_scale):
    """Boxes in feature-map cells, rounded half away from zero (no corner is negative)."""
    rois = (boxes * scale).astype(np.float32) * np.float32(spatial_scale)
    return np.floor(rois + np.float32(0.5)).astype(np.int64)


def distinct_boxes(count, height, width, large, project):
    """Random boxes in image pixels, no two of which pool the same cells: frcnn computes equal ones only once, and the
    peers should not be charged for that."""
    rng = np.random.default_rng(SEED)
    kept = {}
    while len(kept) < count:
        if large:
            first = rng.uniform(0, [width / 8, height / 8])
            last = rng.uniform([width * 7 / 8, height * 7 / 8], [width - 1, height - 1])
        else:
            # Sides are log-uniform from 16 pixels to the image's.
            side = np.exp(rng.uniform(np.log(16), np.log([width, height])))
            first = rng.uniform(0, [width, height] - side)
            last = first + side - 1
        box = np.round(np.concatenate([first, last]))
        kept.setdefault(tuple(project(box)), box)
    return np.array(list(kept.values()), dtype=np.float32)


def evaluate(path, tensors):
    model = onnxruntime_peer.load(str(path), 0, "f32")
    model.bind(tensors)
    model.run()
    return {name: np.array(value) for name, value in model.results().items()}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--case", required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--onnx", type=Path, required=True)
    arguments.add_argument("--manifest", type=Path, required=True)
    arguments.add_argument("--photo", type=Path)
    args = arguments.parse_args()
    (case,) = (case for case in cases.CASES if case.name == args.case)
    (args.folder / "tensors").mkdir(parents=True, exist_ok=True)

    photo = cv2.imread(str(args.photo)) if args.photo else photo_of_noise()
    cv2.imwrite(str(args.folder / "photo.png"), photo)
    manifest = json.loads(args.manifest.read_text())
    data, scale = blob_of(photo, manifest)
    model = cut.load(args.onnx)
    pool = cut.roi_pool_node(model)
    spatial_scale = cut.spatial_scale(pool)
    height, width = photo.shape[:2]
    boxes = distinct_boxes(case.rois, height, width, case.large, lambda box: cells(box, scale, spatial_scale))
    (args.folder / "boxes.json").write_text(json.dumps(boxes.tolist()))
    rois = np.zeros((case.rois, 5), np.float32)
    rois[:, 1:] = boxes.astype(np.float64) * scale

    tensors = {"data": data, pool.input[1]: rois}
    for stage, (inputs, outputs) in cut.stage_ends(model).items():
        path = args.folder / f"{stage}.onnx"
        part = cut.cut(model, {name: tensors[name].shape for name in inputs}, outputs)
        path.write_bytes(part.SerializeToString())
        if stage in ("trunk", "roi_pool", "head"):
            tensors |= evaluate(path, tensors)
        if stage == "trunk":
            ncnn_export.export(part, path)
    for name, tensor in tensors.items():
        np.save(args.folder / "tensors" / f"{name}.npy", tensor)


if __name__ == "__main__":
    main()
