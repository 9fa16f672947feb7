"""Everything that listens shares one pub/sub connection, opened at the first use.

After a loss it reconnects, subscribes to everything again, and wakes every listener, because what was published in
between is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import redis.exceptions

from ..errors import CeleriacError
from .link import LOST, Link, hang_up
from .replies import BACK_OFF

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio.connection import AbstractConnection


class Listener:
    """Subscriptions to channels whose messages only say that there is something to read."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channels: dict[str, set[asyncio.Event]] = {}
        self._connection: AbstractConnection | None = None
        self._opening = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._subscribed: dict[str, asyncio.Future[None]] = {}

    @contextlib.asynccontextmanager
    async def channel(self, name: str) -> AsyncIterator[asyncio.Event]:
        """Set whenever something is published on the channel. Nothing published after the entry is missed."""
        notice = asyncio.Event()
        is_first = name not in self._channels
        self._channels.setdefault(name, set()).add(notice)
        try:
            await self._open()
            if is_first:
                self._subscribed[name] = asyncio.get_running_loop().create_future()
                await self._send("SUBSCRIBE", name)
            # Also the second listener waits until the first one's subscription holds.
            if (confirmed := self._subscribed.get(name)) is not None:
                await asyncio.shield(confirmed)
            yield notice
        finally:
            self._channels[name].discard(notice)
            if not self._channels[name]:
                del self._channels[name]
                self._subscribed.pop(name, None)
                await self._send("UNSUBSCRIBE", name)

    async def close(self) -> None:
        """Closes the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _open(self) -> None:
        async with self._opening:
            if self._task is None:
                self._connection = await self._link.dedicated()
                self._task = asyncio.ensure_future(self._run(self._connection))

    async def _send(self, *command: str) -> None:
        # What cannot be sent is made good by the reconnect, which subscribes to all there is.
        if self._connection is not None:
            with contextlib.suppress(*LOST):
                packed = self._connection.pack_command(*command)
                await self._connection.send_packed_command(packed, check_health=False)

    async def _run(self, connection: AbstractConnection) -> None:
        while True:
            try:
                await self._read(connection)
            except (*LOST, redis.exceptions.RedisError):
                pass
            finally:
                self._connection = None
                hang_up(connection)
            connection = await self._reconnect()

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            kind, channel, _ = await connection.read_response(timeout=float("inf"))
            name = channel.decode()
            confirmed = self._subscribed.get(name) if kind == b"subscribe" else None
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
            if kind in (b"subscribe", b"message"):
                for notice in self._channels.get(name, ()):
                    notice.set()

    async def _reconnect(self) -> AbstractConnection:
        pause = BACK_OFF[0]
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF[1])
            with contextlib.suppress(CeleriacError, *LOST):
                connection = await self._link.dedicated()
                self._connection = connection
                if self._channels:
                    packed = connection.pack_command("SUBSCRIBE", *self._channels)
                    await connection.send_packed_command(packed, check_health=False)
                return connection
