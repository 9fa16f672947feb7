"""Runs rounds of no-ops through Celery and reports how long each took.

Reads a number of tasks per line on stdin; writes `{"tasks": …, "seconds": …}` per line to stdout.
A round ends when every result has arrived.
"""

import json
import sys
import time

from celery_app import noop

PAYLOAD = {"text": "x" * 88}


def run(tasks):
    """One round: submit all, then get all. A group with its native join was 10 to 40 % slower."""
    began = time.perf_counter()
    results = [noop.delay(PAYLOAD) for _ in range(tasks)]
    outputs = [result.get(timeout=300) for result in results]
    seconds = time.perf_counter() - began
    if len(outputs) != tasks or any(output != PAYLOAD for output in outputs):
        raise SystemExit(f"Celery returned {len(outputs)} of {tasks} results, or wrong ones")
    return seconds


def main():
    """Answers each line with one round."""
    for line in sys.stdin:
        tasks = int(line)
        print(json.dumps({"tasks": tasks, "seconds": run(tasks)}), flush=True)


main()
