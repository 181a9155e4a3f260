"""Times `frcnn eval --detections` beside pycocotools on the detections of 5,000 images, and compares their numbers.

    target/referee/bin/pip install numpy pycocotools && target/referee/bin/python3 benches/coco_scorer.py

Both read the same two JSON files from disk. pycocotools runs in this process, its import not counted; frcnn's time is that
of the whole command, which also scores by VOC.
"""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FRCNN = pathlib.Path(__file__).parent.parent / "target/release/frcnn"
IMAGES, CLASSES, ROUNDS = 5000, 80, 2
NUMBERS = "ap ap50 ap75 ap_small ap_medium ap_large ar1 ar10 ar100 ar_small ar_medium ar_large".split()


def write(folder):
    """As COCO val2017: 7 objects and 100 detections an image, most of them near an object, of 3 classes."""
    rng = np.random.default_rng(0)
    truths, results = [], []
    for image in range(1, IMAGES + 1):
        classes = rng.choice(CLASSES, 3, replace=False) + 1
        boxes = np.round(np.concatenate([rng.uniform(0, 400, (7, 2)), np.exp(rng.uniform(2, 5.5, (7, 2)))], 1), 2)
        labels = rng.choice(classes, 7)
        for box, label in zip(boxes.tolist(), labels.tolist()):
            area = round(box[2] * box[3] * 0.7, 2)
            crowd = int(rng.random() < 0.01)
            truths.append({"id": len(truths) + 1, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": crowd})
        which = rng.integers(0, 7, 100)
        size = np.tile(boxes[which, 2:], 2)
        near = np.round(boxes[which] + rng.normal(0, 0.15, (100, 4)) * size, 2)
        near[:, 2:] = np.maximum(near[:, 2:], 1)
        labels = np.where(rng.random(100) < 0.8, labels[which], rng.choice(classes, 100))
        scores = np.round(rng.random(100), 4)
        for box, label, score in zip(near.tolist(), labels.tolist(), scores.tolist()):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    (folder / "annotations").mkdir()
    images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in range(1, IMAGES + 1)]
    categories = [{"id": c, "name": f"class{c}"} for c in range(1, CLASSES + 1)]
    truth = {"images": images, "annotations": truths, "categories": categories}
    (folder / "annotations/instances_val.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))


def pycocotools(folder):
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(folder / "annotations/instances_val.json")
        scorer = COCOeval(truth, truth.loadRes(str(folder / "results.json")), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return time.perf_counter() - start, scorer.stats


def frcnn(folder):
    start = time.perf_counter()
    command = [FRCNN, "eval", "--detections", folder / "results.json", "--ground-truth", folder, "--split", "val", "--json"]
    output = subprocess.run(command, check=True, capture_output=True)
    took = time.perf_counter() - start
    summary = json.loads(output.stdout)["coco"]["summary"]
    return took, np.array([summary[name] for name in NUMBERS])


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    write(folder)
    times = {"pycocotools": [], "frcnn": []}
    for _ in range(ROUNDS):
        for scorer in (pycocotools, frcnn):
            took, numbers = scorer(folder)
            times[scorer.__name__].append(took)
            if scorer is pycocotools:
                expected = numbers
        worst = np.abs(numbers - expected).max()
        if worst > 1e-6:
            sys.exit(f"the scores differ by {worst}: {numbers} and {expected}")
    for name, took in times.items():
        print(f"{name:12} {np.median(took):7.2f} s  {[round(t, 2) for t in took]}")
    print(f"ratio {np.median(times['pycocotools']) / np.median(times['frcnn']):.1f}, AP {expected[0]:.6f}, largest difference {worst:.1e}")
