"""Schedules, over a gateway."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from celeriac import AsyncClient, Client, GatewayNeeded, InvalidArgument, NoSuchSchedule, Payload, Schedule


def fresh() -> str:
    return f"s-{uuid.uuid4().hex[:12]}"


async def test_a_schedule_is_put_read_changed_and_removed(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        name, schedules = fresh(), client.schedules
        when: dict[str, Any] = {"cron": "30 2 * * MON-FRI", "zone": "Europe/Berlin", "catch_up": "all 3"}
        assert await schedules.put(name, "basics/add", {"a": 1, "b": 2}, **when, retry=4, queue="reports") == "added"
        assert (
            await schedules.put(name, "basics/add", {"a": 1, "b": 2}, **when, retry=4, queue="reports") == "unchanged"
        )
        there = await schedules.get(name)
        assert (there.name, there.task, there.input) == (name, "basics/add", {"a": 1, "b": 2})
        assert (there.cron, there.zone, there.every) == ("30 2 * * MON-FRI", "Europe/Berlin", None)
        assert (there.catch_up, there.overlap, there.is_paused) == ("all 3", "skip", False)
        assert (there.options["retries"], there.options["queue"]) == (4, "reports")
        assert list(there.next_ms) == sorted(there.next_ms)
        assert there.next_ms
        assert await schedules.put(name, "basics/echo", b"raw", every="15m", overlap="queue-one") == "changed"
        there = await schedules.get(name)
        assert (there.input, there.every, there.cron) == (Payload(b"raw"), "15m", None)
        assert name in [schedule.name async for schedule in schedules.list()]
        await schedules.remove(name)
        for ask in (schedules.get, schedules.remove, schedules.pause, schedules.run_now):
            with pytest.raises(NoSuchSchedule, match=name):
                await ask(name)


async def test_it_fires_is_paused_and_runs_when_asked(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        name, schedules = fresh(), client.schedules
        await schedules.put(name, "basics/echo", "beat", every=0.2)
        while not (runs := (await schedules.get(name)).runs):
            await asyncio.sleep(0.05)
        assert runs[-1].result == "fired"
        assert await client.get_result(runs[-1].id or "", timeout=30) == "beat"
        paused = await schedules.pause(name)
        assert (paused.is_paused, paused.next_ms) == (True, ())
        handle = await schedules.run_now(name)
        assert await handle.result(30) == "beat"
        assert (await schedules.get(name)).runs[0].result == "manual"
        assert not (await schedules.resume(name)).is_paused
        await schedules.remove(name)


async def test_pages_are_followed(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        prefix = fresh()
        names = [f"{prefix}-{n:03}" for n in range(120)]
        await asyncio.gather(*(client.schedules.put(name, "basics/noop", every="1d") for name in names))
        assert [one.name async for one in client.schedules.list() if one.name.startswith(prefix)] == names
        await asyncio.gather(*map(client.schedules.remove, names))


async def test_what_is_wrong_is_said(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        for wrong in ({}, {"cron": "30 2 * * *", "every": 5}, {"cron": "never"}, {"every": 5, "overlap": "maybe"}):
            with pytest.raises(InvalidArgument):
                await client.schedules.put(fresh(), "basics/noop", **wrong)
        with pytest.raises(InvalidArgument, match="schedule name"):
            await client.schedules.get("No Such")


async def test_over_redis_it_says_where_to_go(stage: str) -> None:
    async with AsyncClient(stage) as client:
        with pytest.raises(GatewayNeeded, match="celeriac schedules"):
            await client.schedules.get("nightly")


def test_the_blocking_client_has_them_too(gateway: str) -> None:
    with Client(gateway) as client:
        name = fresh()
        assert client.schedules.put(name, "basics/echo", 1, cron="@daily") == "added"
        assert isinstance(client.schedules.get(name), Schedule)
        assert client.schedules.run_now(name).result(30) == 1
        assert client.schedules.pause(name).is_paused
        assert not client.schedules.resume(name).is_paused
        assert name in [schedule.name for schedule in client.schedules.list()]
        client.schedules.remove(name)
