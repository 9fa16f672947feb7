"""What a caller may set for one invocation, and how it stands on the wire."""

from __future__ import annotations

import datetime
import re
import time
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import TypedDict

from .backoff import check_backoff
from .dependency import After, HasId, callbacks, parents, several
from .errors import InvalidArgument
from .names import check_name
from .once import Unique, check_key
from .spans import span_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
    #: Retries only failures of this kind or code, or of one of these.
    retry_on: str | Sequence[str]
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
    after: HasId | str | After | Sequence[HasId | str | After]
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
    """The options as they stand in an invocation's header. Raises `InvalidArgument` for what hosts would not read."""
    if not options:
        return {}
    if unknown := sorted(set(options) - _KNOWN):
        raise TypeError(f"{', '.join(unknown)} is not an option of a call: there are {', '.join(sorted(_KNOWN))}")
    made: dict[str, Any] = {}
    _add_place(options, made)
    _add_retries(options, made)
    if (key := options.get("idempotency_key")) is not None:
        made["idempotency_key"] = check_key("idempotency key", key)
    if (unique := options.get("unique")) is not None:
        made["unique"] = (unique if isinstance(unique, Unique) else Unique(unique)).wire()
    _add_times(options, made)
    _add_ends(options, made)
    if (ttl := options.get("result_ttl")) is not None:
        made["result_ttl_ms"] = span_ms("result_ttl", ttl)
    _add_switches(options, made)
    _add_limits(options, made)
    return made


def _add_switches(options: Options, made: dict[str, Any]) -> None:
    """What is or is not. Of these hosts know `record` alone; `False` is as if nothing was said: what the policy
    records, it records.
    """
    for name in ("record", "awaited"):
        value = options.get(name, False)
        if not isinstance(value, bool):
            raise InvalidArgument(name, repr(value), "`True` or `False`")
    on_done = options.get("on_done")
    if on_done is not None and not callable(on_done):
        raise InvalidArgument("on_done", repr(on_done), "a function, which is called with the handle")
    if options.get("record"):
        made["record"] = True


#: The largest numbers that hosts read.
_MOST_U32, _MOST_U64 = 2**32 - 1, 2**64 - 1


def _whole(name: str, value: Any, most: int, unit: str = "") -> int:
    """A number that hosts read."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InvalidArgument(name, repr(value), f"a whole number{unit} from 0 to {most}")
    return int(value)


def _add_retries(options: Options, made: dict[str, Any]) -> None:
    """What is done about failures."""
    if (retries := options.get("retry")) is not None:
        made["retries"] = _whole("retry", retries, _MOST_U32)
    if (backoff := options.get("backoff")) is not None:
        made["backoff"] = check_backoff(backoff)
    words = several("retry_on", options.get("retry_on"))
    for word in words:
        if not isinstance(word, str) or not word or not word.isprintable():
            raise InvalidArgument("retry_on", repr(word), "a kind or a code of failure such as `deadline`, or a list")
    if words:
        made["retry_on"] = words


#: What names of limits consist of. Which there are hosts know: a name that they do not know fails the invocation.
_LIMIT = re.compile(r"[a-z][a-z0-9_]*\Z")


def _add_limits(options: Options, made: dict[str, Any]) -> None:
    """What an attempt may use."""
    for name, on_wire, unit in (("fuel", "fuel", " of units"), ("memory", "memory_bytes", " of bytes")):
        if (value := options.get(name)) is not None:
            made[on_wire] = _whole(name, value, _MOST_U64, unit)
    if (timeout := options.get("timeout")) is not None:
        made["timeout_ms"] = span_ms("timeout", timeout)
    given: Any = options.get("limits")
    if given is not None and not isinstance(given, Mapping):
        raise InvalidArgument("limits", repr(given), "a dict of numbers, such as `{'log_lines': 10}`")
    limits: dict[str, int] = {}
    for name, value in (given or {}).items():
        if not isinstance(name, str) or not _LIMIT.match(name):
            raise InvalidArgument("limits", repr(name), "names of limits, such as `log_lines`")
        limits[name] = _whole(f"limits[{name!r}]", value, _MOST_U64, " in the limit's unit")
    if (soft_timeout := options.get("soft_timeout")) is not None:
        limits["soft_timeout"] = span_ms("soft_timeout", soft_timeout)
    if limits:
        made["limits"] = limits


#: The bands of a queue, the highest first, as the stores number them.
PRIORITIES = ("high", "normal", "low")


def _add_place(options: Options, made: dict[str, Any]) -> None:
    """Where it stands among others."""
    if (queue := options.get("queue")) is not None:
        check_name("queue", queue)
        made["queue"] = queue
    if (priority := options.get("priority")) is not None:
        if priority not in PRIORITIES:
            raise InvalidArgument("priority", repr(priority), "`high`, `normal` or `low`")
        made["priority"] = priority
    for name in ("fairness_key", "concurrency_key"):
        if (key := options.get(name)) is not None:
            if not isinstance(key, str) or not _is_plain(key) or not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
                raise InvalidArgument(name, repr(key), "1 to 128 bytes without spaces and control characters")
            made[name] = key


def _is_plain(key: str) -> bool:
    return not any(char.isspace() or unicodedata.category(char) in ("Cc", "Cs") for char in key)


def _add_times(options: Options, made: dict[str, Any]) -> None:
    starts = [(name, options.get(name)) for name in _STARTS if options.get(name) is not None]
    if len(starts) > 1:
        raise TypeError(f"{starts[0][0]} and {starts[1][0]} both say when it starts: keep one")
    for given, value in starts:
        made["start"] = moment(given, value)
    for name in ("expires", "deadline"):
        if (value := options.get(name)) is not None:
            made[name] = moment(name, value)
    for name in ("expires", "deadline"):
        if "start" in made and name in made and _never_after(made[name], made["start"]):
            raise InvalidArgument(name, str(options.get(name)), "a time after the one that it may start at")


def _add_ends(options: Options, made: dict[str, Any]) -> None:
    """What it waits for, and what follows it."""
    if after := parents(options.get("after")):
        made["after"] = after
    on_unmet = options.get("on_unmet")
    if on_unmet not in (None, "fail", "skip"):
        raise InvalidArgument("on_unmet", repr(on_unmet), "`fail` or `skip`")
    if on_unmet == "skip":
        made["on_unmet"] = on_unmet
    if follows := callbacks(options):
        made["callbacks"] = follows


#: The last moment: the end of the year 9999.
MAX_AT_MS = 253_402_300_799_000


def moment(name: str, value: Any) -> dict[str, int]:
    """A moment as the broker takes it: its clock decides when it has come."""
    if not isinstance(value, datetime.datetime):
        return {"in_ms": span_ms(name, value)}
    if value.tzinfo is None:
        expected = (
            "a time with its zone, such as datetime(…, tzinfo=ZoneInfo('Europe/Berlin')): no clock is meant otherwise"
        )
        raise InvalidArgument(name, str(value), expected)
    at_ms = int(value.timestamp() * 1000)
    if at_ms > MAX_AT_MS:
        raise InvalidArgument(name, str(value), "a time before the year 10000")
    # 0 stands for none.
    return {"at_ms": max(1, at_ms)}


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
