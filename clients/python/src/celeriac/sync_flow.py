"""Invocations that wait for others, handed in together, for code that does not await."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from .dependency import After
from .flow import Flow
from .sync_handle import SyncHandle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .flow import Step
    from .sync import Client, SyncTask

T = TypeVar("T", default=Any)


class SyncStep(Generic[T]):
    """One invocation of a flow. It has a handle once the flow was submitted."""

    __slots__ = ("_client", "asynchronous")

    def __init__(self, client: Client, step: Step[T]) -> None:
        self._client = client
        self.asynchronous = step

    @property
    def handle(self) -> SyncHandle[T]:
        """The handle."""
        return SyncHandle(self._client, self.asynchronous.handle)

    @property
    def id(self) -> str:
        """The id, once the flow was submitted."""
        return self.asynchronous.id


class SyncFlow:
    """Invocations that wait for others. Nothing is sent before `submit`.

    A step waits for steps that were added before it, or for any invocation with the option `after` of its task.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._behind = Flow(client.asynchronous)

    def add(self, task: SyncTask[T], input: Any = None, *, after: Sequence[SyncStep[Any] | After] = ()) -> SyncStep[T]:
        """Adds one step. Its input may refer to what it waits for: `output_of(0)`, `outputs()`, `outcome_of(0)`.

        The steps in `after` are counted first, and behind them what the option `after` of its task names.
        """
        parents = [one if isinstance(one, After) else one.asynchronous for one in after]
        return SyncStep(self._client, self._behind.add(task.asynchronous, input, after=parents))

    def then(self, parent: SyncStep[Any], task: SyncTask[T]) -> SyncStep[T]:
        """Adds a step that gets the output of `parent` as its input."""
        return SyncStep(self._client, self._behind.then(parent.asynchronous, task.asynchronous))

    def chain(self, input: Any, *tasks: SyncTask[Any]) -> SyncStep[Any]:
        """Adds a chain: the first task gets `input`, each other the output of the one before. The last step."""
        return SyncStep(self._client, self._behind.chain(input, *(task.asynchronous for task in tasks)))

    def map(self, task: SyncTask[T], inputs: Iterable[Any]) -> list[SyncStep[T]]:
        """Adds one step for each input."""
        return [SyncStep(self._client, step) for step in self._behind.map(task.asynchronous, inputs)]

    def chord(self, members: Sequence[SyncStep[Any]], task: SyncTask[T]) -> SyncStep[T]:
        """Adds a step that gets the outputs of all `members`, in order, as one list; of none it is `[]`."""
        steps = [member.asynchronous for member in members]
        return SyncStep(self._client, self._behind.chord(steps, task.asynchronous))

    def submit(self) -> list[SyncHandle[Any]]:
        """Hands in all steps; their handles, in the order in which they were added."""
        return [SyncHandle(self._client, handle) for handle in self._client.portal.run(self._behind.submit())]
