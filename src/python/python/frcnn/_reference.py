"""A PyTorch module's tensors, stage by stage, by the names of reference files.

This file stands alone: it needs torch and torchvision and nothing of the package, and model-export/pytorch/reference.py uses it so.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import batched_nms, clip_boxes_to_image

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


def blob(pixels: Any, manifest: dict[str, Any]) -> tuple[torch.Tensor, list[int], list[float]]:
    """`data` [1, 3, H, W] in the network's own channel order and scale, of a PIL image in RGB; rows and columns of the image in it, and
    network pixels per pixel, down and to the right."""
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
    size, scale = fit(height, width, manifest)
    data = channels.unsqueeze(0)
    if size != [height, width] and manifest.get("resize", "published") == "published":
        # The scale and not the size decides where a pixel lies, as in OpenCV called with fx = fy = scale.
        data = torch._C._nn.upsample_bilinear2d(data, size, False, *scale)
    elif size != [height, width]:
        # In f32, as torchvision has it: places in a long row are rounded, and it shows.
        data = torch._C._nn.upsample_bilinear2d(data.float(), size, False, None, None)
    more = [-side % manifest.get("pad_multiple", 1) for side in size]
    return torch.nn.functional.pad(data, (0, more[1], 0, more[0])).float(), size, scale


def fit(height: int, width: int, manifest: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Rows and columns of a resized image, and network pixels per pixel on each axis, by the manifest's rule."""
    scales, limit = manifest.get("scales", [600]), manifest.get("max_long_side", 1000)
    if len(scales) != 1:
        raise StagesError("stages are compared at one scale; the manifest has several")
    sides, rule = (height, width), manifest.get("resize", "published")
    scale = scales[0] / min(sides)
    if rule == "published":
        if round(scale * max(sides)) > limit:
            scale = limit / max(sides)
        return [max(round(side * scale), 1) for side in sides], [scale, scale]
    if rule not in ("torchvision", "detectron2"):
        raise StagesError(f"the manifest's resize is {rule!r}: there are published, torchvision and detectron2")
    scale = min(scale, limit / max(sides))
    half = 0.5 if rule == "detectron2" else 0.0
    size = [max(int(side * scale + half), 1) for side in sides]
    return size, [size[axis] / sides[axis] for axis in (0, 1)]


def grid(width: int, height: int) -> list[list[float]]:
    """Boxes of three sizes all over the photo."""
    boxes = []
    for parts in (1, 2, 4):
        w, h = width / parts, height / parts
        for row in range(parts):
            for column in range(parts):
                boxes.append([column * w, row * h, (column + 1) * w - 1, (row + 1) * h - 1])
    return boxes


def rois_of(boxes: Any, scale: list[float]) -> torch.Tensor:
    """`rois` [R, 5] of boxes [R, 4] in pixels of the photo: batch index 0, and corners in network pixels."""
    boxes = torch.as_tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return with_index(boxes * torch.tensor([*scale[::-1]] * 2, dtype=torch.float64)).float()


def with_index(boxes: torch.Tensor) -> torch.Tensor:
    return torch.cat([boxes.new_zeros(len(boxes), 1), boxes], 1)


class Watch(TorchDispatchMode):
    """Sees every operator that the module calls: the pooling, whether it is a module or a function, and what is behind it."""

    def __init__(self) -> None:
        super().__init__()
        # Of each pooling its kind, its map, cells per network pixel, and what it made.
        self.pooled: list[tuple[str, Any, float, Any]] = []
        # Where the regions of several maps come together.
        self.merged: Any = None
        # Outputs of fully connected layers behind the pooling, in order, and each after its ReLU.
        self.linear: list[Any] = []
        self.relu: dict[int, Any] = {}
        # Outputs of softmax layers, each with what it reads.
        self.softmax: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = str(func)
        if name.startswith("torchvision.roi_pool"):
            self.pooled.append(("pool5", args[0], args[2], made[0]))
        elif name.startswith("torchvision.roi_align"):
            self.pooled.append(("roi_align", args[0], args[2], made))
        elif name.startswith("aten.index_put") and any(args[2] is one for *_, one in self.pooled):
            self.merged = args[0]
        elif self.pooled and name.startswith(("aten.addmm.", "aten.linear.", "aten.mm.")):
            self.linear.append(made)
        elif name.startswith("aten.relu"):
            self.relu[id(args[0])] = (args[0], made)
        elif name.startswith(("aten._softmax.", "aten.softmax.")):
            self.softmax.append((args[0], made))
        return made

    def regions(self) -> dict[str, Any]:
        """The maps that regions were pooled from, and what was pooled."""
        kinds = {kind for kind, *_ in self.pooled}
        if not kinds:
            raise StagesError("the module did not call torchvision's roi_pool, roi_align or MultiScaleRoIAlign")
        if len(self.pooled) == 1:
            [(kind, read, scale, made)] = self.pooled
            return {(map_names([scale])[0] if kind == "roi_align" else "conv"): read, kind: made}
        if kinds != {"roi_align"} or self.merged is None:
            raise StagesError("the module pools several times, and not as MultiScaleRoIAlign does: that cannot be compared here")
        levels = sorted(self.pooled, key=lambda level: -level[2])
        # Of maps of one scale, as torchvision's MobileNetV3 has two, the rule knows the first alone.
        known = round(math.log2(levels[0][2] / levels[-1][2])) + 1
        names = map_names([scale for _, _, scale, _ in levels])[:known]
        return {**{name: read for name, (_, read, *_) in zip(names, levels)}, "roi_align": self.merged}


