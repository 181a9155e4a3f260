"""Paths as the extension module reads them."""

from __future__ import annotations

import os
from typing import Union

from ._errors import OptionError

AnyPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


def path_text(path: AnyPath) -> str:
    """A path as text. One of bytes is decoded; one that is no UTF-8, which Linux allows, cannot be handed on."""
    text = os.fsdecode(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OptionError(
            f"the path {text!r} is not UTF-8: rename the file, or give a link to it; of an image its bytes will do, open(path, \"rb\").read()"
        ) from None
    return text
