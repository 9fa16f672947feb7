"""Child processes that end with whoever started them, by their id."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: Seconds that a server may take to start: on a busy machine it takes some.
START_PATIENCE = 60.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A child whose output is kept, so that a failure to start says why."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.command = command
        # What is run is what the caller of this test support names: the binary under test, redis-server.
        self.child = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **(environment or {})},
        )
        self._lines: list[str] = []
        # A pipe that nobody reads would stop the child when it is full.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.child.stdout is not None:
            for line in self.child.stdout:
                self._lines.append(line)

    @property
    def log(self) -> str:
        """What it has printed."""
        return "".join(self._lines)

    def wait_until(self, fact: Callable[[], bool]) -> None:
        """Waits until it is ready."""
        deadline = time.monotonic() + START_PATIENCE
        while not fact():
            if self.child.poll() is not None:
                self._reader.join(1)
                raise RuntimeError(f"{self.command[0]} has ended with {self.child.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.command[0]} is not ready within {START_PATIENCE:g} s:\n{self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Asks it to end, and waits for that."""
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._finish()

    def kill(self) -> None:
        """Ends it as a power cut would."""
        self.child.kill()
        self.child.wait()
        self._finish()

    def _finish(self) -> None:
        self._reader.join(10)
        if self.child.stdout is not None:
            with contextlib.suppress(OSError):
                self.child.stdout.close()
