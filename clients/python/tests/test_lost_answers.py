"""An answer that is lost on its way: what may be done twice is asked again, and what may not is told."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from proxy import Proxy

from celeriac import AsyncClient, BrokerUnavailable, NoDeadLetter, NoSuchSchedule, TaskFailed
from celeriac.testing.process import free_port


@pytest.fixture
def proxy(gateway: str) -> Iterator[Proxy]:
    with Proxy(gateway) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(proxy.url) as client:
        yield client


def fresh() -> str:
    return f"lost-{uuid.uuid4().hex[:12]}"


async def failed(client: AsyncClient, queue: str = "default") -> str:
    handle = await client.submit("basics/fail", {"message": "no", "retryable": False}, queue=queue)
    with pytest.raises(TaskFailed):
        await handle.result(30)
    return handle.id


async def test_a_schedule_runs_once_when_the_answer_is_lost(client: AsyncClient, proxy: Proxy) -> None:
    name = fresh()
    await client.schedules.put(name, "basics/noop", every="1d")
    proxy.to_lose = 1
    with pytest.raises(BrokerUnavailable, match="may have been done all the same"):
        await client.schedules.run_now(name)
    assert [run.result for run in (await client.schedules.get(name)).runs] == ["manual"]
    await client.schedules.remove(name)


async def test_a_dead_letter_that_was_retried_is_not_said_to_be_none(client: AsyncClient, proxy: Proxy) -> None:
    id = await failed(client)
    proxy.to_lose = 1
    with pytest.raises(BrokerUnavailable, match="may have been done all the same"):
        await client.dead_letters.retry(id)
    with pytest.raises(NoDeadLetter):
        await client.dead_letters.get(id)


async def test_nor_are_many_retried_twice(client: AsyncClient, proxy: Proxy) -> None:
    await failed(client)
    proxy.to_lose = 1
    with pytest.raises(BrokerUnavailable, match="may have been done all the same"):
        await client.dead_letters.retry_matching(task="basics/fail")


async def test_what_has_not_left_was_not_done() -> None:
    client = AsyncClient(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BrokerUnavailable) as caught:
        await client.session().transport.ask("POST", "/v1/schedules/nightly/run", is_repeatable=False)
    assert "may have been done" not in str(caught.value)
    await client.close()


async def test_what_is_removed_is_gone_and_that_is_no_error(client: AsyncClient, proxy: Proxy) -> None:
    name, id = fresh(), await failed(client)
    await client.schedules.put(name, "basics/noop", every="1d")
    proxy.to_lose = 1
    await client.schedules.remove(name)
    with pytest.raises(NoSuchSchedule):
        await client.schedules.remove(name)
    proxy.to_lose = 1
    await client.dead_letters.drop(id)
    with pytest.raises(NoDeadLetter):
        await client.dead_letters.drop(id)


async def test_the_others_are_asked_again(client: AsyncClient, proxy: Proxy) -> None:
    name, queue = fresh(), fresh()
    # The stream of replies is open.
    await client.call("basics/noop")
    proxy.to_lose = 1
    handle = await client.submit("basics/noop", queue=queue)
    assert [status.id async for status in client.list(queue=queue)] == [handle.id]
    proxy.to_lose = 1
    assert (await handle.status()).id == handle.id
    proxy.to_lose = 1
    await handle.cancel()
    assert (await handle.status()).state == "cancelled"
    proxy.to_lose = 1
    await client.schedules.put(name, "basics/noop", every="1d")
    proxy.to_lose = 1
    assert (await client.schedules.pause(name)).is_paused
    proxy.to_lose = 1
    assert not (await client.schedules.resume(name)).is_paused
    await client.schedules.remove(name)
    assert proxy.to_lose == 0
