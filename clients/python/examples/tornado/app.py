"""A Tornado application whose handlers await long tasks, while all other requests are answered at once.

    python app.py 8888

The broker is what `CELERIAC_BROKER` says; the module `compute` must be there (`celeriac push …/compute.wasm`).
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from tornado import gen
from tornado.web import Application, HTTPError, RequestHandler

from celeriac import AsyncClient, Handle, TaskFailed


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


class Long(RequestHandler):
    """Awaits seconds of computing. The event loop is free all the while."""

    handle: Handle[Estimate] | None = None

    async def get(self) -> None:
        """`GET /long?samples=1000000`."""
        self.handle = await monte_carlo.delay(samples=int(self.get_argument("samples")))
        try:
            estimate = await self.handle
        except TaskFailed as error:
            raise HTTPError(422, error.message) from error
        self.write({"id": self.handle.id, "pi": estimate.pi, "samples": estimate.samples})

    def on_connection_close(self) -> None:
        """Nobody waits any more: the host stops computing within milliseconds."""
        if self.handle is not None:
            asyncio.ensure_future(self.handle.cancel())  # noqa: RUF006 the loop outlives it


class Yielding(RequestHandler):
    """The same in the style of `gen.coroutine`, for handlers that are older than `async def`."""

    @gen.coroutine
    def get(self):  # type: ignore[no-untyped-def]
        """`GET /yielding?samples=1000000`."""
        estimate = yield monte_carlo(samples=int(self.get_argument("samples")))
        self.write({"pi": estimate.pi})


class CallingBack(RequestHandler):
    """The same with a callback, for handlers that are older still."""

    async def get(self) -> None:
        """`GET /callback?samples=1000000`."""
        finished = asyncio.get_running_loop().create_future()

        async def on_result(handle: Handle[Estimate]) -> None:
            self.write({"pi": (await handle).pi})
            finished.set_result(None)

        await monte_carlo.apply_async({"samples": int(self.get_argument("samples"))}, on_done=on_result)
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
