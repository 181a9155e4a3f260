"""Table 4: R-CNN, SPPnet, Fast R-CNN, and Fast R-CNN with SVD."""

import published
from lab import FAST, NAMES, RCNN, SPPNET, manifest_of, rank_text
from page import duration, milliseconds, number, ratio, table

from . import speed

TITLE = "Table 4: time to train, time to test, mAP"

CONTENDERS = ("R-CNN", "SPPnet", "SPPnet, one scale", "Fast R-CNN", "Fast R-CNN + SVD")
REFERENCE = "Fast R-CNN + SVD"


def write(lab, plots):
    steps = []
    lines = test_times(lab, steps)
    lines += training(lab, steps)
    return lines, steps


def test_times(lab, steps):
    setting = lab.scale.speed
    rows, warped, why = [], [], []
    for net in setting.nets:
        found = {contender: speed.step(lab, net, contender) for contender in CONTENDERS}
        totals = {name: step["figures"]["total"] for name, step in found.items() if step}
        theirs = {name: published.TEST_SECONDS.get(name, {}).get(net) for name in CONTENDERS}
        for contender in CONTENDERS:
            step = found[contender]
            if step:
                steps.append(step)
            ours = totals.get(contender)
            rows.append([
                net,
                contender,
                step["figures"].get("distinct_rois", setting.rois) if step else "",
                number(step["figures"]["macs"] / 1e9, 0) if step else "",
                milliseconds(ours),
                ratio(ours / totals[REFERENCE]) if ours and REFERENCE in totals else "",
                f"{theirs[contender]} s" if theirs[contender] else "",
                ratio(theirs[contender] / theirs[REFERENCE]) if theirs[contender] and theirs[REFERENCE] else "",
            ])
        if found["R-CNN"]:
            figures = found["R-CNN"]["figures"]
            warped.append(f"{net}: {milliseconds(figures['per_proposal'])} for each proposal")
        if found["R-CNN"] and found[REFERENCE]:
            fewer = found["R-CNN"]["figures"]["macs"] / found[REFERENCE]["figures"]["macs"]
            faster = totals["R-CNN"] / totals[REFERENCE]
            why.append(f"{net}: {ratio(fewer)} fewer multiplications, {ratio(faster)} faster")
    lines = [
        f"Test time for one image with {setting.rois} proposals, whose making is not counted in: {setting.frame}, its short side"
        f" resized to {setting.short_side}; {lab.threads} thread{'s' if lab.threads > 1 else ''}. Boxes that come to the same"
        " RoI on the feature map are computed once.",
        f"SPPnet runs five scales ({', '.join(map(str, setting.five_scales))}) with its fc layers as they are, as published;"
        " a second row has it at one scale. SVD: " + "; ".join(f"{net} {rank_text(svd)}" for net, svd in setting.svd.items())
        + ".",
    ]
    if warped:
        few, more = setting.warped
        lines.append(f"**R-CNN's time is extrapolated**: measured at {few} and {more} proposals, a line through both"
                     f" ({'; '.join(warped)}).")
    if why:
        lines.append(f"{REFERENCE} against R-CNN: {'; '.join(why)}. What is beyond the first figure is efficiency: how near to its"
                     " peak the machine comes in each. Multiplications are those of the definition; Winograd convolution,"
                     " which both use, does fewer and most so where convolutions dominate, which favours R-CNN.")
    head = ["network", "method", "distinct RoIs", "G multiplications", "here", "over Fast R-CNN + SVD", "published (K40)", "over Fast R-CNN + SVD, published"]
    return ["\n\n".join(lines), "", *speed.warning(steps), *table(head, rows), ""]


def training(lab, steps):
    plan = lab.scale.trained
    rows = []
    fitted = {method: lab.attempt(lambda: lab.fit(method, method)) for method in (FAST, SPPNET, RCNN)}
    base = fitted[FAST][1]["figures"]["train_seconds"] if fitted[FAST] else None
    for method, svd in ((RCNN, None), (SPPNET, None), (FAST, None), (FAST, plan.svd)):
        name = NAMES[method] + (" + SVD" if svd else "")
        done = fitted[method]
        seconds, scored, stages = None, None, {}
        if done:
            folder, step = done
            seconds, stages = step["figures"]["train_seconds"], step["figures"]["stages"]
            scored = lab.attempt(lambda: score(lab, folder, f"{method}{'-svd' if svd else ''}", svd))
            steps += [step] if not svd else []
            steps += [scored] if scored else []
        theirs = {key: figures.get(name, {}).get("vgg16") for key, figures in
                  (("hours", published.TRAIN_HOURS), ("map", published.MAP))}
        rows.append([
            name,
            "" if svd else duration(seconds),
            "" if svd or not (seconds and base) else ratio(seconds / base),
            ", ".join(f"{stage} {duration(taken)}" for stage, taken in stages.items()),
            number(scored["figures"]["map10"]) if scored else "",
            number(scored["figures"]["map07"]) if scored else "",
            theirs["hours"] if theirs["hours"] and not svd else "",
            theirs["map"],
        ])
    iterations = ", ".join(f"{NAMES[method]} {count}" for method, count in plan.iterations.items())
    head = ["method", "trained in", "over Fast R-CNN", "of which", "mAP VOC10+", "mAP VOC07", "published: hours",
            "published: mAP"]
    return [
        f"Trained and scored: {plan.arch} on {plan.data_name}, short side {plan.short_side}; mini-batches: {iterations}."
        f" R-CNN learns from the first {plan.rcnn_proposals} boxes of each photo. Published figures are VGG16's on VOC 2007.",
        "",
        *table(head, rows),
        "",
    ]


def score(lab, folder, name, svd=None):
    """mAP of a trained model on the test split.

    Probabilities have their threshold of 0.05; the margins of SVMs have none, as published.
    """
    plan = lab.scale.trained

    def measure(run):
        onnx = folder / "model.onnx"
        margins = manifest_of(onnx).get("scores") == "margins"
        manifest = lab.manifest(onnx, f"trained-{name}", score_threshold=-1000) if margins else None
        bundle = lab.compile(run, onnx, f"trained-{name}", svd=svd, manifest=manifest)
        return lab.map_of(run, bundle, plan.data, lab.proposals(plan, "test"))

    return lab.steps.do(f"map/{name}", measure, data=plan.data_name)
