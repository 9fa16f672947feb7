"""Carries what waits in the outbox to the broker: in order, in the background, one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import logging
import weakref
from typing import TYPE_CHECKING

from .errors import BrokerUnavailable, BrokerUnfit, CeleriacError, ClientClosed, Damaged, Overloaded
from .options import now_ms
from .outbox import Entry, Refused, aged

if TYPE_CHECKING:
    from .ids import Namespace
    from .mailbox import Slot
    from .outbox import Outbox
    from .session import Session
    from .transport import Answer, Submission

logger = logging.getLogger("celeriac")

#: Entries that are handed in together.
BATCH = 500

#: The pause between two tries, doubled each time up to the last, in seconds.
BACK_OFF = (0.05, 2.0)

#: What says nothing about the invocation: it is handed in again.
NOT_NOW = (BrokerUnavailable, BrokerUnfit, ClientClosed, Damaged, Overloaded)


class Courier:
    """What a session does with its outbox."""

    def __init__(self, outbox: Outbox, session: Session) -> None:
        self.outbox = outbox
        # Weak, so that a client that nobody holds goes.
        self._session = weakref.proxy(session)
        self._namespace: Namespace | None = None
        #: What this session has put in and does not know to be handed in.
        self._own: set[str] = set()
        #: Batches that are being put in: until they are there, nobody is to look for them.
        self._writing = 0
        self._putting: set[asyncio.Task[None]] = set()
        #: What others have put in and somebody here awaits.
        self._watched: set[str] = set()
        #: What kind of trouble was logged last.
        self._trouble: type[Exception] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_behind(self) -> bool:
        """Whether something of this session's waits: then what comes later goes behind it."""
        return bool(self._own) or self._writing > 0

    @property
    def namespace(self) -> Namespace:
        """What ids are made with."""
        assert self._namespace is not None, "learn() or recall() comes first"  # noqa: S101 the session sees to it
        return self._namespace

    async def learn(self, namespace: Namespace) -> None:
        """The broker has been reached."""
        self._namespace = namespace
        address = self._session.transport.address
        await asyncio.to_thread(self.outbox.learn, address, namespace)
        if await asyncio.to_thread(self.outbox.has_waiting, address, namespace.key):
            self.wake()

    async def recall(self) -> bool:
        """Whether ids can be made although the broker does not answer: somebody has reached it before."""
        if self._namespace is None:
            self._namespace = await asyncio.to_thread(self.outbox.namespace, self._session.transport.address)
        return self._namespace is not None

    async def take(self, batch: list[Submission]) -> None:
        """Puts a batch in; it is on disk when this returns."""
        putting = asyncio.ensure_future(self._put(batch))
        self._putting.add(putting)
        putting.add_done_callback(self._put_in)
        # A caller that has stopped waiting does not stop the invocation.
        await asyncio.shield(putting)

    def _put_in(self, putting: asyncio.Task[None]) -> None:
        self._putting.discard(putting)
        if not putting.cancelled() and (error := putting.exception()) is not None:
            logger.debug("the outbox %s has not taken a submission: %s", self.outbox.path, error)

    async def _put(self, batch: list[Submission]) -> None:
        ids = {submission.id for submission in batch}
        # Counted before it is written: what is submitted meanwhile goes behind it.
        self._writing += 1
        try:
            address = self._session.transport.address
            await asyncio.to_thread(self.outbox.add, batch, address, self.namespace.key)
        finally:
            self._writing -= 1
        self._own |= ids
        for id in ids:
            slot = self._session.mailbox.slot(id)
            if slot is not None:
                slot.is_deposited, slot.is_subscribed = True, False
        self.wake()

    async def adopt(self, slot: Slot) -> bool:
        """Whether an invocation waits here, or was refused from here. Then its slot will be filled from here."""
        if slot.is_deposited or slot.answer is not None:
            return True
        fates = await asyncio.to_thread(self.outbox.fates, [slot.id])
        if slot.id not in fates:
            return False
        fate = fates[slot.id]
        if isinstance(fate, CeleriacError):
            slot.fill(fate)
            return True
        # Whether it still waits or has led to another is for the next turn to say.
        slot.is_deposited = True
        self._watched.add(slot.id)
        self.wake()
        return True

    def wake(self) -> None:
        """Begins to hand in, unless it is at it."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Stops. What waits stays in the file, for whoever opens it next."""
        if self._own:
            logger.warning("%d invocations wait in the outbox %s for its next user", len(self._own), self.outbox.path)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # ---- handing in -------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = BACK_OFF[0]
        while True:
            has_moved = False
            try:
                await self._session.open()
                has_moved = await self._turn()
                # Asked last: meanwhile more may have been put in.
                if not await self._has_waiting() and not self.is_behind and not self._watched:
                    return
            except (ClientClosed, ReferenceError):
                return
            except BrokerUnavailable:
                pass
            except (CeleriacError, OSError) as error:
                self._note(error)
                pause = BACK_OFF[1]
            if has_moved:
                pause, self._trouble = BACK_OFF[0], None
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF[1])

    async def _has_waiting(self) -> bool:
        return await asyncio.to_thread(self.outbox.has_waiting, self._session.transport.address, self.namespace.key)

    async def _turn(self) -> bool:
        """Hands in what waits, unless another process is at it; whether anything has moved."""
        has_moved = False
        with self.outbox.turn() as is_ours:
            behind = 0
            while is_ours:
                batch = await asyncio.to_thread(
                    self.outbox.head, self._session.transport.address, self.namespace.key, behind, BATCH
                )
                if not batch:
                    break
                behind = batch[-1][0].seq
                has_moved |= await self._hand_in(batch)
                await self._learn_fates({entry.submission.id for entry, _ in batch})
        return await self._learn_fates() or has_moved

    async def _hand_in(self, batch: list[tuple[Entry, bool]]) -> bool:
        answers: dict[str, Answer] = {}
        ours = [entry for entry, is_ours in batch if is_ours]
        for entry, is_ours in batch:
            if not is_ours:
                reason = "its store is not the one any more that this was submitted to"
                answers[entry.submission.id] = BrokerUnfit(self._session.transport.address, reason, "submit it again")
        now = now_ms()
        sent = [dataclasses.replace(entry.submission, options=aged(entry, now)) for entry in ours]
        is_away: BrokerUnavailable | None = None
        for entry, answer in zip(ours, await self._session.submitter.submit_all(sent)):
            if isinstance(answer, BrokerUnavailable):
                is_away = answer
            elif isinstance(answer, NOT_NOW):
                self._note(answer)
            else:
                answers[entry.submission.id] = answer
        await asyncio.to_thread(self.outbox.settle, answers)
        for entry, _ in batch:
            answer = answers.get(entry.submission.id, "")
            if isinstance(answer, CeleriacError):
                await self._report(entry, answer)
        if is_away is not None:
            raise is_away
        return bool(answers)

    def _note(self, error: Exception) -> None:
        """Logs why something goes on waiting although the broker answers: once for each kind of trouble."""
        if type(error) is not self._trouble:
            self._trouble = type(error)
            logger.warning("what waits in the outbox %s cannot be handed in now: %s", self.outbox.path, error)

    async def _report(self, entry: Entry, error: CeleriacError) -> None:
        one = entry.submission
        logger.error("invocation %s of %s, which waited in the outbox, was refused: %s", one.id, one.task.text, error)
        callback = self.outbox.on_refused
        if callback is None:
            return
        refused = Refused(one.id, one.task.text, entry.at_ms, now_ms(), one.input, error)
        try:
            if inspect.iscoroutinefunction(callback):
                await callback(refused)
            else:
                await asyncio.to_thread(callback, refused)
        except Exception:
            logger.exception("the on_refused callback of the outbox %s has failed", self.outbox.path)

    # ---- whoever waits ----------------------------------------------------------------------------

    async def _learn_fates(self, among: set[str] | None = None) -> bool:
        """Tells whoever waits here what became of their invocations, whoever has handed them in."""
        ids = [id for id in (*self._own, *self._watched) if among is None or id in among]
        if not ids:
            return False
        fates = await asyncio.to_thread(self.outbox.fates, ids)
        gone = [id for id in ids if id not in fates or fates[id] is not None]
        slots = [(id, slot) for id in gone if (slot := self._session.mailbox.slot(id)) is not None]
        if slots:
            await self._session.mailbox.open()
        for id, slot in slots:
            fate = fates.get(id, id)
            if isinstance(fate, CeleriacError):
                slot.is_deposited = False
                slot.fill(fate)
            else:
                self._session.mailbox.handed_in(slot, str(fate))
        self._own.difference_update(gone)
        self._watched.difference_update(gone)
        return bool(gone)
