"""Real hosts for test suites: what a task does there is what it does in production.

In a pytest suite the fixtures come by themselves, as the package is installed:

    def test_adds_up(celeriac_client):
        celeriac_client.push("target/wasm32-wasip2/release/shop.wasm")
        assert celeriac_client.call("shop/checkout", {"id": "a1", "prices": [1.5, 2]}) == {"total": 3.5}

`celeriac_host` is one host for the whole run, and `celeriac_host.url` what an `AsyncClient` or an application takes.
Elsewhere: `with Host() as host, Client(host.url) as client: …`. `RedisServer` is for tests of outages.
"""

from .host import Host
from .redis_server import RedisServer

__all__ = ["Host", "RedisServer"]
