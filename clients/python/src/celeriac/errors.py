"""What a caller can be told instead of a result. Every message says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class CeleriacError(Exception):
    """Anything that this package raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have arguments of their own: what they made of them travels between processes.
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[CeleriacError], args: tuple[Any, ...], state: dict[str, Any]) -> CeleriacError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


def stored(error: CeleriacError) -> dict[str, Any]:
    """An error as JSON, for a file that another process reads."""
    state = {name: value for name, value in error.__dict__.items() if isinstance(value, (str, int, float, list, dict))}
    return {"type": type(error).__name__, "message": str(error), "state": state}


def restored(document: dict[str, Any]) -> CeleriacError:
    """The error in such a document; one of a type that this version does not know keeps its message."""
    kind = globals().get(document["type"])
    if not isinstance(kind, type) or not issubclass(kind, CeleriacError):
        kind = CeleriacError
    state = {"message": document["message"], **document["state"]}
    return _rebuild(kind, (document["message"],), state)


@dataclass(frozen=True)
class LimitHit:
    """A limit that stopped an attempt."""

    #: Which limit, as it is called in the configuration.
    name: str
    #: What was allowed, in the limit's unit.
    allowed: int
    #: What was seen, in the limit's unit.
    seen: int
    #: What to change so that more is allowed.
    remedy: str


@dataclass(frozen=True)
class Failure:
    """Why an invocation did not succeed."""

    #: A short word for programs: the task's own when the code is `task_error`, else the code.
    kind: str = ""
    #: A sentence for people.
    message: str = ""
    #: Whether running the same input again may succeed.
    retryable: bool = False
    #: Seconds that the task asked to wait before a retry.
    retry_after_seconds: float | None = None
    #: Whatever else a caller can use, as the task gave it.
    details: Any = None
    #: The guest's stack, innermost frame first.
    trace: str | None = None
    #: The limit that was hit, where one was.
    limit: LimitHit | None = None

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Failure:
        """As it stands in an outcome. Fields that a later version adds are passed over."""
        known = {name: stored[name] for name in cls.__dataclass_fields__ if name in stored}
        if limit := known.get("limit"):
            known["limit"] = LimitHit(**{name: limit[name] for name in LimitHit.__dataclass_fields__})
        return cls(**known)


class TaskFailed(CeleriacError):
    """An invocation that ended without an output. `code` is stable; the common codes have classes of their own."""

    def __init__(self, failure: Failure, *, code: str = "task_error", id: str = "") -> None:
        word = f" ({failure.kind})" if failure.kind and failure.kind != code else ""
        remedy = f"; {failure.limit.remedy}" if failure.limit else ""
        subject = f"invocation {id} ended with " if id else ""
        super().__init__(f"{subject}{code}{word}: {failure.message}{remedy}")
        self.id = id
        self.code = code
        self.failure = failure
        #: A short word for programs: the task's own when the code is `task_error`, else the code.
        self.kind = failure.kind
        #: The task's sentence alone; `str(error)` has everything.
        self.message = failure.message
        self.retryable = failure.retryable
        self.trace = failure.trace
        self.details = failure.details
        self.limit = failure.limit


class OutOfFuel(TaskFailed):
    """The task burnt all the fuel it was allowed."""


class DeadlineExceeded(TaskFailed):
    """The attempt, or the whole invocation, took longer than it was allowed."""


class MemoryLimit(TaskFailed):
    """The task asked for more memory than it was allowed."""


class Cancelled(TaskFailed):
    """Somebody cancelled the invocation."""


class Skipped(Cancelled):
    """The invocation waited for an end that did not come, and was to be skipped then."""


class DependencyFailed(TaskFailed):
    """The invocation waited for an end that did not come."""


class Expired(TaskFailed):
    """The invocation was not started in time."""


