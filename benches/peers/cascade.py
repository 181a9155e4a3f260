"""Whole detections with a first judge (`frcnn compile --cascade`) beside the peers, which judge every region in full.

An untrained network gives flat scores, so `keep` is searched for until the judge drops the share of regions that is
asked for, such as benches/cascade measures on photos of blood cells: the times are those of that share.
"""

import argparse
import shutil
import statistics
import subprocess
import sys

import cases
import ours
import run

PEERS = [peer for peer in cases.PEERS if peer.precision == "f32" and "whole" in peer.stages and peer.name != "OpenCV"]


def compile_dropping(frcnn, net, folder, share, threads):
    """A bundle whose judge drops about `share` of the case's regions, and the share that it does drop."""
    bundle, low, high = folder / "cascade.frcnn", 0.0, 1.0
    for _ in range(24):
        keep = (low + high) / 2
        frcnn.call([frcnn.binary, "compile", str(net.emitted), "--output", str(bundle), "--quiet",
                    "--manifest", str(net.manifest), "--cascade", f"rank=16,keep={keep:.9f}"], None)
        dropped = frcnn.dropped(bundle, folder, threads)
        if abs(dropped - share) <= 0.01:
            return bundle, dropped
        low, high = (low, keep) if dropped > share else (keep, high)
    sys.exit(f"{net.name}: no `keep` drops {share:.0%} of the regions")


def main():
    parser = argparse.ArgumentParser(prog="benches/peers/cascade", description=__doc__)
    parser.add_argument("--nets", default="vgg16,squeezenet", metavar="NET,...")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropped", type=float, default=0.77, metavar="SHARE", help="of the regions; default: 0.77")
    run.common_arguments(parser, 5)
    args = parser.parse_args()
    frcnn, out = ours.Frcnn(args.frcnn.resolve(), run.call), args.out.resolve()
    shared = run.shared_folder()
    photo = shared / "data/bccd/PNGImages/BloodImage_00007.png"
    print("| network | regions dropped | " + " | ".join(["frcnn", "with a cascade", *(peer.name for peer in PEERS)]) + " |")
    print("|---|---|" + "---|" * (2 + len(PEERS)))
    for name in args.nets.split(","):
        net = run.Net(frcnn, name, out / "nets" / name, shared)
        folder = out / "cases" / f"{name}-2000-cascade"
        shutil.rmtree(folder, ignore_errors=True)
        files = ["--folder", folder, "--onnx", net.emitted, "--manifest", net.manifest]
        run.python("prepare.py", "--case", f"{name}-2000", *files, *(["--photo", photo] if photo.exists() else []))
        cascade, dropped = compile_dropping(frcnn, net, folder, args.dropped, args.threads)
        seen = {}
        for number in range(args.runs):
            print(f"{name}: round {number + 1} of {args.runs}", file=sys.stderr)
            for contender, bundle in (("frcnn", net.bundles["frcnn"]), ("cascade", cascade)):
                times, _ = frcnn.bench(bundle, folder, args.threads, run.RUNS_PER_ROUND)
                seen.setdefault(contender, []).append(times["whole"])
            for peer in PEERS:
                got = run.work(peer, folder, "whole", args.threads, run.RUNS_PER_ROUND)
                seen.setdefault(peer.name, []).append(statistics.median(got["runs_ms"]))
        middle = {contender: statistics.median(times) for contender, times in seen.items()}
        beside = [f"{middle[peer.name]:.0f} ({middle[peer.name] / middle['cascade']:.2f})" for peer in PEERS]
        print(f"| {name} | {dropped:.0%} | {middle['frcnn']:.0f} | {middle['cascade']:.0f} | {' | '.join(beside)} |", flush=True)


if __name__ == "__main__":
    main()
