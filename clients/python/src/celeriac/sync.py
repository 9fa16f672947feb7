"""The same client for code that does not await: scripts, Flask, Django, a Python shell.

Every method blocks until it has its answer. Behind it is an `AsyncClient` on a thread of its own, so that one
connection carries everything here too, and any number of threads may share a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from typing_extensions import Self, TypeVar, Unpack

from .client import AsyncClient
from .dead_letters import SyncDeadLetters
from .gather import as_completed, gather
from .portal import Portal
from .schedules import SyncSchedules
from .sync_flow import SyncFlow
from .sync_handle import SyncHandle, threaded
from .task import NO_INPUT, one_input

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from .errors import CeleriacError
    from .listing import BulkCancel, Filter
    from .options import Options
    from .outbox import Outbox
    from .outcome import Status
    from .task import Task

T = TypeVar("T", default=Any)
O = TypeVar("O")  # noqa: E741 an output


class Client:
    """The connection of one process to Celeriac. Make one and share it among threads.

    It connects at its first use: one made before a fork works in each child.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        connect_timeout: float = 5.0,
        sweep: float = 30.0,
        outbox: Outbox | str | os.PathLike[str] | None = None,
    ) -> None:
        #: The client behind this one; it is to be used on this client's own thread only.
        self.asynchronous = AsyncClient(url, token=token, connect_timeout=connect_timeout, sweep=sweep, outbox=outbox)
        self.portal = Portal()

    def open(self) -> None:
        """Connects unless it is connected: optional, to learn early that the broker does not answer."""
        self.portal.run(self.asynchronous.open())

    def close(self) -> None:
        """Closes the connections of this process. Invocations go on; whoever still waits is told."""
        self.portal.run(self.asynchronous.close())
        self.portal.close()

    @property
    def outbox(self) -> Outbox:
        """What waits for the broker, and what was refused: `client.outbox.pending()`."""
        return self.asynchronous.outbox

    def __enter__(self) -> Self:
        self.portal.run(self.asynchronous.__aenter__())
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self.asynchronous).replace("AsyncClient", "Client", 1)

    @overload
    def task(self, name: str, *, output: type[O], **options: Unpack[Options]) -> SyncTask[O]: ...
    @overload
    def task(self, name: str, *, output: Any = None, **options: Unpack[Options]) -> SyncTask[Any]: ...

    def task(self, name: str, *, output: Any = None, **options: Unpack[Options]) -> SyncTask[Any]:
        """A task to call: `images/resize`, `images@1.2.0/resize`, `images@sha256:…/resize`."""
        return SyncTask(self, self.asynchronous.task(name, output=output, **_adapted(self, options)))

    @overload
    def call(self, task: str, input: Any = None, *, output: type[O], **options: Unpack[Options]) -> O: ...
    @overload
    def call(self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]) -> Any: ...

    def call(self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]) -> Any:
        """Runs a task and waits for its output."""
        adapted = _adapted(self, options)
        return self.portal.run(self.asynchronous.call(task, input, output=output, **adapted))

    @overload
    def submit(self, task: str, input: Any = None, *, output: type[O], **options: Unpack[Options]) -> SyncHandle[O]: ...
    @overload
    def submit(
        self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]
    ) -> SyncHandle[Any]: ...

    def submit(
        self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]
    ) -> SyncHandle[Any]:
        """Hands in an invocation. When this returns it is stored and will run, whatever happens to this process."""
        submitted = self.asynchronous.submit(task, input, output=output, **_adapted(self, options))
        return SyncHandle(self, self.portal.run(submitted))

    def flow(self) -> SyncFlow:
        """Invocations that wait for others, to be handed in together."""
        return SyncFlow(self)

    def chain(self, input: Any, *tasks: SyncTask[Any]) -> SyncHandle[Any]:
        """Hands in a chain: the first task gets `input`, each other the output before. The handle of the last."""
        behind = [task.asynchronous for task in tasks]
        return SyncHandle(self, self.portal.run(self.asynchronous.chain(input, *behind)))

    def group(self, *calls: tuple[SyncTask[Any], Any]) -> list[SyncHandle[Any]]:
        """Hands in tasks with their inputs, in order; `gather` waits for them."""
        behind = [(task.asynchronous, input) for task, input in calls]
        return [SyncHandle(self, handle) for handle in self.portal.run(self.asynchronous.group(*behind))]

    def chord(self, calls: Iterable[tuple[SyncTask[Any], Any]], task: SyncTask[O]) -> SyncHandle[O]:
        """Hands in a group, and a task that gets the list of its outputs when all have succeeded."""
        behind = [(member.asynchronous, input) for member, input in calls]
        return SyncHandle(self, self.portal.run(self.asynchronous.chord(behind, task.asynchronous)))

    @overload
    def handle(self, id: str, *, output: type[O]) -> SyncHandle[O]: ...
    @overload
    def handle(self, id: str, *, output: Any = None) -> SyncHandle[Any]: ...

    def handle(self, id: str, *, output: Any = None) -> SyncHandle[Any]:
        """An invocation by its id, from whatever process it was submitted. Asks nobody yet."""
        return SyncHandle(self, self.asynchronous.handle(id, output=output))

    @overload
    def get_result(self, id: str, *, output: type[O], timeout: float | None = None) -> O: ...
    @overload
    def get_result(self, id: str, *, output: Any = None, timeout: float | None = None) -> Any: ...

    def get_result(self, id: str, *, output: Any = None, timeout: float | None = None) -> Any:
        """Waits for the result of an invocation by its id, from whatever process it was submitted."""
        return self.handle(id, output=output).result(timeout)

    @overload
    def gather(self, *handles: SyncHandle[O], return_exceptions: Literal[False] = False) -> list[O]: ...
    @overload
    def gather(self, *handles: SyncHandle[O], return_exceptions: bool) -> list[O | CeleriacError]: ...

    def gather(self, *handles: SyncHandle[Any], return_exceptions: bool = False) -> list[Any]:
        """Waits for the results of all, in the order of the handles."""
        behind = [handle.asynchronous for handle in handles]
        return self.portal.run(gather(*behind, return_exceptions=return_exceptions))

    def as_completed(self, handles: Iterable[SyncHandle[O]], timeout: float | None = None) -> Iterator[SyncHandle[O]]:
        """The handles, each when it has ended."""
        by_behind = {id(handle.asynchronous): handle for handle in handles}
        behind = [handle.asynchronous for handle in by_behind.values()]
        for ended in self.iterate(as_completed(behind, timeout)):
            yield by_behind[id(ended)]

    def wait_all(self, handles: Iterable[SyncHandle[Any]] | None = None, timeout: float | None = None) -> None:
        """Waits until all have ended: these, or everything that somebody in this process still holds a handle on."""
        behind = None if handles is None else [handle.asynchronous for handle in handles]
        self.portal.run(self.asynchronous.wait_all(behind, timeout))

    def list(self, *, limit: int | None = None, **asked: Unpack[Filter]) -> Iterator[Status]:
        """Every invocation that the filter asks for, or the first `limit`, in no particular order."""
        return self.iterate(self.asynchronous.list(limit=limit, **asked))

    def cancel_matching(
        self,
        *,
        dry_run: bool = False,
        on_progress: Callable[[BulkCancel], object] | None = None,
        **asked: Unpack[Filter],
    ) -> BulkCancel:
        """Stops every invocation that the filter asks for and that has not ended; with `dry_run` only counts them."""
        cancelled = self.asynchronous.cancel_matching(dry_run=dry_run, on_progress=on_progress, **asked)
        return self.portal.run(cancelled)

    @property
    def schedules(self) -> SyncSchedules:
        """What is submitted again and again; over a gateway (http://…)."""
        return SyncSchedules(self)

    @property
    def dead_letters(self) -> SyncDeadLetters:
        """What has failed for good; over a gateway (http://…)."""
        return SyncDeadLetters(self)

    def push(self, module: str | os.PathLike[str] | bytes, name: str | None = None) -> dict[str, Any]:
        """Uploads a module and has a host admit it; then `name` (`images` or `images@1.2.0`) points to it."""
        return self.portal.run(self.asynchronous.push(module, name))

    def manifest(self, module: str) -> dict[str, Any]:
        """What a module says about itself: its tasks with their schemas, options and needs."""
        return self.portal.run(self.asynchronous.manifest(module))

    def iterate(self, items: AsyncIterator[O]) -> Iterator[O]:
        """What an asynchronous iterator of this client's yields."""

        async def following() -> tuple[bool, Any]:
            try:
                return True, await items.__anext__()
            except StopAsyncIteration:
                return False, None

        try:
            while True:
                is_there, item = self.portal.run(following())
                if not is_there:
                    return
                yield item
        finally:
            self.portal.run(items.aclose())  # type: ignore[attr-defined]


