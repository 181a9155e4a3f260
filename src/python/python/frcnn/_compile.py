"""A trained ONNX file becomes a bundle."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ._call import call
from ._errors import OptionError


class Report(dict[str, Any]):
    """What was compiled: the object that `frcnn compile --report` writes.

    `cost`, `factored`, `input` (what the network is assumed to read), `agreement` (with tract-onnx's run of the same file), `drift`,
    `precision`, `rounding`, `int8`, `found_again`, `file_bytes`.
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
        lines.append(f"{self['precision']}, {self.file_bytes} bytes")
        return "\n".join(lines)


def compile(
    onnx: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    manifest: str | os.PathLike[str] | None = None,
    classes: Iterable[str] | None = None,
    svd: float | str | Mapping[str, int] | None = None,
    precision: Literal["f32", "f16", "bf16", "int8"] = "f32",
    calibrate: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
) -> Report:
    """Writes the bundle `out` of a trained detector, after it has run beside the ONNX file on the same input and agreed.

    manifest: classes, pixel means, scales, thresholds and box conventions; default: manifest.json beside the model.
    classes: names without the background, where nothing else has to be said.
    svd: a share of the squared singular values that hidden fully connected layers keep, such as 0.9; or ranks by layer,
        {"fc6": 256, "fc7": 64}.
    precision: what weights are stored as.
    calibrate: for int8, photos like those that the network is for: a folder, or files. 32 of them are looked at, 8 others show what
        int8 still finds.

    To choose by a data set (`--svd auto`, `--precision auto`, `--cascade`), or for a board, there is the command `frcnn compile`.
    """
    if isinstance(calibrate, (str, os.PathLike)):
        calibrate = [calibrate]
    if manifest is not None and classes is not None:
        raise OptionError("manifest and classes: the manifest says the classes; give one of them")
    ranks, energy = None, None
    if isinstance(svd, Mapping):
        ranks = ",".join(f"{layer}={rank}" for layer, rank in svd.items())
    elif isinstance(svd, str):
        ranks = svd
    elif svd is not None:
        energy = float(svd)
    report, _ = call(
        "compile",
        {
            "onnx": os.fspath(onnx),
            "out": os.fspath(out),
            "manifest": None if manifest is None else os.fspath(manifest),
            "classes": None if classes is None else list(classes),
            "ranks": ranks,
            "energy": energy,
            "precision": precision,
            "calibrate": [os.fspath(photo) for photo in calibrate],
        },
    )
    return Report(report)
