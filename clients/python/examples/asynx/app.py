"""HTTP requests as background tasks, over HTTP: the API of asynx, in front of Celeriac.

    python app.py 8080

The broker is a host's gateway, as `CELERIAC_BROKER` says (http://…), since schedules go through one; the module `http`
must be there, with a grant. Numbers and names are kept in the SQLite file that `ASYNX_DB` names.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from forms import Namespace, NewTask
from store import Store
from tasks import TaskAlreadyExists, TaskNotFound, Tasks

from celeriac import AsyncClient, BrokerUnavailable, InvalidArgument, Overloaded

#: Code, status, and what it is called.
PARSING = (200100, 400, "Parsing failure")
VALIDATION = (200101, 422, "Validation failure")
NOT_FOUND = (207202, 404, "Task not found")
EXISTS = (207203, 409, "Task already exists")
UNAVAILABLE = (200500, 503, "Broker unavailable")
OVERLOADED = (200501, 503, "Queue full")

client = AsyncClient()
tasks = Tasks(client, Store(os.environ.get("ASYNX_DB", "asynx.db")))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connects when the server starts."""
    async with client:
        tasks.resume()
        yield


app = FastAPI(title="asynx on Celeriac", lifespan=lifespan)
PATH = "/app/{app}/taskqueues/{queue}/tasks"


@app.get(PATH)
async def list_tasks(
    app: Namespace,
    queue: Namespace,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=0, le=200)] = 50,
) -> dict[str, Any]:
    """The tasks of a queue, a page at a time."""
    return await tasks.list((app, queue), offset, limit)


@app.post(PATH, status_code=201)
async def insert_task(app: Namespace, queue: Namespace, new: NewTask) -> dict[str, Any]:
    """Hands in a task. When this answers it is stored at the broker and will run."""
    return await tasks.add((app, queue), new)


@app.get(PATH + "/{identifier}")
async def get_task(app: Namespace, queue: Namespace, identifier: str) -> dict[str, Any]:
    """Where a task stands, and what it came to."""
    return await tasks.document(tasks.find((app, queue), identifier))


@app.delete(PATH + "/{identifier}")
async def delete_task(app: Namespace, queue: Namespace, identifier: str) -> None:
    """Stops a task wherever it is, and forgets it."""
    await tasks.delete(tasks.find((app, queue), identifier))


def problem(kind: tuple[int, int, str], request: Request, detail: str) -> JSONResponse:
    """An error as callers of asynx know it."""
    code, status, description = kind
    told = {"request_uri": str(request.url), "error_code": code, "error_desc": description, "error_detail": detail}
    return JSONResponse(told, status)


@app.exception_handler(RequestValidationError)
async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
    """A request that does not parse, or does not say what it must."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    kind = PARSING if first["type"] == "json_invalid" else VALIDATION
    return problem(kind, request, f"{place}: {first['msg']}")


@app.exception_handler(InvalidArgument)
async def refused(request: Request, error: InvalidArgument) -> JSONResponse:
    """What the gateway found wrong: a crontab that is none, a header that cannot be."""
    return problem(VALIDATION, request, str(error))


@app.exception_handler(TaskNotFound)
async def not_found(request: Request, error: TaskNotFound) -> JSONResponse:
    """No such task here."""
    return problem(NOT_FOUND, request, str(error))


@app.exception_handler(TaskAlreadyExists)
async def exists(request: Request, error: TaskAlreadyExists) -> JSONResponse:
    """Its name is taken."""
    return problem(EXISTS, request, str(error))


@app.exception_handler(BrokerUnavailable)
async def unavailable(request: Request, error: BrokerUnavailable) -> JSONResponse:
    """Nothing was accepted: the caller may try again."""
    return problem(UNAVAILABLE, request, str(error))


@app.exception_handler(Overloaded)
async def overloaded(request: Request, error: Overloaded) -> JSONResponse:
    """The queue takes no more. Nothing was accepted: the caller may try again when some have run."""
    return problem(OVERLOADED, request, str(error))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
