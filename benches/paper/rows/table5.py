"""Table 5: which layers to fine-tune."""

import published
from lab import FAST
from page import duration, number, table

from .table4 import score

TITLE = "Table 5: which layers to fine-tune"


def write(lab, plots):
    plan, steps, rows = lab.scale.trained, [], []
    for first, flags in plan.frozen_from.items():
        name = f"from-{first}" if flags else FAST
        done = lab.attempt(lambda: lab.fit(name, FAST, flags.split()))
        scored = done and lab.attempt(lambda: score(lab, done[0], name))
        if scored:
            steps += [done[1], scored]
        rows.append([
            f"from {first} on",
            duration(done[1]["figures"]["train_seconds"]) if done else "",
            number(scored["figures"]["map10"]) if scored else "",
            number(scored["figures"]["map07"]) if scored else "",
        ])
    theirs = "; ".join(f"from {layer} on {value}" for layer, value in published.FINE_TUNED_FROM.items())
    note = "" if plan.init else " Here the trunk starts from random weights, so what is frozen has learned nothing."
    return [
        f"Fast R-CNN, {plan.arch} on {plan.data_name}. Published, VGG16: {theirs}.{note}",
        "",
        *table(["fine-tuned", "trained in", "mAP VOC10+", "mAP VOC07"], rows),
        "",
    ], steps
