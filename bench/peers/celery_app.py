"""The Celery side of the throughput benchmark: one no-op task, JSON, results kept in Redis.

Beside the prefetch, which Celery's guide says to raise for short tasks, everything is its default:
prefork with a child per core, JSON, results for a day. `REDIS_URL` names the server.
"""

import os

from celery import Celery

app = Celery("celery_app", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_prefetch_multiplier = 64


@app.task
def noop(payload):
    """Returns what it was given: about 100 bytes in and out."""
    return payload
