"""Proposals, streams, data sets, types."""

import gc
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, same
from PIL import Image

import frcnn


def test_proposals_are_boxes_in_the_image_for_any_number_of_threads(pixels, boxes, scene):
    assert boxes.dtype == np.float32 and boxes.shape[1] == 4 and 100 < len(boxes) <= 2000
    assert (boxes >= 0).all() and (boxes[:, 2] < 640).all() and (boxes[:, 3] < 480).all()
    np.testing.assert_array_equal(frcnn.propose(pixels, threads=1), boxes)
    np.testing.assert_array_equal(frcnn.propose(scene), boxes)
    np.testing.assert_array_equal(frcnn.propose(pixels, max_proposals=20), boxes[:20])
    assert len(frcnn.propose(pixels, "grid")) > 10
    with pytest.raises(frcnn.OptionError, match='"rpn"'):
        frcnn.propose(pixels, "rpn")


def test_a_stream_keeps_what_has_not_changed(detector, pixels, boxes):
    stream = detector.stream(tolerance=0)
    assert stream.composite is None
    same(stream.detect(pixels, boxes), detector.detect(pixels, boxes))
    assert stream.reuse["trunk_share"] == 1
    same(stream.detect(pixels, boxes), detector.detect(pixels, boxes))
    assert stream.reuse["cells_changed"] == 0 == stream.reuse["trunk_share"]
    # A shape goes elsewhere.
    moved = pixels.copy()
    moved[300:420, 500:620] = pixels[100:220, 100:220]
    same(stream.detect(moved, boxes), detector.detect(moved, boxes))
    assert 0 < stream.reuse["trunk_share"] < 1
    np.testing.assert_array_equal(stream.composite, moved)
    assert stream.detect(moved[:, :, ::-1], channels="bgr").proposals_from == "motion"
    with pytest.raises(frcnn.OptionError, match="tolerance"):
        frcnn.Stream(detector, tolerance=-1)


def test_what_stops_is_background_by_the_time_of_capture(detector):
    still = np.full((96, 128, 3), 90, np.uint8)
    parked = still.copy()
    parked[30:66, 40:80] = (200, 40, 40)

    def absorbed(seconds):
        """Of which frame with the square on there is no box."""
        stream = detector.stream()
        time = lambda frame: None if seconds is None else frame * seconds
        assert all(stream.detect(still, time=time(frame)).proposals == 0 for frame in range(15))
        return next((frame for frame in range(80) if stream.detect(parked, time=time(15 + frame), max_proposals=1).proposals == 0), None)

    assert 30 < absorbed(1.0) < 80
    assert absorbed(None) is None
    for time in (-1.0, float("nan"), 1e300):
        with pytest.raises(frcnn.OptionError):
            detector.stream().detect(still, time=time)


@pytest.fixture(scope="module")
def dataset(detector, pixels, tmp_path_factory):
    """VOC's folder with one picture, on which the truth is what the detector is sure of."""
    root = tmp_path_factory.mktemp("voc")
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    Image.fromarray(pixels).save(root / "JPEGImages/a.png")
    found = detector.detect(pixels)
    objects = ""
    for name, score, box, _ in found:
        if score > 0.7:
            corners = "".join(f"<{side}>{v + 1}</{side}>" for side, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
            objects += f"<object><name>{name}</name><difficult>0</difficult><bndbox>{corners}</bndbox></object>"
    size = "<size><width>640</width><height>480</height><depth>3</depth></size>"
    (root / "Annotations/a.xml").write_text(f"<annotation><filename>a.png</filename>{size}{objects}</annotation>")
    (root / "ImageSets/Main/test.txt").write_text("a\n")
    return root


def test_scores_are_the_command_s(command, bundle, detector, dataset, tmp_path):
    scores = frcnn.evaluate(bundle, dataset)
    done = subprocess.run([command, "eval", bundle, "--data", dataset, "--json"], capture_output=True, check=True)
    assert json.loads(done.stdout) == dict(scores)
    assert scores.map == pytest.approx(1.0) and scores.ap == pytest.approx(1.0)
    page = scores.html(tmp_path / "page.html")
    assert "<svg" in page and (tmp_path / "page.html").read_text() == page
    assert dict(frcnn.evaluate(detector, dataset, iou=0.9))["voc"]["iou"] == 0.9
    with pytest.raises(frcnn.Error, match="val"):
        frcnn.evaluate(bundle, dataset, "val")
    for iou in (2.0, 1, -1):
        with pytest.raises(frcnn.OptionError, match="iou must be at least 0 and below 1"):
            frcnn.evaluate(bundle, dataset, iou=iou)
    for workers in (0, 1 << 40):
        with pytest.raises(frcnn.OptionError, match="workers must be 1 to 1024"):
            frcnn.evaluate(bundle, dataset, workers=workers)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_waits_for_no_threads_of_its_parent(bundle, pixels, dataset):
    """What uses several threads here was used before by the parent, whose threads a process that is forked off has not."""
    detector = frcnn.Detector(bundle, threads=2)

    def work(detector):
        boxes = frcnn.propose(pixels, threads=2, max_proposals=50)
        return len(boxes), frcnn.evaluate(bundle, dataset).map, len(detector.stages(pixels)["rois"])

    expected = work(detector)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(work(frcnn.Detector(bundle, threads=2))))
    child.start()
    try:
        assert results.get(timeout=120) == expected
    finally:
        child.kill()
        child.join()


