"""Images and boxes as the extension module reads them."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Any, Literal, TypeGuard, Union

import numpy as np
import numpy.typing as npt

from ._path import path_text

if TYPE_CHECKING:
    import PIL.Image

    Image = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes], npt.NDArray[np.uint8], PIL.Image.Image]

Channels = Literal["rgb", "bgr"]


def look(
    image: Image | None, channels: str, boxes: npt.ArrayLike | None, *, must: bool = True
) -> tuple[dict[str, Any], list[Any]]:
    """Arguments of an operation that looks at an image, which there must be or not, and at boxes, and their arrays."""
    arrays: list[Any] = []
    arguments: dict[str, Any] = {"image": None, "boxes": None}
    if image is not None or must:
        read, order = readable(image, channels)
        if isinstance(read, str):
            arguments["image"] = {"path": read}
        elif isinstance(read, bytes):
            arguments["image"] = {"held": len(arrays)}
            arrays.append(np.frombuffer(read, np.uint8))
        else:
            arguments["image"] = {"array": (len(arrays), order)}
            arrays.append(read)
    if boxes is not None:
        arguments["boxes"] = len(arrays)
        arrays.append(boxes_of(boxes))
    return arguments, arrays


def readable(image: Image | None, channels: str) -> tuple[Any, str]:
    """A path, what a file holds, or an array of uint8 whose rows are contiguous, and the order of its channels. Arrays are copied only where their
    rows are not: views such as `array[100:400, 50:90]` are taken as they lie."""
    if isinstance(image, (str, os.PathLike)):
        # A file's channels have names of their own.
        return path_text(image), "rgb"
    if hasattr(image, "read"):
        image = held_by(image)
    if is_file(image):
        return bytes(image), "rgb"
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        return _of_pil(image), "rgb"
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise TypeError(
            f"an image is a path, a JPEG or PNG file that is open or its bytes, a PIL image or an array of uint8, not "
            f"{_described(image, array)}; of floats in 0..1 it is (array * 255).round().astype(numpy.uint8)"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return (array if _rows_are_contiguous(array) else np.ascontiguousarray(array)), channels


def is_file(image: object) -> TypeGuard[bytes | bytearray | memoryview]:
    """Whether an image is what a file holds. A `memoryview` or an array with rows and columns is one of pixels."""
    if isinstance(image, np.ndarray):
        return image.ndim == 1 and image.dtype == np.uint8
    return isinstance(image, (bytes, bytearray)) or (isinstance(image, memoryview) and image.ndim == 1)


def held_by(file: Any) -> bytes:
    """All that a file holds which is open for reading, `io.BytesIO` among them."""
    if hasattr(file, "seek"):
        file.seek(0)
    held = file.read()
    if not isinstance(held, bytes):
        raise TypeError(f"a {type(file).__name__} gives text: open an image with open(path, \"rb\")")
    return held


def _of_pil(image: PIL.Image.Image) -> npt.NDArray[np.uint8]:
    """RGB; or grey of 16 bits as 8, as in a file, where PIL's own conversion makes all above 255 white."""
    if image.mode.startswith("I;16"):
        return ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise TypeError(
            f"a PIL image of mode {image.mode} does not say which value is white: give an array of uint8, such as "
            f"(numpy.asarray(image) / white * 255).round().astype(numpy.uint8)"
        )
    return np.asarray(image.convert("RGB"))


def _described(image: object, array: npt.NDArray[Any]) -> str:
    if array.ndim == 0:
        return f"a {type(image).__name__}"
    return f"one of {array.dtype}"


def _rows_are_contiguous(array: npt.NDArray[np.uint8]) -> bool:
    pixel = 1
    if array.ndim == 3:
        pixel = array.shape[2]
        if array.strides[2] != 1:
            return False
    elif array.ndim != 2:
        return True  # which is refused by its shape
    return array.strides[1] == pixel and array.strides[0] >= array.shape[1] * pixel


def boxes_of(boxes: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """`[N, 4]` float32, contiguous; a tensor of torch's on any device is brought here."""
    array = np.ascontiguousarray(host(boxes), dtype=np.float32)
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes have shape [N, 4] (x1, y1, x2, y2), not {list(array.shape)}")
    return array


def host(values: Any) -> Any:
    """Values that NumPy reads: a tensor of torch's without its gradient, and on the CPU."""
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        return values.numpy()
    return values


def array_of(data: bytearray, shape: Any) -> npt.NDArray[np.float32]:
    """The array of the extension module's bytes, which are not copied."""
    return np.frombuffer(data, np.float32).reshape(shape)