#: What is raised for which code; any other is a plain `TaskFailed`.
BY_CODE: dict[str, type[TaskFailed]] = {
    "out_of_fuel": OutOfFuel,
    "deadline": DeadlineExceeded,
    "memory_limit": MemoryLimit,
    "cancelled": Cancelled,
    "skipped": Skipped,
    "dependency_failed": DependencyFailed,
    "expired": Expired,
}


class UnknownInvocation(CeleriacError):
    """There is no record of the invocation."""

    def __init__(self, message: str, id: str) -> None:
        super().__init__(message)
        self.id = id


class NotFound(UnknownInvocation):
    """No such invocation was ever accepted here."""

    def __init__(self, id: str) -> None:
        super().__init__(f"invocation {id} is not known here: check the id and the broker's address", id)


class ResultExpired(UnknownInvocation):
    """The invocation was accepted here, but its record has been dropped."""

    def __init__(self, id: str) -> None:
        remedy = "keep results longer with `result_ttl=`"
        super().__init__(f"invocation {id} was accepted here, but its record has expired: {remedy}", id)


class NoSuchModule(CeleriacError):
    """No module has this name, version or digest."""

    def __init__(self, module: str) -> None:
        remedy = f"`celeriac modules` lists what there is, `celeriac push FILE --name {module}` adds one"
        super().__init__(f"there is no module `{module}`: {remedy}")
        self.module = module


class NoSuchTask(CeleriacError):
    """The module has no such task."""

    def __init__(self, task: str) -> None:
        module = task.rpartition("/")[0]
        super().__init__(f"there is no task `{task}`: `celeriac modules show {module}` lists the module's tasks")
        self.task = task


class NoSuchParent(UnknownInvocation):
    """The invocation that another shall wait for is not known, or no longer."""

    def __init__(self, id: str) -> None:
        super().__init__(
            f"invocation {id}, which is to be waited for, is not known here or has expired: check its id", id
        )


class NoSuchSchedule(CeleriacError):
    """There is no schedule of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule `{name}`: `client.schedules.list()` has what there is")
        self.name = name


class NoDeadLetter(CeleriacError):
    """The invocation is no dead letter, or no longer."""

    def __init__(self, id: str) -> None:
        remedy = "it was retried or dropped, has expired, or has not failed: `handle.status()` tells"
        super().__init__(f"invocation {id} is no dead letter: {remedy}")
        self.id = id


class GatewayNeeded(CeleriacError):
    """Hosts work this out, so it is asked of one, over HTTP."""

    def __init__(self, address: str, path: str) -> None:
        what = path.removeprefix("/v1/").partition("/")[0].replace("-", " ")
        remedy = f"connect to a host's gateway (http://…, https://…), or use `celeriac {what.partition(' ')[0]}`"
        super().__init__(f"{what} cannot be worked on over {address.partition(':')[0]}://: {remedy}")
        self.address = address


class Conflict(CeleriacError):
    """A key of the submit belongs to another invocation; nothing of this one was accepted."""

    def __init__(self, message: str, key: str, existing: str) -> None:
        super().__init__(message)
        self.key = key
        #: The id of the invocation that has the key: `client.handle(error.existing)`.
        self.existing = existing


class IdempotencyConflict(Conflict):
    """The idempotency key belongs to an invocation with another task or input."""

    def __init__(self, key: str, existing: str) -> None:
        message = f"idempotency key `{key}` belongs to invocation {existing}, which has another task or input"
        super().__init__(f"{message}: use a key for one thing only", key, existing)


class NotUnique(Conflict):
    """Another invocation holds the unique key."""

    def __init__(self, key: str, existing: str) -> None:
        remedy = "await that one, cancel it, or submit with another `on_conflict`"
        super().__init__(f"unique key `{key}` is held by invocation {existing}: {remedy}", key, existing)


class Overloaded(CeleriacError):
    """There is no room at this moment: nothing of this invocation was accepted, and it is not tried again by itself."""


class QueueFull(Overloaded):
    """A queue takes no more: `depth` invocations wait in `queue`, and `limit` may."""

    def __init__(self, queue: str, depth: int, limit: int) -> None:
        remedy = (
            "submit again when some have run, have more hosts serve it, or raise the limit: "
            f"`celeriac limits set queue:{queue} --max-queue N`"
        )
        super().__init__(f"queue `{queue}` is overloaded: {depth} invocations wait in it and {limit} may; {remedy}")
        self.queue, self.depth, self.limit = queue, depth, limit


class BrokerUnavailable(CeleriacError):
    """The broker does not answer. What was submitted with the failed call may or may not have been accepted."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"the broker at {address} does not answer: {reason}")
        self.address = address
        self.reason = reason


