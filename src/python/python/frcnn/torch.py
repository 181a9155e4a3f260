"""A PyTorch model beside a bundle: the same image through both, stage by stage.

    import frcnn.torch

    def test_bundle():
        frcnn.torch.assert_close(model, "model.frcnn", "photo.png")

The model is a Faster R-CNN of torchvision's, or a module that is called as `module(data, rois)` and pools with torchvision's `roi_pool`,
`roi_align` or `MultiScaleRoIAlign`: what model-export/pytorch/export.py takes. It runs where its weights are, on a CPU or on CUDA, with TF32 off.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from . import _reference
from ._compare import Comparison, Stages, compare
from ._detector import Detector
from ._image import held_by, is_file
from ._reference import StagesError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import PIL.Image

    from ._image import Image

__all__ = ["StagesError", "assert_close", "reference"]


def reference(
    model: torch.nn.Module,
    bundle: Detector | str | os.PathLike[str],
    image: Image,
    boxes: npt.ArrayLike | None = None,
) -> Stages:
    """The model's own tensors on an image, by the names of `Detector.stages`, with where they were made as metadata.

    bundle: what was compiled of the model; it says how images are read, and what maps are called.
    image: as for `Detector.detect`; files are decoded by PIL, of which a JPEG has other grey levels than of other decoders: take a PNG.
    boxes: `[N, 4]` x1, y1, x2, y2 in pixels of the image, for a module that is called with them; default: a grid.
    """
    detector = bundle if isinstance(bundle, Detector) else Detector(bundle)
    return _reference_of(model, detector, _pixels(image), boxes, _name(image))


def assert_close(
    model: torch.nn.Module,
    bundle: Detector | str | os.PathLike[str],
    image: Image,
    boxes: npt.ArrayLike | None = None,
    *,
    tolerance: float | Mapping[str, float] | None = None,
) -> Comparison:
    """Raises an AssertionError that says where bundle and model first diverge; gives the comparison where they do not.

    tolerance: the largest relative error, of all stages or by name; default: what rounding explains, see `compare`.
    """
    detector = bundle if isinstance(bundle, Detector) else Detector(bundle)
    pixels = _pixels(image)
    expected = _reference_of(model, detector, pixels, boxes, _name(image))
    comparison = compare(
        expected,
        detector,
        image=np.asarray(pixels),
        tolerance=tolerance,
        names=(type(model).__name__, os.path.basename(detector.path)),
    )
    if not comparison.agrees:
        raise AssertionError(f"{detector.path} is not close to the model\n{comparison}")
    return comparison


def _reference_of(
    model: torch.nn.Module, detector: Detector, pixels: PIL.Image.Image, boxes: npt.ArrayLike | None, name: str
) -> Stages:
    if any(part.training for part in model.modules()):
        raise StagesError("the model, or a part of it, is in training mode: call model.eval()")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    scale = None
    with _reference.exact():
        if isinstance(model, GeneralizedRCNN):
            if boxes is not None:
                raise StagesError("a Faster R-CNN proposes its own boxes; give none")
            tensors = _reference.detector(model, pixels)
        else:
            data, _, scale = _reference.blob(pixels, detector.manifest)
            boxes = _reference.grid(*pixels.size) if boxes is None else boxes
            rois = _reference.rois_of(np.array(boxes, dtype=np.float64), scale)
            data, rois = data.to(device), rois.to(device)
            tensors = {"data": data, "rois": rois, **_reference.run(model, data, rois)}
    metadata = {
        "image": name,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "library": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "tf32": "off",
    }
    if scale is not None:
        metadata["im_scale"] = repr(scale[0])
    arrays = {name: tensor.detach().float().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    return Stages(arrays, metadata)


def _pixels(image: Image) -> PIL.Image.Image:
    from PIL import Image as pil
    from PIL import ImageOps

    source: Any = image
    if hasattr(image, "read"):
        source = io.BytesIO(held_by(image))
    elif is_file(image):
        source = io.BytesIO(image)
    if isinstance(source, (str, os.PathLike, io.BytesIO)):
        with pil.open(source) as photo:
            return ImageOps.exif_transpose(photo).convert("RGB")
    if isinstance(image, pil.Image):
        return image.convert("RGB")
    return pil.fromarray(np.asarray(image)).convert("RGB")


def _name(image: Any) -> str:
    return os.path.basename(os.fspath(image)) if isinstance(image, (str, os.PathLike)) else "image"
