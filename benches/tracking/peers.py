"""The trackers: frames of detections to boxes with ids."""

import subprocess

import numpy as np
from norfair import Detection, Tracker

from sequences import HEIGHT, WIDTH


def frcnn(follow, frames):
    """By the example `follow` of src/tracks."""
    lines = [f"S {WIDTH} {HEIGHT}"]
    for frame in frames:
        lines.append(f"F {frame.time!r}")
        lines += [f"D 1 {score!r} " + " ".join(repr(float(c)) for c in box) for score, box in frame.found]
    done = subprocess.run([follow], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    boxes = [[] for _ in frames]
    for line in done.stdout.splitlines():
        index, number, *corners = line.split()
        boxes[int(index)].append((int(number), np.array(corners, float)))
    return boxes


# Ways of norfair: its distance and the threshold of that, and the least score of a detection.
NORFAIR = {
    f"{name}, score {least}": (distance, threshold, least)
    for name, distance, threshold in (("iou 0.7", "iou", 0.7), ("corners 100 px", "euclidean", 100))
    for least in (0.25, 0.5)
}


def norfair(way, frames):
    """Twice: with the objects that are expected and not seen, as norfair gives them, and without."""
    distance, threshold, least = NORFAIR[way]
    tracker = Tracker(distance_function=distance, distance_threshold=threshold)
    expected, seen = [], []
    for frame in frames:
        found = [Detection(box.reshape(2, 2), np.array([s, s])) for s, box in frame.found if s >= least]
        tracked = tracker.update(found)
        box = lambda t: (t.id, t.estimate.reshape(4))
        expected.append([box(t) for t in tracked])
        seen.append([box(t) for t in tracked if any(t.last_detection is d for d in found)])
    return {way: expected, f"{way}, seen only": seen}
