"""How long an invocation waits before each retry, as text: `5s`, `1s, 10s, 1m`, `exponential(1s, 60s)`."""

from __future__ import annotations

from typing import Any

from .errors import InvalidArgument
from .spans import parse

#: No pause between two attempts is longer: 31 days. More is a mistake in a unit.
MAX_PAUSE_MS = 31 * 86_400_000


def check_backoff(value: Any) -> str:
    """Refuses what hosts do not read as a back-off."""
    if not isinstance(value, str) or not _is_backoff(value):
        expected = "a text: `5s`, `1s, 10s, 1m` or `exponential(1s, 60s)`, none over 31 days"
        raise InvalidArgument("backoff", repr(value), expected)
    return value


def _is_backoff(text: str) -> bool:
    inner = text.strip()
    is_exponential = inner.startswith("exponential(") and inner.endswith(")")
    if is_exponential:
        inner = inner.removeprefix("exponential(").removesuffix(")")
    pauses = [parse(part) for part in inner.split(",")]
    # Python takes characters for spaces that hosts do not.
    if not text.isprintable() or not all(pause is not None and pause <= MAX_PAUSE_MS for pause in pauses):
        return False
    return not is_exponential or (len(pauses) == 2 and (pauses[0] or 0) <= (pauses[1] or 0))
