"""How long each method takes on one image, at full size with seeded weights: for table 4 and figure 2."""

from lab import FAST, RCNN, SPPNET
from scales import SEED


def step(lab, net, contender):
    """Median milliseconds of each stage and of all, proposals excluded."""
    speed = lab.scale.speed

    def measure(run):
        if contender == "R-CNN":
            return warped(lab, run, net)
        method = SPPNET if contender.startswith("SPPnet") else FAST
        five = contender == "SPPnet"
        onnx = lab.untrained(run, net, method)
        scales = speed.five_scales if five else (speed.short_side,)
        long_side = speed.five_scales_long_side if five else speed.long_side
        name = file_name(net, contender)
        manifest = lab.manifest(onnx, name, scales=scales, max_long_side=long_side)
        svd = speed.svd[net] if contender.endswith("SVD") else None
        bundle = lab.compile(run, onnx, name, svd=svd, manifest=manifest)
        pixel, _, roi = lab.macs(run, bundle)
        figures = lab.bench(run, bundle, speed.rois, speed.runs)
        pixels = sum(height * width for height, width in figures["blob"])
        return {**figures, "macs": pixel * pixels + roi * figures["distinct_rois"]}

    about = {"data": f"{speed.frame}, {speed.rois} of them, seeded weights", "seed": SEED}
    return lab.attempt(lambda: lab.steps.do(f"speed/{file_name(net, contender)}", measure, **about))


def file_name(net, contender):
    return f"{net}-{contender}".lower().replace(" + ", "-").replace(", ", "-").replace(" ", "-")


def warning(steps):
    """A line for times that something else on the machine has spoilt."""
    busiest = max((step["load_before"] for step in steps), default=0.0)
    if busiest < 0.5:
        return []
    return [f"**The machine did other work (load up to {busiest:.1f}): these times are not to be relied on.** On a quiet one,"
            " remove `steps/speed` and run again.", ""]


def warped(lab, run, net):
    """R-CNN runs the network on each proposal: its time is a line, which a few proposals give."""
    speed = lab.scale.speed
    bundle = lab.compile(run, lab.untrained(run, net, RCNN), f"{net}-r-cnn")
    few, more = speed.warped
    at = {rois: lab.bench(run, bundle, rois, speed.runs)["total"] for rois in (few, more)}
    each = (at[more] - at[few]) / (more - few)
    _, trunk, head = lab.macs(run, bundle)
    macs = speed.rois * (trunk + head)
    return {"macs": macs, "total": at[few] + each * (speed.rois - few), "per_proposal": each, "measured": at}
