"""Reference outputs of a PyTorch module, stage by stage, for `frcnn compare BUNDLE --reference FILE --image PHOTO`.

    python reference.py package.module:factory --weights trained.pt --onnx model.onnx --image photo.jpg -o photo.safetensors

Preprocesses the photo as the manifest.json beside the ONNX file says, runs the module on boxes of it, and writes what each stage
gave: data, rois, conv (the map that is pooled), pool5, fc6, fc7 ... (after ReLU), cls_score, cls_prob, bbox_pred. TF32 is off and
algorithms are deterministic, on a CPU as on CUDA.
"""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from export import ExportError, load

MEANS_BGR = [102.9801, 115.9465, 122.7717]


def reference(module, onnx, image, output, boxes=None, device="cpu"):
    """Writes the stages of `module` on the photo `image` as safetensors; `onnx` is the file that was exported of it.

    `boxes` are x1, y1, x2, y2 in pixels of the photo; without, a grid of them.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    manifest = json.loads(Path(onnx).with_name("manifest.json").read_text())
    with Image.open(image) as photo:
        pixels = ImageOps.exif_transpose(photo).convert("RGB")
    data, scale = blob(pixels, manifest)
    if boxes is None:
        boxes = grid(*pixels.size)
    boxes = torch.as_tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    rois = torch.cat([torch.zeros(len(boxes), 1, dtype=torch.float64), boxes * scale], 1).float()

    module = module.eval().to(device)
    data, rois = data.to(device), rois.to(device)
    stages = run(module, data, rois)
    tensors = {"data": data, "rois": rois, **stages}
    tensors = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {
        "im_scale": repr(scale),
        "image": Path(image).name,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else "cpu",
        "library": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "tf32": "off",
        "layout": "NCHW; rois in network pixels with a leading batch index; fc6 and fc7 after ReLU",
        "onnx_sha256": hashlib.sha256(Path(onnx).read_bytes()).hexdigest(),
    }
    partial = f"{output}.partial"
    save_file(tensors, partial, metadata)
    os.replace(partial, output)
    return tensors


def blob(pixels, manifest):
    """`data` [1, 3, H, W] in the network's own channel order and scale, and network pixels per pixel."""
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
    column = lambda values: torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
    channels = (channels * (top / 255) - column(means)) / column(manifest.get("pixel_stds", [1, 1, 1]))

    scales = manifest.get("scales", [600])
    if len(scales) != 1:
        raise ExportError("stages are compared at one scale; the manifest has several")
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


def grid(width, height):
    """Boxes of three sizes all over the photo."""
    boxes = []
    for parts in (1, 2, 4):
        w, h = width / parts, height / parts
        for row in range(parts):
            for column in range(parts):
                boxes.append([column * w, row * h, (column + 1) * w - 1, (row + 1) * h - 1])
    return boxes


class Watch(TorchDispatchMode):
    """Sees every operator that the module calls: the pooling, whether it is a module or a function, and what is behind it."""

    def __init__(self):
        super().__init__()
        self.conv = self.pool5 = None
        # Outputs of fully connected layers behind the pooling, in order, and each after its ReLU.
        self.linear, self.relu = [], {}
        # Outputs of softmax layers, each with what it reads.
        self.softmax = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        name = str(func)
        if name.startswith("torchvision.roi_pool"):
            if self.pool5 is not None:
                raise ExportError("the module pools several times; only Fast R-CNN's one pooling can be compared here")
            self.conv, self.pool5 = args[0], made[0]
        elif self.pool5 is not None and name.startswith(("aten.addmm.", "aten.linear.", "aten.mm.")):
            self.linear.append(made)
        elif name.startswith("aten.relu"):
            self.relu[id(args[0])] = (args[0], made)
        elif name.startswith(("aten._softmax.", "aten.softmax.")):
            self.softmax.append((args[0], made))
        return made


def run(module, data, rois):
    """The stages behind `data` and `rois`."""
    watch = Watch()
    with torch.no_grad(), watch:
        scores, deltas = module(data, rois)
    if watch.pool5 is None:
        raise ExportError("the module did not call torchvision's roi_pool")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("factory", help="package.module:factory, a function or class that makes the module")
    parser.add_argument("--weights", help="its state dict, as torch.save wrote it")
    parser.add_argument("--onnx", required=True, help="what export.py wrote of it, with manifest.json beside it")
    parser.add_argument("--image", required=True, help="the photo")
    parser.add_argument("--boxes", help="a JSON file [[x1, y1, x2, y2], ...] in pixels of the photo [default: a grid]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("-o", "--output", required=True, help="the safetensors file to write")
    args = parser.parse_args()
    try:
        boxes = json.loads(Path(args.boxes).read_text()) if args.boxes else None
        module = load(args.factory, args.weights)
        tensors = reference(module, args.onnx, args.image, args.output, boxes, args.device)
    except (ExportError, OSError, ValueError) as error:
        sys.exit(f"reference.py: {error}")
    print(f"{args.output}: {', '.join(f'{name} {list(tensor.shape)}' for name, tensor in tensors.items())}")


if __name__ == "__main__":
    main()
