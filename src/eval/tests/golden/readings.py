"""Prints data sets and results in forms that people have, and what pycocotools makes of each, as JSON; `readings.json`
beside it is its output.

    pip install numpy pycocotools && python3 src/eval/tests/golden/readings.py > src/eval/tests/golden/readings.json

Each case is a pair of files as text. `ap` is pycocotools' score, null where it has none (-1), and `error` the name of what
it raised in its place.
"""

import contextlib
import io
import json
import os
import tempfile

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def truth():
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in (1, 2, 3)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 1200, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [50, 20, 30, 40], "area": 900, "iscrowd": 0},
            {"id": 3, "image_id": 2, "category_id": 2, "bbox": [5, 5, 50, 50], "area": 2500, "iscrowd": 0},
            {"id": 4, "image_id": 3, "category_id": 1, "bbox": [0, 0, 90, 70], "area": 6300, "iscrowd": 1},
            {"id": 5, "image_id": 3, "category_id": 1, "bbox": [20, 20, 20, 20], "area": 400, "iscrowd": 0},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cow"}],
    }


def results():
    return [
        {"image_id": 1, "category_id": 1, "bbox": [11, 21, 30, 38], "score": 0.9},
        {"image_id": 1, "category_id": 2, "bbox": [48, 20, 30, 40], "score": 0.3},
        {"image_id": 1, "category_id": 1, "bbox": [60, 20, 30, 40], "score": 0.95},
        {"image_id": 2, "category_id": 2, "bbox": [5, 9, 50, 50], "score": 0.8},
        {"image_id": 2, "category_id": 3, "bbox": [5, 9, 50, 50], "score": 0.8},
        {"image_id": 3, "category_id": 1, "bbox": [1, 1, 40, 40], "score": 0.7},
        {"image_id": 3, "category_id": 1, "bbox": [20, 20, 20, 19], "score": 0.6},
    ]


def every(records, field, change):
    for record in records:
        if field in record:
            record[field] = change(record[field])


