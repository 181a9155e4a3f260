"""README's snippets, one after the other as a reader runs them. Its first block is run by `ci`, which installs the
wheel by it; the root's README by `tests/pages`."""

import re
import shutil

from conftest import DEMO, ROOT, few_scenes

import frcnn


def test_each_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "src/python/README.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(snippets) >= 4
    # What the text says is there: the demo model, and pictures.
    shutil.copy(DEMO / "model.onnx", "model.onnx")
    shutil.copy(DEMO / "manifest.json", "manifest.json")
    shutil.copy(DEMO / "scene.jpg", "photo.jpg")
    few_scenes("VOC2007")
    (tmp_path / "photos").mkdir()
    shutil.copy(DEMO / "scene.jpg", "photos/1.jpg")
    shutil.copy(ROOT / "tests/reference/demo.safetensors", "gpu.safetensors")
    names = {"frames": lambda: [(time, frcnn.Detector("model.frcnn").detect("photo.jpg", []).drawn()) for time in (0.0, 0.04)]}
    for snippet in snippets:
        if "frcnn.torch" in snippet:
            continue  # `test-torch` runs those
        exec(compile(snippet, "README.md", "exec"), names)
    assert (tmp_path / "found.png").stat().st_size > 10_000
