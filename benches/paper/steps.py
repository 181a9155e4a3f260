"""Steps of an experiment: each is done once, and its figures kept in a JSON file."""

import json
import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path


class Failed(Exception):
    """A command that failed; the experiment goes on with the other steps."""


class Missing(Exception):
    """What a step needs and this machine has not; the text says how to get it."""


class Steps:
    """The steps of one scale, in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, name, work, **about):
        """What `work(recorder)` returns, from the file of an earlier run if there is one.

        The file also has what the step is about (data, seed), its commands, and when and for how long it ran.
        """
        path = self.folder / f"{name}.json"
        if path.exists():
            return json.loads(path.read_text())
        print(f"{datetime.now():%H:%M:%S} {name}", file=sys.stderr, flush=True)
        recorder = Recorder()
        begun = time.monotonic()
        figures = work(recorder)
        kept = {
            **about,
            "figures": figures,
            "commands": recorder.commands,
            "seconds": time.monotonic() - begun,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": machine(),
            "load_before": recorder.load_before,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=1) + "\n")
        partial.rename(path)
        return kept


class Recorder:
    """Runs commands, and remembers them."""

    def __init__(self):
        self.commands = []
        self.load_before = load()

    def call(self, command, environment=None):
        """Standard output of a command, whose parts are strings, paths, numbers and Photos."""
        self.commands.append(shown(command))
        command = [str(path) for part in command for path in (part.paths() if isinstance(part, Photos) else [part])]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        if done.returncode != 0:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise Failed(f"`{self.commands[-1]}` failed ({done.returncode}): {last}")
        return done.stdout

    def json(self, command):
        return json.loads(self.call([*command, "--json"]))


class Photos:
    """The photos of a split."""

    def __init__(self, data, split):
        self.folder, self.list = data / "JPEGImages", data / "ImageSets/Main" / f"{split}.txt"

    def paths(self):
        return [self.folder / f"{stem}.jpg" for stem in self.list.read_text().split()]

    def __str__(self):
        return f"$(sed 's|.*|{self.folder}/&.jpg|' {self.list})"


def shown(command):
    """As somebody types it in the root of the repository."""
    root = str(Path(__file__).resolve().parents[2])
    return " ".join(map(str, command)).replace(root + "/", "").replace(str(Path(root).parent) + "/shared", "../shared")


def load():
    """Cores that others keep busy at this moment. The system's load average would count the step before, too."""

    def ticks():
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]  # all, and what was idle or waited for a disk

    try:
        all_before, idle_before = ticks()
        time.sleep(0.3)
        all_after, idle_after = ticks()
    except OSError:  # not Linux
        return os.getloadavg()[0]
    return os.cpu_count() * (1 - (idle_after - idle_before) / max(1, all_after - all_before))


def machine():
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
