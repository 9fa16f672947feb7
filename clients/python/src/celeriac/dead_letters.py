"""Dead letters: what has failed for good, to be looked at, retried or dropped."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict, Unpack

from ._http import documents
from .ids import check_id
from .listing import moment_ms
from .names import check_name
from .payload import JSON, Payload, encode

if TYPE_CHECKING:
    import datetime
    from collections.abc import AsyncIterator, Iterator, Sequence

    from .client import AsyncClient
    from .handle import Handle
    from .outcome import Status
    from .sync import Client
    from .sync_handle import SyncHandle

#: Letters in one request.
PAGE = 500

#: Seconds that a page of many may take.
LONG = 60.0


class DeadFilter(TypedDict, total=False):
    """Which dead letters are meant. Everything that is given must hold."""

    #: Their task: `images` for all of a module, `images/resize` for one.
    task: str
    #: Their queue.
    queue: str
    #: What they failed with, such as `["trap", "deadline"]`.
    codes: Sequence[str]
    #: Failed at this moment or later.
    since: datetime.datetime
    #: Failed before this moment.
    until: datetime.datetime


@dataclass(frozen=True)
class DeadLetter:
    """An invocation that has failed for good."""

    #: When, by the broker's clock: milliseconds since 1970.
    died_at_ms: int
    #: What is known of it: its task, its attempts, and what it failed with.
    status: Status
    #: What was handed in, where one letter was asked for: JSON as plain Python, else a `Payload`.
    input: Any = None
    #: How, as it stands in a header.
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The invocation."""
        return self.status.id

    @classmethod
    def read(cls, document: dict[str, Any]) -> DeadLetter:
        """As a gateway tells it."""
        input = document.get("input")
        if "input_base64" in document:
            input = Payload(base64.b64decode(document["input_base64"]), document["content_type"])
        return cls(document["died_at_ms"], documents.status(document), input, document.get("options") or {})


@dataclass
class BulkRetry:
    """What retrying many has come to."""

    #: Those that the filter asked for.
    matched: int = 0
    #: Those that were retried.
    done: int = 0
    #: Those that could not be, such as for want of their module: they stay.
    refused: int = 0


class DeadLetters:
    """The dead letters of a broker: `client.dead_letters`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, id: str) -> DeadLetter:
        """One letter, with its input and options. Raises `NoDeadLetter`."""
        return DeadLetter.read(await self._ask("GET", id))

    async def retry(self, id: str, input: Any = ..., *, latest: bool = False) -> Handle[Any]:
        """Hands it in once more, with its own input or another.

        It runs the module that failed; with `latest` what the task's name points to now. Where the gateway takes the
        request and its answer is lost, it is not asked again: that is `BrokerUnavailable`, and when `get` then raises
        `NoDeadLetter` it was done.
        """
        body: dict[str, Any] = {"latest": latest}
        if input is not ...:
            payload = encode(input, f"dead letter {id}")
            if payload.content_type == JSON:
                body["input"] = payload.value()
            else:
                data = base64.b64encode(payload.data).decode()
                body |= {"input_base64": data, "content_type": payload.content_type}
        answer = await self._ask("POST", id, "/retry", body, is_repeatable=False)
        return self._client.handle(answer["id"])

    async def retry_matching(self, *, latest: bool = False, **asked: Unpack[DeadFilter]) -> BulkRetry:
        """Hands in once more all that the filter asks for, which must say something. Takes the scope `admin`.

        `BrokerUnavailable` when an answer is lost: then some were retried, and another call goes on with the others.
        """
        transport = (await self._client.open()).transport
        body = {"filter": _wire(asked), "latest": latest, "limit": PAGE}
        done = BulkRetry()
        while True:
            page = await transport.ask("POST", "/v1/dead-letters/retry", body=body, is_repeatable=False, patience=LONG)
            done.matched += page["matched"]
            done.done += page["done"]
            done.refused += page["refused"]
            if page.get("cursor") is None:
                return done
            body["cursor"] = page["cursor"]

    async def drop(self, id: str) -> None:
        """Drops it, its input and all. Takes the scope `admin`."""
        await self._ask("DELETE", id)

    async def list(self, **asked: Unpack[DeadFilter]) -> AsyncIterator[DeadLetter]:
        """Every letter that the filter asks for, the newest first."""
        wanted = _wire(asked)
        params = {**wanted, "limit": PAGE}
        if "codes" in wanted:
            params["codes"] = ",".join(wanted["codes"])
        transport = (await self._client.open()).transport
        while True:
            page = await transport.ask("GET", "/v1/dead-letters", params=params)
            for document in page["letters"]:
                yield DeadLetter.read(document)
            if page.get("cursor") is None:
                return
            params["cursor"] = page["cursor"]

    async def _ask(
        self, method: str, id: str, action: str = "", body: Any = None, *, is_repeatable: bool = True
    ) -> Any:
        transport = (await self._client.open()).transport
        path = f"/v1/dead-letters/{check_id(id)}{action}"
        return await transport.ask(method, path, body=body, about=id, is_repeatable=is_repeatable)


def _wire(asked: DeadFilter) -> dict[str, Any]:
    if unknown := sorted(set(asked) - set(DeadFilter.__annotations__)):
        raise TypeError(f"{', '.join(unknown)} is no filter: there are {', '.join(DeadFilter.__annotations__)}")
    made: dict[str, Any] = {name: asked[name] for name in ("task", "queue") if asked.get(name) is not None}
    if "queue" in made:
        check_name("queue", made["queue"])
    if (codes := asked.get("codes")) is not None:
        made["codes"] = [codes] if isinstance(codes, str) else list(codes)
    for name in ("since", "until"):
        if (moment := asked.get(name)) is not None:
            made[f"{name}_ms"] = moment_ms(name, moment)
    return made


class SyncDeadLetters:
    """The same for code that does not await."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._behind = DeadLetters(client.asynchronous)

    def get(self, id: str) -> DeadLetter:
        """One letter, with its input and options. Raises `NoDeadLetter`."""
        return self._client.portal.run(self._behind.get(id))

    def retry(self, id: str, input: Any = ..., *, latest: bool = False) -> SyncHandle[Any]:
        """Hands it in once more, with its own input or another."""
        handle = self._client.portal.run(self._behind.retry(id, input, latest=latest))
        return self._client.handle(handle.id)

    def retry_matching(self, *, latest: bool = False, **asked: Unpack[DeadFilter]) -> BulkRetry:
        """Hands in once more all that the filter asks for, which must say something."""
        return self._client.portal.run(self._behind.retry_matching(latest=latest, **asked))

    def drop(self, id: str) -> None:
        """Drops it, its input and all."""
        self._client.portal.run(self._behind.drop(id))

    def list(self, **asked: Unpack[DeadFilter]) -> Iterator[DeadLetter]:
        """Every letter that the filter asks for, the newest first."""
        return self._client.iterate(self._behind.list(**asked))
