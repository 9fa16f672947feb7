"""What can be read about an invocation: outcome, status, and what it reports while it runs."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any

from .errors import BY_CODE, Damaged, Failure, TaskFailed
from .payload import Payload


class State(str, enum.Enum):
    """Where an invocation stands. The last four are written once and never change."""

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the invocation has ended."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED)

    def __str__(self) -> str:
        return self.value


class CancelResult(str, enum.Enum):
    """What a cancel came to."""

    #: It had not started: it is cancelled now.
    CANCELLED = "cancelled"
    #: It runs: its host has been told.
    REQUESTED = "requested"
    #: It had ended already.
    ALREADY_ENDED = "already_ended"

    def __str__(self) -> str:
        return self.value


class Outcome:
    """What an invocation came to. Written once. `output` is there when it succeeded, `failure` when it did not."""

    __slots__ = ("_head", "output")

    def __init__(self, head: dict[str, Any], data: bytes = b"") -> None:
        self._head = head
        content_type = head.get("content_type")
        #: The output; none when the invocation did not succeed.
        self.output: Payload | None = None if content_type is None else Payload(data, content_type)

    @classmethod
    def read(cls, result: bytes, apart: bytes, id: str) -> Outcome:
        """As it is stored: the head as JSON, and the output behind a line feed or, when there is none, apart."""
        head, line_feed, behind = result.partition(b"\n")
        try:
            return cls(json.loads(head), behind if line_feed else apart)
        except (ValueError, AttributeError) as error:
            raise Damaged(f"invocation {id}", str(error)) from error

    @property
    def code(self) -> str:
        """The stable code: `ok`, `task_error`, `out_of_fuel`, …"""
        return str(self._head["code"])

    @property
    def is_success(self) -> bool:
        """Whether there is an output."""
        return self.output is not None

    @property
    def failure(self) -> Failure | None:
        """Why it did not succeed."""
        stored = self._head.get("failure")
        return None if stored is None else Failure.read(stored)

    @property
    def usage(self) -> dict[str, Any]:
        """What the last attempt used: fuel, peak_memory_bytes, queue_ms, run_ms, attempt, module, host."""
        return dict(self._head.get("usage") or {})

    @property
    def state(self) -> State:
        """The state that the invocation ended in."""
        ends = {
            "ok": State.SUCCEEDED,
            "cancelled": State.CANCELLED,
            "skipped": State.CANCELLED,
            "expired": State.EXPIRED,
        }
        return ends.get(self.code, State.FAILED)

    def error(self, id: str) -> TaskFailed:
        """The failure as an exception."""
        return BY_CODE.get(self.code, TaskFailed)(self.failure or Failure(), code=self.code, id=id)

    def __repr__(self) -> str:
        return f"Outcome(code={self.code!r}, output={self.output!r}, failure={self.failure!r})"


@dataclass(frozen=True)
class Progress:
    """How far a task has come."""

    #: Steps done, in the task's own unit.
    done: float
    #: Steps in all; 0 when the task does not know.
    total: float
    #: What it is at.
    note: str = ""

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Progress:
        """As it stands in a status or an event."""
        return cls(stored["done"], stored["total"], stored.get("note", ""))

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; none when the task does not know how much there is."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else None


@dataclass(frozen=True)
class LogRecord:
    """One log record of a task."""

    #: `trace`, `debug`, `info`, `warn` or `error`.
    level: str
    message: str
    #: Named values that belong to it.
    fields: Any = None
    #: `stdout` or `stderr` when it was printed rather than logged.
    stream: str | None = None

    @classmethod
    def read(cls, stored: dict[str, Any]) -> LogRecord:
        """As it stands in an event."""
        return cls(stored["level"], stored["message"], stored.get("fields"), stored.get("stream"))


@dataclass(frozen=True)
class Event:
    """Something that an invocation reported, with its place in the order and its time."""

    #: Opaque and ascending: `events(after=cursor)` goes on behind this event.
    cursor: str
    #: By the broker's clock: milliseconds since 1970.
    at_ms: int
    #: The attempt that reported it.
    attempt: int
    #: Progress, a log record, or a partial result.
    what: Progress | LogRecord | Payload


@dataclass(frozen=True)
class Status:
    """What anybody can read about an invocation."""

    id: str
    task: str
    queue: str
    state: State
    #: When it was accepted, by the broker's clock: milliseconds since 1970.
    submitted_at_ms: int
    #: The module that runs or ran.
    module: str | None = None
    #: When it starts, while it is scheduled.
    due_at_ms: int | None = None
    #: When it expires unless it was started.
    expires_at_ms: int | None = None
    #: When it fails unless it has ended.
    deadline_at_ms: int | None = None
    #: Attempts started so far.
    attempts: int = 0
    #: Hosts that died while they ran it.
    crashes: int = 0
    #: The host that runs it.
    host: str | None = None
    #: The attempts that failed and were followed by another, oldest first.
    trail: list[dict[str, Any]] = field(default_factory=list)
    #: Whether somebody asked for it to stop.
    is_cancel_requested: bool = False
    #: The last progress that it reported.
    progress: Progress | None = None
    #: The outcome without its output, once it has ended: code, failure, usage.
    outcome: dict[str, Any] | None = None
