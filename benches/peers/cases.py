"""What is measured: networks, numbers of RoIs, stages, contenders."""

from dataclasses import dataclass

# The order of the way of data. `whole` is the three in one model file.
STAGES = ("trunk", "roi_pool", "head", "whole")

# Ranks of truncated SVD for `frcnn compile --svd`; the published ones for VGG16, the rest as trained.
SVD = {"vgg16": "fc6=1024,fc7=256", "vgg_cnn_m_1024": None, "caffenet": None, "squeezenet": None}


@dataclass(frozen=True)
class Case:
    """One network on one photo with one set of boxes."""

    net: str
    rois: int
    stages: tuple = STAGES
    # Every box nearly as large as the image, instead of all sizes.
    large: bool = False

    @property
    def name(self):
        return f"{self.net}-{self.rois}" + ("-large" if self.large else "")


CASES = (
    Case("vgg16", 2000),
    Case("vgg16", 100, ("head",)),
    Case("vgg16", 10, ("head",)),
    Case("vgg_cnn_m_1024", 2000),
    Case("caffenet", 2000),
    Case("caffenet", 50, ("roi_pool",)),
    Case("caffenet", 50, ("roi_pool",), large=True),
    Case("caffenet", 1, ("roi_pool",)),
    Case("squeezenet", 2000),
)


@dataclass(frozen=True)
class Ours:
    """frcnn with a network compiled for a precision."""

    name: str
    precision: str

    @property
    def file_stem(self):
        return self.name.replace(" ", "-")


OURS = (Ours("frcnn", "f32"), Ours("frcnn bf16", "bf16"))


@dataclass(frozen=True)
class Peer:
    """A runtime as its users would set it up, and the stages that it can run."""

    name: str
    runtime: str  # a module in runtimes/
    precision: str  # "f32": exactly that; "default": whatever the runtime picks on this CPU
    stages: tuple = STAGES


PEERS = (
    Peer("ONNX Runtime", "onnxruntime_peer", "f32"),
    Peer("OpenVINO f32", "openvino_peer", "f32"),
    Peer("OpenVINO default", "openvino_peer", "default"),
    Peer("ncnn", "ncnn_peer", "f32", ("trunk",)),
    Peer("OpenCV", "opencv_peer", "f32", ("trunk", "head")),
)

# The peer that reduces precision as well, beside which frcnn bf16 is set.
REDUCED = "OpenVINO default"

# Greatest difference from ONNX Runtime's output that a float32 peer may have, as a share of that output's largest value:
# sums of up to 25088 products in another order, and Winograd convolutions, stay well below it.
TOLERANCE = 1e-3
