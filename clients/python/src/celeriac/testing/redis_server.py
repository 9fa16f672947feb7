"""A real Redis of one's own: on a free loopback port, in a temporary directory, ended by its id."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING

from .process import Process, free_port

if TYPE_CHECKING:
    from typing_extensions import Self


class RedisServer:
    """A `redis-server` that runs. What it has answered is on disk: it survives `kill` and `start`."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._directory = tempfile.mkdtemp(prefix="celeriac-redis-")
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Starts it, with what it had stored."""
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server is not on the PATH: install Redis (Debian: redis-server)")
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._directory, "--save", ""]
        durable = ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = Process([program, *settings, *durable, *self._options])
        self._process.wait_until(self._answers)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def close(self) -> None:
        """Ends it and removes what it has stored."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
            # One that asks for a password answers too.
            return answer != b"" and not answer.startswith(b"-LOADING")
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
