"""What a client needs of a broker, whichever way it is reached: Redis itself, or a host's HTTP gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .errors import CeleriacError, NotFound, ResultExpired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .ids import Namespace
    from .listing import Wanted
    from .names import TaskRef
    from .outcome import CancelResult, Event, Outcome, Status
    from .payload import Payload


@dataclass(frozen=True)
class Submission:
    """One invocation as a client hands it in. Submitting the same id twice is submitting once."""

    id: str
    task: TaskRef
    input: Payload
    #: As they stand in the header.
    options: dict[str, Any]
    #: Whether the outcome is to be pushed to this client.
    is_awaited: bool = True


#: Seconds that the answer to a small command may take at least: also a server that is well may be busy for a moment.
LEAST_PATIENCE = 1.0


def small_patience(connect_timeout: float) -> float:
    """Seconds within which a small command is answered, with connecting and repeating it, or the broker is away."""
    return max(connect_timeout, LEAST_PATIENCE)


#: What became of a submission: the id of the invocation that it is (another's, where one of its keys leads there), or
#: why it was refused.
Answer = str | CeleriacError


class Inbox(Protocol):
    """Who is told of outcomes."""

    def deliver(self, id: str, outcome: Outcome | CeleriacError) -> None:
        """An invocation has ended, or cannot be awaited any more."""

    def recheck(self, id: str | None = None) -> None:
        """Read this one, or everything still awaited, from the store: something may have been missed."""


class IssuesIds:
    """Ids, once the store has told what they are made with."""

    _namespace: Namespace | None = None

    @property
    def namespace(self) -> Namespace:
        """What ids are made with."""
        assert self._namespace is not None, "open() comes first"  # noqa: S101 every session opens before it is used
        return self._namespace

    def issue(self) -> str:
        """A fresh id."""
        return self.namespace.issue()

    def missing(self, id: str) -> CeleriacError:
        """That there is no record of `id`."""
        return ResultExpired(id) if self.namespace.issued(id) else NotFound(id)


class Transport(Protocol):
    """A way to a broker. Calls may be repeated unless they say otherwise; a lost connection is mended by itself."""

    #: Where it leads, without credentials.
    address: str

    @property
    def namespace(self) -> Namespace:
        """What ids are made with, once it is open."""

    async def open(self) -> None:
        """Connects, and learns what ids are made with."""

    async def close(self) -> None:
        """Closes every connection."""

    def issue(self) -> str:
        """A fresh id."""

    def missing(self, id: str) -> CeleriacError:
        """That there is no record of `id`."""

    async def submit(self, batch: list[Submission]) -> list[Answer]:
        """Accepts invocations, in order; one answer each."""

    async def open_replies(self, inbox: Inbox) -> None:
        """Has outcomes pushed from now on: of what is submitted awaited, and of what `outcomes` registers."""

    async def outcomes(self, ids: list[str], *, is_waiting: bool) -> list[Outcome | CeleriacError | None]:
        """The outcome of each, none while there is none; then, when `is_waiting`, it is pushed."""

    async def status(self, id: str) -> Status:
        """Where an invocation stands."""

    async def cancel(self, id: str) -> CancelResult:
        """Stops an invocation: at once when it waits, through its host when it runs."""

    def listing(self, wanted: Wanted) -> AsyncIterator[Status]:
        """Every invocation that is asked for. One that changes meanwhile may come twice."""

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, Any] | None = None,
        about: str = "",
        is_repeatable: bool = True,
        patience: float | None = None,
    ) -> Any:
        """A request that only a gateway answers, as hosts work out what it needs; `about` names its subject.

        `patience` in seconds, where it is no small one. What is not repeatable is not sent again once it may have
        reached the gateway: then the error says so.
        """

    async def history(self, id: str, limit: int) -> list[Event]:
        """What an invocation has reported so far, at most `limit` of the newest, oldest first."""

    def watch(self, id: str, after: str | None) -> AsyncIterator[Event]:
        """What an invocation has reported after a cursor, and reports from now on. Ends with its reader."""

    async def upload(self, module: bytes, name: str) -> dict[str, Any] | None:
        """Stores a module's bytes under their digest. The manifest, where the other side has it admitted itself."""

    async def manifest(self, module: str) -> dict[str, Any]:
        """What a module says about itself."""
