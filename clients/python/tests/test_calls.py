"""Calling tasks: inputs, outputs, options, failures."""

from __future__ import annotations

import datetime
import pickle
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import celeriac
from celeriac import (
    AsyncClient,
    Cancelled,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    Expired,
    InvalidArgument,
    MemoryLimit,
    NoSuchModule,
    NoSuchTask,
    OutOfFuel,
    Payload,
    PayloadTooLarge,
    TaskFailed,
)
from celeriac.testing import Host


async def test_a_call_returns_the_output(client: AsyncClient) -> None:
    assert await client.call("basics/add", {"a": 1, "b": 2}) == 3.0


@pytest.mark.parametrize("value", [0, "", None, [], {}, False, 0.0])
async def test_a_falsy_result_is_a_result(client: AsyncClient, value: Any) -> None:
    echo = client.task("basics/echo")
    assert await echo(value) == value
    handle = await echo.delay(value)
    assert await client.get_result(handle.id) == value


async def test_arguments_make_the_input(client: AsyncClient) -> None:
    echo = client.task("basics/echo")
    assert await echo(a=1, b=[2]) == {"a": 1, "b": [2]}
    assert await echo() is None
    assert await (await echo.apply_async({"x": "ü"})) == {"x": "ü"}
    with pytest.raises(TypeError, match="not both"):
        await echo(1, a=2)


@dataclass
class Slept:
    steps: int
    cancelled: bool


class SleptModel(BaseModel):
    steps: int
    cancelled: bool


@dataclass
class Pair:
    a: float
    b: float


async def test_outputs_are_read_as_the_type_asked_for(client: AsyncClient) -> None:
    task = client.task("basics/sleep", output=Slept)
    assert await task(seconds=0) == Slept(1, False)
    assert await client.call("basics/sleep", {"seconds": 0}, output=SleptModel) == SleptModel(steps=1, cancelled=False)
    assert await client.call("basics/echo", [1, 2], output=list[int]) == [1, 2]
    with pytest.raises(DecodeError, match=r"output\.steps is missing"):
        await client.call("basics/echo", {"cancelled": True}, output=Slept)


async def test_inputs_may_be_dataclasses_and_models(client: AsyncClient) -> None:
    assert await client.call("basics/add", Pair(1, 2)) == 3
    assert await client.call("basics/echo", SleptModel(steps=1, cancelled=True)) == {"steps": 1, "cancelled": True}
    moment = datetime.datetime(2026, 11, 21, tzinfo=datetime.timezone.utc)
    assert await client.call("basics/echo", [moment], output=list[datetime.datetime]) == [moment]


async def test_bytes_travel_as_they_are(client: AsyncClient) -> None:
    data = bytes(range(256)) * 40
    assert await client.call("basics/echo-bytes", data, output=bytes) == data
    picture = Payload(b"\x89PNG", "image/png")
    assert await client.call("basics/echo-bytes", picture, output=Payload) == picture


async def test_a_large_output_is_read_from_the_store(client: AsyncClient) -> None:
    text = "x" * 100_000
    assert await client.call("basics/echo", text) == text


async def test_what_has_no_json_is_an_error_of_the_caller(client: AsyncClient) -> None:
    for value in (object(), float("nan"), {1, object()}):
        with pytest.raises(EncodeError, match="the input of basics/echo"):
            await client.call("basics/echo", value)
    with pytest.raises(PayloadTooLarge, match=r"caps\.input"):
        await client.call("basics/echo-bytes", b"x" * (9 << 20))


async def test_a_failure_is_typed(client: AsyncClient) -> None:
    with pytest.raises(TaskFailed, match="ended with task_error") as caught:
        await client.call("basics/fail", {"message": "not today", "retryable": False})
    error = caught.value
    assert (error.code, error.kind, error.message, error.retryable) == ("task_error", "on-request", "not today", False)
    assert error.details == {"attempt": 1}
    assert error.trace is not None
    assert "basics" in error.trace
    again = pickle.loads(pickle.dumps(error))
    assert (again.kind, again.id, again.trace, str(again)) == (error.kind, error.id, error.trace, str(error))


async def test_a_panic_is_a_failure(client: AsyncClient) -> None:
    with pytest.raises(TaskFailed, match="ouch") as caught:
        await client.call("basics/panic", {"message": "ouch"})
    assert caught.value.code == "panicked"


