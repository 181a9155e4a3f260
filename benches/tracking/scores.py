"""MOTA, IDF1 and HOTA by trackeval."""

import contextlib
import io

import numpy as np
from trackeval.metrics import CLEAR, HOTA, Identity


def overlaps(a, b):
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(2)
    area = lambda boxes: (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
    return inside / np.maximum(area(a)[:, None] + area(b)[None] - inside, 1e-9)


def score(frames, tracked):
    """In per cent, and the number of id switches."""
    truth = [frame.truth for frame in frames]
    numbers = [{number: i for i, number in enumerate(sorted({n for frame in side for n, _ in frame}))} for side in (truth, tracked)]
    ids = [[np.array([names[n] for n, _ in frame], int) for frame in side] for names, side in zip(numbers, (truth, tracked))]
    boxes = [[np.array([b for _, b in frame], float).reshape(-1, 4) for frame in side] for side in (truth, tracked)]
    data = {
        "num_timesteps": len(frames),
        "num_gt_ids": len(numbers[0]),
        "num_tracker_ids": len(numbers[1]),
        "num_gt_dets": sum(map(len, ids[0])),
        "num_tracker_dets": sum(map(len, ids[1])),
        "gt_ids": ids[0],
        "tracker_ids": ids[1],
        "similarity_scores": [overlaps(a, b) for a, b in zip(*boxes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
        identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
        hota = HOTA().eval_sequence(data)
    return {
        "MOTA": 100 * float(clear["MOTA"]),
        "IDF1": 100 * float(identity["IDF1"]),
        "HOTA": 100 * float(np.mean(hota["HOTA"])),
        "switches": int(clear["IDSW"]),
        "FP": int(clear["CLR_FP"]),
        "FN": int(clear["CLR_FN"]),
        "LocA": 100 * float(np.mean(hota["LocA"])),
    }
