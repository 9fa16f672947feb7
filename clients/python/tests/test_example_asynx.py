"""The asynx example: its API as its users know it, each of its traps, and a real server at the other end."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from applications import example, running
from conftest import sample

from celeriac import Client
from celeriac.testing import Host
from celeriac.testing.process import Process, free_port

KEY = b"webhook key"


class Target(ThreadingHTTPServer):
    """What is called: it notes each request and answers what the path says."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def at(self, path: str) -> list[dict[str, Any]]:
        return [request for request in self.seen if request["path"] == path]

    def wait(self, path: str, count: int = 1) -> list[dict[str, Any]]:
        until(lambda: len(self.at(path)) >= count)
        return self.at(path)


class Answer(BaseHTTPRequestHandler):
    """`/status/204/x`, `/redirect/307/x` to `/status/200/x`, `/unwell/2/x` twice 503 and then 200, `/slow/x`."""

    protocol_version = "HTTP/1.1"
    server: Target

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = {
            "method": self.command,
            "path": self.path,
            "headers": httpx.Headers(dict(self.headers)),
            "body": body,
        }
        self.server.seen.append(request)
        _, kind, number, *rest = [*self.path.split("/"), ""]
        status = int(number) if kind in ("status", "redirect") else 200
        if kind == "unwell" and len(self.server.at(self.path)) <= int(number):
            status = 503
        if kind == "slow":
            time.sleep(60)
        text = b"" if status in (204, 304) or self.command == "HEAD" else b"well"
        self.send_response(status)
        if kind == "redirect":
            self.send_header("Location", f"/status/200/{rest[0]}")
        if status == 503:
            self.send_header("Retry-After", "0")
        if status != 204:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = answer  # noqa: N815 the server's names

    def log_message(self, *_: object) -> None:
        """Quiet."""


