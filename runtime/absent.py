"""Optional packages of libraries, kept out of a process that has no use for them."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def absent(*packages: str) -> Iterator[None]:
    """What is imported within takes these for not installed, unless they are loaded already.

    A library that can do more with an optional package imports that package wherever it is installed, which costs
    memory for as long as the process lives. Afterwards they can be imported as ever.
    """
    modules: dict[str, Any] = sys.modules
    hidden = [package for package in packages if package not in modules]
    modules.update(dict.fromkeys(hidden))  # [Python reference, 5.3.1] None: importing it is an ImportError
    try:
        yield
    finally:
        for package in hidden:
            del modules[package]