def cases():
    def case(name, change=None):
        t, r = truth(), results()
        if change:
            change(t, r)
        return name, t, r

    def both(table, key, change):
        def apply(t, r):
            every(t[table], "id", change)
            every(t["annotations"], key, change)
            every(r, key, change)
        return apply

    def annotations(field, change):
        return lambda t, r: every(t["annotations"], field, change)

    def one(position, field, value):
        return lambda t, r: t["annotations"][position].update({field: value})

    def without(table, field):
        def apply(t, r):
            for record in t[table]:
                record.pop(field, None)
        return apply

    def result(position, field, value):
        return lambda t, r: r[position].update({field: value})

    yield case("as it is")
    for name, change in [("texts", str), ("padded texts", lambda v: f"{v:012d}"), ("floats", float), ("names", lambda v: "n" + "abc"[v - 1]),
                         ("large", lambda v: v + 2**62), ("halves", lambda v: v + 0.5), ("negative", lambda v: -v)]:
        yield case(f"image ids are {name}", both("images", "image_id", change))
        yield case(f"category ids are {name}", both("categories", "category_id", change))
    yield case("annotation ids are texts", lambda t, r: every(t["annotations"], "id", str))
    yield case("an image id is true", lambda t, r: (t["images"][0].update(id=True), t["annotations"][0].update(image_id=True)))
    yield case("results have floats for ids", lambda t, r: (every(r, "image_id", float), every(r, "category_id", float)))
    for name, change in [("booleans", bool), ("floats", float), ("twos", lambda v: 2 * v), ("minus", lambda v: -v), ("halves", lambda v: 0.5 * v)]:
        yield case(f"iscrowd are {name}", annotations("iscrowd", change))
    yield case("no file names", without("images", "file_name"))
    yield case("no sizes", without("images", "width"))
    yield case("no category names", without("categories", "name"))
    yield case("one file name for all", lambda t, r: every(t["images"], "file_name", lambda _: "a.jpg"))
    yield case("one category name for all", lambda t, r: every(t["categories"], "name", lambda _: "x"))
    yield case("an image twice", lambda t, r: t["images"].append(dict(t["images"][0])))
    yield case("a category twice", lambda t, r: t["categories"].append(dict(t["categories"][0])))
    yield case("boxes of texts", annotations("bbox", lambda b: [str(v) for v in b]))
    yield case("an unknown image", one(1, "image_id", 77))
    yield case("an unknown category", one(1, "category_id", 77))
    yield case("a box of another category has no values", lambda t, r: (t["annotations"][1].update(category_id=77), t["annotations"][1].pop("bbox")))
    for name, box in [("no width", [10, 20, 0, 40]), ("negative width", [40, 20, -30, 40]), ("negative sides", [40, 60, -30, -40]), ("huge", [0, 0, 1e9, 1e9]),
                      ("outside", [-500, -500, 30, 40])]:
        yield case(f"a box has {name}", one(0, "bbox", box))
        yield case(f"a detection has {name}", result(0, "bbox", box))
        yield case(f"a crowd has {name}", one(3, "bbox", box))
    for area in (0, -5, 1e12, 1024, 9216, True):
        yield case(f"an area is {area}", one(0, "area", area))
    for name, score in [("negative", -0.5), ("large", 1e300), ("true", True), ("whole", 1)]:
        yield case(f"a score is {name}", result(1, "score", score))
    yield case("equal scores", lambda t, r: every(r, "score", lambda _: 0.5))
    yield case("more fields", lambda t, r: (t.update(info={"a": [1]}, licenses=None), every(r, "score", lambda s: s), r[0].update(id=7, area="x", segmentation=[])))
    # What pycocotools cannot read.
    for name, box in [("three numbers", [1, 2, 3]), ("five numbers", [1, 2, 3, 4, 5]), ("none", []), ("a text", "abcd"), ("null", None)]:
        yield case(f"a box has {name}", one(0, "bbox", box))
    yield case("a detection's box has three numbers", result(2, "bbox", [1, 2, 3]))
    yield case("a detection's box has five numbers", result(2, "bbox", [1, 2, 3, 4, 5]))
    yield case("a detection's box has texts", result(2, "bbox", ["1", "2", "3", "4"]))
    yield case("a score is a text", result(2, "score", "0.5"))
    yield case("a score is null", result(2, "score", None))
    yield case("an area is a text", one(0, "area", "1200"))
    yield case("an image id is a list", lambda t, r: t["images"][0].update(id=[1]))
    yield case("a detection of an unknown image", result(0, "image_id", 9))
    yield case("no images", lambda t, r: t.pop("images"))
    yield case("no categories", lambda t, r: t.pop("categories"))
    for table, field in [("images", "id"), ("categories", "id"), ("annotations", "id"), ("annotations", "image_id"), ("annotations", "category_id"), ("annotations", "bbox")]:
        yield case(f"{table} without {field}", without(table, field))
    for field in ("image_id", "category_id", "bbox", "score"):
        yield case(f"a detection without {field}", lambda t, r, field=field: r[3].pop(field))


def score(t, r):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        paths = [os.path.join(folder, name) for name in ("t.json", "r.json")]
        for path, text in zip(paths, (t, r)):
            with open(path, "w") as file:
                file.write(text)
        try:
            scorer = COCO(paths[0])
            scorer = COCOeval(scorer, scorer.loadRes(paths[1]), "bbox")
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
        except Exception as error:
            return None, type(error).__name__
        ap = float(scorer.stats[0])
        return (None if ap == -1 or np.isnan(ap) else ap), None


found = []
for name, t, r in cases():
    t, r = json.dumps(t), json.dumps(r)
    ap, error = score(t, r)
    found.append(json.dumps({"name": name, "truth": t, "results": r, "ap": ap, "error": error}))
print("[\n" + ",\n".join(found) + "\n]")
