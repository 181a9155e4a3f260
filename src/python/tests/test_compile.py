"""frcnn.compile makes the bundle that the command makes."""

import json
import shutil
import subprocess

import pytest
from conftest import DEMO, ROOT, agree, few_scenes, same, same_bundle

import frcnn

MODEL = DEMO / "model.onnx"
SCENES = ROOT / "benches/paper/scenes"


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
    same_bundle(own, theirs)
    agree(said, json.loads(report.read_text()))
    assert said.file_bytes == own.stat().st_size
    assert "reads bgr in 0..255" in str(said) and f"{said.file_bytes} bytes" in str(said)
    assert ("factored to rank" in str(said)) == ("svd" in keywords)
    if "calibrate" in keywords:
        assert said["found_again"]["again"] > 0
        again = tmp_path / "again.frcnn"
        frcnn.compile(MODEL, again, precision="int8", calibrate=photos)
        assert again.read_bytes() == own.read_bytes()


@pytest.mark.parametrize(
    ("keywords", "options", "words"),
    [
        ({"svd": "auto", "max_drop": 20}, ["--svd", "auto", "--max-drop", "20"], "factored to rank"),
        ({"precision": "auto", "board": "raspberry-pi-4"}, ["--precision", "auto", "--for", "raspberry-pi-4"], "for raspberry-pi-4: "),
        ({"cascade": "auto", "max_drop": 5}, ["--cascade", "auto", "--max-drop", "5"], "judge"),
        ({"cascade": {"rank": 8, "keep": 0.02}}, ["--cascade", "rank=8,keep=0.02"], "points of mAP lost on 6 photos"),
    ],
)
def test_what_is_chosen_by_photos_is_what_the_command_chooses(command, keywords, options, words, tmp_path):
    own, theirs, report = (tmp_path / name for name in ("own.frcnn", "theirs.frcnn", "report.json"))
    scenes = few_scenes(tmp_path / "scenes")
    said = frcnn.compile(MODEL, own, data=scenes, **keywords)
    options = [*options, "--data", scenes, "--report", report, "--quiet"]
    subprocess.run([command, "compile", MODEL, "-o", theirs, *options], check=True)
    same_bundle(own, theirs)
    expected = json.loads(report.read_text())
    for one in (said, expected):
        if one.get("cascade"):
            del one["cascade"]["heads"]  # times
    agree(said, expected)
    assert words in str(said), str(said)


def test_for_a_board(command, tmp_path):
    own, theirs = tmp_path / "own.frcnn", tmp_path / "theirs.frcnn"
    of_boards = {"raspberry-pi-5": {"precision": "f16"}, "raspberry-pi-4": {"precision": "int8", "calibrate": [DEMO / "scene.jpg"]}}
    for board, keywords in of_boards.items():
        said = frcnn.compile(MODEL, own, board=board, **keywords)
        photos = tmp_path / "photos"
        photos.mkdir(exist_ok=True)
        shutil.copy(DEMO / "scene.jpg", photos)
        options = ["--calibrate", photos] if "calibrate" in keywords else []
        options = ["--precision", keywords["precision"], "--for", board, *options]
        subprocess.run([command, "compile", MODEL, "-o", theirs, "--quiet", *options], check=True)
        same_bundle(own, theirs)
        assert ("keep an exacter type" in str(said)) == ("exacter" in said)
    with pytest.raises(frcnn.Error, match="f16 gains no layer of this network any time on raspberry-pi-4"):
        frcnn.compile(MODEL, own, precision="f16", board="raspberry-pi-4")
    by_hand = frcnn.compile(MODEL, own, cascade={"rank": 8, "keep": 0.02})
    assert by_hand["file_bytes"] == own.stat().st_size and "cascade" not in by_hand


def test_doubts_about_the_data_set_are_warned_of(tmp_path):
    scenes = few_scenes(tmp_path / "scenes")
    name = (scenes / "ImageSets/Main/test.txt").read_text().split()[0]
    page = scenes / f"Annotations/{name}.xml"
    page.write_text(page.read_text().replace("<name>", "<name>strange ", 1))
    with pytest.warns(UserWarning, match="does not know, which count as missed: strange"):
        frcnn.compile(MODEL, tmp_path / "a.frcnn", cascade={"rank": 8, "keep": 0.02}, data=scenes)


