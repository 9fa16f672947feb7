"""What follows an end: invocations that wait for it, handed in together with what ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import CeleriacError, InvalidArgument, NoSuchModule, NoSuchTask
from ..names import BUILT_IN, task_ref
from ..payload import JSON, Payload
from ..transport import Submission
from .link import PREFIX

if TYPE_CHECKING:
    from ..ids import Namespace
    from .link import Link

#: How often a server that does not take a delivery is tried again.
WEBHOOK_OPTIONS = {"retries": 16, "backoff": "exponential(2s, 2h)"}


async def look(link: Link, submission: Submission) -> CeleriacError | None:
    """Why one of its callbacks cannot be run."""
    for callback in submission.options.get("callbacks", ()):
        to = callback["to"]
        if "://" in to:
            continue
        ref = task_ref(to)
        if ref.is_built_in:
            return InvalidArgument("callback", to, "a task of a module, or a URL")
        digest = ref.digest
        if not digest:
            entry = await link.run("HGET", f"{PREFIX}names", ref.name)
            digest = entry.decode().partition(" ")[0] if entry else ""
        manifest, queue = await link.run("HMGET", f"{PREFIX}m:{digest}", "manifest", f"t:{ref.task}")
        if manifest is None:
            return NoSuchModule(ref.module)
        if queue is None:
            return NoSuchTask(to)
    return None


def followers(namespace: Namespace, submission: Submission) -> list[Submission]:
    """The invocations that wait for the end of this one. Their ids are the same each time."""
    made = []
    for number, callback in enumerate(submission.options.get("callbacks", ())):
        to, options = callback["to"], {}
        target: Any = {"$outcome": 0}
        if "://" in to:
            target, options, to = {"url": to, "outcome": target}, dict(WEBHOOK_OPTIONS), f"{BUILT_IN}/webhook"
        edge = {"id": submission.id} | ({"on": callback["on"]} if callback["on"] != "success" else {})
        options |= {"after": [edge], "on_unmet": "skip"}
        if "result_ttl_ms" in submission.options:
            options["result_ttl_ms"] = submission.options["result_ttl_ms"]
        id = namespace.derive(submission.id, number)
        made.append(Submission(id, task_ref(to), Payload(json.dumps(target).encode(), JSON), options, is_awaited=False))
    return made
