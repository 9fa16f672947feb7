"""Listing, from what is there anyway: the leases for what runs, the due times for what is scheduled, and the records
themselves for everything else.

All three are walked with Redis' cursors, which give what is there all the time at least once, and hold nothing in the
server.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from ..errors import Damaged
from ..mailbox import logger
from ..outcome import State
from . import records
from .link import PREFIX
from .scripts import script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..listing import Wanted
    from ..outcome import Status
    from .link import Link

#: Keys looked at in one step: less than a millisecond of the server's time.
STEP = 500

#: Records read in one call: a megabyte, were each one to carry a long trace.
READ = 100

#: The letter of each state in field `s`.
LETTERS = {state: letter for letter, state in records.STATES.items()} | {State.QUEUED: "q"}


async def listing(link: Link, wanted: Wanted) -> AsyncIterator[Status]:
    """What is asked for."""
    cursor = 0
    while True:
        cursor, ids = await _step(link, wanted, cursor)
        for at in range(0, len(ids), READ):
            for status in await _read(link, wanted, ids[at : at + READ]):
                yield status
        if cursor == 0:
            return


async def _step(link: Link, wanted: Wanted, cursor: int) -> tuple[int, list[str]]:
    """One step of the walk: the cursor after it, and its ids in order."""
    if wanted.states == (State.RUNNING,):
        answer = await link.run("ZSCAN", f"{PREFIX}leases", cursor, "COUNT", STEP)
    elif wanted.states in ((State.SCHEDULED,), (State.BLOCKED,)):
        answer = await link.run("ZSCAN", f"{PREFIX}due", cursor, "COUNT", STEP)
    else:
        own = f"{PREFIX}i:"
        answer = await link.run("SCAN", cursor, "MATCH", f"{own}*", "COUNT", STEP)
        ids = {name.decode(errors="replace").removeprefix(own) for name in answer[1]}
        return int(answer[0]), sorted(filter(_is_id, ids))
    return int(answer[0]), sorted(filter(_is_id, {member.decode(errors="replace") for member in answer[1][::2]}))


def _is_id(text: str) -> bool:
    """Whether this is ours: what is no id was written by somebody else."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


async def _read(link: Link, wanted: Wanted, ids: list[str]) -> list[Status]:
    def number(value: int | None) -> Any:
        return "" if value is None else value

    width = len(records.STATUS_FIELDS) + 1
    flat = await link.call(
        script("list"),
        "".join(LETTERS[state] for state in wanted.states),
        wanted.queue or "",
        number(wanted.older_than_ms),
        number(wanted.newer_than_ms),
        number(wanted.since_ms),
        number(wanted.until_ms),
        wanted.key or "",
        len(records.STATUS_FIELDS),
        *records.STATUS_FIELDS,
        *ids,
    )
    found = []
    for at in range(0, len(flat), width):
        try:
            status = records.status(flat[at].decode(), flat[at + 1 : at + width])
        except Damaged as error:
            # One that is damaged must not keep the others from being listed.
            logger.warning("an invocation cannot be listed: %s", error)
            continue
        if wanted.admits(status):
            found.append(status)
    return found
