"""Runs an example as its users would: a process of its own, over HTTP."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
from conftest import ROOT

from celeriac.testing.process import Process, free_port

EXAMPLES = ROOT / "clients/python/examples"


@contextlib.contextmanager
def running(*command: str, broker: str, ready: str = "/", **environment: str) -> Iterator[str]:
    """Starts `python EXAMPLES/command… PORT`; the URL that it answers at."""
    port = free_port()
    script = str(EXAMPLES / command[0])
    process = Process(
        [sys.executable, script, *command[1:], str(port)],
        {"CELERIAC_BROKER": broker, "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url + ready, timeout=5)
            return True
        return False

    try:
        process.wait_until(answers)
        yield url
    except BaseException:
        print(process.log)
        raise
    finally:
        process.stop()


def example(name: str) -> Path:
    return EXAMPLES / name
