"""A broker that is there and does not answer: stopped in the middle, on each way to it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from conftest import sample

from celeriac import AsyncClient, BrokerUnavailable
from celeriac.testing import Host, RedisServer
from celeriac.testing.process import Process


class Broker:
    """What a client talks to, and how to stop it and have it go on."""

    def __init__(self, url: str, process: Process | None) -> None:
        assert process is not None
        self.url = url
        self._pid = process.child.pid

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)
        # Told when the last of its threads has stopped.
        os.waitpid(self._pid, os.WUNTRACED)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.fixture(params=["redis", "http"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "http":
        with Host() as host:
            yield from serving(Broker(host.url, host.process))
    else:
        with RedisServer() as server, Host(server.url):
            yield from serving(Broker(server.url, server._process))


def serving(broker: Broker) -> Iterator[Broker]:
    try:
        yield broker
    finally:
        broker.go_on()


async def test_a_small_command_is_an_error_within_two_seconds(broker: Broker) -> None:
    async with AsyncClient(broker.url, connect_timeout=1) as client:
        await client.push(sample("basics"))
        handle = await client.submit("basics/noop", countdown=600)
        other = await client.submit("basics/noop", countdown=600, awaited=False)
        broker.stop()

        async def listing() -> None:
            [_ async for _ in client.dead_letters.list()]

        asked: list[Callable[[], object]] = [
            handle.status,
            handle.cancel,
            lambda: client.manifest("basics"),
            other.ready,
            lambda: client.submit("basics/noop"),
        ]
        if broker.url.startswith("http"):
            asked += [lambda: client.schedules.get("nightly"), listing]
        for ask in asked:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable, match=r"does not answer: no (answer|connection) within 1 s"):
                await ask()  # type: ignore[misc]
            # Without the limit it is half a minute.
            assert time.monotonic() - began < 5
        broker.go_on()
        # The connection is of use again, and what came late is nobody else's answer.
        assert (await handle.status()).id == handle.id
        assert (await client.manifest("basics"))["tasks"]


async def test_awaits_outlast_it(broker: Broker) -> None:
    async with AsyncClient(broker.url, connect_timeout=1, sweep=1) as client:
        await client.push(sample("basics"))
        handles = [await client.submit("basics/sleep", {"seconds": seconds}) for seconds in (0.5, 1)]
        waiting = [asyncio.ensure_future(handle.result(60)) for handle in handles]
        broker.stop()
        # As long as small commands fail, and longer than two sweeps.
        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                await handles[0].status()
        assert not any(wait.done() for wait in waiting)
        broker.go_on()
        assert [result["steps"] for result in await asyncio.gather(*waiting)] == [1, 1]


async def test_the_stream_of_replies_is_opened_within_the_connect_timeout(broker: Broker) -> None:
    async with AsyncClient(broker.url, connect_timeout=1) as client:
        broker.stop()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await client.submit("basics/noop")
        assert time.monotonic() - began < 5
