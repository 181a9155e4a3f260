"""A trained ONNX file becomes a bundle."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypedDict, Union

from ._call import call
from ._errors import OptionError
from ._path import path_text


class Cascade(TypedDict):
    """A first judge that drops regions which are plainly background, before the head looks at them."""

    rank: int
    """Of the judge's hidden layers, which are the head's by SVD."""
    keep: float
    """It drops a region where the probabilities of all classes but the background add up to less."""


Ranks = Union[Literal["auto"], float, str, Mapping[str, int], None]
Precision = Literal["auto", "f32", "f16", "bf16", "int8"]


class Report(dict[str, Any]):
    """What was compiled: the object that `frcnn compile --report` writes.

    `cost`, `factored`, `input` (what the network is assumed to read), `agreement` (with tract-onnx's run of the same file), `drift`,
    `precision`, `rounding`, `int8`, `found_again`, `file_bytes`; where they were asked for `auto` (how each layer's precision was
    chosen), `exacter` (layers for which the precision gains nothing on the board) and `cascade` (what it drops, costs and saves).
    """

    @property
    def file_bytes(self) -> int:
        """Length of the bundle."""
        return int(self["file_bytes"])

    def __str__(self) -> str:
        agreement, lines = self["agreement"], []
        lines.append(self["input"]["assumed"])
        for layer in self["factored"]:
            before, after = layer["parameters_before"], layer["parameters_after"]
            lines.append(f"{layer['layer']} factored to rank {layer['rank']}: {before} parameters become {after}")
        lines.extend(f"not factored: {reason}" for reason in self["not_factored"])
        differences = [f"{stage} {agreement[stage]:.1e}" for stage in ("conv", "cls_prob", "bbox_pred")]
        lines.append(f"differs from the ONNX file by {', '.join(differences)} of the largest value")
        if "found_again" in self:
            again = self["found_again"]
            lines.append(f"of {again['exact']} objects that f32 finds, int8 finds {again['again']} again, and {again['more']} more")
        if "auto" in self:
            auto = self["auto"]
            layers = ", ".join(f"{one['layer']} {one['precision']}" for one in auto["layers"])
            lines.append(f"for {auto['board']}: {layers}; {auto['expected_time']:.0%} of their time in f32, by a model of costs")
            lines.append(_lost("precisions", auto["chosen_on"]) + "; " + _lost("others", auto["checked_on"]))
        if "exacter" in self:
            lines.append(f"keep an exacter type, as theirs gains no time there: {', '.join(self['exacter'])}")
        if "cascade" in self:
            lines.append(_cascade(self["cascade"]))
        lines.append(f"{self['precision']}, {self.file_bytes} bytes")
        return "\n".join(lines)


def _lost(what: str, score: Mapping[str, Any]) -> str:
    return f"{what}: {score['drop']:.2f} points of mAP lost on {score['photos']} photos"


def _cascade(cascade: Mapping[str, Any]) -> str:
    judge, measured = cascade["judge"], cascade["checked_on"]
    if judge is None:
        return "no cascade: none that was tried saves anything within the points of mAP that may be lost"
    line = f"a judge of rank {judge['rank']} drops regions that it gives less than {judge['keep']}"
    if measured is not None:
        line += f": {measured['dropped']:.0%} of them, {_lost('checked', measured)}"
    return line


def compile(
    onnx: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    manifest: str | os.PathLike[str] | None = None,
    classes: Iterable[str] | None = None,
    svd: Ranks = None,
    precision: Precision = "f32",
    calibrate: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    board: str | os.PathLike[str] | None = None,
    cascade: Literal["auto"] | Cascade | None = None,
    data: str | os.PathLike[str] | None = None,
    split: str = "test",
    max_drop: float | None = None,
) -> Report:
    """Writes the bundle `out` of a trained detector, after it has run beside the ONNX file on the same input and agreed.

    manifest: classes, pixel means, scales, thresholds and box conventions; default: manifest.json beside the model.
    classes: names without the background, where nothing else has to be said.
    svd: a share of the squared singular values that hidden fully connected layers keep, such as 0.9; or ranks by layer,
        {"fc6": 256, "fc7": 64}; or "auto": the smallest ranks with which the network loses at most `max_drop` on `data`.
    precision: what weights are stored as. "auto" chooses for each layer the type that is fastest on the board, by a model of costs, and
        takes back those that lose most until the network loses at most `max_drop`, on one half of `data` and on the other, which
        nothing else is chosen by. It does not go with svd="auto": let that find the ranks first, and name them.
    calibrate: for int8, photos like those that the network is for: a folder, or files. 32 of them are looked at, 8 others show what
        int8 still finds.
    board: layers for which the precision gains no time there keep an exacter one: raspberry-pi-4, raspberry-pi-5, jetson-orin-nano,
        rk3588, imx8m-plus, aarch64-server, x86-64, "this" machine (which is that of precision="auto" unless it is said), or a .toml
        file that describes one.
    cascade: adds a first judge that drops regions which are plainly background. "auto" chooses its rank and threshold on one half of
        `data` and checks them on the other; {"rank": 64, "keep": 0.02} gives them by hand, and measures them where there is `data`.
    data, split: a data set to choose by, as for `evaluate`; it is for svd="auto", precision="auto" and cascade.
    max_drop: points of mAP (VOC's, at IoU 0.5) that may be lost, 0 to 100; default: 0.3.

    Boxes of the data set's photos are the network's own or selective search's. What may be wrong with the data set is warned of.
    """
    if isinstance(calibrate, (str, os.PathLike)):
        calibrate = [calibrate]
    if manifest is not None and classes is not None:
        raise OptionError("manifest and classes: the manifest says the classes; give one of them")
    if isinstance(classes, str):
        raise OptionError(f"classes is {classes!r}; it is a list of names, such as {[classes]}")
    ranks, energy = None, None
    if isinstance(svd, Mapping):
        ranks = ",".join(f"{layer}={rank}" for layer, rank in svd.items())
    elif isinstance(svd, str):
        ranks = svd
    elif svd is not None:
        energy = float(svd)
    if cascade is not None and cascade != "auto":
        cascade = _by_hand(cascade)
    (report, doubts), _ = call(
        "compile",
        {
            "onnx": path_text(onnx),
            "out": path_text(out),
            "manifest": None if manifest is None else path_text(manifest),
            "classes": None if classes is None else list(classes),
            "ranks": ranks,
            "svd": energy,
            "precision": precision,
            "calibrate": [path_text(photo) for photo in calibrate],
            "board": None if board is None else path_text(board),
            "cascade": cascade,
            "data": None if data is None else path_text(data),
            "split": split,
            "max_drop": None if max_drop is None else float(max_drop),
        },
    )
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=2)
    return Report(report)


def _by_hand(cascade: Any) -> Cascade:
    try:
        (rank, keep) = (int(cascade["rank"]), float(cascade["keep"]))
        if len(cascade) == 2 and rank > 0 and math.isfinite(keep):
            return {"rank": rank, "keep": keep}
    except (KeyError, TypeError, ValueError):
        pass
    raise OptionError(f'cascade is {cascade!r}; it is "auto", or such as {{"rank": 64, "keep": 0.02}}')
