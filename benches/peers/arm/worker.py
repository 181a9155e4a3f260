"""Runs in the guest: one runtime over all workloads. Writes its outputs, and marks on standard error what is to be counted.

The plugin (targets/instructions/count.c) prints its counts before each such line. A workload is run once to warm up, which
also plans and allocates; what is counted is the second run, less what nothing but the marks costs (counting.py). A
workload that the runtime refuses is marked with its words and left.
"""

import argparse
import importlib
import os
from pathlib import Path

import numpy as np


def mark(*words):
    os.write(2, " ".join(("mark:", *words)).replace("\n", " ").encode() + b"\n")


def work(runtime, precision, folder, file, out):
    mark(folder.name, "begin")
    model = runtime.load(str(folder / file), 1, precision)
    model.bind({name: np.load(folder / f"{name}.npy") for name in model.inputs})
    model.run()
    mark(folder.name, "idle")
    mark(folder.name, "from")
    model.run()
    mark(folder.name, "to")
    out.mkdir(parents=True, exist_ok=True)
    for name, value in model.results().items():
        np.save(out / f"{name}.npy", value)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runtime", required=True)
    arguments.add_argument("--precision", required=True)
    arguments.add_argument("--file", required=True, help="the model in each folder")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("folders", type=Path, nargs="+", help="one for each workload")
    args = arguments.parse_args()
    runtime = importlib.import_module(f"runtimes.{args.runtime}")
    for folder in args.folders:
        try:
            work(runtime, args.precision, folder, args.file, args.out / folder.name)
        except Exception as error:  # whatever a runtime throws is what the report says
            mark(folder.name, "refused", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
