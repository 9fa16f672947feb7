"""Server-sent events with nothing but asyncio: a web server of forty lines that streams a task's progress.

python sse.py 8001
curl -N 127.0.0.1:8001/
"""

from __future__ import annotations

import asyncio
import json
import sys

from celeriac import AsyncClient, Handle

client = AsyncClient()
sleep = client.task("basics/sleep")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Starts a task for each request and streams what becomes of it."""
    await reader.readuntil(b"\r\n\r\n")
    handle = await sleep.delay(seconds=0.5, steps=5)
    writer.write(HEAD)
    try:
        await stream(handle, writer)
    except ConnectionError:
        # Nobody listens any more.
        await handle.cancel()
    writer.close()


async def stream(handle: Handle, writer: asyncio.StreamWriter) -> None:
    """Writes each step when it happens, then the result."""
    async for progress in handle.progress():
        writer.write(event("progress", progress.done))
        await writer.drain()
    writer.write(event("result", await handle))
    await writer.drain()


def event(kind: str, data: object) -> bytes:
    """One server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


async def main() -> None:
    """Serves until it is stopped."""
    server = await asyncio.start_server(answer, "127.0.0.1", int(sys.argv[1]))
    async with client, server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
