"""Keys that keep an invocation from being submitted twice."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .errors import InvalidArgument
from .spans import span_ms

if TYPE_CHECKING:
    import datetime

    from .names import TaskRef
    from .payload import Payload

#: The longest key, in bytes, and the longest window: ten years.
MAX_KEY_BYTES, MAX_WINDOW_MS = 256, 10 * 365 * 86_400_000

#: How the ends are called on the wire.
SCOPES = {"started": "queued", "done": "done"}
POLICIES = ("reject", "return-existing", "replace")


@dataclass(frozen=True)
class Unique:
    """That an invocation is the only one with its key for a while: `unique=Unique("rebuild", window="10m")`."""

    #: Whatever must not be there twice: `invoice-17`.
    key: str
    #: Until when it is held: until a host takes the invocation, or until it has ended, retries and all.
    until: Literal["started", "done"] = "done"
    #: Holds the key so long from when it was accepted instead, whatever becomes of it.
    window: float | datetime.timedelta | str | None = None
    #: What becomes of another that comes meanwhile: it is refused, its caller gets the one that is there, or it takes
    #: the place of the one that is there if that still waits.
    on_conflict: Literal["reject", "return-existing", "replace"] = "reject"

    def wire(self) -> dict[str, Any]:
        """As it stands in a header."""
        check_key("unique key", self.key)
        if self.until not in tuple(SCOPES):
            raise InvalidArgument("until of a unique key", repr(self.until), "`started` or `done`, or a `window`")
        if self.on_conflict not in POLICIES:
            raise InvalidArgument("on_conflict of a unique key", repr(self.on_conflict), ", ".join(POLICIES))
        scope: Any = SCOPES[self.until]
        if self.window is not None:
            ms = span_ms("window of a unique key", self.window)
            if not 1 <= ms <= MAX_WINDOW_MS:
                raise InvalidArgument("window of a unique key", str(self.window), "a time between 1ms and 3650d")
            scope = {"window_ms": ms}
        return {"key": self.key, "scope": scope, "on_conflict": self.on_conflict}


def check_key(what: str, key: Any) -> str:
    """Refuses what is no key of either kind."""
    # Half of a surrogate pair has no bytes to send.
    is_text = isinstance(key, str) and not any(unicodedata.category(char) in ("Cc", "Cs") for char in key)
    if not is_text or not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
        raise InvalidArgument(what, repr(key), f"1 to {MAX_KEY_BYTES} bytes of text without control characters")
    return str(key)


def fingerprint(task: TaskRef, input: Payload) -> str:
    """What makes two submits with one idempotency key the same: task, content type and input."""
    parts = (task.text.encode(), input.content_type.encode(), input.data)
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]
