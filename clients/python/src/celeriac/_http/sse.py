"""Server-sent events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True)
class ServerEvent:
    """One event of a stream."""

    kind: str
    data: str
    id: str


async def read(lines: AsyncIterator[str]) -> AsyncIterator[ServerEvent]:
    """The events in a stream of lines. Comments, which keep the connection alive, are passed over."""
    kind, id = "message", ""
    data: list[str] = []
    async for line in lines:
        if line == "":
            if data:
                yield ServerEvent(kind, "\n".join(data), id)
            kind, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            id = value
