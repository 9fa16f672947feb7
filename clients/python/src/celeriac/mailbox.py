"""The awaits of one process: one stream of replies, spread over everyone who waits.

The stored outcome is the truth and the push is the hint: after a reconnect, and on a slow sweep, what is still
awaited is read again. Everything here runs on one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import TYPE_CHECKING

from .errors import BrokerUnavailable, CeleriacError, Overloaded
from .outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .transport import Transport

logger = logging.getLogger("celeriac")

Answer = Outcome | CeleriacError

#: Ids read again in one request.
RECHECK_BATCH = 500


class Slot:
    """Where the answer to one awaited invocation is put."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_waiters",
        "answer",
        "id",
        "is_accepted",
        "is_deposited",
        "is_subscribed",
        "leads_to",
        "mailbox",
    )

    def __init__(self, id: str, mailbox: Mailbox) -> None:
        self.id = id
        #: Who fills it: another process or event loop has another.
        self.mailbox = mailbox
        self.answer: Answer | None = None
        #: Whether the broker has the invocation: before that its absence from the store says nothing.
        self.is_accepted = False
        #: Whether the outcome is pushed here without being asked for.
        self.is_subscribed = False
        #: Whether the invocation waits in the outbox, so that nobody is to be asked for it.
        self.is_deposited = False
        #: The slot of the invocation that this one turned out to be when it was handed in from there.
        self.leads_to: Slot | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._callbacks: list[Callable[[], None]] = []

    def fill(self, answer: Answer) -> None:
        """Puts the answer in. The first one stays."""
        if self.answer is not None:
            return
        self.answer = answer
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    async def wait(self) -> Answer:
        """Waits until there is an answer."""
        while self.answer is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if self.answer is None and waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self.answer

    def when_filled(self, callback: Callable[[], None]) -> None:
        """Calls back once there is an answer: at once when it is there."""
        if self.answer is not None:
            callback()
        else:
            self._callbacks.append(callback)


class Mailbox:
    """Receives outcomes and hands them to whoever waits."""

    def __init__(self, transport: Transport, sweep: float) -> None:
        self._transport = transport
        self._sweep = sweep
        self._loop = asyncio.get_running_loop()
        #: Invocations that a live handle may await.
        self._slots: weakref.WeakValueDictionary[str, Slot] = weakref.WeakValueDictionary()
        #: Slots that somebody wants to be called back for: they live on without a handle.
        self._kept: set[Slot] = set()
        self._opened: asyncio.Future[None] | None = None
        self._stale: set[str] = set()
        self._rechecking: asyncio.Task[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Opens the stream of replies unless it is open."""
        if self._opened is not None and self._opened.done() and self._opened.exception() is not None:
            self._opened = None
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._transport.open_replies(self))
            self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
            self._sweep_later()
        if not self._opened.done() or self._opened.exception() is not None:
            # Shielded: one caller that gives up does not take the stream from the others.
            await asyncio.shield(self._opened)

    def close(self, reason: CeleriacError) -> None:
        """Tells everyone who still waits."""
        for task in (self._sweeper, self._rechecking, self._opened):
            if task is not None:
                task.cancel()
        for slot in list(self._slots.values()):
            slot.fill(reason)

    def register(self, id: str) -> Slot:
        """The slot of an invocation, the same for all its handles."""
        slot = self._slots.get(id)
        if slot is None:
            slot = self._slots[id] = Slot(id, self)
        return slot

    def slot(self, id: str) -> Slot | None:
        """The slot of an invocation that somebody here holds."""
        return self._slots.get(id)

    def handed_in(self, slot: Slot, id: str) -> None:
        """The broker has what waited in the outbox, under this id: reads what it has come to, or has it pushed."""
        slot.is_deposited = False
        if id != slot.id:
            weakly = weakref.ref(slot)
            slot.leads_to = other = self.register(id)
            other.when_filled(lambda: _pass_on(other, weakly()))
            # There is no record of this one's own id.
            slot.is_subscribed = True
            slot = other
        slot.is_accepted = slot.is_subscribed = True
        self.recheck(id)

    def keep(self, slot: Slot) -> None:
        """Keeps a slot alive until it is filled."""
        if slot.answer is None:
            self._kept.add(slot)
            slot.when_filled(lambda: self._kept.discard(slot))

    def later(self, callback: Callable[..., object], *args: object) -> None:
        """Calls back in the next turn of the event loop."""
        self._loop.call_soon(callback, *args)

    def waiting(self) -> list[Slot]:
        """Every slot that has no answer yet and that somebody still holds."""
        return [slot for slot in self._slots.values() if slot.answer is None]

    async def subscribe(self, slots: list[Slot]) -> None:
        """Has the outcomes of invocations that this process did not submit put into their slots."""
        asked = [slot for slot in slots if not (slot.is_subscribed or slot.is_deposited) and slot.answer is None]
        if not asked:
            return
        await self.open()
        for at in range(0, len(asked), RECHECK_BATCH):
            batch = asked[at : at + RECHECK_BATCH]
            answers = await self._transport.outcomes([slot.id for slot in batch], is_waiting=True)
            for slot, answer in zip(batch, answers):
                slot.is_accepted = slot.is_subscribed = True
                if answer is not None:
                    slot.fill(answer)

    # ---- what the transport tells -----------------------------------------------------------------

    def deliver(self, id: str, outcome: Answer) -> None:
        """An invocation has ended."""
        slot = self._slots.get(id)
        if slot is not None:
            slot.fill(outcome)

    def recheck(self, id: str | None = None) -> None:
        """Reads this one, or everything still awaited, from the store."""
        if id is not None:
            ids: Iterable[str] = [id] if id in self._slots else []
        else:
            # One that is still on its way to the broker is neither found there nor lost.
            ids = [slot.id for slot in self.waiting() if slot.is_accepted]
        self._stale.update(ids)
        if self._stale and (self._rechecking is None or self._rechecking.done()):
            self._rechecking = asyncio.ensure_future(self._recheck_until_answered())

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep, self._sweep_now)

    def _sweep_now(self) -> None:
        self.recheck()
        self._sweep_later()

    async def _recheck_until_answered(self) -> None:
        pause = 0.05
        while self._stale:
            batch = list(self._stale)[:RECHECK_BATCH]
            try:
                answers = await self._transport.outcomes(batch, is_waiting=True)
            except (BrokerUnavailable, Overloaded):
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            except CeleriacError as error:
                # Nothing is known about these any more, and whoever waits has to know.
                answers = [error] * len(batch)
            self._stale.difference_update(batch)
            for id, answer in zip(batch, answers):
                if answer is not None:
                    self.deliver(id, answer)


def _pass_on(other: Slot, slot: Slot | None) -> None:
    if slot is not None and other.answer is not None:
        slot.fill(other.answer)
