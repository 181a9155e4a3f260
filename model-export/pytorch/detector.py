"""torchvision's two-stage detectors, or modules that are one with a backbone of their own, as what `frcnn compile` takes.

whole       torchvision's own exporter writes the detector from the image to its boxes, and `frcnn compile` reads sizes, means, anchors,
            thresholds and counts from that file, so that manifest.json has the classes' names and nothing else.
parts       backbone, RPN and box head as one file with the outputs rpn_logits.N and rpn_deltas.N; what stands between them is
            read from the module and goes into manifest.json.
fast-rcnn   the parts without the RPN: proposals come from outside.
"""

import warnings

import torch
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

# RoiAlign says from 16 on where its points lie; 17 is the last that the exporter writes.
OPSET = 17
OUTPUTS = ["boxes", "labels", "scores"]
FORMS = ("whole", "parts", "fast-rcnn")
# ln(1000 / 16), by which every box coder here bounds tw and th.
LARGEST = 4.135166556742356


def is_detector(module):
    """Whether this is one of torchvision's two-stage detectors."""
    return isinstance(module, (FasterRCNN, GeneralizedRCNN))


def problem(module, classes, form):
    """What keeps it from being exported, or None; `classes` are the names without the background."""
    if form == "whole":
        if isinstance(module, (MaskRCNN, KeypointRCNN)):
            return f"a {type(module).__name__} gives more than boxes; export its boxes alone, in parts (--as parts)"
        scores = module.roi_heads.box_predictor.cls_score.out_features
        if len(classes) + 1 != scores:
            return f"the module scores {scores} classes with the background, and {len(classes)} are named"
        return None
    if getattr(module.transform, "fixed_size", None) is not None:
        return "its transform resizes every image to a fixed_size, which is not supported"
    if not hasattr(module.roi_heads.box_roi_pool, "sampling_ratio"):
        pool = type(module.roi_heads.box_roi_pool).__name__
        return f"its regions are pooled by {pool}, and not by torchvision's MultiScaleRoIAlign"
    for coder in (module.roi_heads.box_coder, module.rpn.box_coder):
        if abs(coder.bbox_xform_clip - LARGEST) > 1e-5:
            return f"a box coder bounds tw and th by {coder.bbox_xform_clip}, not by ln(1000 / 16)"
    return None


def write(module, path, more):
    """Writes the whole detector in evaluation mode; `more` chooses the exporter."""
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


def background_first(cls_score, bbox_pred):
    """detectron2's last layers as ones that frcnn takes: theirs have the background as the last class, without a box of it, or one box for
    all classes."""
    classes = cls_score.out_features - 1
    scores = torch.nn.Linear(cls_score.in_features, classes + 1)
    boxes = torch.nn.Linear(bbox_pred.in_features, 4 * (classes + 1))
    each = classes if bbox_pred.out_features == 4 else 1
    with torch.no_grad():
        for name in ("weight", "bias"):
            of_scores, of_boxes = getattr(cls_score, name), getattr(bbox_pred, name)
            getattr(scores, name).copy_(of_scores[[classes, *range(classes)]])
            getattr(boxes, name).copy_(torch.cat([torch.zeros_like(of_boxes[:4]), *[of_boxes] * each]))
    return scores, boxes


class Parts(torch.nn.Module):
    """The networks of a detector, called as every module that export.py takes: with the normalised blob and rois."""

    def __init__(self, detector, proposes):
        super().__init__()
        self.detector, self.proposes = detector, proposes

    def forward(self, data, rois):
        heads = self.detector.roi_heads
        maps = self.detector.backbone(data)
        if torch.is_tensor(maps):
            # As FasterRCNN itself calls the only map.
            maps = {"0": maps}
        size = (int(data.shape[2]), int(data.shape[3]))
        pooled = heads.box_roi_pool(maps, [rois[:, 1:]], [size])
        scores, deltas = heads.box_predictor(heads.box_head(pooled))
        outputs = (torch.softmax(scores, -1), deltas)
        return (*outputs, *self.detector.rpn.head(list(maps.values()))) if self.proposes else outputs


def numbers(detector, proposes):
    """The fields of manifest.json that a whole export would have them in."""
    transform, rpn, heads = detector.transform, detector.rpn, detector.roi_heads
    fields = {
        "channel_order": "rgb",
        "pixel_scale": 1,
        "pixel_means": list(transform.image_mean),
        "pixel_stds": list(transform.image_std),
        "scales": [transform.min_size[-1]],
        "max_long_side": transform.max_size,
        "resize": "torchvision",
        "pad_multiple": transform.size_divisible,
        "box_width_offset": 0,
        "nms_width_offset": 0,
        "nms_keeps_equal": True,
        "box_weights": list(heads.box_coder.weights),
        "score_threshold": heads.score_thresh,
        "nms_iou": heads.nms_thresh,
        # RoIHeads.postprocess_detections has no parameter of it.
        "min_box_side": 0.01,
        "max_detections": heads.detections_per_img,
    }
    if proposes:
        fields["rpn"] = {
            "anchors": [anchors.tolist() for anchors in rpn.anchor_generator.cell_anchors],
            "box_weights": list(rpn.box_coder.weights),
            "pre_nms_top_n": rpn._pre_nms_top_n["testing"],
            "post_nms_top_n": rpn._post_nms_top_n["testing"],
            "nms_iou": rpn.nms_thresh,
            "min_side": rpn.min_size,
            "score_threshold": rpn.score_thresh,
        }
    return fields
