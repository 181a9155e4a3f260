"""Detector.detect: what the command finds, whatever an image comes as."""

import io
import json
import os
import pickle
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from conftest import DEMO, agree, same
from PIL import Image

import frcnn
from frcnn._image import readable


def test_the_command_finds_the_same(command, bundle, detector, scene):
    found = detector.detect(scene)
    done = subprocess.run([command, "detect", bundle, scene, "--json"], capture_output=True, check=True)
    said, own = json.loads(done.stdout), found.to_dict()
    assert said.pop("image") == str(scene)
    assert said.pop("timing_ms").keys() - {"decode"} == own.pop("timing_ms").keys()
    for one in (*said["detections"], *own["detections"]):
        one["score"], one["box"] = float(np.float32(one["score"])), np.float32(one["box"]).tolist()
    agree(own, said)
    # What it is sure of are shapes that are in the picture.
    assert {one.name for one in found if one.score > 0.7} <= set(detector.classes[1:])
    assert sum(one.score > 0.7 for one in found) >= 4


def test_arrays_have_their_shapes_and_types(detector, pixels):
    found = detector.detect(pixels)
    n = len(found)
    assert (found.boxes.shape, found.boxes.dtype) == ((n, 4), np.float32)
    assert (found.scores.shape, found.scores.dtype) == ((n,), np.float32)
    assert (found.labels.shape, found.labels.dtype) == ((n,), np.int64)
    assert (found.width, found.height) == (640, 480) and found.classes == detector.classes
    assert found.names == [detector.classes[label] for label in found.labels]
    assert (np.diff(found.scores) <= 0).all() and found.labels.min() >= 1
    assert found.proposals_from == "selective-search" and found.proposals > 100
    found.boxes[0] = 0  # what is handed out may be written to


@pytest.mark.parametrize(
    "made",
    {
        "bgr": lambda p: (np.ascontiguousarray(p[:, :, ::-1]), "bgr"),
        "reversed": lambda p: (p[:, :, ::-1], "bgr"),
        "rgba": lambda p: (np.dstack([p, np.full(p.shape[:2], 7, np.uint8)]), "rgb"),
        "bgra": lambda p: (np.dstack([p[:, :, ::-1], np.full(p.shape[:2], 7, np.uint8)]), "bgr"),
        "fortran": lambda p: (np.asfortranarray(p), "rgb"),
        "within": lambda p: (np.pad(p, ((3, 5), (7, 9), (0, 0)))[3:-5, 7:-9], "rgb"),
        "pil": lambda p: (Image.fromarray(p), "rgb"),
        "pil, transparent": lambda p: (Image.fromarray(p).convert("RGBA"), "rgb"),
        "writable": lambda p: (p.copy(), "rgb"),
    }.items(),
    ids=lambda made: made[0],
)
def test_an_image_may_come_as(made, detector, pixels, boxes):
    image, channels = made[1](pixels)
    same(detector.detect(pixels, boxes), detector.detect(image, boxes, channels=channels))


def test_files_and_grey_arrays(detector, scene, pixels, boxes):
    same(detector.detect(pixels, boxes), detector.detect(scene, boxes))
    photo = DEMO / "scene.jpg"
    for file in (scene, photo):
        same(detector.detect(file, boxes), detector.detect(file.read_bytes(), boxes))
    with pytest.raises(frcnn.ImageError, match="is a text; supported are JPEG and PNG"):
        detector.detect(b"my holidays")
    same(detector.detect(pixels, boxes), detector.detect(str(scene), boxes))
    grey = pixels.mean(2).astype(np.uint8)
    same(detector.detect(grey, boxes), detector.detect(np.dstack([grey] * 3), boxes))
    same(detector.detect(grey, boxes), detector.detect(grey[:, :, None], boxes))


def test_grey_of_16_bits_is_what_its_file_is(detector, pixels, boxes, tmp_path):
    """PIL by itself would make everything white but the darkest."""
    deep = pixels.mean(2).astype(np.uint16) * 257 + np.arange(640, dtype=np.uint16) % 100
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        assert image.mode == "I;16"
        same(detector.detect(tmp_path / "deep.png", boxes), detector.detect(image, boxes))
        for mode in ("I", "F"):
            with pytest.raises(TypeError, match=f"mode {mode} does not say which value is white"):
                detector.detect(image.convert(mode), boxes)


def test_contiguous_rows_are_not_copied(pixels):
    for view in (pixels, pixels[100:400], pixels[10:, 20:300], pixels[::2], pixels[:, :, 0].copy()):
        assert readable(view, "rgb")[0] is view
    for view in (pixels[:, ::2], pixels[::-1], pixels[:, :, 1]):
        assert not np.shares_memory(readable(view, "rgb")[0], view)


