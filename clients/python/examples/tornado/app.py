"""A Tornado application whose handlers await long tasks, while all other requests are answered at once.

    python app.py 8888

The broker is what `CELERIAC_BROKER` says; the module `compute` must be there (`celeriac push …/compute.wasm`).
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass
from typing import Any

from tornado import gen
from tornado.web import Application, HTTPError, RequestHandler

from celeriac import AsyncClient, BrokerUnavailable, CeleriacError, Handle, NoSuchModule, QueueFull, TaskFailed


@dataclass
class Estimate:
    """What the task returns."""

    pi: float
    inside: int
    samples: int


client = AsyncClient()
monte_carlo = client.task("compute/monte-carlo", output=Estimate)


class Quick(RequestHandler):
    """Answers at once, whatever else goes on."""

    def get(self) -> None:
        """`GET /quick`."""
        self.write({"ok": True})


def status_of(error: CeleriacError) -> int:
    """The status that says what went wrong: the task with this input, what it needs to run, or something else."""
    if isinstance(error, TaskFailed):
        return 422
    return 503 if isinstance(error, (BrokerUnavailable, NoSuchModule, QueueFull)) else 500


class Estimating(RequestHandler):
    """What all three styles of a handler share: how `samples` is read, and how errors are told."""

    def samples(self) -> int:
        """`?samples=1000000`."""
        text = self.get_argument("samples", "")
        if not re.fullmatch("[0-9]{1,10}", text):
            raise HTTPError(400, reason="?samples= must be a whole number, such as 1000000")
        return int(text)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002 Tornado's signature
        """Whatever a handler raises, as JSON."""
        _, error, _ = kwargs.get("exc_info", (None, None, None))
        document = {"error": self._reason}
        if isinstance(error, CeleriacError):
            self.set_status(status_of(error))
            document["error"] = error.message
        if isinstance(error, TaskFailed):
            document["kind"] = error.kind
        self.finish(document)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """A failed task is an answer, not a defect of this program: its stack here tells nobody anything."""
        if not isinstance(value, TaskFailed):
            super().log_exception(typ, value, tb)


class Long(Estimating):
    """Awaits seconds of computing. The event loop is free all the while."""

    handle: Handle[Estimate] | None = None

    async def get(self) -> None:
        """`GET /long?samples=1000000`."""
        self.handle = await monte_carlo.delay(samples=self.samples())
        estimate = await self.handle
        self.write({"id": self.handle.id, "pi": estimate.pi, "samples": estimate.samples})

    def on_connection_close(self) -> None:
        """Nobody waits any more: the host stops computing within milliseconds."""
        if self.handle is not None:
            asyncio.ensure_future(self.handle.cancel())  # noqa: RUF006 the loop outlives it


class Yielding(Estimating):
    """The same in the style of `gen.coroutine`, for handlers that are older than `async def`."""

    @gen.coroutine
    def get(self):  # type: ignore[no-untyped-def]
        """`GET /yielding?samples=1000000`."""
        estimate = yield monte_carlo(samples=self.samples())
        self.write({"pi": estimate.pi})


class CallingBack(Estimating):
    """The same with a callback, for handlers that are older still."""

    async def get(self) -> None:
        """`GET /callback?samples=1000000`."""
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def on_result(handle: Handle[Estimate]) -> None:
            # Whatever happens here, the request must hear of it: nobody else awaits a callback.
            try:
                self.write({"pi": (await handle).pi})
            except Exception as error:  # noqa: BLE001 the request raises it
                finished.set_exception(error)
            else:
                finished.set_result(None)

        await monte_carlo.apply_async({"samples": self.samples()}, on_done=on_result)
        await finished


def application() -> Application:
    """The routes."""
    return Application([("/quick", Quick), ("/long", Long), ("/yielding", Yielding), ("/callback", CallingBack)])


async def main() -> None:
    """Serves until it is stopped."""
    application().listen(int(sys.argv[1]), address="127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
