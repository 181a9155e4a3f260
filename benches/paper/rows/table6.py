"""Table 6: one loss, two losses, or one after the other."""

import published
from lab import FAST, points
from page import number, table

TITLE = "Table 6: does multi-task training help?"

# Of each column: the name of the training, its flags, and those of `frcnn-train eval`.
COLUMNS = {
    "classification only": ("cls-only", ("--cls-only",), ("--no-bbox",)),
    "both losses, boxes not used": (FAST, (), ("--no-bbox",)),
    "stage-wise, boxes used": ("stage-wise", ("--stage-wise",), ()),
    "both losses, boxes used": (FAST, (), ()),
}


def write(lab, plots):
    plan, steps, rows = lab.scale.trained, [], []
    for column, (name, flags, eval_flags) in COLUMNS.items():
        done = lab.attempt(lambda: lab.fit(name, FAST, flags))
        scored = done and lab.attempt(lambda: score(lab, done[0], name, eval_flags))
        if scored:
            steps += [done[1], scored]
        theirs = " / ".join(map(str, published.MULTI_TASK[column]))
        figures = scored["figures"] if scored else {}
        rows.append([column, number(figures.get("map10")), number(figures.get("map07")), theirs])
    return [
        f"Fast R-CNN, {plan.arch} on {plan.data_name}; scored by `frcnn-train eval`, which can leave the regressions out."
        " Published: S / M / L on VOC 2007.",
        "",
        *table(["training", "mAP VOC10+", "mAP VOC07", "published"], rows),
        "",
    ], steps


def score(lab, folder, name, flags):
    plan = lab.scale.trained

    def measure(run):
        boxes = lab.proposals(plan, "test")
        report = run.json([lab.need_trainer(), "eval", folder, "--data", plan.data, "--proposals", boxes, *flags])
        return {"map10": points(report["map_voc10"]), "map07": points(report["map_voc07"])}

    return lab.steps.do(f"map/table6-{name}{'-no-bbox' if flags else ''}", measure, data=plan.data_name)
