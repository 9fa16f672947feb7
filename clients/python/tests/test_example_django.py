"""The Django example: a decorator, a table of results, and a process that dies in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from applications import example, running


@pytest.fixture(scope="module")
def environment(stage: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    database = tmp_path_factory.mktemp("django") / "db.sqlite3"
    environment = {"CELERIAC_BROKER": stage, "DATABASE": str(database), "PYTHONDONTWRITEBYTECODE": "1"}
    manage("migrate", "--verbosity", "0", environment=environment)
    return environment


def manage(*command: str, environment: dict[str, str]) -> str:
    script = [sys.executable, str(example("django/manage.py")), *command]
    done = subprocess.run(script, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_collects_and_stores(environment: dict[str, str]) -> None:
    lines = manage("demo", environment=environment).splitlines()
    assert "in order: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" in lines
    assert "synchronously: 1" in lines
    assert "caught: on-request: not today" in lines
    assert "of this call: 1" in lines
    assert "all stored: True" in lines
    assert "from the table: ['succeeded', 'succeeded', 'failed']" in lines
    assert sum(line.endswith("has ended") for line in lines) == 10


def test_the_models_have_their_migration(environment: dict[str, str]) -> None:
    assert "No changes" in manage("makemigrations", "--check", environment=environment)


def test_results_reach_the_table_even_when_the_process_dies(environment: dict[str, str]) -> None:
    broker = environment["CELERIAC_BROKER"]
    rest = {name: value for name, value in environment.items() if name != "CELERIAC_BROKER"}
    serving = ("django/manage.py", "runserver", "--noreload")
    with running(*serving, broker=broker, **rest) as url:
        quick = httpx.post(url + "/naps", data={"seconds": "0.1"}).json()["id"]
        wait_for(url, quick, "succeeded")
        slow = httpx.post(url + "/naps", data={"seconds": "2"}).json()["id"]
        assert httpx.get(f"{url}/results/{slow}").json()["state"] == "submitted"
    assert manage("receive", environment=environment) == "1 taken up\n"
    with running(*serving, broker=broker, **rest) as url:
        stored = wait_for(url, slow, "succeeded")
        assert stored == {"state": "succeeded", "output": {"steps": 1, "cancelled": False}, "failure": None}
        assert httpx.get(url + "/results/01890a5d-ac96-774b-bcce-b302099a8057").status_code == 404


def wait_for(url: str, id: str, state: str) -> dict[str, object]:
    deadline = time.monotonic() + 30
    while True:
        stored: dict[str, object] = httpx.get(f"{url}/results/{id}").json()
        if stored["state"] == state:
            return stored
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_is_left_in_the_source_tree() -> None:
    assert not Path(example("django/db.sqlite3")).exists()