def test_boxes_are_those_that_are_looked_at(detector, pixels, boxes):
    same(detector.detect(pixels), detector.detect(pixels, boxes))
    same(detector.detect(pixels), detector.detect(pixels, proposals="selective-search"))
    few = detector.detect(pixels, boxes[:50].tolist())
    assert (few.proposals, few.proposals_from) == (50, "given")
    assert len(detector.detect(pixels, [])) == 0
    assert len(detector.detect(pixels, np.full((3, 4), np.nan))) == 0
    assert detector.detect(pixels, proposals="grid").proposals_from == "grid"
    assert detector.detect(pixels, max_proposals=10).proposals <= 10


def test_options(bundle, pixels, boxes):
    same(frcnn.Detector(bundle, threads=1).detect(pixels, boxes), frcnn.Detector(bundle, threads=2).detect(pixels, boxes))
    strict = frcnn.Detector(bundle, score_threshold=0.7, max_detections=4)
    found = strict.detect(pixels, boxes)
    assert len(found) == 4 and found.scores.min() > 0.7
    assert strict.manifest["scales"] == [240] and strict.method == "fast-rcnn" and not strict.has_rpn
    assert strict.provenance["onnx_sha256"].startswith("80988312")


def test_threads_share_a_detector(detector, pixels, boxes):
    expected, found = detector.detect(pixels, boxes), [None] * 8

    def work(place):
        found[place] = detector.detect(pixels, boxes)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        same(expected, one)


def test_the_interpreter_is_free_meanwhile(bundle, pixels):
    detector = frcnn.Detector(bundle, threads=1)
    ended, beats = threading.Event(), [0]

    def beat():
        while not ended.is_set():
            beats[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=beat)
    thread.start()
    begun, before = time.perf_counter(), beats[0]
    detector.detect(pixels)
    took, after = time.perf_counter() - begun, beats[0]
    ended.set()
    thread.join()
    # Selective search alone takes tens of milliseconds; with the interpreter held there would be one beat, or none.
    assert took < 0.02 or after - before > 4, f"{after - before} beats in {took} s"


def test_a_detector_goes_to_another_process_by_its_path(detector, pixels, boxes):
    other = pickle.loads(pickle.dumps(detector))
    assert other.classes == detector.classes
    same(detector.detect(pixels, boxes), other.detect(pixels, boxes))
    found = pickle.loads(pickle.dumps(detector.detect(pixels, boxes)))
    same(found, detector.detect(pixels, boxes))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told_and_does_not_wait_for_ever(bundle, pixels, boxes):
    shared, alone = frcnn.Detector(bundle, threads=2), frcnn.Detector(bundle, threads=1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            alone.detect(pixels, boxes)
            shared.detect(pixels, boxes)
        except frcnn.OptionError as error:
            code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_stages_take_what_a_call_takes(bundle, boxes):
    """The stages' times are within the call's; what the call adds to them is printed (its bar is 0.1 ms) and decides nothing."""
    detector = frcnn.Detector(bundle, threads=1)
    image, few = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), boxes[:5] / 2
    over = []
    for _ in range(50):
        begun = time.perf_counter()
        found = detector.detect(image, few)
        over.append((time.perf_counter() - begun) * 1e3 - sum(found.timing_ms.values()))
    print(f"a call adds {min(over):.3f} ms at least")
    assert min(over) > 0, sorted(over)[:9]


def raises(kind, *words):
    """The error of this very class whose text has these words."""

    class Check:
        def __enter__(self):
            return self

        def __exit__(self, type_, error, _):
            assert type_ is kind, f"{type_}: {error}"
            for word in words:
                assert word in str(error), f"{word!r} is not in {error}"
            return True

    return Check()


