"""One stream for all results that a process waits for.

A stream that breaks comes back under another name: then everything still awaited is read again, which has the new
stream told of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import BrokerUnavailable, CeleriacError, Damaged
from . import documents, sse
from .requests import Requests, failure

if TYPE_CHECKING:
    from ..transport import Inbox

#: The pause before a reconnect, doubled each time up to the last.
BACK_OFF = (0.05, 2.0)

#: Seconds of silence after which a stream is given up: a comment comes every 15.
SILENCE = 45.0


class Replies:
    """Reads the stream of one client."""

    def __init__(self, requests: Requests, inbox: Inbox) -> None:
        self._requests = requests
        self._inbox = inbox
        #: The stream's name; another after each reconnect.
        self.client: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects and begins to read."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._run(opened))
        try:
            await asyncio.wait_for(opened, self._requests.connect_timeout)
        except asyncio.TimeoutError:
            self._task.cancel()
            reason = f"no answer within {self._requests.connect_timeout:g} s"
            raise BrokerUnavailable(self._requests.address, reason) from None
        except BaseException:
            self._task.cancel()
            raise

    async def close(self) -> None:
        """Stops reading."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, opened: asyncio.Future[None]) -> None:
        pause = BACK_OFF[0]
        while True:
            try:
                async for event in self._events():
                    pause = BACK_OFF[0]
                    self._take(event)
                    if not opened.done():
                        opened.set_result(None)
            except CeleriacError as error:
                if not opened.done():
                    opened.set_exception(error)
                    return
            self.client = None
            await asyncio.sleep(pause)
            pause = min(pause * 2, BACK_OFF[1])

    async def _events(self) -> Any:
        timeout = httpx.Timeout(self._requests.connect_timeout, read=SILENCE)
        try:
            async with self._requests.http.stream("GET", "/v1/replies", timeout=timeout) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise failure(response, self._requests.address)
                async for event in sse.read(response.aiter_lines()):
                    yield event
        except httpx.TransportError as error:
            raise self._requests.lost(error) from error

    def _take(self, event: sse.ServerEvent) -> None:
        data = json.loads(event.data)
        if event.kind == "open":
            self.client = data["client"]
            # Nothing is awaited at the first one; after a reconnect everything is read again.
            self._inbox.recheck()
        elif event.kind == "check":
            self._inbox.recheck()
        elif event.kind == "ended":
            self._inbox.recheck(data["id"])
        elif event.kind == "result":
            try:
                self._inbox.deliver(data["id"], documents.outcome(data))
            except Damaged:
                # Read from the store, where the damage shows.
                self._inbox.recheck(data["id"])