class OutboxFull(BrokerUnavailable):
    """The broker does not answer, and the outbox takes no more: nothing of this invocation was kept."""

    def __init__(self, address: str, path: str, full: str) -> None:
        remedy = "see why the broker is away, discard what was refused, or give the outbox more room"
        super().__init__(address, f"it cannot be reached, and the outbox {path} holds {full}; {remedy}")
        self.path = path


class OutboxUnusable(CeleriacError):
    """The outbox cannot be read or written."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the outbox {path} cannot be used: {reason}")
        self.path = path


class BrokerUnfit(CeleriacError):
    """The broker must not be used as it is set up, or refuses this user."""

    def __init__(self, address: str, reason: str, remedy: str) -> None:
        super().__init__(f"the broker at {address} cannot be used: {reason}; {remedy}")
        self.address = address
        self.reason = reason
        self.remedy = remedy


class Damaged(CeleriacError):
    """What is stored cannot be read."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} is damaged in the store: {reason}")


class InvalidArgument(CeleriacError, ValueError):
    """Something that a person wrote does not have the form that it must have."""

    def __init__(self, what: str, got: str, expected: str) -> None:
        super().__init__(f"{what} `{got if len(got) <= 80 else got[:80] + '…'}` is not valid: expected {expected}")
        self.what = what
        #: What a gateway found wrong, field by field: `pointer` and `message`.
        self.fields: list[dict[str, Any]] = []

    @classmethod
    def told(cls, message: str, fields: list[dict[str, Any]]) -> InvalidArgument:
        """As a gateway has put it."""
        error = cls("", "", "")
        error.args = (message,)
        error.message, error.what, error.fields = message, "request", fields
        return error


class PayloadTooLarge(CeleriacError, ValueError):
    """A payload is larger than the broker takes."""

    def __init__(self, what: str, size: int, limit: int, setting: str) -> None:
        super().__init__(f"the {what} has {size} bytes and the limit is {limit}: make it smaller, or raise `{setting}`")
        self.size = size
        self.limit = limit

    @classmethod
    def told(cls, message: str) -> PayloadTooLarge:
        """As a gateway has put it, without the numbers."""
        error = cls("payload", 0, 0, "caps")
        error.args = (message,)
        error.message = message
        return error


class EncodeError(CeleriacError, TypeError):
    """The input cannot be written as JSON."""


class DecodeError(CeleriacError, ValueError):
    """The output is not of the type that the caller asked for. The result is stored all the same."""


class ResultTimeout(CeleriacError, TimeoutError):
    """The result did not come in time. The invocation goes on: await it again, or cancel it."""

    def __init__(self, id: str, waited: float) -> None:
        super().__init__(f"invocation {id} has not ended within {waited:g} s; it goes on")
        self.id = id


class ModuleRefused(CeleriacError):
    """An uploaded module was refused; `findings` says what is wrong, where, and what to do about it."""

    def __init__(self, findings: list[dict[str, str]]) -> None:
        def line(finding: dict[str, str]) -> str:
            remedy = finding.get("remedy")
            return f"{finding['place']}: {finding['message']}" + (f"\n  → {remedy}" if remedy else "")

        super().__init__("the module was refused:\n" + "\n".join(map(line, findings)))
        self.findings = findings


class ClientClosed(CeleriacError):
    """The client has been closed."""

    def __init__(self) -> None:
        super().__init__("the client is closed: make a new one")