def map_names(scales: list[float], count: int = 0) -> list[str]:
    """What bundles call the maps that regions are sampled from, with so many cells per network pixel, and others behind them."""
    first = 4 if len(scales) == 1 else round(-math.log2(scales[0]))
    return [f"p{first + level}" for level in range(max(count, len(scales)))]


def run(module: Any, data: torch.Tensor, rois: torch.Tensor) -> dict[str, torch.Tensor]:
    """The stages behind `data` and `rois` of a module that is called with them."""
    watch = Watch()
    with torch.no_grad(), watch:
        scores, deltas, *rpn = module(data, rois)
    stages = watch.regions()
    for name, maps in zip(("rpn_logits", "rpn_deltas"), rpn):
        stages.update({f"{name}.{level}": made for level, made in enumerate(maps)})
    before = [read for read, made in watch.softmax if made is scores]
    cls_score = before[0] if before else scores
    hidden = [one for one in watch.linear if one is not cls_score and one is not deltas]
    for number, layer in enumerate(hidden, 6):
        stages[f"fc{number}"] = watch.relu[id(layer)][1] if id(layer) in watch.relu else layer
    stages["cls_score"] = cls_score
    stages["cls_prob"] = scores if before else torch.softmax(scores, 1)
    stages["bbox_pred"] = deltas
    return stages


def proposals(module: Any, data: torch.Tensor, image: list[int], rules: dict[str, Any]) -> torch.Tensor:
    """What a module with an RPN proposes, `[N, 4]` in network pixels, by the manifest's rules and as torchvision has it."""
    anywhere = data.new_tensor([[0, 0, 0, image[1], image[0]]])
    with torch.no_grad():
        _, _, *rpn = module(data, anywhere)
    if not rpn:
        raise StagesError("the manifest has an `rpn`, and the module returns nothing of one")
    boxes, scores, levels = [], [], []
    for level, (logits, deltas, anchors) in enumerate(zip(*rpn, rules["anchors"])):
        rows, columns = logits.shape[2:]
        strides = [rules["strides"][level]] * 2 if rules.get("strides") else [data.shape[2] // rows, data.shape[3] // columns]
        y, x = (torch.arange(count).to(data) * stride for count, stride in zip((rows, columns), strides))
        down, right = torch.meshgrid(y, x, indexing="ij")
        around = torch.stack([right, down, right, down], 2).reshape(-1, 1, 4) + data.new_tensor(anchors)
        # From [4A, rows, columns] to the order of the anchors.
        each = deltas[0].reshape(len(anchors), 4, rows, columns).permute(2, 3, 0, 1).reshape(-1, 4)
        logits = logits[0].permute(1, 2, 0).flatten()
        best = logits.topk(min(rules["pre_nms_top_n"], len(logits))).indices
        boxes.append(decoded(around.reshape(-1, 4)[best], each[best] / data.new_tensor(rules.get("box_weights", [1, 1, 1, 1]))))
        scores.append(logits[best].sigmoid())
        levels.append(torch.full_like(best, level))
    found = clip_boxes_to_image(torch.cat(boxes), (image[0], image[1]))
    likely, of_level = torch.cat(scores), torch.cat(levels)
    sides = (found[:, 2:] - found[:, :2]).amin(1)
    kept = torch.where((sides >= rules["min_side"]) & (likely >= rules["score_threshold"]))[0]
    best = batched_nms(found[kept], likely[kept], of_level[kept], rules["nms_iou"])[: rules["post_nms_top_n"]]
    return found[kept][best]


def decoded(anchors: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Anchors moved by tx and ty of their sides, and grown by exp(tw) and exp(th), 1000 / 16 at most."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = anchors[:, :2] + 0.5 * sides + deltas[:, :2] * sides
    half = 0.5 * sides * deltas[:, 2:].clamp(max=math.log(1000 / 16)).exp()
    return torch.cat([centres - half, centres + half], 1)


def detector(module: Any, pixels: Any) -> dict[str, torch.Tensor]:
    """Every stage of a Faster R-CNN of torchvision's on a PIL image in RGB, by forward hooks."""
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
    stages.update(zip(map_names(module.roi_heads.box_roi_pool.scales, len(found)), found))
    for level, (logits, deltas) in enumerate(zip(*made["rpn_head"])):
        stages[f"rpn_logits.{level}"], stages[f"rpn_deltas.{level}"] = logits, deltas
    stages["proposals"] = made["rpn"][0][0]
    stages["rois"] = with_index(stages["proposals"])
    stages["roi_align"] = made["pooled"]
    stages.update({name: made[name].relu() for name in ("fc6", "fc7") if name in made})
    scores, deltas = made["predicted"]
    stages.update({"cls_score": scores, "cls_prob": torch.softmax(scores, 1), "bbox_pred": deltas})
    return stages
