"""A proxy that loses answers: what was asked for is done, and who asked is not told."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Proxy:
    """In front of a server on the loopback interface, on threads of its own; a `with`."""

    def __init__(self, url: str) -> None:
        self._behind = ("127.0.0.1", int(url.rpartition(":")[2]))
        #: How many of the answers that come next are lost, each with its connection.
        self.to_lose = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        #: Where it is.
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        hang_up(self._listener)
        self._threads[0].join()
        for connection in self._connections:
            hang_up(connection)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connections.append(client)
                server = socket.create_connection(self._behind)
                self._connections.append(server)
                for way in ((self._requests, client, server), (self._answers, server, client)):
                    thread = threading.Thread(target=way[0], args=way[1:], daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
        hang_up(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if self.to_lose > 0:
                    self.to_lose -= 1
                    break
                client.sendall(data)
        hang_up(client)


def hang_up(connection: socket.socket) -> None:
    """Closes it, also for a thread that waits on it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
