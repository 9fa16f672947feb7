"""A FastAPI application: typed inputs and outputs, results pushed to the browser as server-sent events.

    python app.py 8000

The broker is what `CELERIAC_BROKER` says; the modules `basics` and `compute` must be there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from celeriac import (
    AsyncClient,
    BrokerUnavailable,
    Handle,
    InvalidArgument,
    Outcome,
    Progress,
    ResultTimeout,
    TaskFailed,
    UnknownInvocation,
)

client = AsyncClient()


#: The id of the last event.
END = "end"
#: What a browser may send as the last that it saw: nothing, the cursor of an event, or the end.
EVENT_ID = rf"(\d+(-\d+)?|{END})?"


class Limit(BaseModel):
    """What the task takes."""

    up_to: int = Field(ge=0, le=100_000_000)


class Primes(BaseModel):
    """What the task returns."""

    count: int
    largest: int | None


primes = client.task("compute/primes", output=Primes)
sleep = client.task("basics/sleep")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connects when the server starts, so that a wrong address shows then."""
    async with client:
        yield


app = FastAPI(title="FastAPI and Celeriac", lifespan=lifespan)


@app.exception_handler(TaskFailed)
async def failed(_: Request, error: TaskFailed) -> JSONResponse:
    """A task that failed, wherever it was awaited."""
    return JSONResponse({"kind": error.kind, "message": error.message, "retryable": error.retryable}, 422)


@app.exception_handler(UnknownInvocation)
async def unknown(_: Request, error: UnknownInvocation) -> JSONResponse:
    """An id that nobody knows."""
    return JSONResponse({"message": str(error)}, 404)


@app.exception_handler(InvalidArgument)
async def invalid(_: Request, error: InvalidArgument) -> JSONResponse:
    """What is no id at all, or an input that a gateway has refused."""
    return JSONResponse({"message": str(error)}, 422)


@app.exception_handler(BrokerUnavailable)
async def unavailable(_: Request, error: BrokerUnavailable) -> JSONResponse:
    """The broker is away: later it may work."""
    return JSONResponse({"message": str(error)}, 503)


@app.post("/primes")
async def count_primes(limit: Limit) -> Primes:
    """Awaits the task; pydantic checks what goes in and what comes out."""
    return await primes(limit)


@app.post("/naps", status_code=202)
async def start_nap(seconds: float, steps: int = 5) -> dict[str, str]:
    """Starts a task and answers at once."""
    handle = await sleep.delay(seconds=seconds, steps=steps)
    return {"id": handle.id, "events": f"/naps/{handle.id}/events"}


@app.get("/naps/{id}")
async def nap(id: str, wait: float = 0) -> object:
    """The result, when it comes within `wait` seconds."""
    try:
        return await client.handle(id).result(timeout=wait)
    except ResultTimeout as error:
        raise HTTPException(202, "it goes on") from error


@app.get("/naps/{id}/events")
async def nap_events(id: str, last_event_id: Annotated[str, Header()] = "") -> Response:
    """What the task reports, as it happens, and its end.

    A browser whose connection broke says by itself which event it saw last, and gets what followed. After the end it
    is told that there is no more, else it would come back for ever.
    """
    if not re.fullmatch(EVENT_ID, last_event_id):
        raise HTTPException(400, "Last-Event-ID is not the id of an event of this stream")
    handle = client.handle(id)
    # Before the stream begins: then its status is sent, and cannot say any more that nobody knows this id.
    await handle.status()
    if last_event_id == END:
        return Response(status_code=204)
    stream = server_sent(handle, after=last_event_id or None)
    return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def server_sent(handle: Handle, after: str | None) -> AsyncIterator[str]:
    """A task's progress behind an event, and its outcome, as server-sent events; the id of each is its cursor."""
    async for event in handle.events(after):
        if isinstance(event.what, Progress):
            yield sent("progress", {"done": event.what.done, "total": event.what.total}, event.cursor)
    outcome: Outcome = await handle.outcome()
    yield sent("result", {"state": str(outcome.state), "code": outcome.code}, END)


def sent(kind: str, data: object, id: str) -> str:
    """One server-sent event."""
    return f"id: {id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
