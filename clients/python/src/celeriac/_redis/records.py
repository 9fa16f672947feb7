"""Reads what stands in an invocation's record and in its events."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import Damaged
from ..outcome import Event, LogRecord, Progress, State, Status
from ..payload import Payload

CURSOR = re.compile(r"\d+-\d+\Z")

STATUS_FIELDS = ("h", "s", "d", "c", "x", "p", "r", "t", "n", "a")

#: The first letter of field `s`; without one it is queued.
STATES = {
    "b": State.BLOCKED,
    "w": State.SCHEDULED,
    "r": State.RUNNING,
    "s": State.SUCCEEDED,
    "f": State.FAILED,
    "c": State.CANCELLED,
    "e": State.EXPIRED,
}


def status(id: str, values: list[bytes | None]) -> Status:
    """The status in these fields of a record."""
    header, state, digest, crashes, cancel, progress, result, times, start, trail = values
    try:
        at, queue, head = (header or b"").split(b" ", 2)
        letter, host, attempts = split_state((state or b"").decode())
        expires, deadline = (times or b"0 0").split(b" ")
        return Status(
            id=id,
            task=json.loads(head)["task"],
            queue=queue.decode(),
            state=letter,
            submitted_at_ms=int(at),
            module=None if digest is None else f"sha256:{digest.decode()}",
            due_at_ms=int(start or 0) if letter is State.SCHEDULED else None,
            expires_at_ms=int(expires) or None,
            deadline_at_ms=int(deadline) or None,
            attempts=attempts,
            crashes=int(crashes or 0),
            host=host if letter is State.RUNNING else None,
            trail=json.loads(trail or b"[]"),
            is_cancel_requested=cancel is not None,
            progress=None if progress is None else Progress.read(json.loads(progress)),
            outcome=None if result is None else json.loads(result.partition(b"\n")[0]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"invocation {id}", str(error)) from error


def split_state(field: str) -> tuple[State, str, int]:
    """State, last host and attempts, from `<letter>[!]<host>.<fence>.<attempt>`."""
    token = field[1:].lstrip("!").rsplit(".", 2)
    host, attempts = (token[0], int(token[2])) if len(token) == 3 else ("", 0)
    return STATES.get(field[:1], State.QUEUED), host, attempts


def event(id: str, entry: list[Any]) -> Event:
    """An entry of an event stream: its id, and the fields a, k, c and v."""
    try:
        cursor = entry[0].decode()
        fields = dict(zip(entry[1][::2], entry[1][1::2]))
        kind, value = fields[b"k"], fields[b"v"]
        what: Progress | LogRecord | Payload
        if kind == b"p":
            what = Progress.read(json.loads(value))
        elif kind == b"l":
            what = LogRecord.read(json.loads(value))
        else:
            what = Payload(value, fields[b"c"].decode())
        return Event(cursor, int(cursor.partition("-")[0]), int(fields[b"a"]), what)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise Damaged(f"an event of invocation {id}", str(error)) from error
