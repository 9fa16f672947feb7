"""Runs rounds of no-ops through Celeriac's Python client; the counterpart of `celery_client.py`.

Reads `throughput N` or `await N` per line on stdin; writes `{"tasks": …, "seconds": …}` or `{"latencies": […]}`.
"""

import asyncio
import json
import os
import sys
import time

from celeriac import AsyncClient

PAYLOAD = {"text": "x" * 88}


async def throughput(echo, tasks):
    """Submits all, then awaits all."""
    began = time.perf_counter()
    outputs = await echo.map([PAYLOAD] * tasks)
    seconds = time.perf_counter() - began
    if len(outputs) != tasks or any(output != PAYLOAD for output in outputs):
        raise SystemExit(f"Celeriac returned {len(outputs)} of {tasks} results, or wrong ones")
    return {"tasks": tasks, "seconds": seconds}


async def awaits(echo, tasks):
    """One after the other: submit to result."""
    latencies = []
    for _ in range(tasks):
        began = time.perf_counter()
        output = await echo(PAYLOAD)
        latencies.append(time.perf_counter() - began)
        if output != PAYLOAD:
            raise SystemExit(f"Celeriac returned {output}")
    return {"latencies": latencies}


async def main():
    """Answers each line with one round."""
    async with AsyncClient(os.environ["REDIS_URL"]) as client:
        echo = client.task("basics/echo")
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, tasks = line.split()
            measure = {"throughput": throughput, "await": awaits}[what]
            print(json.dumps(await measure(echo, int(tasks))), flush=True)


asyncio.run(main())
