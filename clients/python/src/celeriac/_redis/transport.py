"""What a client asks of a broker, over Redis: the calls of `docs/protocol.md`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from ..errors import (
    BrokerUnfit,
    CeleriacError,
    Damaged,
    GatewayNeeded,
    InvalidArgument,
    NoSuchModule,
    PayloadTooLarge,
)
from ..ids import Namespace
from ..names import module_ref
from ..outcome import CancelResult, Outcome, Status
from ..transport import IssuesIds
from . import records
from .link import LONG, PREFIX, Link
from .listener import Listener
from .listing import listing
from .replies import Replies
from .scripts import script
from .submit import REPLY_CAP, REPLY_TTL_MS, RETENTION, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..listing import Wanted
    from ..outcome import Event
    from ..transport import Answer, Inbox, Submission

#: The layout of the keys that this version reads and writes.
LAYOUT_VERSION = 1

#: Invocations in one call of a script: a call of this size holds the server for about two milliseconds.
CHUNK = 500

#: Bytes of outcome after which one call reads no more.
OUTCOME_BYTES = 8 << 20

#: The largest module that hosts take unless they are told otherwise.
MODULE_BYTES = 32 << 20

#: Seconds that an upload may take: a module of that size on a slow line.
UPLOAD = 300.0

#: Bytes that nobody admits within this time go; seconds.
UNADMITTED = 3600

#: What an invocation ends with that is cancelled before it runs; the script completes it.
CANCELLED = (
    '{"code":"cancelled","failure":{"kind":"cancelled","message":"somebody cancelled the invocation",'
    '"retryable":false},"usage":{"fuel":0,"peak_memory_bytes":0,"queue_ms":0.0,"run_ms":0.0,"attempt":0,"host":""}}'
)


class RedisTransport(IssuesIds):
    """A connection of one process to a Redis server."""

    def __init__(self, url: str, connect_timeout: float) -> None:
        self._link = Link(url, connect_timeout)
        self.address = self._link.address
        self._replies: Replies | None = None
        self._opening = asyncio.Lock()
        self._listener = Listener(self._link)

    async def open(self) -> None:
        """Checks that the store's layout is this version's; lays out a store that is new."""
        if self._namespace is not None:
            return
        key = f"{PREFIX}layout"
        fresh = {"version": LAYOUT_VERSION, "namespace": {"key": os.urandom(16).hex(), "partitions": 1}}
        await self._link.run("SET", key, json.dumps(fresh, separators=(",", ":")), "NX")
        stored = await self._link.run("GET", key)
        try:
            layout = json.loads(stored)
            version = layout["version"]
            namespace = Namespace.read(layout["namespace"])
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(key, "it is not JSON with a `version`: another program may have written it") from error
        if version != LAYOUT_VERSION:
            reason = f"its keys have layout {version} and this program reads layout {LAYOUT_VERSION}"
            remedy = "use the version of this package that belongs to its hosts, or another database (redis://HOST/1)"
            raise BrokerUnfit(self.address, reason, remedy)
        self._namespace = namespace

    async def close(self) -> None:
        """Closes every connection."""
        await self._listener.close()
        if self._replies is not None:
            await self._replies.close()
        await self._link.close()

    async def submit(self, batch: list[Submission]) -> list[Answer]:
        """Accepts invocations, in order; one answer each."""
        return await submit(
            self._link, self.namespace, batch, self._replies.client if self._replies is not None else ""
        )

    async def open_replies(self, inbox: Inbox) -> None:
        """Has outcomes pushed from now on."""
        async with self._opening:
            if self._replies is None:
                replies = Replies(self._link, inbox)
                await replies.open()
                self._replies = replies

    async def outcomes(self, ids: list[str], *, is_waiting: bool) -> list[Outcome | CeleriacError | None]:
        """The outcome of each, none while there is none."""
        waiter = self._replies.client if is_waiting and self._replies is not None else ""
        answers: list[Outcome | CeleriacError | None] = []
        while len(answers) < len(ids):
            chunk = ids[len(answers) : len(answers) + CHUNK]
            flat = await self._link.call(script("outcomes"), waiter, OUTCOME_BYTES, *chunk, patience=LONG)
            if not flat:
                raise Damaged("an answer of Redis", "outcomes are missing")
            # A call reads at least one, and as many as its bytes allow.
            for id, kind, result, output in zip(chunk, flat[::3], flat[1::3], flat[2::3]):
                answers.append(self._outcome(id, kind, result, output))
        return answers

    def _outcome(self, id: str, kind: int, result: bytes, output: bytes) -> Outcome | CeleriacError | None:
        if kind == 0:
            return self.missing(id)
        if kind == 1:
            return None
        try:
            return Outcome.read(result, output, id)
        except Damaged as error:
            return error

    async def status(self, id: str) -> Status:
        """Where an invocation stands."""
        values = await self._link.run("HMGET", f"{PREFIX}i:{id}", *records.STATUS_FIELDS)
        if values[0] is None:
            raise self.missing(id)
        return records.status(id, values)

    async def cancel(self, id: str) -> CancelResult:
        """Stops an invocation."""
        args = (CANCELLED, RETENTION, REPLY_TTL_MS, REPLY_CAP, id)
        answer = await self._link.call(script("cancel"), *args)
        if answer == 0:
            raise self.missing(id)
        return {1: CancelResult.CANCELLED, 2: CancelResult.REQUESTED}.get(answer, CancelResult.ALREADY_ENDED)

    def listing(self, wanted: Wanted) -> AsyncIterator[Status]:
        """What is asked for."""
        return listing(self._link, wanted)

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
        """Only a gateway answers requests."""
        del method, body, params, about, is_repeatable, patience
        raise GatewayNeeded(self.address, path)

    async def history(self, id: str, limit: int) -> list[Event]:
        """What an invocation has reported so far."""
        await self._require(id)
        entries = await self._link.run("XREVRANGE", f"{PREFIX}e:{id}", "+", "-", "COUNT", limit, patience=LONG)
        return [records.event(id, entry) for entry in reversed(entries)]

    async def watch(self, id: str, after: str | None) -> AsyncIterator[Event]:
        """What an invocation has reported after a cursor, and reports from now on."""
        key, cursor = f"{PREFIX}e:{id}", after or "0-0"
        if not records.CURSOR.match(cursor):
            raise InvalidArgument("cursor", cursor, "the `cursor` of an event")
        # First listen, then read: nothing falls between.
        async with self._listener.channel(key) as notice:
            await self._require(id)
            while True:
                notice.clear()
                entries = await self._link.run("XRANGE", key, f"({cursor}", "+", "COUNT", 100, patience=LONG)
                for entry in entries:
                    event = records.event(id, entry)
                    cursor = event.cursor
                    yield event
                if len(entries) < 100:
                    await notice.wait()

    async def upload(self, module: bytes, name: str) -> dict[str, Any] | None:  # noqa: ARG002 admission gives the name
        """Stores a module's bytes; it is admitted by an invocation."""
        if len(module) > MODULE_BYTES:
            raise PayloadTooLarge("module", len(module), MODULE_BYTES, "caps.module")
        digest = hashlib.sha256(module).hexdigest()
        key = f"{PREFIX}w:{digest}"
        # NX and GT, so that a published module never starts to expire.
        if await self._link.run("SET", key, module, "NX", "EX", UNADMITTED, patience=UPLOAD) is None:
            await self._link.run("EXPIRE", key, UNADMITTED, "GT")
        return None

    async def manifest(self, module: str) -> dict[str, Any]:
        """What a module says about itself."""
        name, digest = module_ref(module)
        if name:
            entry = await self._link.run("HGET", f"{PREFIX}names", name)
            digest = entry.decode().partition(" ")[0] if entry else ""
        stored = await self._link.run("HGET", f"{PREFIX}m:{digest}", "manifest")
        if stored is None:
            raise NoSuchModule(module)
        with contextlib.suppress(ValueError):
            return dict(json.loads(stored))
        raise Damaged(f"module {module}", "its manifest is not JSON")

    async def _require(self, id: str) -> None:
        if await self._link.run("EXISTS", f"{PREFIX}i:{id}") == 0:
            raise self.missing(id)
