"""Table 7: one scale against five."""

import published
from lab import FAST
from page import milliseconds, number, table

from .svd import image_time

TITLE = "Table 7: one scale or five?"


def write(lab, plots):
    steps, rows = [], []
    ready, plan = lab.scale.ready, lab.scale.trained
    # A model that is there, trained at one scale.
    for scales in ((ready.short_side,), ready.five_scales):
        step = lab.attempt(lambda: measure(lab, ready, "ready", ready.onnx, scales))
        if step:
            steps.append(step)
        rows.append(row(ready.onnx.parent.name, ready.data_name, 1, scales, step))
    # Trained at as many scales as it is tested at.
    for name, scales in ((FAST, (plan.short_side,)), ("five-scales", plan.five_scales)):
        five = scales if len(scales) > 1 else None
        done = lab.attempt(lambda: lab.fit(name, FAST, scales=five))
        step = done and lab.attempt(lambda: measure(lab, plan, name, done[0] / "model.onnx", scales))
        if step:
            steps += [done[1], step]
        rows.append(row(plan.arch, plan.data_name, len(scales), scales, step))
    theirs = "; ".join(
        f"{net} " + " and ".join(f"{value} mAP in {seconds} s at {count}" for count, (value, seconds) in scales.items())
        for net, scales in published.SCALES.items()
    )
    head = ["network", "data", "scales trained at", "scales tested at", "mAP VOC10+", "mAP VOC07", "time for one image"]
    return [f"Fast R-CNN. Published: {theirs}.", "", *table(head, rows), ""], steps


def row(net, data, trained_at, scales, step):
    figures = step["figures"] if step else {}
    return [net, data, trained_at, ", ".join(map(str, scales)), number(figures.get("map10")), number(figures.get("map07")),
            milliseconds(figures.get("ms"))]


def measure(lab, subject, name, onnx, scales):
    """mAP and time of a model at these scales."""
    count = len(scales)

    def work(run):
        manifest = lab.manifest(onnx, f"{name}-{count}", scales=scales, max_long_side=2000 if count > 1 else 1000)
        bundle = lab.compile(run, onnx, f"scales-{name}-{count}", manifest=manifest)
        proposals = lab.proposals(subject, "test")
        return {**lab.map_of(run, bundle, subject.data, proposals), "ms": image_time(lab, run, bundle, subject, proposals)}

    return lab.steps.do(f"scales/{name}-{count}", work, data=subject.data_name)
