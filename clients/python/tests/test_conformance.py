"""The vectors that every client runs: `clients/conformance`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import CONFORMANCE

import celeriac
from celeriac import After, AsyncClient, Damaged, InvalidArgument, NoSuchModule, NoSuchTask, Outcome, TaskFailed, Unique
from celeriac.ids import Namespace, check_id
from celeriac.names import task_ref
from celeriac.options import Options, times, wire
from celeriac.spans import span_ms


def vectors(name: str) -> Any:
    return json.loads((CONFORMANCE / f"{name}.json").read_text())


def test_ids() -> None:
    ids = vectors("ids")
    for made in ids["made"]:
        namespace = Namespace(made["key"])
        assert namespace.mark(made["ms"], bytes.fromhex(made["random"]), made["partition"]) == made["id"]
        assert namespace.issued(made["id"])
    for foreign in ids["foreign"]:
        assert not Namespace(foreign["key"]).issued(foreign["id"])
    for text in ids["invalid"]:
        with pytest.raises(InvalidArgument):
            check_id(text)
    assert Namespace("k").issued(Namespace("k").issue())


def test_names() -> None:
    names = vectors("names")
    for task in names["tasks"]:
        ref = task_ref(task["text"])
        assert (ref.module, ref.task) == (task["module"], task["task"])
        assert (ref.digest != "") == ("sha256:" in task["module"])
    for text in names["invalid"]:
        with pytest.raises(InvalidArgument):
            task_ref(text)


def test_spans() -> None:
    spans = vectors("spans")
    for text, ms in spans["spans"].items():
        assert span_ms("timeout", text) == ms
    for text in spans["invalid"]:
        with pytest.raises(InvalidArgument):
            span_ms("timeout", text)


def call_options(on_wire: dict[str, Any]) -> Options:
    """The options of a call that stand so on the wire."""
    import datetime

    def when(value: dict[str, int]) -> Any:
        if "in_ms" in value:
            return value["in_ms"] / 1000
        return datetime.datetime.fromtimestamp(value["at_ms"] / 1000, datetime.timezone.utc)

    made: dict[str, Any] = {}
    for name, value in on_wire.items():
        if name == "start":
            made["delay" if "in_ms" in value else "at"] = when(value)
        elif name in ("expires", "deadline"):
            made[name] = when(value)
        elif name == "unique":
            scope, policy = value["scope"], value["on_conflict"]
            window = scope["window_ms"] / 1000 if isinstance(scope, dict) else None
            until: Any = "started" if scope == "queued" else "done"
            made[name] = Unique(value["key"], until, window, policy)
        elif name == "after":
            made["after"] = [After(edge["id"], edge.get("on", "success")) for edge in value]
        elif name == "callbacks":
            names = {"success": "on_success", "failure": "on_failure", "done": "on_complete"}
            for callback in value:
                made.setdefault(names[callback["on"]], []).append(callback["to"])
        elif name in ("timeout_ms", "result_ttl_ms"):
            made[name.removesuffix("_ms")] = value / 1000
        else:
            made[{"memory_bytes": "memory", "retries": "retry"}.get(name, name)] = value
    return made  # type: ignore[return-value]


def test_options() -> None:
    options = vectors("options")
    for vector in options["options"]:
        on_wire = wire(call_options(vector["wire"]))
        assert on_wire == vector["wire"]
        assert times(on_wire) == vector["times"]
    for invalid in (*options["invalid"], *options["unreadable"]):
        with pytest.raises(InvalidArgument):
            wire(call_options(invalid))
            pytest.fail(f"{invalid} was taken")


def test_outcomes() -> None:
    outcomes = vectors("outcomes")
    for vector in outcomes["outcomes"]:
        outcome = Outcome.read(vector["result"].encode(), vector["apart"].encode(), "x")
        assert (outcome.code, outcome.state.value) == (vector["code"], vector["state"])
        if "exception" in vector:
            error = outcome.error("x")
            assert type(error) is getattr(celeriac, vector["exception"])
            assert (error.kind, error.message, error.retryable) == (
                vector["kind"],
                vector["message"],
                vector["retryable"],
            )
            assert outcome.output is None
        else:
            assert outcome.output is not None
            assert outcome.failure is None
            if "text" in vector:
                assert outcome.output.data.decode() == vector["text"]
            else:
                assert json.loads(outcome.output.data) == vector["output"]
    for result in outcomes["damaged"]:
        with pytest.raises(Damaged):
            Outcome.read(result.encode(), b"", "x")


REFUSED = {"no_task": NoSuchTask, "no_module": NoSuchModule, "invalid": InvalidArgument}


@pytest.mark.parametrize("scenario", vectors("scenarios")["scenarios"], ids=lambda scenario: scenario["name"])
async def test_scenarios(client: AsyncClient, url: str, scenario: dict[str, Any]) -> None:
    options = call_options(scenario.get("options", {}))
    refused = scenario.get("refused") or (url.startswith("http") and scenario.get("refused_by_gateway"))
    if refused:
        with pytest.raises(REFUSED[refused]):
            await client.submit(scenario["task"], scenario.get("input"))
        return
    handle = await client.submit(scenario["task"], scenario.get("input"), **options)
    if "failure" in scenario:
        with pytest.raises(TaskFailed) as caught:
            await handle.result(60)
        for name, expected in scenario["failure"].items():
            assert getattr(caught.value, name) == expected
    else:
        assert await handle.result(60) == scenario["output"]
    if "progress" in scenario:
        assert [progress.done async for progress in handle.progress()] == scenario["progress"]
