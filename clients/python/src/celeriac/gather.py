"""Many handles at once: without a task of the event loop for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, overload

from typing_extensions import TypeVar

from .errors import CeleriacError, ResultTimeout
from .outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .handle import Handle
    from .mailbox import Slot

T = TypeVar("T", default=Any)


async def _subscribe(handles: Iterable[Handle[Any]]) -> list[Slot]:
    """The slots of all, asked for in as few requests as fit."""
    slots = [await handle.registered() for handle in handles]
    for mailbox in {slot.mailbox for slot in slots}:
        await mailbox.subscribe([slot for slot in slots if slot.mailbox is mailbox])
    return slots


async def _filled(slots: list[Slot], *, until_failure: bool) -> None:
    """Waits until all are filled, or one of them with something else than an output."""
    ended = asyncio.get_running_loop().create_future()
    left = len(slots)

    def filled(slot: Slot) -> None:
        nonlocal left
        left -= 1
        has_output = isinstance(slot.answer, Outcome) and slot.answer.is_success
        if not ended.done() and (left == 0 or (until_failure and not has_output)):
            ended.set_result(None)

    for slot in slots:
        slot.when_filled(lambda slot=slot: filled(slot))  # type: ignore[misc]
    if slots:
        await ended


@overload
async def gather(*handles: Handle[T], return_exceptions: Literal[False] = False) -> list[T]: ...
@overload
async def gather(*handles: Handle[T], return_exceptions: bool) -> list[T | CeleriacError]: ...


async def gather(*handles: Handle[Any], return_exceptions: bool = False) -> list[Any]:
    """Awaits the results of all, in the order of the handles.

    The first failure is raised at once, and the others go on; with `return_exceptions` failures stand in the list.
    """
    slots = await _subscribe(handles)
    await _filled(slots, until_failure=not return_exceptions)
    if not return_exceptions:
        for handle, slot in zip(handles, slots):
            if isinstance(slot.answer, CeleriacError) or (slot.answer is not None and not slot.answer.is_success):
                await handle.result()
    results: list[Any] = []
    for handle in handles:
        try:
            results.append(await handle.result())
        except CeleriacError as error:
            if not return_exceptions:
                raise
            results.append(error)
    return results


async def as_completed(handles: Iterable[Handle[T]], timeout: float | None = None) -> AsyncIterator[Handle[T]]:
    """Yields each handle when it has ended.

    `async for handle in as_completed(handles): print(await handle)`
    """
    handles = list(handles)
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    ended: asyncio.Queue[Handle[T]] = asyncio.Queue()
    for handle, slot in zip(handles, await _subscribe(handles)):
        slot.when_filled(lambda handle=handle: ended.put_nowait(handle))  # type: ignore[misc]
    for _ in handles:
        try:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            yield await asyncio.wait_for(ended.get(), left)
        except asyncio.TimeoutError:
            pending = next(handle for handle in handles if not handle.done())
            raise ResultTimeout(pending.id, timeout or 0) from None


async def wait_all(handles: Iterable[Handle[Any]], timeout: float | None = None) -> None:
    """Waits until all have ended, whatever they came to; raises `ResultTimeout` when one has not in time."""
    handles = list(handles)
    try:
        await asyncio.wait_for(_filled(await _subscribe(handles), until_failure=False), timeout)
    except asyncio.TimeoutError:
        pending = next(handle for handle in handles if not handle.done())
        raise ResultTimeout(pending.id, timeout or 0) from None
