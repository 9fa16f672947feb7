"""Schedules: tasks that the broker submits again and again."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Unpack

from .errors import Damaged
from .names import check_name, task_ref
from .options import Options, wire
from .payload import JSON, Payload, encode
from .spans import span_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .client import AsyncClient
    from .handle import Handle
    from .options import Span
    from .sync import Client
    from .sync_handle import SyncHandle

Change = Literal["added", "changed", "unchanged"]


@dataclass(frozen=True)
class Run:
    """One time that a schedule came to."""

    #: The time it was for, by the broker's clock: milliseconds since 1970.
    at_ms: int
    #: `fired`; `manual`: somebody asked for it; `overlapped`: left out; `no_module`, `no_task`, `refused`.
    result: str
    #: The invocation, where there is one.
    id: str | None = None


@dataclass(frozen=True)
class Schedule:
    """What is to run, when, and how; and where it stands."""

    name: str
    task: str
    #: JSON as plain Python, else a `Payload`.
    input: Any = None
    #: A calendar, such as `30 2 * * MON-FRI`, and whose.
    cron: str | None = None
    zone: str | None = None
    #: Or an interval, such as `15m`.
    every: str | None = None
    #: What becomes of times that passed while no host lived: `one`, `skip`, or `all 3`.
    catch_up: str = "one"
    #: What becomes of a time that comes while an earlier run has not ended: `skip`, `allow` or `queue-one`.
    overlap: str = "skip"
    #: Options of what it submits, as they stand in a header.
    options: dict[str, Any] = field(default_factory=dict)
    is_paused: bool = False
    #: Its next times, by the broker's clock: milliseconds since 1970. None while it is paused.
    next_ms: tuple[int, ...] = ()
    #: The first of the times that wait for an earlier run to end (`queue-one`, `all N`).
    waiting_ms: int | None = None
    #: Its last runs, newest first.
    runs: tuple[Run, ...] = ()

    @classmethod
    def read(cls, document: dict[str, Any]) -> Schedule:
        """As a gateway tells it. What a later version adds is passed over."""
        try:
            known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
            if "input_base64" in document:
                known["input"] = Payload(base64.b64decode(document["input_base64"]), document["content_type"])
            known["next_ms"] = tuple(known.get("next_ms") or ())
            known["runs"] = tuple(Run(run["at_ms"], run["result"], run.get("id")) for run in document.get("runs") or ())
            return cls(**known)
        except (KeyError, ValueError, TypeError) as error:
            raise Damaged(f"schedule {document.get('name')}", str(error)) from error


class Schedules:
    """The schedules of a broker: `client.schedules`. Changing one takes a token with the scope `admin`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def put(
        self,
        name: str,
        task: str,
        input: Any = None,
        *,
        cron: str | None = None,
        zone: str | None = None,
        every: Span | None = None,
        catch_up: str = "one",
        overlap: Literal["skip", "allow", "queue-one"] = "skip",
        **options: Unpack[Options],
    ) -> Change:
        """Adds a schedule, or puts it in the place of the one of its name; whether that changed anything.

        Either `cron` with the `zone` whose calendar it is (UTC without one), or `every`. Spans in the options count
        from when it fires.
        """
        payload = encode(input, task_ref(task).text)
        body: dict[str, Any] = {"task": task, "catch_up": catch_up, "overlap": overlap, "options": wire(options)}
        if payload.content_type == JSON:
            body["input"] = payload.value()
        else:
            body |= {"input_base64": base64.b64encode(payload.data).decode(), "content_type": payload.content_type}
        given = {"cron": cron, "zone": zone, "every": None if every is None else f"{span_ms('every', every)}ms"}
        body |= {name: value for name, value in given.items() if value is not None}
        answer = await self._ask("PUT", name, body=body)
        change: Change = answer["change"]
        return change

    async def get(self, name: str) -> Schedule:
        """One schedule, with its next times and its last runs. Raises `NoSuchSchedule`."""
        return Schedule.read(await self._ask("GET", name))

    async def list(self) -> AsyncIterator[Schedule]:
        """Every schedule, by name."""
        transport = (await self._client.open()).transport
        cursor: str | None = None
        while True:
            params = {} if cursor is None else {"cursor": cursor}
            page = await transport.ask("GET", "/v1/schedules", params=params)
            for document in page["schedules"]:
                yield Schedule.read(document)
            cursor = page.get("cursor")
            if cursor is None:
                return

    async def remove(self, name: str) -> None:
        """Removes a schedule. What it has submitted goes on."""
        await self._ask("DELETE", name)

    async def pause(self, name: str) -> Schedule:
        """Has a schedule fire no more until it is resumed."""
        return Schedule.read(await self._ask("POST", name, "/pause"))

    async def resume(self, name: str) -> Schedule:
        """Has it fire again, from the next time after now."""
        return Schedule.read(await self._ask("POST", name, "/resume"))

    async def run_now(self, name: str) -> Handle[Any]:
        """Submits now what it would submit, paused or not.

        Where the gateway takes the request and its answer is lost, it is not asked again: that is `BrokerUnavailable`,
        and the schedule's `runs` tell whether it was done.
        """
        answer = await self._ask("POST", name, "/run", is_repeatable=False)
        return self._client.handle(answer["id"])

    async def _ask(
        self, method: str, name: str, action: str = "", body: Any = None, *, is_repeatable: bool = True
    ) -> Any:
        check_name("schedule name", name)
        transport = (await self._client.open()).transport
        path = f"/v1/schedules/{name}{action}"
        return await transport.ask(method, path, body=body, about=name, is_repeatable=is_repeatable)


class SyncSchedules:
    """The same for code that does not await."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._behind = Schedules(client.asynchronous)

    def put(
        self,
        name: str,
        task: str,
        input: Any = None,
        *,
        cron: str | None = None,
        zone: str | None = None,
        every: Span | None = None,
        catch_up: str = "one",
        overlap: Literal["skip", "allow", "queue-one"] = "skip",
        **options: Unpack[Options],
    ) -> Change:
        """Adds a schedule, or puts it in the place of the one of its name; see `Schedules.put`."""
        put = self._behind.put(
            name, task, input, cron=cron, zone=zone, every=every, catch_up=catch_up, overlap=overlap, **options
        )
        return self._client.portal.run(put)

    def get(self, name: str) -> Schedule:
        """One schedule, with its next times and its last runs. Raises `NoSuchSchedule`."""
        return self._client.portal.run(self._behind.get(name))

    def list(self) -> Iterator[Schedule]:
        """Every schedule, by name."""
        return self._client.iterate(self._behind.list())

    def remove(self, name: str) -> None:
        """Removes a schedule. What it has submitted goes on."""
        self._client.portal.run(self._behind.remove(name))

    def pause(self, name: str) -> Schedule:
        """Has a schedule fire no more until it is resumed."""
        return self._client.portal.run(self._behind.pause(name))

    def resume(self, name: str) -> Schedule:
        """Has it fire again, from the next time after now."""
        return self._client.portal.run(self._behind.resume(name))

    def run_now(self, name: str) -> SyncHandle[Any]:
        """Submits now what it would submit, paused or not."""
        return self._client.handle(self._client.portal.run(self._behind.run_now(name)).id)
