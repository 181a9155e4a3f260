"""What was found in an image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._call import call
from ._errors import OptionError
from ._image import Channels, look
from ._path import path_text

if TYPE_CHECKING:
    import supervision

    from ._detector import Detector
    from ._image import Image


class Detection(NamedTuple):
    """One object."""

    name: str
    """Of its class."""
    score: float
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the image; `Detections.box_width_offset` says what corners are."""
    label: int
    """Position of the class in `Detections.classes`; 0 is the background."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects of one image, best first. Behaves as a sequence of `Detection`; a slice or a mask gives `Detections` again."""

    boxes: npt.NDArray[np.float32]
    """`[N, 4]` x1, y1, x2, y2 in pixels of the image; `box_width_offset` says what corners are."""
    scores: npt.NDArray[np.float32]
    """`[N]`, in 0..1; margins of an R-CNN."""
    labels: npt.NDArray[np.int64]
    """`[N]` positions in `classes`."""
    classes: tuple[str, ...]
    """Names of all classes, the background first."""
    width: int
    """Of the image."""
    height: int
    """Of the image."""
    proposals: int = 0
    """How many boxes were looked at."""
    proposals_from: str = ""
    """Where they come from: given, rpn, selective-search, motion or grid."""
    not_finite: int = 0
    """Predictions that were left out for their numbers: did the training diverge?"""
    timing_ms: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Milliseconds of each stage."""
    image: Image | None = field(default=None, repr=False)
    """What was looked at, to draw into: the object that was handed in, and no copy."""
    channels: Channels = field(default="rgb", repr=False)
    """Of that image, if it is an array."""
    box_width_offset: float = 1
    """What makes a box's width of `x2 - x1`, by the detector's manifest: 1, where corners are a box's first and last pixels; 0, where they
    are its edges, as of torchvision's and detectron2's detectors."""

    @property
    def names(self) -> list[str]:
        """`[N]` names of the classes."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        for name, score, box, label in zip(self.names, self.scores.tolist(), self.boxes.tolist(), self.labels.tolist()):
            yield Detection(name, score, tuple(box), label)

    def __getitem__(self, which: Any) -> Any:
        """One `Detection` for a number; `Detections` for a slice, a mask or a list of numbers."""
        if isinstance(which, (int, np.integer)):
            one = range(len(self))[int(which)]
            return next(iter(self[one : one + 1]))
        return replace(self, boxes=self.boxes[which], scores=self.scores[which], labels=self.labels[which])

    def draw(self, path: str | os.PathLike[str], image: Image | None = None, channels: Channels | None = None) -> None:
        """Writes the image with boxes, names and scores as a PNG, as `frcnn detect --out` does.

        It is the image that was looked at, unless another one is given.
        """
        self._drawn(image, channels, path_text(path))

    def drawn(self, image: Image | None = None, channels: Channels | None = None) -> npt.NDArray[np.uint8]:
        """The same as an array `[H, W, 3]` of red, green, blue."""
        (height, width), (data,) = self._drawn(image, channels, None)
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def _drawn(self, image: Image | None, channels: Channels | None, path: str | None) -> Any:
        if image is None:
            image, channels = self.image, channels or self.channels
        if image is None:
            raise OptionError("these detections are without their image: give it")
        arguments, arrays = look(image, channels or "rgb", self.boxes)
        found = list(zip(self.scores.tolist(), self.labels.tolist()))
        return call("draw", {**arguments, "found": found, "classes": self.classes, "path": path}, *arrays)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, with the names that `frcnn detect --json` has."""
        return {
            "width": self.width,
            "height": self.height,
            "proposals": {"count": self.proposals, "from": self.proposals_from},
            "detections": [
                {"class": one.name, "class_id": one.label, "score": one.score, "box": list(one.box)} for one in self
            ],
            "not_finite": self.not_finite,
            "timing_ms": dict(self.timing_ms),
        }

    def to_coco(
        self, image_id: int | str, category_ids: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO results, one record for each object: `bbox` is x, y, width, height, with the width that `box_width_offset` gives.

        `category_ids` says the id of each class's name; without, it is the label. The records of all images in one list are what
        `pycocotools.coco.COCO.loadRes` takes.
        """
        records = []
        for name, score, (x1, y1, x2, y2), label in self:
            if category_ids is not None and name not in category_ids:
                raise OptionError(f"category_ids has no id for `{name}`")
            category = label if category_ids is None else category_ids[name]
            size = [x1, y1, x2 - x1 + self.box_width_offset, y2 - y1 + self.box_width_offset]
            records.append({"image_id": image_id, "category_id": category, "bbox": size, "score": score})
        return records

    def to_supervision(self) -> supervision.Detections:
        """The same for the package `supervision`: `class_id` are the labels, `data["class_name"]` the names."""
        import supervision

        return supervision.Detections(
            xyxy=self.boxes.copy(),
            confidence=self.scores.copy(),
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )


def detections(
    found: dict[str, Any], arrays: tuple[bytearray, ...], detector: Detector, image: Image, channels: Channels
) -> Detections:
    """Of what the extension module gives; its bytes are not copied."""
    boxes, scores, labels = arrays
    width, height = found["size"]
    proposals, proposals_from = found["proposals"]
    return Detections(
        boxes=np.frombuffer(boxes, np.float32).reshape(-1, 4),
        scores=np.frombuffer(scores, np.float32),
        labels=np.frombuffer(labels, np.int64),
        classes=detector.classes,
        width=width,
        height=height,
        proposals=proposals,
        proposals_from=proposals_from,
        not_finite=found["not_finite"],
        timing_ms=found["timing_ms"],
        image=image,
        channels=channels,
        box_width_offset=0 if detector.manifest["box_width_offset"] == detector.manifest["nms_width_offset"] == 0 else 1,
    )
