"""Figure 3: mAP and recall against the number of proposals."""

from page import curves, number, table
from steps import Photos

TITLE = "Figure 3: are more proposals better?"

SOURCES = {"selective-search": "selective search", "grid": "dense boxes"}


def write(lab, plots):
    ready, steps, rows = lab.scale.ready, [], []
    maps, recalls = {}, {}
    for source, title in SOURCES.items():
        for count in ready.counts:
            step = lab.attempt(lambda: measure(lab, source, count))
            if not step:
                continue
            steps.append(step)
            figures = step["figures"]
            maps.setdefault(title, []).append((figures["boxes"], figures["map10"]))
            recalls.setdefault(title, []).append((figures["boxes"], 100 * figures["recall"]))
            rows.append([title, number(figures["boxes"], 0), number(figures["map10"]), number(figures["map07"]),
                         number(100 * figures["recall"]), number(100 * figures["average_recall"])])
    lines = [
        f"The Fast R-CNN of {ready.onnx.parent.name}, {ready.data_name}. Recall is the share of objects that some box overlaps by"
        " 0.5 or more; average recall the mean of it at 0.5, 0.7 and 0.9. Published, VGG_CNN_M_1024 on VOC 2007: mAP rises from"
        " 1000 to some 2000 boxes of selective search and then falls a little, while average recall goes on rising; 45,000 dense"
        " boxes reach 52.9, well below selective search's 58.7.",
        "",
        *table(["boxes", "an image", "mAP VOC10+", "mAP VOC07", "recall", "average recall"], rows),
    ]
    if maps:
        both = {f"mAP, {name}": values for name, values in maps.items()}
        both |= {f"recall, {name}": values for name, values in recalls.items()}
        curves(plots / "figure3.svg", "mAP and recall", both, "boxes for one image", "%", log_x=True)
        lines += ["", f"![mAP and recall against the number of boxes]({plots.name}/figure3.svg)"]
    return [*lines, ""], steps


def measure(lab, source, count):
    ready = lab.scale.ready
    boxes = lab.work / "proposals" / f"{ready.data.name}-{source}-{count}.safetensors"

    def work(run):
        boxes.parent.mkdir(parents=True, exist_ok=True)
        photos = Photos(ready.data, "test")
        run.call([lab.frcnn, "proposals", photos, "--from", source, "--max-proposals", count, "-o", boxes, "--force",
                  "--threads", lab.threads])
        recall = run.json([lab.frcnn, "proposals", "recall", boxes, "--data", ready.data])
        last = recall["curve"][-1]
        bundle = lab.compile(run, ready.onnx, "ready")
        return {
            "boxes": recall["boxes_per_image"],
            "recall": last["recall"][0],
            "average_recall": sum(last["recall"]) / len(last["recall"]),
            **lab.map_of(run, bundle, ready.data, boxes),
        }

    return lab.steps.do(f"figure3/{source}-{count}", work, data=ready.data_name, seed=0)
