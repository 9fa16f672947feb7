"""Listing and stopping many."""

from __future__ import annotations

import asyncio
import datetime
import uuid

import pytest

from celeriac import AsyncClient, BulkCancel, Client, InvalidArgument, State, Status
from celeriac.listing import Wanted


def fresh() -> str:
    return f"q-{uuid.uuid4().hex[:12]}"


async def listed(client: AsyncClient, **asked: object) -> set[str]:
    return {status.id async for status in client.list(**asked)}  # type: ignore[arg-type]


async def test_filters_narrow_what_is_listed(client: AsyncClient) -> None:
    queue = fresh()
    noop, echo = client.task("basics/noop", queue=queue), client.task("basics/echo", queue=queue)
    waiting = {handle.id for handle in await noop.submit_all([None] * 3)}
    later = (await echo.apply_async("x", countdown=3600, concurrency_key=queue)).id
    cancelled = await noop.delay()
    await cancelled.cancel()

    assert await listed(client, queue=queue) == {*waiting, later, cancelled.id}
    assert await listed(client, queue=queue, states="queued") == waiting
    assert await listed(client, queue=queue, states=[State.SCHEDULED]) == {later}
    assert await listed(client, queue=queue, states=["scheduled", "cancelled"]) == {later, cancelled.id}
    assert await listed(client, queue=queue, task="basics/echo") == {later}
    assert await listed(client, queue=queue, task="basics") == {*waiting, later, cancelled.id}
    assert await listed(client, queue=queue, task="basics@9.9.9") == set()
    assert await listed(client, key=queue) == {later}
    assert await listed(client, queue=queue, key="another") == set()
    assert await listed(client, queue=queue, older_than="1h") == set()
    assert await listed(client, queue=queue, newer_than="1h", task="basics/echo") == {later}
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    assert await listed(client, queue=queue, since=now - hour, until=now + hour, states="queued") == waiting
    assert await listed(client, queue=queue, until=now - hour) == set()
    [status] = [status async for status in client.list(queue=queue, states="scheduled")]
    assert isinstance(status, Status)
    assert (status.task, status.queue, status.state) == ("basics/echo", queue, State.SCHEDULED)
    assert len([status async for status in client.list(queue=queue, limit=2)]) == 2


async def test_what_runs_is_listed(client: AsyncClient) -> None:
    handle = await client.submit("basics/sleep", {"seconds": 30})

    async def is_listed() -> None:
        while handle.id not in await listed(client, states="running"):
            await asyncio.sleep(0.02)

    await asyncio.wait_for(is_listed(), 30)
    await handle.cancel()


async def test_more_than_a_page_is_listed_and_stopped(client: AsyncClient) -> None:
    queue = fresh()
    ids = {
        handle.id for handle in await client.task("basics/noop", queue=queue, awaited=False).submit_all([None] * 1200)
    }
    assert await listed(client, queue=queue) == ids

    told: list[int] = []
    dry = await client.cancel_matching(dry_run=True, queue=queue, on_progress=lambda done: told.append(done.matched))
    assert dry == BulkCancel(matched=1200)
    assert told[-1] == 1200
    assert len(told) >= 3
    assert await listed(client, queue=queue, states="queued") == ids

    assert await client.cancel_matching(queue=queue) == BulkCancel(matched=1200, cancelled=1200)
    assert await listed(client, queue=queue, states="cancelled") == ids
    # What has ended is not met again.
    assert await client.cancel_matching(queue=queue) == BulkCancel()


async def test_what_runs_is_told_to_stop(client: AsyncClient) -> None:
    handle = await client.submit("basics/spin", timeout="5m", fuel=10**15)
    while (await handle.status()).state is not State.RUNNING:
        await asyncio.sleep(0.02)
    done = await client.cancel_matching(task="basics/spin", states="running", newer_than="5m")
    assert (done.matched, done.requested) == (1, 1)
    assert (await asyncio.wait_for(handle.outcome(), 30)).state is State.CANCELLED


async def test_wrong_filters_are_refused(client: AsyncClient) -> None:
    for wrong in ({"states": "lost"}, {"queue": "No Such"}, {"task": "a/b/c!"}, {"older_than": "soon"}):
        with pytest.raises(InvalidArgument):
            await listed(client, **wrong)
    with pytest.raises(InvalidArgument, match="with its zone"):
        await listed(client, since=datetime.datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(TypeError, match="is no filter"):
        await listed(client, colour="red")


def test_the_blocking_client_lists_too(blocking: Client) -> None:
    queue = fresh()
    handles = blocking.task("basics/noop", queue=queue).submit_all([None] * 2)
    assert {status.id for status in blocking.list(queue=queue)} == {handle.id for handle in handles}
    assert blocking.cancel_matching(queue=queue).cancelled == 2


def test_a_task_is_meant_in_every_version_unless_one_is_named() -> None:
    def means(asked: str, task: str) -> bool:
        return Wanted(task=asked).admits(Status("x", task, "default", State.QUEUED, 0))

    assert means("images", "images@1.2.0/resize")
    assert means("images/resize", "images@1.2.0/resize")
    assert not means("images/resize", "images/crop")
    assert not means("image", "images/resize")
    assert means("images@1.2.0", "images@1.2.0/resize")
    assert not means("images@1.2.0/resize", "images/resize")
    assert means(f"sha256:{'0' * 64}/a", f"sha256:{'0' * 64}/a")
