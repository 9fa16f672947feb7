"""The outbox: what is submitted while the broker is away is handed in when it is back, once, whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from conftest import sample
from test_gateway import new_token

from celeriac import (
    AsyncClient,
    BrokerUnavailable,
    BrokerUnfit,
    CeleriacError,
    Client,
    Handle,
    NoSuchTask,
    Outbox,
    OutboxFull,
    OutboxUnusable,
    Refused,
    wait_all,
)
from celeriac.options import now_ms
from celeriac.outbox import aged
from celeriac.testing import Host, RedisServer
from celeriac.testing.host import binary
from celeriac.testing.process import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis with a host that goes away and comes back."""
    with RedisServer() as server, Host(server.url):
        with Client(server.url) as client:
            client.push(sample("basics"))
        yield server


@pytest.fixture
def away(server: RedisServer) -> Iterator[RedisServer]:
    """The same; every test leaves it running."""
    yield server
    if not is_up(server):
        server.start()


def is_up(server: RedisServer) -> bool:
    try:
        redis_client.Redis.from_url(server.url).ping()
    except redis_client.exceptions.ConnectionError:
        return False
    return True


def queued(server: RedisServer, queue: str) -> list[bytes]:
    """The ids that wait in a queue which nobody serves."""
    return redis_client.Redis.from_url(server.url).lrange(f"cel:{{0}}:q:{queue}:1", 0, -1)  # type: ignore[return-value]


def open_files(path: Path) -> list[str]:
    """What this process has open of an outbox."""
    opened = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            opened.append(str(descriptor.readlink()))
    return [name for name in opened if name.startswith(str(path))]


