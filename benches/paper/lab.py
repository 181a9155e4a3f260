"""The programs under test, through their command lines only, and the files that they make at one scale."""

import json
import re
import shutil
import time

from safetensors.numpy import load_file, save_file

from scales import SEED
from steps import Failed, Missing, Photos, Steps

FAST, SPPNET, RCNN = "fast-rcnn", "sppnet", "rcnn"
NAMES = {FAST: "Fast R-CNN", SPPNET: "SPPnet", RCNN: "R-CNN"}


class Lab:
    def __init__(self, scale, work, frcnn, trainer, threads):
        self.scale, self.work, self.threads = scale, work, threads
        self.frcnn, self.trainer = frcnn, trainer
        self.steps = Steps(work / "steps")
        self.gaps = []  # of the experiment that is being run: why a figure is not there

    def attempt(self, work):
        """What `work()` returns, or nothing where something is missing or fails; the reason is kept."""
        try:
            return work()
        except (Missing, Failed) as gap:
            if str(gap) not in self.gaps:
                self.gaps.append(str(gap))
            return None

    def take_gaps(self):
        gaps, self.gaps = self.gaps, []
        return gaps

    # Data

    def trained_data(self):
        """The data set to train on; drawn if it is a drawn one."""
        data = self.scale.trained.data
        if not data.exists() and self.scale.synth_images is None:
            raise Missing(f"needs {data}")
        if self.scale.synth_images is not None:
            def draw(run):
                run.call([self.need_trainer(), "synth", data, "--images", self.scale.synth_images, "--seed", SEED])
            if not data.exists():
                self.steps.do("data/synth", draw)
        return data

    def proposals(self, subject, split):
        """Boxes of a split's photos: the given ones, or selective search's."""
        if subject.proposals is not None:
            return subject.proposals
        data = subject.data
        path = self.work / "proposals" / f"{data.name}-{split}.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            command = [self.frcnn, "proposals", Photos(data, split), "-o", path,
                       "--max-proposals", subject.max_proposals, "--threads", self.threads]
            self.steps.do(f"proposals/{data.name}-{split}", lambda run: run.call(command))
        return path

    def learned_proposals(self, method):
        """Boxes of the photos to train on: for R-CNN a few of them."""
        plan = self.scale.trained
        boxes = self.proposals(plan, "trainval")
        return self.first(plan.rcnn_proposals, boxes) if method == RCNN else boxes

    def first(self, count, boxes):
        """A file with the first boxes of each photo."""
        path = self.work / "proposals" / f"first-{count}-{boxes.name}"
        if not path.exists():
            if not boxes.exists():
                raise Missing(f"needs {boxes}")
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            save_file({stem: rows[:count] for stem, rows in load_file(boxes).items()}, partial)
            partial.rename(path)
        return path

    # Networks

    def need_trainer(self):
        if self.trainer is None:
            raise Missing("needs frcnn-train: see model-export/trainer, then `cargo build --release` there")
        return self.trainer

    def untrained(self, run, net, method):
        """The ONNX file of a network of full size with seeded weights."""
        folder = self.work / "untrained" / f"{net}-{method}"
        onnx = folder / "model.onnx"
        if not onnx.exists():
            folder.mkdir(parents=True, exist_ok=True)
            more = [] if method == FAST else ["--method", method]
            run.call([self.frcnn, "new", "--arch", net, "--classes", 20, "--seed", SEED, *more, "-o", onnx])
        return onnx

    def fit(self, name, method=FAST, flags=(), scales=None):
        """A training: its ONNX file and how long it took. One that was stopped goes on."""
        plan = self.scale.trained
        folder = self.work / "runs" / name

        def train(run):
            trainer, data = self.need_trainer(), self.trained_data()
            proposals = self.learned_proposals(method)
            if any((folder / name).exists() for name in ("checkpoint.safetensors", "initial.safetensors")):
                command = [trainer, "fit", "--resume", "--out", folder]
            else:
                shutil.rmtree(folder, ignore_errors=True)  # of a training that was killed before its first checkpoint
                lengths = ",".join(map(str, scales or (plan.short_side,)))
                command = [trainer, "fit", "--method", method, "--data", data, "--arch", plan.arch, "--proposals", proposals,
                           "--scales", lengths, "--max-long-side", 2000 if scales else 1000, "--seed", SEED,
                           "--iterations", plan.iterations[method], *plan.flags, *flags, "--out", folder]
                if plan.init is not None:
                    command += ["--init", plan.init]
            begun = time.monotonic()
            run.call(command, {"OMP_WAIT_POLICY": "passive"})
            seconds = time.monotonic() - begun
            if method == FAST:
                run.call([trainer, "export", folder, "-o", folder / "model.onnx"])
            return {"train_seconds": seconds, "stages": stages_of(folder)}

        done = self.steps.do(f"train/{name}", train, data=plan.data_name, seed=SEED)
        return folder, done

    def compile(self, run, onnx, name, svd=None, energy=None, manifest=None):
        bundle = self.work / "bundles" / f"{name}.frcnn"
        if not bundle.exists():
            bundle.parent.mkdir(parents=True, exist_ok=True)
            svms = onnx.with_name("svm.safetensors")
            command = [self.frcnn, "compile", onnx, "-o", bundle, "--quiet"]
            command += ["--method", RCNN, "--svm", svms] if svms.exists() else []
            command += ["--svd", svd] if svd else []
            command += ["--svd-energy", energy] if energy else []
            command += ["--manifest", manifest] if manifest else []
            run.call(command)
        return bundle

    def manifest(self, onnx, name, **others):
        """A copy of a model's manifest with other values in some fields."""
        path = self.work / "manifests" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**manifest_of(onnx), **others}, indent=1) + "\n")
        return path

    # Figures

    def bench(self, run, bundle, rois, runs):
        """Median milliseconds of each stage and of all, for one image."""
        speed = self.scale.speed
        boxes = ["--proposals", self.first(rois, speed.boxes)] if speed.boxes else ["--rois", rois]
        report = run.json([self.frcnn, "bench", bundle, *speed.source, *boxes, "--runs", runs, "--threads", self.threads])
        stages = {stage: times["p50_ms"] for stage, times in report["stages"].items()}
        return {**stages, "distinct_rois": report["distinct_rois"], "blob": report["blob"]}

    def macs(self, run, bundle):
        """Multiplications of the trunk for one pixel of its blob, and for the whole; of the head for one RoI."""
        cost = run.json([self.frcnn, "inspect", bundle])["cost"]
        height, width = cost["blob"]
        return cost["trunk_macs"] / (height * width), cost["trunk_macs"], cost["head_macs_per_roi"]

    def map_of(self, run, bundle, data, proposals, split="test"):
        """mAP by both rules of VOC, at IoU 0.5, in points."""
        report = run.json([self.frcnn, "eval", bundle, "--data", data, "--split", split, "--proposals", proposals,
                           "--threads", self.threads])
        return {"map10": points(report["voc"]["map10"]), "map07": points(report["voc"]["map07"])}


def manifest_of(onnx):
    return json.loads(onnx.with_name("manifest.json").read_text())


def points(value):
    return None if value is None else 100 * value


def stages_of(folder):
    """What a predecessor's stages took, in seconds."""
    path = folder / "stages.jsonl"
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["stage"]: line["seconds"] for line in lines}


def rank_text(svd):
    """`fc6=1024,fc7=256` for people."""
    return re.sub(r"=", " ", svd.replace(",", ", "))
