"""The fixtures of `celeriac.testing`, known to pytest wherever the package is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celeriac import Client

    from .host import Host


@pytest.fixture(scope="session")
def celeriac_host() -> Iterator[Host]:
    """One host for the whole run, with a store of its own."""
    # Imported when a test wants it: every pytest run of an environment loads this file.
    from .host import Host  # noqa: PLC0415

    with Host() as host:
        yield host


@pytest.fixture
def celeriac_client(celeriac_host: Host) -> Iterator[Client]:
    """A blocking client of that host."""
    from celeriac import Client  # noqa: PLC0415

    with Client(celeriac_host.url) as client:
        yield client
