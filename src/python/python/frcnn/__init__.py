"""Two-stage detectors (Fast R-CNN, Faster R-CNN, SPPnet, R-CNN) on a CPU.

    import frcnn

    detector = frcnn.Detector("cells.frcnn")
    found = detector.detect("photo.jpg")
    found.draw("found.png")

Boxes are x1, y1, x2, y2 in pixels of the image, counted from 0 at its left upper corner. Corners are inclusive, or edges where the
detector's manifest has a `box_width_offset` and a `nms_width_offset` of 0 (`Detections.box_width_offset`). Labels count from 1; 0 is the background. A `.frcnn` bundle is made of an ONNX file by `compile`, or by the command `frcnn compile`.

`frcnn.torch` compares with a PyTorch model; it is imported by itself and needs torch.
"""

from importlib.metadata import version as _version

from ._compare import Comparison, Stages, compare
from ._compile import Cascade, Report, compile
from ._detections import Detection, Detections
from ._detector import Detector, Stream
from ._errors import BundleError, CompileError, Error, ImageError, LimitError, OptionError
from ._evaluate import Evaluation, evaluate
from ._propose import propose

__version__ = _version("frcnn")

__all__ = [
    "BundleError",
    "Cascade",
    "Comparison",
    "CompileError",
    "Detection",
    "Detections",
    "Detector",
    "Error",
    "Evaluation",
    "ImageError",
    "LimitError",
    "OptionError",
    "Report",
    "Stages",
    "Stream",
    "__version__",
    "compare",
    "compile",
    "evaluate",
    "propose",
]
