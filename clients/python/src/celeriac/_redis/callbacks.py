"""What follows an end: invocations that wait for it, handed in together with what ends."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import CeleriacError, InvalidArgument, NoSuchModule, NoSuchTask
from ..names import BUILT_IN, task_ref
from ..payload import JSON, Payload
from ..transport import Submission
from .link import PREFIX

if TYPE_CHECKING:
    from ..ids import Namespace
    from .link import Link

#: The most callbacks of one invocation, and the longest URL.
MAX_CALLBACKS, MAX_URL = 16, 2048

#: How often a server that does not take a delivery is tried again.
WEBHOOK_OPTIONS = {"retries": 16, "backoff": "exponential(2s, 2h)"}


def _names_a_host(rest: str) -> bool:
    """Whether what follows the scheme of a URL begins with a host, behind a user's name and before a port."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    return bool(host) and not host.startswith(":")


async def look(link: Link, submission: Submission) -> CeleriacError | None:
    """Why one of its callbacks cannot be run."""
    callbacks = submission.options.get("callbacks", ())
    if len(callbacks) > MAX_CALLBACKS:
        return InvalidArgument("callbacks", f"{len(callbacks)} callbacks", f"at most {MAX_CALLBACKS}")
    for callback in callbacks:
        to = callback["to"]
        if "://" in to:
            is_http = to.startswith(("https://", "http://")) and _names_a_host(to.partition("://")[2])
            if not is_http or not to.isascii() or " " in to or len(to) > MAX_URL:
                return InvalidArgument("callback", to, "MODULE/TASK, `https://HOST…` or `http://HOST…`")
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
