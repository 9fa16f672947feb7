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


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """The URL of a host's HTTP gateway, on a store of its own, with the same modules."""
    with Host() as host:
        with Client(host.url) as client:
            client.push(sample("basics"))
            client.push(sample("compute"))
        yield host.url


@pytest.fixture(params=["stage", "gateway"], ids=["redis", "http"])
def url(request: pytest.FixtureRequest) -> str:
    """Each way to a broker, one after the other."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as client:
        yield client


@pytest.fixture
def blocking(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client
