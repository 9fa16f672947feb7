"""What a caller writes to name a task: `images/resize`, `images@1.2.0/resize`, `images@sha256:…/resize`."""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

from .errors import InvalidArgument

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")

#: The module name that hosts themselves answer to.
BUILT_IN = "celeriac"
#: The queue of requests to the hosts themselves.
SYSTEM_QUEUE = "celeriac"


class TaskRef(NamedTuple):
    """A task, taken apart."""

    #: As the caller wrote it.
    text: str
    #: `images` or `images@1.2.0`; empty for a digest.
    name: str
    #: 64 hex digits; empty for a name.
    digest: str
    #: The task's name within the module.
    task: str

    @property
    def module(self) -> str:
        """What stands before the task."""
        return self.text.rpartition("/")[0]

    @property
    def is_built_in(self) -> bool:
        """Whether the host answers this task itself."""
        return self.name == BUILT_IN


def check_name(what: str, name: Any) -> None:
    """Refuses what is no name."""
    if not isinstance(name, str) or not NAME.match(name):
        expected = "1 to 64 lower-case letters, digits, `.`, `_` or `-`, a letter or digit first"
        raise InvalidArgument(what, str(name), expected)


@functools.lru_cache(maxsize=1024)
def task_ref(text: str) -> TaskRef:
    """Reads a task's name."""
    module, slash, task = text.rpartition("/")
    if not slash:
        expected = "MODULE/TASK, such as `images/resize` or `images@1.2.0/resize`"
        raise InvalidArgument("task", text, expected)
    check_name("task name", task)
    name, digest = module_ref(module)
    return TaskRef(text, name, digest, task)


def module_ref(text: str) -> tuple[str, str]:
    """A module's name, or its digest; the other is empty."""
    name, at, rest = text.partition("@")
    digest = rest if at else text
    if digest.startswith("sha256:"):
        if at:
            check_name("module name", name)
        found = DIGEST.match(digest)
        if not found:
            raise InvalidArgument("digest", digest, "`sha256:` and 64 hex digits")
        return "", found[1]
    check_name("module name", name)
    if at:
        check_name("module version", rest)
    return text, ""
