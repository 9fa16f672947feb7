"""The connection of one process to Celeriac, for asyncio."""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import Self, TypeVar, Unpack

from .dead_letters import DeadLetters
from .decode import Decoder, decoder
from .errors import CeleriacError, PayloadTooLarge
from .flow import Flow, Step
from .gather import as_completed, gather, wait_all
from .handle import Handle
from .ids import check_id
from .listing import BulkCancel, Filter, cancel_matching, wanted
from .modules import push
from .names import TaskRef, task_ref
from .options import Options, wire
from .outbox import Outbox
from .payload import encode
from .schedules import Schedules
from .session import Session, Settings
from .task import Task
from .transport import Submission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from .outcome import Status
    from .transport import Answer

T = TypeVar("T")

#: The largest input that brokers take unless they are told otherwise.
INPUT_BYTES = 8 << 20

#: The variable that names the broker, as for the command line.
URL_VARIABLE = "CELERIAC_BROKER"
#: The variable that holds the token for a gateway.
TOKEN_VARIABLE = "CELERIAC_TOKEN"  # noqa: S105 its name
DEFAULT_URL = "redis://127.0.0.1/"


class AsyncClient:
    """The connection of one process to Celeriac. Make one and share it; all its awaits come over one connection.

    It connects at its first use, in whatever process and event loop that is: one made before a fork works in
    each child.
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
        url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        token = token or os.environ.get(TOKEN_VARIABLE)
        self._settings = Settings(url, connect_timeout, sweep, token)
        self._sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Session] = weakref.WeakKeyDictionary()
        self._outbox = Outbox.of(outbox)
        self._process = os.getpid()
        self.gather = gather
        self.as_completed = as_completed

    # ---- connection ------------------------------------------------------------------------------

    def session(self) -> Session:
        """The session of this process and event loop, connected or not."""
        if self._process != os.getpid():
            # What the parent has stays the parent's: closing it here would end the parent's connections.
            _abandoned.append(self._sessions)
            self._sessions = weakref.WeakKeyDictionary()
            self._process = os.getpid()
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None:
            session = self._sessions[loop] = Session(self._settings, self._outbox)
        return session

    async def open(self) -> Session:
        """Connects unless it is connected: optional, to learn early that the broker does not answer."""
        session = self.session()
        if not session.is_open or session.is_closed:
            await session.open()
        return session

    async def close(self) -> None:
        """Closes the connections of this process and event loop. Invocations go on; whoever still waits is told."""
        await self.session().close()
        if self._outbox is not None:
            await asyncio.to_thread(self._outbox.close)

    @property
    def outbox(self) -> Outbox:
        """What waits for the broker, and what was refused: `client.outbox.pending()`."""
        if self._outbox is None:
            raise CeleriacError("this client has no outbox: AsyncClient(…, outbox='outbox.db') gives it one")
        return self._outbox

    async def __aenter__(self) -> Self:
        await self.session().reach()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url.rpartition('@')[2]!r})"

    # ---- tasks -----------------------------------------------------------------------------------

    @overload
    def task(self, name: str, *, output: type[T], **options: Unpack[Options]) -> Task[T]: ...
    @overload
    def task(self, name: str, *, output: Any = None, **options: Unpack[Options]) -> Task[Any]: ...

    def task(self, name: str, *, output: Any = None, **options: Unpack[Options]) -> Task[Any]:
        """A task to call: `images/resize`, `images@1.2.0/resize`, `images@sha256:…/resize`.

        `output` is what results are read as: a dataclass, a typed dict, a pydantic model, `list[int]`, `bytes`.
        """
        wire(options)
        return Task(self, task_ref(name), decoder(output), options)

    @overload
    async def call(self, task: str, input: Any = None, *, output: type[T], **options: Unpack[Options]) -> T: ...
    @overload
    async def call(self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]) -> Any: ...

    async def call(self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]) -> Any:
        """Runs a task and awaits its output."""
        handle = await self.hand_in(task_ref(task), input, decoder(output), options)
        return await handle.result()

    @overload
    async def submit(
        self, task: str, input: Any = None, *, output: type[T], **options: Unpack[Options]
    ) -> Handle[T]: ...
    @overload
    async def submit(
        self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]
    ) -> Handle[Any]: ...

    async def submit(
        self, task: str, input: Any = None, *, output: Any = None, **options: Unpack[Options]
    ) -> Handle[Any]:
        """Hands in an invocation. When this returns it is stored and will run, whatever happens to this process."""
        return await self.hand_in(task_ref(task), input, decoder(output), options)

    # ---- invocations that wait for others --------------------------------------------------------

    def flow(self) -> Flow:
        """Invocations that wait for others, to be handed in together."""
        return Flow(self)

    async def chain(self, input: Any, *tasks: Task[Any]) -> Handle[Any]:
        """Hands in a chain: the first task gets `input`, each other the output before. The handle of the last."""
        flow = self.flow()
        step = flow.chain(input, *tasks)
        await flow.submit()
        return step.handle

    async def group(self, *calls: tuple[Task[Any], Any]) -> list[Handle[Any]]:
        """Hands in tasks with their inputs, in order; `gather` awaits them."""
        flow = self.flow()
        steps = [flow.add(task, input) for task, input in calls]
        await flow.submit()
        return [step.handle for step in steps]

    async def chord(self, calls: Iterable[tuple[Task[Any], Any]], task: Task[T]) -> Handle[T]:
        """Hands in a group, and a task that gets the list of its outputs when all have succeeded."""
        flow = self.flow()
        step: Step[T] = flow.chord([flow.add(member, input) for member, input in calls], task)
        await flow.submit()
        return step.handle

    # ---- invocations of any process --------------------------------------------------------------

    @overload
    def handle(self, id: str, *, output: type[T]) -> Handle[T]: ...
    @overload
    def handle(self, id: str, *, output: Any = None) -> Handle[Any]: ...

    def handle(self, id: str, *, output: Any = None) -> Handle[Any]:
        """An invocation by its id, from whatever process it was submitted. Asks nobody yet."""
        return Handle(self, check_id(id), decoder(output))

    @overload
    async def get_result(self, id: str, *, output: type[T], timeout: float | None = None) -> T: ...
    @overload
    async def get_result(self, id: str, *, output: Any = None, timeout: float | None = None) -> Any: ...

    async def get_result(self, id: str, *, output: Any = None, timeout: float | None = None) -> Any:
        """Awaits the result of an invocation by its id, from whatever process it was submitted."""
        return await self.handle(id, output=output).result(timeout)

    async def wait_all(self, handles: Iterable[Handle[Any]] | None = None, timeout: float | None = None) -> None:
        """Waits until all have ended: these, or everything that somebody in this process still holds a handle on."""
        if handles is None:
            waiting = (await self.open()).mailbox.waiting()
            handles = [Handle(self, slot.id, decoder(None), slot) for slot in waiting]
        await wait_all(handles, timeout)

    async def cancel_matching(
        self,
        *,
        dry_run: bool = False,
        on_progress: Callable[[BulkCancel], object] | None = None,
        **asked: Unpack[Filter],
    ) -> BulkCancel:
        """Stops every invocation that the filter asks for and that has not ended; with `dry_run` only counts them.

        What is submitted meanwhile may be met or not. Uploads are left alone unless the filter names their queue.
        """
        transport = (await self.open()).transport
        return await cancel_matching(transport, asked, dry_run=dry_run, on_progress=on_progress)

    @property
    def schedules(self) -> Schedules:
        """What is submitted again and again; over a gateway (http://…)."""
        return Schedules(self)

    @property
    def dead_letters(self) -> DeadLetters:
        """What has failed for good; over a gateway (http://…)."""
        return DeadLetters(self)

    # ---- modules ---------------------------------------------------------------------------------

    async def push(self, module: str | os.PathLike[str] | bytes, name: str | None = None) -> dict[str, Any]:
        """Uploads a module and has a host admit it; then `name` (`images` or `images@1.2.0`) points to it.

        A path is read; without a name its file's is taken. Returns what the module says about itself. Raises
        `ModuleRefused` with every finding; then nothing has changed.
        """
        return await push(self, module, name)

    async def manifest(self, module: str) -> dict[str, Any]:
        """What a module says about itself: its tasks with their schemas, options and needs."""
        return await (await self.open()).transport.manifest(module)

    # ---- what tasks are made of ------------------------------------------------------------------

    async def hand_in(self, ref: TaskRef, input: Any, read: Decoder, options: Options) -> Handle[Any]:
        """Submits one invocation."""
        session = await self._reached()
        submission = self._submission(session, ref, input, options, wire(options))
        handle = await self._registered(session, submission, read)
        [answer] = await session.submit([submission])
        return self._accepted(handle, answer, options)

    async def hand_in_all(
        self, ref: TaskRef, inputs: Iterable[Any], read: Decoder, options: Options
    ) -> list[Handle[Any]]:
        """Submits many invocations, in order."""
        session = await self._reached()
        on_wire = wire(options)
        batch = [self._submission(session, ref, input, options, on_wire) for input in inputs]
        handles = [await self._registered(session, submission, read) for submission in batch]
        answers = await session.submit(batch)
        return [self._accepted(handle, answer, options) for handle, answer in zip(handles, answers)]

    async def hand_in_steps(self, steps: Sequence[Step[Any]]) -> None:
        """Submits what a flow is made of. Outcomes are pushed for all of it."""
        session = await self._reached()
        batch = []
        for step in steps:
            submission = self._submission(session, step.ref, step.input, step.options, step.wire())
            step.handle = await self._registered(session, submission, step.decoder)
            batch.append(submission)
        answers = await session.submit(batch)
        for step, answer in zip(steps, answers):
            step.handle = self._accepted(step.handle, answer, step.options)

    def _submission(
        self, session: Session, ref: TaskRef, input: Any, options: Options, on_wire: dict[str, Any]
    ) -> Submission:
        payload = encode(input, ref.text)
        if len(payload.data) > INPUT_BYTES:
            raise PayloadTooLarge("input", len(payload.data), INPUT_BYTES, "caps.input")
        return Submission(session.issue(), ref, payload, on_wire, options.get("awaited", True))

    async def _registered(self, session: Session, submission: Submission, read: Decoder) -> Handle[Any]:
        if not submission.is_awaited:
            return Handle(self, submission.id, read)
        return Handle(self, submission.id, read, await session.expect(submission.id))

    async def _reached(self) -> Session:
        session = self.session()
        if not session.is_open or session.is_closed:
            await session.reach()
        return session

    def _accepted(self, handle: Handle[Any], answer: Answer, options: Options) -> Handle[Any]:
        """The handle on what a submission has become; raises why it was refused."""
        if isinstance(answer, CeleriacError):
            raise answer
        if answer == handle.id:
            handle.accept()
        else:
            # One of its keys has led to another, whose outcome is asked for.
            handle = handle.of(answer)
        on_done = options.get("on_done")
        if on_done is not None:
            handle.on_done(on_done)
        return handle

    # Last, as its name would hide the type from what stands behind it.
    async def list(self, *, limit: int | None = None, **asked: Unpack[Filter]) -> AsyncIterator[Status]:
        """Every invocation that the filter asks for, or the first `limit`, in no particular order.

        `async for status in client.list(states="queued"): …`. One that changes meanwhile may come twice.
        """
        checked = wanted(asked)
        if limit is not None and limit <= 0:
            return
        found = (await self.open()).transport.listing(checked)
        try:
            async for status in found:
                yield status
                limit = None if limit is None else limit - 1
                if limit == 0:
                    return
        finally:
            await found.aclose()  # type: ignore[attr-defined]


#: Sessions of a parent process: kept, so that nothing of them is closed here.
_abandoned: list[object] = []
