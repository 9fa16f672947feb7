"""What one process and event loop has of a client: a transport, who receives over it, and who sends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ._redis.transport import RedisTransport
from .courier import Courier
from .errors import BrokerUnavailable, ClientClosed, InvalidArgument
from .mailbox import Mailbox
from .submitter import Submitter
from .transport import small_patience

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .mailbox import Slot
    from .outbox import Outbox
    from .transport import Answer, Submission, Transport

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """How a client behaves; the defaults suit a web service."""

    url: str
    #: Seconds after which a broker that does not answer is an error.
    connect_timeout: float = 5.0
    #: Seconds between two looks at the store for what is awaited, in case a push was lost.
    sweep: float = 30.0
    #: What proves to a gateway who this is; Redis has its password in the URL.
    token: str | None = None


class Session:
    """A transport with everything that lives on its event loop."""

    def __init__(self, settings: Settings, outbox: Outbox | None = None) -> None:
        self._settings = settings
        self.transport = transport(settings)
        self.mailbox = Mailbox(self.transport, settings.sweep)
        self.submitter = Submitter(self.transport, settings.connect_timeout)
        #: Carries what waits in the outbox, where the client has one.
        self.courier = None if outbox is None else Courier(outbox, self)
        self.is_open = False
        self.is_closed = False
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Connects, trying again until the connect timeout is over."""
        if self.is_closed:
            raise ClientClosed
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._settings.connect_timeout, 0.02
        async with self._opening:
            while not self.is_open:
                try:
                    await asyncio.wait_for(self.transport.open(), max(0.01, deadline - loop.time()))
                    if self.courier is not None:
                        await self.courier.learn(self.transport.namespace)
                    self.is_open = True
                except asyncio.TimeoutError:
                    reason = f"no answer within {self._settings.connect_timeout:g} s"
                    raise BrokerUnavailable(self.transport.address, reason) from None
                except BrokerUnavailable:
                    if loop.time() + pause >= deadline:
                        raise
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)

    async def within_patience(self, answering: Coroutine[Any, Any, T]) -> T:
        """What a small command answers, or that the broker does not."""
        patience = small_patience(self._settings.connect_timeout)
        try:
            return await asyncio.wait_for(answering, patience)
        except asyncio.TimeoutError:
            raise BrokerUnavailable(self.transport.address, f"no answer within {patience:g} s") from None

    async def reach(self) -> None:
        """As `open`; with an outbox a broker that is away is no error, as long as ids can be made."""
        if self.is_closed:
            raise ClientClosed
        if self.is_open or (self.courier is not None and self.courier.is_behind):
            return
        try:
            await self.open()
        except BrokerUnavailable:
            if self.courier is None or not await self.courier.recall():
                raise
            # What waits there already is handed in as soon as it is back.
            self.courier.wake()

    def issue(self) -> str:
        """A fresh id."""
        return self.transport.issue() if self.courier is None else self.courier.namespace.issue()

    async def expect(self, id: str) -> Slot:
        """The slot of what is about to be submitted: the reply may come before the submit returns."""
        is_reached = self.is_open and not (self.courier is not None and self.courier.is_behind)
        try:
            if is_reached:
                await self.mailbox.open()
        except BrokerUnavailable:
            if self.courier is None:
                raise
            is_reached = False
        slot = self.mailbox.register(id)
        slot.is_subscribed = is_reached
        return slot

    async def submit(self, batch: list[Submission]) -> list[Answer]:
        """What became of each, as the broker says; where it is away and there is an outbox, that it is in there."""
        if self.courier is not None and (self.courier.is_behind or not self.is_open):
            await self.courier.take(batch)
            return [submission.id for submission in batch]
        if len(batch) == 1:
            answers = [await self.submitter.submit(batch[0])]
        else:
            answers = await self.submitter.submit_all(batch)
        late = [one for one, answer in zip(batch, answers) if isinstance(answer, BrokerUnavailable)]
        if self.courier is not None and late:
            await self.courier.take(late)
            answers = [
                one.id if isinstance(answer, BrokerUnavailable) else answer for one, answer in zip(batch, answers)
            ]
        return answers

    async def close(self) -> None:
        """Closes connections; whoever still waits is told so."""
        self.is_closed = True
        if self.courier is not None:
            await self.courier.close()
        self.mailbox.close(ClientClosed())
        self.submitter.close(ClientClosed())
        await self.transport.close()


def transport(settings: Settings) -> Transport:
    """The way that leads to this URL."""
    scheme = settings.url.partition(":")[0]
    if scheme in ("redis", "rediss"):
        return RedisTransport(settings.url, settings.connect_timeout)
    if scheme in ("http", "https"):
        # Only who uses it pays for its import.
        from ._http.transport import HttpTransport  # noqa: PLC0415

        return HttpTransport(settings.url, settings.connect_timeout, settings.token)
    # Only the scheme: the rest may hold a password.
    raise InvalidArgument("broker URL", scheme, "redis://HOST, rediss://HOST, http://HOST or https://HOST")
