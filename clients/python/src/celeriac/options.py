"""What a caller may set for one invocation, and how it stands on the wire."""

from __future__ import annotations

import datetime
import time
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from typing_extensions import TypedDict

from .errors import InvalidArgument
from .ids import check_id
from .names import check_name, task_ref
from .once import Unique, check_key
from .spans import span_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class HasId(Protocol):
    """A handle."""

    @property
    def id(self) -> str:
        """The invocation's id."""


@dataclass(frozen=True)
class After:
    """An invocation that another waits for, and the end that it waits for."""

    parent: HasId | str
    #: `success`; `failure`: it fails or expires; `done`: any end.
    on: Literal["success", "failure", "done"] = "success"

    def wire(self) -> dict[str, str]:
        """As it stands in a header."""
        made = {"id": check_id(self.parent if isinstance(self.parent, str) else self.parent.id)}
        return made if self.on == "success" else made | {"on": self.on}


#: Seconds, a `timedelta`, or a text such as `90s` or `1h30m`.
Span = float | datetime.timedelta | str
#: A span from acceptance on, or a `datetime` with its time zone.
When = Span | datetime.datetime


class Options(TypedDict, total=False):
    """Options of a call. Limits can lower what the operator allows, never raise it."""

    #: The queue; without it the task's own, else `default`.
    queue: str
    #: What goes first within the queue; `normal` unless said.
    priority: Literal["high", "normal", "low"]
    #: Whose it is, such as a tenant: within a queue and a priority the keys that wait are served in turn.
    fairness_key: str
    #: What it shares a limit with, such as an account of some service: `celeriac limits`.
    concurrency_key: str
    #: Does not start it before this long after it was accepted. Celery's name for `delay`.
    countdown: Span
    #: Does not start it before this long after it was accepted.
    delay: Span
    #: Does not start it before this moment. Celery's name for `at`.
    eta: datetime.datetime
    #: Does not start it before this moment.
    at: datetime.datetime
    #: Has it expire unless it was started by then; a span counts from when it was accepted.
    expires: When
    #: Has it fail unless it has ended by then, retries and all.
    deadline: When
    #: Attempts after the first one, whatever the task says.
    retry: int
    #: How long to wait before each: `5s`, `1s, 10s, 1m`, `exponential(1s, 60s)`.
    backoff: str
    #: Retries only failures of these kinds and codes.
    retry_on: Sequence[str]
    #: Stops an attempt after this long.
    timeout: Span
    #: Asks an attempt to come to an end after this long: the task is told, and `timeout` stops it if it goes on.
    soft_timeout: Span
    #: Stops an attempt after this much fuel; about one unit per wasm instruction.
    fuel: int
    #: Stops an attempt that wants more memory than this many bytes.
    memory: int
    #: Other limits of an attempt, by the host's name for them, in their unit.
    limits: Mapping[str, int]
    #: What must have ended before it may start: handles or ids, which must succeed, or `After` for another end.
    after: Sequence[HasId | str | After]
    #: What becomes of it when one of these ends otherwise: `fail`, the default, or `skip`.
    on_unmet: Literal["fail", "skip"]
    #: Tasks that are run, or URLs that are told, when it has succeeded: at the broker, whatever happens here.
    on_success: str | Sequence[str]
    #: The same when it has failed beyond all retries, or expired.
    on_failure: str | Sequence[str]
    #: The same at any end.
    on_complete: str | Sequence[str]
    #: Keeps the result this long after the end.
    result_ttl: Span
    #: Makes submitting repeatable, across processes and restarts: the same key with the same task and input is the
    #: same invocation, until its result has expired. With another input it is refused.
    idempotency_key: str
    #: Has it be the only one with its key until it has ended; `Unique` says otherwise.
    unique: str | Unique
    #: Has the host keep what it answers the task: if it fails for good, `celeriac replay` runs it again with the same
    #: answers.
    record: bool
    #: Whether the outcome is pushed to this client; `False` for what nobody here will await.
    awaited: bool
    #: Called with the handle when the invocation has ended.
    on_done: Callable[[Any], object]


def merged(first: Options, second: Options) -> Options:
    """The options of a task with those of a call over them. A new time to start replaces the old in either form."""
    if not second:
        return first
    made: dict[str, Any] = dict(first)
    if any(name in second for name in _STARTS):
        for name in _STARTS:
            made.pop(name, None)
    made.update(second)
    return made  # type: ignore[return-value]


#: The longest fairness key or concurrency key.
MAX_KEY_BYTES = 128

_STARTS = ("countdown", "delay", "eta", "at")
_KNOWN = frozenset(Options.__annotations__)


