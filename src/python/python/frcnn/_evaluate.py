"""How good a detector is on a data set."""

from __future__ import annotations

import os
import warnings
from typing import Any

from ._call import Held, call
from ._detector import Detector
from ._path import path_text
from ._write import write


class Evaluation(dict[str, Any]):
    """Scores: the object that `frcnn eval --json` writes, with `images`, `objects`, `detections`, `voc` and `coco`. Scores are in 0..1,
    and None where there is no object."""

    def __init__(self, scores: dict[str, Any], held: Held) -> None:
        super().__init__(scores)
        self._held = held

    @property
    def map(self) -> float | None:
        """VOC's mean average precision (2010 and later), at the IoU that was asked for."""
        score: float | None = self["voc"]["map10"]
        return score

    @property
    def ap(self) -> float | None:
        """COCO's average precision: the mean over IoU 0.5, 0.55 ... 0.95."""
        score: float | None = self["coco"]["summary"]["ap"]
        return score

    def html(self, path: str | os.PathLike[str] | None = None, min_score: float = 0.5) -> str:
        """The page of `frcnn eval --html`, with curves and the worst images; written to `path` if one is given. Detections of at least
        `min_score` are drawn as mistakes."""
        page: str
        page, _ = call("evaluation_html", (self._held.number, min_score))
        if path is not None:
            write(path, [page.encode()])
        return page


def evaluate(
    detector: Detector | str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str = "test",
    *,
    iou: float = 0.5,
    workers: int | None = None,
) -> Evaluation:
    """Runs a detector, or a bundle, over a data set's images and scores what it finds as VOC's and COCO's programs do.

    data: VOC's folder (Annotations, ImageSets, JPEGImages) or COCO's (annotations/instances_SPLIT.json and the images).
    split: which of its images.
    iou: overlap above which VOC counts an object as found.
    workers: images side by side. A path is opened with one thread for each image, and as many workers as cores; that is the quickest.

    Boxes are the network's own or selective search's. What may be wrong with the data set is warned of.
    """
    if not isinstance(detector, Detector):
        detector = Detector(detector, threads=1)
    if workers is None:
        workers = (os.cpu_count() or 1) if detector.threads == 1 else 1
    arguments = {"detector": detector._held.number, "data": path_text(data), "split": split, "workers": workers, "iou": iou}
    (held, scores, doubts), _ = call("evaluate", arguments)
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    return Evaluation(scores, Held(held))