class SyncTask(Generic[T]):
    """A task to call: `task(width=100)`. Made by `client.task`."""

    __slots__ = ("_client", "asynchronous")

    def __init__(self, client: Client, task: Task[T]) -> None:
        self._client = client
        self.asynchronous = task

    @property
    def name(self) -> str:
        """The task as it was named."""
        return self.asynchronous.name

    def __repr__(self) -> str:
        return f"SyncTask({self.name!r})"

    def options(self, **options: Unpack[Options]) -> SyncTask[T]:
        """The same task with other options."""
        return SyncTask(self._client, self.asynchronous.options(**_adapted(self._client, options)))

    def __call__(self, input: Any = NO_INPUT, /, **fields: Any) -> T:
        """Runs the task and waits for its output. Keyword arguments are the fields of the input."""
        return self._client.portal.run(self.asynchronous(input, **fields))

    def delay(self, input: Any = NO_INPUT, /, **fields: Any) -> SyncHandle[T]:
        """Hands in an invocation. When this returns it is stored and will run, whatever happens to this process."""
        return self.apply_async(one_input(self.name, input, fields))

    def apply_async(self, args: Any = None, **options: Unpack[Options]) -> SyncHandle[T]:
        """As `delay`, with options of this call; `args` is the input."""
        submitted = self.asynchronous.apply_async(args, **_adapted(self._client, options))
        return SyncHandle(self._client, self._client.portal.run(submitted))

    def submit_all(self, inputs: Iterable[Any], **options: Unpack[Options]) -> list[SyncHandle[T]]:
        """Hands in many invocations, in order. They travel in as few requests as fit."""
        submitted = self.asynchronous.submit_all(inputs, **_adapted(self._client, options))
        return [SyncHandle(self._client, handle) for handle in self._client.portal.run(submitted)]

    def map(self, inputs: Iterable[Any], **options: Unpack[Options]) -> list[T]:
        """Runs the task on each input and waits for all outputs, in the order of the inputs."""
        return self._client.portal.run(self.asynchronous.map(inputs, **_adapted(self._client, options)))


def _adapted(client: Client, options: Options) -> Options:
    on_done = options.get("on_done")
    # What is no function is refused with the other options.
    if not callable(on_done):
        return options
    return {**options, "on_done": threaded(client, on_done)}
