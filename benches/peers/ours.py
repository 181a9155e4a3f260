"""frcnn, through its command line only."""

import json
from pathlib import Path

NAME = "frcnn"


class Frcnn:
    def __init__(self, binary, call):
        """`call(command, threads)` runs a command on as many cores and returns its standard output."""
        self.binary, self.call = str(binary), call

    def version(self):
        return self.call([self.binary, "--version"], None).split()[-1]

    def new(self, net, onnx):
        command = ["new", "--arch", net, "--classes", "20", "--output", str(onnx), "--force"]
        self.call([self.binary, *command], None)

    def compile(self, onnx, svd, bundle, emitted):
        """Writes the bundle, and the network that is in it as ONNX."""
        command = ["compile", str(onnx), "--output", str(bundle), "--emit-onnx", str(emitted), "--quiet"]
        self.call([self.binary, *command, *(["--svd", svd] if svd else [])], None)

    def detect(self, bundle, folder, threads, every_score):
        """Writes what is found in a case's photo to FOLDER/frcnn.json."""
        command = ["detect", str(bundle), str(folder / "photo.png"), "--proposals", str(folder / "boxes.json"), "--json"]
        command += ["--threads", str(threads), *(["--score-threshold", "0"] if every_score else [])]
        Path(folder / "frcnn.json").write_text(self.call([self.binary, *command], threads))

    def bench(self, bundle, folder, threads, runs):
        command = ["bench", str(bundle), "--image", str(folder / "photo.png")]
        command += ["--proposals", str(folder / "boxes.json"), "--threads", str(threads), "--runs", str(runs), "--json"]
        report = json.loads(self.call([self.binary, *command], threads))
        if report["distinct_rois"] != report["rois"]:
            raise RuntimeError(f"frcnn computes {report['distinct_rois']} RoIs where the peers compute {report['rois']}")
        stages = {name: times["p50_ms"] for name, times in report["stages"].items()}
        stages["whole"] = stages.pop("total")
        return stages, {key: report[key] for key in ("open_ms", "first_ms", "peak_rss_mb")}
