"""results.json as Markdown."""

import workloads

TITLES = {
    "conv3x3_256_256": "3x3, 256 to 256, 20 x 24", "conv3x3_256_256_large": "3x3, 256 to 256, 38 x 50",
    "conv1x1_256_64": "1x1, 256 to 64, 20 x 24", "fc_784_512_60": "fc 784 to 512, 60 rows",
    "fc_3136_512_10": "fc 3136 to 512, 10 rows", "trunk": f"SqueezeNet's trunk, {workloads.HEIGHT} x {workloads.WIDTH}",
    "roi_pool": f"its RoI pooling, {workloads.ROIS} RoIs", "head": f"its heads, {workloads.ROIS} RoIs", "whole": "all of it",
}
CLASSES = ("fma_f32", "fma_f16", "int8", "load", "store", "rest")


def millions(count):
    value = count / 1e6
    return "0" if count == 0 else f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(cells):
    return "| " + " | ".join(map(str, cells)) + " |"


def table(head, rows):
    return [row(head), row(["---"] * len(head)), *map(row, rows)]


def agreement(one):
    return one.get("agreement") or f"{one['difference']:.0e}"


def least(entries, workload, precision):
    """Of the peers that were counted, the one with the fewest instructions."""
    counted = (one for one in entries if "classes" in one and one["contender"] != "frcnn")
    fitting = (one for one in counted if (one["workload"], one["precision"]) == (workload, precision))
    return min(fitting, key=lambda one: one["instructions"], default=None)


def summary(entries, board):
    """A line for each workload: frcnn, and the least of the others for each type."""
    entries = [one for one in entries if one["board"] == board]
    mine = {(one["workload"], one["precision"]): one["instructions"] for one in entries
            if "classes" in one and one["contender"] == "frcnn"}
    for workload, title in TITLES.items():
        own = [f"{precision} {millions(count)}" for (name, precision), count in mine.items() if name == workload]
        cells = []
        for precision in ("f32", "f16", "int8"):
            parts = [least(entries, name, precision) for name in (("trunk", "head") if workload == "whole" else (workload,))]
            pooling = mine.get(("roi_pool", "f32"), 0) if workload == "whole" else 0
            there = all(parts)
            names = " + ".join(dict.fromkeys(one["contender"] for one in parts)) if there else ""
            cells.append(f"{names} {millions(sum(one['instructions'] for one in parts) + pooling)}" if there else "")
        if own:
            yield [title, ", ".join(own), *cells]


def markdown(results):
    entries = results["entries"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"{results['date']}; {versions}. Millions of instructions of one run on one thread: **counts under qemu, not time**."
        + ("" if results["trained"] else " The network is untrained."), "",
        "The least of the others for each type, on a Cortex-A76; for all of it, their best trunk and heads with frcnn's RoI pooling:",
        "",
        *table(["", "frcnn", "best f32", "best f16", "best int8"], summary(entries, "cortex-a76")),
        "", "All of them, by class of instruction; `differs` is the greatest difference from ONNX Runtime's float32 output on the host,"
        " as a share of the output's largest value:", "",
    ]
    counted = [one for one in entries if "classes" in one]
    counted.sort(key=lambda one: (list(TITLES).index(one["workload"]), one["contender"] != "frcnn"))
    lines += table(
        ["", "CPU", "contender", "type", "in all", "FMA f32", "FMA f16", "int8", "loads", "stores", "rest", "differs"],
        ([TITLES[one["workload"]], one["board"], one["contender"], one["precision"], f"**{millions(one['instructions'])}**",
          *(millions(one["classes"][name]) for name in CLASSES), agreement(one) + ("" if one["same"] else " **wrong**")]
         for one in counted),
    )
    refused = [one for one in entries if "refused" in one]
    if refused:
        lines += ["", "Not counted, and why:", ""]
        lines += table(["", "CPU", "contender", "type", "reason"], (
            [TITLES[one["workload"]], one["board"], one["contender"], one["precision"], one["refused"].replace("|", "/")[:200]]
            for one in refused
        ))
    lines += ["", *(f"- {name} is not there: {why}." for name, why in results["not_had"].items())]
    return "\n".join(lines) + "\n"
