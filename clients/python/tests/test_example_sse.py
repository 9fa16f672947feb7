"""The FastAPI example and the one without a framework: results and progress as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from applications import running


@pytest.fixture(scope="module")
def url(stage: str) -> Iterator[str]:
    with running("fastapi/app.py", broker=stage, ready="/openapi.json") as url:
        yield url


def events(url: str) -> list[tuple[str, Any]]:
    """Reads a stream of server-sent events to its end."""
    seen, kind = [], ""
    with httpx.stream("GET", url, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                seen.append((kind, json.loads(value)))
    return seen


def test_models_go_in_and_come_out(url: str) -> None:
    answer = httpx.post(url + "/primes", json={"up_to": 100}, timeout=30)
    assert answer.json() == {"count": 25, "largest": 97}
    assert httpx.post(url + "/primes", json={"up_to": -1}).status_code == 422


def test_a_failed_task_and_an_unknown_id_have_their_statuses(url: str) -> None:
    started = httpx.post(url + "/naps", params={"seconds": -1})
    failed = httpx.get(f"{url}/naps/{started.json()['id']}", params={"wait": 20}, timeout=30)
    assert failed.status_code == 422
    assert "negative" in failed.json()["message"]
    assert httpx.get(url + "/naps/01890a5d-ac96-774b-bcce-b302099a8057", params={"wait": 1}).status_code == 404


def test_progress_and_the_end_are_streamed(url: str) -> None:
    started = httpx.post(url + "/naps", params={"seconds": 0.5})
    assert started.status_code == 202
    seen = events(url + started.json()["events"])
    assert [data["done"] for kind, data in seen if kind == "progress"] == [0, 1, 2, 3, 4, 5]
    assert seen[-1] == ("result", {"state": "succeeded", "code": "ok"})
    answer = httpx.get(f"{url}/naps/{started.json()['id']}", params={"wait": 5}, timeout=30)
    assert answer.json() == {"steps": 5, "cancelled": False}
    waiting = httpx.post(url + "/naps", params={"seconds": 2})
    assert httpx.get(f"{url}/naps/{waiting.json()['id']}").status_code == 202


def test_plain_asyncio_streams_too(stage: str) -> None:
    with running("plain/sse.py", broker=stage) as url:
        seen = events(url)
        assert [data for kind, data in seen if kind == "progress"] == [0, 1, 2, 3, 4, 5]
        assert seen[-1] == ("result", {"steps": 5, "cancelled": False})
