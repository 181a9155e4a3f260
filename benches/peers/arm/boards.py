"""What a guest sees: the CPU that qemu emulates, and the files by which Linux on such a board describes it.

qemu's user mode shows the host's /proc/cpuinfo and caches, by which some runtimes choose kernels, and on which the aarch64 build
of ONNX Runtime stops with a segmentation fault. Under `-L FOLDER` qemu looks up absolute paths in FOLDER first, so a
board's folder holds these files, and links to the aarch64 system beside them.
"""

from dataclasses import dataclass

BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
ARM_8_2 = f"{BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True)
class Board:
    cpu: str  # qemu's name
    part: str  # Arm's number of the core
    features: str
    caches: tuple  # (level, type, KiB, cores that share it)


BOARDS = {
    "cortex-a53": Board("cortex-a53", "0xd03", BASE, ((1, "Data", 32, 1), (1, "Instruction", 32, 1), (2, "Unified", 512, 4))),
    # As in a Raspberry Pi 5.
    "cortex-a76": Board("cortex-a76", "0xd0b", ARM_8_2, (
        (1, "Data", 64, 1), (1, "Instruction", 64, 1), (2, "Unified", 512, 1), (3, "Unified", 2048, 4),
    )),
    # All that qemu knows, with the caches of the former.
    "max": Board("max", "0xd0b", f"{ARM_8_2} asimdfhm i8mm bf16", (
        (1, "Data", 64, 1), (1, "Instruction", 64, 1), (2, "Unified", 512, 1), (3, "Unified", 2048, 4),
    )),
}


def write(board, system, folder):
    """Makes the folder for qemu's -L: links to `system`, and what Linux would say."""
    def file(path, text):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"{text}\n")

    folder.mkdir(parents=True, exist_ok=True)
    for part in system.iterdir():
        link = folder / part.name
        if not link.exists():
            link.symlink_to(part)
    fields = {
        "processor": 0, "BogoMIPS": "108.00", "Features": board.features, "CPU implementer": "0x41", "CPU architecture": 8,
        "CPU variant": "0x0", "CPU part": board.part, "CPU revision": 1,
    }
    file("proc/cpuinfo", "\n".join(f"{name}\t: {value}" for name, value in fields.items()))
    cpu = "sys/devices/system/cpu"
    for name in ("online", "possible", "present"):
        file(f"{cpu}/{name}", "0")
    for name in ("physical_package_id", "core_id", "thread_siblings_list", "core_siblings_list", "core_cpus_list",
                 "package_cpus_list", "cluster_cpus_list"):
        file(f"{cpu}/cpu0/topology/{name}", "0")
    for index, (level, kind, kib, cores) in enumerate(board.caches):
        shared = f"0-{cores - 1}" if cores > 1 else "0"
        for name, value in {"level": level, "type": kind, "size": f"{kib}K", "shared_cpu_list": shared,
                            "coherency_line_size": 64}.items():
            file(f"{cpu}/cpu0/cache/index{index}/{name}", value)
