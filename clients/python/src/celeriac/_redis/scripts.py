"""The Lua scripts, as the build copied them from the broker, with the hashes that the server knows them by."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Script:
    """A script with its hash."""

    name: str
    source: bytes
    sha: str


@functools.cache
def script(name: str) -> Script:
    """The script with this name."""
    source = resources.files(__package__).joinpath("scripts").joinpath(f"{name}.lua").read_bytes()
    return Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())
