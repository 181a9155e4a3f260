"""Stages by name, and comparisons."""

import json
import resource
import subprocess

import numpy as np
import pytest
from conftest import ANOTHER_CPU, DEMO, ROOT, agree

import frcnn

REFERENCE = ROOT / "tests/reference/demo.safetensors"
NAMES = ["data", "rois", "conv", "pool5", "fc6", "fc7", "cls_score", "cls_prob", "bbox_pred"]


@pytest.fixture(scope="module")
def stages(detector, pixels, boxes):
    return detector.stages(pixels, boxes[:60])


def test_stages_have_the_contract_s_names_and_layouts(stages):
    assert set(stages) == set(NAMES) and list(stages)[:6] == NAMES[:6]
    assert stages["data"].shape == (1, 3, 240, 320) and stages["rois"].shape == (60, 5)
    assert stages["conv"].shape == (1, 64, 31, 41) and stages["pool5"].shape == (60, 64, 6, 6)
    assert stages["cls_prob"].shape == (60, 7) and stages["bbox_pred"].shape == (60, 28)
    assert all(tensor.dtype == np.float32 for tensor in stages.values())
    np.testing.assert_allclose(stages["cls_prob"].sum(1), 1, rtol=1e-5)
    exp = np.exp(stages["cls_score"] - stages["cls_score"].max(1, keepdims=True))
    np.testing.assert_allclose(stages["cls_prob"], exp / exp.sum(1, keepdims=True), atol=1e-6)
    assert stages.metadata["im_scale"] == "0.5" and stages.metadata["library"].startswith("frcnn ")


def test_stages_do_not_depend_on_how_the_image_comes(detector, stages, pixels, scene, boxes):
    for other in (detector.stages(scene, boxes[:60]), detector.stages(pixels[:, :, ::-1], boxes[:60], channels="bgr")):
        for name, tensor in stages.items():
            np.testing.assert_array_equal(other[name], tensor)
    assert len(detector.stages(pixels, max_proposals=30)["rois"]) <= 30


def without_last_bits(said):
    """Without what last bits decide, where another CPU has computed one side: how many differ, and which value is furthest off."""
    if ANOTHER_CPU and isinstance(said, dict):
        return {key: without_last_bits(one) for key, one in said.items() if key not in ("ulps", "worst")}
    if ANOTHER_CPU and isinstance(said, list):
        return [without_last_bits(one) for one in said]
    return said


def test_libtorch_s_tensors_agree(command, detector, bundle, tmp_path):
    compared = frcnn.compare(REFERENCE, detector, image=DEMO / "scene.jpg")
    assert compared.agrees and list(compared.stages) == [name for name in NAMES if name != "rois"]
    assert compared.verdict == "All stages agree within their tolerances."
    assert compared["detections"]["missing"] == compared["detections"]["extra"] == 0
    # The command says the same.
    arguments = ["compare", bundle, "--reference", REFERENCE, "--image", DEMO / "scene.jpg", "--json"]
    said = json.loads(subprocess.run([command, *arguments], capture_output=True, check=True).stdout)["images"][0]
    for one in ("stages", "verdict", "not_compared", "detections"):
        agree(without_last_bits(said[one]), without_last_bits(compared[one]))
    text = str(compared)
    assert "fc6" in text and "0 are missing" in text and compared.verdict in text
    page = compared.html(tmp_path / "page.html", title="demo <b>")
    assert (tmp_path / "page.html").read_text() == page and "demo &#60;b&#62;" in page and "libtorch" in page
    assert "<iframe" in compared._repr_html_()


def test_what_is_saved_is_a_reference(command, stages, detector, bundle, scene, tmp_path):
    path = tmp_path / "stages.safetensors"
    stages.save(path)
    arguments = ["compare", bundle, "--reference", path, "--image", scene, "--json"]
    said = json.loads(subprocess.run([command, *arguments], capture_output=True, check=True).stdout)
    assert said["agrees"]
    assert ANOTHER_CPU or all(one["difference"]["max_abs"] == 0 for one in said["images"][0]["stages"])
    compared = frcnn.compare(path, stages)
    assert compared.agrees and set(compared.stages) == set(NAMES)


def test_a_file_that_cannot_be_written_is_named_and_stays_as_it_was(stages, tmp_path):
    """As where the disk is full: files may be no longer than this."""
    path, limits = tmp_path / "kept", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_text("before")
    compared = frcnn.compare(stages, dict(stages))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        for save in (stages.save, compared.html):
            with pytest.raises(OSError, match="kept"):
                save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_the_stage_that_makes_an_error_is_named(stages, detector, scene):
    wrong = frcnn.Stages({**stages, "fc6": stages["fc6"] * 1.01}, stages.metadata)
    compared = frcnn.compare(wrong, detector, image=scene)
    assert not compared.agrees and "fc6 does not (relative error" in compared.verdict
    assert frcnn.compare(wrong, detector, image=scene, tolerance=0.02).agrees
    assert frcnn.compare(wrong, detector, image=scene, tolerance={"fc6": 0.02, "fc7": 0.02}).agrees
    with pytest.raises(frcnn.OptionError, match="stage `fc9` was not compared; there are data, "):
        frcnn.compare(wrong, detector, image=scene, tolerance={"fc9": 1})


def test_tensors_alone(stages, detector):
    same = frcnn.compare(stages, dict(stages))
    assert same.agrees and same["detections"] is None
    with_boxes = frcnn.compare(stages, stages, detector=detector)
    assert with_boxes["detections"]["matched"] > 0
    broken = {**stages, "fc7": stages["fc7"].copy()}
    broken["fc7"][3, 5] = np.nan
    for one, other in [(stages, broken), (broken, stages)]:
        assert not frcnn.compare(one, other).agrees and "inf" in str(frcnn.compare(one, other))
    other = frcnn.compare(stages, {"fc6": stages["fc6"][:, :-1]})
    assert not other.agrees and "fc6" in other.verdict
    # Half precision is allowed what it rounds.
    half = {name: tensor.astype(np.float16) for name, tensor in stages.items()}
    assert frcnn.compare(half, stages).agrees
    assert frcnn.compare({"fc6": stages["fc6"].astype(np.float64)}, stages).agrees


def test_two_bundles(detector, scene, boxes, tmp_path):
    small = tmp_path / "small.frcnn"
    frcnn.compile(DEMO / "model.onnx", small, svd={"fc6": 8})
    compared = frcnn.compare(detector, frcnn.Detector(small), image=scene, boxes=boxes[:80])
    assert not compared.agrees and "fc6" in compared.verdict and compared.stages["conv"]["difference"]["max_abs"] == 0
    assert frcnn.compare(detector, detector, image=scene).agrees
    with pytest.raises(frcnn.OptionError, match="on an image"):
        frcnn.compare(detector, detector)
    with pytest.raises(frcnn.OptionError, match="come first"):
        frcnn.compare(detector, {})
    with pytest.raises(TypeError, match="not a int"):
        frcnn.compare(detector, 3)
