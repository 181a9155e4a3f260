"""What can be done with detections: drawn, sliced, and handed to what others wrote."""

import json
import subprocess

import numpy as np
import pytest
from conftest import DEMO
from PIL import Image

import frcnn


@pytest.fixture(scope="module")
def found(detector, scene, boxes):
    return detector.detect(scene, boxes)


def test_they_are_a_sequence(found):
    first, last = found[0], found[-1]
    assert first == next(iter(found)) and last == list(found)[-1]
    assert (first.name, first.score) == (found.names[0], found.scores[0]) and first.box == tuple(found.boxes[0].tolist())
    sure = found[found.scores > 0.5]
    assert 0 < len(sure) < len(found) and sure.scores.min() > 0.5 and sure.classes == found.classes
    assert [one.name for one in found[1:3]] == found.names[1:3]
    with pytest.raises(IndexError):
        found[len(found)]


def test_a_picture_is_the_command_s(command, bundle, found, scene, pixels, tmp_path):
    subprocess.run([command, "detect", bundle, scene, "--out", tmp_path], check=True, capture_output=True)
    found.draw(tmp_path / "own.png")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "scene.png").read_bytes()
    with Image.open(tmp_path / "own.png") as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), found.drawn())
    np.testing.assert_array_equal(found.drawn(pixels[:, :, ::-1], "bgr"), found.drawn())
    assert (found.drawn() != pixels).any()
    with pytest.raises(frcnn.ImageError, match=r"own\.jpg: the picture is written as a PNG"):
        found.draw(tmp_path / "own.jpg")


def test_a_picture_never_replaces_its_image(detector, pixels, boxes, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(pixels).save(photo)
    before = photo.read_bytes()
    found = detector.detect(photo, boxes)
    for same in (photo, tmp_path / "." / "photo.png"):
        with pytest.raises(frcnn.ImageError, match=r"photo\.png: is the image itself"):
            found.draw(same)
    assert photo.read_bytes() == before
    found.draw(tmp_path / "drawn.png")


def test_pycocotools_takes_coco_results(found):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = found.to_coco(7)
    assert set(results[0]) == {"image_id", "category_id", "bbox", "score"}
    truth = COCO()
    objects = [
        {"id": i + 1, "image_id": 7, "category_id": one["category_id"], "bbox": one["bbox"], "iscrowd": 0}
        | {"area": one["bbox"][2] * one["bbox"][3]}
        for i, one in enumerate(results)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(found.classes) if i]
    truth.dataset = {"images": [{"id": 7}], "annotations": objects, "categories": categories}
    truth.createIndex()
    scores = COCOeval(truth, truth.loadRes(results), "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


def test_coco_s_boxes_and_ids(found):
    ids = {name: 100 + i for i, name in enumerate(found.classes)}
    for record, one in zip(found.to_coco("a", ids), found, strict=True):
        x1, y1, x2, y2 = one.box
        assert record["bbox"] == [x1, y1, x2 - x1 + 1, y2 - y1 + 1]
        assert record["category_id"] == ids[one.name] and record["image_id"] == "a"
    with pytest.raises(frcnn.OptionError, match="has no id for"):
        found.to_coco(1, {})


def test_coco_s_boxes_of_continuous_corners(tmp_path, scene, boxes):
    manifest = json.loads((DEMO / "manifest.json").read_text()) | {"box_width_offset": 0, "nms_width_offset": 0}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    frcnn.compile(DEMO / "model.onnx", tmp_path / "demo.frcnn", manifest=tmp_path / "manifest.json")
    found = frcnn.Detector(tmp_path / "demo.frcnn").detect(scene, boxes)
    assert len(found) and found[:1].box_width_offset == 0
    for record, one in zip(found.to_coco(1), found, strict=True):
        x1, y1, x2, y2 = one.box
        assert record["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_corners_are_pixels_unless_both_offsets_are_0(tmp_path, scene, boxes):
    manifest = json.loads((DEMO / "manifest.json").read_text()) | {"box_width_offset": 0, "nms_width_offset": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    frcnn.compile(DEMO / "model.onnx", tmp_path / "demo.frcnn", manifest=tmp_path / "manifest.json")
    assert frcnn.Detector(tmp_path / "demo.frcnn").detect(scene, boxes).box_width_offset == 1


def test_supervision_takes_them(found):
    import supervision

    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections) and len(theirs) == len(found)
    np.testing.assert_array_equal(theirs.xyxy, found.boxes)
    np.testing.assert_array_equal(theirs.confidence, found.scores)
    np.testing.assert_array_equal(theirs.class_id, found.labels)
    assert theirs["class_name"].tolist() == found.names
    sure = theirs[theirs.confidence > 0.7]
    assert len(sure) == (found.scores > 0.7).sum()
    # None are as good as some.
    assert len(found[:0].to_supervision()) == 0
