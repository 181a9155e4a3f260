"""frcnn's time against the number of RoIs (0 to 10,000) and against the size of the image, as a plot and as numbers."""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROIS = [0, 10, 100, 300, 1000, 2000, 5000, 10000]
SIDES = [240, 360, 480, 600, 800]
STAGES = ["preprocess", "trunk", "roi_pool", "head", "postprocess"]
ROOT = Path(__file__).resolve().parents[2]


def bench(binary, bundle, size, rois, threads):
    command = [str(binary), "bench", str(bundle), "--size", size, "--rois", str(rois), "--json"]
    command += ["--threads", str(threads), "--runs", "3"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compile(binary, model, short_side, folder):
    """A bundle that works on images at `short_side`."""
    manifest = json.loads(model.with_name("manifest.json").read_text())
    manifest["scales"] = [short_side]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = folder / f"{short_side}.frcnn"
    command = [str(binary), "compile", str(model), "--manifest", str(folder / "manifest.json"), "--output", str(bundle)]
    subprocess.run([*command, "--quiet"], check=True)
    return bundle


def areas(axes, positions, reports, labels, xlabel):
    bottom = [0.0] * len(reports)
    for stage in STAGES:
        top = [low + report["stages"][stage]["p50_ms"] for low, report in zip(bottom, reports)]
        axes.fill_between(positions, bottom, top, label=stage)
        bottom = top
    axes.set_xticks(positions, labels, rotation=45)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.set_xlim(positions[0], positions[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="MODEL.onnx, with its manifest.json beside it")
    parser.add_argument("--frcnn", type=Path, default=ROOT / "target/release/frcnn", help="the binary to measure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=480, help="short side of the image while the RoIs go up")
    parser.add_argument("--rois", type=int, default=300, help="while the size of the image goes up")
    parser.add_argument("--out", type=Path, default=ROOT / "target/peers", help="a folder for scaling.png and .json")
    args = parser.parse_args()

    def size(side):
        return f"{side}x{side * 4 // 3}"

    with tempfile.TemporaryDirectory() as folder:
        bundles = {side: compile(args.frcnn, args.model, side, Path(folder)) for side in {args.side, *SIDES}}
        by_rois = [bench(args.frcnn, bundles[args.side], size(args.side), rois, args.threads) for rois in ROIS]
        by_size = [bench(args.frcnn, bundles[side], size(side), args.rois, args.threads) for side in SIDES]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "scaling.json").write_text(json.dumps({"by_rois": by_rois, "by_size": by_size}, indent=1) + "\n")

    blobs = ["x".join(map(str, report["blob"][0])) for report in by_size]
    pixels = [report["blob"][0][0] * report["blob"][0][1] / 1e6 for report in by_size]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    areas(left, ROIS, by_rois, [str(rois) if rois in (0, 1000, 2000, 5000, 10000) else "" for rois in ROIS],
          f"RoIs, image {size(args.side)}")
    areas(right, pixels, by_size, blobs, f"blob, {args.rois} RoIs (axis: pixels)")
    handles, labels = left.get_legend_handles_labels()
    left.legend(handles[::-1], labels[::-1], loc="upper left")
    figure.suptitle(f"{args.model.parent.name}, {args.threads} thread(s)")
    figure.savefig(args.out / "scaling.png", dpi=80)
    print(args.out / "scaling.png")


if __name__ == "__main__":
    main()
