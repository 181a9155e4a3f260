"""Two sides on one image, stage by stage."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ._call import Held, call
from ._errors import OptionError
from ._image import Channels, host, look
from ._path import path_text
from ._write import write

if TYPE_CHECKING:
    from ._detector import Detector
    from ._image import Image


class Stages(dict[str, "npt.NDArray[np.float32]"]):
    """Tensors of one image by name, in the network's order, and where they come from."""

    def __init__(self, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(tensors)
        self.metadata: dict[str, str] = dict(metadata or {})
        """`im_scale` (network pixels per pixel), `device`, `library`, `tf32`, `onnx_sha256` and whatever else is to be shown."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes them as the safetensors file that `frcnn compare --reference` reads."""
        header: dict[str, Any] = {"__metadata__": self.metadata}
        parts, end = [], 0
        for name, tensor in self.items():
            part = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
            header[name] = {"dtype": "F32", "shape": list(np.shape(tensor)), "data_offsets": [end, end + len(part)]}
            end += len(part)
            parts.append(part)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        write(path, [len(text).to_bytes(8, "little"), text, *parts])


class Comparison(dict[str, Any]):
    """How two sides differ: the object that `frcnn compare --json` writes of an image, with `stages`, `detections` and `verdict`."""

    def __init__(self, held: Held, agrees: bool, report: dict[str, Any]) -> None:
        super().__init__(report)
        self._held = held
        self.agrees = agrees
        """Whether every stage is within its tolerance."""

    @property
    def verdict(self) -> str:
        """In words, where the sides first diverge and what to look at."""
        verdict: str = self["verdict"]
        return verdict

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The stages that both sides have, by name."""
        return {stage["stage"]: stage for stage in self["stages"]}

    def html(self, path: str | os.PathLike[str] | None = None, title: str = "Stage by stage") -> str:
        """The page of `frcnn compare --html`; written to `path` if one is given."""
        page: str
        page, _ = call("comparison_html", (self._held.number, title))
        if path is not None:
            write(path, [page.encode()])
        return page

    def _repr_html_(self) -> str:
        # A notebook shows the page in a frame of its own, so that styles do not mix.
        import html

        return f'<iframe srcdoc="{html.escape(self.html())}" style="width: 100%; height: 40em; border: 0"></iframe>'

    def __str__(self) -> str:
        lines = [f"{'stage':<14} {'largest':>10} {'norm':>10} {'allowed':>10}"]
        for stage in self["stages"]:
            difference = stage["difference"]
            of = "norm" if stage["measure"] == "norm" else "relative"
            # A number that is not finite is a text in JSON.
            beyond = "" if float(difference[of]) <= stage["tolerance"] else "  beyond"
            numbers = (difference["relative"], difference["norm"], stage["tolerance"])
            shown = " ".join(f"{float(one):>10.2e}" for one in numbers)
            lines.append(f"{stage['stage']:<14} {shown}{beyond}")
        if self["detections"]:
            found = self["detections"]
            lines.append(f"{found['matched']} detections match, {found['missing']} are missing, {found['extra']} are more")
        return "\n".join([*lines, self.verdict])



def compare(
    a: Mapping[str, Any] | Detector | str | os.PathLike[str],
    b: Mapping[str, Any] | Detector | str | os.PathLike[str],
    *,
    image: Image | None = None,
    boxes: npt.ArrayLike | None = None,
    detector: Detector | None = None,
    tolerance: float | Mapping[str, float] | None = None,
    channels: Channels = "rgb",
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Compares `b` with the reference `a`, stage by stage.

    Each side is tensors by the names of `Detector.stages` (arrays, or tensors of torch's on any device; `Stages` with metadata), the
    path of a safetensors file of them, or a `Detector`.

    a tensors, b a detector: `b` computes each stage from the image, or from the reference's own data, and each once more from what
        the reference has before it, which tells the stage that makes an error from those that pass it on.
    both detectors: on `image`, and on `boxes`, or else those that `a` proposes by itself, or selective search.
    both tensors: as they are; `detector` makes detections of both sides' predictions, if one is given.

    tolerance: the largest relative error, of all stages or by name; default: what the rounding of both sides explains.
    """
    sides = (_side(a), _side(b))
    arguments, arrays = look(image, channels, boxes, must=False)
    tolerances: list[tuple[str | None, float]] = []
    if isinstance(tolerance, Mapping):
        tolerances = [(stage, float(share)) for stage, share in tolerance.items()]
    elif tolerance is not None:
        tolerances = [(None, float(tolerance))]
    arguments |= {
        "sides": [side.number for side in sides],
        "names": names or (_name(a, "reference"), _name(b, "found")),
        "detector": None if detector is None else detector._held.number,
        "tolerance": tolerances,
    }
    (held, agrees, report), _ = call("compare", arguments, *arrays)
    compared = {stage["stage"] for stage in report["stages"]}
    unknown = [stage for stage, _ in tolerances if stage is not None and stage not in compared]
    if unknown:
        raise OptionError(
            f"tolerance: stage `{unknown[0]}` was not compared; there are {', '.join(stage['stage'] for stage in report['stages'])}"
        )
    return Comparison(Held(held), agrees, report)


def _name(side: Any, otherwise: str) -> str:
    path = getattr(side, "path", side)
    return os.path.basename(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else otherwise


def _side(side: Any) -> Held:
    """What the extension module compares."""
    held = getattr(side, "_held", None)
    if isinstance(held, Held):
        return held
    if isinstance(side, (str, os.PathLike)):
        return Held(call("open_tensors", path_text(side))[0])
    if not isinstance(side, Mapping):
        raise TypeError(f"compared are tensors by name, a safetensors file or a Detector, not a {type(side).__name__}")
    metadata = {str(key): str(value) for key, value in getattr(side, "metadata", {}).items()}
    coarsest, arrays = "F32", []
    for tensor in side.values():
        kind = str(getattr(tensor, "dtype", ""))
        if kind.endswith("bfloat16"):
            coarsest = "BF16"
        elif kind.endswith("float16") and coarsest == "F32":
            coarsest = "F16"
        arrays.append(np.ascontiguousarray(host(tensor), dtype=np.float32))
    names = [str(name) for name in side]
    return Held(call("tensors", {"names": names, "metadata": metadata, "dtype": coarsest}, *arrays)[0])
