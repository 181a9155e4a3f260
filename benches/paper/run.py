"""Redoes the experiments of Girshick, Fast R-CNN, ICCV 2015, and writes one page with the published figures beside ours.

What is done is kept, step by step: called again, the command goes on where it was stopped. An experiment that needs what
this machine has not says so on the page.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import scales
from lab import Lab
from page import provenance
from rows import ALL


def arguments():
    parser = argparse.ArgumentParser(prog="benches/paper/run", description=__doc__)
    parser.add_argument("--scale", choices=("smoke", "full"), required=True,
                        help="smoke: small networks and drawn scenes, minutes; full: ../shared's photos, hours")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(ALL), metavar="NAME,...",
                        help=f"of {', '.join(ALL)}")
    parser.add_argument("--nets", type=lambda text: text.split(","), metavar="NET,...", help="for the speeds, of the scale's")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of frcnn; default: 1")
    parser.add_argument("--frcnn", type=Path, default=scales.REPOSITORY / "target/release/frcnn", metavar="BINARY")
    parser.add_argument("--trainer", type=Path, metavar="BINARY",
                        default=scales.REPOSITORY / "model-export/trainer/target/release/frcnn-train")
    parser.add_argument("--out", type=Path, default=scales.REPOSITORY / "target/paper", metavar="DIR",
                        help="SCALE/results.md, plots and all that was made for them; default: target/paper")
    args = parser.parse_args()
    unknown = set(args.only) - set(ALL)
    if unknown:
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}")
    if not args.frcnn.exists():
        parser.error(f"no {args.frcnn}: cargo build --release first")
    return args


def main():
    args = arguments()
    shared = Path(os.environ.get("FRCNN_SHARED", scales.REPOSITORY.parent / "shared"))
    work = args.out.resolve() / args.scale
    scale = scales.smoke(work) if args.scale == "smoke" else scales.full(work, shared, args.nets)
    trainer = args.trainer.resolve() if args.trainer.exists() else None
    lab = Lab(scale, work, args.frcnn.resolve(), trainer, args.threads)
    begun = time.monotonic()
    lines = [
        f"# The Fast R-CNN paper's experiments, {args.scale}",
        "",
        f"`benches/paper/run --scale {args.scale}`. Below each section: data, seed, time and commands of every figure in it.",
        "",
    ]
    for name in args.only:
        print(f"{name}: {ALL[name].TITLE}", file=sys.stderr, flush=True)
        section, steps = ALL[name].write(lab, work / "plots")
        lines += [f"## {ALL[name].TITLE}", "", *section]
        lines += [f"- Not run: {gap}" for gap in lab.take_gaps()]
        lines += ["", *provenance(steps)]
        # After each, so that a run that is stopped leaves what it has.
        (work / "results.md").write_text("\n".join(lines) + "\n")
    print(f"{work / 'results.md'}; {time.monotonic() - begun:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
