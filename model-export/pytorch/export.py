"""A trained PyTorch module as what `frcnn compile` takes: one ONNX file with a standard MaxRoiPool or RoiAlign nodes, and manifest.json.

    python export.py package.module:factory --weights trained.pt --classes cat,dog -o model.onnx

The module is called as `module(data, rois)`: data [1, 3, H, W] and rois [R, 5] (batch index, x1, y1, x2, y2 in pixels of data).
It pools with `torchvision.ops.roi_pool`, `roi_align` or MultiScaleRoIAlign and returns scores [R, K+1], of a softmax or before it,
and box deltas [R, 4(K+1)]; class 0 is the background. With an RPN it returns two lists more: of each map the logits [1, A, H, W] and
the deltas [1, 4A, H, W], of which the manifest's `rpn` has the anchors and rules. What `manifest` leaves out is torchvision's
convention for the image (RGB in 0..1, the means and deviations of ImageNet) and the published one for the rest; everything is
printed, since no ONNX file says it.

A Faster R-CNN of torchvision, or one with a backbone of your own, is exported as it is, by torchvision's exporter; manifest.json
then has the classes' names alone. With --as parts, or --as fast-rcnn, its networks are exported, and manifest.json has the numbers
that stand between them. See detector.py.

Otherwise both of PyTorch's exporters work: TorchScript's (`dynamo=False`), which every torch from 2.4 on has, and dynamo, whose way to
take a translation of our own, which roi_pool needs, begins with torch 2.6.
"""

import argparse
import importlib
import inspect
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import torchvision

import detector

# opset 13 or later is what frcnn reads; 18 is the first that dynamo writes without converting.
OPSET = 18
BACKGROUND = "__background__"
IMAGE = {
    "channel_order": "rgb",
    "pixel_scale": 1,
    "pixel_means": [0.485, 0.456, 0.406],
    "pixel_stds": [0.229, 0.224, 0.225],
}
EXPORTERS = ("auto", "torchscript", "dynamo")


class ExportError(Exception):
    """What keeps a module from being exported, and what to do."""


def export(module, classes, path, manifest=None, exporter="auto", form="whole", force=False):
    """Writes `path` and manifest.json beside it; gives the manifest. One of another model is replaced with `force` alone.

    `classes` are the K names without the background. `manifest` has fields of manifest.json, such as scales or box_weights. `form` is
    one of detector.FORMS, for torchvision's detectors.
    """
    path = Path(path)
    if exporter not in EXPORTERS:
        raise ExportError(f"exporter {exporter!r} is none of {', '.join(EXPORTERS)}")
    if form not in detector.FORMS:
        raise ExportError(f"form {form!r} is none of {', '.join(detector.FORMS)}")
    if path.name == "manifest.json" or not path.parent.is_dir():
        raise ExportError(f"{path}: name an .onnx file in a folder that exists")
    classes = list(classes)
    if not classes or BACKGROUND in classes:
        raise ExportError(f"classes are the names of the objects, without {BACKGROUND}")
    if "" in classes:
        raise ExportError("a class has no name; is there a comma too many?")
    twice = [name for place, name in enumerate(classes) if name in classes[:place]]
    if twice:
        raise ExportError(f"classes have {twice[0]} twice: detections could not be told apart")
    module = module.eval()
    names = {"classes": [BACKGROUND, *classes]}
    if not detector.is_detector(module):
        if form != "whole":
            raise ExportError(f"{form!r} is for torchvision's detectors; any other module says by what it returns which parts it has")
        manifest = {**names, **IMAGE, **(manifest or {})}
        write = parts(module, classes, exporter, manifest)
    elif form == "whole":
        manifest = {**names, **(manifest or {})}
        write = whole(module, classes, exporter)
    else:
        problem = detector.problem(module, classes, form)
        if problem:
            raise ExportError(problem)
        check_mode(module)
        proposes = form == "parts"
        manifest = {**names, **detector.numbers(module, proposes), **(manifest or {})}
        write = parts(detector.Parts(module, proposes).eval(), classes, exporter, manifest)
    text, beside = json.dumps(manifest, indent=2) + "\n", path.with_name("manifest.json")
    if not force and beside.exists() and said_by(beside) != json.loads(text):
        raise ExportError(
            f"{beside} exists and says something else: choose another folder for {path.name}, or replace it with --force (force=True)"
        )
    # Beside its place and renamed: no half-written model, and no old one lost.
    handle, written = tempfile.mkstemp(suffix=".onnx", dir=path.parent)
    os.close(handle)
    try:
        write(written)
        if not os.path.getsize(written):
            raise ExportError("the exporter wrote nothing")
        os.replace(written, path)
    finally:
        for left in (written, written + ".data"):
            if os.path.exists(left):
                os.remove(left)
    beside.with_suffix(".json.partial").write_text(text)
    os.replace(beside.with_suffix(".json.partial"), beside)
    return manifest


