"""What the tests share: the demo model as a bundle, and its picture. They run in an environment in which the wheel is installed."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frcnn

ROOT = Path(__file__).resolve().parents[3]
DEMO = ROOT / "model-export/demo"
sys.path.insert(0, str(ROOT / "tests/kit"))


def pytest_configure(config):
    assert not Path(frcnn.__file__).is_relative_to(ROOT / "src"), "these tests are for the wheel that is installed, not for its source"


@pytest.fixture(scope="session")
def command():
    """The command `frcnn`, whose results are the same."""
    path = Path(os.environ.get("FRCNN", ROOT / "target/release/frcnn"))
    assert path.is_file(), f"no {path}: cargo build --release first"
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "demo.frcnn"
    frcnn.compile(DEMO / "model.onnx", path)
    return path


@pytest.fixture(scope="session")
def detector(bundle):
    return frcnn.Detector(bundle)


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    """As a PNG, which all decoders read alike."""
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    with Image.open(DEMO / "scene.jpg") as photo:
        photo.convert("RGB").save(path)
    return path


@pytest.fixture(scope="session")
def pixels(scene):
    """`[480, 640, 3]` red, green, blue."""
    with Image.open(scene) as photo:
        return np.asarray(photo)


@pytest.fixture(scope="session")
def boxes(pixels):
    return frcnn.propose(pixels)


def few_scenes(folder):
    """A data set of six scenes that the demo model was not trained on, so that what is chosen by it is chosen soon."""
    shutil.copytree(ROOT / "benches/paper/scenes", folder)
    split = Path(folder) / "ImageSets/Main/test.txt"
    split.write_text("".join(split.read_text().splitlines(keepends=True)[:6]))
    return folder


def same(a, b):
    """Whether two detections are the same to the last bit, and there are any."""
    assert len(a) > 3
    for one, other in [(a.boxes, b.boxes), (a.scores, b.scores), (a.labels, b.labels)]:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


# `test-aarch64` holds one CPU's results to another's, which rounds sums otherwise.
ANOTHER_CPU = "FRCNN_RUNNER" in os.environ


def same_bundle(one, other):
    """Whether two files hold the same network: to the last bit by one CPU. By another, factors of an SVD and ranges of int8, which are
    computed from what layers read, have last bits of their own: then what they compute is the same within what rounding explains."""
    if ANOTHER_CPU:
        assert one.stat().st_size == other.stat().st_size
        compared = frcnn.compare(frcnn.Detector(one), frcnn.Detector(other), image=DEMO / "scene.jpg")
        assert compared.agrees, str(compared)
    else:
        assert one.read_bytes() == other.read_bytes()


def agree(one, other):
    """Whether two reports say the same: to the last bit by one CPU. By another, numbers are within 1e-4 of each other, of the larger one
    where that is above 1; and within 1e-3 what f16 loses, in which some CPUs compute and others only keep weights."""

    def equal(a, b, path):
        if isinstance(a, dict) and isinstance(b, dict):
            assert a.keys() == b.keys(), path
            for key in a:
                equal(a[key], b[key], f"{path}.{key}")
        elif isinstance(a, list) and isinstance(b, list):
            assert len(a) == len(b), path
            for i, (x, y) in enumerate(zip(a, b)):
                equal(x, y, f"{path}[{i}]")
        elif ANOTHER_CPU and isinstance(a, float) and isinstance(b, float):
            allowed = 1e-3 if ".rounding." in path else 1e-4
            assert a == pytest.approx(b, rel=allowed, abs=allowed), path
        else:
            assert a == b, path

    equal(json.loads(json.dumps(one)), json.loads(json.dumps(other)), "report")
