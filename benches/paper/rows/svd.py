"""SVD: mAP and time against rank."""

from page import curves, milliseconds, number, table
from steps import Photos

TITLE = "SVD: how far can the fc layers be factored?"


def write(lab, plots):
    step = lab.attempt(lambda: sweep(lab))
    if not step:
        return [], []
    first = step["figures"]["rows"][0]
    rows = []
    for row in step["figures"]["rows"]:
        ranks = ", ".join(f"{layer} {rank}" for layer, rank in row["ranks"])
        rows.append([row["setting"], ranks, f"{row['parameters'] / 1e6:.2f} M", milliseconds(row["head_ms"]),
                     milliseconds(row["total_ms"]), number(100 * row["map"]), number(row["drop"])])
    ready = lab.scale.ready
    points = [(row["parameters"] / first["parameters"], 100 * row["map"]) for row in step["figures"]["rows"]]
    curves(plots / "svd.svg", "mAP against size", {ready.onnx.parent.name: points}, "weights, as a share of all", "mAP VOC10+, %")
    return [
        f"`frcnn sweep` over {ready.onnx.parent.name}, {ready.data_name}: the share of the squared singular values that is kept, in"
        " every hidden fully connected layer; medians for one image. Published, VGG16 with fc6 1024 and fc7 256: 30% less"
        " time for 0.3 points of mAP.",
        "",
        *table(["kept", "ranks", "weights", "fc layers", "all", "mAP VOC10+", "lost"], rows),
        "",
        f"![mAP against the share of the weights]({plots.name}/svd.svg)",
        "",
    ], [step]


def sweep(lab):
    ready = lab.scale.ready

    def work(run):
        boxes = lab.proposals(ready, "test")
        return run.json([lab.frcnn, "sweep", ready.onnx, "--data", ready.data, "--proposals", boxes, "--energies", ready.energies,
                         "--threads", lab.threads])

    return lab.steps.do("svd/sweep", work, data=ready.data_name)


def image_time(lab, run, bundle, subject, proposals):
    """Median milliseconds for the first photo of the test split."""
    photo = Photos(subject.data, "test").paths()[0]
    report = run.json([lab.frcnn, "bench", bundle, "--image", photo, "--proposals", proposals, "--runs", lab.scale.speed.runs,
                       "--threads", lab.threads])
    return report["stages"]["total"]["p50_ms"]
