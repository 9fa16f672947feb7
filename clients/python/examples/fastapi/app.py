"""A FastAPI application: typed inputs and outputs, results pushed to the browser as server-sent events.

    python app.py 8000

The broker is what `CELERIAC_BROKER` says; the modules `basics` and `compute` must be there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from celeriac import AsyncClient, Handle, Outcome, Progress, ResultTimeout, TaskFailed, UnknownInvocation

client = AsyncClient()


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
async def nap_events(id: str) -> StreamingResponse:
    """What the task reports, as it happens, and its end."""
    return StreamingResponse(server_sent(client.handle(id)), media_type="text/event-stream")


async def server_sent(handle: Handle) -> AsyncIterator[str]:
    """A task's progress and outcome as server-sent events; each is numbered, so that a browser can go on behind it."""
    async for event in handle.events():
        if isinstance(event.what, Progress):
            yield sent("progress", {"done": event.what.done, "total": event.what.total}, event.cursor)
    outcome: Outcome = await handle.outcome()
    yield sent("result", {"state": str(outcome.state), "code": outcome.code}, "end")


def sent(kind: str, data: object, id: str) -> str:
    """One server-sent event."""
    return f"id: {id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
