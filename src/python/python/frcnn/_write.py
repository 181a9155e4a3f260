"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable


def write(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """In place of what `path` was. An error names it, and leaves what was there."""
    partial = f"{os.fspath(path)}.partial"
    try:
        with open(partial, "wb") as file:
            file.writelines(parts)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.remove(partial)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
