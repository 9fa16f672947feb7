"""Many invocations at once: listing them, and stopping all that a filter asks for."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from .errors import InvalidArgument, UnknownInvocation
from .names import SYSTEM_QUEUE, check_name, module_ref, task_ref
from .outcome import CancelResult, State, Status
from .spans import span_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .options import Span
    from .transport import Transport

#: Cancels under way at once: enough to hide the round trips, too few to hold others up.
AT_ONCE = 32

#: How many are stopped before progress is told.
PAGE = 500

#: Every state but the terminal ones.
UNFINISHED = tuple(state for state in State if not state.is_terminal)


class Filter(TypedDict, total=False):
    """Which invocations are meant. Everything that is given must hold; nothing given means all."""

    #: Where they stand: `State.QUEUED`, `"running"`, or several.
    states: State | str | Iterable[State | str]
    #: Their queue.
    queue: str
    #: Their task: `images` for all of a module, `images/resize` for one in every version, `images@1.2.0/resize` for
    #: calls of exactly that.
    task: str
    #: Their concurrency key or their fairness key.
    key: str
    #: Accepted at least this long ago, by the broker's clock.
    older_than: Span
    #: Accepted at most this long ago.
    newer_than: Span
    #: Accepted at this moment or later.
    since: datetime.datetime
    #: Accepted before this moment.
    until: datetime.datetime


@dataclass(frozen=True)
class Wanted:
    """A filter that was checked, in the broker's units."""

    states: tuple[State, ...] = ()
    queue: str | None = None
    task: str | None = None
    key: str | None = None
    older_than_ms: int | None = None
    newer_than_ms: int | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def admits(self, status: Status) -> bool:
        """Whether it is in one of the states and of the task. Queue and time are for the store to look at."""
        return (not self.states or status.state in self.states) and (
            self.task is None or _is_of(self.task, status.task)
        )


def wanted(asked: Filter) -> Wanted:
    """What a caller asks for."""
    if unknown := sorted(set(asked) - set(Filter.__annotations__)):
        raise TypeError(f"{', '.join(unknown)} is no filter: there are {', '.join(Filter.__annotations__)}")
    made: dict[str, Any] = {}
    if (states := asked.get("states")) is not None:
        made["states"] = _states(states)
    if (queue := asked.get("queue")) is not None:
        check_name("queue", queue)
        made["queue"] = queue
    if (task := asked.get("task")) is not None:
        _ = task_ref(task) if "/" in task else module_ref(task)
        made["task"] = task
    if (key := asked.get("key")) is not None:
        made["key"] = key
    for name in ("older_than", "newer_than"):
        if (span := asked.get(name)) is not None:
            made[f"{name}_ms"] = span_ms(name, span)
    for name in ("since", "until"):
        if (moment := asked.get(name)) is not None:
            made[f"{name}_ms"] = moment_ms(name, moment)
    return Wanted(**made)


def _states(states: State | str | Iterable[State | str]) -> tuple[State, ...]:
    given = [states] if isinstance(states, str) else list(states)
    try:
        return tuple(State(state) for state in given)
    except ValueError:
        known = ", ".join(f"`{state}`" for state in State)
        raise InvalidArgument("states", ", ".join(map(str, given)), f"some of {known}") from None


def moment_ms(name: str, moment: Any) -> int:
    """A moment in milliseconds since 1970."""
    if not isinstance(moment, datetime.datetime) or moment.tzinfo is None:
        raise InvalidArgument(name, str(moment), "a datetime with its zone")
    return max(0, int(moment.timestamp() * 1000))


def _is_of(meant: str, task: str) -> bool:
    """Whether `task` is one that is meant."""
    module, slash, name = meant.rpartition("/") if "/" in meant else (meant, "", "")
    called, _, called_name = task.rpartition("/")
    is_exact = "@" in module or module.startswith("sha256:")
    if (called if is_exact else called.partition("@")[0]) != module:
        return False
    return not slash or name == called_name


@dataclass
class BulkCancel:
    """What cancelling many has come to so far."""

    #: Those that the filter asked for.
    matched: int = 0
    #: Those that had not started: they are cancelled now.
    cancelled: int = 0
    #: Those that run: their hosts have been told.
    requested: int = 0
    #: Those that had ended before they were reached.
    already_ended: int = 0


async def cancel_matching(
    transport: Transport, asked: Filter, *, dry_run: bool, on_progress: Callable[[BulkCancel], object] | None
) -> BulkCancel:
    """Stops every invocation that the filter asks for and that has not ended."""
    if asked.get("states") is None:
        asked = {**asked, "states": UNFINISHED}
    checked = wanted(asked)
    done, page = BulkCancel(), []

    async def finish(page: list[str]) -> None:
        done.matched += len(page)
        if not dry_run:
            await _cancel(transport, page, done)
        if on_progress is not None:
            on_progress(done)

    async for status in transport.listing(checked):
        # Uploads wait in a queue of their own, and are left alone unless it is named.
        if checked.queue is None and status.queue == SYSTEM_QUEUE:
            continue
        page.append(status.id)
        if len(page) == PAGE:
            await finish(page)
            page = []
    await finish(page)
    return done


async def _cancel(transport: Transport, ids: list[str], done: BulkCancel) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def cancel(id: str) -> CancelResult:
        async with room:
            try:
                return await transport.cancel(id)
            except UnknownInvocation:
                # Its record has gone since: it had ended.
                return CancelResult.ALREADY_ENDED

    for result in await asyncio.gather(*map(cancel, ids)):
        name = result.value
        setattr(done, name, getattr(done, name) + 1)
