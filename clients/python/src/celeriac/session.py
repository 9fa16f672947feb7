"""What one process and event loop has of a client: a transport, who receives over it, and who sends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._redis.transport import RedisTransport
from .errors import BrokerUnavailable, ClientClosed, InvalidArgument
from .mailbox import Mailbox
from .submitter import Submitter

if TYPE_CHECKING:
    from .transport import Transport


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

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.transport = transport(settings)
        self.mailbox = Mailbox(self.transport, settings.sweep)
        self.submitter = Submitter(self.transport, settings.connect_timeout)
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
                    self.is_open = True
                except asyncio.TimeoutError:
                    reason = f"no answer within {self._settings.connect_timeout:g} s"
                    raise BrokerUnavailable(self.transport.address, reason) from None
                except BrokerUnavailable:
                    if loop.time() + pause >= deadline:
                        raise
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.5)

    async def close(self) -> None:
        """Closes connections; whoever still waits is told so."""
        self.is_closed = True
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
