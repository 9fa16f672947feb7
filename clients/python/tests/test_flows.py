"""Invocations that wait for others, and what follows an end."""

from __future__ import annotations

import asyncio

import pytest

from celeriac import (
    After,
    AsyncClient,
    Client,
    DependencyFailed,
    InvalidArgument,
    NoSuchParent,
    NoSuchTask,
    Skipped,
    State,
    TaskFailed,
    gather,
    outcome_of,
    output_of,
)


async def test_a_chain_hands_each_output_on(client: AsyncClient) -> None:
    echo, sleep = client.task("basics/echo"), client.task("basics/sleep")
    handle = await client.chain({"seconds": 0.1, "steps": 2}, sleep, echo)
    assert await handle.result(20) == {"steps": 2, "cancelled": False}


async def test_a_group_is_gathered_and_a_chord_gets_the_list(client: AsyncClient) -> None:
    add, echo = client.task("basics/add"), client.task("basics/echo", output=list[float])
    calls = [(add, {"a": n, "b": n}) for n in range(5)]
    assert await gather(*await client.group(*calls)) == [0, 2, 4, 6, 8]
    assert await (await client.chord(calls, echo)).result(20) == [0, 2, 4, 6, 8]


async def test_what_a_task_waits_for_besides_changes_no_input(client: AsyncClient) -> None:
    echo = client.task("basics/echo")
    nap = await client.submit("basics/sleep", {"seconds": 0.2, "steps": 2})
    gated = echo.options(after=[nap])
    assert await (await client.chain("in", echo, gated)).result(20) == "in"
    assert await (await client.chord([(echo, 1), (echo, 2)], gated)).result(20) == [1, 2]
    flow = client.flow()
    first = flow.add(echo, "first")
    both = flow.add(gated, [output_of(0), output_of(1)], after=[first])
    await flow.submit()
    told = await both.handle.result(20)
    assert (told[0], told[1]["steps"]) == ("first", 2)


async def test_nothing_is_an_empty_list(client: AsyncClient) -> None:
    echo = client.task("basics/echo")
    nap = await client.submit("basics/sleep", {"seconds": 0.2, "steps": 2})
    assert await (await client.chord([], echo)).result(20) == []
    assert await (await client.chord([], echo.options(after=nap))).result(20) == []
    assert await asyncio.wait_for(client.group(), 20) == []
    assert await asyncio.wait_for(gather(), 20) == []
    assert await asyncio.wait_for(echo.map([]), 20) == []
    assert await asyncio.wait_for(client.flow().submit(), 20) == []


async def test_any_graph(client: AsyncClient) -> None:
    add, echo = client.task("basics/add"), client.task("basics/echo")
    flow = client.flow()
    left, right = flow.map(add, [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    total = flow.add(add, {"a": output_of(0), "b": output_of(1)}, after=[left, right])
    told = flow.add(echo, {"why": outcome_of(0)}, after=[After(total, "done")])
    handles = await flow.submit()
    assert len(handles) == 4
    assert await total.handle.result(20) == 10
    answer = await told.handle.result(20)
    assert (answer["why"]["code"], answer["why"]["output"], answer["why"]["id"]) == ("ok", 10, total.id)


async def test_a_failure_goes_down_the_graph(client: AsyncClient) -> None:
    fail, echo = client.task("basics/fail"), client.task("basics/echo")
    flow = client.flow()
    bad = flow.add(fail, {"message": "no"})
    fails = flow.then(bad, echo)
    skipped = flow.then(bad, echo.options(on_unmet="skip"))
    cleans_up = flow.add(echo, outcome_of(0), after=[After(bad, "failure")])
    await flow.submit()
    with pytest.raises(DependencyFailed):
        await fails.handle.result(20)
    with pytest.raises(Skipped):
        await skipped.handle.result(20)
    assert (await skipped.handle.outcome()).state is State.CANCELLED
    assert (await cleans_up.handle.result(20))["failure"]["message"] == "no"
    with pytest.raises(TaskFailed, match="no"):
        await bad.handle


async def test_waiting_for_what_exists(client: AsyncClient) -> None:
    nap = await client.submit("basics/sleep", {"seconds": 0.3, "steps": 3})
    waits = await client.submit("basics/echo", output_of(0), after=[nap])
    assert (await waits.status()).state is State.BLOCKED
    assert (await waits.result(20))["steps"] == 3
    by_id = await client.submit("basics/echo", output_of(0), after=[nap.id])
    assert (await by_id.result(20))["steps"] == 3
    unknown = client.session().transport.issue()
    with pytest.raises(NoSuchParent, match=unknown):
        await client.submit("basics/noop", after=[unknown])
    with pytest.raises(InvalidArgument):
        await client.submit("basics/noop", after=["nonsense"])


async def test_a_task_follows_an_end_at_the_broker(client: AsyncClient) -> None:
    handle = await client.submit(
        "basics/add",
        {"a": 1, "b": 2},
        on_success=["basics/echo"],
        on_failure="basics/noop",
        on_complete=("basics/echo",),
    )
    assert await handle == 3
    transport = client.session().transport
    follower = client.handle(transport.namespace.derive(handle.id, 0))
    told = await follower.result(20)
    assert (told["id"], told["output"], told["failure"]) == (handle.id, 3, None)
    other = client.handle(transport.namespace.derive(handle.id, 1))
    with pytest.raises(Skipped):
        await other.result(20)
    third = client.handle(transport.namespace.derive(handle.id, 2))
    assert (await third.result(20))["id"] == handle.id
    with pytest.raises(NoSuchTask):
        await client.submit("basics/noop", on_complete="basics/nope")
    for url in ("ftp://example.com/", "http://", "https:///hook", "http://:80/", "http://user@/"):
        with pytest.raises(InvalidArgument):
            await client.submit("basics/noop", on_complete=url)


def test_the_blocking_client_has_them_too(blocking: Client) -> None:
    add, echo = blocking.task("basics/add"), blocking.task("basics/echo")
    assert blocking.chain({"a": 1, "b": 2}, add, echo).result(20) == 3
    calls = [(echo, n) for n in range(3)]
    assert blocking.gather(*blocking.group(*calls)) == [0, 1, 2]
    assert blocking.chord(calls, echo).result(20) == [0, 1, 2]


async def test_a_restarted_await_of_a_chain_is_one_connection(client: AsyncClient) -> None:
    noop = client.task("basics/noop")
    chains = await asyncio.gather(*(client.chain(None, noop, noop, noop) for _ in range(20)))
    assert await gather(*chains) == [None] * 20
