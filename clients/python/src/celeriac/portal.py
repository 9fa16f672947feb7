"""An event loop on a thread of its own, through which code that does not await uses code that does.

A fork does not copy threads: a child gets a new loop at its first call.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Portal:
    """Runs coroutines for other threads."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()
        # A fork while another thread starts the loop would leave the lock taken for ever.
        os.register_at_fork(after_in_child=self._forget)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end. Interrupting the caller cancels it."""
        loop = self.loop()
        if _running() is loop:
            coroutine.close()
            raise RuntimeError("this is the client's own thread, which must not wait for itself: hand over to another")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[[], object]) -> None:
        """Calls a function on the loop, without waiting for it."""
        self.loop().call_soon_threadsafe(function)

    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of this process."""
        if self._loop is None:
            with self._starting:
                if self._loop is None:
                    self._loop = self._start()
        return self._loop

    def close(self) -> None:
        """Ends the loop and its thread."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()

        def serve() -> None:
            asyncio.set_event_loop(loop)
            try:
                loop.run_forever()
                # What was left is told so, that nothing is destroyed while it waits.
                tasks = asyncio.all_tasks(loop)
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                loop.close()

        # A daemon: a program that ends does not wait for its client.
        threading.Thread(target=serve, name="celeriac-client", daemon=True).start()
        return loop

    def _forget(self) -> None:
        if self._loop is not None:
            _parents.append(self._loop)
        self._loop = None
        self._starting = threading.Lock()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


#: Loops of a parent process: kept, so that nothing of them is closed in a child.
_parents: list[object] = []
