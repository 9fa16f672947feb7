"""What only the way over HTTP has: tokens, named fields, streams that break, the fixtures for users' suites."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import sample

from celeriac import AsyncClient, BrokerUnavailable, BrokerUnfit, Client, InvalidArgument, ModuleRefused
from celeriac._http import problem
from celeriac._http.transport import HttpTransport
from celeriac.testing import Host, RedisServer
from celeriac.testing.host import binary
from celeriac.testing.process import free_port


async def test_a_wrong_input_is_refused_with_the_name_of_the_field(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        with pytest.raises(InvalidArgument) as caught:
            await client.submit("basics/add", {"a": 1})
        # Its place in the request is the client's own matter, and one sentence is enough.
        assert caught.value.fields == [{"pointer": "/input/b", "message": '"b" is a required property'}]
        assert str(caught.value) == '`/input/b`: "b" is a required property'
        with pytest.raises(InvalidArgument, match=r"^2 fields are not valid: `/input/a`: .*; `/input/b`: ") as caught:
            await client.task("basics/add").submit_all([{"a": 1, "b": 2}, {"a": "x", "b": "y"}])
        assert "/invocations" not in str(caught.value)
        with pytest.raises(InvalidArgument, match=r"^`/cron`: say when: ") as caught:
            await client.schedules.put("never", "basics/noop")
        assert str(caught.value).count("say when") == 1


def test_what_is_wrong_with_the_whole_names_no_field() -> None:
    told = {"code": "invalid", "detail": "no id", "errors": [{"pointer": "/invocations/7", "message": "no id"}]}
    error = problem.exception(told, "http://host")
    assert isinstance(error, InvalidArgument)
    assert (str(error), error.fields) == ("no id", [{"pointer": "", "message": "no id"}])


async def test_a_module_that_is_none_is_refused_with_findings(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        with pytest.raises(ModuleRefused) as caught:
            await client.push(b"not a component", "broken")
        assert caught.value.findings


async def test_pending_awaits_survive_a_gateway_that_starts_again() -> None:
    """The store is Redis; the gateway that a client talks to dies, and another comes up at its address."""
    with RedisServer() as redis:
        address = f"127.0.0.1:{free_port()}"
        token = new_token(redis.url)
        with Host(redis.url) as worker:
            with Client(worker.url) as client:
                client.push(sample("basics"))
            first = Host(redis.url, "--http", address)
            async with AsyncClient(f"http://{address}", token=token, connect_timeout=30, sweep=2) as client:
                handles = [await client.submit("basics/sleep", {"seconds": seconds}) for seconds in (0.5, 2, 4)]
                waiting = [asyncio.ensure_future(handle.result(90)) for handle in handles]
                await asyncio.sleep(0.2)
                first.kill()
                await asyncio.sleep(1)
                with Host(redis.url, "--http", address):
                    results = await asyncio.gather(*waiting)
                    assert [result["steps"] for result in results] == [1, 1, 1]
                    assert await client.call("basics/add", {"a": 1, "b": 1}) == 2


@pytest.fixture
async def large(gateway: str) -> list[str]:
    """Ended invocations, whose outputs do not fit into one answer: that has 16 MiB."""
    async with AsyncClient(gateway) as client:
        handles = [await client.submit("basics/echo", "x" * (1_200 << 10)) for _ in range(20)]
        await client.wait_all(handles, timeout=60)
        return [handle.id for handle in handles]


async def test_outputs_that_fill_an_answer_have_the_others_asked_for_at_once(gateway: str, large: list[str]) -> None:
    async with AsyncClient(gateway, sweep=3600) as client:
        asked = requests_for_results(client)
        ended = [handle.id async for handle in client.as_completed(map(client.handle, large), timeout=60)]
        assert sorted(ended) == sorted(large)
        assert asked[0] == large
        assert_each_goes_on_behind_the_one_before(asked)


async def test_and_so_it_is_when_everything_is_read_again(gateway: str, large: list[str]) -> None:
    """As after a reconnect."""
    async with AsyncClient(gateway, sweep=3600) as client:
        mailbox = (await client.open()).mailbox
        await mailbox.open()
        slots = [mailbox.register(id) for id in large]
        for slot in slots:
            slot.is_accepted = slot.is_subscribed = True
        asked = requests_for_results(client)
        mailbox.recheck()
        await asyncio.wait_for(asyncio.gather(*(slot.wait() for slot in slots)), 60)
        assert sorted(asked[0]) == sorted(large)
        assert_each_goes_on_behind_the_one_before(asked)


def requests_for_results(client: AsyncClient) -> list[list[str]]:
    """The ids of each request for results from now on."""
    asked: list[list[str]] = []

    async def note(request: httpx.Request) -> None:
        if request.url.path.endswith("/results"):
            asked.append(json.loads(request.content)["ids"])

    transport = client.session().transport
    assert isinstance(transport, HttpTransport)
    transport._requests.http.event_hooks["request"].append(note)
    return asked


def assert_each_goes_on_behind_the_one_before(asked: list[list[str]]) -> None:
    first, second = asked
    assert 0 < len(second) < len(first)
    assert second == first[-len(second) :]


def new_token(broker: str) -> str:
    command = [binary(), "token", "new", "--name", "test", "--scopes", "submit,read", "--json", "--broker", broker]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return str(made["token"])


async def test_a_token_is_needed_and_enough() -> None:
    with RedisServer() as redis:
        address = f"127.0.0.1:{free_port()}"
        with Host(redis.url, "--http", address):
            url = f"http://{address}"
            nobody = AsyncClient(url)
            with pytest.raises(BrokerUnfit, match="CELERIAC_TOKEN"):
                await nobody.open()
            await nobody.close()
            async with AsyncClient(url, token=new_token(redis.url)) as client:
                with pytest.raises(BrokerUnfit, match="scope"):
                    await client.push(sample("basics"))


async def test_nobody_at_the_address_is_an_error_within_the_connect_timeout() -> None:
    client = AsyncClient(f"http://127.0.0.1:{free_port()}", connect_timeout=0.3)
    with pytest.raises(BrokerUnavailable):
        await client.open()
    await client.close()


def test_the_fixtures_serve_a_suite_of_a_user(tmp_path: Path) -> None:
    suite = tmp_path / "test_shop.py"
    suite.write_text(
        f"""
def test_adds(celeriac_client):
    celeriac_client.push({str(sample("basics"))!r})
    assert celeriac_client.call("basics/add", {{"a": 1, "b": 2}}) == 3

def test_shares_the_host(celeriac_client, celeriac_host):
    assert celeriac_host.url.startswith("http://127.0.0.1:")
    assert celeriac_client.call("basics/echo", "again") == "again"
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