def test_nothing_is_chosen_by_photos_on_which_nothing_is_found(tmp_path):
    scenes = few_scenes(tmp_path / "scenes")
    for page in (scenes / "Annotations").glob("*.xml"):
        page.write_text(page.read_text().replace("<name>", "<name>strange "))
    with pytest.raises(frcnn.Error, match=r"finds none of the objects that the data set has \(mAP 0\)"):
        frcnn.compile(MODEL, tmp_path / "a.frcnn", svd="auto", data=scenes)
    assert not (tmp_path / "a.frcnn").exists()


def test_a_cascade_that_drops_objects_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="keep=0.9 drops"):
        frcnn.compile(MODEL, tmp_path / "a.frcnn", cascade={"rank": 8, "keep": 0.9})


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
        (frcnn.OptionError, "svd auto: name the data set", MODEL, {"svd": "auto"}),
        (frcnn.OptionError, "precision auto: name the data set", MODEL, {"precision": "auto"}),
        (frcnn.OptionError, "cascade auto: name the data set", MODEL, {"cascade": "auto"}),
        (frcnn.OptionError, "let svd auto find the ranks first", MODEL, {"svd": "auto", "precision": "auto", "data": SCENES}),
        (frcnn.OptionError, "data is for svd auto", MODEL, {"data": SCENES}),
        (frcnn.OptionError, "max_drop is for svd auto", MODEL, {"max_drop": 0.3, "cascade": {"rank": 8, "keep": 0.1}}),
        (frcnn.OptionError, "0 to 100", MODEL, {"max_drop": -1, "svd": "auto", "data": SCENES}),
        (frcnn.OptionError, "there is no board `pi`", MODEL, {"precision": "auto", "board": "pi", "data": SCENES}),
        (frcnn.OptionError, "board is for precision auto", MODEL, {"board": "rk3588"}),
        (frcnn.OptionError, '{"rank": 64, "keep": 0.02}', MODEL, {"cascade": {"rank": 8}}),
        (frcnn.OptionError, '{"rank": 64, "keep": 0.02}', MODEL, {"cascade": "rank=8"}),
        (frcnn.OptionError, '{"rank": 64, "keep": 0.02}', MODEL, {"cascade": {"rank": 8, "keep": float("nan")}}),
        (frcnn.OptionError, "cascade: ", MODEL, {"cascade": {"rank": 9999, "keep": 0.1}}),
        (frcnn.OptionError, "nothing would be found", MODEL, {"cascade": {"rank": 8, "keep": 1}}),
        (frcnn.OptionError, "split: ", MODEL, {"split": 3}),
        (frcnn.OptionError, "svd is nan", MODEL, {"svd": float("nan")}),
        (frcnn.OptionError, "a class has no name", MODEL, {"classes": ["a", ""]}),
        (frcnn.OptionError, "a list of names, such as ['cat']", MODEL, {"classes": "cat"}),
        (frcnn.Error, "absent.txt", MODEL, {"cascade": "auto", "data": SCENES, "split": "absent"}),
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
    photo = tmp_path / "photo.jpg"
    shutil.copy(DEMO / "scene.jpg", photo)
    for calibrate in (photo, tmp_path):
        with pytest.raises(frcnn.OptionError, match="photo.jpg: is read as well"):
            frcnn.compile(model, photo, precision="int8", calibrate=calibrate)
    assert photo.read_bytes() == (DEMO / "scene.jpg").read_bytes()


def test_a_compiled_bundle_detects(bundle, detector, pixels, boxes, tmp_path):
    again = tmp_path / "again.frcnn"
    frcnn.compile(MODEL, again)
    assert again.read_bytes() == bundle.read_bytes()
    same(frcnn.Detector(again).detect(pixels, boxes), detector.detect(pixels, boxes))
