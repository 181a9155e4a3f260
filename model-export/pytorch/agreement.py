"""What tests of torchvision's detectors share: photos, models with weights that say something, and which detections are the same."""

import numpy as np
import torch
from PIL import Image

# What counts as the same detection: those that matter, their boxes and their scores.
LEAST_SCORE, LEAST_IOU, MOST_DRIFT = 0.1, 0.99, 0.002


def pixels_of(path):
    """A photo as torchvision's detectors take it."""
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def photo(path, width, height, seed):
    """Blurred blocks of colour."""
    blocks = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(seed))
    pixels = torch.nn.functional.interpolate(blocks, (height, width), mode="bilinear")[0]
    pixels = (pixels.permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(path)
    return pixels_of(path)


def awaken(model, photos):
    """Gives an untrained detector statistics of photos, and scores and deltas that differ from region to region."""
    model.eval()
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        images, _ = model.transform(photos)
        for norm in norms:
            norm.momentum = None
            norm.reset_running_stats()
            norm.train()
        model.backbone(images.tensors)
        model.eval()
        head, maps = model.rpn.head, model.backbone(images.tensors)
        hidden = [head.conv(one) for one in ([maps] if torch.is_tensor(maps) else maps.values())]
        for conv, size in ((head.cls_logits, 3.0), (head.bbox_pred, 0.25)):
            conv.weight *= size / torch.cat([conv(one).flatten() for one in hidden]).std()
        features = []
        hook = model.roi_heads.box_head.register_forward_hook(lambda _, __, made: features.append(made))
        model(photos)
        hook.remove()
        predictor = model.roi_heads.box_predictor
        for linear, size in ((predictor.cls_score, 3.0), (predictor.bbox_pred, 1.0)):
            made = features[0] @ linear.weight.T
            scale = size / (made - made.mean(0)).std(0)
            linear.weight *= scale[:, None]
            linear.bias.copy_(-made.mean(0) * scale)
        predictor.cls_score.bias[0] += 1.0
    return model


def of(said):
    """Labels, scores and boxes of what torchvision said of a photo."""
    return [said[name].double().numpy() for name in ("labels", "scores", "boxes")]


def iou(a, b):
    corners = np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2])
    shared = corners.clip(0).prod(1)
    return shared / ((a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(1) - shared)


def unmatched(these, those):
    """Which of these have no detection of the same class, box and score among those."""
    left = []
    for label, score, box in zip(*these):
        same = (those[0] == label) & (np.abs(those[1] - score) <= MOST_DRIFT)
        if score >= LEAST_SCORE and not (same.any() and iou(box, those[2][same]).max() >= LEAST_IOU):
            left.append((int(label), float(score), box.tolist()))
    return left
