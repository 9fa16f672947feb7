"""A real host process."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from .process import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

#: Names the binary; without it `celeriac` on the PATH is taken.
BINARY_VARIABLE = "CELERIAC_BIN"


def binary() -> str:
    """The host's program."""
    found = os.environ.get(BINARY_VARIABLE) or shutil.which("celeriac")
    if not found:
        raise RuntimeError(f"there is no `celeriac` on the PATH: install it, or set {BINARY_VARIABLE}")
    return found


class Host:
    """A `celeriac serve`: with a broker on that, without one on a durable store of its own, reached over HTTP.

    Ended with `close`, or at the end of a `with`.
    """

    def __init__(
        self, broker: str | None = None, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._directory = tempfile.mkdtemp(prefix="celeriac-host-")
        # Compiled modules are kept where the variable says, so that the next run need not compile them again. On a
        # machine that is busy with tests a compilation may take its time.
        settings = {
            "CELERIAC_CACHE_DIR": os.environ.get("CELERIAC_CACHE_DIR") or str(Path(self._directory) / "cache"),
            "CELERIAC_COMPILE_TIMEOUT": "10m",
            **(environment or {}),
        }
        if broker is None:
            address = f"127.0.0.1:{free_port()}"
            broker = f"embedded:{Path(self._directory) / 'store'}"
            arguments = ("--http", address, *arguments)
            #: What clients connect to.
            self.url = f"http://{address}"
        else:
            self.url = broker
        self.process = Process([binary(), "serve", "--broker", broker, *arguments], settings)
        try:
            self.process.wait_until(self._is_ready)
        except RuntimeError:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise

    def _is_ready(self) -> bool:
        if not self.url.startswith("http"):
            return " serves " in self.process.log
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/v1/readyz", trust_env=False).is_success
        return False

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.process.kill()

    def close(self) -> None:
        """Lets it finish what it runs, ends it, and removes what it has stored."""
        self.process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