def test_errors_have_the_texts_of_the_command(command, detector, bundle, pixels, boxes, tmp_path):
    def said(*arguments):
        return subprocess.run([command, *arguments], capture_output=True, text=True).stderr.removeprefix("error: ").strip()

    absent, text, short = (tmp_path / name for name in ("absent.frcnn", "text.frcnn", "short.frcnn"))
    text.write_text("this is no bundle, and it is longer than the 64 bytes that every bundle starts with.")
    short.write_bytes(bundle.read_bytes()[:-100])
    for path in (absent, text, short):
        with raises(frcnn.BundleError, said("detect", path, DEMO / "scene.jpg"), path.name):
            frcnn.Detector(path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((DEMO / "scene.jpg").read_bytes()[:5000])
    with raises(frcnn.ImageError, "broken.jpg: is cut short"):
        detector.detect(broken)
    with raises(frcnn.ImageError, said("detect", bundle, tmp_path / "no.jpg")):
        detector.detect(tmp_path / "no.jpg")
    with raises(frcnn.OptionError, "demo.frcnn", "threads must be 1 to 1024"):
        frcnn.Detector(bundle, threads=0)
    with raises(frcnn.OptionError, "score_threshold must be at least 0 and below 1"):
        frcnn.Detector(bundle, score_threshold=2)
    assert issubclass(frcnn.BundleError, frcnn.Error) and issubclass(frcnn.ImageError, frcnn.Error)


def test_what_a_file_holds_comes_as_bytes_of_any_kind(detector, scene, boxes):
    read = scene.read_bytes()
    for held in (read, bytearray(read), memoryview(read), memoryview(bytearray(read))):
        same(detector.detect(scene, boxes), detector.detect(held, boxes))
    with Image.open(scene) as photo:
        pixels = np.asarray(photo)
    same(detector.detect(pixels, boxes), detector.detect(memoryview(pixels), boxes))


def test_arguments_that_make_no_sense(detector, pixels, boxes):
    with raises(frcnn.OptionError, '"grb"'):
        detector.detect(pixels, boxes, channels="grb")
    with raises(frcnn.OptionError, '"edges"', "selective-search"):
        detector.detect(pixels, proposals="edges")
    with raises(frcnn.OptionError, "fast-rcnn, which has no RPN"):
        detector.detect(pixels, proposals="rpn")
    with raises(TypeError, "float64", "astype(numpy.uint8)"):
        detector.detect(pixels / 255)
    with raises(TypeError, "NoneType"):
        detector.detect(None)
    with raises(frcnn.OptionError, "[H, W, 3]", "[2, 3, 4, 5]"):
        detector.detect(np.zeros((2, 3, 4, 5), np.uint8))
    with raises(ValueError, "[N, 4]", "[3, 5]"):
        detector.detect(pixels, np.zeros((3, 5)))
    for shape in [(0, 10, 3), (10, 0, 3)]:
        with raises(frcnn.ImageError, "frame"):
            detector.detect(np.zeros(shape, np.uint8), boxes)
    with raises(TypeError, "max_proposals", "a number or a text", "object"):
        detector.detect(pixels, max_proposals=object())
    # Which argument it is, and not the place in a text that nobody wrote.
    for keywords, words in [
        ({"max_proposals": "20"}, ["max_proposals", '"20"']),
        ({"max_proposals": -1}, ["max_proposals", "-1"]),
        ({"max_proposals": float("inf")}, ["max_proposals is inf"]),
        ({"proposals": 5}, ["proposals", "5"]),
    ]:
        with pytest.raises(frcnn.OptionError) as raised:
            detector.detect(pixels, **keywords)
        said = str(raised.value)
        assert said.startswith(words[0]) and all(word in said for word in words) and "column" not in said, said
    with raises(frcnn.OptionError, "time: "):
        detector.stream().detect(pixels, time="noon")
    # As small as can be, and through.
    detector.detect(np.zeros((1, 1, 3), np.uint8), [[0, 0, 0, 0]])


def test_files_that_are_open_and_their_bytes(detector, scene, boxes):
    """Whatever was read of them before."""
    expected = detector.detect(scene, boxes)
    held = scene.read_bytes()
    file = io.BytesIO(held)
    file.read()
    with open(scene, "rb") as opened:
        for image in (held, bytearray(held), memoryview(held), file, opened, np.frombuffer(held, np.uint8)):
            same(expected, detector.detect(image, boxes))
    with open(__file__, encoding="utf-8") as text, pytest.raises(TypeError, match='TextIOWrapper gives text.*open\\(path, "rb"\\)'):
        detector.detect(text, boxes)
    with pytest.raises(frcnn.ImageError):
        detector.detect(io.BytesIO(b"no image"), boxes)


def test_paths_of_bytes_and_those_that_are_no_text(bundle, detector, scene, boxes, tmp_path):
    assert frcnn.Detector(os.fsencode(bundle)).path == str(bundle)
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    shutil.copy(scene, odd + b".png")
    shutil.copy(bundle, odd + b".frcnn")
    with pytest.raises(frcnn.OptionError, match="is not UTF-8: rename the file"):
        frcnn.Detector(odd + b".frcnn")
    with pytest.raises(frcnn.OptionError, match="is not UTF-8.*its bytes will do"):
        detector.detect(os.fsdecode(odd + b".png"), boxes)
    with pytest.raises(frcnn.OptionError, match="is not UTF-8"):
        frcnn.compile(DEMO / "model.onnx", odd)
    with open(odd + b".png", "rb") as file:
        same(detector.detect(scene, boxes), detector.detect(file.read(), boxes))