def until(fact: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := fact()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.shutdown()
    target.server_close()


@pytest.fixture(scope="module")
def broker(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("asynx")
    key, settings = directory / "key", directory / "celeriac.toml"
    key.write_bytes(KEY)
    key.chmod(0o600)
    where = f"ports = [{target.server_port}], networks = ['127.0.0.0/8']"
    rule = f"{{ hosts = ['127.0.0.1'], schemes = ['http'], {where} }}"
    settings.write_text(
        f"""
queues = ["shop.default", "shop.mail", "blog.default"]

[grants."http"]
http = [{rule}]

[grants."celeriac"]
http = [{rule}]
secrets = {{ webhook = {{ file = "{key}" }} }}
"""
    )
    with Host(None, "--config", str(settings)) as host:
        with Client(host.url) as client:
            client.push(sample("http"))
        yield host.url


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("database") / "asynx.db"


@pytest.fixture(scope="module")
def app(broker: str, database: Path) -> Iterator[httpx.Client]:
    with (
        running("asynx/app.py", broker=broker, ready="/openapi.json", ASYNX_DB=str(database)) as url,
        httpx.Client(base_url=url, timeout=60) as app,
    ):
        yield app


TASKS = "/app/shop/taskqueues/default/tasks"


def fresh() -> str:
    return uuid.uuid4().hex[:12]


def post(app: httpx.Client, url: str, place: str = TASKS, **fields: Any) -> dict[str, Any]:
    request = fields.pop("request", {}) | {"url": url}
    answer = app.post(place, json={"request": request, **fields})
    assert answer.status_code == 201, answer.text
    task: dict[str, Any] = answer.json()
    return task


def ended(app: httpx.Client, task: dict[str, Any], place: str = TASKS) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        there: dict[str, Any] = app.get(f"{place}/{task['id']}").json()
        return there if there["status"] in ("success", "failure", "revoked", "skipped") else None

    found: dict[str, Any] = until(look)
    return found


def test_a_request_is_sent_as_it_was_asked_for_and_its_answer_is_kept(app: httpx.Client, target: Target) -> None:
    path, name = f"/status/201/{fresh()}", f"task {fresh()}"
    headers = {"X-Own": "1", "X-Asynx-QueueName": "forged"}
    request = {"method": "post", "headers": headers, "payload": "hello", "timeout": 10}
    task = post(app, target.url + path, request=request, cname=name)
    assert (task["cname"], task["request"]["method"]) == (name, "POST")
    assert task["status"] in ("new", "running", "success")
    done = ended(app, task)
    assert (done["status"], done["response"]["status"], done["response"]["body"]) == ("success", 201, "well")
    [seen] = target.at(path)
    assert (seen["method"], seen["body"], seen["headers"]["X-Own"]) == ("POST", b"hello", "1")
    # Correlation: which queue, which name, and which invocation, which the host itself says.
    assert seen["headers"]["X-Asynx-QueueName"] == "default"
    assert seen["headers"]["X-Asynx-TaskCName"] == name
    assert seen["headers"]["X-Celeriac-Invocation"] == task["uuid"]


def test_a_queue_that_is_full_is_a_503_and_nothing_was_accepted(app: httpx.Client, broker: str, target: Target) -> None:
    name = fresh()
    # Nobody serves it.
    place = f"/app/full/taskqueues/q{name}/tasks"
    limit = httpx.put(f"{broker}/v1/limits/queue:full.q{name}", json={"max_queue": 1}, trust_env=False)
    assert limit.is_success
    first = post(app, f"{target.url}/status/200/{name}", place)
    refused = app.post(place, json={"request": {"url": f"{target.url}/status/200/{name}"}})
    assert (refused.status_code, refused.json()["error_code"]) == (503, 200501)
    assert "may" in refused.json()["error_detail"]
    assert [task["id"] for task in app.get(place).json()["items"]] == [first["id"]]


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_what_succeeds_is_success_not_only_up_to_302(app: httpx.Client, target: Target, status: int) -> None:
    done = ended(app, post(app, f"{target.url}/status/{status}/{fresh()}"))
    assert (done["status"], done["response"]["status"]) == ("success", status)


def test_redirects_are_followed_or_are_the_answer(app: httpx.Client, target: Target) -> None:
    for status in (301, 302, 303, 307, 308):
        mark = fresh()
        request: dict[str, Any] = {"method": "PUT", "payload": "kept"}
        done = ended(app, post(app, f"{target.url}/redirect/{status}/{mark}", request=request))
        assert (done["status"], done["response"]["url"]) == ("success", f"{target.url}/status/200/{mark}")
        [followed] = target.at(f"/status/200/{mark}")
        # What was put is put again, except where the status says to look elsewhere.
        assert (followed["method"], followed["body"]) == (("GET", b"") if status == 303 else ("PUT", b"kept"))
        request = {"allow_redirects": False}
        done = ended(app, post(app, f"{target.url}/redirect/{status}/{fresh()}", request=request))
        assert (done["status"], done["response"]["status"]) == ("success", status)


def test_a_failure_is_one_and_says_what_came(app: httpx.Client, target: Target) -> None:
    path = f"/status/404/{fresh()}"
    done = ended(app, post(app, target.url + path))
    assert (done["status"], done["error"]["kind"]) == ("failure", "unexpected-status")
    assert done["error"]["details"]["status"] == 404
    # Asking again would change nothing.
    assert len(target.at(path)) == 1
    done = ended(app, post(app, target.url + path, request={"expect": ["200-299", "404"]}))
    assert (done["status"], done["response"]["status"]) == ("success", 404)


def test_an_unwell_server_is_asked_again(app: httpx.Client, target: Target) -> None:
    path = f"/unwell/2/{fresh()}"
    done = ended(app, post(app, target.url + path))
    assert (done["status"], done["attempts"], len(target.at(path))) == ("success", 3, 3)
    path = f"/unwell/9/{fresh()}"
    assert ended(app, post(app, target.url + path, request={"retries": 0}))["status"] == "failure"
    assert len(target.at(path)) == 1


def is_signed(request: dict[str, Any]) -> bool:
    fields = dict(part.split("=", 1) for part in request["headers"]["Celeriac-Signature"].split(","))
    expected = hmac.new(KEY, fields["t"].encode() + b"." + request["body"], hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, fields["v1"])


def test_a_url_is_told_signed_and_until_it_takes_it(app: httpx.Client, target: Target) -> None:
    mark = fresh()
    hooks = {name: f"{target.url}/unwell/1/{name}-{mark}" for name in ("on_success", "on_failure", "on_complete")}
    task = post(app, f"{target.url}/status/200/{mark}", **hooks)
    for name in ("on_success", "on_complete"):
        refused, taken = target.wait(f"/unwell/1/{name}-{mark}", 2)
        assert is_signed(refused)
        assert is_signed(taken)
        told = json.loads(taken["body"])["invocation"]
        assert (told["id"], told["code"], told["output"]["status"]) == (task["uuid"], "ok", 200)
    assert not target.at(f"/unwell/1/on_failure-{mark}")
    failing = post(app, f"{target.url}/status/410/{mark}", on_failure=f"{target.url}/status/200/failed-{mark}")
    [told] = target.wait(f"/status/200/failed-{mark}")
    assert json.loads(told["body"])["invocation"]["failure"]["details"]["status"] == 410
    assert is_signed(told)
    assert ended(app, failing)["status"] == "failure"


def test_a_task_follows_with_what_the_other_came_to(app: httpx.Client, target: Target) -> None:
    mark = fresh()

    def follower(name: str) -> dict[str, Any]:
        return {"request": {"method": "POST", "url": f"{target.url}/status/200/{name}-{mark}"}}

    last = follower("last")
    task = post(
        app,
        f"{target.url}/status/200/first-{mark}",
        on_success={**follower("second"), "on_complete": last},
        on_failure=follower("never"),
        cname=f"chain-{mark}",
    )
    [second] = target.wait(f"/status/200/second-{mark}")
    told = json.loads(second["body"])
    assert (told["id"], told["code"], told["output"]["body"]) == (task["uuid"], "ok", "well")
    assert second["headers"]["X-Asynx-Chained"] == f"{target.url}/status/200/first-{mark}"
    assert second["headers"]["X-Asynx-Chained-TaskCName"] == f"chain-{mark}"
    target.wait(f"/status/200/last-{mark}")
    page = app.get(TASKS, params={"limit": 200}).json()
    states = {item["request"]["url"].rpartition("/")[2]: item["id"] for item in page["items"]}
    never = ended(app, {"id": states[f"never-{mark}"]})
    assert never["status"] == "skipped"
    assert not target.at(f"/status/200/never-{mark}")


def test_a_countdown_and_an_eta_wait_at_the_broker(app: httpx.Client, target: Target) -> None:
    task = post(app, f"{target.url}/status/200/{fresh()}", countdown=3600)
    assert task["status"] == "delayed"
    soon = time.time() + 1
    eta = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(soon))
    path = f"/status/200/{fresh()}"
    assert ended(app, post(app, target.url + path, eta=eta))["status"] == "success"
    assert target.at(path)[0]["headers"]["X-Asynx-TaskETA"].startswith(eta[:19])


def test_a_schedule_calls_again_and_again_until_it_is_deleted(app: httpx.Client, target: Target) -> None:
    path, name = f"/status/200/{fresh()}", f"beat {fresh()}"
    task = post(app, target.url + path, schedule="every 0.3 seconds", cname=name)
    assert (task["status"], task["schedule"]) == ("scheduled", "every 0.3 seconds")
    target.wait(path, 3)
    there = app.get(f"{TASKS}/cname:{name}").json()
    assert any(run["result"] == "fired" for run in there["runs"])
    # The name is taken, for tasks of both kinds.
    for again in ({"schedule": "0 3 * * *"}, {"countdown": 60}):
        answer = app.post(TASKS, json={"request": {"url": target.url}, "cname": name, **again})
        assert (answer.status_code, answer.json()["error_code"]) == (409, 207203)
    assert app.delete(f"{TASKS}/cname:{name}").json() is None
    assert app.get(f"{TASKS}/{task['id']}").status_code == 404
    nightly = post(app, target.url + path, schedule="30 2 * * 1-5", cname=name)
    assert nightly["next_ms"]
    assert app.delete(f"{TASKS}/{nightly['id']}").status_code == 200


def test_a_name_is_one_tasks_at_a_time_within_its_queue(app: httpx.Client, target: Target) -> None:
    name = fresh()
    task = post(app, target.url + "/status/200/x", cname=name, countdown=3600)
    answer = app.post(TASKS, json={"request": {"url": target.url}, "cname": name})
    assert (answer.status_code, answer.json()["error_desc"]) == (409, "Task already exists")
    assert answer.json()["request_uri"].endswith(TASKS)
    # Elsewhere it is another.
    post(app, target.url + "/status/200/x", "/app/shop/taskqueues/mail/tasks", cname=name, countdown=3600)
    post(app, target.url + "/status/200/x", "/app/blog/taskqueues/default/tasks", cname=name, countdown=3600)
    # And it is free when the task has ended.
    assert app.delete(f"{TASKS}/{task['id']}").status_code == 200
    done = ended(app, post(app, target.url + "/status/200/x", cname=name))
    again = post(app, target.url + "/status/200/x", cname=name)
    assert again["uuid"] != done["uuid"]
    assert app.get(f"{TASKS}/cname:{name}").json()["id"] == again["id"]


KINDS = ("{id}", "id:{id}", "uuid:{uuid}", "cname:{cname}")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_identifier_goes_through_the_same_checks(app: httpx.Client, target: Target, kind: str) -> None:
    task = post(app, f"{target.url}/slow/{fresh()}", cname=fresh())
    identifier = kind.format(**task)
    until(lambda: app.get(f"{TASKS}/{identifier}").json()["status"] == "running")
    # It is this application's, and this queue's.
    for other in ("/app/blog/taskqueues/default/tasks", "/app/shop/taskqueues/mail/tasks"):
        for method in ("GET", "DELETE"):
            answer = app.request(method, f"{other}/{identifier}")
            assert (answer.status_code, answer.json()["error_code"]) == (404, 207202)
    assert app.get(f"{TASKS}/{identifier}").json()["status"] == "running"
    # What runs is stopped.
    assert app.delete(f"{TASKS}/{identifier}").status_code == 200
    assert app.get(f"{TASKS}/{identifier}").status_code == 404
    assert app.delete(f"{TASKS}/{identifier}").status_code == 404


def test_what_is_deleted_does_not_run_and_nothing_follows_it(app: httpx.Client, broker: str, target: Target) -> None:
    mark = fresh()
    task = post(
        app,
        f"{target.url}/slow/{mark}",
        on_complete={"request": {"url": f"{target.url}/status/200/follows-{mark}"}},
    )
    target.wait(f"/slow/{mark}")
    assert app.delete(f"{TASKS}/{task['id']}").status_code == 200
    with Client(broker) as client:
        assert client.handle(task["uuid"]).wait(30).code == "cancelled"
        until(lambda: not list(client.list(queue="shop.default", states=["blocked", "running"], newer_than="1m")))
    assert not target.at(f"/status/200/follows-{mark}")


def test_tasks_are_listed_a_page_at_a_time(app: httpx.Client, target: Target) -> None:
    place = "/app/blog/taskqueues/default/tasks"
    before = app.get(place).json()["total"]
    made = [post(app, target.url + "/status/200/x", place, countdown=3600)["id"] for _ in range(7)]
    page = app.get(place, params={"offset": before + 2, "limit": 3}).json()
    assert (page["total"], [item["id"] for item in page["items"]]) == (before + 7, made[2:5])
    for wrong in ({"limit": "a"}, {"limit": 201}, {"offset": -1}):
        answer = app.get(place, params=wrong)
        assert (answer.status_code, answer.json()["error_code"]) == (422, 200101)


def test_what_is_wrong_is_said_with_the_codes_that_callers_know(app: httpx.Client, target: Target) -> None:
    answer = app.post(TASKS, content=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error_code"]) == (400, 200100)
    good = {"request": {"url": target.url}}
    for wrong in (
        {},
        {"request": {"url": "ftp://example.com/"}},
        good | {"colour": "red"},
        good | {"cname": "ab"},
        good | {"countdown": -1},
        good | {"eta": "2030-01-01T00:00:00"},
        good | {"eta": "2030-01-01T00:00:00Z", "countdown": 1},
        good | {"schedule": "every 30 seconds"},
        good | {"schedule": "1234567", "cname": "abc"},
        good | {"schedule": "99 99 * * *", "cname": "abc"},
        good | {"schedule": "@daily", "cname": "abc", "on_success": target.url},
        # A callback that is a task is checked as a task is.
        good | {"on_success": {"request": {"url": "file:///etc/passwd"}}},
        good | {"on_failure": {"request": {"url": target.url}, "on_complete": {"request": {}}}},
    ):
        answer = app.post(TASKS, json=wrong)
        assert (answer.status_code, answer.json()["error_code"]) == (422, 200101), (wrong, answer.text)
    for unknown in ("0", "99999999", str(2**63), "uuid:1", "cname:aa", "testtask", f"cname:{'a' * 97}", "key:1"):
        for method in ("GET", "DELETE"):
            assert app.request(method, f"{TASKS}/{unknown}").status_code == 404


def test_a_target_that_is_not_granted_is_not_reached(app: httpx.Client) -> None:
    done = ended(app, post(app, "http://169.254.169.254/latest/meta-data"))
    assert done["status"] == "failure"


def test_reports_are_written_also_when_the_application_was_away(broker: str, target: Target, tmp_path: Path) -> None:
    database = str(tmp_path / "asynx.db")
    mark = fresh()
    with (
        running("asynx/app.py", broker=broker, ready="/openapi.json", ASYNX_DB=database) as url,
        httpx.Client(base_url=url) as app,
    ):
        task = post(app, f"{target.url}/status/410/{mark}", countdown=1)
    # Nobody is there when it ends.
    with Client(broker) as client:
        client.handle(task["uuid"]).wait(60)
    again = Process(
        [sys.executable, str(example("asynx/app.py")), str(free_port())],
        {"CELERIAC_BROKER": broker, "ASYNX_DB": database, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        again.wait_until(lambda: mark in again.log)
        assert f"asynx WARNING shop/default/{task['id']} GET {target.url}/status/410/{mark}: task_error" in again.log
    finally:
        again.stop()