async def test_each_limit_has_its_exception(client: AsyncClient) -> None:
    with pytest.raises(OutOfFuel) as fuel:
        await client.call("basics/spin", fuel=100_000)
    assert fuel.value.limit is not None
    assert (fuel.value.limit.name, fuel.value.limit.allowed) == ("fuel", 100_000)
    with pytest.raises(DeadlineExceeded):
        await client.call("basics/spin", timeout=0.2)
    with pytest.raises(MemoryLimit):
        await client.call("basics/alloc", {"mib": 64}, memory=8 << 20)


async def test_a_soft_timeout_lets_the_task_leave_in_good_order(client: AsyncClient) -> None:
    slept = await client.call("basics/sleep", {"seconds": 60, "steps": 1200}, soft_timeout="300ms", output=Slept)
    assert slept.cancelled
    with pytest.raises(InvalidArgument, match="soft_timeout"):
        await client.submit("basics/sleep", {"seconds": 1}, soft_timeout=-1)


async def test_unknown_tasks_are_refused_when_they_are_submitted(client: AsyncClient) -> None:
    with pytest.raises(NoSuchTask, match="celeriac modules show basics"):
        await client.submit("basics/nope")
    with pytest.raises(NoSuchModule, match="celeriac push"):
        await client.submit("nope/add")
    with pytest.raises(InvalidArgument, match="MODULE/TASK"):
        client.task("nope")


async def test_options_reach_the_broker(client: AsyncClient) -> None:
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    handle = await client.submit("basics/noop", eta=soon, deadline="2h", queue="later", retry=3, backoff="1s, 5s")
    status = await handle.status()
    assert status.state == "scheduled"
    assert status.queue == "later"
    assert status.due_at_ms == int(soon.timestamp() * 1000)
    assert status.deadline_at_ms is not None
    await handle.cancel()
    with pytest.raises(Cancelled):
        await handle


def noted(order: list[str], band: str, _: object) -> None:
    order.append(band)


async def test_a_higher_priority_goes_first(stage: str) -> None:
    async with AsyncClient(stage) as client:
        # Nobody serves the queue yet, so that all three wait.
        order: list[str] = []
        bands: tuple[Literal["low", "normal", "high"], ...] = ("low", "normal", "high")
        task = client.task("basics/noop")
        handles = [
            await task.apply_async(
                queue="bands",
                priority=band,
                fairness_key="tenant-1",
                concurrency_key="account-1",
                on_done=partial(noted, order, band),
            )
            for band in bands
        ]
        with Host(stage, "--queues", "bands", "--concurrency", "1"):
            await celeriac.wait_all(handles, timeout=60)
        assert order == ["high", "normal", "low"]


async def test_a_wrong_place_is_refused_by_name(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument, match="priority"):
        await client.submit("basics/noop", priority="urgent")  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument, match="fairness_key"):
        await client.submit("basics/noop", fairness_key="two words")


async def test_whether_to_record_is_a_yes_or_a_no(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgument, match="record"):
        await client.submit("basics/noop", record="no")  # type: ignore[call-overload]
    assert await client.call("basics/noop", record=False) is None


async def test_a_countdown_delays_the_start(client: AsyncClient) -> None:
    handle = await client.task("basics/noop").apply_async(countdown=0.3)
    assert (await handle.status()).state == "scheduled"
    assert await handle.result(timeout=10) is None
    assert (await handle.status()).attempts == 1


async def test_what_does_not_start_in_time_expires(client: AsyncClient) -> None:
    handle = await client.submit("basics/noop", queue="nobody-serves-this", expires=0.1)
    with pytest.raises(Expired):
        await handle.result(timeout=10)


async def test_retries_are_the_callers_to_set(client: AsyncClient) -> None:
    assert await client.call("basics/flaky", {"failures": 2}, retry=2, backoff="10ms") == 3
    with pytest.raises(TaskFailed, match="busy") as caught:
        await client.call("basics/flaky", {"failures": 2}, retry=1, backoff="10ms")
    assert len((await client.handle(caught.value.id).status()).trail) == 1


async def test_options_of_a_call_come_before_those_of_the_task(client: AsyncClient) -> None:
    task = client.task("basics/spin", fuel=1_000_000, countdown=60)
    with pytest.raises(OutOfFuel) as caught:
        await (await task.apply_async(fuel=2000, delay=0))
    assert caught.value.limit is not None
    assert caught.value.limit.allowed == 2000
    with pytest.raises(TypeError, match="is not an option"):
        client.task("basics/spin", colour="red")  # type: ignore[call-overload]
    with pytest.raises(InvalidArgument, match="with its zone"):
        client.task("basics/spin", eta=datetime.datetime(2030, 1, 1))  # noqa: DTZ001
