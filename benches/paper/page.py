"""Markdown and plots."""

import json
from pathlib import Path


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]


def number(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}"


def milliseconds(value):
    if value is None:
        return ""
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


def duration(seconds):
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def ratio(value):
    return "" if value is None else f"{value:.0f}x" if value >= 10 else f"{value:.1f}x"


def provenance(steps):
    """Where a section's figures come from: data, seed, when, on what, for how long, and the commands."""
    if not steps:
        return []
    lines = ["<details><summary>Data, seed, time and commands</summary>", ""]
    for step in {json.dumps(step): step for step in steps}.values():
        about = "; ".join(filter(None, (
            step.get("data"),
            f"seed {step['seed']}" if "seed" in step else None,
            f"{step['date']}, {duration(step['seconds'])}",
            f"{step['machine']}, load {step['load_before']:.1f} before",
        )))
        lines += [about, "", "```sh", *step["commands"], "```", ""]
    return [*lines, "</details>", ""]


def bars(path, title, groups, unit):
    """Stacked bars: `groups` is {bar: {part: value}}."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(groups) + 1.6), layout="constrained")
    names = list(groups)
    parts = list(dict.fromkeys(part for bar in groups.values() for part in bar))
    left = [0.0] * len(names)
    for part in parts:
        widths = [groups[name].get(part, 0.0) for name in names]
        axes.barh(names, widths, left=left, label=part)
        left = [a + b for a, b in zip(left, widths)]
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=len(parts), frameon=False)
    save(figure, path)


def curves(path, title, lines, x_label, y_label, log_x=False):
    """`lines` is {name: [(x, y), ...]}."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, values in lines.items():
        axes.plot(*zip(*values), marker="o", label=name)
    if log_x:
        axes.set_xscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    axes.legend(frameon=False)
    save(figure, path)


def pyplot():
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same bytes.
    matplotlib.rcParams["svg.hashsalt"] = "frcnn"
    from matplotlib import pyplot as plt

    return plt


def save(figure, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot().close(figure)
