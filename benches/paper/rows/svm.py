"""Section 5.4: SVMs against softmax."""

import published
from lab import FAST
from page import duration, number, table

from .table4 import score

TITLE = "Section 5.4: do SVMs beat softmax?"


def write(lab, plots):
    plan, steps, rows = lab.scale.trained, [], []
    done = lab.attempt(lambda: lab.fit(FAST, FAST))
    softmax = done and lab.attempt(lambda: score(lab, done[0], FAST))
    trained = done and lab.attempt(lambda: train(lab, done[0]))
    svm = trained and lab.attempt(lambda: score(lab, lab.work / "runs/fast-rcnn-svm", "fast-rcnn-svm"))
    for name, step in (("SVM", svm), ("softmax", softmax)):
        figures = step["figures"] if step else {}
        theirs = " / ".join(map(str, published.CLASSIFIER[name]))
        rows.append([name, number(figures.get("map10")), number(figures.get("map07")), theirs])
    steps += [step for step in (trained, svm, softmax) if step]
    extra = f" Training the SVMs took {duration(trained['seconds'])} more." if trained else ""
    return [
        f"The same Fast R-CNN ({plan.arch} on {plan.data_name}), its softmax replaced by one linear SVM for each class, trained"
        f" on fc7 with hard-negative mining.{extra} Published: S / M / L on VOC 2007.",
        "",
        *table(["classifier", "mAP VOC10+", "mAP VOC07", "published"], rows),
        "",
    ], steps


def train(lab, folder):
    output = lab.work / "runs/fast-rcnn-svm/model.onnx"

    def work(run):
        output.parent.mkdir(parents=True, exist_ok=True)
        run.call([lab.need_trainer(), "svm", folder, "-o", output])

    return lab.steps.do("train/fast-rcnn-svm", work, data=lab.scale.trained.data_name)
