"""Redis and gateways over TLS, and users of Redis that have rights of their own: against real servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from conftest import sample

from celeriac import AsyncClient, BrokerUnavailable, BrokerUnfit, InvalidArgument
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


@pytest.fixture(scope="module")
def secure(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a gateway with TLS; its store is embedded, so that it asks for no token."""
    port = free_port()
    settings = {"CELERIAC_HTTP_CERTIFICATE": str(authority.server), "CELERIAC_HTTP_KEY": str(authority.server)}
    store = f"embedded:{tmp_path_factory.mktemp('secure') / 'store'}"
    with Host(store, "--http", f"127.0.0.1:{port}", environment=settings):
        yield f"https://localhost:{port}"


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


def test_the_environment_names_the_authority_too(authority: Authority, port: int, secure: str, tmp_path: Path) -> None:
    # A directory of authorities has names that OpenSSL finds them by.
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(authority.file)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / f"{name}.0").write_bytes(authority.file.read_bytes())
    program = "import sys; from celeriac import Client; Client(sys.argv[1]).open(); print('open')"
    for url in (f"rediss://localhost:{port}/", secure):
        for variable, value in (("SSL_CERT_FILE", authority.file), ("SSL_CERT_DIR", tmp_path)):
            done = subprocess.run(
                [sys.executable, "-c", program, url],
                env={variable: str(value), "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stdout == "open\n", (url, variable, done.stderr)


async def test_a_server_may_ask_for_a_certificate(authority: Authority) -> None:
    port = free_port()
    with RedisServer(*authority.options(port, asks_clients=True)):
        url = f"rediss://localhost:{port}/?ssl_ca_certs={authority.file}"
        with pytest.raises(BrokerUnavailable):
            await AsyncClient(url, connect_timeout=0.5).open()
        async with AsyncClient(f"{url}&ssl_certfile={authority.client}&ssl_keyfile={authority.client}") as client:
            await client.submit("celeriac/admit", {})


async def test_a_task_runs_through_a_gateway_with_tls(authority: Authority, secure: str) -> None:
    async with AsyncClient(f"{secure}/?ssl_ca_certs={authority.file}") as client:
        await client.push(sample("basics"))
        assert await client.call("basics/add", {"a": 1, "b": 2}) == 3
        handle = await client.submit("basics/sleep", {"seconds": 0.2, "steps": 2})
        assert [progress.done async for progress in handle.progress()] == [0, 1, 2]
        assert client.session().transport.address == secure


async def test_a_gateway_that_nobody_vouches_for_is_told_nothing(authority: Authority, secure: str) -> None:
    with pytest.raises(BrokerUnfit, match=r"certificate verify failed.*ssl_ca_certs=FILE, or SSL_CERT_FILE"):
        await AsyncClient(secure, token="s3cret", connect_timeout=30).open()
    # The right authority, and a name that it has not certified.
    with pytest.raises(BrokerUnfit, match=r"127\.0\.0\.1"):
        url = secure.replace("localhost", "127.0.0.1")
        await AsyncClient(f"{url}/?ssl_ca_certs={authority.file}", connect_timeout=30).open()


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_authority_that_cannot_be_read_is_said(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidArgument, match=r"ssl_ca_certs.*authority\.pem.*PEM"):
        await AsyncClient(f"https://localhost/?ssl_ca_certs={file}").open()


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
