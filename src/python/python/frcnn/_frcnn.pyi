"""The extension module, in Rust."""

from typing import Any

def call(operation: str, arguments: str, /, *arrays: Any) -> tuple[Any, ...]: ...
