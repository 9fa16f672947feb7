"""Runs rounds of no-ops through Celery and reports how long each took.

Reads `throughput N` or `await N` per line on stdin; writes `{"tasks": …, "seconds": …}` or `{"latencies": […]}`.
A round of throughput ends when every result has arrived.
"""

import json
import sys
import time

from celery_app import noop

PAYLOAD = {"text": "x" * 88}


def throughput(tasks):
    """Submits all, then gets all. A group with its native join was 10 to 40 % slower."""
    began = time.perf_counter()
    results = [noop.delay(PAYLOAD) for _ in range(tasks)]
    outputs = [result.get(timeout=300) for result in results]
    seconds = time.perf_counter() - began
    if len(outputs) != tasks or any(output != PAYLOAD for output in outputs):
        raise SystemExit(f"Celery returned {len(outputs)} of {tasks} results, or wrong ones")
    return {"tasks": tasks, "seconds": seconds}


def awaits(tasks):
    """One after the other: submit to result."""
    latencies = []
    for _ in range(tasks):
        began = time.perf_counter()
        output = noop.delay(PAYLOAD).get(timeout=300)
        latencies.append(time.perf_counter() - began)
        if output != PAYLOAD:
            raise SystemExit(f"Celery returned {output}")
    return {"latencies": latencies}


def main():
    """Answers each line with one round."""
    for line in sys.stdin:
        what, tasks = line.split()
        measure = {"throughput": throughput, "await": awaits}[what]
        print(json.dumps(measure(int(tasks))), flush=True)


main()
