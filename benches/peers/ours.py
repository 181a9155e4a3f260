"""frcnn, through its command line only."""

import json
from pathlib import Path


class Frcnn:
    def __init__(self, binary, call):
        """`call(command, threads)` runs a command on as many cores and returns its standard output."""
        self.binary, self.call = str(binary), call

    def version(self):
        return self.call([self.binary, "--version"], None).split()[-1]

    def new(self, net, onnx):
        command = ["new", "--arch", net, "--classes", "20", "--output", str(onnx), "--force"]
        self.call([self.binary, *command], None)

    def compile(self, onnx, svd, precision, bundle, emitted=None, photos=None):
        """Writes the bundle, in int8 by a folder of photos, and the network that is in it as ONNX."""
        command = ["compile", str(onnx), "--output", str(bundle), "--precision", precision, "--quiet"]
        command += ["--calibrate", str(photos)] if photos else []
        command += [*(["--svd", svd] if svd else []), *(["--emit-onnx", str(emitted)] if emitted else [])]
        self.call([self.binary, *command], None)

    def detect(self, bundle, folder, threads, every_score, found):
        """Writes what is found in a case's photo to the file `found`."""
        command = ["detect", str(bundle), str(folder / "photo.png"), "--proposals", str(folder / "boxes.json"), "--json"]
        command += ["--threads", str(threads), *(["--score-threshold", "0"] if every_score else [])]
        Path(found).write_text(self.call([self.binary, *command], threads))

    def report(self, bundle, folder, threads, runs):
        command = ["bench", str(bundle), "--image", str(folder / "photo.png")]
        command += ["--proposals", str(folder / "boxes.json"), "--threads", str(threads), "--runs", str(runs), "--json"]
        return json.loads(self.call([self.binary, *command], threads))

    def dropped(self, bundle, folder, threads):
        """The share of a case's regions that the bundle's first judge drops."""
        report = self.report(bundle, folder, threads, 1)
        return report["dropped"] / report["distinct_rois"]

    def bench(self, bundle, folder, threads, runs):
        report = self.report(bundle, folder, threads, runs)
        if report["distinct_rois"] != report["rois"]:
            raise RuntimeError(f"frcnn computes {report['distinct_rois']} RoIs where the peers compute {report['rois']}")
        stages = {name: times["p50_ms"] for name, times in report["stages"].items()}
        stages["whole"] = stages.pop("total")
        return stages, {key: report[key] for key in ("open_ms", "first_ms", "peak_rss_mib")}
