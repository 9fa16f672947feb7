"""Real hosts for test suites: what a task does there is what it does in production.

with RedisServer() as redis, Host(redis.url) as host, Client(host.url) as client:
    client.push("target/wasm32-wasip2/release/shop.wasm")
    assert client.call("shop/checkout", {"id": "a1", "prices": [1.5, 2]}) == {"total": 3.5}
"""

from .host import Host
from .redis_server import RedisServer

__all__ = ["Host", "RedisServer"]
