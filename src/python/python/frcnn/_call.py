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

    def __reduce__(self) -> Any:
        # What is held does not go along to another process, where its number may be that of something else. 0 is that of nothing.
        return Held, (0,)


def call(operation: str, arguments: Any, *arrays: Any) -> tuple[Any, tuple[bytearray, ...]]:
    """What an operation gives: a value, and the bytes of arrays."""
    reply = _frcnn.call(operation, _json(arguments), *arrays)
    if reply[-1] is None:
        raise getattr(_errors, reply[0])(reply[1])
    return json.loads(reply[0]), reply[1:]


def _json(arguments: Any) -> str:
    """Arguments as JSON; of keyword arguments an error names the one that is wrong."""
    if not isinstance(arguments, dict):
        return _value("arguments", arguments)
    return "{" + ", ".join(f"{json.dumps(name)}: {_value(name, value)}" for name, value in arguments.items()) + "}"


def _value(name: str, value: Any) -> str:
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except ValueError:
        raise _errors.OptionError(f"{name} is {value!r}; numbers are finite") from None


def _plain(value: Any) -> Any:
    """A scalar of NumPy's as one of Python's."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a number or a text is expected, not a {type(value).__name__}")
