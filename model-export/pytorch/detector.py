"""A Faster R-CNN of torchvision, or a module that is one with a backbone of its own, as what `frcnn compile` takes.

torchvision's own exporter writes the whole detector, from the image to its boxes. `frcnn compile` reads sizes, means, anchors,
thresholds and counts from that file, so that manifest.json says the classes' names and nothing else.
"""

import warnings

import torch
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN

# RoiAlign says from 16 on where its points lie; 17 is the last that the exporter writes.
OPSET = 17
OUTPUTS = ["boxes", "labels", "scores"]


def is_detector(module):
    """Whether this is one of torchvision's two-stage detectors."""
    return isinstance(module, FasterRCNN)


def classes_of(module):
    """How many classes it scores, the background among them."""
    return module.roi_heads.box_predictor.cls_score.out_features


def problem(module, classes):
    """What keeps it from being exported, or None; `classes` are the names without the background."""
    if isinstance(module, (MaskRCNN, KeypointRCNN)):
        return f"a {type(module).__name__} gives more than boxes; export a FasterRCNN of the same weights"
    scores = classes_of(module)
    if len(classes) + 1 != scores:
        return f"the module scores {scores} classes with the background, and {len(classes)} are named"
    return None


def write(module, path, more):
    """Writes the ONNX file of a detector in evaluation mode; `more` chooses the exporter."""
    parameter = next(iter(module.parameters()))
    image = torch.rand(3, 240, 320, generator=torch.Generator().manual_seed(0)).to(parameter)
    with warnings.catch_warnings():
        # Of Python values that become constants: `frcnn compile` tells where one should not have.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            ([image],),
            path,
            opset_version=OPSET,
            input_names=["image"],
            output_names=OUTPUTS,
            dynamic_axes={"image": {1: "H", 2: "W"}},
            **more,
        )
