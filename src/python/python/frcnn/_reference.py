"""A PyTorch module's tensors, stage by stage, by the names of reference files.

This file stands alone: it needs torch and torchvision and nothing of the package, and model-export/pytorch/reference.py uses it so.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

MEANS_BGR = [102.9801, 115.9465, 122.7717]


class StagesError(ValueError):
    """What keeps a module's stages from being compared."""


@contextlib.contextmanager
def exact() -> Any:
    """TF32 off and algorithms deterministic, on CUDA as on a CPU; as before behind it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = False, False, False, True
    try:
        with torch.no_grad():
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before


def blob(pixels: Any, manifest: dict[str, Any]) -> tuple[torch.Tensor, float]:
    """`data` [1, 3, H, W] in the network's own channel order and scale, and network pixels per pixel, of a PIL image in RGB."""
    order, top = manifest.get("channel_order", "bgr"), manifest.get("pixel_scale", 255)
    means = manifest.get("pixel_means")
    if means is None:
        bgr = manifest.get("pixel_means_bgr", MEANS_BGR)
        means = [mean * top / 255 for mean in (bgr if order == "bgr" else bgr[::-1])]
    width, height = pixels.size
    raw = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8).view(height, width, 3)
    channels = raw.permute(2, 0, 1).double()
    if order == "bgr":
        channels = channels.flip(0)

    def column(values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64).view(3, 1, 1)

    channels = (channels * (top / 255) - column(means)) / column(manifest.get("pixel_stds", [1, 1, 1]))

    scales = manifest.get("scales", [600])
    if len(scales) != 1:
        raise StagesError("stages are compared at one scale; the manifest has several")
    short, long, limit = min(width, height), max(width, height), manifest.get("max_long_side", 1000)
    scale = scales[0] / short
    if round(scale * long) > limit:
        scale = limit / long
    size = [max(round(side * scale), 1) for side in (height, width)]
    data = channels.unsqueeze(0)
    if size != [height, width]:
        # The scale and not the size decides where a pixel lies, as in OpenCV called with fx = fy = scale.
        data = torch._C._nn.upsample_bilinear2d(data, size, False, scale, scale)
    return data.float(), scale


def grid(width: int, height: int) -> list[list[float]]:
    """Boxes of three sizes all over the photo."""
    boxes = []
    for parts in (1, 2, 4):
        w, h = width / parts, height / parts
        for row in range(parts):
            for column in range(parts):
                boxes.append([column * w, row * h, (column + 1) * w - 1, (row + 1) * h - 1])
    return boxes


def rois_of(boxes: Any, scale: float) -> torch.Tensor:
    """`rois` [R, 5] of boxes [R, 4] in pixels of the photo: batch index 0, and corners in network pixels."""
    boxes = torch.as_tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return torch.cat([torch.zeros(len(boxes), 1, dtype=torch.float64), boxes * scale], 1).float()


class Watch(TorchDispatchMode):
    """Sees every operator that the module calls: the pooling, whether it is a module or a function, and what is behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv: Any = None
        self.pool5: Any = None
        # Outputs of fully connected layers behind the pooling, in order, and each after its ReLU.
        self.linear: list[Any] = []
        self.relu: dict[int, Any] = {}
        # Outputs of softmax layers, each with what it reads.
        self.softmax: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = str(func)
        if name.startswith("torchvision.roi_pool"):
            if self.pool5 is not None:
                raise StagesError("the module pools several times; only Fast R-CNN's one pooling can be compared here")
            self.conv, self.pool5 = args[0], made[0]
        elif self.pool5 is not None and name.startswith(("aten.addmm.", "aten.linear.", "aten.mm.")):
            self.linear.append(made)
        elif name.startswith("aten.relu"):
            self.relu[id(args[0])] = (args[0], made)
        elif name.startswith(("aten._softmax.", "aten.softmax.")):
            self.softmax.append((args[0], made))
        return made


def run(module: Any, data: torch.Tensor, rois: torch.Tensor) -> dict[str, torch.Tensor]:
    """The stages behind `data` and `rois` of a module that is called with them."""
    watch = Watch()
    with torch.no_grad(), watch:
        scores, deltas = module(data, rois)
    if watch.pool5 is None:
        raise StagesError("the module did not call torchvision's roi_pool")
    before = [read for read, made in watch.softmax if made is scores]
    cls_score = before[0] if before else scores
    stages = {"conv": watch.conv, "pool5": watch.pool5}
    hidden = [one for one in watch.linear if one is not cls_score and one is not deltas]
    for number, layer in enumerate(hidden, 6):
        stages[f"fc{number}"] = watch.relu[id(layer)][1] if id(layer) in watch.relu else layer
    stages["cls_score"] = cls_score
    stages["cls_prob"] = scores if before else torch.softmax(scores, 1)
    stages["bbox_pred"] = deltas
    return stages


def detector(module: Any, pixels: Any, maps: list[str]) -> dict[str, torch.Tensor]:
    """Every stage of a Faster R-CNN of torchvision's on a PIL image in RGB, by forward hooks; `maps` names its backbone's maps."""
    made: dict[str, Any] = {}
    parts = {
        "transform": module.transform,
        "backbone": module.backbone,
        "rpn_head": module.rpn.head,
        "rpn": module.rpn,
        "pooled": module.roi_heads.box_roi_pool,
        "predicted": module.roi_heads.box_predictor,
    }
    hidden = {name: getattr(module.roi_heads.box_head, name, None) for name in ("fc6", "fc7")}
    parts.update({name: layer for name, layer in hidden.items() if isinstance(layer, torch.nn.Linear)})
    hooks = [
        part.register_forward_hook(lambda _, __, out, name=name: made.setdefault(name, out))
        for name, part in parts.items()
    ]
    parameter = next(iter(module.parameters()))
    width, height = pixels.size
    raw = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8).view(height, width, 3)
    try:
        with torch.no_grad():
            module([(raw.permute(2, 0, 1).float() / 255).to(parameter)])
    finally:
        for hook in hooks:
            hook.remove()
    backbone = made["backbone"]
    found = list(backbone.values()) if isinstance(backbone, dict) else [backbone]
    stages = {"data": made["transform"][0].tensors}
    stages.update(zip(maps, found))
    for level, (logits, deltas) in enumerate(zip(*made["rpn_head"])):
        stages[f"rpn_logits.{level}"], stages[f"rpn_deltas.{level}"] = logits, deltas
    proposals = made["rpn"][0][0]
    stages["proposals"] = proposals
    stages["rois"] = torch.cat([proposals.new_zeros(len(proposals), 1), proposals], 1)
    stages["roi_align"] = made["pooled"]
    stages.update({name: made[name].relu() for name in ("fc6", "fc7") if name in made})
    scores, deltas = made["predicted"]
    stages.update({"cls_score": scores, "cls_prob": torch.softmax(scores, 1), "bbox_pred": deltas})
    return stages
