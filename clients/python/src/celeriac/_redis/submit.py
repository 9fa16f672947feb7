"""Submitting: a whole batch in as few calls of `submit.lua` as its size allows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import (
    IdempotencyConflict,
    InvalidArgument,
    NoSuchModule,
    NoSuchParent,
    NoSuchTask,
    NotUnique,
    QueueFull,
)
from ..names import SYSTEM_QUEUE
from ..once import fingerprint
from ..options import PRIORITIES, times
from .callbacks import followers, look
from .link import LONG
from .scripts import script

if TYPE_CHECKING:
    from ..ids import Namespace
    from ..transport import Answer, Submission
    from .link import Argument, Link

#: Invocations in one call, and bytes of payload unless a single one is larger.
CHUNK, CHUNK_BYTES = 500, 4 << 20

#: Parents of all invocations in one call, unless a single one has more.
EDGES = 1_000

#: The most that one waits for, that wait for one, and that are in a chain.
MAX_DEPENDENTS, MAX_CHAIN = 10_000, 10_000

#: As hosts have it: a day for the record of a cancelled invocation, a week for dead letters, and how many of these.
RETENTION = "86400000 604800000 10000"

#: The TTL and the cap of reply streams, in milliseconds and entries.
REPLY_TTL_MS, REPLY_CAP = 600_000, 4096


async def submit(link: Link, namespace: Namespace, batch: list[Submission], client: str) -> list[Answer]:
    """Accepts a batch, in order; `client` names the reply stream."""
    if any("callbacks" in submission.options for submission in batch):
        return await _submit_with_callbacks(link, namespace, batch, client)
    answers: list[Answer] = []
    at = 0
    while at < len(batch):
        end = chunk_end(batch, at)
        answers.extend(await _send(link, batch[at:end], client))
        at = end
    return answers


async def _submit_with_callbacks(
    link: Link, namespace: Namespace, batch: list[Submission], client: str
) -> list[Answer]:
    """Hands in what follows the ends together with what ends. A callback that cannot be run refuses what it follows."""
    answers: list[Answer] = [await look(link, submission) or submission.id for submission in batch]
    sent: list[tuple[int, Submission]] = []
    for index, submission in enumerate(batch):
        if isinstance(answers[index], str):
            sent += [(index, one) for one in (submission, *followers(namespace, submission))]
    plain = [one for _, one in sent]
    at = 0
    while at < len(plain):
        end = chunk_end(plain, at)
        for (index, one), answer in zip(sent[at:end], await _send(link, plain[at:end], client)):
            # Where another stands for it, what was to follow it waits for what is not there, and was refused.
            if answers[index] == batch[index].id and answer != one.id:
                answers[index] = answer
        at = end
    return answers


def chunk_end(batch: list[Submission], at: int) -> int:
    """Where the chunk that begins at `at` ends."""
    size = edges = 0
    for end in range(at, min(at + CHUNK, len(batch))):
        size += len(batch[end].input.data)
        if (size > CHUNK_BYTES or edges >= EDGES) and end > at:
            return end
        edges += len(batch[end].options.get("after", ()))
    return min(at + CHUNK, len(batch))


async def _send(link: Link, chunk: list[Submission], client: str) -> list[Answer]:
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
            more(submission) if options else "",
            after(options) if options else "",
        )
    ends = (RETENTION, REPLY_TTL_MS, REPLY_CAP)
    refused = await link.call(script("submit"), *ends, len(targets), *heads, *items, patience=LONG)
    answers: list[Answer] = [submission.id for submission in chunk]
    for number, reason in zip(refused[::2], refused[1::2]):
        answers[number - 1] = refusal(chunk[number - 1], reason)
    return answers


def refusal(submission: Submission, reason: int | bytes | str) -> Answer:
    """Why it was not accepted: 1 and 2 are about the task, other numbers about parent number `reason // 100`."""
    ref = submission.task
    if isinstance(reason, (bytes, str)):
        return _told(submission, reason.decode() if isinstance(reason, bytes) else reason)
    if reason == 1:
        return NoSuchModule(ref.module)
    if reason == 2:
        return NoSuchTask(ref.text)
    parent = submission.options["after"][reason // 100 - 1]["id"]
    if reason % 100 == 11:
        return NoSuchParent(parent)
    if reason % 100 == 12:
        return InvalidArgument("after", parent, f"an invocation that fewer than {MAX_DEPENDENTS} others wait for")
    return InvalidArgument("after", parent, f"the end of a chain of fewer than {MAX_CHAIN}")


def _told(submission: Submission, text: str) -> Answer:
    """A letter and the id of another invocation, which has one of its keys; or how full its queue is."""
    letter, id = text[:1], text[1:]
    options = submission.options
    if letter == "e":
        return id
    if letter == "i":
        return IdempotencyConflict(options["idempotency_key"], id)
    if letter == "u":
        return NotUnique(options["unique"]["key"], id)
    depth, limit, queue = text.split(" ", 2)
    return QueueFull(queue, int(depth), int(limit))


def more(submission: Submission) -> str:
    """The features that it uses, as the stores keep them beside its record; empty for none."""
    options = submission.options
    used: dict[str, Any] = {}
    if "idempotency_key" in options:
        same = fingerprint(submission.task, submission.input)
        used["idem"] = {"key": options["idempotency_key"], "print": same}
    if "unique" in options:
        used["unique"] = options["unique"]
    if "priority" in options:
        used["band"] = PRIORITIES.index(options["priority"])
    if "fairness_key" in options:
        used["fair"] = options["fairness_key"]
    if "concurrency_key" in options:
        used["key"] = options["concurrency_key"]
    return json.dumps(used, ensure_ascii=False, separators=(",", ":")) if used else ""


def after(options: dict[str, Any]) -> str:
    """What it waits for as `submit.lua` reads it."""
    if "after" not in options:
        return ""
    policy = "k" if options.get("on_unmet") == "skip" else "f"
    return policy + "".join(edge["id"] + edge.get("on", "success")[0] for edge in options["after"])


def header(submission: Submission) -> str:
    """The immutable part of a record beside its input."""
    head = {"task": submission.task.text, "content_type": submission.input.content_type}
    if submission.options:
        return json.dumps(head | {"options": submission.options}, ensure_ascii=False, separators=(",", ":"))
    # Names hold nothing that JSON would have to quote.
    return f'{{"task":"{head["task"]}","content_type":{json.dumps(head["content_type"])}}}'
