"""results.json as Markdown."""

import cases

STAGE_NAMES = {
    "trunk": "trunk", "roi_pool": "RoI pool", "head": "heads", "roi_pool+head": "RoI pool + heads", "whole": "all of it",
}


def milliseconds(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows):
    return [row(head), row(["---"] * len(head)), *(row(cells) for cells in rows)]


def ratio(peer, mine):
    return f"({peer / mine:.2f}x)"


def times(results, names):
    """A line for each network, number of RoIs, stage and number of threads."""
    lines = {}
    for one in results["measured"]:
        boxes = f"{one['rois']}" + (" as large as the image" if one["large"] else "")
        key = (one["net"], boxes, STAGE_NAMES[one["stage"]], one["threads"])
        lines.setdefault(key, {})[one["contender"]] = one["ms"]
    for key, by_contender in lines.items():
        f32, bf16 = (by_contender[one.name] for one in cases.OURS)
        reduced = by_contender.get(cases.REDUCED)
        peers = (by_contender.get(name) for name in names)
        yield [
            *key,
            f"**{milliseconds(f32)}**",
            *(f"{milliseconds(peer)} {ratio(peer, f32)}" if peer else "" for peer in peers),
            f"**{milliseconds(bf16)}**" + (f" {ratio(reduced, bf16)}" if reduced else ""),
        ]


def whole_model(results, key, names, format):
    lines = {}
    for one in results["measured"]:
        if one["stage"] == "whole":
            lines.setdefault((one["net"], one["threads"]), {})[one["contender"]] = one[key]
    for (net, threads), by_contender in lines.items():
        yield [net, threads, *(format(by_contender[n]) if n in by_contender else "" for n in names)]


def markdown(results):
    names = [peer.name for peer in cases.PEERS]
    f32, bf16 = (one.name for one in cases.OURS)
    whole = [f32, *(peer.name for peer in cases.PEERS if "whole" in peer.stages), bf16]
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
        "Milliseconds (peer's time / frcnn's time: above 1, frcnn is faster; beside frcnn bf16 stands"
        f" {cases.REDUCED}'s time / its own). frcnn's \"all of it\" includes preprocessing, decoding and NMS, which the"
        " peers do not have.",
        "",
        *table(["network", "RoIs", "stage", "threads", f32, *names, bf16], times(results, names)),
    ]
    for title, key, format in (
        ("Milliseconds to load the network (frcnn: `open`)", "open_ms", milliseconds),
        ("Milliseconds of the first run", "first_ms", milliseconds),
        ("Peak resident MiB (peers: of which Python and numpy"
         f" {results['bare_python_mib']:.0f})", "peak_rss_mib", lambda mib: f"{mib:.0f}"),
    ):
        rows = list(whole_model(results, key, whole, format))
        if rows:
            lines += ["", f"{title}, all of it in one file:", ""]
            lines += table(["network", "threads", *whole], rows)
    lines += ["", "Agreement with ONNX Runtime, checked before timing (differences as shares of the tensor's"
              " largest value; of each contender its worst tensor):", ""]
    lines += table(["case", "contender", "difference"], agreement(results))
    return "\n".join(lines) + "\n"


def agreement(results):
    for case, checks in results["agreement"].items():
        worst = {}
        for check in checks:
            if "share" in check:
                note = "trained" if check["least_share"] == 1 else "untrained: scores nearly flat"
                yield [case, check["contender"], f"{check['share']:.0%} of {check['expected']} detections the same ({note})"]
            else:
                name = check["contender"]
                worst[name] = max(worst.get(name, check), check, key=lambda c: c["greatest"])
        for name, check in worst.items():
            yield [case, name, f"{check['tensor']}: at most {check['greatest']:.0e}, mean {check['mean']:.0e}"]