def said_by(manifest):
    """The fields of a manifest.json; None of what is none."""
    try:
        return json.loads(manifest.read_text())
    except ValueError:
        return None


def refuse_inputs(output, inputs):
    """Neither the .onnx file nor the manifest beside it is one that is read."""
    for written in (Path(output), Path(output).with_name("manifest.json")):
        for read in inputs:
            if written.exists() and os.path.exists(read) and os.path.samefile(written, read):
                raise ExportError(f"{written} is read as well: choose another name or folder with -o")


def parts(module, classes, exporter, manifest):
    """Checks a module that is called with data and rois; gives what writes it to a path."""
    parameter = next(iter(module.parameters()), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    inputs = example(device)
    outputs = check(module, inputs, len(classes) + 1, manifest)
    if len(outputs) > 2:
        module = Flat(module).eval()
    if exporter == "auto":
        # TorchScript's is the same on every torch; one that has dropped it has no parameter of its any more.
        exporter = "torchscript" if can("torchscript") else "dynamo"
    by = {"torchscript": by_torchscript, "dynamo": by_dynamo}[exporter]
    return lambda path: by(module, inputs, outputs, path)


class Flat(torch.nn.Module):
    """A module whose outputs have no lists among them."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, data, rois):
        scores, deltas, rpn_logits, rpn_deltas = self.module(data, rois)
        return (scores, deltas, *rpn_logits, *rpn_deltas)


def whole(module, classes, exporter):
    """Checks a Faster R-CNN of torchvision's; gives what writes it to a path."""
    if exporter == "dynamo" or not can("torchscript"):
        raise ExportError("torch's dynamo exporter cannot convert a Faster R-CNN; use --exporter torchscript")
    check_mode(module)
    check_finite(module)
    problem = detector.problem(module, classes, "whole")
    if problem:
        raise ExportError(problem)
    return lambda path: detector.write(module, path, torchscript())


def example(device):
    """Sizes of no special kind, so that none is taken for a constant."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(1, 3, 224, 288, generator=generator)
    rois = torch.tensor([[0, 8, 8, 120, 200], [0, 30, 16, 250, 90], [0, 100, 60, 287, 223]], dtype=torch.float32)
    return data.to(device), rois.to(device)


def check(module, inputs, scores, manifest):
    """Runs the module once and gives its outputs' names."""
    check_mode(module)
    with torch.no_grad():
        made = module(*inputs)
    is_pair = isinstance(made, (tuple, list)) and len(made) in (2, 4) and all(torch.is_tensor(one) for one in made[:2])
    if not is_pair or not all(isinstance(one, (tuple, list)) for one in made[2:]):
        raise ExportError(
            "module(data, rois) must return two tensors: scores [R, K+1] and box deltas [R, 4(K+1)]; with an RPN also two "
            "lists, of each map its logits [1, A, H, W] and deltas [1, 4A, H, W]"
        )
    rois = len(inputs[1])
    shapes = [tuple(one.shape) for one in made[:2]]
    if shapes != [(rois, scores), (rois, 4 * scores)]:
        raise ExportError(
            f"for {scores - 1} classes and the background module(data, rois) must return [R, {scores}] and "
            f"[R, {4 * scores}], and returns {list(shapes[0])} and {list(shapes[1])} of {rois} RoIs"
        )
    check_finite(module)
    sums = made[0].double().sum(1)
    is_softmax = bool((made[0] >= 0).all()) and bool(((sums - 1).abs() < 1e-4).all())
    return ["cls_prob" if is_softmax else "cls_score", "bbox_pred", *check_rpn(made[2:], manifest.get("rpn"))]


def check_rpn(made, rules):
    """The names of an RPN's outputs, if there is one."""
    if not made:
        if rules is not None:
            raise ExportError("the manifest has an `rpn`, and module(data, rois) returns nothing of one")
        return []
    if rules is None or "anchors" not in rules:
        raise ExportError("module(data, rois) returns an RPN's maps: the manifest needs `rpn`, its anchors and rules")
    logits, deltas = made
    anchors = [len(of_map) for of_map in rules["anchors"]]
    found = [[one.shape[1] for one in maps if torch.is_tensor(one) and one.dim() == 4] for maps in (logits, deltas)]
    if found != [anchors, [4 * count for count in anchors]]:
        raise ExportError(
            f"the manifest has {anchors} anchors a cell of each map: the RPN must return as many logits and four times as many "
            f"deltas, and returns {found[0]} and {found[1]}"
        )
    levels = range(len(anchors))
    return [f"rpn_{what}.{level}" for what in ("logits", "deltas") for level in levels]


def check_mode(module):
    if module.training or any(part.training for part in module.modules()):
        raise ExportError("the module, or a part of it, stays in training mode after module.eval()")


def check_finite(module):
    broken = [name for name, value in module.state_dict().items() if not torch.isfinite(value.double()).all()]
    if broken:
        raise ExportError(f"weights that are not finite: {', '.join(broken[:5])}; did the training diverge?")


def can(exporter):
    """Whether this torch has that exporter, and roi_pool can be exported by it."""
    return bool(has_parameter({"torchscript": "dynamic_axes", "dynamo": "custom_translation_table"}[exporter]))


def has_parameter(name):
    return inspect.signature(torch.onnx.export).parameters.get(name)


def torchscript():
    """The arguments by which torch.onnx.export takes its older exporter."""
    return {"dynamo": False} if has_parameter("dynamo") else {}


def by_torchscript(module, inputs, outputs, path):
    """torchvision registers MaxRoiPool for its roi_pool with this exporter."""
    of_output = lambda name: {2: "h" + name[4:], 3: "w" + name[4:]} if name.startswith("rpn_") else {0: "R"}
    free = {"data": {2: "H", 3: "W"}, "rois": {0: "R"}, **{name: of_output(name) for name in outputs}}
    with warnings.catch_warnings():
        # It says that it is the older one; and which Python values become constants, of which `frcnn compile` tells where one should not.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=["data", "rois"],
            output_names=outputs,
            dynamic_axes=free,
            opset_version=min(OPSET, 17),
            do_constant_folding=True,
            **torchscript(),
        )


