"""Handles: await, look, follow, cancel, call back, and many at once."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time

import pytest

import celeriac
from celeriac import (
    AsyncClient,
    Cancelled,
    CancelResult,
    CeleriacError,
    Handle,
    InvalidArgument,
    LogRecord,
    NotFound,
    Payload,
    Progress,
    ResultExpired,
    ResultTimeout,
    State,
    TaskFailed,
)

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


async def test_a_result_may_be_awaited_any_number_of_times(client: AsyncClient) -> None:
    handle = await client.submit("basics/echo", "once")
    assert list(await asyncio.gather(handle, handle, handle.result(5))) == ["once"] * 3
    assert handle.done()
    assert await handle == "once"


async def test_a_timeout_leaves_the_invocation_running(client: AsyncClient) -> None:
    handle = await client.submit("basics/sleep", {"seconds": 0.5})
    with pytest.raises(ResultTimeout, match="it goes on"):
        await handle.result(timeout=0.05)
    assert not await handle.ready()
    assert (await handle)["steps"] == 1
    assert await handle.ready()


async def test_another_process_gets_the_result_by_its_id(client: AsyncClient, url: str) -> None:
    handle = await client.submit("basics/sleep", {"seconds": 0.3, "steps": 3})
    program = (
        "import sys; from celeriac import Client\n"
        "with Client(sys.argv[1]) as client: print(client.get_result(sys.argv[2], timeout=30)['steps'])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, url, handle.id, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output == b"3\n"
    assert (await client.get_result(handle.id))["steps"] == 3


async def test_unknown_and_expired_are_told_apart(client: AsyncClient) -> None:
    for ask in (client.handle(UNKNOWN).status(), client.get_result(UNKNOWN), client.handle(UNKNOWN).cancel()):
        with pytest.raises(NotFound, match="check the id"):
            await ask
    with pytest.raises(InvalidArgument):
        client.handle("nonsense")
    handle = await client.submit("basics/noop", result_ttl=0.001)
    await handle
    await asyncio.sleep(0.02)
    with pytest.raises(ResultExpired, match="result_ttl"):
        await client.handle(handle.id).status()
    # What this process has been told stays with its handle.
    id = handle.id
    assert await client.get_result(id) is None
    del handle
    with pytest.raises(ResultExpired):
        await client.get_result(id)


async def test_the_status_tells_what_happened(client: AsyncClient) -> None:
    handle = await client.submit("basics/add", {"a": 1, "b": 2})
    await handle
    status = await handle.status()
    assert (status.state, status.task, status.attempts) == (State.SUCCEEDED, "basics/add", 1)
    assert status.state.is_terminal
    outcome = await handle.outcome()
    assert outcome.code == "ok"
    assert outcome.usage["attempt"] == 1
    assert outcome.usage["fuel"] > 0


async def test_progress_ends_with_the_invocation(client: AsyncClient) -> None:
    handle = await client.submit("basics/sleep", {"seconds": 0.2, "steps": 4})
    seen = [progress async for progress in handle.progress()]
    # Of several that a host sends at once, only the last counts.
    steps = [progress.done for progress in seen]
    assert steps == sorted(set(steps))
    assert set(steps) <= {0, 1, 2, 3, 4}
    assert len(steps) > 1
    assert seen[-1].fraction == 1
    assert handle.done()
    # Who comes late sees the same.
    assert [progress async for progress in client.handle(handle.id).progress()] == seen


async def test_events_carry_logs_and_partial_results(client: AsyncClient) -> None:
    emit = await client.submit("basics/emit", {"count": 3})
    chunks = [event.what async for event in emit.events()]
    assert chunks == [Payload(b'{"index":%d}' % index, "application/json") for index in range(3)]
    printed = await client.submit("basics/print", {"lines": 1})
    lines = [
        (event.what.message, event.what.stream) async for event in printed.events() if isinstance(event.what, LogRecord)
    ]
    assert sorted(lines) == [("err 0", "stderr"), ("out 0", "stdout")]
    cursors = [event.cursor async for event in emit.events()]
    assert [event.cursor async for event in emit.events(after=cursors[0])] == cursors[1:]


async def test_progress_may_be_left_early(client: AsyncClient) -> None:
    handle = await client.submit("basics/sleep", {"seconds": 0.4, "steps": 4})
    async for progress in handle.progress():
        assert isinstance(progress, Progress)
        break
    assert (await handle)["steps"] == 4


async def test_cancel_stops_a_running_loop(client: AsyncClient) -> None:
    handle = await client.submit("basics/spin", fuel=10**15, timeout=60)
    while (await handle.status()).state != State.RUNNING:
        await asyncio.sleep(0.01)
    assert await handle.cancel() is CancelResult.REQUESTED
    with pytest.raises(Cancelled):
        await handle.result(timeout=10)
    assert await handle.cancel() is CancelResult.ALREADY_ENDED


async def test_what_waits_is_cancelled_at_once(client: AsyncClient) -> None:
    handle = await client.submit("basics/noop", queue="nobody-serves-this")
    assert await handle.cancel() is CancelResult.CANCELLED
    with pytest.raises(Cancelled, match="somebody cancelled"):
        await handle.result(timeout=5)


async def test_callbacks_are_called_with_the_handle(client: AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    called: asyncio.Queue[str] = asyncio.Queue()

    async def later(handle: Handle[str]) -> None:
        called.put_nowait("coroutine " + await handle)

    def broken(_: Handle[str]) -> None:
        raise RuntimeError("a mistake in a callback")

    handle = await client.submit("basics/echo", "a", on_done=broken)
    handle.on_done(later)
    handle.on_done(lambda handle: called.put_nowait(handle.id))
    assert {await asyncio.wait_for(called.get(), 5) for _ in range(2)} == {handle.id, "coroutine a"}
    assert "a mistake in a callback" in caplog.text
    assert handle.id in caplog.text
    # After the end too, and without anybody who keeps the handle.
    client.handle(handle.id).on_done(lambda handle: called.put_nowait("late"))
    assert await asyncio.wait_for(called.get(), 5) == "late"
    task = client.task("basics/echo", on_done=lambda handle: called.put_nowait("of the task"))
    await task.delay("b")
    assert await asyncio.wait_for(called.get(), 5) == "of the task"


async def test_a_callback_hears_of_an_unknown_invocation(client: AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    heard: asyncio.Queue[type] = asyncio.Queue()

    async def ended(handle: Handle[object]) -> None:
        try:
            await handle
        except CeleriacError as error:
            heard.put_nowait(type(error))

    with caplog.at_level(logging.ERROR):
        client.handle(UNKNOWN).on_done(ended)
        assert await asyncio.wait_for(heard.get(), 5) is NotFound


async def test_gather_keeps_the_order(client: AsyncClient) -> None:
    echo = client.task("basics/echo", output=int)
    handles = [await echo.delay(number) for number in range(20)]
    assert await celeriac.gather(*handles) == list(range(20))
    assert await celeriac.gather() == []
    assert await echo.map(range(700)) == list(range(700))


async def test_gather_raises_the_first_failure_and_the_others_go_on(client: AsyncClient) -> None:
    slow = await client.submit("basics/sleep", {"seconds": 3})
    bad = await client.submit("basics/fail", {"message": "first"})
    began = time.monotonic()
    with pytest.raises(TaskFailed, match="first"):
        await celeriac.gather(slow, bad)
    assert time.monotonic() - began < 2.5
    results = await celeriac.gather(bad, slow, return_exceptions=True)
    assert isinstance(results[0], TaskFailed)
    assert results[1] == {"steps": 1, "cancelled": False}


async def test_as_completed_yields_in_the_order_of_the_ends(client: AsyncClient) -> None:
    naps = [await client.submit("basics/sleep", {"seconds": seconds}) for seconds in (0.9, 0.1, 0.5)]
    ended = [naps.index(handle) async for handle in celeriac.as_completed(naps)]
    assert ended == [1, 2, 0]
    endless = await client.submit("basics/noop", queue="nobody-serves-this")
    with pytest.raises(ResultTimeout):
        async for _ in celeriac.as_completed([endless], timeout=0.05):
            pytest.fail("it has not ended")
    await endless.cancel()


async def test_wait_all_waits_for_failures_too(client: AsyncClient) -> None:
    handles = [
        await client.submit("basics/fail", {"message": "no"}),
        await client.submit("basics/sleep", {"seconds": 0.2}),
        client.handle((await client.submit("basics/noop")).id),
    ]
    await celeriac.wait_all(handles, timeout=10)
    assert all(handle.done() for handle in handles)
    more = [await client.submit("basics/sleep", {"seconds": 0.2}) for _ in range(3)]
    await client.wait_all(timeout=10)
    assert all(handle.done() for handle in more)


async def test_what_nobody_awaits_leaves_nothing_behind(client: AsyncClient) -> None:
    for _ in range(50):
        await client.submit("basics/noop")
    assert len(client.session().mailbox.waiting()) == 0
    detached = await client.submit("basics/echo", 1, awaited=False)
    assert await detached == 1
