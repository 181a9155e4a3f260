"""frcnn.compile makes the bundle that the command makes."""

import json
import shutil
import subprocess

import pytest
from conftest import DEMO, same

import frcnn

MODEL = DEMO / "model.onnx"


@pytest.mark.parametrize(
    ("keywords", "options"),
    [
        ({}, []),
        ({"svd": 0.9}, ["--svd-energy", "0.9"]),
        ({"svd": {"fc6": 16, "fc7": 8}, "precision": "f16"}, ["--svd", "fc6=16,fc7=8", "--precision", "f16"]),
        ({"precision": "int8", "calibrate": [DEMO / "scene.jpg"]}, ["--precision", "int8", "--calibrate", "PHOTOS"]),
    ],
)
def test_the_command_writes_the_same_bytes(command, keywords, options, tmp_path):
    own, theirs, report = (tmp_path / name for name in ("own.frcnn", "theirs.frcnn", "report.json"))
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(DEMO / "scene.jpg", photos)
    options = [str(photos) if option == "PHOTOS" else option for option in options]
    said = frcnn.compile(MODEL, own, **keywords)
    subprocess.run([command, "compile", MODEL, "-o", theirs, "--report", report, "--quiet", *options], check=True)
    assert own.read_bytes() == theirs.read_bytes()
    assert said == json.loads(report.read_text()) and said.file_bytes == own.stat().st_size
    assert "reads bgr in 0..255" in str(said) and f"{said.file_bytes} bytes" in str(said)
    assert ("factored to rank" in str(said)) == ("svd" in keywords)
    if "calibrate" in keywords:
        assert said["found_again"]["again"] > 0
        again = tmp_path / "again.frcnn"
        frcnn.compile(MODEL, again, precision="int8", calibrate=photos)
        assert again.read_bytes() == own.read_bytes()


def test_classes_in_place_of_a_manifest(tmp_path):
    model = tmp_path / "model.onnx"
    shutil.copy(MODEL, model)
    with pytest.raises(frcnn.CompileError, match="no manifest says which classes"):
        frcnn.compile(model, tmp_path / "a.frcnn")
    frcnn.compile(model, tmp_path / "a.frcnn", classes=["a", "b", "c", "d", "e", "f"])
    assert frcnn.Detector(tmp_path / "a.frcnn").classes == ("__background__", "a", "b", "c", "d", "e", "f")
    frcnn.compile(model, tmp_path / "b.frcnn", manifest=DEMO / "manifest.json")
    assert frcnn.Detector(tmp_path / "b.frcnn").classes[1:3] == ("box", "cross")


@pytest.mark.parametrize(
    ("kind", "word", "model", "keywords"),
    [
        (frcnn.CompileError, "absent.onnx", "absent.onnx", {}),
        (frcnn.CompileError, "scene.jpg: not an ONNX model", DEMO / "scene.jpg", {"classes": ["a"]}),
        (frcnn.OptionError, "f32, ", MODEL, {"precision": "f8"}),
        (frcnn.OptionError, "give photos", MODEL, {"precision": "int8"}),
        (frcnn.OptionError, "calibrate is for precision int8", MODEL, {"calibrate": DEMO}),
        (frcnn.OptionError, "above 0 and at most 1", MODEL, {"svd": 1.5}),
        (frcnn.OptionError, "LAYER=RANK", MODEL, {"svd": "fc6"}),
        (frcnn.OptionError, "give one of them", MODEL, {"classes": ["a"], "manifest": DEMO / "manifest.json"}),
        (frcnn.CompileError, "fc9", MODEL, {"svd": {"fc9": 4}}),
    ],
)
def test_what_cannot_be_compiled(kind, word, model, keywords, tmp_path):
    out = tmp_path / "out.frcnn"
    with pytest.raises(kind) as raised:
        frcnn.compile(model, out, **keywords)
    assert word in str(raised.value) and not out.exists()


def test_where_nothing_can_be_written(tmp_path):
    model = tmp_path / "model.onnx"
    shutil.copy(MODEL, model)
    for out, word in [(model, "is read as well"), (tmp_path / "no/a.frcnn", "does not exist"), (tmp_path, "is a folder")]:
        with pytest.raises(frcnn.OptionError, match=word):
            frcnn.compile(model, out)
    assert model.read_bytes() == MODEL.read_bytes()


def test_a_compiled_bundle_detects(bundle, detector, pixels, boxes, tmp_path):
    again = tmp_path / "again.frcnn"
    frcnn.compile(MODEL, again)
    assert again.read_bytes() == bundle.read_bytes()
    same(frcnn.Detector(again).detect(pixels, boxes), detector.detect(pixels, boxes))
