"""`async_function`: a decorator that makes a function run elsewhere, and a receiver that stores what it came to."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

from django.db import close_old_connections
from django.dispatch import Signal, receiver
from django.utils import timezone

from celeriac import CeleriacError, Client, Outcome, State, SyncHandle

from .models import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    Callback = Callable[[SyncHandle], object]

logger = logging.getLogger(__name__)

# One for the process: it connects at the first use.
client = Client()

#: Sent with `handle` and `outcome` when an invocation has ended; on a thread of the client's.
invocation_ended = Signal()

_left = 0
_changed = threading.Condition()


class AsyncFunction:
    """What the decorator makes of a function. Calling it hands in an invocation and returns its handle."""

    def __init__(self, function: Callable[..., Any], task: str, callback: Callback | None) -> None:
        functools.update_wrapper(self, function)
        self._signature = inspect.signature(function)
        self._task = task
        self._callback = callback

    def __call__(self, *args: Any, **fields: Any) -> SyncHandle:
        """Hands in an invocation; the default callback is called at its end."""
        return self.with_callback(args, fields, self._callback)

    def with_callback(self, args: Any, fields: Any, callback: Callback | None) -> SyncHandle:
        """As a call, with a callback of its own."""
        handle = client.submit(self._task, self._input(args, fields))
        Result.objects.create(id=handle.id, task=self._task)
        receive(handle, callback)
        return handle

    def sync(self, *args: Any, **fields: Any) -> Any:
        """Runs it and waits for its result; nothing is stored."""
        return client.call(self._task, self._input(args, fields))

    def _input(self, args: Any, fields: Any) -> dict[str, Any]:
        bound = self._signature.bind(*args, **fields)
        bound.apply_defaults()
        return dict(bound.arguments)


def async_function(task: str, callback: Callback | None = None) -> Callable[[Callable[..., Any]], AsyncFunction]:
    """Has calls of the function run as `task`; its parameters are the fields of the input."""
    return lambda function: AsyncFunction(function, task, callback)


def receive(handle: SyncHandle, callback: Callback | None = None) -> None:
    """Has the result stored, then the callback called, when the invocation has ended."""
    global _left  # noqa: PLW0603 one count for the process, as there is one client

    def ended(handle: SyncHandle) -> None:
        global _left  # noqa: PLW0603
        try:
            invocation_ended.send(sender=AsyncFunction, handle=handle, outcome=outcome_of(handle))
            if callback is not None:
                callback(handle)
        except Exception:
            logger.exception("what follows invocation %s has failed", handle.id)
        finally:
            close_old_connections()
            with _changed:
                _left -= 1
                _changed.notify_all()

    with _changed:
        _left += 1
    handle.on_done(ended)


def outcome_of(handle: SyncHandle) -> Outcome | CeleriacError:
    """What an ended invocation came to; an error when its record has gone."""
    try:
        return handle.wait()
    except CeleriacError as error:
        return error


@receiver(invocation_ended)
def store(handle: SyncHandle, outcome: Outcome | CeleriacError, **_: object) -> None:
    """The receiver: state and result go into the table in one statement."""
    fields: dict[str, Any] = {"ended_at": timezone.now()}
    if isinstance(outcome, CeleriacError):
        fields |= {"state": State.EXPIRED.value, "failure": {"kind": type(outcome).__name__, "message": str(outcome)}}
    else:
        failure, output = outcome.failure, outcome.output
        fields |= {"state": outcome.state.value, "failure": failure and dataclasses.asdict(failure)}
        fields["output"] = json.loads(output.data) if output is not None and output.is_json else None
    Result.objects.filter(id=handle.id).update(**fields)


def wait_all(timeout: float | None = None) -> bool:
    """Waits until everything that this process has handed in has ended and is stored; whether it has."""
    with _changed:
        return _changed.wait_for(lambda: _left == 0, timeout)


def receive_missed() -> int:
    """Takes up what was handed in by a process that is gone: its results are at the broker. How many there are."""
    unended = list(Result.objects.filter(ended_at=None).values_list("id", flat=True))
    for id in unended:
        receive(client.handle(str(id)))
    return len(unended)


def get_result(id: object) -> tuple[str, Any]:
    """State and result of an invocation, from the table."""
    result = Result.objects.get(id=id)
    return result.state, result.output if result.failure is None else result.failure
