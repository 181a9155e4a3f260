"""Boxes to look at, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from ._call import call
from ._image import Channels, look

if TYPE_CHECKING:
    from ._image import Image


def propose(
    image: Image,
    method: Literal["selective-search", "grid"] = "selective-search",
    *,
    max_proposals: int = 2000,
    threads: int | None = None,
    channels: Channels = "rgb",
) -> npt.NDArray[np.float32]:
    """`[N, 4]` boxes, x1, y1, x2, y2 in pixels of the image, best first: of regions of like colour and texture, or a coarse grid.

    The boxes are the same for any number of threads.
    """
    arguments, arrays = look(image, channels, None)
    arguments |= {"method": method, "max_proposals": max_proposals, "threads": threads}
    _, (boxes,) = call("propose", arguments, *arrays)
    return np.frombuffer(boxes, np.float32).reshape(-1, 4)
