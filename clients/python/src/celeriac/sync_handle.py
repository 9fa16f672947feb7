"""One invocation, for code that does not await."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .handle import Handle
    from .outcome import CancelResult, Event, Outcome, Progress, Status
    from .sync import Client

T = TypeVar("T", default=Any)


class SyncHandle(Generic[T]):
    """One invocation, from the side of whoever asked for it."""

    __slots__ = ("_client", "asynchronous")

    def __init__(self, client: Client, handle: Handle[T]) -> None:
        self._client = client
        self.asynchronous = handle

    @property
    def id(self) -> str:
        """The invocation's id: a UUID."""
        return self.asynchronous.id

    def __repr__(self) -> str:
        return f"SyncHandle({self.id!r})"

    def result(self, timeout: float | None = None) -> T:
        """Waits for the output for at most `timeout` seconds; see `Handle.result`."""
        return self._client.portal.run(self.asynchronous.result(timeout))

    #: Celery's name for it.
    get = result

    def wait(self, timeout: float | None = None) -> Outcome:
        """Waits for the end, whatever it is; raises `ResultTimeout` when it has not come in time."""
        self._client.portal.run(self._client.asynchronous.wait_all([self.asynchronous], timeout))
        return self.outcome()

    def outcome(self) -> Outcome:
        """Waits for the end, whatever it is: code, output or failure, and what the last attempt used."""
        return self._client.portal.run(self.asynchronous.outcome())

    def ready(self) -> bool:
        """Whether it has ended. Asks the broker when this process has not been told."""
        return self._client.portal.run(self.asynchronous.ready())

    def done(self) -> bool:
        """Whether this process has been told of its end; asks nobody."""
        return self.asynchronous.done()

    def on_done(self, callback: Callable[[SyncHandle[T]], object]) -> None:
        """Calls `callback` with this handle when it has ended, on a thread of its own.

        It is called even when nobody keeps the handle. What it raises is logged, with the invocation's id.
        """
        adapted = threaded(self._client, callback)
        self._client.portal.call(lambda: self.asynchronous.on_done(adapted))

    def status(self) -> Status:
        """Where it stands: state, attempts, progress, and more."""
        return self._client.portal.run(self.asynchronous.status())

    def cancel(self) -> CancelResult:
        """Stops it: at once when it waits, within milliseconds when it runs."""
        return self._client.portal.run(self.asynchronous.cancel())

    def events(self, after: str | None = None) -> Iterator[Event]:
        """What it reports: progress, logs and partial results, from the oldest kept until its end."""
        return self._client.iterate(self.asynchronous.events(after))

    def progress(self) -> Iterator[Progress]:
        """How far it comes, as it says so; ends when the invocation does."""
        return self._client.iterate(self.asynchronous.progress())


def threaded(client: Client, callback: Callable[[SyncHandle[Any]], object]) -> Callable[[Handle[Any]], object]:
    """The callback on a thread of its own."""
    # On the client's own thread a callback could use nothing of the client: it would wait for itself.
    return lambda handle: asyncio.to_thread(callback, SyncHandle(client, handle))
