"""Scores frcnn's tracker beside norfair on the same detections of drawn sequences."""

import argparse
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import peers
import sequences
from scores import score

MEASURES = ("MOTA", "IDF1", "HOTA")


def of_norfair(job):
    way, frames = job
    return {name: score(frames, boxes) for name, boxes in peers.norfair(way, frames).items()}


def table(rows):
    """Per sequence: ours, and of all ways of norfair the best in that measure."""
    yield "| sequence | objects, frames | MOTA | norfair | IDF1 | norfair | HOTA | norfair | id switches | norfair |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, frames, ours, theirs in rows:
        objects = len({number for frame in frames for number, _ in frame.truth})
        cells = [name, f"{objects}, {len(frames)}"]
        for measure in MEASURES:
            best = max(s[measure] for s in theirs.values())
            cells += [f"{ours[measure]:.1f}" + ("" if ours[measure] >= best else " (worse)"), f"{best:.1f}"]
        cells += [str(ours["switches"]), str(min(s["switches"] for s in theirs.values()))]
        yield "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--follow", required=True, help="the example `follow` of frcnn-tracks, built")
    parser.add_argument("--seeds", type=int, default=1, help="sequences of each kind (default 1)")
    parser.add_argument("--keep", type=Path, help="a file in which what norfair scored is kept and found again")
    parser.add_argument("--details", action="store_true", help="false ones, misses and overlap of ours")
    arguments = parser.parse_args()
    kept = pickle.loads(arguments.keep.read_bytes()) if arguments.keep and arguments.keep.exists() else {}
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for make in sequences.ALL:
            for seed in range(1, arguments.seeds + 1):
                sequence = make(seed)
                key = (sequence.name, seed)
                if key not in kept:
                    frames = sequences.draw(sequence)
                    jobs = [(way, frames) for way in peers.NORFAIR]
                    kept[key] = frames, {name: s for scores in pool.map(of_norfair, jobs) for name, s in scores.items()}
                    if arguments.keep:
                        arguments.keep.write_bytes(pickle.dumps(kept))
                frames, theirs = kept[key]
                ours = score(frames, peers.frcnn(arguments.follow, frames))
                if arguments.details:
                    best = max(theirs.values(), key=lambda s: s["HOTA"])
                    for who, s in (("frcnn", ours), ("norfair", best)):
                        print(f"{sequence.name} {seed} {who}: " + ", ".join(f"{k} {v:.1f}" for k, v in s.items()), file=sys.stderr)
                name = sequence.name if arguments.seeds == 1 else f"{sequence.name} {seed}"
                rows.append((name, frames, ours, theirs))
    print("\n".join(table(rows)))
    return any(ours[m] < s[m] for _, _, ours, theirs in rows for s in theirs.values() for m in MEASURES)


if __name__ == "__main__":
    sys.exit(main())
