"""The FastAPI example and the one without a framework: results and progress as they come."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

import httpx
import pytest
from applications import running

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture(scope="module", params=["stage", "gateway"], ids=["redis", "http"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    broker = str(request.getfixturevalue(request.param))
    with running("fastapi/app.py", broker=broker, ready="/openapi.json") as url:
        yield url


def stream(url: str, after: str | None = None) -> Generator[tuple[str, str, Any], None, None]:
    """The server-sent events of a stream, as they come: id, kind, data."""
    id, kind = "", ""
    headers = {} if after is None else {"Last-Event-ID": after}
    with httpx.stream("GET", url, headers=headers, timeout=30) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                id = value
            elif field == "event":
                kind = value
            elif field == "data":
                yield id, kind, json.loads(value)


def events(url: str) -> list[tuple[str, Any]]:
    """Reads a stream to its end."""
    return [(kind, data) for _, kind, data in stream(url)]


def test_models_go_in_and_come_out(url: str) -> None:
    answer = httpx.post(url + "/primes", json={"up_to": 100}, timeout=30)
    assert answer.json() == {"count": 25, "largest": 97}
    assert httpx.post(url + "/primes", json={"up_to": -1}).status_code == 422


def test_a_failed_task_and_an_unknown_id_have_their_statuses(url: str) -> None:
    answer = httpx.post(url + "/naps", params={"seconds": -1})
    if answer.status_code == 202:
        # A gateway, which knows the task's schema, has refused it by then.
        answer = httpx.get(f"{url}/naps/{answer.json()['id']}", params={"wait": 20}, timeout=30)
    assert answer.status_code == 422
    assert "negative" in answer.json()["message"] or "seconds" in answer.json()["message"]
    assert httpx.get(url + f"/naps/{UNKNOWN}", params={"wait": 1}).status_code == 404


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


def test_a_browser_goes_on_behind_the_last_event_that_it_saw(url: str) -> None:
    place = url + httpx.post(url + "/naps", params={"seconds": 1}).json()["events"]
    first = stream(place)
    seen = [next(first) for _ in range(3)]
    first.close()
    # While it runs, and once more when it has ended.
    for _ in range(2):
        rest = list(stream(place, after=seen[-1][0]))
        assert [data["done"] for _, kind, data in seen + rest if kind == "progress"] == [0, 1, 2, 3, 4, 5]
        assert rest[-1][:2] == ("end", "result")
    ended = httpx.get(place, headers={"Last-Event-ID": "end"})
    assert (ended.status_code, ended.content) == (204, b"")


def test_what_cannot_be_streamed_is_said_before_the_stream_begins(url: str) -> None:
    assert httpx.get(f"{url}/naps/{UNKNOWN}/events").status_code == 404
    assert httpx.get(f"{url}/naps/{UNKNOWN}/events", headers={"Last-Event-ID": "end"}).status_code == 404
    for path in ("/naps/zzz", "/naps/zzz/events"):
        answer = httpx.get(url + path)
        assert answer.status_code == 422
        assert "zzz" in answer.json()["message"]
    place = url + httpx.post(url + "/naps", params={"seconds": 0}).json()["events"]
    answer = httpx.get(place, headers={"Last-Event-ID": "the third"})
    assert answer.status_code == 400
    assert "Last-Event-ID" in answer.json()["detail"]


def test_plain_asyncio_streams_too(stage: str) -> None:
    with running("plain/sse.py", broker=stage) as url:
        seen = events(url)
        assert [data for kind, data in seen if kind == "progress"] == [0, 1, 2, 3, 4, 5]
        assert seen[-1] == ("result", {"steps": 5, "cancelled": False})
