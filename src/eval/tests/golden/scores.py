"""Prints seeded random cases and what the official programs score for them, as JSON; `scores.json` beside it holds the
cases of seeds 0 to 7.

    pip install numpy pycocotools && python3 src/eval/tests/golden/scores.py 0 8 > src/eval/tests/golden/scores.json

COCO numbers are pycocotools' own. VOC numbers are py-faster-rcnn's definition (lib/datasets/voc_eval.py, MIT), which is
a program of its own and not on PyPI: `voc_ap` and `voc_eval` below follow it line by line, on lists instead of files.
"""

import contextlib
import io
import json
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def case(seed):
    """Objects of all sizes, crowds and difficult ones; detections near objects, twice at the same one, at random places,
    with equal scores, and more than 100 in one image. One class has no object, another no detection."""
    rng = np.random.default_rng(seed)
    images = [int(i) for i in rng.permutation(60)[: rng.integers(3, 9)] + 1]
    classes, width, height = 5, 640, 480
    truths, detections = [], []
    whole = seed % 2 == 0  # whole pixels make overlaps exactly at a threshold likely

    def number(v):
        return float(round(v)) if whole else round(float(v), 1)

    def box(size):
        w, h = np.maximum(size * rng.uniform(0.5, 2, 2), 2)
        return [number(v) for v in (rng.uniform(0, width), rng.uniform(0, height), w, h)]

    for image in images:
        for _ in range(rng.integers(0, 9)):
            b = box(np.exp(rng.uniform(np.log(8), np.log(300))))
            truths.append({
                "image": image,
                "class": int(rng.integers(1, classes)),  # class 5 has none
                "bbox": b,
                "area": round(b[2] * b[3] * float(rng.uniform(0.5, 1)), 2),
                "crowd": int(rng.random() < 0.12),
            })
        near = [t for t in truths if t["image"] == image for _ in range(rng.integers(0, 4))]
        for t in near:
            x, y, w, h = t["bbox"]
            jitter = rng.normal(0, 0.12, 4)
            b = [number(v) for v in (x + w * jitter[0], y + h * jitter[1], max(w * (1 + jitter[2]), 1), max(h * (1 + jitter[3]), 1))]
            label = t["class"] if rng.random() < 0.9 else int(rng.integers(2, classes + 1))
            detections.append({"image": image, "class": label, "bbox": b, "score": round(float(rng.random()), 2)})
        many = 130 if image == images[0] else 5
        for _ in range(many):
            detections.append({
                "image": image, "class": int(rng.choice([2, 5])) if many > 5 else int(rng.integers(2, classes + 1)),
                "bbox": box(60), "score": round(float(rng.random()) * 0.6, 2),
            })
    # class 1 has no detection
    detections = [d for d in detections if d["class"] != 1]
    rng.shuffle(detections)
    return {"seed": seed, "images": images, "classes": classes, "truths": truths, "detections": detections}


