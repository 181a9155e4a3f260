"""Runs programs for aarch64 under qemu and reads the plugin's counts."""

import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Guest:
    board: str  # qemu's name of the CPU
    system: Path  # the board's folder: boards.write
    plugin: Path

    def run(self, command, environment=None):
        """The lines of standard error, among them the plugin's, and the exit status."""
        done = subprocess.run(
            ["qemu-aarch64", "-cpu", self.board, "-L", str(self.system), "-plugin", str(self.plugin), *map(str, command)],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        return done.stderr.decode(errors="replace").splitlines(), done.returncode


def classes(line):
    """A line of the plugin's as {class: instructions}, or nothing."""
    if not line.startswith("classes: "):
        return None
    return Counter({name: int(count) for name, count in (part.split("=") for part in line.split()[1:])})


def minus(one, other):
    return Counter({name: one[name] - other[name] for name in one})


def of_one_more(guest, command):
    """What a program executes for one time more of what it is told to do TIMES times."""
    def executed(times):
        lines, status = guest.run([word if word != "TIMES" else times for word in command])
        if status != 0:
            raise RuntimeError("\n".join(line for line in lines if not classes(line))[-500:] or f"exit status {status}")
        return classes(next(line for line in reversed(lines) if classes(line)))

    once, twice = executed(1), executed(2)
    return minus(twice, once)


def of_marks(lines):
    """{workload: counts of one run, or why there are none}, and the workload during which the program ended, if any.

    `lines` are standard error of worker.py, or of frcnn's example `stage`: for each workload `mark: WORKLOAD begin`, then
    either `idle`, `from` and `to`, or `refused` and why.
    """
    found, begun, counted, at = {}, None, None, {}
    for line in lines:
        counted = classes(line) or counted
        if not line.startswith("mark: "):
            continue
        workload, what, *words = line.removeprefix("mark: ").split(" ")
        at[what] = counted
        if what == "begin":
            begun = workload
        elif what == "to":
            found[workload] = minus(minus(at["to"], at["from"]), minus(at["from"], at["idle"]))
            begun = None
        elif what == "refused":
            found[workload], begun = " ".join(words), None
    return found, begun
