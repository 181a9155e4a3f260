"""results.json as Markdown."""

import cases
import ours

STAGE_NAMES = {
    "trunk": "trunk", "roi_pool": "RoI pool", "head": "heads", "roi_pool+head": "RoI pool + heads", "whole": "all of it",
}


def milliseconds(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows):
    return [row(head), row(["---"] * len(head)), *(row(cells) for cells in rows)]


def times(results, names):
    """A line for each network, number of RoIs, stage and number of threads."""
    lines = {}
    for one in results["measured"]:
        boxes = f"{one['rois']}" + (" as large as the image" if one["large"] else "")
        key = (one["net"], boxes, STAGE_NAMES[one["stage"]], one["threads"])
        lines.setdefault(key, {})[one["contender"]] = one["ms"]
    for key, by_contender in lines.items():
        mine = by_contender[ours.NAME]
        yield [
            *key,
            f"**{milliseconds(mine)}**",
            *(f"{milliseconds(by_contender[n])} ({by_contender[n] / mine:.2f}x)" if n in by_contender else "" for n in names),
        ]


def whole_model(results, key, names, format):
    lines = {}
    for one in results["measured"]:
        if one["stage"] == "whole":
            lines.setdefault((one["net"], one["threads"]), {})[one["contender"]] = one[key]
    for (net, threads), by_contender in lines.items():
        yield [net, threads, *(format(by_contender[n]) if n in by_contender else "" for n in [ours.NAME, *names])]


def markdown(results):
    names = [peer.name for peer in cases.PEERS]
    whole = [peer.name for peer in cases.PEERS if "whole" in peer.stages]
    machine, settings = results["machine"], results["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['architecture']}"
        f" ({', '.join(machine['instruction_sets'])}); {machine['date']}; load {machine['load_before']:.1f} before.",
        f"{versions}. Median of {settings['rounds']} alternating rounds; in each, every contender is a process of its"
        f" own that warms up and takes the median of {settings['runs_per_round']} runs.",
        "OpenVINO's default computes in "
        + " and ".join(sorted({one["precision"] for one in results["measured"] if one["contender"] == "OpenVINO default"}))
        + " here.",
        "",
        "Milliseconds (peer's time / frcnn's time: above 1, frcnn is faster). frcnn's \"all of it\" includes preprocessing,"
        " decoding and NMS, which the peers do not have.",
        "",
        *table(["network", "RoIs", "stage", "threads", ours.NAME, *names], times(results, names)),
    ]
    for title, key, format in (
        ("Milliseconds to load the network (frcnn: `open`)", "open_ms", milliseconds),
        ("Milliseconds of the first run", "first_ms", milliseconds),
        ("Peak resident MiB (peers: of which Python and numpy"
         f" {results['bare_python_mb']:.0f})", "peak_rss_mb", lambda mb: f"{mb:.0f}"),
    ):
        rows = list(whole_model(results, key, whole, format))
        if rows:
            lines += ["", f"{title}, all of it in one file:", ""]
            lines += table(["network", "threads", ours.NAME, *whole], rows)
    lines += ["", "Agreement with ONNX Runtime, checked before timing (differences as shares of the tensor's"
              " largest value; of each contender its worst tensor):", ""]
    lines += table(["case", "contender", "difference"], agreement(results))
    return "\n".join(lines) + "\n"


def agreement(results):
    for case, checks in results["agreement"].items():
        worst = {}
        for check in checks:
            if check["contender"] == ours.NAME:
                note = "trained" if check["least_share"] == 1 else "untrained: scores nearly flat"
                yield [case, ours.NAME, f"{check['share']:.0%} of {check['expected']} detections the same ({note})"]
            else:
                name = check["contender"]
                worst[name] = max(worst.get(name, check), check, key=lambda c: c["greatest"])
        for name, check in worst.items():
            yield [case, name, f"{check['tensor']}: at most {check['greatest']:.0e}, mean {check['mean']:.0e}"]
