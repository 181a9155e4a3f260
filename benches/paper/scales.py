"""What each scale of the experiments runs on."""

from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = 1


@dataclass(frozen=True)
class Speed:
    """How a network of full size is measured, with seeded weights."""

    nets: tuple[str, ...]
    frame: str  # what it is, for the page
    source: tuple[str, ...]  # flags of `frcnn bench` for it
    boxes: Path | None  # of the frame; None: random ones
    short_side: int
    long_side: int
    five_scales: tuple[int, ...]
    five_scales_long_side: int
    rois: int
    warped: tuple[int, int]  # proposals that R-CNN is measured at; its time at `rois` is extrapolated from these
    runs: int
    svd: dict[str, str]


@dataclass(frozen=True)
class Trained:
    """A network that is trained on a data set, and how."""

    arch: str
    data: Path
    data_name: str
    short_side: int
    five_scales: tuple[int, ...]
    flags: tuple[str, ...]  # of every training
    iterations: dict[str, int]  # by method
    proposals: Path | None  # None: selective search of this repository, `max_proposals` of its boxes
    max_proposals: int
    rcnn_proposals: int  # the first of these, from which R-CNN learns: it runs the network on each
    init: Path | None
    svd: str
    frozen_from: dict[str, str]  # table 5: what is fine-tuned, and the flags for it; none: the network's default


@dataclass(frozen=True)
class Ready:
    """A trained model that is there without training."""

    onnx: Path
    data: Path
    data_name: str
    proposals: Path | None
    max_proposals: int
    short_side: int
    five_scales: tuple[int, ...]
    energies: str
    counts: tuple[int, ...]  # of proposals, for figure 3


@dataclass(frozen=True)
class Scale:
    name: str
    speed: Speed
    trained: Trained
    ready: Ready
    synth_images: int | None = field(default=None)  # drawn for training, where the data is drawn


FIVE = (480, 576, 688, 864, 1200)  # of the paper, whose one scale is 600


def five_around(short_side):
    """The paper's five scales, in the same relation to the one."""
    return tuple(round(short_side * scale / 600) for scale in FIVE)


def smoke(work):
    scenes = REPOSITORY / "benches/paper/scenes"
    return Scale(
        name="smoke",
        speed=Speed(
            nets=("squeezenet",),
            frame="a random frame of 240x320 pixels with random boxes",
            source=("--size", "240x320", "--seed", str(SEED)),
            boxes=None,
            short_side=240,
            long_side=400,
            five_scales=five_around(240),
            five_scales_long_side=800,
            rois=300,
            warped=(2, 6),
            runs=2,
            svd={"squeezenet": "fc6=128,fc7=64"},
        ),
        trained=Trained(
            arch="tiny",
            data=work / "synth",
            data_name="30 drawn scenes",
            short_side=120,
            five_scales=five_around(120),
            flags=("--lr", "0.01", "--dropout", "0.1", "--bg-iou-low", "0"),
            iterations={"fast-rcnn": 150, "sppnet": 150, "rcnn": 20},
            proposals=None,
            max_proposals=300,
            rcnn_proposals=300,
            init=None,
            svd="fc6=64,fc7=32",
            frozen_from={"fc6": "--fc-only", "conv3": "--frozen conv1,conv2", "conv1": ""},
        ),
        ready=Ready(
            onnx=REPOSITORY / "model-export/demo/model.onnx",
            data=scenes,
            data_name="16 drawn scenes",
            proposals=None,
            max_proposals=2000,
            short_side=240,
            five_scales=five_around(240),
            energies="0.95,0.9,0.8",
            counts=(50, 200, 1000),
        ),
        synth_images=30,
    )


def full(work, shared, nets):
    bccd = shared / "data/bccd"
    proposals = bccd / "proposals_selective_search.safetensors"
    return Scale(
        name="full",
        speed=Speed(
            nets=tuple(nets or ("caffenet", "vgg_cnn_m_1024", "vgg16")),
            frame="VOC2007's photo 000004 (500x406 pixels) with the authors' boxes",
            source=("--image", str(shared / "data/demo/000004.jpg")),
            boxes=shared / "data/demo/boxes.safetensors",
            short_side=600,
            long_side=1000,
            five_scales=FIVE,
            five_scales_long_side=2000,
            rois=2000,
            warped=(8, 40),
            runs=3,
            svd={name: "fc6=1024,fc7=256" for name in ("caffenet", "vgg_cnn_m_1024", "vgg16")},
        ),
        trained=Trained(
            arch="squeezenet",
            data=bccd,
            data_name="BCCD, trainval to test",
            short_side=480,
            five_scales=five_around(480),
            flags=("--new-lr-factor", "5", "--bg-iou-low", "0"),
            # R-CNN trains on less: a mini-batch takes it ten times as long as Fast R-CNN.
            iterations={"fast-rcnn": 2600, "sppnet": 2600, "rcnn": 200},
            proposals=proposals,
            max_proposals=2000,
            rcnn_proposals=300,
            init=shared / "data/squeezenet/squeezenet_v1_0.safetensors",
            svd="fc6=256,fc7=128",
            frozen_from={
                "fc6": "--fc-only",
                "fire5": "--frozen " + ",".join(
                    ["conv1"] + [f"fire{i}_{part}" for i in (2, 3, 4) for part in ("squeeze1x1", "expand1x1", "expand3x3")]
                ),
                "fire2": "",
            },
        ),
        ready=Ready(
            onnx=shared / "models/bccd-squeezenet/model.onnx",
            data=bccd,
            data_name="BCCD, test",
            proposals=proposals,
            max_proposals=2000,
            short_side=480,
            five_scales=five_around(480),
            energies="0.99,0.97,0.95,0.9,0.85,0.8,0.7,0.6,0.5",
            counts=(50, 100, 200, 500, 1000, 2000),
        ),
    )
