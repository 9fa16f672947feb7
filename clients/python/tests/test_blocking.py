"""The blocking client has what the one for asyncio has."""

from __future__ import annotations

import pytest

from celeriac import (
    After,
    AsyncClient,
    CeleriacError,
    Client,
    Flow,
    Handle,
    SyncFlow,
    SyncHandle,
    SyncStep,
    SyncTask,
    Task,
    outcome_of,
    output_of,
)
from celeriac.dead_letters import DeadLetters, SyncDeadLetters
from celeriac.schedules import Schedules, SyncSchedules

#: What leads from each blocking object to the other behind it, and how the client makes something else block.
BEHIND = {"asynchronous", "portal", "iterate"}
#: What handles of asyncio are made with.
HANDLE = {"of", "accept", "registered", "subscribed"}
#: What waits for ends without a loop of events: `await handle` and `asyncio.wait_for` need one.
WAITS = {"get", "wait"}

#: The two of each kind, what the first has alone, and what the second has.
PAIRS: list[tuple[type | object, type | object, set[str], set[str]]] = [
    # Tasks and flows hand in through the one for asyncio, on its session.
    (AsyncClient(), Client(), {"session", "hand_in", "hand_in_all", "hand_in_steps"}, BEHIND),
    (Handle, SyncHandle, HANDLE, WAITS | {"asynchronous"}),
    # Flows take tasks apart.
    (Task, SyncTask, {"parts"}, {"asynchronous"}),
    (Flow, SyncFlow, set(), set()),
    (Schedules, SyncSchedules, set(), set()),
    (DeadLetters, SyncDeadLetters, set(), set()),
]


def public(of: type | object) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("one", "other", "alone", "more"), PAIRS, ids=["client", "handle", "task", "flow", "schedules", "dead letters"]
)
def test_both_have_the_same_names(one: object, other: object, alone: set[str], more: set[str]) -> None:
    assert public(one) - public(other) == alone
    assert public(other) - public(one) == more


def test_any_graph_without_awaiting(blocking: Client) -> None:
    add, echo, fail = (blocking.task(f"basics/{name}") for name in ("add", "echo", "fail"))
    flow = blocking.flow()
    members = flow.map(add, [{"a": 1, "b": 2}, {"a": 3, "b": 4}])
    total = flow.add(add, {"a": output_of(0), "b": output_of(1)}, after=members)
    listed = flow.chord(members, echo)
    last = flow.then(flow.chain("in", echo, echo), echo)
    bad = flow.add(fail, {"message": "no"})
    why = flow.add(echo, outcome_of(0), after=[After(bad, "failure")])
    with pytest.raises(CeleriacError, match="has not been submitted"):
        _ = total.id
    handles = flow.submit()
    assert [handle.id for handle in handles[:2]] == [member.id for member in members]
    assert len(handles) == 9
    steps: list[SyncStep] = [total, listed, last]
    assert [step.handle.result(20) for step in steps] == [10, [3, 7], "in"]
    assert why.handle.result(20)["id"] == bad.id


def test_an_outcome_is_no_exception(blocking: Client) -> None:
    outcome = blocking.submit("basics/fail", {"message": "no"}).outcome()
    assert outcome.code == "task_error"
    assert outcome.failure is not None
    assert outcome.failure.message == "no"
    assert blocking.submit("basics/echo", 0).outcome().is_success
