"""The reply stream: one connection per client process that carries every outcome it waits for.

One pipeline per turn removes what was read and waits for more, so that the stream stays empty. What is pushed is
a hint: the stored result is the truth, and whenever something may have been missed everything is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import redis.exceptions

from ..errors import CeleriacError, Damaged
from ..outcome import Outcome
from .link import LOST, PREFIX, Link, hang_up

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from ..transport import Inbox

#: How long one read waits, in seconds: a connection that died silently is noticed after it.
BLOCK = 30

#: Entries per read: 16 KiB each at worst.
ENTRIES = 256

#: The pause before a reconnect, doubled each time up to the last.
BACK_OFF = (0.02, 1.0)


class Replies:
    """Reads the stream of one client."""

    def __init__(self, link: Link, inbox: Inbox) -> None:
        self._link = link
        self._inbox = inbox
        #: Random: names the stream.
        self.client = uuid.uuid4().hex
        self._stream = f"{PREFIX}reply:{self.client}"
        self._last = "0-0"
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects and begins to read."""
        connection = await self._link.dedicated()
        self._task = asyncio.ensure_future(self._run(connection))

    async def close(self) -> None:
        """Stops reading and removes the stream. What cannot be removed expires."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            with contextlib.suppress(CeleriacError):
                await self._link.run("UNLINK", self._stream)

    async def _run(self, connection: AbstractConnection) -> None:
        while True:
            try:
                await self._read_on(connection)
            except (*LOST, redis.exceptions.RedisError):
                pass
            finally:
                hang_up(connection)
            connection = await self._reconnect()
            # The server may have lost the stream, and its clock may be another.
            self._last = "0-0"
            self._inbox.recheck()

    async def _reconnect(self) -> AbstractConnection:
        pause = BACK_OFF[0]
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF[1])
            with contextlib.suppress(CeleriacError):
                return await self._link.dedicated()

    async def _read_on(self, connection: AbstractConnection) -> None:
        while True:
            commands: list[tuple[Any, ...]] = []
            ms, _, sequence = self._last.partition("-")
            if self._last != "0-0":
                commands.append(("XTRIM", self._stream, "MINID", f"{ms}-{int(sequence) + 1}"))
            commands.append(("XREAD", "COUNT", ENTRIES, "BLOCK", BLOCK * 1000, "STREAMS", self._stream, self._last))
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in commands:
                answer = await connection.read_response(timeout=BLOCK + 10)
            for entry, fields in answer[0][1] if answer else ():
                self._last = entry.decode()
                self._deliver(fields)

    def _deliver(self, fields: list[bytes]) -> None:
        for id, result in zip(fields[::2], fields[1::2]):
            # Anything but an id is the mark that entries were dropped.
            if len(id) != 36:
                self._inbox.recheck()
                continue
            text = id.decode()
            if not result:
                # Too large to push.
                self._inbox.recheck(text)
                continue
            try:
                self._inbox.deliver(text, Outcome.read(result, b"", text))
            except Damaged:
                # Read from the store, where the damage shows.
                self._inbox.recheck(text)
