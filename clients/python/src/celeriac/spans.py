"""Spans of time as people write them: `500ms`, `30s`, `1h30m`."""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

from .errors import InvalidArgument

UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
PART = re.compile(r"([0-9.]+)([a-z]+)", re.ASCII | re.IGNORECASE)

#: Ten years, as everywhere.
MOST_MS = 10 * 365 * 86_400_000


def span_ms(name: str, value: Any) -> int:
    """A span in milliseconds: seconds, a `timedelta`, or a text."""
    expected = "seconds, a timedelta or a text such as `90s` or `1h30m`, from 0 to ten years"
    if isinstance(value, str):
        ms = parse(value)
    elif isinstance(value, datetime.timedelta):
        ms = round(value.total_seconds() * 1000)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MOST_MS:
        ms = round(value * 1000)
    else:
        ms = None
    if ms is None or not 0 <= ms <= MOST_MS:
        raise InvalidArgument(name, str(value), expected)
    return ms


def parse(text: str) -> int | None:
    """One or more numbers with units, in milliseconds; none when it is no span."""
    text = text.strip()
    total, at = 0, 0
    while at < len(text):
        part = PART.match(text, at)
        unit = UNITS.get(part[2]) if part else None
        if part is None or unit is None:
            return None
        try:
            total += int(part[1]) * unit if part[1].isdigit() else math.floor(float(part[1]) * unit + 0.5)
        except ValueError:
            return None
        at = part.end()
    return total if text and total < 2**64 else None
