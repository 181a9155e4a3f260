"""Selective search, fast mode, of frcnn and OpenCV: time and recall on the same pixels, in one run.

Photos of the blood-cell set's test split are resized to a width of 500 pixels once; both read the results. Recall is taken
at the same number of boxes of each photo: frcnn's list is cut to OpenCV's length. The boxes of the two demo photos are
also compared with those that the authors of Fast R-CNN published, in fast mode and in the mode made after them.
"""

import argparse
import json
import os
import statistics
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np

import machine
from run import REPOSITORY, call

WIDTH = 500


def read_boxes(path):
    """The tensors of a safetensors file, whose every tensor is [N, 4] of uint16 here."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    return {
        name: np.frombuffer(body[slice(*tensor["data_offsets"])], "<u2").reshape(-1, 4).astype(float)
        for name, tensor in header.items()
    }


def overlaps(a, b):
    """IoU of each of `a` with each of `b`, corners inclusive."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.clip(high - low + 1, 0, None).prod(2)
    area = lambda boxes: (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    return common / (area(a)[:, None] + area(b)[None] - common)


def objects(annotation, scale):
    """Class and box, 0-based, at the photo's working size."""
    for one in ET.parse(annotation).getroot().iter("object"):
        corners = [float(one.find("bndbox").find(name).text) - 1 for name in ("xmin", "ymin", "xmax", "ymax")]
        low, high = np.array(corners[:2]) * scale, (np.array(corners[2:]) + 1) * scale - 1
        if (high >= low).all():
            yield one.find("name").text, np.concatenate([low, high])


def resize(photo, folder):
    image = cv2.imread(str(photo))
    height, width = image.shape[:2]
    scale = min(1, WIDTH / width)
    if scale < 1:
        image = cv2.resize(image, (WIDTH, round(height * scale)), interpolation=cv2.INTER_AREA)
    path = folder / f"{photo.stem}.png"
    cv2.imwrite(str(path), image)
    return path, scale


def opencv(image):
    """Boxes x1, y1, x2, y2, best first, and milliseconds."""
    begin = time.perf_counter()
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(image)
    search.switchToSelectiveSearchFast()
    boxes = search.process().astype(float)
    elapsed = (time.perf_counter() - begin) * 1e3
    boxes[:, 2:] += boxes[:, :2] - 1
    return boxes, elapsed


def frcnn(binary, photos, out, mode):
    """Boxes by stem, and milliseconds by stem, of photos or folders of them."""
    command = [str(binary), "proposals", *map(str, photos), "--mode", mode, "--out", str(out), "--force"]
    lines = call([*command, "--json", "--threads", "1", "--max-proposals", "1000000"], 1).splitlines()
    times = {Path(line["image"]).stem: line["elapsed_ms"] for line in map(json.loads, lines)}
    return read_boxes(out), times


def recall_table(photos, ours, theirs):
    best = {}
    for stem, truth in photos.items():
        boxes = {"frcnn": ours[stem][: len(theirs[stem])], "OpenCV": theirs[stem]}
        for (name, box) in truth:
            for contender, list_ in boxes.items():
                iou = overlaps(box[None], list_).max() if len(list_) else 0.0
                best.setdefault(name, {}).setdefault(contender, []).append(iou)
    yield "| class | objects | recall@0.5 frcnn | OpenCV | recall@0.7 frcnn | OpenCV | mean best overlap frcnn | OpenCV |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, of in sorted(best.items()):
        a, b = np.array(of["frcnn"]), np.array(of["OpenCV"])
        numbers = [f(x) for f in (lambda v: (v >= 0.5).mean(), lambda v: (v >= 0.7).mean(), np.mean) for x in (a, b)]
        yield f"| {name} | {len(a)} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |"


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/proposals", description=__doc__)
    parser.add_argument("--photos", type=int, default=72, metavar="N", help="the first N of the split; default: 72")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="default: 1; times are medians")
    parser.add_argument("--frcnn", type=Path, default=REPOSITORY / "target/release/frcnn", metavar="BINARY")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "target/peers/proposals", metavar="DIR")
    args = parser.parse_args()
    if not args.frcnn.exists():
        parser.error(f"no {args.frcnn}: cargo build --release first")
    return args


def main():
    args = arguments()
    cv2.setNumThreads(1)
    shared = Path(os.environ.get("FRCNN_SHARED", REPOSITORY.parent / "shared")) / "data"
    data, demo = shared / "bccd", shared / "demo"
    args.out = args.out.resolve()
    folder = args.out / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.iterdir():
        left_over.unlink()
    stems = (data / "ImageSets/Main/test.txt").read_text().split()[: args.photos]
    truth = {}
    for stem in stems:
        _, scale = resize(data / f"JPEGImages/{stem}.jpg", folder)
        truth[stem] = list(objects(data / f"Annotations/{stem}.xml", scale))
    demos = [resize(photo, folder)[0].stem for photo in sorted(demo.glob("*.jpg"))]

    ours, theirs, times = {}, {}, {"frcnn": {}, "OpenCV": {}}
    for _ in range(args.rounds):
        ours, elapsed = frcnn(args.frcnn.resolve(), [folder], args.out / "frcnn.safetensors", "fast")
        for stem, ms in elapsed.items():
            times["frcnn"].setdefault(stem, []).append(ms)
        for stem in [*stems, *demos]:
            theirs[stem], ms = opencv(cv2.imread(str(folder / f"{stem}.png")))
            times["OpenCV"].setdefault(stem, []).append(ms)
    middle = {who: {stem: statistics.median(ms) for stem, ms in of.items()} for who, of in times.items()}
    ratios = [middle["OpenCV"][stem] / middle["frcnn"][stem] for stem in middle["OpenCV"]]
    print(f"{machine.cpu_name()}, one thread, {len(ratios)} photos {WIDTH} pixels wide\n")
    print("| | frcnn | OpenCV | ratio |\n|---|---|---|---|")
    means = [statistics.mean(middle[who].values()) for who in ("frcnn", "OpenCV")]
    print(f"| ms an image, mean | {means[0]:.0f} | {means[1]:.0f} | {means[1] / means[0]:.1f} |")
    print(f"| least and greatest ratio of an image | | | {min(ratios):.1f} to {max(ratios):.1f} |")
    counts = [statistics.mean(len(of[stem]) for stem in stems) for of in (ours, theirs)]
    print(f"| boxes an image, all | {counts[0]:.0f} | {counts[1]:.0f} | |\n")
    print("At OpenCV's number of boxes:\n")
    print("\n".join(recall_table(truth, ours, theirs)))
    demo_photos = [folder / f"{stem}.png" for stem in demos]
    alike, _ = frcnn(args.frcnn.resolve(), demo_photos, args.out / "published.safetensors", "published")
    print("\nThe best overlap with each box that the authors published, mean, at their number of boxes:\n")
    print("| photo | mode | boxes | theirs | all of them | those of 20 pixels or more on both sides |\n|---|---|---|---|---|---|")
    for stem, published in read_boxes(demo / "boxes.safetensors").items():
        sides = (published[:, 2:] - published[:, :2] + 1).min(1)
        for mode, boxes in (("fast", ours[stem]), ("published", alike[stem])):
            best = overlaps(published, boxes[: len(published)]).max(1)
            wide = best[sides >= 20].mean()
            print(f"| {stem} | {mode} | {len(boxes)} | {len(published)} | {best.mean():.3f} | {wide:.3f} |")


if __name__ == "__main__":
    main()
