"""An address that leads to something else: what is wrong is said, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from celeriac import AsyncClient, BrokerUnavailable, BrokerUnfit
from celeriac.testing import RedisServer


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def told(url: str, kind: type[BrokerUnfit | BrokerUnavailable], *, connect_timeout: float = 30) -> str:
    client = AsyncClient(url, connect_timeout=connect_timeout)
    with pytest.raises(kind) as caught:
        await client.open()
    await client.close()
    return str(caught.value)


async def test_tls_to_a_plain_port(gateway: str) -> None:
    message = await told(gateway.replace("http:", "https:"), BrokerUnfit)
    assert "does not speak TLS" in message
    assert message.endswith(f"write {gateway}")


async def test_redis_to_a_gateway(gateway: str) -> None:
    message = await told(gateway.replace("http:", "redis:") + "/0", BrokerUnfit)
    assert "no Redis" in message
    assert f"write {gateway} if" in message


async def test_http_to_redis(redis: RedisServer) -> None:
    # A host that is about to start again looks the same: it is tried until the connect timeout.
    url = redis.url.rstrip("/")
    message = await told(url.replace("redis:", "http:"), BrokerUnavailable, connect_timeout=0.5)
    assert message.endswith(f"If that is a Redis, write {url}")


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
async def test_the_version_is_not_part_of_the_address(gateway: str, path: str) -> None:
    assert f"write {gateway}: the client itself puts `/v1` behind it" in await told(gateway + path, BrokerUnfit)


async def test_a_path_that_leads_nowhere(gateway: str) -> None:
    message = await told(f"{gateway}/tasks", BrokerUnfit)
    assert re.search(f"nothing at the path `/tasks.*write {re.escape(gateway)}, or the path", message)
