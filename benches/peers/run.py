"""Measures frcnn and its peers on the same files, and writes results.json and results.md.

For each case: make the files, check that all contenders compute the same, then time them in rounds, each
contender once per round, so that whatever else the machine does hits all of them alike.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import cases
import machine
import ours
import report

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RUNS_PER_ROUND = 3


def call(command, threads):
    """Runs a command, on `threads` cores if given, and returns its standard output; stops everything if it fails."""
    if threads:
        chosen = machine.cores()[:threads]
        command = ["taskset", "--cpu-list", ",".join(map(str, chosen)), *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\nfailed ({done.returncode}): {' '.join(command)}")
    return done.stdout


def python(script, *arguments, threads=None):
    output = call([sys.executable, str(HERE / script), *map(str, arguments)], threads)
    return json.loads(output.splitlines()[-1]) if output.strip() else None


def work(peer, folder, stage, threads, runs, save=None):
    arguments = ["--runtime", peer.runtime, "--precision", peer.precision, "--threads", threads, "--runs", runs]
    arguments += ["--model", folder / f"{stage}.onnx", "--tensors", folder / "tensors"]
    return python("worker.py", *arguments, *(["--save", save] if save else []), threads=threads)


class Net:
    """A network's files: trained if the shared model is there, else untrained; compiled; and emitted as ONNX."""

    def __init__(self, frcnn, name, folder, shared):
        trained = shared / "models" / f"bccd-{name}" / "model.onnx"
        self.name, self.trained = name, trained.exists()
        folder.mkdir(parents=True, exist_ok=True)
        onnx = trained if self.trained else folder / "model.onnx"
        if not self.trained:
            frcnn.new(name, onnx)
        self.manifest = onnx.with_name("manifest.json")
        self.emitted = folder / "emitted.onnx"
        self.bundles = {one.name: folder / f"{one.file_stem}.frcnn" for one in cases.OURS}
        for one in cases.OURS:
            emitted = self.emitted if one.precision == "f32" else None
            frcnn.compile(onnx, cases.SVD[name], one.precision, self.bundles[one.name], emitted)


def stages_to_measure(case, frcnn_stages):
    """The case's stages, with RoI pool and heads as one where frcnn runs them as one."""
    fused = "roi_pool+head"
    if fused not in frcnn_stages:
        return list(case.stages)
    renamed = (fused if stage in ("roi_pool", "head") else stage for stage in case.stages)
    return list(dict.fromkeys(renamed))


def peers_of(stage):
    return [peer for peer in cases.PEERS if set(stage.split("+")) <= set(peer.stages)]


def check(frcnn, net, case, folder, stages, threads):
    """Stops if any two contenders do not compute the same."""
    for stage in stages:
        for peer in peers_of(stage):
            work(peer, folder, stage, threads, 0, save=folder / "got" / peer.name / stage)
    if "whole" in stages:
        for one in cases.OURS:
            found = folder / f"{one.file_stem}.json"
            frcnn.detect(net.bundles[one.name], folder, threads, not net.trained, found)
    trained = ["--trained"] if net.trained else []
    checks = python("agree.py", "--folder", folder, "--manifest", net.manifest, *trained)
    wrong = [one for one in checks if not one["same"]]
    if wrong:
        sys.exit(f"{case.name}: these do not agree with ONNX Runtime:\n" + "\n".join(map(str, wrong)))
    shutil.rmtree(folder / "got")
    return checks


