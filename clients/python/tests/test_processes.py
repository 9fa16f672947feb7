"""Forks, event loops, threads: wherever a client is used, it connects there."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_client

from celeriac import AsyncClient, Cancelled, Client, ResultTimeout, State, TaskFailed


def in_child(check: object) -> int:
    """Forks, runs the check in the child, and returns the child's exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()  # type: ignore[operator]
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# A fork while threads run is what pre-forking servers do; what matters is that it works.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_blocking_client_works_after_fork(blocking: Client) -> None:
    echo = blocking.task("basics/echo")
    before = echo.delay("of the parent")

    def child() -> None:
        assert echo(1) == 1
        # A handle of the parent's is as good as its id.
        assert before.result(10) == "of the parent"

    assert in_child(child) == 0
    assert in_child(child) == 0
    assert echo(2) == 2
    assert before.result(10) == "of the parent"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_in_the_middle_of_an_await_disturbs_nobody(stage: str) -> None:
    client = AsyncClient(stage)

    async def use(value: object) -> None:
        assert await client.call("basics/echo", value) == value

    async def parent() -> None:
        handle = await client.submit("basics/sleep", {"seconds": 1})
        waiting = asyncio.ensure_future(handle.result(30))
        await asyncio.sleep(0.1)
        statuses = await asyncio.to_thread(lambda: [in_child(lambda: asyncio.run(use("child"))) for _ in range(3)])
        assert statuses == [0, 0, 0]
        assert (await waiting)["steps"] == 1
        await use("parent")
        await client.close()

    asyncio.run(parent())


def test_one_client_serves_one_event_loop_after_the_other(stage: str) -> None:
    client = AsyncClient(stage)

    async def submit() -> object:
        handle = await client.submit("basics/sleep", {"seconds": 0.2})
        await client.close()
        return handle

    async def wait(handle: object) -> object:
        result = await handle.result(10)  # type: ignore[attr-defined]
        await client.close()
        return result

    client_handle = asyncio.run(submit())
    # Closed in that loop, it lives on in this one: the id is what counts.
    again = client.handle(client_handle.id)  # type: ignore[attr-defined]
    assert asyncio.run(wait(again)) == {"steps": 1, "cancelled": False}


def test_threads_share_a_blocking_client(blocking: Client) -> None:
    echo = blocking.task("basics/echo")
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(echo, range(200))) == list(range(200))


def test_all_awaits_of_a_process_come_over_one_connection(stage: str) -> None:
    connection = redis_client.Redis.from_url(stage)
    before = len(connection.client_list())
    with Client(stage) as client:
        handles = client.task("basics/sleep").submit_all([{"seconds": 0.3}] * 50)
        # One for commands and one for the replies.
        assert len(connection.client_list()) == before + 2
        assert len(client.gather(*handles)) == 50


def test_the_blocking_client_has_what_the_other_has(blocking: Client) -> None:
    add = blocking.task("basics/add", output=float)
    assert add(a=1, b=2) == 3.0
    handle = add.apply_async({"a": 2, "b": 2}, countdown=0.05)
    assert handle.get(10) == 4
    assert handle.ready()
    assert handle.done()
    assert handle.wait(5).code == "ok"
    assert handle.status().state is State.SUCCEEDED
    with pytest.raises(TaskFailed, match="no"):
        blocking.call("basics/fail", {"message": "no"})
    napping = blocking.submit("basics/sleep", {"seconds": 0.3, "steps": 3})
    assert [progress.done for progress in napping.progress()] == [0, 1, 2, 3]
    waiting = blocking.submit("basics/noop", queue="nobody-serves-this")
    with pytest.raises(ResultTimeout):
        waiting.result(0.05)
    with pytest.raises(ResultTimeout):
        waiting.wait(0.05)
    waiting.cancel()
    with pytest.raises(Cancelled):
        waiting.result(5)
    assert blocking.task("basics/echo").map(range(10)) == list(range(10))
    handles = add.submit_all([{"a": n, "b": n} for n in range(5)])
    assert sorted(handle.result() for handle in blocking.as_completed(handles)) == [0, 2, 4, 6, 8]
    blocking.wait_all(handles)
    assert {task["name"] for task in blocking.manifest("basics")["tasks"]} >= {"add", "echo"}


def test_a_callback_may_use_the_blocking_client(blocking: Client) -> None:
    called, results = threading.Event(), []

    def ended(handle: object) -> None:
        results.append(handle.result())  # type: ignore[attr-defined]
        results.append(blocking.call("basics/echo", "from the callback"))
        called.set()

    blocking.submit("basics/echo", "first", on_done=ended)
    assert called.wait(10)
    assert results == ["first", "from the callback"]


def test_a_blocking_call_on_the_clients_own_thread_is_refused(blocking: Client) -> None:
    refused: list[BaseException] = []
    tried = threading.Event()

    def call() -> None:
        try:
            blocking.call("basics/noop")
        except RuntimeError as error:
            refused.append(error)
        tried.set()

    blocking.portal.call(call)
    assert tried.wait(10)
    assert "own thread" in str(refused[0])