def coco_scores(case):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i} for i in case["images"]],
            "categories": [{"id": c + 1, "name": f"class{c + 1}"} for c in range(case["classes"])],
            # ids from 1: COCOeval takes an object with id 0 for none
            "annotations": [
                {"id": n + 1, "image_id": t["image"], "category_id": t["class"], "bbox": t["bbox"], "area": t["area"], "iscrowd": t["crowd"]}
                for n, t in enumerate(case["truths"])
            ],
        }
        truth.createIndex()
        results = truth.loadRes([
            {"image_id": d["image"], "category_id": d["class"], "bbox": d["bbox"], "score": d["score"]} for d in case["detections"]
        ])
        scorer = COCOeval(truth, results, "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    per_class = [scorer.eval["precision"][:, :, c, 0, 2] for c in range(case["classes"])]
    return [float(v) for v in scorer.stats], [float(p.mean()) if (p > -1).all() else None for p in per_class]


def voc_ap(rec, prec, use_07_metric):
    if use_07_metric:
        ap = 0.0
        for t in np.arange(0.0, 1.1, 0.1):
            p = 0 if np.sum(rec >= t) == 0 else np.max(prec[rec >= t])
            ap = ap + p / 11.0
    else:
        mrec = np.concatenate(([0.0], rec, [1.0]))
        mpre = np.concatenate(([0.0], prec, [0.0]))
        for i in range(mpre.size - 1, 0, -1):
            mpre[i - 1] = np.maximum(mpre[i - 1], mpre[i])
        i = np.where(mrec[1:] != mrec[:-1])[0]
        ap = np.sum((mrec[i + 1] - mrec[i]) * mpre[i + 1])
    return float(ap)


def voc_eval(case, label, ovthresh):
    class_recs, npos = {}, 0
    for image in case["images"]:
        of_image = [t for t in case["truths"] if t["image"] == image and t["class"] == label]
        # x1, y1, x2, y2 with inclusive corners
        bbox = np.array([[t["bbox"][0], t["bbox"][1], t["bbox"][0] + t["bbox"][2] - 1, t["bbox"][1] + t["bbox"][3] - 1] for t in of_image])
        difficult = np.array([t["crowd"] for t in of_image]).astype(bool)
        npos = npos + sum(~difficult)
        class_recs[image] = {"bbox": bbox, "difficult": difficult, "det": [False] * len(of_image)}
    if npos == 0:
        return None, None
    found = [d for d in case["detections"] if d["class"] == label]
    if not found:
        return 0.0, 0.0
    confidence = np.array([d["score"] for d in found])
    BB = np.array([[d["bbox"][0], d["bbox"][1], d["bbox"][0] + d["bbox"][2] - 1, d["bbox"][1] + d["bbox"][3] - 1] for d in found])
    # numpy's default sort leaves the order of equal scores open; here it is that of the file
    sorted_ind = np.argsort(-confidence, kind="stable")
    BB = BB[sorted_ind, :]
    image_ids = [found[x]["image"] for x in sorted_ind]
    nd = len(image_ids)
    tp, fp = np.zeros(nd), np.zeros(nd)
    for d in range(nd):
        R = class_recs[image_ids[d]]
        bb, ovmax, BBGT = BB[d, :], -np.inf, R["bbox"]
        if BBGT.size > 0:
            ixmin = np.maximum(BBGT[:, 0], bb[0])
            iymin = np.maximum(BBGT[:, 1], bb[1])
            ixmax = np.minimum(BBGT[:, 2], bb[2])
            iymax = np.minimum(BBGT[:, 3], bb[3])
            iw = np.maximum(ixmax - ixmin + 1.0, 0.0)
            ih = np.maximum(iymax - iymin + 1.0, 0.0)
            inters = iw * ih
            uni = (bb[2] - bb[0] + 1.0) * (bb[3] - bb[1] + 1.0) + (BBGT[:, 2] - BBGT[:, 0] + 1.0) * (BBGT[:, 3] - BBGT[:, 1] + 1.0) - inters
            overlaps = inters / uni
            ovmax, jmax = np.max(overlaps), np.argmax(overlaps)
        if ovmax > ovthresh:
            if not R["difficult"][jmax]:
                if not R["det"][jmax]:
                    tp[d] = 1.0
                    R["det"][jmax] = 1
                else:
                    fp[d] = 1.0
        else:
            fp[d] = 1.0
    fp, tp = np.cumsum(fp), np.cumsum(tp)
    rec = tp / float(npos)
    prec = tp / np.maximum(tp + fp, np.finfo(np.float64).eps)
    return voc_ap(rec, prec, True), voc_ap(rec, prec, False)


def scored(seed):
    c = case(seed)
    c["coco"], c["coco_ap"] = coco_scores(c)
    labels = range(1, c["classes"] + 1)
    c["voc"] = {str(iou): [voc_eval(c, label, iou) for label in labels] for iou in (0.5, 0.7)}
    return c


first, last = int(sys.argv[1]), int(sys.argv[2])
print("[\n" + ",\n".join(json.dumps(scored(seed), separators=(",", ":")) for seed in range(first, last)) + "\n]")