def time_rounds(frcnn, net, case, folder, stages, threads, rounds):
    """One entry for each stage and contender, with the medians over the rounds."""
    seen = {}
    for number in range(rounds):
        print(f"{case.name}, {threads} threads, round {number + 1} of {rounds}", file=sys.stderr)
        for one in cases.OURS:
            times, start = frcnn.bench(net.bundles[one.name], folder, threads, RUNS_PER_ROUND)
            for stage in stages:
                got = {"ms": times[stage], "precision": one.precision, **start}
                seen.setdefault((stage, one.name), []).append(got)
        for stage in stages:
            for peer in peers_of(stage):
                got = work(peer, folder, stage, threads, RUNS_PER_ROUND)
                got["ms"] = statistics.median(got.pop("runs_ms"))
                seen.setdefault((stage, peer.name), []).append(got)
    for (stage, contender), got in seen.items():
        middle = {key: statistics.median(one[key] for one in got) for key in got[0] if key != "precision"}
        yield {
            "net": case.net, "rois": case.rois, "large": case.large, "threads": threads, "stage": stage,
            "contender": contender, "precision": got[0]["precision"], **middle, "rounds_ms": [one["ms"] for one in got],
        }


def common_arguments(parser, runs, out="all that is made"):
    """The arguments that every command here has."""
    parser.add_argument("--runs", type=int, default=runs, metavar="N", help=f"rounds; default: {runs}")
    parser.add_argument("--frcnn", type=Path, default=REPOSITORY / "target/release/frcnn", metavar="BINARY")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "target/peers", metavar="DIR",
                        help=f"{out}; default: target/peers")


def shared_folder():
    return Path(os.environ.get("FRCNN_SHARED", REPOSITORY.parent / "shared"))


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/run", description=__doc__)
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser.add_argument("--threads", type=numbers, default=[1, 2], metavar="N,...", help="default: 1,2")
    parser.add_argument("--nets", type=lambda text: text.split(","), default=list(cases.SVD), metavar="NET,...",
                        help=f"default: {','.join(cases.SVD)}")
    parser.add_argument("--quick", action="store_true", help="SqueezeNet, one thread, two rounds: does it all work?")
    common_arguments(parser, 7, "results.md, results.json and all that was made for them")
    args = parser.parse_args()
    if args.quick:
        args.nets, args.threads, args.runs = ["squeezenet"], [1], 2
    unknown = set(args.nets) - set(cases.SVD)
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}")
    if not 1 <= min(args.threads) <= max(args.threads) <= len(machine.cores()):
        parser.error(f"--threads: this machine has {len(machine.cores())} cores")
    if args.runs < 1:
        parser.error("--runs: at least 1")
    if not args.frcnn.exists():
        parser.error(f"no {args.frcnn}: cargo build --release first")
    return args


def main():
    args = arguments()
    shared = shared_folder()
    photo = shared / "data/bccd/PNGImages/BloodImage_00007.png"
    frcnn, out = ours.Frcnn(args.frcnn.resolve(), call), args.out.resolve()
    results = {
        "machine": machine.describe(frcnn.version()),
        "settings": {"rounds": args.runs, "runs_per_round": RUNS_PER_ROUND, "threads": args.threads},
        "agreement": {},
        "measured": [],
    }
    for name in args.nets:
        net = Net(frcnn, name, out / "nets" / name, shared)
        for case in (case for case in cases.CASES if case.net == name):
            folder = out / "cases" / case.name
            shutil.rmtree(folder, ignore_errors=True)  # what an earlier run left must not be taken for this one's
            print(f"{case.name}: files, then agreement", file=sys.stderr)
            files = ["--folder", folder, "--onnx", net.emitted, "--manifest", net.manifest]
            python("prepare.py", "--case", case.name, *files, *(["--photo", photo] if photo.exists() else []))
            threads = max(args.threads)
            times, _ = frcnn.bench(net.bundles[cases.OURS[0].name], folder, threads, 1)
            stages = stages_to_measure(case, times)
            results["agreement"][case.name] = check(frcnn, net, case, folder, stages, threads)
            for threads in args.threads:
                results["measured"] += time_rounds(frcnn, net, case, folder, stages, threads, args.runs)
            write(results, out)
    print(report.markdown(results))


def write(results, out):
    """After each case, so that a run that is stopped leaves what it has."""
    bare = [one["bare_python_mib"] for one in results["measured"] if "bare_python_mib" in one]
    results["bare_python_mib"] = statistics.median(bare)
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (out / "results.md").write_text(report.markdown(results))


if __name__ == "__main__":
    main()
