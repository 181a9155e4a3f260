"""Calls into the extension module: small things are JSON, arrays are handed over as they lie in memory."""

from __future__ import annotations

import json
import weakref
from typing import Any

from . import _errors, _frcnn


class Held:
    """Something that the extension module holds, until this object is gone."""

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, _frcnn.call, "release", str(number))


def call(operation: str, arguments: Any, *arrays: Any) -> tuple[Any, tuple[bytearray, ...]]:
    """What an operation gives: a value, and the bytes of arrays."""
    reply = _frcnn.call(operation, json.dumps(arguments, default=_plain), *arrays)
    if reply[-1] is None:
        raise getattr(_errors, reply[0])(reply[1])
    return json.loads(reply[0]), reply[1:]


def _plain(value: Any) -> Any:
    """A scalar of NumPy's as one of Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a number or a text is expected, not a {type(value).__name__}")
