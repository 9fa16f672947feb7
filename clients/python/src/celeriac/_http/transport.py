"""What a client asks of a broker, through a host's gateway: the calls of `docs/http-api.md`."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, Any

import httpx

from ..errors import BrokerUnavailable, CeleriacError, Damaged, ResultTimeout
from ..ids import Namespace
from ..outcome import CancelResult, Outcome
from ..transport import IssuesIds
from . import documents, problem, sse
from .replies import SILENCE, Replies
from .requests import LONG, Requests, failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..listing import Wanted
    from ..outcome import Event, Status
    from ..transport import Answer, Inbox, Submission

#: Invocations in one request, and bytes of payload unless a single one is larger.
CHUNK, CHUNK_BYTES = 500, 4 << 20

#: Seconds that an upload waits for a host to admit: a large module takes seconds to compile.
ADMISSION_PATIENCE = 300


class HttpTransport(IssuesIds):
    """A connection of one process to a gateway."""

    def __init__(self, url: str, connect_timeout: float, token: str | None) -> None:
        self._requests = Requests(url, connect_timeout, token)
        self.address = self._requests.address
        self._inbox: Inbox | None = None
        self._replies: Replies | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Learns what ids are made with."""
        if self._namespace is None:
            store = await self._requests.get("/v1/store")
            self._namespace = Namespace.read(store["namespace"])

    async def close(self) -> None:
        """Closes every connection."""
        if self._replies is not None:
            await self._replies.close()
        await self._requests.close()

    async def submit(self, batch: list[Submission]) -> list[Answer]:
        """Accepts invocations, in order; one answer each."""
        answers: list[Answer] = []
        for chunk in _chunks(batch):
            stream = self._replies.client if self._replies is not None else None
            body = b'{"invocations":[' + b",".join(documents.submission(one, stream) for one in chunk) + b"]}"
            answer = await self._requests.post("/v1/invocations/batch", body, patience=LONG)
            for one, result in zip(chunk, answer["results"]):
                if refused := result.get("problem"):
                    answers.append(problem.exception(refused, self.address, id=one.id, task=one.task.text))
                else:
                    answers.append(result["id"])
            if self._inbox is not None and self._replies is not None and self._replies.client != stream:
                # The stream that was named has gone meanwhile.
                for one in chunk:
                    self._inbox.recheck(one.id)
        return answers

    async def open_replies(self, inbox: Inbox) -> None:
        """Has outcomes pushed from now on."""
        async with self._opening:
            if self._replies is None:
                replies = Replies(self._requests, inbox)
                await replies.open()
                self._inbox, self._replies = inbox, replies

    async def outcomes(self, ids: list[str], *, is_waiting: bool) -> list[Outcome | CeleriacError | None]:
        """The outcome of each, none while there is none."""
        answers: list[Outcome | CeleriacError | None] = []
        while len(answers) < len(ids):
            request: dict[str, Any] = {"ids": ids[len(answers) : len(answers) + CHUNK]}
            if is_waiting and self._replies is not None:
                if self._replies.client is None:
                    # Nobody could be told; once the stream is back everything is read again.
                    raise BrokerUnavailable(self.address, "its stream of replies is being opened again")
                request["waiter"] = self._replies.client
            answer = await self._requests.post("/v1/invocations/results", json.dumps(request).encode(), patience=LONG)
            told = [self._outcome(id, result) for id, result in zip(request["ids"], _until_later(answer["results"]))]
            if not told:
                raise Damaged("an answer of the gateway", "results are missing")
            answers += told
        return answers

    def _outcome(self, id: str, result: dict[str, Any]) -> Outcome | CeleriacError | None:
        if "problem" in result:
            return problem.exception(result["problem"], self.address, id=id)
        try:
            return documents.outcome(result["ended"]) if "ended" in result else None
        except Damaged as error:
            return error

    async def status(self, id: str) -> Status:
        """Where an invocation stands."""
        return documents.status(await self._requests.get(f"/v1/invocations/{id}", about=(id, "")))

    async def cancel(self, id: str) -> CancelResult:
        """Stops an invocation."""
        answer = await self._requests.post(f"/v1/invocations/{id}/cancel", b"", about=(id, ""))
        return CancelResult(answer["result"])

    async def listing(self, wanted: Wanted) -> AsyncIterator[Status]:
        """What is asked for, page by page."""
        given = {**dataclasses.asdict(wanted), "states": ",".join(wanted.states) or None, "limit": CHUNK}
        params = {name: value for name, value in given.items() if value is not None}
        while True:
            page = await self._requests.get("/v1/invocations", params=params, patience=LONG)
            for document in page["invocations"]:
                yield documents.status(document)
            if page.get("cursor") is None:
                return
            params["cursor"] = page["cursor"]

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
        """A request of an operation that only gateways have."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        response = await self._requests.send(
            method,
            path,
            content=content,
            params=params,
            headers=headers,
            about=("", about),
            is_repeatable=is_repeatable,
            patience=patience,
        )
        return response.json() if response.content else None

    async def history(self, id: str, limit: int) -> list[Event]:
        """What an ended invocation has reported."""
        return [event async for event in self.watch(id, None)][-limit:]

    async def watch(self, id: str, after: str | None) -> AsyncIterator[Event]:
        """What an invocation has reported after a cursor, and reports until its end."""
        timeout = httpx.Timeout(self._requests.connect_timeout, read=SILENCE)
        while True:
            headers = {"Last-Event-ID": after} if after else {}
            path = f"/v1/invocations/{id}/events"
            try:
                async with self._requests.http.stream("GET", path, headers=headers, timeout=timeout) as response:
                    if response.status_code == httpx.codes.NO_CONTENT:
                        return
                    if response.is_error:
                        await response.aread()
                        raise failure(response, self.address, (id, ""))
                    async for sent in sse.read(response.aiter_lines()):
                        if sent.kind == "result":
                            return
                        event = documents.event(sent)
                        if event is not None:
                            after = event.cursor
                            yield event
            except httpx.TransportError:
                pass
            # The connection was lost, or the gateway ends: go on behind the last event.
            await asyncio.sleep(0.2)

    async def upload(self, module: bytes, name: str) -> dict[str, Any] | None:
        """Uploads a module and has a host admit it."""
        response = await self._requests.send(
            "PUT",
            f"/v1/modules/{name}",
            content=module,
            headers={"Content-Type": "application/wasm"},
            params={"wait": ADMISSION_PATIENCE},
            timeout=httpx.Timeout(ADMISSION_PATIENCE + 30, connect=self._requests.connect_timeout),
            patience=2 * ADMISSION_PATIENCE,
            about=("", name),
        )
        if response.status_code == httpx.codes.ACCEPTED:
            raise ResultTimeout(response.json()["id"], ADMISSION_PATIENCE)
        manifest: dict[str, Any] = response.json()
        return manifest

    async def manifest(self, module: str) -> dict[str, Any]:
        """What a module says about itself."""
        record: dict[str, Any] = await self._requests.get(f"/v1/modules/{module}", about=("", module))
        manifest: dict[str, Any] = record.get("manifest", record)
        return manifest


def _until_later(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What an answer tells: at the first `later` the outputs before have filled it."""
    return itertools.takewhile(lambda result: "later" not in result, results)


def _chunks(batch: list[Submission]) -> list[list[Submission]]:
    chunks: list[list[Submission]] = [[]]
    size = 0
    for one in batch:
        size += len(one.input.data)
        if chunks[-1] and (len(chunks[-1]) >= CHUNK or size > CHUNK_BYTES):
            chunks.append([])
            size = len(one.input.data)
        chunks[-1].append(one)
    return chunks