def wire(options: Options) -> dict[str, Any]:
    """The options as they stand in an invocation's header."""
    if not options:
        return {}
    if unknown := sorted(set(options) - _KNOWN):
        raise TypeError(f"{', '.join(unknown)} is not an option of a call: there are {', '.join(sorted(_KNOWN))}")
    made: dict[str, Any] = {}
    if (queue := options.get("queue")) is not None:
        check_name("queue", queue)
        made["queue"] = queue
    _add_place(options, made)
    for name, on_wire in (("fuel", "fuel"), ("memory", "memory_bytes"), ("retry", "retries"), ("backoff", "backoff")):
        if (value := options.get(name)) is not None:
            made[on_wire] = value
    if retry_on := options.get("retry_on"):
        made["retry_on"] = list(retry_on)
    if (key := options.get("idempotency_key")) is not None:
        made["idempotency_key"] = check_key("idempotency key", key)
    if (unique := options.get("unique")) is not None:
        made["unique"] = (unique if isinstance(unique, Unique) else Unique(unique)).wire()
    _add_times(options, made)
    _add_ends(options, made)
    if (ttl := options.get("result_ttl")) is not None:
        made["result_ttl_ms"] = span_ms("result_ttl", ttl)
    _add_record(options, made)
    _add_limits(options, made)
    return made


def _add_record(options: Options, made: dict[str, Any]) -> None:
    """Whether its answers are kept. `False` is as if nothing was said: what the policy records, it records."""
    record = options.get("record", False)
    if not isinstance(record, bool):
        raise InvalidArgument("record", repr(record), "`True` or `False`")
    if record:
        made["record"] = True


def _add_limits(options: Options, made: dict[str, Any]) -> None:
    """What an attempt may use, beside what has a field of its own."""
    if (timeout := options.get("timeout")) is not None:
        made["timeout_ms"] = span_ms("timeout", timeout)
    limits = dict(options.get("limits") or {})
    if (soft_timeout := options.get("soft_timeout")) is not None:
        limits["soft_timeout"] = span_ms("soft_timeout", soft_timeout)
    if limits:
        made["limits"] = limits


#: The bands of a queue, the highest first, as the stores number them.
PRIORITIES = ("high", "normal", "low")


def _add_place(options: Options, made: dict[str, Any]) -> None:
    """Where it stands among others."""
    if (priority := options.get("priority")) is not None:
        if priority not in PRIORITIES:
            raise InvalidArgument("priority", repr(priority), "`high`, `normal` or `low`")
        made["priority"] = priority
    for name in ("fairness_key", "concurrency_key"):
        if (key := options.get(name)) is not None:
            if not isinstance(key, str) or not 1 <= len(key.encode()) <= MAX_KEY_BYTES or not _is_plain(key):
                raise InvalidArgument(name, repr(key), "1 to 128 bytes without spaces and control characters")
            made[name] = key


def _is_plain(key: str) -> bool:
    return not any(char.isspace() or unicodedata.category(char) == "Cc" for char in key)


def _add_times(options: Options, made: dict[str, Any]) -> None:
    starts = [(name, options.get(name)) for name in _STARTS if options.get(name) is not None]
    if len(starts) > 1:
        raise TypeError(f"{starts[0][0]} and {starts[1][0]} both say when it starts: keep one")
    for name, value in [("start", starts[0][1] if starts else None)] + [
        (name, options.get(name)) for name in ("expires", "deadline")
    ]:
        if value is not None:
            made[name] = moment(name, value)
    for name in ("expires", "deadline"):
        if "start" in made and name in made and _never_after(made[name], made["start"]):
            raise InvalidArgument(name, str(options.get(name)), "a time after the one that it may start at")


def _add_ends(options: Options, made: dict[str, Any]) -> None:
    """What it waits for, and what follows it."""
    if after := options.get("after"):
        made["after"] = [(one if isinstance(one, After) else After(one)).wire() for one in after]
    if options.get("on_unmet", "fail") != "fail":
        made["on_unmet"] = options["on_unmet"]
    follows = (("success", "on_success"), ("failure", "on_failure"), ("done", "on_complete"))
    callbacks = []
    for on, name in follows:
        given: Any = options.get(name) or ()
        callbacks += [{"on": on, "to": to} for to in ([given] if isinstance(given, str) else given)]
    for callback in callbacks:
        if "://" not in callback["to"]:
            task_ref(callback["to"])
    if callbacks:
        made["callbacks"] = callbacks


def moment(name: str, value: Any) -> dict[str, int]:
    """A moment as the broker takes it: its clock decides when it has come."""
    if not isinstance(value, datetime.datetime):
        return {"in_ms": span_ms(name, value)}
    if value.tzinfo is None:
        expected = (
            "a time with its zone, such as datetime(…, tzinfo=ZoneInfo('Europe/Berlin')): no clock is meant otherwise"
        )
        raise InvalidArgument(name, str(value), expected)
    # 0 stands for none.
    return {"at_ms": max(1, int(value.timestamp() * 1000))}


def _never_after(this: dict[str, int], other: dict[str, int]) -> bool:
    kind = next(iter(this))
    return kind in other and this[kind] <= other[kind]


def times(options: Mapping[str, Any]) -> str:
    """The moments as `submit.lua` reads them; empty for none."""
    moments = [options.get(name) for name in ("start", "expires", "deadline")]
    if not any(moments):
        return ""
    return " ".join("-" if when is None else _moment_text(when) for when in moments)


def _moment_text(when: Mapping[str, int]) -> str:
    return f"+{when['in_ms']}" if "in_ms" in when else str(when["at_ms"])


def now_ms() -> int:
    """This machine's clock: for people and for ages, never for a decision of the broker's."""
    return time.time_ns() // 1_000_000
