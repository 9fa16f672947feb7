"""A queue that takes no more: the same error on each way to the broker, and nothing was accepted."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable

import httpx
import pytest

from celeriac import AsyncClient, Client, Overloaded, QueueFull, TaskFailed
from celeriac._http import problem
from celeriac.testing.host import binary

#: Gives a queue of its own a limit, and says what it is called.
Narrow = Callable[[int], str]


@pytest.fixture
def narrow(url: str) -> Narrow:
    """Nobody serves the queue: what is in it stays."""

    def limit(most: int) -> str:
        queue = f"narrow-{uuid.uuid4().hex[:12]}"
        if url.startswith("http"):
            path = f"{url}/v1/limits/queue:{queue}"
            httpx.put(path, json={"max_queue": most}, trust_env=False).raise_for_status()
        else:
            command = [binary(), "limits", "set", f"queue:{queue}", "--max-queue", str(most), "--broker", url]
            subprocess.run(command, check=True, capture_output=True)
        return queue

    return limit


async def test_a_queue_that_is_full_is_queue_full_and_overloaded(client: AsyncClient, narrow: Narrow) -> None:
    queue = narrow(2)
    first = [await client.submit("basics/echo", n, queue=queue) for n in range(2)]
    for submit in (
        lambda: client.submit("basics/echo", 2, queue=queue),
        lambda: client.call("basics/echo", 2, queue=queue),
        lambda: client.task("basics/echo", queue=queue).submit_all([2, 3]),
        lambda: client.chain(2, client.task("basics/echo", queue=queue)),
    ):
        with pytest.raises(Overloaded) as caught:
            await submit()
        error = caught.value
        assert isinstance(error, QueueFull)
        # Nothing has run, so that nothing has failed.
        assert not isinstance(error, TaskFailed)
        assert (error.queue, error.depth, error.limit) == (queue, 2, 2)
        assert f"celeriac limits set queue:{queue} --max-queue" in str(error)
    assert {status.id async for status in client.list(queue=queue)} == {handle.id for handle in first}


def test_and_so_it_is_for_the_blocking_client(blocking: Client, narrow: Narrow) -> None:
    queue = narrow(1)
    blocking.submit("basics/echo", 1, queue=queue)
    with pytest.raises(QueueFull):
        blocking.submit("basics/echo", 2, queue=queue)


def test_members_of_a_problem_go_before_its_sentence() -> None:
    told = {"code": "overloaded", "detail": "there is no room", "queue": "images", "depth": 7, "limit": 5}
    error = problem.exception(told, "http://host")
    assert isinstance(error, QueueFull)
    assert (error.queue, error.depth, error.limit) == ("images", 7, 5)


def test_a_gateway_that_has_too_much_to_do_is_no_full_queue() -> None:
    error = problem.exception({"code": "overloaded", "detail": "too many connections are open"}, "http://host")
    assert type(error) is Overloaded
    assert str(error) == "the gateway at http://host is overloaded: too many connections are open"
