"""One invocation, from the side of whoever asked for it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from .decode import Decoder, decode
from .errors import BrokerUnavailable, CeleriacError, ResultTimeout
from .mailbox import logger
from .outcome import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

    from .client import AsyncClient
    from .mailbox import Slot
    from .outcome import CancelResult, Event, Outcome, Status
    from .session import Session
    from .transport import Transport

T = TypeVar("T", default=Any)

#: Events read back when an invocation ends, to catch what the push had not delivered yet.
TAIL = 1000


class Handle(Generic[T]):
    """One invocation: `await handle` is its result.

    Dropping the handle abandons the await and leaves the invocation running. Any process can get a handle again
    with `client.handle(id)`.
    """

    __slots__ = ("__weakref__", "_client", "_decoder", "_id", "_slot")

    def __init__(self, client: AsyncClient, id: str, decoder: Decoder, slot: Slot | None = None) -> None:
        self._client = client
        self._decoder = decoder
        #: The session's own; none until it is needed, or when another process or event loop has made it.
        self._slot = slot
        self._id = id

    @property
    def id(self) -> str:
        """The invocation's id: a UUID."""
        if self._slot is not None and self._slot.leads_to is not None:
            # One of its keys has led to another when it was handed in from the outbox.
            return self._slot.leads_to.id
        return self._id

    def __await__(self) -> Generator[Any, Any, T]:
        return self.result().__await__()

    def __repr__(self) -> str:
        return f"Handle({self.id!r})"

    async def result(self, timeout: float | None = None) -> T:
        """Awaits the output for at most `timeout` seconds.

        Raises a `TaskFailed` when the task did not succeed, `ResultTimeout` when it has not ended in time (it then
        goes on), `NotFound` or `ResultExpired` when there is no record of it. Whatever the task returned is a
        result: 0, "", None and [] too.
        """
        if timeout is None:
            outcome = await self.outcome()
        else:
            try:
                outcome = await asyncio.wait_for(self.outcome(), timeout)
            except asyncio.TimeoutError:
                raise ResultTimeout(self.id, timeout) from None
        if outcome.output is None:
            raise outcome.error(self.id)
        result: T = decode(outcome.output, self._decoder, self.id)
        return result

    async def outcome(self) -> Outcome:
        """Awaits the end, whatever it is: code, output or failure, and what the last attempt used."""
        slot = await self.subscribed()
        answer = slot.answer or await slot.wait()
        if isinstance(answer, CeleriacError):
            raise answer
        return answer

    async def ready(self) -> bool:
        """Whether it has ended. Asks the broker when this process has not been told."""
        slot = await self._client.session().within_patience(self.subscribed())
        return slot.answer is not None

    def done(self) -> bool:
        """Whether this process has been told of its end; asks nobody."""
        return self._slot is not None and self._slot.answer is not None

    def on_done(self, callback: Callable[[Handle[T]], object]) -> None:
        """Calls `callback` with this handle when it has ended; a coroutine function is run as a task.

        It is called even when nobody keeps the handle. What it raises is logged, with the invocation's id.
        """
        slot = self._registered(self._client.session())
        # Not within the delivery: what one callback does must not hold up other replies.
        slot.when_filled(lambda: slot.mailbox.later(self._call_back, callback))
        slot.mailbox.keep(slot)
        if not slot.is_subscribed:
            follow(asyncio.ensure_future(self._subscribe_or_fill(slot)), self.id)

    def _call_back(self, callback: Callable[[Handle[T]], object]) -> None:
        try:
            result = callback(self)
            if inspect.isawaitable(result):
                follow(asyncio.ensure_future(result), self.id)
        except Exception:  # noqa: BLE001 whatever a callback raises is logged, not lost
            logger.exception("the on_done callback of invocation %s has failed", self.id)

    async def status(self) -> Status:
        """Where it stands: state, attempts, progress, and more."""
        return await (await self._transport()).status(self.id)

    async def cancel(self) -> CancelResult:
        """Stops it: at once when it waits, within milliseconds when it runs."""
        return await (await self._transport()).cancel(self.id)

    async def events(self, after: str | None = None) -> AsyncIterator[Event]:
        """What it reports: progress, logs and partial results, from the oldest kept until its end.

        `after` is the cursor of an event: goes on behind it.
        """
        transport = await self._transport()
        live = transport.watch(self.id, after)
        ended = asyncio.ensure_future(self.outcome())
        pending: asyncio.Future[Event] | None = None
        try:
            while True:
                pending = asyncio.ensure_future(live.__anext__())
                await asyncio.wait({pending, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not pending.done():
                    break
                try:
                    event = pending.result()
                except StopAsyncIteration:
                    # The gateway has told of the end before this process was told.
                    await ended
                    break
                after = event.cursor
                yield event
            ended.result()
            for event in await transport.history(self.id, TAIL):
                if after is None or _position(event.cursor) > _position(after):
                    yield event
        finally:
            for task in (pending, ended):
                if task is not None:
                    task.cancel()
                    # What a task that is given up has come to is of no interest, but asyncio would complain.
                    await asyncio.gather(task, return_exceptions=True)
            await live.aclose()  # type: ignore[attr-defined]

    async def progress(self) -> AsyncIterator[Progress]:
        """How far it comes, as it says so; ends when the invocation does."""
        events = self.events()
        try:
            async for event in events:
                if isinstance(event.what, Progress):
                    yield event.what
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    # ---- inside ----------------------------------------------------------------------------------

    def _registered(self, session: Session) -> Slot:
        """The slot that this process' session fills. One that has its answer is as good anywhere."""
        slot = self._slot
        if slot is None or (slot.mailbox is not session.mailbox and slot.answer is None):
            slot = self._slot = session.mailbox.register(self.id)
        return slot

    async def _is_in_outbox(self, session: Session) -> bool:
        """Whether it waits in the outbox, or was refused from there, so that the broker need not be asked."""
        if session.courier is None:
            return False
        slot = self._registered(session)
        return slot.is_deposited or (not slot.is_subscribed and await session.courier.adopt(slot))

    async def _transport(self) -> Transport:
        """The way to the broker, once the broker has the invocation."""
        session = self._client.session()
        if await self._is_in_outbox(session):
            slot = self._registered(session)
            if isinstance(slot.answer, CeleriacError):
                raise slot.answer
            if slot.is_deposited:
                raise BrokerUnavailable(session.transport.address, f"invocation {self.id} waits in the outbox")
        return (await self._client.open()).transport

    def of(self, id: str) -> Handle[T]:
        """The same on another invocation."""
        return Handle(self._client, id, self._decoder)

    def accept(self) -> None:
        """Notes that the broker has the invocation."""
        if self._slot is not None and not self._slot.is_deposited:
            self._slot.is_accepted = True

    async def registered(self) -> Slot:
        """The slot that this process fills."""
        if self._slot is not None and self._slot.answer is not None:
            return self._slot
        session = self._client.session()
        if not await self._is_in_outbox(session):
            await self._client.open()
        return self._registered(session)

    async def subscribed(self) -> Slot:
        """The slot, once it is certain that it will be filled."""
        slot = self._slot
        if slot is not None and slot.answer is not None:
            return slot
        session = self._client.session()
        if await self._is_in_outbox(session):
            return self._registered(session)
        slot = self._registered(await self._client.open())
        if not slot.is_subscribed:
            await slot.mailbox.subscribe([slot])
        return slot

    async def _subscribe_or_fill(self, slot: Slot) -> None:
        """As `subscribed`, where nobody waits who could be told of an error: the callback is."""
        try:
            await self.subscribed()
        except CeleriacError as error:
            slot.fill(error)


def _position(cursor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in cursor.split("-") if part.isdigit())


_followed: set[asyncio.Future[Any]] = set()


def follow(task: asyncio.Future[Any], id: str) -> None:
    """Keeps a task until its end and logs what it raises."""

    def ended(task: asyncio.Future[Any]) -> None:
        _followed.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the on_done callback of invocation %s has failed", id, exc_info=error)

    _followed.add(task)
    task.add_done_callback(ended)
