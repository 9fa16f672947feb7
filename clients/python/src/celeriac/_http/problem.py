"""From `application/problem+json` to what a caller is told."""

from __future__ import annotations

import re
from typing import Any

import httpx

from ..errors import (
    BrokerUnavailable,
    BrokerUnfit,
    CeleriacError,
    Damaged,
    IdempotencyConflict,
    InvalidArgument,
    ModuleRefused,
    NoDeadLetter,
    NoSuchModule,
    NoSuchParent,
    NoSuchSchedule,
    NoSuchTask,
    NotFound,
    NotUnique,
    Overloaded,
    PayloadTooLarge,
    QueueFull,
    ResultExpired,
)


def exception(problem: dict[str, Any], address: str, *, id: str = "", task: str = "") -> CeleriacError:
    """The exception for a problem; `id` and `task` are what was asked about."""
    code = str(problem.get("code", ""))
    detail = str(problem.get("detail") or problem.get("title") or code)
    made: dict[str, Any] = {
        "not_found": lambda: NotFound(id),
        "expired": lambda: ResultExpired(id),
        "no_module": lambda: NoSuchModule(task.rpartition("/")[0] or task),
        "no_task": lambda: NoSuchTask(task),
        "no_dead_letter": lambda: NoDeadLetter(task),
        "no_schedule": lambda: NoSuchSchedule(task),
        "no_parent": lambda: NoSuchParent(_first_id(detail)),
        "idempotency_conflict": lambda: IdempotencyConflict(_key(detail), problem.get("existing") or ""),
        "not_unique": lambda: NotUnique(_key(detail), problem.get("existing") or ""),
        "unauthorized": lambda: BrokerUnfit(address, detail, "pass a token: `token=…`, or the variable CELERIAC_TOKEN"),
        "forbidden": lambda: BrokerUnfit(address, detail, "use a token that has the scope: `celeriac token new`"),
        "unfit": lambda: BrokerUnfit(address, detail, "see `celeriac doctor`"),
        "unavailable": lambda: BrokerUnavailable(address, detail),
        "timeout": lambda: BrokerUnavailable(address, detail),
        "overloaded": lambda: _overloaded(detail, problem, address),
        "damaged": lambda: Damaged("what was asked for", detail),
        "refused": lambda: ModuleRefused(problem.get("findings") or []),
        "invalid": lambda: _invalid(detail, problem),
        "too_large": lambda: PayloadTooLarge.told(detail),
    }
    if code == "no_route" and (path := httpx.URL(address).path) not in ("", "/"):
        return _off_the_path(address, path)
    if code in made:
        error: CeleriacError = made[code]()
        return error
    return CeleriacError(f"{address} has answered {problem.get('status', '')} {code}: {detail}")


ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def _first_id(text: str) -> str:
    """The id that a message is about."""
    found = re.search(ID, text)
    return found[0] if found else ""


def _key(text: str) -> str:
    """The key that a message is about, whatever stands in it."""
    found = re.search(r"key `(.*)` (?:belongs to|is held by) invocation ", text)
    return found[1] if found else ""


#: How a gateway tells of a full queue that does not give its name and numbers as members.
FULL = re.compile(r"queue `(.*)` is overloaded: (\d+) invocations wait in it and (\d+) may")


def _overloaded(detail: str, problem: dict[str, Any], address: str) -> Overloaded:
    """A queue that is full, or a gateway that has too much to do."""
    if "queue" in problem:
        return QueueFull(problem["queue"], problem["depth"], problem["limit"])
    if full := FULL.match(detail):
        return QueueFull(full[1], int(full[2]), int(full[3]))
    return Overloaded(f"the gateway at {address} is overloaded: {detail}")


#: The place of an invocation in a request: a caller knows its own only.
PLACE = re.compile(r"/invocations/\d+(?=/|$)")


def _invalid(detail: str, problem: dict[str, Any]) -> InvalidArgument:
    """Each field that is wrong, where the gateway names some; its sentence too, unless it says no more than a field."""
    fields = [{**error, "pointer": PLACE.sub("", error.get("pointer") or "")} for error in problem.get("errors") or []]
    message = "; ".join(map(_field, fields))
    if not any(field.get("message", "") in detail for field in fields):
        detail = PLACE.sub("", detail)
        message = f"{detail}: {message}" if message else detail
    return InvalidArgument.told(message, fields)


def _field(field: dict[str, Any]) -> str:
    """What is wrong with a field; what is wrong with the whole has none to name."""
    message = str(field.get("message", ""))
    return f"`{field['pointer']}`: {message}" if field["pointer"] else message


def _off_the_path(address: str, path: str) -> BrokerUnfit:
    """That the gateway is not where the URL says."""
    without = address.removesuffix(path.rstrip("/"))
    if path.rstrip("/") == "/v1":
        remedy = f"write {without}: the client itself puts `/v1` behind it"
    else:
        remedy = f"write {without}, or the path from which a proxy leads to the gateway"
    return BrokerUnfit(address, f"a gateway answers there, and has nothing at the path `{path}`", remedy)
