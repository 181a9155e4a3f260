"""Figure 2: where the time goes, before and after SVD."""

import published
from page import bars, milliseconds, number, table

from . import speed

TITLE = "Figure 2: where the time goes, before and after SVD"

STAGES = {"preprocess": "preprocess", "trunk": "conv", "roi_pool": "RoI pool", "head": "fc layers", "postprocess": "decode, NMS"}


def write(lab, plots):
    steps, rows, groups = [], [], {}
    for net in lab.scale.speed.nets:
        for when, contender in (("before", "Fast R-CNN"), ("after", "Fast R-CNN + SVD")):
            step = speed.step(lab, net, contender)
            if not step:
                continue
            steps.append(step)
            figures = step["figures"]
            groups[f"{net}, {when}"] = {title: figures[stage] for stage, title in STAGES.items()}
            total = figures["total"]
            rows.append([net, when, *(share(figures[stage], total) for stage in STAGES), milliseconds(total)])
    for when, stages in published.STAGES_MS.items():
        total, fc = sum(stages.values()), stages["fc6"] + stages["fc7"]
        # Their "other" has preprocessing, decoding and NMS.
        rows.append(["vgg16, published", when, "", share(stages["conv"], total), share(stages["RoI pool"], total),
                     share(fc, total), share(stages["other"], total), milliseconds(total)])
    lines = ["Milliseconds, and the share of all; conditions as in table 4. fc layers are all that follows RoI pooling. A step"
             " that runs within another (RoI pooling in the first fc layer, say) counts as that other.", ""]
    lines += speed.warning(steps)
    lines += table(["network", "SVD", *STAGES.values(), "all"], rows)
    if groups:
        bars(plots / "figure2.svg", "Time for one image", groups, "ms")
        lines += ["", f"![Time for one image by stage]({plots.name}/figure2.svg)"]
    return [*lines, ""], steps


def share(value, total):
    return f"{milliseconds(value)} ({number(100 * value / total, 0)}%)"
