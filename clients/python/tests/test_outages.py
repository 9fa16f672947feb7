"""What happens when the broker goes away: nothing is lost, and nobody waits without an end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
import redis as redis_client
from conftest import sample

from celeriac import (
    AsyncClient,
    BrokerUnavailable,
    BrokerUnfit,
    Client,
    ClientClosed,
    Damaged,
    InvalidArgument,
    ResultExpired,
)
from celeriac.testing import Host, RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def test_pending_awaits_survive_a_restart_of_redis(server: RedisServer) -> None:
    with Host(server.url) as host:
        async with AsyncClient(host.url) as client:
            await client.push(sample("basics"))
            sleep = client.task("basics/sleep")
            handles = [await sleep.delay(seconds=seconds) for seconds in (0.1, 1, 2, 2)]
            waiting = [asyncio.ensure_future(handle.result(60)) for handle in handles]
            scheduled = await sleep.apply_async({"seconds": 0}, countdown=2)
            progress = asyncio.ensure_future(collect(client, await sleep.delay(seconds=3, steps=3)))
            await asyncio.sleep(0.3)
            server.kill()
            await asyncio.sleep(0.5)
            server.start()
            results = await asyncio.gather(*waiting)
            assert [result["steps"] for result in results] == [1, 1, 1, 1]
            assert (await scheduled.result(60))["steps"] == 1
            assert (await progress)[-1] == 3
            # The scripts are loaded again, too.
            assert await client.call("basics/add", {"a": 1, "b": 1}) == 2


async def collect(client: AsyncClient, handle: object) -> list[float]:
    return [progress.done async for progress in handle.progress()]  # type: ignore[attr-defined]


async def test_a_submit_rides_out_a_short_outage(server: RedisServer) -> None:
    async with AsyncClient(server.url, connect_timeout=10) as client:
        handle = await client.submit("celeriac/admit", {})
        server.kill()
        submitting = asyncio.ensure_future(client.submit("celeriac/admit", {}))
        await asyncio.sleep(0.3)
        server.start()
        second = await submitting
        assert (await second.status()).state == "queued"
        assert (await handle.status()).state == "queued"


async def test_a_lost_broker_is_an_error_within_the_connect_timeout(server: RedisServer) -> None:
    async with AsyncClient(server.url, connect_timeout=0.5) as client:
        await client.submit("celeriac/admit", {})
        server.kill()
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            await client.submit("celeriac/admit", {})
        assert time.monotonic() - began < 1.5
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=server.url.rstrip("/")):
        await AsyncClient(server.url, connect_timeout=0.5).call("basics/noop")
    assert time.monotonic() - began < 1.5


async def test_a_broker_that_hangs_is_an_error_within_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = AsyncClient(f"redis://127.0.0.1:{silent.getsockname()[1]}/", connect_timeout=0.3)
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            await client.call("basics/noop")
        assert time.monotonic() - began < 2
        await client.close()


async def test_an_emptied_store_ends_the_wait(server: RedisServer) -> None:
    async with AsyncClient(server.url, sweep=0.2) as client:
        handle = await client.submit("celeriac/admit", {})
        redis_client.Redis.from_url(server.url).flushall()
        with pytest.raises(ResultExpired):
            await handle.result(10)


async def test_a_lost_push_is_found_by_the_sweep(server: RedisServer) -> None:
    """The reply stream is emptied before it is read: the stored result is the truth."""
    async with AsyncClient(server.url, sweep=0.3) as client:
        handle = await client.submit("celeriac/admit", {})
        connection = redis_client.Redis.from_url(server.url)
        key = f"cel:{{0}}:i:{handle.id}"
        connection.hset(key, mapping={"s": "s", "r": b'{"code":"ok","content_type":"application/json","usage":{}}\n1'})
        assert await handle.result(10) == 1


async def test_a_gap_in_the_replies_has_everything_read_again(server: RedisServer) -> None:
    async with AsyncClient(server.url) as client:
        handle = await client.submit("celeriac/admit", {})
        connection = redis_client.Redis.from_url(server.url)
        connection.hset(
            f"cel:{{0}}:i:{handle.id}",
            mapping={"s": "s", "r": b'{"code":"ok","content_type":"application/json","usage":{}}\n0'},
        )
        connection.xadd(f"cel:{{0}}:reply:{waiter(connection, handle.id)}", {"gap": ""})
        assert await handle.result(10) == 0


def waiter(connection: redis_client.Redis, id: str) -> str:
    """The client that waits for an invocation."""
    fields: dict[bytes, bytes] = connection.hgetall(f"cel:{{0}}:i:{id}")  # type: ignore[assignment]
    return fields[b"w"].decode()


async def test_closing_tells_whoever_waits(server: RedisServer) -> None:
    client = AsyncClient(server.url)
    waiting = asyncio.ensure_future((await client.submit("celeriac/admit", {})).result())
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(ClientClosed):
        await waiting
    with pytest.raises(ClientClosed):
        await client.submit("celeriac/admit", {})


async def test_the_reply_stream_is_kept_empty_and_goes_with_the_client(server: RedisServer) -> None:
    connection = redis_client.Redis.from_url(server.url)
    with Host(server.url) as host:
        async with AsyncClient(host.url) as client:
            await client.push(sample("basics"))
            await client.task("basics/echo").map(range(2000))
            [stream] = list(connection.scan_iter("cel:{0}:reply:*"))
            # The last entries are removed with the next read at the latest.
            await client.call("basics/noop")
            assert connection.xlen(stream) <= 256
        assert not connection.exists(stream)


async def test_another_layout_is_refused_with_a_remedy(server: RedisServer) -> None:
    connection = redis_client.Redis.from_url(server.url)
    connection.set("cel:{0}:layout", '{"version":99,"namespace":{"key":"x","partitions":1}}')
    with pytest.raises(BrokerUnfit, match="layout 99"):
        await AsyncClient(server.url).open()
    connection.set("cel:{0}:layout", "hello")
    with pytest.raises(Damaged, match="another program"):
        await AsyncClient(server.url).open()


async def test_a_password_is_used_and_never_shown() -> None:
    with RedisServer("--requirepass", "s3cret") as server:
        address = server.url.removeprefix("redis://")
        async with AsyncClient(f"redis://:s3cret@{address}") as client:
            assert "s3cret" not in repr(client)
            assert "s3cret" not in client.session().transport.address
        for url in (server.url, f"redis://:wrong@{address}"):
            with pytest.raises(BrokerUnfit, match="right user and password") as caught:
                await AsyncClient(url).open()
            assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
    for url in ("ftp://user:s3cret@host", "redis"):
        with pytest.raises(InvalidArgument) as invalid:
            await AsyncClient(url).open()
        assert "s3cret" not in str(invalid.value)


def test_a_full_redis_refuses_submits_with_the_remedy() -> None:
    with (
        RedisServer("--maxmemory", "2mb") as server,
        Client(server.url, connect_timeout=0.5) as client,
        pytest.raises(BrokerUnavailable, match="raise `maxmemory`"),
    ):
        for _ in range(20):
            client.submit("celeriac/admit", "x" * 500_000)
