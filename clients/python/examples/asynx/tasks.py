"""Tasks that are HTTP requests: handed to `http/dispatch`, which sends them from a sandbox, as its grants allow."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from forms import REPORT, Callback, NewTask, timing
from store import Row, Store

from celeriac import After, AsyncClient, NoSuchSchedule, NotUnique, State, Status, Unique, UnknownInvocation

if TYPE_CHECKING:
    from celeriac import Flow, Handle, Options, Step

logger = logging.getLogger("asynx")

#: Redirects that are followed unless the caller says otherwise.
REDIRECTS = 5

#: How states are called here.
STATUSES = {
    State.BLOCKED: "waiting",
    State.SCHEDULED: "delayed",
    State.QUEUED: "new",
    State.RUNNING: "running",
    State.SUCCEEDED: "success",
    State.FAILED: "failure",
    State.EXPIRED: "failure",
    State.CANCELLED: "revoked",
}

End = Literal["success", "failure", "done"]
#: The ends that callbacks are about.
ENDS: tuple[tuple[str, End], ...] = (("on_success", "success"), ("on_failure", "failure"), ("on_complete", "done"))

Place = tuple[str, str]


class TaskNotFound(Exception):
    """There is no such task in this queue of this application."""


class TaskAlreadyExists(Exception):
    """Another task of this name waits or runs."""


class Tasks:
    """The tasks of all applications."""

    def __init__(self, client: AsyncClient, store: Store) -> None:
        self._client = client
        self._store = store
        self._dispatch = client.task("http/dispatch")

    def resume(self) -> None:
        """Reports what ends from now on, and what ended while this process was away."""
        for row in self._store.unreported():
            self._client.handle(row.uuid or "").on_done(partial(self._report, row))

    # ---- adding -----------------------------------------------------------------------------------

    async def add(self, place: Place, new: NewTask) -> dict[str, Any]:
        """Hands in a task with all that follows it."""
        if new.schedule is not None:
            return await self._schedule(place, new, new.schedule)
        row = self._store.find(place, "cname", new.cname) if new.cname else None
        if row is not None and row.schedule is not None:
            raise TaskAlreadyExists(f'task "{new.cname}" exists already: schedule {row.schedule}')
        flow = self._client.flow()
        steps: list[tuple[Step[Any], Callback, int | None]] = []
        self._add(flow, steps, place, new, None)
        try:
            await flow.submit()
        except NotUnique as error:
            raise TaskAlreadyExists(f'task "{new.cname}" exists already: {error.existing}') from error
        rows: list[Row] = []
        for step, task, parent in steps:
            reports = REPORT in (task.on_success, task.on_failure, task.on_complete)
            document = task.model_dump(mode="json", exclude_none=True)
            above = None if parent is None else rows[parent].id
            row = self._store.insert(place, document, uuid=step.id, parent=above, is_reported=not reports)
            if reports:
                step.handle.on_done(partial(self._report, row))
            rows.append(row)
        return await self.document(rows[0])

    def _add(
        self,
        flow: Flow,
        steps: list[tuple[Step[Any], Callback, int | None]],
        place: Place,
        task: Callback,
        above: tuple[int, End] | None,
    ) -> None:
        """Adds a task to the flow, and the tasks that follow it; `above` is what it follows, and its end."""
        options: Options = {"queue": queue_of(place)}
        if task.request.retries is not None:
            options["retry"] = task.request.retries
        if isinstance(task, NewTask):
            if task.countdown is not None:
                options["countdown"] = task.countdown
            if task.eta is not None:
                options["eta"] = task.eta
            if task.cname is not None:
                # The broker sees to it that there is one at a time, whichever process asks.
                options["unique"] = Unique(f"asynx/{'/'.join(place)}/{task.cname}")
        for name, _ in ENDS:
            callback = getattr(task, name)
            if isinstance(callback, str) and callback != REPORT:
                # Told by the host, signed, again and again until it is taken.
                options[name] = callback  # type: ignore[literal-required]
        after = []
        if above is not None:
            options["on_unmet"] = "skip"
            after = [After(steps[above[0]][0], above[1])]
        chained = None if above is None else steps[above[0]][1]
        step = flow.add(self._dispatch.options(**options), dispatched(place, task, chained), after=after)
        steps.append((step, task, None if above is None else above[0]))
        number = len(steps) - 1
        for name, end in ENDS:
            callback = getattr(task, name)
            if isinstance(callback, Callback):
                self._add(flow, steps, place, callback, (number, end))

    async def _schedule(self, place: Place, new: NewTask, schedule: str) -> dict[str, Any]:
        name = schedule_of(place, new.cname or "")
        row = self._store.find(place, "cname", new.cname or "")
        if row is not None and row.schedule is None and row.uuid is not None and await self._is_live(row):
            raise TaskAlreadyExists(f'task "{new.cname}" exists already: {row.uuid}')
        try:
            row = self._store.insert(place, new.model_dump(mode="json", exclude_none=True), schedule=name)
        except sqlite3.IntegrityError as error:
            raise TaskAlreadyExists(f'task "{new.cname}" exists already: schedule {name}') from error
        try:
            options: Options = {"queue": queue_of(place)}
            if new.request.retries is not None:
                options["retry"] = new.request.retries
            when: Any = timing(schedule)
            await self._client.schedules.put(name, "http/dispatch", dispatched(place, new, None), **when, **options)
        except BaseException:
            self._store.delete(row)
            raise
        return await self.document(row)

    async def _is_live(self, row: Row) -> bool:
        try:
            return not (await self._client.handle(row.uuid or "").status()).state.is_terminal
        except UnknownInvocation:
            return False

    # ---- looking, listing, deleting: one way for every kind of identifier ----------------------------

    def find(self, place: Place, identifier: str) -> Row:
        """The task that `7`, `id:7`, `uuid:…` or `cname:…` names in this queue of this application."""
        kind, colon, value = identifier.partition(":")
        if not colon:
            kind, value = "id", identifier
        row = None
        if kind in ("uuid", "cname"):
            row = self._store.find(place, kind, value)
        elif kind == "id" and value.isascii() and value.isdigit() and int(value) < 2**63:
            row = self._store.find(place, kind, int(value))
        if row is None:
            raise TaskNotFound(f"there is no task `{identifier}` in {'/'.join(place)}")
        return row

    async def list(self, place: Place, offset: int, limit: int) -> dict[str, Any]:
        """Some tasks of a queue, and how many there are."""
        rows, total = self._store.page(place, offset, limit)
        items = await asyncio.gather(*map(self.document, rows), return_exceptions=True)
        for item in items:
            if isinstance(item, BaseException) and not isinstance(item, TaskNotFound):
                raise item
        return {"items": [item for item in items if isinstance(item, dict)], "total": total}

    async def delete(self, row: Row) -> None:
        """Removes a schedule; stops what waits or runs, and what would have followed it."""
        for child in self._store.children(row):
            await self.delete(child)
        try:
            if row.schedule is not None:
                await self._client.schedules.remove(row.schedule)
            elif row.uuid is not None:
                await self._client.handle(row.uuid).cancel()
        except (NoSuchSchedule, UnknownInvocation):
            pass
        self._store.delete(row)

    async def document(self, row: Row) -> dict[str, Any]:
        """A task as callers see it."""
        made: dict[str, Any] = {name: row.document.get(name) for name in ("request", "on_success", "on_complete")}
        made |= {"id": row.id, "uuid": row.uuid, "cname": row.cname, "on_failure": row.document.get("on_failure")}
        made |= {"eta": row.document.get("eta"), "countdown": row.document.get("countdown")}
        made |= {"schedule": row.document.get("schedule")}
        try:
            made |= await (self._of_schedule(row) if row.schedule else self._of_invocation(row))
        except (NoSuchSchedule, UnknownInvocation) as error:
            # Its result has expired, or somebody has removed it elsewhere.
            self._store.delete(row)
            raise TaskNotFound(str(error)) from error
        return made

    async def _of_schedule(self, row: Row) -> dict[str, Any]:
        there = await self._client.schedules.get(row.schedule or "")
        runs = [{"at_ms": run.at_ms, "uuid": run.id, "result": run.result} for run in there.runs]
        return {"status": "scheduled", "next_ms": list(there.next_ms), "runs": runs}

    async def _of_invocation(self, row: Row) -> dict[str, Any]:
        handle = self._client.handle(row.uuid or "")
        status: Status = await handle.status()
        made: dict[str, Any] = {"status": STATUSES[status.state], "attempts": status.attempts}
        if not status.state.is_terminal:
            return made
        outcome = await handle.outcome()
        if outcome.code == "skipped":
            return made | {"status": "skipped"}
        if outcome.output is not None:
            return made | {"response": outcome.output.value()}
        failure = outcome.failure
        error = {"kind": failure.kind, "message": failure.message, "details": failure.details} if failure else None
        return made | {"error": error}

    # ---- reports ----------------------------------------------------------------------------------

    async def _report(self, row: Row, handle: Handle[Any]) -> None:
        """Writes the end of a task into the application's log, once, also when this process was away meanwhile."""
        name = f"{row.app}/{row.queue}/{row.cname or row.id}"
        try:
            outcome = await handle.outcome()
        except UnknownInvocation as error:
            logger.warning("%s: nobody knows any more what it came to: %s", name, error)
            self._store.reported(row)
            return
        end = {"success": "on_success", "failure": "on_failure"}.get(STATUSES[outcome.state], "")
        if REPORT in (row.document.get(end), row.document.get("on_complete")):
            request, failure = row.document["request"], outcome.failure
            why = f": {failure.message}" if failure else ""
            level = logging.INFO if outcome.is_success else logging.WARNING
            logger.log(level, "%s %s %s: %s%s", name, request["method"], request["url"], outcome.code, why)
        self._store.reported(row)