async def test_a_client_that_is_closed_has_closed_its_file(server: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    client = AsyncClient(server.url, outbox=path)
    async with client:
        assert await client.call("basics/echo", 1) == 1
        assert client.outbox.pending() == []
        assert open_files(path)
    assert open_files(path) == []
    # It is opened again by whoever asks.
    assert client.outbox.pending() == []
    client.outbox.close()


async def test_what_is_submitted_meanwhile_is_handed_in_in_order(away: RedisServer, tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    async with AsyncClient(away.url, connect_timeout=0.3, outbox=path) as client:
        echo = client.task("basics/echo")
        assert await echo("before") == "before"
        away.kill()
        ended: list[int] = []
        handles = [await echo.apply_async(n, on_done=partial(note, ended, n)) for n in range(5)]
        handles += await echo.submit_all([5, 6], queue="nobody-serves-this")
        # The broker need not be asked any more: only the first had to find out.
        began = time.monotonic()
        handles.append(await echo.apply_async(7, queue="nobody-serves-this"))
        assert time.monotonic() - began < 0.25
        assert [(waiting.id, waiting.task) for waiting in client.outbox.pending()] == [
            (handle.id, "basics/echo") for handle in handles
        ]
        assert path.stat().st_mode & 0o777 == 0o600
        assert not await handles[0].ready()
        with pytest.raises(BrokerUnavailable, match="waits in the outbox"):
            await handles[0].status()
        waiting = [asyncio.ensure_future(handle.result(60)) for handle in handles[:5]]
        await asyncio.sleep(0)
        away.start()
        assert await asyncio.gather(*waiting) == [0, 1, 2, 3, 4]
        await wait_all(handles[:5])
        assert sorted(ended) == [0, 1, 2, 3, 4]
        assert client.outbox.pending() == []
        order = [id.decode() for id in queued(away, "nobody-serves-this")]
        assert handles[7].id in (order[0], order[-1])
        assert sorted(order) == sorted(handle.id for handle in handles[5:])
        assert order in (ids := [handle.id for handle in handles[5:]], ids[::-1])
        assert (await handles[6].cancel()) == "cancelled"
        # What comes after goes straight to the broker.
        assert await echo("after") == "after"


def note(ended: list[int], n: int, _: Handle[object]) -> None:
    ended.append(n)


SUBMITTER = """
import sys
from celeriac import Client

url, outbox, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = Client(url, connect_timeout=0.2, outbox=outbox)
client.open()
print("open", flush=True)
sys.stdin.readline()
for n in range(count):
    print(client.submit("basics/echo", n, queue=sys.argv[4]).id, flush=True)
print("submitted", flush=True)
sys.stdin.readline()
"""


def submitter(server: RedisServer, path: Path, count: int, queue: str) -> subprocess.Popen[str]:
    child = started(SUBMITTER, server.url, str(path), str(count), queue)
    assert said(child) == "open"
    return child


def started(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


async def test_what_a_killed_process_left_is_handed_in_by_the_next(away: RedisServer, tmp_path: Path) -> None:
    child = submitter(away, tmp_path / "outbox.db", 1_000_000, "default")
    away.kill()
    go_on(child)
    accepted = [said(child) for _ in range(25)]
    # In the middle of whatever it does.
    child.send_signal(signal.SIGKILL)
    rest = child.communicate()[0].split()
    accepted += [id for id in rest if len(id) == 36]
    away.start()
    async with AsyncClient(away.url, outbox=tmp_path / "outbox.db") as client:
        results = await asyncio.gather(*(client.handle(id).result(60) for id in accepted))
        assert results == list(range(len(accepted)))
        await until(lambda: not client.outbox.pending())


async def until(fact: object) -> None:
    deadline = time.monotonic() + 60
    while not fact():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_nothing_is_lost_while_the_broker_comes_and_goes(away: RedisServer, tmp_path: Path) -> None:
    async with AsyncClient(away.url, connect_timeout=0.3, sweep=2, outbox=tmp_path / "outbox.db") as client:
        echo = client.task("basics/echo")
        is_over = False

        async def submit(worker: int) -> list[tuple[str, str, Handle[Any]]]:
            made: list[tuple[str, str, Handle[Any]]] = []
            while not is_over:
                text = f"{worker}/{len(made)}"
                handle = await echo.delay(text)
                made.append((text, handle.id, handle))
                await asyncio.sleep(0.005)
            return made

        workers = [asyncio.ensure_future(submit(worker)) for worker in range(8)]
        for _ in range(3):
            await asyncio.sleep(0.5)
            away.kill()
            await asyncio.sleep(0.8)
            await asyncio.to_thread(away.start)
        await asyncio.sleep(0.5)
        is_over = True
        made = [one for worker in await asyncio.gather(*workers) for one in worker]
        assert len(made) > 50
        assert len({id for _, id, _ in made}) == len(made)
        assert await client.gather(*(handle for _, _, handle in made)) == [text for text, _, _ in made]
        await until(lambda: not client.outbox.pending())


async def test_two_processes_share_it_and_nothing_is_handed_in_twice(away: RedisServer, tmp_path: Path) -> None:
    children = [submitter(away, tmp_path / "outbox.db", 300, "shared") for _ in range(2)]
    away.kill()
    ids: list[list[str]] = []
    for child in children:
        go_on(child)
        ids.append([said(child) for _ in range(300)])
        assert said(child) == "submitted"
    outbox = Outbox(tmp_path / "outbox.db")
    assert len(outbox.pending()) == 600
    away.start()
    # One is killed while both are at it; what it had begun is finished by the other.
    await until(lambda: len(outbox.pending()) < 600)
    children[0].send_signal(signal.SIGKILL)
    await until(lambda: not outbox.pending())
    there = [id.decode() for id in queued(away, "shared")]
    assert len(there) == 600
    assert set(there) == {*ids[0], *ids[1]}
    for own in ids:
        places = [there.index(id) for id in own]
        assert places in (sorted(places), sorted(places, reverse=True))
    for child in children:
        child.kill()
        child.communicate()


FORKING = """
import os, sys
from celeriac import Client

client = Client(sys.argv[1], connect_timeout=0.2, outbox=sys.argv[2])
print(client.call("basics/echo", "before"), flush=True)
sys.stdin.readline()
for n in range(8):
    # The parent's own thread is at the file all the while.
    print(client.submit("basics/echo", f"parent {n}").id, flush=True)
    child = os.fork()
    if child == 0:
        print(client.submit("basics/echo", f"child {n}").id, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
sys.stdin.readline()
"""


async def test_a_child_after_a_fork_has_a_connection_of_its_own(away: RedisServer, tmp_path: Path) -> None:
    process = started(FORKING, away.url, str(tmp_path / "outbox.db"))
    assert said(process) == "before"
    away.kill()
    go_on(process)
    ids = [said(process) for _ in range(16)]
    process.kill()
    process.communicate()
    outbox = Outbox(tmp_path / "outbox.db")
    assert [waiting.id for waiting in outbox.pending()] == ids
    away.start()
    async with AsyncClient(away.url, outbox=outbox) as client:
        results = [await client.handle(id).result(60) for id in ids]
        assert results == [f"{who} {n}" for n in range(8) for who in ("parent", "child")]


async def test_a_refusal_is_told_to_everybody_and_kept(
    away: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Refused] = []
    outbox = Outbox(tmp_path / "outbox.db", on_refused=told.append)
    async with AsyncClient(away.url, connect_timeout=0.2, outbox=outbox) as client:
        away.kill()
        wrong = await client.submit("basics/nope", {"x": 1})
        right = await client.submit("basics/echo", "right")
        away.start()
        with pytest.raises(NoSuchTask, match="celeriac modules show basics"):
            await wrong.result(60)
        assert await right.result(60) == "right"
        await until(lambda: told)
        assert [(one.id, one.task, one.input.data) for one in told] == [(wrong.id, "basics/nope", b'{"x":1}')]
        [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert wrong.id in record.getMessage()
    # Also for a process that comes later, until somebody has dealt with it.
    async with AsyncClient(away.url, outbox=tmp_path / "outbox.db") as client:
        [refused] = client.outbox.refused()
        assert (refused.id, type(refused.error), refused.input) == (wrong.id, NoSuchTask, told[0].input)
        for ask in (client.handle(wrong.id).result, client.handle(wrong.id).status):
            with pytest.raises(NoSuchTask) as caught:
                await ask()
            assert caught.value.task == "basics/nope"
        assert client.outbox.discard(wrong.id)
        assert not client.outbox.discard(wrong.id)
        assert client.outbox.refused() == []


async def test_a_queue_that_is_full_is_no_refusal(
    away: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def limit(most: str) -> None:
        command = [binary(), "limits", "set", "queue:narrow", "--max-queue", most, "--broker", away.url]
        subprocess.run(command, check=True, capture_output=True)

    limit("2")
    async with AsyncClient(away.url, connect_timeout=0.3, outbox=tmp_path / "outbox.db") as client:
        away.kill()
        handles = await client.task("basics/echo").submit_all(range(4), queue="narrow")
        away.start()
        await until(lambda: len(client.outbox.pending()) == 2)
        await until(lambda: any("takes no more" in record.getMessage() or "overloaded" in record.getMessage()
                                for record in caplog.records))  # fmt: skip
        limit("10")
        await until(lambda: not client.outbox.pending())
        assert client.outbox.refused() == []
        assert {status.id async for status in client.list(queue="narrow")} == {handle.id for handle in handles}
        assert len([record for record in caplog.records if "cannot be handed in now" in record.getMessage()]) == 1


async def test_a_key_may_lead_to_another_at_hand_in(away: RedisServer, tmp_path: Path) -> None:
    async with AsyncClient(away.url, connect_timeout=0.2, outbox=tmp_path / "outbox.db") as client:
        task = client.task("basics/echo", idempotency_key=f"key/{tmp_path}")
        first = await task.delay("x")
        assert await first.result(60) == "x"
        away.kill()
        second = await task.delay("x")
        before = second.id
        assert before != first.id
        again = client.handle(before)
        away.start()
        assert await second.result(60) == "x"
        assert second.id == first.id
        assert (await second.status()).state == "succeeded"
        # Whoever has noted the id that it had at first gets there too.
        assert await again.result(60) == "x"
        assert await client.handle(before).result(60) == "x"


async def test_it_takes_so_much_and_says_when_it_is_full(away: RedisServer, tmp_path: Path) -> None:
    async with AsyncClient(away.url, connect_timeout=0.2, outbox=tmp_path / "learns.db"):
        pass
    bounds: dict[str, dict[str, Any]] = {
        "count": {"max_count": 2},
        "bytes": {"max_bytes": 30},
        "age": {"max_age": 0.05},
    }
    clients = {}
    for name, bound in bounds.items():
        clients[name] = AsyncClient(
            away.url,
            connect_timeout=0.2,
            outbox=Outbox(tmp_path / f"{name}.db", **bound),
        )
        await clients[name].open()
    away.kill()
    for name, client in clients.items():
        for _ in range(2 if name != "age" else 1):
            await client.submit("basics/echo", "x" * 10)
        await asyncio.sleep(0.06)
        with pytest.raises(OutboxFull, match=f"max_{name}") as caught:
            await client.submit("basics/echo", "x" * 10)
        assert isinstance(caught.value, BrokerUnavailable)
        # All of a batch or nothing.
        before = len(client.outbox.pending())
        with pytest.raises(OutboxFull):
            await client.task("basics/echo").submit_all(["x" * 10] * 2)
        assert len(client.outbox.pending()) == before
    away.start()
    for client in clients.values():
        await until(lambda client=client: not client.outbox.pending())
        await client.close()


async def test_without_ids_or_a_file_the_broker_is_just_away(away: RedisServer, tmp_path: Path) -> None:
    away.kill()
    # Nobody has ever reached this broker with this file: no id can be made.
    with pytest.raises(BrokerUnavailable):
        await AsyncClient(away.url, connect_timeout=0.2, outbox=tmp_path / "fresh.db").submit("basics/echo", 1)
    away.start()
    lost = AsyncClient(away.url, connect_timeout=0.2, outbox=tmp_path / "no" / "such" / "directory" / "outbox.db")
    with pytest.raises(OutboxUnusable, match="No such file"):
        await lost.open()
    await lost.close()
    with pytest.raises(CeleriacError, match="has no outbox"):
        _ = AsyncClient(away.url).outbox


async def test_a_program_starts_while_the_broker_is_away(away: RedisServer, tmp_path: Path) -> None:
    async with AsyncClient(away.url, outbox=tmp_path / "outbox.db"):
        pass
    away.kill()
    async with AsyncClient(away.url, connect_timeout=0.2, outbox=tmp_path / "outbox.db") as client:
        handles = await client.group((client.task("basics/echo"), 1), (client.task("basics/add"), {"a": 1, "b": 1}))
        last = await client.chain("x", client.task("basics/echo"), client.task("basics/echo"))
        away.start()
        assert await client.gather(*handles) == [1, 2]
        assert await last.result(60) == "x"


def test_the_blocking_client_has_one_too(away: RedisServer, tmp_path: Path) -> None:
    with Client(away.url, connect_timeout=0.2, outbox=tmp_path / "outbox.db") as client:
        away.kill()
        handle = client.submit("basics/echo", "hello")
        assert [waiting.id for waiting in client.outbox.pending()] == [handle.id]
        away.start()
        assert handle.result(60) == "hello"


async def test_another_store_at_the_address_does_not_get_what_was_meant_for_the_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    with RedisServer() as server:
        async with AsyncClient(server.url, connect_timeout=0.2, outbox=outbox) as client:
            server.kill()
            handle = await client.submit("celeriac/admit", {})
        server.start()
        redis_client.Redis.from_url(server.url).flushall()
        async with AsyncClient(server.url, outbox=outbox) as client:
            with pytest.raises(BrokerUnfit, match="not the one any more"):
                await client.handle(handle.id).result(60)


async def test_spans_count_from_when_the_caller_submitted(away: RedisServer, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db")
    async with AsyncClient(away.url, connect_timeout=0.2, outbox=outbox) as client:
        away.kill()
        await client.submit("basics/echo", 1, countdown=60, expires=90, deadline="1h", result_ttl=60)
        namespace = client.session().transport.namespace.key
        [(entry, _)] = outbox.head("", namespace, 0, 10)
        later = aged(entry, entry.at_ms + 75_000)
        assert (later["start"], later["expires"], later["deadline"]) == (
            {"in_ms": 0},
            {"in_ms": 15_000},
            {"in_ms": 3_525_000},
        )
        # A clock that was set back takes nothing off.
        assert aged(entry, entry.at_ms - 1000) == entry.submission.options
        assert abs(entry.at_ms - now_ms()) < 60_000


async def test_the_way_over_http_has_it_too(away: RedisServer, tmp_path: Path) -> None:
    address, token = f"127.0.0.1:{free_port()}", new_token(away.url)
    first = Host(away.url, "--http", address)
    async with AsyncClient(
        f"http://{address}", token=token, connect_timeout=0.3, outbox=tmp_path / "outbox.db"
    ) as client:
        assert await client.call("basics/echo", 1) == 1
        first.kill()
        handles = [await client.submit("basics/echo", n) for n in range(3)]
        wrong = await client.submit("basics/add", {"a": 1})
        assert len(client.outbox.pending()) == 4
        with Host(away.url, "--http", address):
            assert await client.gather(*handles) == [0, 1, 2]
            with pytest.raises(ValueError, match="required"):
                await wrong.result(60)
