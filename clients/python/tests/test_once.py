"""Keys that keep an invocation from being submitted twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import uuid

import pytest

from celeriac import (
    AsyncClient,
    Cancelled,
    Client,
    Conflict,
    IdempotencyConflict,
    InvalidArgument,
    NotUnique,
    Unique,
)
from celeriac.testing.host import binary


def fresh() -> str:
    """A key that no other test has. The id in it must not be taken for an invocation's."""
    return f"order/{uuid.uuid4()}"


async def test_the_same_key_and_input_is_the_same_invocation(client: AsyncClient) -> None:
    key = fresh()
    add = client.task("basics/add", idempotency_key=key)
    first = await add.delay(a=1, b=2)
    second = await add.delay(a=1, b=2)
    assert second.id == first.id
    assert await second.result(60) == 3
    # Also when it has ended, and to a client that has nothing to do with the first.
    third = await client.task("basics/add", idempotency_key=key).delay(a=1, b=2)
    assert (third.id, await third.result(10)) == (first.id, 3)


async def test_another_input_under_the_key_is_refused_and_told_which_has_it(client: AsyncClient) -> None:
    key = fresh()
    first = await client.submit("basics/add", {"a": 1, "b": 2}, idempotency_key=key)
    with pytest.raises(IdempotencyConflict, match="another task or input") as caught:
        await client.submit("basics/add", {"a": 1, "b": 3}, idempotency_key=key)
    assert (caught.value.key, caught.value.existing) == (key, first.id)
    assert await client.handle(caught.value.existing).result(60) == 3
    with pytest.raises(Conflict):
        await client.submit("basics/echo", {"a": 1, "b": 2}, idempotency_key=key)


async def test_many_at_once_are_one(client: AsyncClient) -> None:
    task = client.task("basics/sleep", idempotency_key=fresh())
    handles = await asyncio.gather(*(task.delay(seconds=0.2) for _ in range(50)))
    assert len({handle.id for handle in handles}) == 1
    assert [await handle.result(60) for handle in handles] == [{"steps": 1, "cancelled": False}] * 50


async def test_a_batch_and_callbacks_lead_to_the_one_that_is_there(client: AsyncClient) -> None:
    key = fresh()
    task = client.task("basics/echo", idempotency_key=key, on_success="basics/echo")
    first = await task.delay("x")
    handles = await task.submit_all(["x", "x"])
    assert {handle.id for handle in handles} == {first.id}
    with pytest.raises(IdempotencyConflict):
        await task.submit_all(["x", "y"])


async def test_a_unique_key_is_held_until_the_end(client: AsyncClient) -> None:
    sleep = client.task("basics/sleep", unique=fresh())
    first = await sleep.delay(seconds=0.5)
    with pytest.raises(NotUnique, match="on_conflict") as caught:
        await sleep.delay(seconds=0)
    assert caught.value.existing == first.id
    await first.result(60)
    assert (await sleep.delay(seconds=0)).id != first.id


async def test_a_unique_key_may_lead_to_the_one_that_is_there(client: AsyncClient) -> None:
    unique = Unique(fresh(), window="1h", on_conflict="return-existing")
    echo = client.task("basics/echo", unique=unique)
    first = await echo.delay(1)
    assert await first.result(60) == 1
    # For an hour it is this one, whatever the input.
    second = await echo.delay(2)
    assert (second.id, await second.result(10)) == (first.id, 1)


async def test_one_that_waits_is_replaced(client: AsyncClient) -> None:
    unique = Unique(fresh(), until="started", on_conflict="replace")
    task = client.task("basics/echo", unique=unique)
    first = await task.apply_async("old", countdown=3600)
    second = await task.apply_async("new", countdown=0.2)
    assert await second.result(60) == "new"
    with pytest.raises(Cancelled, match="took its place"):
        await first.result(10)


async def test_wrong_keys_are_refused_by_name(client: AsyncClient) -> None:
    for wrong in ("", "x" * 257, "a\nb"):
        with pytest.raises(InvalidArgument, match="idempotency key"):
            await client.submit("basics/noop", idempotency_key=wrong)
        with pytest.raises(InvalidArgument, match="unique key"):
            await client.submit("basics/noop", unique=wrong)
    with pytest.raises(InvalidArgument, match="window"):
        await client.submit("basics/noop", unique=Unique("x", window=0))
    with pytest.raises(InvalidArgument, match="on_conflict"):
        await client.submit("basics/noop", unique=Unique("x", on_conflict="win"))  # type: ignore[arg-type]


def test_the_blocking_client_follows_keys_too(blocking: Client) -> None:
    task = blocking.task("basics/echo", idempotency_key=fresh())
    first, second = task.delay("x"), task.delay("x")
    assert first.id == second.id
    assert second.result(60) == "x"
    with pytest.raises(IdempotencyConflict):
        task.delay("y")


async def test_clients_of_both_languages_agree_on_what_is_the_same(stage: str) -> None:
    """What tells inputs apart is worked out by each client, so the two must come to the same."""
    key = fresh()
    async with AsyncClient(stage) as client:
        first = await client.submit("basics/add", {"a": 1, "b": 2}, idempotency_key=key)

        def from_the_command_line(text: str) -> subprocess.CompletedProcess[str]:
            command = [binary(), "call", "basics/add", "--input", text, "--idempotency-key", key, "--detach"]
            return subprocess.run([*command, "--broker", stage], capture_output=True, text=True, check=False)

        same = from_the_command_line(json.dumps({"a": 1, "b": 2}, separators=(",", ":")))
        assert same.stdout.strip() == first.id, same.stderr
        assert "belongs to invocation" in from_the_command_line('{"a":1,"b":4}').stderr
