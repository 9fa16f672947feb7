"""The stage on which tests play: a real Redis, a real host, the sample tasks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from celeriac import AsyncClient, Client
from celeriac.testing import Host, RedisServer

ROOT = Path(__file__).parents[3]
TASKS = Path(os.environ.get("CELERIAC_TASKS", ROOT / "tasks/target/wasm32-wasip2/release"))
# Compiling the sample modules once is enough.
os.environ.setdefault("CELERIAC_CACHE_DIR", str(ROOT / "target/python/cache"))
CONFORMANCE = ROOT / "clients/conformance"


def sample(name: str) -> Path:
    path = TASKS / f"{name}.wasm"
    assert path.is_file(), f"{path} is not there: run `make tasks`"
    return path


@pytest.fixture(scope="session")
def stage() -> Iterator[str]:
    """The URL of a Redis with one host that has the sample modules `basics` and `compute`."""
    with RedisServer() as redis, Host(redis.url) as host:
        with Client(host.url) as client:
            client.push(sample("basics"))
            client.push(sample("compute"))
        yield host.url


@pytest.fixture
async def client(stage: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stage) as client:
        yield client


@pytest.fixture
def blocking(stage: str) -> Iterator[Client]:
    with Client(stage) as client:
        yield client
