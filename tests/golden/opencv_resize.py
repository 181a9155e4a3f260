"""Writes opencv_resize.json beside itself: what OpenCV's resize gives for images that the test makes, too.

    pip install numpy opencv-python-headless && python3 tests/golden/opencv_resize.py
"""

import json
import pathlib

import cv2
import numpy as np

MEANS = np.array([102.9801, 115.9465, 122.7717], np.float32)
# width, height, short side, longest side
CASES = [
    (64, 48, 48, 1000),
    (50, 37, 60, 1000),
    (37, 50, 23, 1000),
    (333, 97, 61, 150),
    (7, 5, 40, 1000),
    (200, 150, 75, 1000),
    (101, 67, 67, 1000),
    (90, 61, 122, 2000),
    (640, 427, 600, 1000),
]


def image(width, height):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return ((x * x * 3 + y * y * 5 + x * y * 7 + c * 61) % 256).astype(np.uint8)  # RGB


def case(width, height, short_side, max_long_side):
    bgr = image(width, height)[:, :, ::-1].astype(np.float32) - MEANS
    scale = short_side / min(height, width)
    if np.round(scale * max(height, width)) > max_long_side:
        scale = max_long_side / max(height, width)
    blob = cv2.resize(bgr, None, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    rows, columns = blob.shape[:2]
    values = blob.reshape(-1)
    corners = [0, (columns - 1) * 3, (rows - 1) * columns * 3, len(values) - 1]
    index = sorted({*corners, *(int(i) for i in np.linspace(0, len(values) - 1, 60))})
    return {
        "width": width,
        "height": height,
        "short_side": short_side,
        "max_long_side": max_long_side,
        "blob": [rows, columns],
        "index": index,
        "value": [round(float(values[i]), 5) for i in index],
    }


lines = ",\n".join("  " + json.dumps(case(*c)) for c in CASES)
made_by = json.dumps(f"OpenCV {cv2.__version__}, resize(INTER_LINEAR, fx = fy = im_scale)")
out = pathlib.Path(__file__).with_suffix(".json")
out.write_text(f'{{\n "made_by": {made_by},\n "cases": [\n{lines}\n ]\n}}\n')
