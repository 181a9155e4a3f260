"""Converts a model to MNN's file."""

import contextlib

# Not MNN.tools.mnnconvert: that script has pip install a package, of whatever version, and reports conversions to a server.
import _tools


def export(path):
    into = path.with_suffix(".mnn")
    with contextlib.chdir(path.parent):  # where it leaves a file of its own
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(path), "--MNNModel", str(into), "--bizCode", "MNN"])
    if not into.exists():
        raise RuntimeError(f"MNN's converter made no {into}")