def by_dynamo(module, inputs, outputs, path):
    """dynamo has no translation of torchvision::roi_pool: this is one."""
    if not can("dynamo"):
        raise ExportError(
            f"torch {torch.__version__}: its dynamo exporter takes no translation of roi_pool (torch 2.6 is the first that "
            f"does); use the torchscript exporter, --exporter torchscript"
        )
    from onnxscript import FLOAT, opset18

    def roi_pool(data: FLOAT, rois: FLOAT, spatial_scale: float, pooled_height: int, pooled_width: int):
        pooled = opset18.MaxRoiPool(
            data, rois, pooled_shape=[pooled_height, pooled_width], spatial_scale=spatial_scale
        )
        # The second output is the maxima's places, which only training reads.
        return pooled, pooled

    dim = torch.export.Dim
    shapes = (
        {2: dim("H", min=64, max=4096), 3: dim("W", min=64, max=4096)},
        {0: dim("R", min=1, max=65536)},
    )
    if hasattr(dim, "DYNAMIC"):
        # Strides leave remainders, of which a named dimension would have to promise something.
        shapes = ({2: dim.DYNAMIC, 3: dim.DYNAMIC}, {0: dim.DYNAMIC})
    torch.onnx.export(
        module,
        inputs,
        path,
        input_names=["data", "rois"],
        output_names=outputs,
        dynamic_shapes=shapes,
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        custom_translation_table={torch.ops.torchvision.roi_pool.default: roi_pool},
    )


def names_of(text):
    """The classes of `--classes`: of `cat, dog` the second is `dog`, as for `frcnn compile`."""
    return [name.strip() for name in text.split(",")]


def load(factory, weights):
    """The module that `package.module:factory` makes, with the state dict of a file."""
    name, colon, attribute = factory.partition(":")
    if not colon:
        raise ExportError(f"{factory}: name it as package.module:factory")
    sys.path.insert(0, os.getcwd())
    try:
        module = getattr(importlib.import_module(name), attribute)()
    except (ImportError, AttributeError) as error:
        raise ExportError(f"{factory}: {error}") from error
    if weights:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state) if isinstance(state, dict) else state
        try:
            module.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ExportError(f"{weights}: {error}") from error
    return module.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("factory", help="package.module:factory, a function or class that makes the module")
    parser.add_argument("--weights", help="its state dict, as torch.save wrote it")
    parser.add_argument("--classes", required=True, help="names of the objects, with commas between them")
    parser.add_argument("--manifest", help="a JSON file of manifest fields that differ from the defaults")
    parser.add_argument("--as", dest="form", choices=detector.FORMS, default="whole", help="how much of a torchvision detector")
    parser.add_argument("--exporter", choices=EXPORTERS, default="auto", help="which of torch's exporters")
    parser.add_argument("--force", action="store_true", help="replace another model's manifest.json")
    parser.add_argument("-o", "--output", required=True, help="the .onnx file; manifest.json goes beside it")
    args = parser.parse_args()
    try:
        refuse_inputs(args.output, [read for read in (args.weights, args.manifest) if read])
        fields = json.loads(Path(args.manifest).read_text()) if args.manifest else None
        module = load(args.factory, args.weights)
        manifest = export(module, names_of(args.classes), args.output, fields, args.exporter, args.form, args.force)
    except (ExportError, OSError, ValueError) as error:
        sys.exit(f"export.py: {error}")
    print(args.output)
    print(f"{Path(args.output).with_name('manifest.json')}: {json.dumps(manifest)}")


if __name__ == "__main__":
    main()
