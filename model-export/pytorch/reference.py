"""Reference outputs of a PyTorch module, stage by stage, for `frcnn compare BUNDLE --reference FILE --image PHOTO`.

    python reference.py package.module:factory --weights trained.pt --onnx model.onnx --image photo.jpg -o photo.safetensors

Preprocesses the photo as the manifest.json beside the ONNX file says, runs the module on boxes of it, and writes what each stage
gave: data, rois, conv (the map that is pooled), pool5, fc6, fc7 ... (after ReLU), cls_score, cls_prob, bbox_pred; with RoIAlign the
maps are p2 and so on, and roi_align is in pool5's place. A module with an RPN proposes the boxes itself, and rpn_logits, rpn_deltas
and proposals are there, too. A Faster R-CNN of torchvision is run as it is. TF32 is off and algorithms are deterministic, on a CPU as
on CUDA.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import sys
from pathlib import Path

import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file

import detector
from export import ExportError, load


def stages():
    """What sees a module's stages: a part of the Python package that stands alone, so that the package need not be built."""
    path = Path(__file__).resolve().parents[2] / "src/python/python/frcnn/_reference.py"
    spec = importlib.util.spec_from_file_location("frcnn_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STAGES = stages()


def reference(module, onnx, image, output, boxes=None, device="cpu"):
    """Writes the stages of `module` on the photo `image` as safetensors; `onnx` is the file that was exported of it.

    `boxes` are x1, y1, x2, y2 in pixels of the photo; without, what the module's RPN proposes, or a grid of them.
    """
    manifest = json.loads(Path(onnx).with_name("manifest.json").read_text())
    with Image.open(image) as photo:
        pixels = ImageOps.exif_transpose(photo).convert("RGB")
    module, scale = module.eval().to(device), None
    with STAGES.exact():
        if detector.is_detector(module):
            if boxes is not None:
                raise STAGES.StagesError("a Faster R-CNN proposes its own boxes; give none")
            tensors = STAGES.detector(module, pixels)
        else:
            data, size, scale = STAGES.blob(pixels, manifest)
            data, tensors = data.to(device), {}
            if boxes is None and "rpn" in manifest:
                tensors["proposals"] = STAGES.proposals(module, data, size, manifest["rpn"])
                rois = STAGES.with_index(tensors["proposals"])
            else:
                rois = STAGES.rois_of(STAGES.grid(*pixels.size) if boxes is None else boxes, scale).to(device)
            tensors = {"data": data, "rois": rois, **tensors, **STAGES.run(module, data, rois)}
    tensors = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {
        "image": Path(image).name,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else "cpu",
        "library": f"torch {torch.__version__}, torchvision {torchvision.__version__}",
        "tf32": "off",
        "layout": "NCHW; rois in network pixels with a leading batch index; fc6 and fc7 after ReLU",
        "onnx_sha256": hashlib.sha256(Path(onnx).read_bytes()).hexdigest(),
    }
    if scale is not None:
        metadata["im_scale"] = repr(scale[0])
    partial = f"{output}.partial"
    save_file(tensors, partial, metadata)
    os.replace(partial, output)
    return tensors


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
