"""Detectors, and streams of frames."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ._call import Held, call
from ._compare import Stages
from ._detections import Detections, detections
from ._image import Channels, array_of, look
from ._path import path_text

if TYPE_CHECKING:
    from ._image import Image

MAX_PROPOSALS = 2000
"""Boxes made of an image at most, other than by an RPN."""


class Detector:
    """A `.frcnn` bundle that is ready to run. Threads of Python's may share it: the interpreter is free while it works."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        max_detections: int | None = None,
        memory: int | None = None,
    ) -> None:
        """Opens the bundle, and uses what `frcnn tune` has measured of it.

        threads: that work on one image; default: the physical cores that the process may use. Results are the same for any number.
        score_threshold: a detection's score is greater; default: the bundle's.
        nms_iou: IoU from which a better detection of a class suppresses another; default: the bundle's.
        max_detections: of an image; default: the bundle's.
        memory: bytes that the detector may take at its peak, on a photo of 4:3 with 2000 boxes; default: no bound.
        """
        self._options = {
            "threads": threads,
            "score_threshold": score_threshold,
            "nms_iou": nms_iou,
            "max_detections": max_detections,
            "memory": memory,
        }
        self._path = path_text(path)
        about, _ = call("open", {"path": self._path, **self._options})
        self._held = Held(about["held"])
        self._provenance = about["provenance"]
        self.manifest: dict[str, Any] = about["manifest"]
        """Preprocessing, thresholds and box conventions, by the names of manifest.json."""
        self.classes: tuple[str, ...] = tuple(self.manifest["classes"])
        """Names of the classes, the background first."""
        self.threads: int = about["threads"]
        """That work on one image."""
        self.has_rpn: bool = about["has_rpn"]
        """Whether the network proposes boxes by itself."""
        self.method: str = about["method"]
        """fast-rcnn, faster-rcnn, sppnet or rcnn."""

    def __repr__(self) -> str:
        return f"frcnn.Detector({self._path!r}, threads={self.threads})"

    def __reduce__(self) -> Any:
        # Another process opens the file anew.
        return _opened, (os.path.abspath(self._path), self._options)

    @property
    def path(self) -> str:
        """Of the bundle."""
        return self._path

    @property
    def provenance(self) -> dict[str, str]:
        """Machine, version, precision, and the hash of the ONNX file that the bundle was made of."""
        return dict(self._provenance)

    def detect(
        self,
        image: Image,
        boxes: npt.ArrayLike | None = None,
        proposals: Literal["auto", "rpn", "selective-search", "grid"] = "auto",
        *,
        channels: Channels = "rgb",
        max_proposals: int = MAX_PROPOSALS,
    ) -> Detections:
        """Finds objects.

        image: a JPEG or PNG file's path, the file open or its bytes (turned upright as its EXIF orientation says), a PIL image as it lies, or an array of
            uint8, `[H, W, 3]`, `[H, W, 4]` or `[H, W]`. Contiguous arrays are not copied.
        boxes: `[N, 4]` boxes to look at, x1, y1, x2, y2 in pixels of the image. Those that are none are passed over.
        proposals: what makes boxes where none are given: `auto` is the network's RPN if it has one, else selective search.
        channels: the order in which an array has them; OpenCV's is bgr.
        max_proposals: boxes made at most, other than by an RPN.
        """
        arguments, arrays = look(image, channels, boxes)
        arguments |= {"held": self._held.number, "proposals": proposals, "max_proposals": max_proposals}
        (found, _), made = call("detect", arguments, *arrays)
        return detections(found, made, self, image, channels)

    def stages(
        self,
        image: Image,
        boxes: npt.ArrayLike | None = None,
        proposals: Literal["auto", "rpn", "selective-search", "grid"] = "auto",
        *,
        channels: Channels = "rgb",
        max_proposals: int = MAX_PROPOSALS,
    ) -> Stages:
        """Every stage's tensor, float32, by the names of reference files; arguments as of `detect`.

        data `[1, 3, H, W]` (what the ONNX file reads, in its own channel order and scale), rois `[R, 5]` (0 and corners in pixels of
        the network), conv `[1, C, H, W]`, pool5 `[R, C, P, P]`, fc6, fc7 ... `[R, N]` after their ReLU, cls_score, cls_prob `[R, K+1]`,
        bbox_pred `[R, 4(K+1)]`. Of pyramids the maps are p2, p3 ...; of an RPN there are rpn_logits.L and rpn_deltas.L of each map and
        proposals `[N, 4]`; RoIAlign's is roi_align.
        """
        arguments, arrays = look(image, channels, boxes)
        arguments |= {"held": self._held.number, "proposals": proposals, "max_proposals": max_proposals}
        (tensors, metadata), made = call("stages", arguments, *arrays)
        return Stages({name: array_of(data, shape) for (name, shape), data in zip(tensors, made)}, metadata)

    def stream(self, *, tolerance: float | None = None, reuse_mib: int = 256) -> Stream:
        """What detects in the frames of one fixed camera, see `Stream`."""
        return Stream(self, tolerance=tolerance, reuse_mib=reuse_mib)


def _opened(path: str, options: dict[str, Any]) -> Detector:
    return Detector(path, **options)


class Stream:
    """Detection in the frames of one fixed camera, which costs what has changed: what it gives is, bit for bit, what `detect` gives for
    `composite`, the pixels that it has accepted. Each camera has a stream of its own."""

    def __init__(self, detector: Detector, *, tolerance: float | None = None, reuse_mib: int = 256) -> None:
        """tolerance: grey levels by which pixels may differ from those accepted before; default: the noise of the camera, learned.
        reuse_mib: MiB of feature maps that may be kept from frame to frame."""
        self.detector = detector
        made, _ = call("stream", {"detector": detector._held.number, "tolerance": tolerance, "reuse_mib": reuse_mib})
        self._held = Held(made)
        self.reuse: dict[str, float] = {}
        """What the last frame cost: cells of 8 x 8 pixels and those that changed, the share of the trunk's work that was done, regions and
        those whose results were kept, the tolerance in grey levels, and bytes that are kept. Empty before the first frame."""

    def __reduce__(self) -> Any:
        raise TypeError("a stream stays in the process that made it, with the frames that it has seen: make one there, by Detector.stream")

    def detect(
        self,
        image: Image,
        boxes: npt.ArrayLike | None = None,
        proposals: Literal["auto", "rpn", "motion", "selective-search", "grid"] = "auto",
        *,
        channels: Channels = "rgb",
        max_proposals: int = MAX_PROPOSALS,
        time: float | None = None,
    ) -> Detections:
        """Finds objects in the next frame; arguments as of `Detector.detect`.

        proposals: `motion` proposes boxes around what moves, and is what `auto` takes where the network has no RPN; what stops is
            background after about 50 s.
        time: of capture, in seconds of any clock that does not go back, such as `time.monotonic()`; by default 40 ms after the frame before.
        """
        arguments, arrays = look(image, channels, boxes)
        arguments |= {"held": self._held.number, "proposals": proposals, "max_proposals": max_proposals, "time": time}
        (found, self.reuse), made = call("stream_detect", arguments, *arrays)
        return detections(found, made, self.detector, image, channels)

    @property
    def composite(self) -> npt.NDArray[np.uint8] | None:
        """`[H, W, 3]` red, green, blue that were last accepted; None before the first frame."""
        size, made = call("stream_composite", self._held.number)
        if size is None:
            return None
        return np.frombuffer(made[0], np.uint8).reshape(*size, 3)
