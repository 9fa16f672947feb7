"""Redis over TLS, and with users that have rights of their own: against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from conftest import sample

from celeriac import AsyncClient, BrokerUnavailable, BrokerUnfit
from celeriac.testing import Host, RedisServer
from celeriac.testing.process import free_port


class Authority:
    """An authority of the test's own, and what it has certified."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        self.file = directory / "authority.pem"
        authority.cert_pem.write_to_path(str(self.file))
        self.server, self.client = directory / "server.pem", directory / "client.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(self.server))
        authority.issue_cert("shop@example.com").private_key_and_cert_chain_pem.write_to_path(str(self.client))

    def options(self, port: int, *, asks_clients: bool = False) -> tuple[str, ...]:
        certificates = ("--tls-cert-file", str(self.server), "--tls-key-file", str(self.server))
        asks = ("--tls-auth-clients", "yes" if asks_clients else "no", "--tls-ca-cert-file", str(self.file))
        return ("--tls-port", str(port), *certificates, *asks)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def port(authority: Authority) -> Iterator[int]:
    """The TLS port of a Redis."""
    port = free_port()
    with RedisServer(*authority.options(port)):
        yield port


async def test_a_task_runs_over_tls_from_end_to_end(authority: Authority, port: int) -> None:
    # The host has the authority from its environment, the client from its URL.
    with Host(f"rediss://localhost:{port}/", environment={"SSL_CERT_FILE": str(authority.file)}):
        async with AsyncClient(f"rediss://localhost:{port}/?ssl_ca_certs={authority.file}") as client:
            await client.push(sample("basics"))
            assert await client.call("basics/add", {"a": 1, "b": 2}) == 3
            handle = await client.submit("basics/sleep", {"seconds": 0.2, "steps": 2})
            assert [progress.done async for progress in handle.progress()] == [0, 1, 2]


async def test_without_the_authority_nothing_is_sent(authority: Authority, port: int) -> None:
    with pytest.raises(BrokerUnfit, match=r"certificate verify failed.*ssl_ca_certs=FILE"):
        await AsyncClient(f"rediss://:s3cret@localhost:{port}/", connect_timeout=30).open()
    # The right authority, and a name that it has not certified.
    with pytest.raises(BrokerUnfit, match=r"127\.0\.0\.1"):
        url = f"rediss://127.0.0.1:{port}/?ssl_ca_certs={authority.file}"
        await AsyncClient(url, connect_timeout=30).open()


async def test_plain_text_to_a_tls_port_is_an_error_and_so_is_the_reverse(port: int) -> None:
    with pytest.raises(BrokerUnavailable):
        await AsyncClient(f"redis://localhost:{port}/", connect_timeout=0.5).open()
    with RedisServer() as plain, pytest.raises(BrokerUnavailable):
        await AsyncClient(f"rediss://localhost:{plain.port}/", connect_timeout=0.5).open()


def test_the_environment_names_the_authority_too(authority: Authority, port: int) -> None:
    program = "import sys; from celeriac import Client; Client(sys.argv[1]).open(); print('open')"
    done = subprocess.run(
        [sys.executable, "-c", program, f"rediss://localhost:{port}/"],
        env={"SSL_CERT_FILE": str(authority.file), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "open\n", done.stderr


async def test_a_server_may_ask_for_a_certificate(authority: Authority) -> None:
    port = free_port()
    with RedisServer(*authority.options(port, asks_clients=True)):
        url = f"rediss://localhost:{port}/?ssl_ca_certs={authority.file}"
        with pytest.raises(BrokerUnavailable):
            await AsyncClient(url, connect_timeout=0.5).open()
        async with AsyncClient(f"{url}&ssl_certfile={authority.client}&ssl_keyfile={authority.client}") as client:
            await client.submit("celeriac/admit", {})


USERS = (
    ("--user", "default", "off"),
    # What a program needs, and no other keys of the server.
    ("--user", "shop", "on", ">s3cret", "~cel:*", "&cel:*", "+@all", "-@admin", "-@dangerous", "+info", "+config|get"),
    ("--user", "reader", "on", ">s3cret", "~other:*", "+@read"),
)


async def test_a_user_of_redis_may_have_its_own_keys_only(authority: Authority) -> None:
    port = free_port()
    with RedisServer(*authority.options(port), *(word for user in USERS for word in user)) as server:

        def url(user: str) -> str:
            return f"rediss://{user}:s3cret@localhost:{port}/?ssl_ca_certs={authority.file}"

        with Host(f"redis://shop:s3cret@127.0.0.1:{server.port}/"):
            async with AsyncClient(url("shop")) as client:
                await client.push(sample("basics"))
                assert await client.call("basics/add", {"a": 1, "b": 2}) == 3
                handle = await client.submit("basics/sleep", {"seconds": 0.2, "steps": 2})
                assert [progress.done async for progress in handle.progress()] == [0, 1, 2]
                assert handle.id in {status.id async for status in client.list()}
                assert "s3cret" not in repr(client) + client.session().transport.address
        with pytest.raises(BrokerUnfit, match="commands on keys and channels") as refused:
            await AsyncClient(url("reader")).open()
        with pytest.raises(BrokerUnfit, match="right user and password"):
            await AsyncClient(url("nobody")).open()
        assert "s3cret" not in str(refused.value)
