"""What a call refuses as an option, before anything is stored. The vectors have what every client refuses."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from celeriac import After, AsyncClient, InvalidArgument, Unique
from celeriac.options import Options, wire

ID = "01991c5e-7c00-7001-8203-0405060700aa"
OTHER = "01991c5e-7c00-7001-8203-0405060700bb"
FAR = datetime.datetime.max.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=-1)))

#: Of each option some values that it refuses.
WRONG: dict[str, list[Any]] = {
    "queue": [5, "", "No Such", ["slow"]],
    "priority": ["urgent", 1, ["high"]],
    "fairness_key": [5, "\ud800", "two words", "", "x" * 129],
    "concurrency_key": [5, "two words", b"a"],
    "countdown": [True, "soon", -1, float("nan"), [1]],
    "delay": [True, "5", float("inf"), "20y"],
    "eta": [datetime.datetime(2026, 11, 21), FAR, "tomorrow", []],  # noqa: DTZ001 the point
    "at": [datetime.datetime(2026, 11, 21), FAR, "2026-11-21"],  # noqa: DTZ001 the point
    "expires": [True, "never", -1, FAR],
    "deadline": [False, "never", datetime.timedelta(days=-1), FAR],
    "retry": ["3", -3, True, 1.5, 10**12, 2**32],
    "backoff": [
        "5 sec",
        5,
        datetime.timedelta(seconds=5),
        "",
        "5s,",
        "exponential(1s",
        "exponential(2s, 1s)",
        "\x1c5s",
    ],
    "retry_on": [5, "\ud800", [5], [""], "", b"busy", {"busy": 1}.items(), iter(["busy"])],
    "timeout": [True, "5", -1, 10**12],
    "soft_timeout": ["later", -1, True],
    "fuel": ["many", 1e6, 2**64, -1, False],
    "memory": ["64MiB", -5, 2**70, 1.5],
    "limits": [["log_lines"], "log_lines", 5, {5: 1}, {"Log Lines": 1}, {"log_lines": -1}, {"log_lines": "1k"}],
    "after": [5, "nonsense", [5], [ID, ID.upper()], [After(5)], After(ID, "sometimes"), iter([ID])],  # type: ignore[arg-type]
    "on_unmet": ["foo", True, ["skip"]],
    "on_success": [5, "nonsense", ["mail/send", 5], "ftp://example.com/", "https://example.com/a b"],
    "on_failure": [b"mail/send", "Mail/Send", "https://example.com/" + "x" * 2048],
    "on_complete": [["mail/send"] * 17, iter(["mail/send"]), "https://example.com/\n"],
    "result_ttl": [True, "long", -1],
    "idempotency_key": [17, "\ud800", "", "a\nb", "x" * 257],
    "unique": [17, "", Unique("a", until="soon"), Unique("a", until=[]), Unique("a", window=0)],  # type: ignore[arg-type]
    "record": ["yes", 1, None],
    "awaited": ["no", 0, None],
    "on_done": [5, "print"],
}


def test_every_option_is_among_them() -> None:
    assert set(WRONG) == set(Options.__annotations__)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_option_is_refused_by_its_name(name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(InvalidArgument) as caught:
            pytest.fail(f"{name}={value!r} was taken: {wire({name: value})}")  # type: ignore[misc]
        # Keys are named in words.
        assert name in str(caught.value).replace("idempotency key", "idempotency_key"), caught.value
        assert "expected" in str(caught.value)


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (2**32 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1)])
def test_the_ends_of_each_range_are_in_it(numbers: tuple[int, int, int, int]) -> None:
    retry, fuel, memory, lines = numbers
    made = wire({"retry": retry, "fuel": fuel, "memory": memory, "limits": {"log_lines": lines}})
    assert made == {"retries": retry, "fuel": fuel, "memory_bytes": memory, "limits": {"log_lines": lines}}


def test_one_is_as_good_as_a_list_of_one() -> None:
    assert wire({"retry_on": "busy"}) == wire({"retry_on": ["busy"]}) == {"retry_on": ["busy"]}
    assert wire({"after": ID}) == wire({"after": (After(ID),)}) == {"after": [{"id": ID}]}
    assert wire({"on_success": "mail/send"}) == wire({"on_success": ["mail/send"]})


def test_none_and_nothing_are_as_if_nothing_was_said() -> None:
    for name in (
        "queue",
        "retry",
        "backoff",
        "retry_on",
        "fuel",
        "limits",
        "after",
        "on_unmet",
        "on_success",
        "on_done",
    ):
        assert wire({name: None}) == {}, name  # type: ignore[misc]
    assert wire({"retry_on": [], "limits": {}, "after": [], "on_complete": [], "on_unmet": "fail"}) == {}


def test_an_invocation_waits_for_another_once_and_for_a_thousand_at_most() -> None:
    with pytest.raises(InvalidArgument, match="at most once"):
        wire({"after": [ID, OTHER, After(ID, "done")]})
    with pytest.raises(InvalidArgument, match="at most 1000"):
        wire({"after": [ID] * 1001})


async def test_nothing_is_stored_of_what_is_refused(client: AsyncClient) -> None:
    wrong: Any = {"retry": "3", "queue": "options-test"}
    with pytest.raises(InvalidArgument, match="retry `'3'` is not valid: expected a whole number from 0 to 4294967295"):
        await client.submit("basics/noop", **wrong)
    assert [status async for status in client.list(queue="options-test")] == []
    handle = await client.submit("basics/fail", {"message": "no", "kind": "busy"}, retry_on="busy", retry=0)
    assert (await handle.outcome()).code == "task_error"
