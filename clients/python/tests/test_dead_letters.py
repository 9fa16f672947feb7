"""Dead letters, over a gateway."""

from __future__ import annotations

import datetime
import uuid

import pytest

from celeriac import AsyncClient, BulkRetry, Client, GatewayNeeded, InvalidArgument, NoDeadLetter, State, TaskFailed


async def failed(client: AsyncClient, message: str, queue: str = "default") -> str:
    handle = await client.submit("basics/fail", {"message": message, "retryable": False}, queue=queue)
    with pytest.raises(TaskFailed):
        await handle.result(30)
    return handle.id


async def test_a_letter_is_listed_shown_retried_and_dropped(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        letters, message = client.dead_letters, uuid.uuid4().hex
        first, second = await failed(client, message), await failed(client, message)
        found = [letter async for letter in letters.list(task="basics/fail", codes=["task_error"])]
        own = [letter.id for letter in found if letter.id in (first, second)]
        assert own == [second, first]
        assert found[0].died_at_ms >= found[-1].died_at_ms
        letter = await letters.get(first)
        assert (letter.input, letter.status.state) == ({"message": message, "retryable": False}, State.FAILED)
        assert letter.status.outcome is not None
        assert letter.status.outcome["failure"]["message"] == message

        again = await letters.retry(first)
        with pytest.raises(TaskFailed, match=message):
            await again.result(30)
        other = await letters.retry(second, {"message": "another", "retryable": False})
        with pytest.raises(TaskFailed, match="another"):
            await other.result(30)
        for gone in (first, second):
            with pytest.raises(NoDeadLetter, match=gone):
                await letters.get(gone)
        with pytest.raises(InvalidArgument):
            await letters.retry(other.id, {"colour": "red"})
        await letters.drop(other.id)
        with pytest.raises(NoDeadLetter):
            await letters.drop(other.id)


async def test_all_that_a_filter_asks_for_are_retried(gateway: str) -> None:
    async with AsyncClient(gateway) as client:
        began = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=1)
        ids = {await failed(client, "many") for _ in range(3)}
        ended = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
        assert ids <= {letter.id async for letter in client.dead_letters.list(since=began, until=ended)}
        assert not [letter async for letter in client.dead_letters.list(task="basics/fail", until=began, codes="trap")]
        done = await client.dead_letters.retry_matching(task="basics/fail", since=began)
        assert done.matched == done.done >= 3
        assert not ids & {letter.id async for letter in client.dead_letters.list(task="basics/fail")}
        with pytest.raises(InvalidArgument):
            await client.dead_letters.retry_matching()
        with pytest.raises(TypeError, match="is no filter"):
            await client.dead_letters.retry_matching(colour="red")  # type: ignore[call-arg]


async def test_over_redis_it_says_where_to_go(stage: str) -> None:
    async with AsyncClient(stage) as client:
        with pytest.raises(GatewayNeeded, match="`celeriac dead`"):
            await client.dead_letters.get(client.session().issue())


def test_the_blocking_client_has_them_too(gateway: str) -> None:
    with Client(gateway) as client:
        handle = client.submit("basics/fail", {"message": "blocking", "retryable": False})
        assert not handle.wait(30).is_success
        assert client.dead_letters.get(handle.id).id == handle.id
        assert handle.id in [letter.id for letter in client.dead_letters.list(task="basics")]
        again = client.dead_letters.retry(handle.id)
        assert not again.wait(30).is_success
        client.dead_letters.drop(again.id)
        since = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        assert client.dead_letters.retry_matching(since=since) == BulkRetry()
