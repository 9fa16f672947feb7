"""What people ask of a worker who come from other systems: that it does not grow, and what it logs."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from conftest import sample

from celeriac import AsyncClient, BrokerUnavailable, Client, ResultExpired, TaskFailed
from celeriac.testing import Host
from celeriac.testing.process import free_port


def resident_mib(host: Host) -> float:
    status = Path(f"/proc/{host.process.child.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def test_a_host_is_no_larger_after_hundreds_of_tasks_that_fill_memory() -> None:
    """Nothing is recycled here. If each task left but a tenth of what it fills, 480 MiB would be left."""
    with Host(None, "--concurrency", "4") as host, Client(host.url) as client:
        client.push(sample("basics"))
        fill = client.task("basics/alloc")
        fill.map([{"mib": 16}] * 40)
        warm = resident_mib(host)
        assert fill.map([{"mib": 16}] * 300) == [16 << 20] * 300
        assert resident_mib(host) < warm + 64


@pytest.mark.parametrize(("level", "is_told"), [("error", False), ("info", True)])
def test_a_host_logs_what_its_level_says_and_no_failure_of_a_task(level: str, is_told: bool) -> None:
    arguments = ("--set", f"log.level={level}", "--set", "log.format=json")
    with Host(None, *arguments) as host:
        with Client(host.url) as client:
            client.push(sample("basics"))
            with pytest.raises(TaskFailed, match="not today") as failed:
                client.call("basics/panic", {"message": "not today"})
            # Whoever asked has all of it.
            assert failed.value.trace
        host.process.stop()
        # What is no JSON is said to the person who started it, at any level.
        lines = [json.loads(line) for line in host.process.log.splitlines() if line.startswith("{")]
    assert bool(lines) is is_told
    assert not [line for line in lines if line["level"] in ("WARN", "ERROR") and "not today" in json.dumps(line)]


async def test_a_result_that_nobody_wants_is_not_kept(client: AsyncClient) -> None:
    handle = await client.submit("basics/echo", "large", awaited=False, result_ttl="50ms")
    deadline = time.monotonic() + 30
    with pytest.raises(ResultExpired):
        while time.monotonic() < deadline:
            await client.handle(handle.id).status()
            await asyncio.sleep(0.02)


async def test_open_returns_when_the_client_is_ready(url: str) -> None:
    async with AsyncClient(url) as client:
        await client.open()
        assert await client.call("basics/echo", 1) == 1
    nobody = AsyncClient(f"{url.partition(':')[0]}://127.0.0.1:{free_port()}/", connect_timeout=0.3)
    with pytest.raises(BrokerUnavailable):
        await nobody.open()
    await nobody.close()
