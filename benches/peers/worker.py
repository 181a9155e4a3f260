"""Runs one model file in one runtime and prints one line of JSON: what loading, the first and the next runs took.

A process of its own, so that peak memory, thread pools and the state of allocators belong to one contender.
"""

import argparse
import importlib
import json
import time
from pathlib import Path

import numpy as np


def resident_mib(field):
    """VmRSS or VmHWM of this process. Not getrusage, whose maximum includes the parent's size before exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def timed_ms(call):
    begin = time.perf_counter()
    result = call()
    return result, (time.perf_counter() - begin) * 1e3


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runtime", required=True)
    arguments.add_argument("--precision", required=True)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--tensors", type=Path, required=True, help="folder with NAME.npy for each input")
    arguments.add_argument("--threads", type=int, required=True)
    arguments.add_argument("--runs", type=int, required=True)
    arguments.add_argument("--save", type=Path, help="folder to write NAME.npy into for each output")
    args = arguments.parse_args()

    bare_mib = resident_mib("VmRSS")
    runtime = importlib.import_module(f"runtimes.{args.runtime}")
    model, open_ms = timed_ms(lambda: runtime.load(args.model, args.threads, args.precision))
    model.bind({name: np.load(args.tensors / f"{name}.npy") for name in model.inputs})
    _, first_ms = timed_ms(model.run)
    if args.runs:
        model.run()  # `frcnn bench` warms up twice as well.
    runs_ms = [timed_ms(model.run)[1] for _ in range(args.runs)]
    peak_mib = resident_mib("VmHWM")

    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        for name, value in model.results().items():
            np.save(args.save / f"{name}.npy", value)
    print(json.dumps({
        "open_ms": open_ms, "first_ms": first_ms, "runs_ms": runs_ms, "peak_rss_mib": peak_mib,
        "bare_python_mib": bare_mib, "precision": model.precision,
    }))


if __name__ == "__main__":
    main()