def queue_of(place: Place) -> str:
    """The queue at the broker: each application has its own."""
    return ".".join(place)


def schedule_of(place: Place, cname: str) -> str:
    """The schedule at the broker."""
    return "asynx." + hashlib.sha256("\0".join((*place, cname)).encode()).hexdigest()[:32]


def dispatched(place: Place, task: Callback, chained: Callback | None) -> dict[str, Any]:
    """The input of `http/dispatch`."""
    request = task.request
    follows = request.allow_redirects is not False and request.method != "HEAD"
    own = {"X-Asynx-QueueName": place[1], "X-Asynx-TaskETA": "-"}
    if isinstance(task, NewTask):
        own |= {"X-Asynx-TaskETA": task.eta.isoformat()} if task.eta else {}
        own |= {"X-Asynx-TaskCName": task.cname} if task.cname else {}
    if chained is not None:
        own |= {"X-Asynx-Chained": chained.request.url}
        if isinstance(chained, NewTask) and chained.cname:
            own |= {"X-Asynx-Chained-TaskCName": chained.cname}
    taken = {name.lower() for name in own}
    given = {name: value for name, value in request.headers.items() if name.lower() not in taken}
    made: dict[str, Any] = {
        "url": request.url,
        "method": request.method,
        "headers": given | own,
        "follow": REDIRECTS if follows else 0,
        # A redirect that was not to be followed is the answer, whichever it is.
        "expect": request.expect or (["200-299"] if follows else ["200-399"]),
    }
    if request.timeout is not None:
        made["timeout"] = request.timeout
    if request.payload is not None:
        made["body"] = request.payload
    elif chained is not None:
        # Id, code, output and failure of what it follows.
        made["json"] = {"$outcome": 0}
    return made
