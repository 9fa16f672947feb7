"""Submitting: a whole batch in as few calls of `submit.lua` as its size allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..errors import CeleriacError, NoSuchModule, NoSuchTask
from ..names import SYSTEM_QUEUE
from ..options import times
from .scripts import script

if TYPE_CHECKING:
    from ..transport import Submission
    from .link import Argument, Link

#: Invocations in one call, and bytes of payload unless a single one is larger.
CHUNK, CHUNK_BYTES = 500, 4 << 20

#: As hosts have it: a day for the record of a cancelled invocation, a week for dead letters, and how many of these.
RETENTION = "86400000 604800000 10000"

#: The TTL and the cap of reply streams, in milliseconds and entries.
REPLY_TTL_MS, REPLY_CAP = 600_000, 4096


async def submit(link: Link, batch: list[Submission], client: str) -> list[CeleriacError | None]:
    """Accepts a batch, in order; `client` names the reply stream."""
    answers: list[CeleriacError | None] = []
    at = 0
    while at < len(batch):
        end = chunk_end(batch, at)
        answers.extend(await _send(link, batch[at:end], client))
        at = end
    return answers


def chunk_end(batch: list[Submission], at: int) -> int:
    """Where the chunk that begins at `at` ends."""
    size = 0
    for end in range(at, min(at + CHUNK, len(batch))):
        size += len(batch[end].input.data)
        if size > CHUNK_BYTES and end > at:
            return end
    return min(at + CHUNK, len(batch))


async def _send(link: Link, chunk: list[Submission], client: str) -> list[CeleriacError | None]:
    targets: dict[tuple[str, str], int] = {}
    heads: list[Argument] = []
    items: list[Argument] = []
    for submission in chunk:
        ref, options = submission.task, submission.options
        queue = SYSTEM_QUEUE if ref.is_built_in else str(options.get("queue", ""))
        target = targets.get((ref.text, queue))
        if target is None:
            target = targets[ref.text, queue] = len(targets) + 1
            heads += ("" if ref.is_built_in else ref.name, ref.digest, ref.task, queue)
        items += (
            submission.id,
            target,
            header(submission),
            submission.input.data,
            client if submission.is_awaited else "",
            # Redis takes no TTL of nothing.
            max(1, options["result_ttl_ms"]) if "result_ttl_ms" in options else "",
            times(options) if options else "",
            "",
            "",
        )
    ends = (RETENTION, REPLY_TTL_MS, REPLY_CAP)
    refused = await link.call(script("submit"), *ends, len(targets), *heads, *items)
    answers: list[CeleriacError | None] = [None] * len(chunk)
    for number, reason in zip(refused[::2], refused[1::2]):
        ref = chunk[number - 1].task
        answers[number - 1] = NoSuchModule(ref.module) if reason == 1 else NoSuchTask(ref.text)
    return answers


def header(submission: Submission) -> str:
    """The immutable part of a record beside its input."""
    head = {"task": submission.task.text, "content_type": submission.input.content_type}
    if submission.options:
        return json.dumps(head | {"options": submission.options}, ensure_ascii=False, separators=(",", ":"))
    # Names hold nothing that JSON would have to quote.
    return f'{{"task":"{head["task"]}","content_type":{json.dumps(head["content_type"])}}}'