def test_what_is_held_here_is_nothing_elsewhere(detector, pixels, boxes):
    """A pickled object must not be another one's there, which has its number."""
    with pytest.raises(TypeError, match="make one there"):
        pickle.dumps(detector.stream())
    stages = detector.stages(pixels, boxes[:9])
    compared = frcnn.compare(stages, stages)
    there = pickle.loads(pickle.dumps(compared))
    assert there == compared and there.verdict == compared.verdict
    with pytest.raises(frcnn.Error, match="released"):
        there.html()
    assert compared.html()


def test_proposals_have_the_threads_that_are_asked_for(pixels):
    np.testing.assert_array_equal(frcnn.propose(pixels, threads=1), frcnn.propose(pixels, threads=3))
    with pytest.raises(frcnn.OptionError, match="threads must be 1 to 1024"):
        frcnn.propose(pixels, threads=0)


def test_types_are_checked(tmp_path):
    package = Path(frcnn.__file__).parent
    assert (package / "py.typed").exists() and (package / "_frcnn.pyi").exists()
    # A copy: mypy takes what stands beside a file that it is given for more of the program. torch is not here.
    without = shutil.ignore_patterns("torch.py", "_reference.py", "*.so", "__pycache__")
    shutil.copytree(package, tmp_path / "frcnn", ignore=without)
    checked = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--no-incremental", "frcnn"]
    done = subprocess.run(checked, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def test_what_is_called_wrongly_is_an_error_and_nothing_worse():
    """Nobody but the package calls the extension module; what others may do with it is bounded all the same."""
    from frcnn._frcnn import call

    for arguments in [(), ("detect",), (3, "{}"), ("detect", None), ("propose", "{}", object()), ("propose", "{}", memoryview(b"a")[::-1])]:
        with pytest.raises(Exception, match="."):
            call(*arguments)
    pixels = np.zeros((4, 4, 3), np.uint8)
    arguments = '{"image": {"array": [0, "rgb"]}, "method": "grid", "max_proposals": 9, "threads": 1}'
    assert call("propose", arguments, pixels)[-1] is not None
    for wrong in (pixels[::-1], pixels.astype(np.float32), pixels[:, ::2], np.zeros(3, np.uint8), np.uint8(3), "text", b"bytes"):
        try:
            assert call("propose", arguments, wrong)[-1] is None
        except (TypeError, BufferError):
            pass
    assert call("propose", arguments)[-1] is None
    for operation, text in [("nothing", "{}"), ("detect", "{"), ("detect", "[]"), ("release", "-1"), ("stream_composite", "99999")]:
        assert call(operation, text)[-1] is None
    assert call("release", "99999") == ("null",)


def test_what_is_not_used_any_more_is_let_go(bundle, pixels, boxes):
    """Detectors that are made and dropped: their memory does not add up."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    frcnn.Detector(bundle).detect(pixels, boxes[:20])
    gc.collect()
    before = resident()
    for _ in range(30):
        frcnn.Detector(bundle).detect(pixels, boxes[:20])
    gc.collect()
    assert resident() - before < 60 << 20, f"{(resident() - before) >> 20} MiB more"


def test_the_version_is_the_workspace_s():
    from importlib.metadata import version

    line = next(line for line in (ROOT / "Cargo.toml").read_text().splitlines() if line.startswith("version = "))
    assert f'version = "{frcnn.__version__}"' == line and version("frcnn") == frcnn.__version__
