"""What the numbers were measured on."""

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("onnxruntime", "openvino", "ncnn", "opencv-contrib-python-headless")


def cpu_name():
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    # aarch64 has no name there, only the numbers of the implementer and the part.
    name = fields.get("model name") or f"{fields.get('CPU implementer')} part {fields.get('CPU part')}"
    # Names of virtual machines say little; family and model do.
    return name + (f" (family {fields['cpu family']} model {fields['model']})" if "cpu family" in fields else "")


def instruction_sets():
    text = Path("/proc/cpuinfo").read_text().split()
    known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "asimdhp", "asimddp", "bf16", "i8mm")
    return [name for name in known if name in text]


def cores():
    """One logical CPU of each physical core that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    first_of = {}
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        first_of.setdefault(siblings.read_text() if siblings.exists() else cpu, cpu)
    return sorted(first_of.values())


def describe(frcnn_version):
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "instruction_sets": instruction_sets(),
        "cores": len(cores()),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {"frcnn": frcnn_version} | {name: version(name) for name in PACKAGES},
    }
